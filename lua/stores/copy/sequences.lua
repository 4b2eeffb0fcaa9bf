--- What the sequences of the old side have given, those of the new side do not give again: of those
--- that columns own, found by the column, and of those that stand by themselves, by their names.

local away = require('stores.copy.away')
local errors = require('stores.errors')
local json = require('stores.json')
local tables = require('stores.copy.tables')

local sequences = {}

---@class stores.copy.Sequence
---@field key string what it is called on both sides
---@field oid string
---@field full string schema-qualified and quoted
---@field away string the schema, quoted, that keeps what was in its own
---@field owner string? the table of the column that owns it, as tables call it
---@field is_down boolean it counts downwards

-- Values that were given, by what a sequence is called; as JSON in stores_shard.
---@alias stores.copy.Given table<string, string>

local LIST = ([[
SELECT c.oid::text AS oid, format('%%I.%%I', n.nspname, c.relname) AS "full",
  %s AS away, s.seqincrement < 0 AS is_down,
  CASE WHEN pg_table_is_visible(c.oid) THEN quote_ident(c.relname)
    ELSE format('%%I.%%I', n.nspname, c.relname) END AS name,
  a.attname::text AS column,
  CASE WHEN t.oid IS NULL THEN NULL WHEN pg_table_is_visible(t.oid) THEN quote_ident(t.relname)
    ELSE format('%%I.%%I', m.nspname, t.relname) END AS owner
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
  AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace m ON m.oid = t.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
WHERE c.relpersistence <> 't' AND n.nspname !~ '^(pg_|information_schema$|stores_moved_)'
  AND ($1::boolean OR n.nspname = ANY (current_schemas(false)))
  AND NOT EXISTS (SELECT FROM pg_depend e
    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY c.oid]]):format(away.schema_of('n.nspname::text'))
local LAST = 'SELECT pg_sequence_last_value($1::oid)::text AS last'
local SET = 'SELECT setval($1::oid::regclass, %s($2::bigint, last_value)) FROM %s'

--- The sequences of a database that tables own which are copied, and those that nobody owns.
---@param side stores.copy.Side
---@param runs {query: function} a store, or a transaction
---@param chosen stores.copy.Table[]
---@return stores.copy.Sequence[]
function sequences.of(side, runs, chosen)
  local is_chosen, found = {}, {}
  for _, one in ipairs(chosen) do is_chosen[one.name] = true end
  for _, one in ipairs(runs:query(LIST, { not side.is_shared })) do
    if type(one.owner) ~= 'string' then one.owner = nil end
    if not one.owner or is_chosen[one.owner] then
      one.key = one.owner and one.owner .. ' ' .. one.column or one.name
      found[#found + 1] = one
    end
  end
  return found
end

-- Adds what a sequence has given to what others of its name have.
local function note(given, key, last, is_down)
  local before = given[key]
  if not last or before and tables.is_less(last, before) ~= is_down then return end
  given[key] = last
end

--- What sequences of a database have given.
---@param runs {query: function}
---@param found stores.copy.Sequence[]
---@return stores.copy.Given
function sequences.given(runs, found)
  local given = {}
  for _, one in ipairs(found) do
    local last = runs:query(LAST, { one.oid })[1].last
    if type(last) == 'string' then given[one.key] = last end
  end
  return given
end

--- Sets those of a database behind what others have given; they never go back.
---@param runs {query: function}
---@param found stores.copy.Sequence[]
---@param all stores.copy.Given[] of each database of the old side
function sequences.set(runs, found, all)
  for _, one in ipairs(found) do
    local most = {}
    for _, given in ipairs(all) do note(most, one.key, given[one.key], one.is_down) end
    if most[one.key] then
      runs:query(SET:format(one.is_down and 'least' or 'greatest', one.full),
        { one.oid, most[one.key] })
    end
  end
end

--- Takes those that nobody owns out of sight, as their tables are: nobody gets a value of them any
--- more, and what they have given is final.
---@param tx stores.Transaction
---@param found stores.copy.Sequence[]
---@return string given as JSON
function sequences.put_away(tx, found)
  for _, one in ipairs(found) do
    if not one.owner then
      tx:query(('ALTER SEQUENCE %s SET SCHEMA %s'):format(one.full, one.away))
    end
  end
  return json.encode(sequences.given(tx, found))
end

--- Refuses a new side that lacks one that the old side has.
---@param work stores.copy.Work
---@param is_named boolean its tables were named: what it does not have stays behind
---Raises not_migrated.
function sequences.check(work, is_named)
  local wanted, missing, seen = {}, {}, {}
  for _, found in ipairs(work.from:each(function(store)
    return sequences.of(work.from, store, work.tables)
  end)) do
    for _, one in ipairs(found) do wanted[one.key] = wanted[one.key] or not one.owner end
  end
  for at, found in ipairs(work.to:each(function(store)
    return sequences.of(work.to, store, work.tables)
  end)) do
    local has = {}
    for _, one in ipairs(found) do has[one.key] = true end
    for key, is_alone in pairs(wanted) do
      if is_alone and not has[key] and not seen[key] then
        seen[key] = true
        missing[#missing + 1] = ('%s has no sequence %s'):format(work.to:called(at), key)
      end
    end
  end
  if not missing[1] then return end
  table.sort(missing)
  if is_named then return work.say('leaves sequences behind: ' .. table.concat(missing, '; ')) end
  errors.raise('not_migrated', table.concat(missing, '; '), { retryable = false,
    hint = 'migrate both sides first, by the same list' })
end

return sequences
