--- The list that a migration file returns: checked as a whole before anything runs.

local errors = require('stores.errors')
local names = require('stores.tables.names')
local options = require('stores.config.options')

local list = {}

---@alias stores.MigrationList (stores.Migration|stores.Definition|table[])[]

---@class stores.Migration
---@field name string unique in its list, at most 1024 bytes
---@field type? 'db'|'lua'|'backfill'|'checkpoint' 'db' (the default) for SQL, 'lua' for a function
---@field migration? string|fun(tx: stores.Transaction) SQL text, or for 'lua' a
--- function of the transaction
---@field file? string the file of its SQL, in place of `migration`
---@field phase? 'contract' it runs where a run is told to finish, and is left out until then
---@field repeatable? boolean runs again when its text (or `version`) changed
---@field transaction? boolean false: statement by statement, outside a transaction
---@field lock_timeout? number seconds a statement may wait for a lock; 0, math.huge: for ever
---@field timeout? number seconds a statement may take; of a 'lua' one, the server's limit
---@field settings? table<string, string|number|boolean> PostgreSQL settings while it runs
---@field invalidates? string[] tables whose rows a DO or CALL outside a transaction changes
---@field rebuild? boolean an INVALID index that it left is dropped, and built again
---@field distribute? string on Citus: the column by which the tables that it creates are spread, or
---       'reference': all of them on each server
---@field version? string of a function: what stands in the ledger in place of a text
---@field table? string of a backfill: whose rows it goes through
---@field fn? fun(document: table, tx: stores.Transaction): table|false|nil of a backfill: changes
--- a document
---@field batch? integer of a backfill: rows of one transaction, 1000 unless told otherwise
---@field pause? number of a backfill: seconds between two of them, 0.01 unless told otherwise
---@field replaces? string[] of a checkpoint: names of those that the list does not have any more

---@class stores.MigrationStep: stores.Migration
---@field text string what the ledger holds of it
---@field statements? stores.MigrationStatement[] of one in SQL, filled by script.parse
---@field outside? boolean it runs outside a transaction, by its own word or by CONCURRENTLY
---@field covers? stores.MigrationStep[] of a checkpoint that runs: those that it stands for
---@field passes? boolean a checkpoint of a database that came there by the migrations before it

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
  if not options.is_utf8(value) then return nil, 'a name in UTF-8' end
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
  type = options.one_of({ 'db', 'lua', 'backfill', 'checkpoint' }),
  file = options.text,
  phase = options.one_of({ 'contract' }),
  migration = options.any('any'),
  repeatable = options.boolean,
  transaction = options.boolean,
  lock_timeout = list.seconds_or_zero,
  timeout = list.seconds,
  settings = settings_of,
  invalidates = options.names,
  rebuild = options.boolean,
  distribute = options.text,
  version = function(value)
    local text, expected = options.text(value)
    if text and not options.is_utf8(text) then return nil, 'a text in UTF-8' end
    return text, expected
  end,
  table = options.text,
  fn = options.callback(),
  batch = options.integer(1, 100000),
  pause = list.seconds_or_zero,
  replaces = options.names,
}

-- What only one type has a use for.
local OF_BACKFILL = { 'table', 'fn', 'batch', 'pause' }
local REFUSED = {
  db = { 'version', 'replaces', unpack(OF_BACKFILL) },
  lua = { 'replaces', 'file', unpack(OF_BACKFILL) },
  backfill = { 'replaces', 'transaction', 'rebuild', 'distribute', 'invalidates' },
  checkpoint = { 'version', 'phase', 'repeatable', 'transaction', unpack(OF_BACKFILL) },
}

-- Lists within lists: what is deeper contains itself.
local DEEPEST = 100

local function refuse(where, message, ...)
  errors.raise('invalid_argument', where .. ' ' .. message:format(...))
end

local function check_depth(depth)
  if depth > DEEPEST then refuse('the migrations', 'are a list that contains itself') end
end

-- What an editor or a shell may have made of a file. The server would refuse the text where it is
-- written into the ledger, or into the journal, after others have run.
local function check_encoding(text, where)
  if text:find('^\255\254') or text:find('^\254\255') then
    refuse(where, 'is UTF-16: save it as UTF-8')
  elseif text:find('%z') then
    refuse(where, 'holds a NUL byte')
  elseif options.is_utf8(text) then
    return
  end
  local number = 0
  for line in (text .. '\n'):gmatch('(.-)\n') do
    number = number + 1
    if not options.is_utf8(line) then refuse(where, 'is not UTF-8, on line %d', number) end
  end
end

local function check_text(step, where)
  if type(step.migration) ~= 'string' then
    refuse(where, "needs SQL text in 'migration', got %s%s", errors.kind(step.migration),
      type(step.migration) == 'function' and " (say type = 'lua')" or '')
  elseif not step.migration:find('%S') then
    refuse(where, 'holds no statement')
  end
  check_encoding(step.migration, where)
