--- What PostgreSQL's catalog says of tables, for those who look.

local core = require('stores.core')
local errors = require('stores.errors')
local json = require('stores.json')
local names = require('stores.tables.names')
local wait = require('stores.wait')

local catalog = {}

---@class stores.CatalogTable
---@field oid integer
---@field name string with its schema, as it stands in SQL
---@field kind string relkind
---@field rows number what the server thinks that there are; -1: it does not know
---@field pages number
---@field id_type string? of the column id; nil: there is none
---@field value_type string? of the column value
---@field is_keyed boolean an index says that an id is there once
---@field has_gin boolean an index over the documents
---@field in_extension boolean
---@field is_locked boolean somebody has all of it, or waits for that: who reads it waits, too

-- The type of a column; of a domain that under it.
local COLUMN = [[(SELECT format_type(CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END,
    NULL) FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  WHERE a.attrelid = c.oid AND a.attname = '%s' AND NOT a.attisdropped)]]

-- To ask how large a table is takes a lock of it: where somebody has all of it, or waits for that,
-- the size is what the catalog last knew.
local TABLES = [[
SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind,
  c.reltuples::float8 AS rows,
  CASE WHEN k.is_locked THEN c.relpages::float8 ELSE
    (coalesce(CASE c.relkind WHEN 'p' THEN (SELECT sum(pg_relation_size(t.relid))
    FROM pg_partition_tree(c.oid) t) ELSE pg_relation_size(c.oid) END, 0)
    / current_setting('block_size')::int)::float8 END AS pages, k.is_locked,
  ]] .. COLUMN:format('id') .. [[ AS id_type,
  ]] .. COLUMN:format('value') .. [[ AS value_type,
  EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id'
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
    AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS is_keyed,
  EXISTS (SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
    JOIN pg_am m ON m.oid = x.relam AND m.amname = 'gin'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'value'
    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
    AND a.attnum = ANY(i.indkey::int2[])) AS has_gin,
  EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
    AND d.deptype = 'e') AS in_extension
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT c.oid IN (SELECT l.relation FROM pg_locks l
  WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.database = (SELECT d.oid
  FROM pg_database d WHERE d.datname = current_database())) AS is_locked) k
WHERE ]]

--- SQL of a look, which changes nothing.
---@param store stores.Store
---@param sql string
---@param params? string[]
---@return table[]
function catalog.ask(store, sql, params)
  return (store:query(sql, params, { readonly = true, raw = false }))
end

local function taken(row)
  for key, value in pairs(row) do
    if value == json.null then row[key] = nil end
  end
  row.oid = tonumber(row.oid)
  return row
end

--- A table, or what else has the name.
---@param store stores.Store
---@param name string as a caller writes it
---@return stores.CatalogTable
---Raises invalid_table, table_not_found.
function catalog.table(store, name)
  local row = catalog.ask(store, TABLES .. 'c.oid = to_regclass($1)', { names.sql(name) })[1]
  if not row then
    errors.raise('table_not_found', ('there is no table %s'):format(name), { table = name })
  end
  return taken(row)
end

--- The tables that look as if they were of Stores: those that have an id and a value.
---@param store stores.Store
---@return stores.CatalogTable[]
function catalog.tables(store)
  local list = {}
  for _, row in ipairs(catalog.ask(store, TABLES .. [[
    c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND c.relname <> 'stores_imports'
    ORDER BY n.nspname, c.relname]])) do
    taken(row)
    if row.id_type and row.value_type and not row.in_extension then list[#list + 1] = row end
  end
  return list
end

local NUMBERS = { smallint = true, integer = true, numeric = true }

-- Of a uuid and the like no bigint can be made.
local function to_bigint(alter, id_type)
  local bare = id_type:gsub('%(.*%)$', '')
  if NUMBERS[bare] then return alter .. 'ALTER COLUMN id TYPE bigint' end
  if bare == 'text' or bare == 'character varying' then
    return alter .. 'ALTER COLUMN id TYPE bigint USING id::bigint'
  end
  return 'copy its rows into a table (id bigint PRIMARY KEY, value jsonb), under ids that '
    .. 'store:generateId() gives'
end

--- What a table lacks to be one of Stores, in words; empty: nothing.
---@param row stores.CatalogTable
---@return {text: string, advice: string}[]
function catalog.lacks(row)
  local list = {}
  local function add(text, advice) list[#list + 1] = { text = text, advice = advice } end
  local alter = ('ALTER TABLE %s '):format(row.name)
  if not row.id_type then
    add('it has no column id', alter .. 'ADD COLUMN id bigint PRIMARY KEY')
  elseif row.id_type ~= 'bigint' then
    add(('its id is %s, and should be bigint'):format(row.id_type), to_bigint(alter, row.id_type))
  end
  if not row.value_type then
    add('it has no column value', alter .. 'ADD COLUMN value jsonb')
  elseif row.value_type ~= 'jsonb' then
    add(('its value is %s, and should be jsonb'):format(row.value_type),
      alter .. 'ALTER COLUMN value TYPE jsonb USING value::jsonb')
  end
  if row.id_type and not row.is_keyed and (row.kind == 'r' or row.kind == 'p') then
    add('no index says that an id is there once', alter .. 'ADD PRIMARY KEY (id)')
  end
  return list
end

--- Who has a locked table, as SQL that tells.
---@param row stores.CatalogTable
---@return string
function catalog.who_locks(row)
  return ('SELECT a.pid, a.application_name, a.query FROM pg_locks l JOIN pg_stat_activity a '
    .. "USING (pid) WHERE l.relation = %d AND l.mode = 'AccessExclusiveLock'"):format(row.oid)
end

---@class stores.TableFacts what the core knows of a table
---@field oid integer
---@field uncached string why its rows are not cached, or ''
---@field reaches boolean any write turns it
---@field cascades boolean a deletion does

--- Has the core meet a table, and gives what it knows of it.
---@param store stores.Store
---@param name string
---@param oid integer
---@return stores.TableFacts?
function catalog.facts(store, name, oid)
  local ok, err = pcall(function()
    return wait.slot(store.hub, store:start_select(name, 'SELECT 1 FROM %T LIMIT 0', {}, nil, true,
      true))
  end)
  for _, facts in pairs(core.tables(store.engine)) do
    if facts.oid == oid then return facts end
  end
  if not ok then error(err, 0) end -- what cannot be read is known all the same, if it was met
  return nil
end

return catalog
