--- Tables that Stores makes for itself, which several processes may do at the same moment.

local errors = require('stores.errors')

local created = {}

-- IF NOT EXISTS is no protection against a second session: both may see nothing, and one then fails
-- on a unique index of the catalog, or finds the table or its row type there.
local LOST = { ['23505'] = true, ['42P07'] = true, ['42710'] = true }

local function run(store, statement)
  store.in_transaction(store, function(tx) tx:query(statement) end)
end

--- Runs a statement with IF NOT EXISTS, and once more where another session was faster.
---@param store stores.Store|stores.MigrationTarget
---@param statement string
function created.ensure(store, statement)
  local ok, err = pcall(run, store, statement)
  if ok then return end
  if not (errors.is(err) and LOST[err.sqlstate]) then errors.throw(err) end
  run(store, statement)
end

return created
