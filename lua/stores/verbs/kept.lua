--- Rows that a write left as they were although they are there: a trigger before it gave NULL. Such
--- a write has the answer of a row that is not there; who must have one is told what it was.

local errors = require('stores.errors')

local kept = {}

-- Triggers for each row, before the write or in its place (pg_trigger.h: 1 | 2 | 64).
local KEEPERS = 'SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = pg_catalog.to_regclass($1)'
  .. ' AND NOT tgisinternal AND tgtype & 1 = 1 AND tgtype & 66 <> 0'

--- Raises for such a row. What its trigger wrote elsewhere stays, outside of a transaction.
---@param self stores.Store|stores.Transaction
---@param name string
---@param id string
---Raises constraint.
function kept.refuse(self, name, id)
  local message = ('a trigger, or a policy, keeps the row %s of %s as it is'):format(id, name)
  errors.raise('constraint', message,
    { table = name, row = id, outcome = self.store and 'none' or 'committed' })
end

local function has_keeper(self, name, timeout)
  return self:query(KEEPERS, { name }, { readonly = true, timeout = timeout })[1] ~= nil
end

--- Raises where the row that a write did not find is there, and may have been kept.
---@param self stores.Store|stores.Transaction
---@param name string
---@param id string
---@param timeout? number
---Raises constraint.
function kept.check(self, name, id, timeout)
  local ok, is_there = pcall(self.exists, self, name, id, { cache = false, timeout = timeout })
  if not (ok and is_there) then return end
  local asked, is_kept = pcall(has_keeper, self, name, timeout)
  if asked and is_kept then kept.refuse(self, name, id) end
end

return kept
