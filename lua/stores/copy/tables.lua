--- Which tables a copy is about, how a row of them is written as COPY reads it, and whether the new
--- side is ready to take them.

local away = require('stores.copy.away')
local errors = require('stores.errors')
local Ledger = require('stores.migrate.ledger')

local tables = {}

---@class stores.copy.Column
---@field name string
---@field type string
---@field generated boolean

---@class stores.copy.Table
---@field name string as every database of both sides finds it
---@field rows string where its own rows are read: not those of tables that inherit from it
---@field away string the schema, quoted, that keeps what was in its own
---@field bare string its name without the schema
---@field full string schema-qualified and quoted
---@field is_part boolean a partition of another one, through which it is copied
---@field root string? that one, as `name` has it
---@field has_key boolean
---@field is_own boolean one of Stores' own, which each database has for itself
---@field is_marked boolean it has the trigger that refuses writes
---@field indexes string[] how each is made, without its name and the table's
---@field is_spread boolean its rows are on workers of Citus
---@field columns stores.copy.Column[]

-- Tables that each database has for itself. Those of stores_shard and stores_copy are written by
-- the copy.
local OWN = { stores_shard = true, stores_copy = true, stores_imports = true }
local WRITTEN = { stores_shard = true, stores_copy = true }

-- All tables of a database, or of the schemas that its sessions look in.
local LIST = [[
SELECT %s AS away, c.relname::text AS bare,
  format('%%I.%%I', n.nspname, c.relname) AS "full",
  CASE WHEN pg_table_is_visible(c.oid) THEN quote_ident(c.relname)
    ELSE format('%%I.%%I', n.nspname, c.relname) END AS name,
  c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid) AS has_heirs,
  c.relispartition AS is_part,
  (SELECT CASE WHEN pg_table_is_visible(r.oid) THEN quote_ident(r.relname)
      ELSE format('%%I.%%I', m.nspname, r.relname) END
    FROM pg_class r JOIN pg_namespace m ON m.oid = r.relnamespace
    WHERE c.relispartition AND r.oid = pg_partition_root(c.oid)) AS root,
  EXISTS (SELECT FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid
      AND a.attnum = i.indkey[0]
    WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL
      AND i.indnkeyatts = 1 AND a.attname = 'id' AND a.attnotnull) AS has_key,
  EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND g.tgname = 'stores_refuse'
      AND g.tgenabled = 'A') AS is_marked,
  %s AS is_spread,
  (SELECT coalesce(json_agg(concat(CASE WHEN i.indisunique THEN 'unique ' END,
      substring(pg_get_indexdef(i.indexrelid) FROM 'USING .*$'))), '[]')
    FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid) AS indexes,
  (SELECT coalesce(json_agg(json_build_object('name', a.attname, 'type',
      format_type(a.atttypid, a.atttypmod), 'generated', a.attgenerated <> '') ORDER BY a.attnum),
      '[]')
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^(pg_|information_schema$|stores_moved_)'
  AND ($1::boolean OR n.nspname = ANY (current_schemas(false)))
  AND NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1, 2]]

-- Whether Citus spreads a table, of which a plain server knows nothing.
local CITUS = "SELECT to_regclass('pg_catalog.pg_dist_partition') IS NOT NULL AS is_there"
local SPREAD = 'EXISTS (SELECT FROM pg_dist_partition d WHERE d.logicalrelid = c.oid)'

local READ = { transaction = false, readonly = true }

--- Whether a database is one of Citus.
---@param runs {query: function} a store, or a transaction
---@return boolean
function tables.is_citus(runs)
  return runs:query(CITUS, {})[1].is_there
end

