--- Constraints of the new side. Rows come table by table and batch by batch, and what others refer
--- to comes first. Where tables refer to each other in a circle, or one to itself, no order will
--- do; and what is NOT VALID the rows of the old side need not keep. Such constraints are taken off
--- before the first row and put back behind the last one, as they were. Meanwhile stores_shard has
--- them (`keys`), written in the transaction that takes them off: whoever is killed goes on there.

local errors = require('stores.errors')
local literal = require('stores.sql.expression').literal

local constraints = {}

---@class stores.copy.Constraint as stores_shard keeps it
---@field table string schema-qualified and quoted
---@field name string quoted
---@field definition string
---@field comment string?

---@class stores.copy.Edge a foreign key; the names are those that a copy has for tables
---@field child string
---@field parent string

-- What both sides call a table; a partition is its root, through which it is filled.
local CALLED = [[(SELECT CASE WHEN pg_table_is_visible(r.oid) THEN quote_ident(r.relname)
    ELSE format('%%I.%%I', q.nspname, r.relname) END
  FROM pg_class r JOIN pg_namespace q ON q.oid = r.relnamespace
  WHERE r.oid = coalesce(pg_partition_root(%s), %s))]]
local CHILD, PARENT = CALLED:format('k.conrelid', 'k.conrelid'),
  CALLED:format('k.confrelid', 'k.confrelid')

-- Those that others are made of: what is above a part, or an heir, goes and comes with it.
local FROM = [[
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype IN ('f', 'c') AND k.conparentid = 0 AND k.coninhcount = 0
  AND n.nspname !~ '^(pg_|information_schema$|stores_moved_)'
ORDER BY k.oid]]
local EDGES = ('SELECT %s AS child, %s AS parent %s'):format(CHILD, PARENT,
  (FROM:gsub("IN %('f', 'c'%)", "= 'f'")))
-- A key whose triggers somebody has switched is checked as that one said, and stays.
local LIST = ([[
SELECT k.oid::text AS oid, format('%%I.%%I', n.nspname, c.relname) AS "table",
  quote_ident(k.conname) AS name, k.convalidated AS is_valid,
  obj_description(k.oid, 'pg_constraint') AS comment,
  %s AS child, %s AS parent, NOT EXISTS (SELECT FROM pg_trigger g
    WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O') AS is_on %s]]):format(CHILD, PARENT, FROM)
local INTO = [[
SELECT DISTINCT k.oid::text AS oid, format('%I.%I', n.nspname, c.relname) AS "table",
  quote_ident(k.conname) AS name, obj_description(k.oid, 'pg_constraint') AS comment
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::regclass[])
  AND k.conrelid <> ALL ($1::regclass[])]]
local DEFINITION = 'SELECT pg_get_constraintdef($1::oid) AS text'

local READ = { transaction = false, readonly = true }

-- ---- In which order -----------------------------------------------------------------------------

--- Which tables of a side refer to which.
---@param side stores.copy.Side
---@return stores.copy.Edge[]
function constraints.edges(side)
  local all = {}
  for _, found in ipairs(side:each(function(store) return store:query(EDGES, {}, READ) end)) do
    for _, edge in ipairs(found) do all[#all + 1] = edge end
  end
  return all
end

-- By the name of a table those that it refers to.
local function parents_of(chosen, edges)
  local parents = {}
  for _, one in ipairs(chosen) do parents[one.name] = {} end
  for _, edge in ipairs(edges) do
    if parents[edge.child] and parents[edge.parent] then parents[edge.child][edge.parent] = true end
  end
  return parents
end

--- Puts tables behind those that they refer to.
---@param chosen stores.copy.Table[]
---@param edges stores.copy.Edge[]
---@return stores.copy.Table[]
function constraints.in_order(chosen, edges)
  local parents, by_name, done, ordered = parents_of(chosen, edges), {}, {}, {}
  for _, one in ipairs(chosen) do by_name[one.name] = one end
  local function add(one)
    if done[one.name] then return end
    done[one.name] = true
    for parent in pairs(parents[one.name]) do add(by_name[parent]) end
    ordered[#ordered + 1] = one
  end
  for _, one in ipairs(chosen) do add(one) end
  return ordered
end

--- What each of the tables refers to, itself or by others in between.
---@param chosen stores.copy.Table[]
---@param edges stores.copy.Edge[]
---@return table<string, table<string, true>> by name
function constraints.reach(chosen, edges)
  local parents, reach = parents_of(chosen, edges), {}
  for _, one in ipairs(chosen) do
    local met, list = {}, { one.name }
    while list[1] do
      for parent in pairs(parents[table.remove(list)]) do
        if not met[parent] then met[parent], list[#list + 1] = true, parent end
      end
    end
    reach[one.name] = met
  end
  return reach
end

-- ---- Off and on ---------------------------------------------------------------------------------

-- Takes some off; what they are is read so that it means the same in whatever search_path.
local function take(tx, list)
  if not list[1] then return list end
  local path = tx:query("SELECT current_setting('search_path') AS path")[1].path
  local set = "SELECT set_config('search_path', $1, true)"
  tx:query(set, { 'pg_catalog' })
  for i, one in ipairs(list) do
    list[i] = { table = one.table, name = one.name, definition = tx:query(DEFINITION,
      { one.oid })[1].text, comment = type(one.comment) == 'string' and one.comment or nil }
  end
  tx:query(set, { path })
  for _, one in ipairs(list) do
    tx:query(('ALTER TABLE %s DROP CONSTRAINT %s'):format(one.table, one.name))
  end
  return list
end

--- Takes those off that no order of rows keeps.
---@param tx stores.Transaction
---@param reach table<string, table<string, true>> what constraints.reach gave
---@return stores.copy.Constraint[]
function constraints.take(tx, reach)
  local list = {}
  for _, one in ipairs(tx:query(LIST)) do
    local is_circle = reach[one.parent] and reach[one.parent][one.child]
    if reach[one.child] and one.is_on and (is_circle or not one.is_valid) then
      list[#list + 1] = one
    end
  end
  return take(tx, list)
end

--- Takes those off by which tables refer to some others, which could not be emptied otherwise.
---@param tx stores.Transaction
---@param names string[] the others, qualified and quoted
---@return stores.copy.Constraint[]
function constraints.take_into(tx, names)
  local parts = {}
  for i, name in ipairs(names) do parts[i] = '"' .. name:gsub('[\\"]', '\\%0') .. '"' end
  return take(tx, tx:query(INTO, { '{' .. table.concat(parts, ',') .. '}' }))
end

--- Puts one back; the rows that there are have to keep it, unless it is NOT VALID.
---@param tx stores.Transaction
---@param one stores.copy.Constraint
---Raises constraint.
function constraints.put(tx, one)
  tx:query(('ALTER TABLE %s ADD CONSTRAINT %s %s'):format(one.table, one.name, one.definition))
  if not one.comment then return end
  tx:query(('COMMENT ON CONSTRAINT %s ON %s IS %s'):format(one.name, one.table,
    literal(one.comment)))
end

--- The error of one that could not be put back, with what to do.
---@param err any
---@param side stores.copy.Side
---@param at integer
---@param one stores.copy.Constraint
---@return any
function constraints.failed(err, side, at, one)
  if not errors.is(err, 'constraint') then return err end
  err.message = ('%s: %s'):format(side:called(at), err.message)
  err.shard, err.constraint = at - 1, err.constraint or one.name
  err.hint = 'nothing was switched: rows that refer to each other have to belong to one shard, and'
    .. ' the old side has to keep what the new one asks for; --abort gives this copy up'
  return err
end

return constraints
