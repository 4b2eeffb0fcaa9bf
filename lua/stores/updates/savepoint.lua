--- A part of a transaction that may be undone alone: a savepoint around a function.

local errors = require('stores.errors')
local holds = require('stores.updates.holds')
local wait = require('stores.wait')

local savepoint = {}

-- No closures, as in transaction.lua.
local function release(tx, left)
  wait.slot(tx.hub, tx.tx:release(left(tx)))
end

local function roll_back_to(tx)
  wait.slot(tx.hub, tx.tx:rollback_to(tx:rest_of_it()))
end

local function finish(tx, left, before, ok, ...)
  local err = ...
  if ok then
    -- where fn swallowed the failure of a statement, the server has nothing to release
    local released, why = pcall(release, tx, left)
    if released then
      holds.restore(tx, before, false)
      return ...
    end
    err = why
  end
  -- One that is refused (a coroutine still uses the transaction, no memory, no time) leaves what
  -- was to be undone: from then on the core lets the transaction be rolled back, not committed.
  holds.restore(tx, before, not tx.over and pcall(roll_back_to, tx))
  errors.throw(err)
end

--- Runs fn(tx). Where it raises, what it did is undone, and the rows that it locked are free.
---@param tx stores.Transaction
---@param fn fun(tx: stores.Transaction): ...
---@param left fun(tx: stores.Transaction): number the seconds that a call of it may take; raises
---@return any ... what fn returned
---Raises what fn raised, or what kept the savepoint from being released.
function savepoint.run(tx, fn, left)
  wait.slot(tx.hub, tx.tx:savepoint(left(tx)))
  local before = holds.save(tx)
  return finish(tx, left, before, pcall(fn, tx))
end

return savepoint