--- All tables of a database but those that the copy itself writes.
---@param side stores.copy.Side
---@param store stores.Store of it
---@param ledger string? the name of the table that says which migrations ran
---@return stores.copy.Table[]
function tables.all(side, store, ledger)
  local spread = tables.is_citus(store) and SPREAD or 'false'
  local found = store:query(LIST:format(away.schema_of('n.nspname::text'), spread),
    { not side.is_shared }, READ)
  local migrations = Ledger.find({ query = function(_, sql, params)
    return store:query(sql, params, READ)
  end }, ledger)
  local all = {}
  for _, one in ipairs(found) do
    one.rows = (one.has_heirs and 'ONLY ' or '') .. one.name
    one.is_own = OWN[one.bare] or one.full == migrations.name or one.full == migrations.journal
    if not WRITTEN[one.bare] then all[#all + 1] = one end
  end
  return all
end

local function what_it_lacks(one)
  local types = {}
  for _, column in ipairs(one.columns) do types[column.name] = column.type end
  if types.id ~= 'bigint' then return 'no id of the type bigint' end
  if types.value ~= 'jsonb' then return 'no value of the type jsonb' end
  return not one.has_key and 'no primary key on id' or nil
end

local function refuse_shapes(problems)
  errors.raise('unsupported', 'rows cannot be copied of ' .. table.concat(problems, ', ')
    .. ': name those tables that are to be copied, and what is left out stays behind')
end

-- Those that were named, or all that are of documents.
local function choose(all, names)
  local by_name, chosen, problems = {}, {}, {}
  for _, one in ipairs(all) do by_name[one.name], by_name[one.full] = one, one end
  if names then
    for _, name in ipairs(names) do
      local one = by_name[name]
      if not one or one.is_own or one.is_part then
        errors.raise(one and 'invalid_argument' or 'table_not_found', one and
          ('%s is not copied by itself'):format(name) or ('the old side has no table %s'):format(
          name), { table = name })
      end
      chosen[#chosen + 1] = one
    end
  else
    for _, one in ipairs(all) do
      if not one.is_own and not one.is_part then chosen[#chosen + 1] = one end
    end
  end
  for _, one in ipairs(chosen) do
    local lack = what_it_lacks(one)
    if lack then problems[#problems + 1] = ('%s (%s)'):format(one.name, lack) end
  end
  if problems[1] then refuse_shapes(problems) end
  return chosen
end

-- Those of all databases of a side: what one of them has, and another one lacks, is not to be left
-- behind in silence.
local function all_of(side, ledger)
  local all, is_known = {}, {}
  for _, found in ipairs(side:each(function(store) return tables.all(side, store, ledger) end)) do
    for _, one in ipairs(found) do
      if not is_known[one.name] then all[#all + 1], is_known[one.name] = one, true end
    end
  end
  return all
end

--- The tables that are to be copied.
---@param from stores.copy.Side
---@param names string[]? nil: all that are there
---@param ledger string?
---@return stores.copy.Table[]
---Raises unsupported, table_not_found, invalid_argument, not_migrated.
function tables.wanted(from, names, ledger)
  local chosen = choose(all_of(from, ledger), names)
  if not chosen[1] then
    errors.raise('invalid_argument', 'the old side has no table that could be copied')
  end
  return chosen
end

-- ---- Whether a side has them --------------------------------------------------------------------

--- The columns of a table that rows bring with them, in words.
---@param one stores.copy.Table
---@return string
function tables.shape(one)
  local parts = {}
  for _, column in ipairs(one.columns) do
    if not column.generated then parts[#parts + 1] = column.name .. ' ' .. column.type end
  end
  table.sort(parts)
  return table.concat(parts, ', ')
end

-- Citus has no unique index without the id.
local function missing_index(there, one)
  local has = {}
  for _, text in ipairs(there.indexes) do has[text] = true end
  for _, text in ipairs(one.indexes) do
    if not has[text] and not (there.is_spread and text:find('^unique ')) then return text end
  end
end

local function problems_of(side, store, at, wanted, ledger)
  local by_name, problems = {}, {}
  for _, one in ipairs(tables.all(side, store, ledger)) do by_name[one.name] = one end
  for _, one in ipairs(wanted) do
    local there = by_name[one.name]
    if not there then
      problems[#problems + 1] = ('%s has no table %s'):format(side:called(at), one.name)
    elseif tables.shape(there) ~= tables.shape(one) then
      problems[#problems + 1] = ('%s of %s has the columns %s, and not %s'):format(one.name,
        side:called(at), tables.shape(there), tables.shape(one))
    elseif missing_index(there, one) then
      problems[#problems + 1] = ('%s of %s has no index %s'):format(one.name, side:called(at),
        missing_index(there, one))
    end
  end
  return problems
end

local function ran(store, ledger)
  local runs = { query = function(_, sql, params) return store:query(sql, params, READ) end }
  local by_name, ordered = Ledger.find(runs, ledger):read(runs)
  local names = {}
  for _, row in ipairs(ordered) do
    if row.ran then names[#names + 1] = row.name end
  end
  return names, by_name
end

local function add_migrations(problems, side, store, at, names, ledger)
  local _, by_name = ran(store, ledger)
  local missing = {}
  for _, name in ipairs(names) do
    if not (by_name[name] and by_name[name].ran) then missing[#missing + 1] = name end
  end
  if missing[1] then
    problems[#problems + 1] = ('%s lacks the migrations %s'):format(side:called(at),
      table.concat(missing, ', '))
  end
end

--- Refuses sides whose databases are not all made in the same way.
---@param from stores.copy.Side
---@param to stores.copy.Side
---@param wanted stores.copy.Table[]
---@param ledger string?
---Raises not_migrated.
function tables.check(from, to, wanted, ledger)
  local names, found = {}, {}
  for _, list in ipairs(from:each(function(store) return (ran(store, ledger)) end)) do
    for _, name in ipairs(list) do
      if not names[name] then names[#names + 1], names[name] = name, true end
    end
  end
  for _, side in ipairs({ from, to }) do
    for _, problems in ipairs(side:each(function(store, at)
      local own = problems_of(side, store, at, wanted, ledger)
      add_migrations(own, side, store, at, names, ledger)
      return own
    end)) do
      for _, problem in ipairs(problems) do found[#found + 1] = problem end
    end
  end
  if found[1] then
    errors.raise('not_migrated', table.concat(found, '; '), { retryable = false,
      hint = 'migrate both sides first, by the same list' })
  end
end

--- Whether an id is less than another one.
---@param left string
---@param right string
---@return boolean
function tables.is_less(left, right)
  local is_below = left:sub(1, 1) == '-'
  if is_below ~= (right:sub(1, 1) == '-') then return is_below end
  if is_below then left, right = right, left end
  if #left ~= #right then return #left < #right end
  return left < right
end

-- ---- A row as a text ----------------------------------------------------------------------------

local function quoted(name)
  return '"' .. name:gsub('"', '""') .. '"'
end

-- What has no tab and no line of its own, as PostgreSQL writes it.
local PLAIN = { bigint = true, integer = true, smallint = true, boolean = true, uuid = true,
  numeric = true, ['double precision'] = true, real = true, date = true }

local function expression(column)
  local text = quoted(column.name) .. '::text'
  if column.type == 'jsonb' then
    text = ([[pg_catalog.replace(%s, E'\\', E'\\\\')]]):format(text)
  elseif not PLAIN[column.type] then
    for _, pair in ipairs({ { [[E'\\']], [[E'\\\\']] }, { [[E'\n']], [[E'\\n']] },
      { [[E'\r']], [[E'\\r']] }, { [[E'\t']], [[E'\\t']] } }) do
      text = ('pg_catalog.replace(%s, %s, %s)'):format(text, pair[1], pair[2])
    end
  end
  return ([[coalesce(%s, E'\\N')]]):format(text)
end

-- The id first, then those that PostgreSQL does not make itself.
local function written(one)
  local list = {}
  for _, column in ipairs(one.columns) do
    if column.name == 'id' then
      table.insert(list, 1, column)
    elseif not column.generated then
      list[#list + 1] = column
    end
  end
  return list
end

--- An expression that gives the line of a row, without its end.
---@param one stores.copy.Table
---@return string
function tables.line(one)
  local parts = {}
  for _, column in ipairs(written(one)) do parts[#parts + 1] = expression(column) end
  return table.concat(parts, [[ || E'\t' || ]])
end

--- The columns of such a line.
---@param one stores.copy.Table
---@return string
function tables.columns(one)
  local names = {}
  for _, column in ipairs(written(one)) do names[#names + 1] = quoted(column.name) end
  return table.concat(names, ', ')
end

return tables
