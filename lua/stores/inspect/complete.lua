--- What may stand where a word begins: verbs behind `store:`, members behind a dot, names of tables
--- inside of quotes, and else what there is by name.

local sorted = require('stores.sorted')
local verbs = require('stores.verbs.list').verbs

local complete = {}

local KEYWORDS = { 'and', 'break', 'do', 'else', 'elseif', 'end', 'false', 'for', 'function', 'if',
  'in', 'local', 'nil', 'not', 'or', 'repeat', 'return', 'then', 'true', 'until', 'while' }

local function take(found, before, word, candidates)
  for _, candidate in ipairs(candidates) do
    if candidate:sub(1, #word) == word then found[before .. candidate] = true end
  end
end

-- The verbs that a value of this kind has.
local function verbs_of(value)
  local list = {}
  for _, row in ipairs(verbs) do
    local has = type(value) == 'table' and type(value[row.name]) == 'function'
    if has and not row.is_internal then list[#list + 1] = row.name end
  end
  return list
end

local function members_of(value)
  local list = {}
  if type(value) ~= 'table' then return list end
  for name in pairs(value) do
    if type(name) == 'string' and name:find('^[%a_][%w_]*$') then list[#list + 1] = name end
  end
  return list
end

-- What names with dots between them stand for; nothing is called for it.
local function value_of(env, path)
  local value = env
  for name in path:gmatch('[^.]+') do
    if type(value) ~= 'table' then return nil end
    value = rawget(value, name)
    if value == nil and env == value then return nil end
  end
  return value
end

--- A function that gives the completions of a word.
---@param env table by which a line is run
---@param tables fun(): string[] names of tables
---@return fun(word: string): string[]
function complete.new(env, tables)
  return function(word)
    local found = {}
    local quote, name = word:match('^.-(["\'])([^"\']*)$')
    if quote then
      take(found, word:sub(1, #word - #name), name, tables())
      return sorted(found)
    end
    local path, mark, rest = word:match('^([%w_.]+)([:.])([%w_]*)$')
    if not path then
      take(found, '', word, members_of(env))
      take(found, '', word, members_of(_G))
      take(found, '', word, KEYWORDS)
      return sorted(found)
    end
    local value = value_of(env, path)
    if value == nil then value = value_of(_G, path) end
    take(found, path .. mark, rest, mark == ':' and verbs_of(value) or members_of(value))
    return sorted(found)
  end
end

--- A name as a caller writes it: without a schema where it is public's.
---@param name string as the catalog writes it in SQL
---@return string
function complete.table_name(name)
  return (name:gsub('^public%.', ''))
end

return complete
