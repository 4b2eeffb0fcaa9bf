--- The list that a migration file returns: checked as a whole before anything runs.

local errors = require('stores.errors')
local options = require('stores.config.options')

local list = {}

---@class stores.Migration
---@field name string unique in its list, at most 1024 bytes
---@field type? 'db'|'lua' 'db' (the default) for SQL, 'lua' for a function
---@field migration string|fun(tx: table) SQL text, or for 'lua' a function of the transaction
---@field repeatable? boolean runs again when its text (or `version`) changed
---@field transaction? boolean false: statement by statement, outside a transaction
---@field lock_timeout? number seconds a statement may wait for a lock; 0, math.huge: for ever
---@field timeout? number seconds a statement may take; of a 'lua' one, the server's limit
---@field settings? table<string, string|number|boolean> PostgreSQL settings while it runs
---@field invalidates? string[] tables whose rows a DO or CALL outside a transaction changes
---@field rebuild? boolean an INVALID index that it left is dropped, and built again
---@field distribute? string on Citus: the column by which the tables that it creates are spread
---@field version? string of a 'lua' one: what stands in the ledger in place of a text

---@class stores.MigrationStep: stores.Migration
---@field text string what the ledger holds of it
---@field statements? stores.MigrationStatement[] of a 'db' one, filled by script.parse
---@field outside? boolean it runs outside a transaction, by its own word or by CONCURRENTLY

local NAME_LIMIT = 1024

--- The check of a time to wait: up to an hour, and math.huge for no limit. As for every call.
---@type stores.Check
list.seconds = options.seconds(3600, true)

--- The same, and 0 is allowed: not to wait at all, or where PostgreSQL is told, for ever.
---@type stores.Check
function list.seconds_or_zero(value)
  if value == 0 then return value end
  return list.seconds(value)
end

local function name_of(value)
  if type(value) ~= 'string' then return nil, 'a string, got ' .. errors.kind(value) end
  if value == '' then return nil, 'a name that is not empty' end
  if #value > NAME_LIMIT then
    return nil, ('at most %d bytes long, got %d'):format(NAME_LIMIT, #value)
  end
  if value:find('%z') then return nil, 'a name without NUL bytes' end
  return value
end

local function settings_of(value)
  local expected = 'a table from names to strings, numbers or booleans'
  if type(value) ~= 'table' then return nil, expected .. ', got ' .. errors.kind(value) end
  for name, setting in pairs(value) do
    local kind = type(setting)
    if type(name) ~= 'string' or (kind ~= 'string' and kind ~= 'number' and kind ~= 'boolean') then
      return nil, expected
    end
  end
  return value
end

local KEYS = {
  name = name_of,
  type = options.one_of({ 'db', 'lua' }),
  migration = options.any('any'),
  repeatable = options.boolean,
  transaction = options.boolean,
  lock_timeout = list.seconds_or_zero,
  timeout = list.seconds,
  settings = settings_of,
  invalidates = options.names,
  rebuild = options.boolean,
  distribute = options.text,
  version = options.text,
}

local function refuse(where, message, ...)
  errors.raise('invalid_argument', where .. ' ' .. message:format(...))
end

local function check_text(step, where)
  if type(step.migration) ~= 'string' then
    refuse(where, "needs SQL text in 'migration', got %s%s", errors.kind(step.migration),
      type(step.migration) == 'function' and " (say type = 'lua')" or '')
  elseif not step.migration:find('%S') then
    refuse(where, 'holds no statement')
  elseif step.migration:find('%z') then
    refuse(where, 'holds a NUL byte')
  elseif step.version then
    refuse(where, "has a 'version', which is for type = 'lua'")
  end
end

local function check_function(step, where)
  if type(step.migration) ~= 'function' then
    refuse(where, "needs a function in 'migration', got %s", errors.kind(step.migration))
  elseif step.transaction == false then
    refuse(where, "has type = 'lua', which always runs in a transaction")
  end
end

-- A function has no text that could be compared, so its author's version stands for it.
local function ledger_text(step)
  if step.type == 'db' then return step.migration end
  return step.version and 'lua ' .. step.version or 'lua'
end

local function read_entry(entry, index)
  local where = 'migration ' .. index
  if type(entry) ~= 'table' then refuse(where, 'must be a table, got %s', errors.kind(entry)) end
  if type(entry.name) == 'string' then
    where = ("%s '%s'"):format(where, entry.name:sub(1, 80):gsub('%c', '?'))
  end
  local step = options.check(entry, { where = where, keys = KEYS })
  if not step.name then refuse(where, 'has no name') end
  if step.migration == nil then refuse(where, "has no 'migration'") end
  step.type = step.type or 'db'
  if step.type == 'db' then
    check_text(step, where)
    step.migration = step.migration:gsub('^\239\187\191', '') -- the byte order mark of a file
  else
    check_function(step, where)
  end
  step.text = ledger_text(step)
  return step
end

local function check_array(entries)
  local count = 0
  if type(entries) ~= 'table' then
    refuse('the migrations', 'must be an array, got %s', errors.kind(entries))
  end
  for key in pairs(entries) do
    if type(key) ~= 'number' then
      refuse('the migrations', "must be an array of tables, but have a key '%s'", tostring(key))
    end
    count = count + 1
  end
  if count ~= #entries then refuse('the migrations', 'must be an array without gaps') end
end

-- An entry that is a list itself, or a declared table, stands for what is in it.
local function add_flat(flat, entries)
  check_array(entries)
  for _, entry in ipairs(entries) do
    if type(entry) == 'table' and entry.is_stores_definition then
      add_flat(flat, entry:migrations())
    elseif type(entry) == 'table' and entry[1] ~= nil and entry.name == nil then
      add_flat(flat, entry)
    else
      flat[#flat + 1] = entry
    end
  end
  return flat
end

--- Checks the whole list and gives a copy of its entries, in order, that the runner may mark.
---Raises invalid_argument or invalid_option, with the place and the name of the entry.
---@param entries (stores.Migration|stores.Definition|stores.Migration[])[]
---@return stores.MigrationStep[]
function list.read(entries)
  local steps, first = {}, {}
  for index, entry in ipairs(add_flat({}, entries)) do
    local step = read_entry(entry, index)
    if first[step.name] then
      refuse(("migration %d '%s'"):format(index, step.name:sub(1, 80)),
        'has the name of migration %d', first[step.name])
    end
    first[step.name] = index
    steps[index] = step
  end
  return steps
end

return list
