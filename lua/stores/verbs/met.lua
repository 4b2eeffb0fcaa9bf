--- Whether the servers of a store were met, for those whose work begins with that.

local core = require('stores.core')
local errors = require('stores.errors')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

local met = {}

local PATIENCE, STEP = 5, 0.02 -- seconds

--- Whether a store has a cache, and both servers were met; waits for that.
---@param store stores.Store
---@param patience? number seconds
---@return boolean
---@return string? why not
function met.ready(store, patience)
  if not store.cached then return false, 'no Redis is configured' end
  local hub, stats = store.hub
  local deadline = hub:now() + math.min(patience or PATIENCE, PATIENCE)
  wait.slot(hub, store.engine:meet(patience))
  repeat
    stats = store:stats()
    if stats.redis_up == 1 and core.cache_nodes(store.engine) > 0
      and core.cache_key(store.engine, 1) then
      return true
    end
    tasks.sleep(STEP)
  until hub:now() > deadline
  if stats.redis_trouble then return false, stats.redis_trouble end
  return false, stats.redis_up == 1
    and 'PostgreSQL does not tell which past it has: it is a standby'
    or 'Redis does not answer'
end

--- Raises where it is not ready.
---@param store stores.Store
---@param patience? number seconds
---Raises cache_failure.
function met.must_be_ready(store, patience)
  local is_ready, why = met.ready(store, patience)
  if not is_ready then errors.raise('cache_failure', why) end
end

return met
