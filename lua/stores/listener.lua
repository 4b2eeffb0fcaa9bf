--- LISTEN and NOTIFY: a function for each notification of a channel.

local arguments = require('stores.verbs.arguments')
local configs = require('stores.config.made')
local errors = require('stores.errors')
local notice = require('stores.sql.notice')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

local listener = {}

local function refuse_pooler(why)
  errors.raise('unsupported', ('LISTEN needs a session of its own, and %s: give db.listen_url, '
    .. 'or db.migrate_url, which goes to the server itself'):format(why))
end

---@class stores.Listener
---@field channel string
local Listener = {}
Listener.__index = Listener

--- Ends it; its function is not called any more. Harmless again.
function Listener:stop()
  if self.stopped then return end
  self.stopped = true
  self.source:stop()
  if self.release then self.release() end
end

-- The store to listen with, and what lets go of it: where the server itself has another address
-- than a pooler before it, all listeners of a store share another one, which goes there.
local function listening_store(store)
  local flat = configs[store]
  local url = flat.listen_url or (flat.pooler == 'transaction' and flat.migrate_url)
  if not url then
    if flat.pooler == 'transaction' then refuse_pooler("pooler = 'transaction' has none") end
    return store
  end
  local own = store.listening
  if not own then
    local other = {}
    for key, value in pairs(flat) do other[key] = value end
    other.pg, other.poolsize, other.min_idle = { url = url }, 1, 0
    other.pooler, other.cache, other.redis = nil, false, nil
    other.name = flat.name or tostring(store.open_stores[store])
    own = { count = 0, store = store.from_config(other) }
    store.open_stores[own.store] = nil -- its figures are told with those of the other
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

-- Whether a session of the pool, which listens to nothing, does: then the sessions of the server
-- are anybody's. A pooler hands out the one first that it got back last.
local SHARED = 'SELECT FROM pg_catalog.pg_listening_channels() AS c WHERE c = $1'

local function check_sessions(self, store, channel)
  if not self.source:pooled() then return end
  -- one that cannot be asked just now tells nothing
  local ok, found = pcall(function()
    return wait.slot(store.hub, store.engine:query(SHARED, { channel },
      { transaction = false, readonly = true }, store.timeout))
  end)
  if ok and #found > 0 then
    refuse_pooler("the pooler is in transaction mode (say so: db.pooler = 'transaction')")
  end
end

-- An error of the function is its own: the next payload comes all the same.
local function call(self, payload, gap)
  local ok, err = pcall(self.fn, payload, gap)
  if ok then return end
  local text = ("the function of a listener to '%s' failed: %s"):format(self.channel,
    errors.text(err))
  if not self.log or not pcall(self.log, text) then wait.report(text) end
end

local function deliver(self)
  while not self.stopped do
    wait.slot(self.hub, self.source:wait())
    local kind, payload = self.source:next()
    while kind and not self.stopped do
      if kind == 'gap' then call(self, nil, 'gap') else call(self, payload) end
      kind, payload = self.source:next()
    end
  end
end

local FIGURES = { 'listeners', 'listeners_deaf', 'notices', 'notices_dropped', 'notices_waiting',
  'notice_gaps' }

--- Adds the figures of listeners that another engine has for a store.
---@param stats table<string, any>
---@param engine userdata
function listener.add_figures(stats, engine)
  local own = engine:stats()
  for _, name in ipairs(FIGURES) do stats[name] = stats[name] + own[name] end
end

--- Whether listeners can be told here; of shards before one of them is asked.
---@param channel string
---@param fn fun(payload: string?, gap: 'gap'?)
---Raises invalid_argument, unsupported.
function listener.check(channel, fn)
  notice.check_channel(channel)
  arguments.check_function(fn, 'listen')
  if not wait.host.task() and not wait.host.spawn_lasting then
    errors.raise('unsupported', 'listen needs coroutines: call it inside stores.run')
  end
end

--- Waits until the server has confirmed it, and raises where it refuses to. Then calls fn(payload)
--- for each notification, until the listener is stopped, in a task that belongs to the process and
--- to no request; after a loss of the connection, or of payloads for which there was no room,
--- fn(nil, 'gap'). What it raises is logged.
---@param store stores.Store
---@param channel string
---@param fn fun(payload: string?, gap: 'gap'?)
---@return stores.Listener
function listener.start(store, channel, fn)
  listener.check(channel, fn)
  local from, release = listening_store(store)
  local self = setmetatable({ channel = channel, fn = fn, hub = from.hub, release = release,
    log = configs[store].log, source = from.engine:listen(channel) }, Listener)
  local ok, err = pcall(function()
    wait.slot(self.hub, self.source:ready(store.timeout))
    check_sessions(self, from, channel)
    if wait.host.stops_at_exit then wait.host.stops_at_exit(self) end
    tasks.spawn_lasting(function()
      local delivered, why = pcall(deliver, self)
      self:stop()
      if not delivered and not errors.is(why, 'closed') then errors.throw(why) end
    end)
  end)
  if not ok then
    self:stop()
    errors.throw(err)
  end
  return self
end

return listener
