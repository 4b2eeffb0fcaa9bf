--- Which shards answer. One may not, where a call failed, or where calls have had no answer for
--- long: then who calls next asks first. Where that fails it is down, and calls to it fail at once,
--- but for one from time to time, which asks whether it is back. Nobody waits longer for that than
--- `breaker` seconds.

local errors = require('stores.errors')
local wait = require('stores.wait')

local health = {}

---@class stores.shards.Health of one shard
---@field suspect boolean a call failed: it is asked first, before the next one
---@field down stores.Error? why it did not answer when it was asked
---@field asked_at number when it was asked last whether it is back
---@field asking boolean somebody asks it
---@field pending integer calls that are under way
---@field silent_since number since when none of them has been answered
---@field ready boolean it was found fit to be used (`look`)
---@field look stores.shards.Look? the look that is under way

---@class stores.shards.Look before the first call of a shard: whether it is fit to be used
---@field ends number when its caller has no time left
---@field joiners {slot: integer, sleep: any}[] calls that wait for it
---@field err any why it is not

-- A shard that is down is asked again after so long, which is a round trip or less.
local PAUSE = 0.2

-- What says of a server that it cannot be reached, and what may say so.
local UNREACHABLE = { connect_failed = true, connection_lost = true }
local SILENT = { timeout = true, acquire_timeout = true }

--- The state of a shard, which is taken for well.
---@return stores.shards.Health
function health.new()
  return { suspect = false, down = nil, asked_at = 0, asking = false, pending = 0,
    silent_since = 0, ready = false, look = nil }
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

-- ---- The look before the first call -------------------------------------------------------------

local function begin(self, state, place, ends)
  local hub = self.shards[place].hub
  local mine = { ends = ends, joiners = {}, err = nil }
  state.look = mine
  local ok, err = pcall(self.check_shard, self, place, math.max(ends - hub:now(), 0.001))
  if state.look == mine then state.look = nil end
  if not ok then mine.err = err end
  for _, joiner in ipairs(mine.joiners) do hub:wake(joiner.slot, joiner.sleep) end
  if not ok then errors.throw(err) end
end

-- Waits for the look of another call. What that had no time for says nothing to this one, which
-- looks by itself then; so it does where the other one was dropped by its caller.
local function join(self, place, one, ends)
  local hub = self.shards[place].hub
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
    local other = state.look
    if other and other.ends > hub:now() then
      join(self, place, other, ends)
    else
      begin(self, state, place, ends)
    end
  end
end

-- ---- Asking whether it is back ------------------------------------------------------------------

local function ask(self, state, store, most)
  state.asking, state.asked_at = true, store.hub:now()
  local ok, err = pcall(function()
    wait.slot(store.hub, store.engine:query('SELECT 1', {},
      { transaction = false, readonly = true }, math.max(0.001, math.min(self.breaker, most))))
  end)
  state.asking = false
  if ok then
    state.suspect, state.down, state.silent_since = false, nil, store.hub:now()
    state.pending = 0 -- of those that are left some may have been dropped by their callers
    return
  end
  -- who has less time than that has not waited for its answer
  if most >= self.breaker or errors.is(err) and not SILENT[err.code] then
    state.down, state.asked_at = err, store.hub:now()
  end
  errors.throw(err)
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

--- Calls fn(store, ...) for a shard, or raises why it cannot be used.
---@param self stores.Shards
---@param place integer
---@param fn fun(store: stores.Store, ...: any): any
---@param most number? seconds, within which that must be found out
---@param ... any
---@return any ...
function health.call(self, place, fn, most, ...)
  local state, store = self.health[place], self.shards[place]
  if not store.engine then errors.raise('closed', 'the store is closed') end
  local now = store.hub:now()
  if state.down and (state.asking or now - state.asked_at < PAUSE) then fail(state) end
  most = most or self.timeout
  if state.suspect or state.down or is_silent(self, state, now) then
    ask(self, state, store, most)
  end
  if state.pending == 0 then state.silent_since = now end
  state.pending = state.pending + 1
  return done(self, state, store, now, pcall(checked, self, place, fn, most, ...))
end

return health
