--- The language of `where`: conditions, all of which hold, and groups of them.
---
---   { {'age', '>=', 18}, {'address.city', 'in', {'Ulm', 'Bonn'}}, {'email', 'exists'},
---     any = { {'name', 'prefix', 'A'}, {'tags', 'has', 'x'} }, none = { {'state', '=', 'gone'} } }
---
--- Values are compared as jsonb compares them: numbers exactly, strings by the database's
--- collation. That order runs across the types, so that a comparison has a bound at the end of its
--- own type
--- (true and false come behind all numbers, numbers behind all strings, "" before all of those);
--- where the end has no value of its own, the type is asked. A bound on either side is also what
--- lets the planner see that an index is worth it when it does not know the values.

local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local ids = require('stores.ids')
local options = require('stores.config.options')
local paths = require('stores.sql.paths')

local criteria = {}

---@alias stores.Condition { [1]: stores.Path, [2]: string, [3]: any }

---@class stores.Where conditions and groups, in its array part
---@field any? (stores.Condition|stores.Where)[] one of these holds
---@field none? (stores.Condition|stores.Where)[] none of these does

---@class stores.sql.Leaf
---@field kind 'equal'|'range'|'null'|'value'|'prefix'|'contains'|'id'
---@field names string[]
---@field sql fun(add: stores.sql.Add): string

---@class stores.sql.Group
---@field all? stores.sql.Node[]
---@field any? stores.sql.Node[]
---@field none? stores.sql.Node[]

---@alias stores.sql.Node stores.sql.Leaf|stores.sql.Group

local DEEPEST = 32

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

-- The elements of a list, which may have no gap.
local function list_of(given, what)
  if type(given) ~= 'table' then refuse('%s must be a list, got %s', what, errors.kind(given)) end
  local count = 0
  for key in pairs(given) do
    if type(key) ~= 'number' then
      refuse('%s must be a list, and has the name %s', what, options.shown(key))
    end
    count = count + 1
  end
  if count ~= #given then refuse('%s has a gap: a nil in a Lua table is no entry at all', what) end
  return given
end

-- ---- Conditions ---------------------------------------------------------------------------------

-- What each comparison needs at the end of its type, by the first letter of a value as JSON.
local STRING, NUMBER, BOOLEAN = 'string', 'number', 'boolean'
local LOW = { [STRING] = "'\"\"'::jsonb", [NUMBER] = "'\"\"'::jsonb", [BOOLEAN] = "'false'::jsonb" }
local HIGH = { [STRING] = "'false'::jsonb", [NUMBER] = "'false'::jsonb",
  [BOOLEAN] = "'true'::jsonb" }

local function type_of(json)
  if json:find('^"') then return STRING end
  if json:find('^[-%d]') then return NUMBER end
  return json:find('^[tf]') and BOOLEAN or nil
end

local function need(value, what)
  if value == nil then
    refuse('%s is nil, which would mean something else: say json.null for a null, or leave the '
      .. 'condition out', what)
  end
end

local kinds = {}

kinds['='] = function(names, value, what)
  need(value, what)
  local json = paths.encode(names, value)
  if json == 'null' then
    return { kind = 'null', sql = function() return expression.of(names) .. ' IS NULL' end }
  end
  return { kind = 'equal', sql = function(add)
    return expression.of(names) .. ' = ' .. add(json, 'jsonb')
  end }
end

local function comparison(operator)
  local lower = operator:sub(1, 1) == '<'
  return function(names, value, what)
    need(value, what)
    local json = paths.encode(names, value)
    local kind = type_of(json)
    if not kind then
      refuse("%s must be a string, a number, true or false: '%s' knows no order of %s", what,
        operator, json == 'null' and 'nulls' or 'tables')
    end
    -- behind the strings come numbers, and before the numbers strings: there the type is asked
    local open = lower and kind == NUMBER or not lower and kind == STRING
    return { kind = 'range', sql = function(add)
      local key = expression.of(names)
      local own = ('%s %s %s'):format(key, operator, add(json, 'jsonb'))
      local other = lower and ('%s >= %s'):format(key, LOW[kind])
        or ('%s %s %s'):format(key, kind == BOOLEAN and '<=' or '<', HIGH[kind])
      local asked = open and (" AND jsonb_typeof(%s) = '%s'"):format(expression.plain(names), kind)
        or ''
      return ('%s AND %s%s'):format(own, other, asked)
    end }
  end
end

for _, operator in ipairs({ '<', '<=', '>', '>=' }) do kinds[operator] = comparison(operator) end

