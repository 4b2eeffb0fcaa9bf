--- What a statement does to which tables, as far as the lint asks for it.

local Reader = require('stores.migrate.lint.read')

local statement = {}

---@class stores.lint.Action
---@field kind string of an ALTER TABLE: 'add_column', 'set_not_null', 'type', 'add_constraint' ...
---@field column? string
---@field constraint? string its name
---@field reader stores.lint.Reader of what follows

---@class stores.lint.Statement
---@field kind string 'alter_table', 'create_index', 'drop', 'update' ...
---@field tables string[] that it names
---@field actions stores.lint.Action[] of an ALTER TABLE
---@field reader stores.lint.Reader of what follows
---@field whole stores.lint.Reader of all of it, from its first word
---@field line integer

-- ---- ALTER TABLE --------------------------------------------------------------------------------

local CONSTRAINTS = { CHECK = true, FOREIGN = true, PRIMARY = true, UNIQUE = true, EXCLUDE = true }

local function add(reader)
  if reader:take('CONSTRAINT') then
    return { kind = 'add_constraint', constraint = reader:part() }
  end
  local word = reader:peek()
  if word and word.kind == 'word' and CONSTRAINTS[word.value] then
    return { kind = 'add_constraint' }
  end
  reader:take('COLUMN')
  reader:take('IF', 'NOT', 'EXISTS')
  return { kind = 'add_column', column = reader:part() }
end

local function alter_column(reader)
  reader:take('COLUMN')
  local column = reader:part()
  if reader:take('SET', 'NOT', 'NULL') then return { kind = 'set_not_null', column = column } end
  if reader:take('TYPE') or reader:take('SET', 'DATA', 'TYPE') then
    return { kind = 'type', column = column }
  end
  return { kind = 'alter_column', column = column }
end

local function drop(reader)
  if reader:take('CONSTRAINT') then return { kind = 'drop_constraint' } end
  reader:take('COLUMN')
  reader:take('IF', 'EXISTS')
  return { kind = 'drop_column', column = reader:part() }
end

local function rename(reader)
  if reader:take('CONSTRAINT') then return { kind = 'rename_constraint' } end
  if reader:take('TO') then return { kind = 'rename' } end
  reader:take('COLUMN')
  return { kind = 'rename_column', column = reader:part() }
end

-- First words of an action -> what it is. The longer ones stand first.
local ACTIONS = {
  { { 'ADD' }, add }, { { 'ALTER', 'CONSTRAINT' }, 'alter_constraint' },
  { { 'ALTER' }, alter_column }, { { 'DROP' }, drop }, { { 'RENAME' }, rename },
  { { 'SET', 'SCHEMA' }, 'set_schema' }, { { 'SET', 'TABLESPACE' }, 'rewrite' },
  { { 'SET', 'LOGGED' }, 'rewrite' }, { { 'SET', 'UNLOGGED' }, 'unlogged' },
  { { 'SET', 'ACCESS', 'METHOD' }, 'rewrite' },
  { { 'ENABLE', 'ROW', 'LEVEL', 'SECURITY' }, 'row_security' },
  { { 'VALIDATE', 'CONSTRAINT' }, 'validate' },
}

local function action_of(reader)
  for _, pair in ipairs(ACTIONS) do
    if reader:take(unpack(pair[1])) then
      local kind = pair[2]
      local action = type(kind) == 'function' and kind(reader) or { kind = kind }
      if kind == 'validate' then action.constraint = reader:part() end
      action.reader = reader
      return action
    end
  end
  return { kind = 'other', reader = reader }
end

local function alter_table(reader, found)
  reader:take('IF', 'EXISTS')
  found.tables = { (reader:names())[1] }
  for place, part in ipairs(reader:parts()) do found.actions[place] = action_of(part) end
end

-- ---- The others ---------------------------------------------------------------------------------

-- [UNIQUE] INDEX has been read.
local function create_index(reader, found)
  found.is_concurrent = reader:take('CONCURRENTLY')
  found.if_not_exists = reader:take('IF', 'NOT', 'EXISTS')
  if not reader:next_is('ON') then found.index = reader:name() end
  reader:take('ON')
  reader:take('ONLY')
  found.tables = { reader:name() }
end

local function create_table(reader, found)
  reader:take('IF', 'NOT', 'EXISTS')
  found.tables = { reader:name() }
end

local function several(reader, found)
  reader:take('IF', 'EXISTS')
  reader:take('TABLE')
  found.tables = reader:names()
end

local function one(reader, found)
  reader:take('ONLY')
  found.tables = { reader:name() }
end

local function behind(word)
  return function(reader, found)
    while reader:peek() and not reader:take(word) do reader.at = reader.at + 1 end
    found.tables = { reader:name() }
  end
end

