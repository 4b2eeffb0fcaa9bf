--- Where an import is, kept in the database itself: a document of the table stores_imports, written
--- in the transaction of each chunk. So whoever is killed, at whatever point, goes on right there.

local created = require('stores.verbs.created')
local errors = require('stores.errors')
local json = require('stores.json')
local names = require('stores.tables.names')
local bit = require('bit')

local places = {}

local TABLE = 'stores_imports'
local CREATE = 'CREATE TABLE IF NOT EXISTS stores_imports (id bigint PRIMARY KEY, value jsonb)'

-- 31 bits of FNV-1a.
local function hash(text, seed)
  local value = bit.tobit(seed)
  for i = 1, #text do
    value = bit.bxor(value, text:byte(i))
    value = bit.tobit(value + bit.lshift(value, 1) + bit.lshift(value, 4) + bit.lshift(value, 7)
      + bit.lshift(value, 8) + bit.lshift(value, 24))
  end
  return bit.band(value, 0x7fffffff)
end

-- An id of the database's own shard.
local function id_of(store, key, count)
  local id = hash(key, 0x811c9dc5) * 2 ^ 20 + hash(key, 0x1234567) % 2 ^ 20
  return ('%.0f'):format(id - id % count + (store.shard or 0))
end

--- The place of a file in a database. Nothing is there: 0.
---@param store stores.Store
---@param name string the table
---@param path string
---@param count integer of shards
---@return integer line
---@return fun(tx: stores.Transaction, line: integer) note
function places.open(store, name, path, count)
  local key = (names.key(name) or name) .. '\0' .. path
  local id = id_of(store, key, count)
  created.ensure(store, CREATE)
  local found = store:find(TABLE, id, { cache = false })
  if found and (found.file ~= path or found.table ~= name) then
    errors.raise('conflict', ('%s has another import under the id %s'):format(TABLE, id))
  end
  local function note(tx, line)
    tx:upsert(TABLE, { id = id, table = name, file = path, line = line, at = json.number(
      ('%d'):format(os.time())) }, { cache = false })
  end
  return found and tonumber(tostring(found.line)) or 0, note
end

return places
