--- The migrations of a declared table. The name of an index, and of the migration that makes it,
--- comes from what it is over, so that an index that is added is a migration more, and those that
--- ran stay as they are.

local expression = require('stores.sql.expression')
local names = require('stores.tables.names')
local bit = require('bit')

local migrations = {}

---@class stores.tables.Index
---@field name string of the index, as the catalog has it
---@field is_unique boolean
---@field over stores.sql.Index
---@field columns string as SQL has them
---@field path stores.Path|stores.Path[] of a unique one: what must not be there twice
---@field shown string the same for people

local NAME_LIMIT = 63

-- FNV-1a: eight hexadecimal digits that tell texts apart.
local function digest(text)
  local hash = bit.tobit(0x811c9dc5)
  for i = 1, #text do
    hash = bit.bxor(hash, text:byte(i))
    -- times 0x01000193, which is more than a double's product can hold
    hash = bit.tobit(hash + bit.lshift(hash, 1) + bit.lshift(hash, 4) + bit.lshift(hash, 7)
      + bit.lshift(hash, 8) + bit.lshift(hash, 24))
  end
  return bit.tohex(hash)
end

-- Cuts between two characters of UTF-8.
local function cut(text, most)
  if #text <= most then return text end
  return (text:sub(1, most):gsub('[\192-\255][\128-\191]*$', ''))
end

local function path_of(key)
  return #key.names == 1 and key.names[1] or key.names
end

--- An index of a table, named by what it is over.
---@param table_name string
---@param over stores.sql.Index
---@param is_unique boolean
---@return stores.tables.Index
function migrations.index(table_name, over, is_unique)
  local base = names.read(table_name)
  local words, paths = {}, {}
  for i, key in ipairs(over.keys) do
    paths[i] = path_of(key)
    words[i] = table.concat(key.names, '_'):gsub('[^%w_]', '')
  end
  local columns = expression.columns(over, is_unique)
  local tail = (is_unique and '_key_' or '_idx_') .. digest(columns)
  return {
    name = cut(base .. '_' .. table.concat(words, '_'), NAME_LIMIT - #tail) .. tail,
    is_unique = is_unique,
    over = over,
    columns = columns,
    path = #paths == 1 and paths[1] or paths,
    shown = expression.show(over):match('^%((.*)%)$'),
  }
end

--- The statement that makes an index, without a lock that would keep writers waiting.
---@param table_name string
---@param index stores.tables.Index
---@return string sql
function migrations.create(table_name, index)
  return ('CREATE %sINDEX CONCURRENTLY IF NOT EXISTS %s ON %s (%s)'):format(
    index.is_unique and 'UNIQUE ' or '', names.quoted(index.name), names.sql(table_name),
    index.columns)
end

local function shape(definition, distribute)
  local name, base = names.sql(definition.name), names.read(definition.name)
  local gin = names.quoted(cut(base, NAME_LIMIT - 10) .. '_value_idx')
  return {
    name = ('table %s'):format(definition.name),
    distribute = distribute,
    migration = ('CREATE TABLE IF NOT EXISTS %s (id bigint PRIMARY KEY, value jsonb NOT NULL);\n'
      .. 'CREATE INDEX IF NOT EXISTS %s ON %s USING gin (value jsonb_path_ops);'):format(name, gin,
      name),
  }
end

--- The migrations of a definition, in order.
---@param definition stores.Definition
---@param opts {distribute?: string}
---@return stores.Migration[]
function migrations.of(definition, opts)
  local list = { shape(definition, opts.distribute) }
  for _, index in ipairs(definition.indexes) do
    list[#list + 1] = {
      name = ('table %s: %s %s'):format(definition.name, index.is_unique and 'unique' or 'index',
        index.name),
      transaction = false,
      rebuild = true,
      migration = migrations.create(definition.name, index),
    }
  end
  return list
end

return migrations
