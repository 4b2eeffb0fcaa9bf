--- Strict tables: criteria and orders that none of the declared indexes serves are refused.

local errors = require('stores.errors')
local migrations = require('stores.tables.migrations')
local serving = require('stores.sql.serving')

local strict = {}

--- Raises where the server would have to look at every document, or to sort them all.
---@param definition stores.Definition
---@param group stores.sql.Group?
---@param by stores.sql.Order
---@param contains boolean?
---Raises not_indexed, whose `index` names the one that is missing, and whose hint makes it.
function strict.check(definition, group, by, contains)
  if not group then return end
  local verdict = serving.judge(definition.served, group, by, contains or false, true)
  if verdict.is_served then return end
  if not verdict.missing then
    errors.raise('not_indexed', ('no index can serve these criteria, and %s is strict'):format(
      definition.name), { table = definition.name })
  end
  local index = migrations.index(definition.name, verdict.missing, false)
  errors.raise('not_indexed', ('%s is strict, and has no index over %s: %s'):format(
    definition.name, index.shown, index.name), { table = definition.name, index = index.name,
    hint = migrations.create(definition.name, index) })
end

return strict
