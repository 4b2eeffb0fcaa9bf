--- Values at paths as SQL sees them, and the indexes over them. One expression serves equality,
--- ranges and order, so that one index serves all three:
---
---   NULLIF(value #> '{address,city}'::text[], 'null'::jsonb)
---
--- NULLIF, for a null and a member that is missing are one here, and come last in every order: as
--- SQL's NULL they stand together in an index, and a null of JSON would stand before all strings.
--- It is immutable, and two documents with a null are no two of one key to a unique index.
---
--- The path is a literal: only so does the planner see that an expression is the index's. It is
--- quoted so that nothing of a name has a meaning in SQL, nor to the core, which puts the table
--- where `%T` stands.

local errors = require('stores.errors')
local paths = require('stores.sql.paths')

local expression = {}

---@class stores.sql.Key a key of an order, or of an index
---@field names string[] the path
---@field down boolean

---@class stores.sql.Index
---@field keys stores.sql.Key[]
---@field prefix boolean serves prefixes of texts instead of values

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

--- Reads a path of criteria, orders, fields and indexes: 'address.city', or {'address', 'city'},
--- as which names with dots in them are written.
---@param key stores.Path
---@param what string how it is called in messages
---@return string[] names
---Raises invalid_argument.
function expression.names(key, what)
  if type(key) ~= 'string' or not key:find('.', 1, true) then return paths.read(key, what) end
  local names = {}
  for name in (key .. '.'):gmatch('(.-)%.') do
    if name == '' then
      refuse("%s has an empty name between its dots: say {'a', '', 'b'} where that is meant", what)
    end
    names[#names + 1] = name
  end
  return paths.read(names, what)
end

-- As array_out writes it, so that what an index says of itself is the same text.
local function array(names)
  local items = {}
  for i, name in ipairs(names) do
    if name == '' or name:lower() == 'null' or name:find('[{}",\\%s]') then
      items[i] = '"' .. name:gsub('[\\"]', '\\%0') .. '"'
    else
      items[i] = name
    end
  end
  return '{' .. table.concat(items, ',') .. '}'
end

local PLAIN = '[%w_{}," .:\128-\255]'

--- A text as a literal of SQL, in which only letters, digits and a few marks stand for themselves.
---@param text string
---@return string
function expression.literal(text)
  if not text:find('[^' .. PLAIN:sub(2)) then return "'" .. text .. "'" end
  return "U&'" .. text:gsub('[^' .. PLAIN:sub(2), function(char)
    return ('!%04X'):format(char:byte())
  end) .. "' UESCAPE '!'"
end

local function path_literal(names)
  return expression.literal(array(names)) .. '::text[]'
end

--- The value at a path, whatever it is.
---@param names string[]
---@return string sql
function expression.plain(names)
  return ('value #> %s'):format(path_literal(names))
end

--- The value at a path; NULL where it is null or missing. What an index is over.
---@param names string[]
---@return string sql
function expression.of(names)
  return ("NULLIF(value #> %s, 'null'::jsonb)"):format(path_literal(names))
end

--- The value at a path as text. What an index for prefixes is over.
---@param names string[]
---@return string sql
function expression.text(names)
  return ('(value #>> %s)'):format(path_literal(names))
end

--- A path as one text, for tables by path.
---@param names string[]
---@return string
function expression.name(names)
  return array(names)
end

-- ---- Keys of orders and of indexes --------------------------------------------------------------

local DIRECTION = { asc = false, desc = true }

--- Reads a key: 'age', '-age', '+age', 'address.city', {'address', 'city'}, {path, 'desc'}.
---@param key any
---@param what string
---@return stores.sql.Key
---Raises invalid_argument.
function expression.key(key, what)
  if type(key) == 'table' then
    local down = DIRECTION[key[2]]
    if #key == 2 and down ~= nil then
      return { names = expression.names(key[1], what), down = down }
    end
    return { names = paths.read(key, what), down = false }
  elseif type(key) == 'string' and key:find('^[-+]') then
    return { names = expression.names(key:sub(2), what), down = key:sub(1, 1) == '-' }
  end
  return { names = expression.names(key, what), down = false }
end

-- Whether an array is a list of keys, and not one path.
local function is_list(spec)
  for _, item in ipairs(spec) do
    if type(item) ~= 'string' or item:find('^[-+]') then return true end
  end
  return false
end

--- Reads an index as declarations name it: 'age'; {'address', 'city'}, which is one path;
--- {'state', '-created'}, which are two keys, for one has a sign ({'state', '+name'} where both go
--- up); {prefix = 'name'}, for prefixes of texts. An index of one key serves both directions.
---@param spec any
---@param what string? how it is called in messages
---@return stores.sql.Index
---Raises invalid_argument.
function expression.index(spec, what)
  what = what or 'an index'
  if type(spec) == 'table' and spec.prefix ~= nil then
    return { keys = { { names = expression.names(spec.prefix, what), down = false } },
      prefix = true }
  end
  local keys = {}
  if type(spec) ~= 'table' or not is_list(spec) then
    keys[1] = expression.key(spec, what)
  else
    for i, item in ipairs(spec) do
      keys[i] = expression.key(item, ('key %d of %s'):format(i, what))
    end
  end
  if #keys == 1 then keys[1].down = false end
  return { keys = keys, prefix = false }
end

--- What stands in the parentheses of CREATE INDEX. The id is the last column, for rows that are
--- equal come in the order of their ids, and a page goes on from one of them.
---@param index stores.sql.Index
---@param unique boolean? of a unique index, which is over the keys alone
---@return string sql
function expression.columns(index, unique)
  local columns, down = {}, false
  for i, key in ipairs(index.keys) do
    if index.prefix then
      columns[i] = ('(%s) text_pattern_ops'):format(expression.text(key.names))
    else
      down = key.down and not unique
      columns[i] = ('(%s)%s'):format(expression.of(key.names), down and ' DESC NULLS LAST' or '')
    end
  end
  if not unique and not index.prefix then columns[#columns + 1] = down and 'id DESC' or 'id' end
  return table.concat(columns, ', ')
end

--- The statement that makes an index, for messages: its name is PostgreSQL's choice.
---@param table_name string as it stands in SQL
---@param index stores.sql.Index
---@return string sql
function expression.create(table_name, index)
  return ('CREATE INDEX CONCURRENTLY ON %s (%s)'):format(table_name, expression.columns(index))
end

--- An index as people read it: (state, -created), (name for prefixes).
---@param index stores.sql.Index
---@return string
function expression.show(index)
  local parts = {}
  for i, key in ipairs(index.keys) do
    parts[i] = (key.down and '-' or '') .. paths.show(key.names):gsub('^%.', '')
  end
  return '(' .. table.concat(parts, ', ') .. (index.prefix and ' for prefixes' or '') .. ')'
end

--- What names an index by what it is over: the same text, the same index.
---@param index stores.sql.Index
---@return string
function expression.signature(index)
  local parts = {}
  for i, key in ipairs(index.keys) do parts[i] = (key.down and '-' or '+') .. array(key.names) end
  return table.concat(parts) .. (index.prefix and 'p' or '')
end

return expression