kinds['in'] = function(names, value, what)
  need(value, what)
  local items, has_null = {}, false
  for _, item in ipairs(list_of(value, what)) do
    local json = paths.encode(names, item)
    if json == 'null' then
      has_null = true
    else
      items[#items + 1] = '"' .. json:gsub('[\\"]', '\\%0') .. '"'
    end
  end
  return { kind = 'range', sql = function(add)
    local key = expression.of(names)
    if #items == 0 then return has_null and key .. ' IS NULL' or 'false' end
    local list = add('{' .. table.concat(items, ',') .. '}', 'jsonb[]')
    local text = ('%s = ANY(%s)'):format(key, list)
    return has_null and ('(%s OR %s IS NULL)'):format(text, key) or text
  end }
end

-- The least text behind all that begin with this one, in the order of code points, which is that of
-- the bytes of UTF-8; nil: there is none.
local function behind(prefix)
  local characters = {}
  for character in prefix:gmatch('[%z\1-\127\194-\244][\128-\191]*') do
    characters[#characters + 1] = character
  end
  for i = #characters, 1, -1 do
    local bytes = { characters[i]:byte(1, -1) }
    local count, code = #bytes, bytes[1]
    if count > 1 then code = bytes[1] % 2 ^ (7 - count) end
    for k = 2, count do code = code * 64 + bytes[k] % 64 end
    code = code == 0xD7FF and 0xE000 or code + 1
    if code <= 0x10FFFF then
      local out = {}
      if code < 0x80 then
        out[1] = code
      else
        count = code < 0x800 and 2 or code < 0x10000 and 3 or 4
        for k = count, 2, -1 do
          out[k], code = 128 + code % 64, math.floor(code / 64)
        end
        out[1] = 256 - 2 ^ (8 - count) + code
      end
      return table.concat(characters, '', 1, i - 1) .. string.char(unpack(out))
    end
  end
end

kinds.prefix = function(names, value, what)
  need(value, what)
  if type(value) ~= 'string' or not paths.storable(value) then
    refuse('%s must be a string, for a prefix', what)
  end
  local last = behind(value)
  return { kind = 'prefix', sql = function(add)
    local text = expression.text(names)
    local parts = { ('%s ~>=~ %s'):format(text, add(value, 'text')) }
    if last then parts[2] = ('%s ~<~ %s'):format(text, add(last, 'text')) end
    parts[#parts + 1] = ("jsonb_typeof(%s) = 'string'"):format(expression.plain(names))
    return table.concat(parts, ' AND ')
  end }
end

kinds.has = function(names, value, what)
  need(value, what)
  -- as findByJsonArrayContains has it: of an array each element
  local json = paths.encode(names, value)
  if not json:find('^%[') then json = '[' .. json .. ']' end
  return { kind = 'contains', sql = function(add)
    return 'value @> ' .. add(paths.nest(names, json), 'jsonb')
  end }
end

kinds.exists = function(names, value, what)
  if value ~= nil and type(value) ~= 'boolean' then
    refuse('%s must be true or false, or left out', what)
  end
  return { kind = value == false and 'null' or 'value', sql = function()
    return expression.of(names) .. (value == false and ' IS NULL' or ' IS NOT NULL')
  end }
end

local INSTEAD = {
  ['=='] = "did you mean '='?", eq = "did you mean '='?", is = "did you mean '='?",
  ['!='] = 'say none = {{path, \'=\', value}}', ['~='] = 'say none = {{path, \'=\', value}}',
  ['<>'] = 'say none = {{path, \'=\', value}}', lt = "did you mean '<'?", gt = "did you mean '>'?",
  lte = "did you mean '<='?", gte = "did you mean '>='?", contains = "did you mean 'has'?",
  startswith = "did you mean 'prefix'?", like = "did you mean 'prefix'?",
}

-- ---- The id, which is a column ------------------------------------------------------------------

local ID_OPERATORS = { ['='] = true, ['<'] = true, ['<='] = true, ['>'] = true, ['>='] = true }

local function id_condition(operator, value, what)
  need(value, what)
  if ID_OPERATORS[operator] then
    local id = ids.parse(value)
    return { sql = function(add) return ('id %s %s'):format(operator, add(id, 'bigint')) end }
  elseif operator ~= 'in' then
    refuse("%s: the id takes =, <, <=, >, >= and in, and not '%s'", what, operator)
  end
  local items = {}
  for i, id in ipairs(list_of(value, what)) do items[i] = ids.parse(id) end
  return { sql = function(add)
    return ('id = ANY(%s)'):format(add('{' .. table.concat(items, ',') .. '}', 'bigint[]'))
  end }
end

---@return stores.sql.Leaf
local function leaf(given, what)
  local names = expression.names(given[1], 'the path of ' .. what)
  local operator, value = given[2], given[3]
  for key in pairs(given) do
    if key ~= 1 and key ~= 2 and key ~= 3 then
      refuse('%s must be {path, operator, value}, and has %s too', what, options.shown(key))
    end
  end
  if type(operator) ~= 'string' then
    refuse('%s must be {path, operator, value}: its operator is %s', what, errors.kind(operator))
  elseif not kinds[operator] then
    refuse("%s has the unknown operator '%s': %s", what, options.shown(operator),
      options.suggestion(operator, kinds, INSTEAD))
  end
  local of_value = ('the value of %s (%s)'):format(what, paths.show(names))
  if #names == 1 and names[1] == 'id' then
    local made = id_condition(operator, value, of_value)
    made.kind, made.names = 'id', names
    return made
  end
  local made = kinds[operator](names, value, of_value)
  made.names = names
  return made
end

-- ---- Groups -------------------------------------------------------------------------------------

local read

-- A condition begins with a path and an operator; a group has conditions, or groups.
local function is_group(given)
  return given.any ~= nil or given.none ~= nil or type(given[1]) == 'table'
    and type(given[2]) ~= 'string'
end

local function node(given, what, depth)
  if type(given) ~= 'table' then
    refuse('%s must be {path, operator, value}, got %s', what, errors.kind(given))
  elseif depth > DEEPEST then
    refuse('the groups of where are deeper than %d', DEEPEST)
  elseif is_group(given) then
    return read(given, what, depth + 1)
  end
  return leaf(given, what)
end

local function nodes(given, what, depth)
  local list = {}
  for i, item in ipairs(list_of(given, what)) do
    list[i] = node(item, ('%s[%d]'):format(what, i), depth)
  end
  if #list == 0 then
    refuse('%s is empty: leave it out where nothing is meant', what)
  end
  return list
end

function read(given, what, depth)
  local list, most = {}, 0
  for key in pairs(given) do
    if type(key) == 'number' then
      most = math.max(most, key)
    elseif key ~= 'any' and key ~= 'none' then
      refuse('%s has the unknown group %s: conditions are {path, operator, value}, groups any and '
        .. 'none', what, options.shown(key))
    end
  end
  for i = 1, most do
    if given[i] == nil then
      refuse('%s has a gap at %d: a nil in a Lua table is no entry at all', what, i)
    end
    list[i] = node(given[i], ('%s[%d]'):format(what, i), depth)
  end
  if given.any ~= nil then list[#list + 1] = { any = nodes(given.any, what .. '.any', depth) } end
  if given.none ~= nil then
    list[#list + 1] = { none = nodes(given.none, what .. '.none', depth) }
  end
  return { all = list }
end

--- Reads the option `where`.
---@param where stores.Where?
---@return stores.sql.Group all of them hold; none where nothing is asked
---Raises invalid_argument, invalid_document, invalid_id.
function criteria.read(where)
  if where == nil then return { all = {} } end
  if type(where) ~= 'table' then
    refuse("where must be a list of conditions such as {{'age', '>=', 18}}, got %s",
      errors.kind(where))
  elseif type(where[1]) == 'string' and type(where[2]) == 'string' then
    refuse('where is a list of conditions: say {{path, operator, value}}, with two braces')
  end
  return read(where, 'where', 1)
end

---@param at stores.sql.Node
---@param add stores.sql.Add
---@return string sql
local function emit(at, add)
  if at.sql then return at.sql(add) end
  local parts, list = {}, at.all or at.any or at.none
  for i, item in ipairs(list) do
    local text = emit(item, add)
    parts[i] = #list > 1 and '(' .. text .. ')' or text
  end
  local text = table.concat(parts, at.all and ' AND ' or ' OR ')
  return at.none and ('(%s) IS NOT TRUE'):format(text) or text
end

--- The conditions as SQL, each a string; all of them hold.
---@param group stores.sql.Group
---@param add stores.sql.Add
---@return string[]
function criteria.conditions(group, add)
  local parts = {}
  for i, item in ipairs(group.all) do parts[i] = '(' .. emit(item, add) .. ')' end
  return parts
end

--- Whether something of it asks the GIN index, and so is looked up before rows are put in order.
---@param at stores.sql.Node
---@return boolean
function criteria.contains(at)
  if at.sql then return at.kind == 'contains' end
  for _, item in ipairs(at.all or at.any or {}) do
    if criteria.contains(item) then return true end
  end
  return false
end

--- The paths that have one value in every row that matches.
---@param group stores.sql.Group
---@return table<string, boolean> by expression.name
---@return string[][] names of each, in the order in which they are asked
function criteria.fixed(group)
  local fixed, list = {}, {}
  for _, item in ipairs(group.all) do
    local name = item.kind == 'equal' and expression.name(item.names)
    if name and not fixed[name] then
      fixed[name] = true
      list[#list + 1] = item.names
    end
  end
  return fixed, list
end

return criteria
