--- Which shards answer. One may not, where a call failed, or where calls have had no answer for
--- long: then who calls next asks first. Where that fails it is down, and calls to it fail at once,
--- but for one from time to time, which asks whether it is back. Nobody waits longer for that than
--- `breaker` seconds.

local configs = require('stores.config.made')
local errors = require('stores.errors')
local siblings = require('stores.siblings')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')

local health = {}

---@class stores.shards.Health of one shard
---@field suspect boolean a call failed: it is asked first, before the next one
---@field down stores.Error? why it did not answer when it was asked
---@field asked_at number when it was asked last whether it is back
---@field asking stores.shards.Errand? somebody asks it
---@field beside stores.Store? by this one, for no connection was free
---@field pending integer calls that are under way
---@field silent_since number since when none of them has been answered
---@field alone_until number when its replicas may be asked again where it does not answer itself
---@field ready boolean it was found fit to be used (`look`)
---@field look stores.shards.Errand? the look that is under way: whether it is fit to be used

---@class stores.shards.Errand what one call does for all that wait for it
---@field ends number when its caller has no time left
---@field joiners {slot: integer, sleep: any}[] calls that wait for it
---@field is_over boolean
---@field err any why it failed

-- A shard that is down is asked again after so long, which is a round trip or less.
local PAUSE = 0.2

-- What says of a server that it cannot be reached, and what may say so.
local UNREACHABLE = { connect_failed = true, connection_lost = true }
local SILENT = { timeout = true, acquire_timeout = true }

--- The state of a shard, which is taken for well.
---@return stores.shards.Health
function health.new()
  return { suspect = false, down = nil, asked_at = 0, asking = nil, beside = nil,
    pending = 0, silent_since = 0, alone_until = 0, ready = false, look = nil }
end

local function copy(err)
  local fields = {}
  for key, value in pairs(err) do fields[key] = value end
  return errors.new(err.code, err.message, fields)
end

local function fail(state)
  local err = copy(state.down)
  -- nothing of this call was done, whatever became of that one
  err.outcome, err.retryable = 'none', true
  errors.throw(err)
end

-- ---- What one does for all ----------------------------------------------------------------------

-- state[kind] is the errand while it is under way; its caller may be dropped, and never end it.
local function under_way(state, kind, now)
  local one = state[kind]
  return one and one.ends > now and one or nil
end

local function begin(hub, state, kind, ends, fn)
  local mine = { ends = ends, joiners = {}, is_over = false, err = nil }
  state[kind] = mine
  local ok, err = pcall(fn)
  if state[kind] == mine then state[kind] = nil end
  mine.is_over, mine.err = true, not ok and err or nil
  for _, joiner in ipairs(mine.joiners) do hub:wake(joiner.slot, joiner.sleep) end
  if not ok then errors.throw(err) end
end

