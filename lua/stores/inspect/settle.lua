--- What the commands that mend do, and wait for: turns that end, announcements of dead writers that
--- are taken away.

local redis = require('stores.inspect.redis')
local row = require('stores.inspect.row')
local tasks = require('stores.tasks')

local settle = {}

local STEP, PATIENCE = 0.05, 10

-- Looks until done() or the time is over.
local function wait_for(store, done)
  local deadline = store.hub:now() + PATIENCE
  while true do
    if done() then return true end
    if store.hub:now() > deadline then return false end
    tasks.sleep(STEP)
  end
end

--- Turns a table, and waits until its rows count again.
---@param store stores.Store
---@param name string
---@param oid integer
---@return boolean is_over false: somebody who wrote it is still waited for
function settle.turn(store, name, oid)
  store:invalidate(name)
  return settle.is_over(store, name, oid)
end

--- Waits until a turn is over; who reads the table ends it.
---@param store stores.Store
---@param name string
---@param oid integer
---@return boolean
function settle.is_over(store, name, oid)
  local nobody = store:generateId() -- of this shard, and of no row
  return wait_for(store, function()
    store:exists(name, nobody)
    local epoch, is_ours = row.epoch(store, oid)
    return is_ours and epoch.state == 'valid'
  end)
end

--- Has the announcements of dead writers taken away: who reads such a row twice asks PostgreSQL
--- what became of the transaction, and takes them out of Redis.
---@param store stores.Store
---@param name string
---@param list string[] ids
---@return boolean
function settle.orphans(store, name, oid, list)
  return wait_for(store, function()
    store:findAllByIds(name, list, { raw = true })
    local epoch = row.epoch(store, oid)
    local keys = {}
    for at, id in ipairs(list) do keys[at] = redis.key(store, oid, epoch.name or '-', id) end
    local states = redis.states(store, oid, keys)
    for at in ipairs(list) do
      if states[at] and states[at]:sub(1, 1) == 'T' then return false end
    end
    return true
  end)
end

return settle