end

local function check_function(step, where)
  if type(step.migration) ~= 'function' then
    refuse(where, "needs a function in 'migration', got %s", errors.kind(step.migration))
  elseif step.transaction == false then
    refuse(where, "has type = 'lua', which always runs in a transaction")
  end
end

-- Either a function for the documents of a table, or a statement that says itself which rows.
local function check_backfill(step, where)
  if step.fn ~= nil and step.migration ~= nil then
    refuse(where, "has both a 'fn' and a statement in 'migration'")
  elseif step.fn then
    if not step.table then refuse(where, "has a 'fn' for the documents of no 'table'") end
    if not names.read(step.table) then refuse(where, "names no table: '%s'", step.table) end
  elseif step.migration == nil then
    refuse(where, "needs a 'fn' for the documents of its table, or SQL in 'migration'")
  elseif step.version then
    refuse(where, "has a 'version', which is for a 'fn'")
  else
    check_text(step, where)
  end
end

local CHECKS = { db = check_text, checkpoint = check_text, lua = check_function,
                 backfill = check_backfill }

-- A function has no text that could be compared, so its author's version stands for it.
local function ledger_text(step)
  if type(step.migration) == 'string' then return step.migration end
  return step.version and step.type .. ' ' .. step.version or step.type
end

local function check_keys(step, where)
  for _, key in ipairs(REFUSED[step.type]) do
    if step[key] ~= nil then
      refuse(where, "has '%s', which is not for type = '%s'", key, step.type)
    end
  end
end

local function read_file(path, where)
  local file, problem = io.open(path, 'rb')
  local text = file and file:read('*a')
  if file then file:close() end
  if not text then
    refuse(where, 'has a file that cannot be read: %s', tostring(problem or path))
  end
  return text
end

--- Takes the text of a file in place of its name, of each entry that has one.
---@param entries any what a migration file returned
---@param folder string where names of files begin, with its last slash
---@param depth integer?
function list.read_files(entries, folder, depth)
  depth = depth or 1
  if type(entries) ~= 'table' or entries.is_stores_definition then return end
  check_depth(depth)
  for index, entry in ipairs(entries) do
    if type(entry) == 'table' and type(entry.file) == 'string' and entry.migration == nil then
      local path = entry.file:find('^/') and entry.file or folder .. entry.file
      entry.migration, entry.file = read_file(path, 'migration ' .. index), nil
    else
      list.read_files(entry, folder, depth + 1)
    end
  end
end

local function read_entry(entry, index)
  local where = 'migration ' .. index
  if type(entry) ~= 'table' then refuse(where, 'must be a table, got %s', errors.kind(entry)) end
  if type(entry.name) == 'string' then
    where = ("%s '%s'"):format(where, entry.name:sub(1, 80):gsub('%c', '?'))
  end
  local step = options.check(entry, { where = where, keys = KEYS })
  if not step.name then refuse(where, 'has no name') end
  step.type = step.type or 'db'
  check_keys(step, where)
  if step.file then
    if step.migration ~= nil then refuse(where, "has a 'file' and a 'migration'") end
    step.migration, step.file = read_file(step.file, where), nil
  elseif step.migration == nil and step.type ~= 'backfill' then
    refuse(where, "has no 'migration'")
  end
  CHECKS[step.type](step, where)
  if type(step.migration) == 'string' then
    step.migration = step.migration:gsub('^\239\187\191', '') -- the byte order mark of a file
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
local function add_flat(flat, entries, depth)
  check_depth(depth)
  check_array(entries)
  for _, entry in ipairs(entries) do
    if type(entry) == 'table' and entry.is_stores_definition then
      add_flat(flat, entry:migrations(), depth + 1)
    elseif type(entry) == 'table' and entry[1] ~= nil and entry.name == nil then
      add_flat(flat, entry, depth + 1)
    else
      flat[#flat + 1] = entry
    end
  end
  return flat
end

--- The entries of a list, without those that stand for others.
---@param entries stores.MigrationList
---@return stores.Migration[]
function list.flat(entries)
  return add_flat({}, entries, 1)
end

--- Checks the whole list and gives a copy of its entries, in order, that the runner may mark.
---Raises invalid_argument or invalid_option, with the place and the name of the entry.
---@param entries stores.MigrationList
---@return stores.MigrationStep[]
function list.read(entries)
  local steps, first = {}, {}
  for index, entry in ipairs(add_flat({}, entries, 1)) do
    local step = read_entry(entry, index)
    if step.type == 'checkpoint' and index == 1 and not step.replaces then
      refuse(("migration 1 '%s'"):format(step.name:sub(1, 80)), 'is a checkpoint and stands for '
        .. 'none: name those that it took the place of in replaces = { .. }')
    end
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
