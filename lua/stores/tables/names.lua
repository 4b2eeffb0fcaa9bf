--- Names of tables as SQL reads them: users, Users, "users" and public.users are one table.

local errors = require('stores.errors')

local names = {}

local PLAIN = '^[%a_\128-\255][%w_$\128-\255]*'

-- Takes a name from the start of a text: as the catalog has it, and the rest. Nil: there is none,
-- as an empty one in quotes, or one with a NUL, is none.
local function take(text)
  if text:sub(1, 1) ~= '"' then
    local plain = text:match(PLAIN)
    return plain and plain:lower(), plain and text:sub(#plain + 1)
  end
  local at = 2
  while true do
    local stop = text:find('"', at, true)
    if not stop then return nil end
    if text:sub(stop + 1, stop + 1) ~= '"' then
      local inside = text:sub(2, stop - 1)
      if inside == '' or inside:find('%z') then return nil end
      return (inside:gsub('""', '"')), text:sub(stop + 1)
    end
    at = stop + 2
  end
end

--- Takes the name of a table apart.
---@param name string
---@return string? table as the catalog has it; nil: it is no name
---@return string? schema nil where none is named
function names.read(name)
  local first, rest = take(name)
  if not first or rest == '' then return first, nil end
  local second
  if rest:sub(1, 1) == '.' then second, rest = take(rest:sub(2)) end
  if not second or rest ~= '' then return nil end
  return second, first
end

--- A name in the form of which each table has one: `users` in no schema, or in public.
---@param name string
---@return string? key nil: it is no name
function names.key(name)
  local base, schema = names.read(name)
  if not base or not schema or schema == 'public' then return base end
  return schema .. '\0' .. base
end

--- One name in quotes.
---@param name string
---@return string sql
function names.quoted(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

--- The same name as a statement has it, quoted.
---@param name string
---@return string
---Raises invalid_table.
function names.sql(name)
  local base, schema = names.read(name)
  if not base then
    errors.raise('invalid_table', 'a table name is letters, digits, _ and $, or stands in double '
      .. 'quotes; before it a schema may stand, and a dot')
  end
  return (schema and names.quoted(schema) .. '.' or '') .. names.quoted(base)
end

return names
