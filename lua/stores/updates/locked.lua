--- The rows that a transaction has locked, as far as it is known: which its calls lock, and which
--- of those are free after all. What calls of its own function would wait for is told by holds.

local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local holds = require('stores.updates.holds')
local wait = require('stores.wait')

local locked = {}

--- A row that a call is to lock: in a transaction that runs inside of another one's function, or in
--- that other one, the call may be waiting for its own coroutine.
---@param tx stores.Transaction
---@param name string
---@param id string
---Raises self_deadlock.
function locked.look_around(tx, name, id)
  if frames.count > 1 and holds.nested(tx) then holds.check(tx.store, name, id, tx) end
end

--- The call that locks it was started: one that was refused before that holds nothing.
---@param tx stores.Transaction
---@param name string
---@param id string
---@param slot integer
---@return integer slot
---@return string|false key what the row can be freed by
function locked.note(tx, name, id, slot)
  return slot, holds.lock(tx, name, id)
end

-- With these the server has done nothing, or what leaves no lock.
local LOCKED_NOTHING = { cache_failure = true, duplicate = true, table_not_found = true,
  tx_busy = true, unsupported = true }

local function settle(tx, key, name, ok, found, ...)
  if ok then
    if not found and not core.may_keep(tx.store.engine, name) then holds.free(tx, key) end
    return found, ...
  end
  if errors.is(found) and LOCKED_NOTHING[found.code] then holds.free(tx, key) end
  errors.throw(found)
end

-- Rows that it is known to hold: more would take memory without end.
local HELD = 10000

--- Waits for a call that locks a row; where there is none it does not.
---@param tx stores.Transaction
---@param name string
---@param slot integer
---@param key string|false
---@return any ... what the call gives
function locked.wait_for(tx, name, slot, key)
  if not key then return wait.slot(tx.hub, slot) end
  return settle(tx, key, name, pcall(wait.slot, tx.hub, slot))
end

--- Rows are locked that calls of its own function would wait for.
---@param tx stores.Transaction
---@param name string
---@param list string[] ids
---@return table<string, string> fresh by id what each row can be freed by
function locked.hold(tx, name, list)
  local fresh = {}
  tx.held = (tx.held or 0) + #list
  if tx.held > HELD then return fresh end
  local nested = frames.count > 1 and holds.nested(tx)
  for i = 1, #list do
    if nested then holds.check(tx.store, name, list[i], tx) end
    fresh[list[i]] = holds.lock(tx, name, list[i]) or nil
  end
  return fresh
end

--- Of rows that were to be locked those that were not met are free.
---@param tx stores.Transaction
---@param name string
---@param fresh table<string, string> what locked.hold gave
---@param met string[] ids
function locked.free(tx, name, fresh, met)
  for i = 1, #met do fresh[met[i]] = nil end
  if next(fresh) == nil or core.may_keep(tx.store.engine, name) then return end
  for _, key in pairs(fresh) do holds.free(tx, key) end
end

return locked
