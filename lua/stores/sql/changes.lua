--- The SQL of changes to all rows that meet criteria: statements that give the ids of the rows.

local modify = require('stores.sql.modify')
local query = require('stores.sql.query')

local changes = {}

--- patchWhere: the new value of each row is computed by the server, as patch has it.
---@param doc table?
---@param spec stores.Patch
---@param opts stores.sql.Tail
---@param page stores.sql.Page
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document; the statement raises path_blocked.
function changes.patch(doc, spec, opts, page)
  local json = query.containment(doc, opts)
  local expr, params = modify.patch(spec, nil)
  -- there $1 is the id of the one row, which nothing asks for
  expr = expr:gsub('%$(%d+)', function(number) return '$' .. tonumber(number) - 1 end)
  local where, all = query.condition(json, opts, params, page)
  return 'UPDATE %T SET value = ' .. expr .. where .. ' RETURNING id::text AS id', all
end

--- deleteWhere.
---@param doc table?
---@param opts stores.sql.Tail
---@param page stores.sql.Page
---@param more (fun(add: stores.sql.Add): string)? one condition more
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function changes.delete(doc, opts, page, more)
  local where, params = query.condition(query.containment(doc, opts), opts, nil, page, more)
  return 'DELETE FROM %T' .. where .. ' RETURNING id::text AS id', params
end

return changes