local function maintenance(reader, found)
  found.is_concurrent = reader:has('CONCURRENTLY')
  for _, word in ipairs({ 'TABLE', 'INDEX', 'CONCURRENTLY', 'VERBOSE' }) do reader:take(word) end
  found.tables = { reader:name() }
end

local function vacuum(reader, found)
  found.is_full = reader:has('FULL')
  if reader:take('(') then
    while reader:peek() and not reader:take(')') do reader.at = reader.at + 1 end
  end
  for _, word in ipairs({ 'FULL', 'FREEZE', 'VERBOSE', 'ANALYZE' }) do reader:take(word) end
  found.tables = { reader:name() }
end

local function nothing() end

-- First words -> what it is, and who reads the rest. The longer ones stand first.
local KINDS = {
  { { 'ALTER', 'TABLE' }, 'alter_table', alter_table },
  { { 'ALTER', 'TYPE' }, 'alter_type', one },
  { { 'ALTER', 'DATABASE' }, 'alter_settings', nothing },
  { { 'ALTER', 'ROLE' }, 'alter_settings', nothing },
  { { 'ALTER', 'USER' }, 'alter_settings', nothing },
  { { 'ALTER', 'SYSTEM' }, 'alter_settings', nothing },
  { { 'ALTER', 'INDEX' }, 'other', nothing },
  { { 'ALTER' }, 'alter', nothing },
  { { 'CREATE', 'INDEX' }, 'create_index', create_index },
  { { 'CREATE', 'UNIQUE', 'INDEX' }, 'create_index', create_index },
  { { 'CREATE', 'UNLOGGED', 'TABLE' }, 'create_unlogged', create_table },
  { { 'CREATE', 'TEMP' }, 'create_temporary', nothing },
  { { 'CREATE', 'TEMPORARY' }, 'create_temporary', nothing },
  { { 'CREATE', 'TABLE' }, 'create_table', create_table },
  { { 'CREATE', 'TRIGGER' }, 'create_trigger', behind('ON') },
  { { 'CREATE', 'CONSTRAINT', 'TRIGGER' }, 'create_trigger', behind('ON') },
  { { 'CREATE', 'RULE' }, 'create_rule', behind('TO') },
  { { 'CREATE', 'OR', 'REPLACE', 'RULE' }, 'create_rule', behind('TO') },
  { { 'DROP', 'INDEX' }, 'drop_index', nothing },
  { { 'DROP', 'TABLE' }, 'drop_table', several },
  { { 'DROP', 'VIEW' }, 'drop', several }, { { 'DROP', 'MATERIALIZED', 'VIEW' }, 'drop', several },
  { { 'DROP', 'FUNCTION' }, 'drop', several }, { { 'DROP', 'PROCEDURE' }, 'drop', several },
  { { 'DROP', 'SCHEMA' }, 'drop', several }, { { 'DROP', 'SEQUENCE' }, 'drop', several },
  { { 'DROP', 'TYPE' }, 'drop', several }, { { 'DROP', 'DOMAIN' }, 'drop', several },
  { { 'TRUNCATE' }, 'truncate', several }, { { 'LOCK' }, 'lock', several },
  { { 'UPDATE' }, 'update', one }, { { 'DELETE', 'FROM' }, 'delete', one },
  { { 'INSERT', 'INTO' }, 'insert', one },
  { { 'REINDEX' }, 'reindex', maintenance }, { { 'CLUSTER' }, 'cluster', maintenance },
  { { 'VACUUM' }, 'vacuum', vacuum },
  { { 'REFRESH', 'MATERIALIZED', 'VIEW' }, 'refresh', maintenance },
  { { 'SET' }, 'set', nothing }, { { 'LISTEN' }, 'listen', nothing },
  { { 'PREPARE' }, 'prepare', nothing }, { { 'DECLARE' }, 'declare', nothing },
  { { 'SELECT' }, 'select', nothing },
}

local BEHIND_WITH = { UPDATE = true, DELETE = true, INSERT = true, SELECT = true }

-- The queries of a WITH stand in parentheses.
local function pass_with(reader)
  if not reader:take('WITH') then return end
  local word = reader:peek()
  while word and not (word.depth == 0 and word.kind == 'word' and BEHIND_WITH[word.value]) do
    reader.at = reader.at + 1
    word = reader:peek()
  end
end

--- Reads a statement.
---@param text string
---@param line? integer where it begins
---@return stores.lint.Statement
function statement.read(text, line)
  local reader = Reader.new(text)
  local found = { kind = 'other', tables = {}, actions = {}, reader = reader, line = line,
                  whole = Reader.new(text) }
  pass_with(reader)
  for _, row in ipairs(KINDS) do
    if reader:take(unpack(row[1])) then
      found.kind = row[2]
      row[3](reader, found)
      return found
    end
  end
  return found
end

return statement
