--- SQL/JSON paths with variables. A variable that PostgreSQL gets as such keeps the index from
--- being used, so the values are written into the path, as literals. The path is read lexically, as
--- PostgreSQL's own scanner does: strings, quoted names and comments are left alone.

local call = require('stores.config.call')
local errors = require('stores.errors')
local options = require('stores.config.options')
local paths = require('stores.sql.paths')

local jsonpath = {}

-- What cannot stand in a name that is not quoted.
local SPECIAL = '?%%$.%[%]{}()|&!=<>@#,*:%-+/\\" \t\n\r\f'
local NAME = '^[^' .. SPECIAL .. ']+'

-- Words that make a predicate, where they are not names of members.
local PREDICATES = { exists = true, is = true, starts = true, like_regex = true }

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

local ESCAPES = { b = '\b', f = '\f', n = '\n', r = '\r', t = '\t', v = '\v' }

-- The name inside $"..": only the short escapes, for a name with others can be written plainly.
local function unquote(text)
  return (text:gsub('\\(.)', function(char)
    if char == 'u' or char == 'x' then
      refuse('the path names a variable with \\%s: write its characters plainly', char)
    end
    return ESCAPES[char] or char
  end))
end

-- The position of the quote that ends the string begun at `from`.
local function string_end(path, from)
  local at = from + 1
  while true do
    at = path:find('[\\"]', at)
    if not at then refuse('the path ends inside a string') end
    if path:byte(at) == 34 then return at end
    at = at + 2
  end
end

-- A scalar as it stands in a path, apart from its neighbours. Numbers are in parentheses: .abs()
-- after -5 would otherwise bind to 5.
local function literal(name, value)
  if type(value) == 'table' then
    refuse('the variable $%s must be a string, a number, true, false or null: '
      .. 'a path has no literals for tables', name)
  end
  local text = paths.json(value)
  if text:find('^[-%d]') then return ' (' .. text .. ') ' end
  return ' ' .. text .. ' '
end

-- One walk over a path: `out` grows, `filters` tells of each open parenthesis whether it is a
-- filter's, and how many of those are open.
local function walk(path, vars, used)
  local out, filters, open_filters = {}, {}, 0
  local predicate, previous, at = false, '', 1
  local function put(last, token)
    out[#out + 1] = path:sub(at, last)
    previous, at = token or path:sub(last, last), last + 1
  end
  local function variable(name, last)
    if vars[name] == nil then
      refuse("the path has the variable $%s, and the variables do not: %s", name,
        next(vars) == nil and 'there are none' or 'they are ' .. options.list(vars))
    end
    used[name] = true
    out[#out + 1] = literal(name, vars[name])
    previous, at = 'value', last + 1
  end
  while at <= #path do
    local char = path:sub(at, at)
    local name_end = select(2, path:find(NAME, at))
    if char:find('[ \t\n\r\f]') then
      put(at, previous)
    elseif char == '"' then
      put(string_end(path, at), 'value')
    elseif path:find('^/%*', at) then
      local last = select(2, path:find('*/', at + 2, true))
      if not last then refuse('the path ends inside a comment') end
      put(last, previous)
    elseif char == '$' and path:find('^"', at + 1) then
      local last = string_end(path, at + 1)
      variable(unquote(path:sub(at + 2, last - 1)), last)
    elseif char == '$' and path:find(NAME, at + 1) then
      local last = select(2, path:find(NAME, at + 1))
      variable(path:sub(at + 1, last), last)
    elseif name_end then
      local word = path:sub(at, name_end)
      if PREDICATES[word:lower()] and previous ~= '.' and open_filters == 0 then
        predicate = true
      end
      put(name_end, 'name')
    else
      if char == '(' then
        filters[#filters + 1] = previous == '?'
        open_filters = open_filters + (previous == '?' and 1 or 0)
      elseif char == ')' then
        if table.remove(filters) then open_filters = open_filters - 1 end
      elseif char:find('[=<>!&|]') and open_filters == 0 then
        predicate = true
      end
      -- A backslash in a name takes the next character with it; the server knows what it means.
      put(char == '\\' and math.min(at + 1, #path) or at)
    end
  end
  return table.concat(out), predicate
end

--- Writes variables into a path.
---@param path string
---@param vars table<string, any>? names without the dollar -> strings, numbers, booleans, json.null
---@return string path
---@return boolean predicate whether it is a comparison and the like outside any filter, which gives
---  true or false for every document, and so "exists" in every one
---Raises invalid_argument for a variable that is missing, unused or a table.
function jsonpath.bind(path, vars)
  if type(path) ~= 'string' then
    refuse('the path must be a string, got %s', errors.kind(path))
  elseif not path:find('%S') then
    refuse('the path is empty')
  elseif path:find('%z') then
    refuse('the path has a NUL byte')
  end
  if vars == nil then vars = {} end
  if type(vars) ~= 'table' then
    refuse('the variables must be a table of names, got %s', errors.kind(vars))
  end
  for name in pairs(vars) do
    if type(name) ~= 'string' then
      refuse('the variables must be a table of names: {name = value}')
    end
  end
  local used = {}
  local text, predicate = walk(path, vars, used)
  for name in pairs(vars) do
    if not used[name] and call.is_option(name) then
      refuse("the third argument is the variables of the path, which has no $%s; options such as "
        .. "'%s' go in the fourth (the variables may be nil)", name, name)
    elseif not used[name] then
      refuse('the variable %s is not used: the path has no $%s', name, name)
    end
  end
  return text, predicate
end

return jsonpath