-- Waits for that of another call. What that had no time for says nothing to this one, which does it
-- itself then; so it does where the other one was dropped by its caller.
local function join(hub, one, ends, place)
  local slot, sleep = hub:sleep(math.max(math.min(ends, one.ends) - hub:now(), 0.001))
  one.joiners[#one.joiners + 1] = { slot = slot, sleep = sleep }
  wait.slot(hub, slot)
  if errors.is(one.err) and not SILENT[one.err.code] then errors.throw(copy(one.err)) end
  if hub:now() >= ends then
    errors.raise('timeout', 'the shard was not looked at in time', { shard = place - 1 })
  end
end

-- All who come first wait for one look.
local function look(self, state, place, most)
  local hub = self.shards[place].hub
  local ends = hub:now() + most
  while not state.ready do
    local other = under_way(state, 'look', hub:now())
    if other then
      join(hub, other, ends, place)
    else
      begin(hub, state, 'look', ends, function()
        self:check_shard(place, math.max(ends - hub:now(), 0.001))
      end)
    end
  end
end

-- ---- Asking whether it is back ------------------------------------------------------------------

local ASK, READ = 'SELECT 1', { transaction = false, readonly = true }

-- Whether a call would have to wait for another one to give its connection back.
local function is_full(store)
  local stats = store:stats()
  return stats.pool_idle == 0 and stats.pool_reading + stats.pool_stalled + stats.pool_writing
    + stats.pool_checked_out >= stats.pool_size
end

-- The calls that it has may take as long as they like: who asks does not wait for them. A server
-- that has no room for one more connection is there.
local function ask_beside(state, store, seconds)
  local beside = siblings.of(store, { poolsize = 1, min_idle = 0, redis = false, cache = false,
    any_shard = true, metrics = false })
  state.beside = beside
  local ok, err = pcall(function()
    wait.slot(beside.hub, beside.engine:query(ASK, {}, READ, seconds))
  end)
  state.beside = nil
  beside:close()
  if not ok and not (errors.is(err) and err.sqlstate == '53300') then errors.throw(err) end
end

local function check_open(store)
  if store.closed then errors.closed() end
end

local function ask_server(state, store, seconds)
  check_open(store)
  if is_full(store) then return ask_beside(state, store, seconds) end
  wait.slot(store.hub, store.engine:query(ASK, {}, READ, seconds))
end

local function ask_now(self, state, store, seconds)
  state.asked_at = store.hub:now()
  local ok, err = pcall(ask_server, state, store, seconds)
  if ok then
    state.suspect, state.down, state.silent_since = false, nil, store.hub:now()
    state.pending = 0 -- of those that are left some may have been dropped by their callers
    return
  end
  -- who has less time than that has not waited for its answer
  if errors.is(err) and (seconds > 0.99 * self.breaker or not SILENT[err.code]) then
    state.down, state.asked_at = err, store.hub:now()
  end
  errors.throw(err)
end

-- Who comes while somebody asks waits for that answer.
local function ask(self, state, store, place, most)
  local hub = store.hub
  local now = hub:now()
  local ends = now + most
  local other = under_way(state, 'asking', now)
  while other do
    join(hub, other, ends, place)
    if other.is_over and not other.err then return end
    if state.down then fail(state) end
    other = under_way(state, 'asking', hub:now())
  end
  local seconds = math.max(0.001, math.min(self.breaker, ends - hub:now()))
  begin(hub, state, 'asking', hub:now() + seconds, function()
    ask_now(self, state, store, seconds)
  end)
end

local function is_silent(self, state, now)
  return state.pending > 0 and now - state.silent_since > self.breaker
end

-- Notes what an error says of the shard.
local function note(self, state, store, err, began)
  if not errors.is(err) then return end
  if UNREACHABLE[err.code] or SILENT[err.code] and store.hub:now() - began >= self.breaker then
    state.suspect = true
  else
    state.silent_since = store.hub:now()
  end
end

local function done(self, state, store, began, ok, ...)
  state.pending = math.max(0, state.pending - 1)
  if ok then
    state.silent_since = store.hub:now()
    return ...
  end
  note(self, state, store, (...), began)
  errors.throw((...))
end

-- The look before the first call is one that is under way, too: who comes while a server does not
-- answer it does not wait for his own.
local function checked(self, place, fn, most, ...)
  local state = self.health[place]
  if not state.ready then look(self, state, place, most) end
  return fn(self.shards[place], ...)
end

--- Whether a call to a shard is made at once, and nothing is to be found out before.
---@param self stores.Shards
---@param place integer
---@return boolean
function health.is_well(self, place)
  local state = self.health[place]
  return state.ready and not state.suspect and not state.down
    and not (state.pending > 0 and is_silent(self, state, self.shards[place].hub:now()))
end

--- Calls fn(store, ...) for a shard, or raises why it cannot be used.
---@param self stores.Shards
---@param place integer
---@param fn fun(store: stores.Store, ...: any): any
---@param most number? seconds, within which that must be found out
---@param ... any
---@return any ...
function health.call(self, place, fn, most, ...)
  local state, store = self.health[place], self.shards[place]
  check_open(store)
  local now = store.hub:now()
  if state.down and (under_way(state, 'asking', now) or now - state.asked_at < PAUSE) then
    fail(state)
  end
  most = most or self.timeout
  if state.suspect or state.down or is_silent(self, state, now) then
    ask(self, state, store, place, most)
  end
  if state.pending == 0 then state.silent_since = now end
  state.pending = state.pending + 1
  return done(self, state, store, now, pcall(checked, self, place, fn, most, ...))
end

--- Whether a call of a verb is one that a replica of the shard answers.
---@param store stores.Store
---@param name string
---@param opts any
---@return boolean
function health.is_elsewhere(store, name, opts)
  local takes, flat = taken[name], configs[store] -- nil: the store was closed, which it says itself
  local replicas = flat and flat.replicas
  if not takes or not takes.read or not replicas or not replicas[1] then return false end
  if type(opts) ~= 'table' then opts = {} end
  if (opts.read or store.read) ~= 'replica' or opts.explain then return false end
  if name == 'query' then return opts.readonly == true end
  return not takes.cache or opts.cache == false or not store.cached
end

--- The same for a call that a replica may answer: those of a shard that does not answer itself are
--- asked all the same. Where they leave it to the shard, whose calls take as long as they take, the
--- next calls are like others for a while.
---@param self stores.Shards
---@param place integer
---@param fn fun(store: stores.Store, ...: any): any
---@param most number?
---@param ... any
---@return any ...
function health.read(self, place, fn, most, ...)
  local state, store = self.health[place], self.shards[place]
  check_open(store)
  if not state.ready or health.is_well(self, place) or store.hub:now() < state.alone_until then
    return health.call(self, place, fn, most, ...)
  end
  local function ended(ok, ...)
    if ok then return ... end
    local err = ...
    if errors.is(err) and (UNREACHABLE[err.code] or SILENT[err.code]) then
      state.alone_until = store.hub:now() + self.breaker
    end
    errors.throw(err)
  end
  return ended(pcall(fn, store, ...))
end

--- Its store closes: who asks beside it is told at once.
---@param state stores.shards.Health
function health.close(state)
  if state.beside then state.beside:close() end
end

return health
