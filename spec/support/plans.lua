--- Plans of statements, as the server explains them.

local support = require('spec.support')

local plans = {}

--- The generic plan of a statement.
---@param db table the config of its database
---@param name string the table that %T stands for
---@param sql string
---@param params string[]
---@return string
function plans.generic(db, name, sql, params)
  local literals = {}
  for i, param in ipairs(params) do literals[i] = "'" .. param:gsub("'", "''") .. "'" end
  return support.psql(db, ([[
    SET plan_cache_mode = force_generic_plan;
    PREPARE s AS %s;
    EXPLAIN (COSTS OFF) EXECUTE s%s;
  ]]):format(sql:gsub('%%T', function() return name end),
    #literals > 0 and '(' .. table.concat(literals, ', ') .. ')' or ''))
end

return plans
