--- LISTEN and NOTIFY: a function for each notification of a channel.

local arguments = require('stores.verbs.arguments')
local core = require('stores.core')
local errors = require('stores.errors')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

local listener = {}

-- What PostgreSQL takes (NAMEDATALEN, NOTIFY_PAYLOAD_MAX_LENGTH), in bytes.
local CHANNEL_MOST, PAYLOAD_MOST = 63, 7999

---@class stores.Listener
local Listener = {}
Listener.__index = Listener

--- Ends it; its function is not called any more. Harmless again.
function Listener:stop()
  if self.stopped then return end
  self.stopped = true
  self.source:stop()
  if self.release then self.release() end
end

-- The store to listen with, and what lets go of it: behind a pooler of transactions all listeners
-- of a store share another one, which goes to the server itself.
local function listening_store(store)
  if store.pooler ~= 'transaction' then return store end
  if not store.migrate_url then
    errors.raise('unsupported', "LISTEN needs a session, which pooler = 'transaction' has none "
      .. 'of: give db.migrate_url, which goes to the server itself')
  end
  local own = store.listening
  if not own then
    own = { count = 0,
      store = store.new({ url = store.migrate_url, poolsize = 1 }, nil, { cache = false }) }
    store.listening = own
  end
  own.count = own.count + 1
  return own.store, function()
    own.count = own.count - 1
    if own.count > 0 then return end
    if store.listening == own then store.listening = nil end
    own.store:close()
  end
end

local function deliver(self, fn)
  while not self.stopped do
    wait.slot(self.hub, self.source:wait())
    local kind, payload = self.source:next()
    while kind and not self.stopped do
      if kind == 'gap' then fn(nil, 'gap') else fn(payload) end
      kind, payload = self.source:next()
    end
  end
end

-- A text that the server takes as it is.
local function is_text(value)
  return type(value) == 'string' and core.json_encode(value) ~= nil
end

local function check_channel(channel)
  if not is_text(channel) or #channel == 0 or #channel > CHANNEL_MOST then
    errors.raise('invalid_argument',
      ('a channel is a string of 1 to %d bytes of UTF-8 without zero bytes'):format(CHANNEL_MOST))
  end
end

--- Checks what notify is given.
---@param channel string
---@param payload string?
---Raises invalid_argument.
function listener.check(channel, payload)
  check_channel(channel)
  if payload ~= nil and (not is_text(payload) or #payload > PAYLOAD_MOST) then
    errors.raise('invalid_argument', ('a payload is a string of at most %d bytes of UTF-8 without '
      .. 'zero bytes: store what is larger, and notify its id'):format(PAYLOAD_MOST))
  end
end

--- Waits until the server has confirmed it, and raises where it refuses to. Then calls fn(payload)
--- for each notification, in a task of its own, until the listener is stopped; after a loss of the
--- connection fn(nil, 'gap'), when it listens again.
---@param store stores.Store
---@param channel string
---@param fn fun(payload: string?, gap: 'gap'?)
---@return stores.Listener
function listener.start(store, channel, fn)
  check_channel(channel)
  arguments.check_function(fn, 'listen')
  if not wait.host.task() then
    errors.raise('unsupported', 'listen needs coroutines: call it inside stores.run')
  end
  local from, release = listening_store(store)
  local self = setmetatable({ hub = from.hub, source = from.engine:listen(channel),
    release = release }, Listener)
  local ok, err = pcall(function() wait.slot(self.hub, self.source:ready(store.timeout)) end)
  if not ok then
    self:stop()
    error(err, 0)
  end
  if wait.host.stops_at_exit then wait.host.stops_at_exit(self) end
  tasks.spawn(function()
    local delivered, why = pcall(deliver, self, fn)
    self:stop()
    if not delivered and not errors.is(why, 'closed') then error(why, 0) end
  end)
  return self
end

return listener
