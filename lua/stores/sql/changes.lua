--- The SQL of changes to all rows that meet criteria: statements that give the ids of the rows.

local errors = require('stores.errors')
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
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function changes.delete(doc, opts, page)
  local where, params = query.condition(query.containment(doc, opts), opts, nil, page)
  return 'DELETE FROM %T' .. where .. ' RETURNING id::text AS id', params
end

--- The name of a table as it may stand in SQL: as PostgreSQL reads it, each part in quotes.
---@param name string
---@return string
---Raises invalid_table.
function changes.quoted(name)
  local parts, at = {}, 1
  repeat
    local word = name:match('^[%a_\128-\255][%w_$\128-\255]*', at)
    local part = word or name:match('^"[^"%z]+"', at)
    while not word and part and name:sub(at + #part, at + #part) == '"' do
      local more = name:match('^"[^"%z]*"', at + #part)
      part = more and part .. more
    end
    parts[#parts + 1] = word and '"' .. word:lower() .. '"' or part
    at = at + #(part or '') + 1
    local is_over = at == #name + 2
    if not part or #parts > 2 or not is_over and name:sub(at - 1, at - 1) ~= '.' then
      errors.raise('invalid_table', 'a table name is letters, digits, _ and $, or stands in double '
        .. 'quotes; before it a schema may stand, and a dot')
    end
  until is_over
  return table.concat(parts, '.')
end

return changes
