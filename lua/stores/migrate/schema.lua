--- The schema of a database, as it can be compared: what it has, by kind and name, and the
--- definition of each. Owners, rights, comments and the order of columns are left out, and so is
--- what belongs to an extension, and the ledger.

local errors = require('stores.errors')

local schema = {}

-- What is told of tables, and of what is in them.
local TABLES = [[
own AS (
  SELECT n.oid, n.nspname FROM pg_namespace n
  WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND NOT EXISTS (
    SELECT FROM pg_depend d
    WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e')),
rel AS (
  SELECT c.*, format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c
  JOIN own n ON n.oid = c.relnamespace
  WHERE c.oid IS DISTINCT FROM to_regclass($1) AND c.oid IS DISTINCT FROM to_regclass($2)
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
      AND d.objid = c.oid AND d.deptype = 'e')),
told AS (
  SELECT 'schema' AS kind, quote_ident(nspname) AS name, '' AS parent, '' AS text
  FROM own WHERE nspname <> 'public'
  UNION ALL SELECT 'extension', quote_ident(extname), '', '' FROM pg_extension
  WHERE extname <> 'plpgsql'
  UNION ALL SELECT 'table', name, '', concat_ws(', ',
      CASE WHEN relkind = 'f' THEN 'foreign' END, CASE relpersistence WHEN 'u' THEN 'unlogged' END,
      CASE WHEN relrowsecurity THEN 'row security' END,
      CASE WHEN relforcerowsecurity THEN 'for its owner, too' END,
      CASE WHEN relkind = 'p' THEN 'by ' || pg_get_partkeydef(oid) END,
      pg_get_expr(relpartbound, oid), array_to_string(reloptions, ' '),
      (SELECT 'of ' || string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno)
        FROM pg_inherits i WHERE i.inhrelid = rel.oid))
  FROM rel WHERE relkind IN ('r', 'p', 'f')
  UNION ALL SELECT 'column', r.name || '.' || quote_ident(a.attname), r.name, concat_ws(' ',
      format_type(a.atttypid, a.atttypmod),
      (SELECT 'collate ' || l.collname FROM pg_collation l JOIN pg_type t ON t.oid = a.atttypid
        WHERE l.oid = a.attcollation AND a.attcollation <> t.typcollation),
      CASE WHEN a.attnotnull THEN 'not null' END,
      CASE a.attidentity WHEN 'a' THEN 'always as identity' WHEN 'd' THEN 'as identity' END,
      CASE WHEN a.attgenerated <> '' THEN 'generated' WHEN d.oid IS NOT NULL THEN 'default' END,
      pg_get_expr(d.adbin, d.adrelid))
  FROM rel r JOIN pg_attribute a ON a.attrelid = r.oid
  LEFT JOIN pg_attrdef d ON d.adrelid = r.oid AND d.adnum = a.attnum
  WHERE r.relkind IN ('r', 'p', 'f', 'c') AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL SELECT 'constraint', quote_ident(c.conname), r.name, pg_get_constraintdef(c.oid)
  FROM rel r JOIN pg_constraint c ON c.conrelid = r.oid WHERE c.contype NOT IN ('t', 'n')
  UNION ALL SELECT 'index', i.indexrelid::regclass::text, r.name, pg_get_indexdef(i.indexrelid)
      || CASE WHEN i.indisvalid THEN '' ELSE ' INVALID' END
  FROM rel r JOIN pg_index i ON i.indrelid = r.oid
  WHERE NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid
    AND c.contype IN ('p', 'u', 'x'))
  UNION ALL SELECT 'trigger', quote_ident(t.tgname), r.name,
    pg_get_triggerdef(t.oid) || CASE t.tgenabled WHEN 'O' THEN '' ELSE ' ' || t.tgenabled::text END
  FROM rel r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal
  UNION ALL SELECT 'rule', quote_ident(w.rulename), r.name, pg_get_ruledef(w.oid)
  FROM rel r JOIN pg_rewrite w ON w.ev_class = r.oid WHERE w.rulename <> '_RETURN'
  UNION ALL SELECT 'policy', quote_ident(p.polname), r.name, concat_ws(' ', p.polcmd::text,
      CASE WHEN p.polpermissive THEN 'permissive' END,
      'using ' || pg_get_expr(p.polqual, p.polrelid),
      'with check ' || pg_get_expr(p.polwithcheck, p.polrelid))
  FROM rel r JOIN pg_policy p ON p.polrelid = r.oid]]

-- And of the rest.
local OTHERS = [[
  UNION ALL SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, name, '',
    pg_get_viewdef(oid) FROM rel WHERE relkind IN ('v', 'm')
  UNION ALL SELECT 'sequence', r.name, '', concat_ws(' ', s.seqtypid::regtype, s.seqstart,
      s.seqincrement, s.seqmin, s.seqmax, CASE WHEN s.seqcycle THEN 'cycle' END)
  FROM rel r JOIN pg_sequence s ON s.seqrelid = r.oid
  UNION ALL SELECT 'statistics', quote_ident(x.stxname), r.name, pg_get_statisticsobjdef(x.oid)
  FROM rel r JOIN pg_statistic_ext x ON x.stxrelid = r.oid
  UNION ALL SELECT 'function', p.oid::regprocedure::text, '', CASE WHEN p.prokind = 'a'
      THEN 'aggregate' ELSE pg_get_functiondef(p.oid) END
  FROM pg_proc p JOIN own n ON n.oid = p.pronamespace WHERE NOT EXISTS (SELECT FROM pg_depend d
    WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
  UNION ALL SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' ELSE 'type' END,
    format('%I.%I', n.nspname, t.typname), '', CASE t.typtype
      WHEN 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
        FROM pg_enum e WHERE e.enumtypid = t.oid)
      WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod),
        CASE WHEN t.typnotnull THEN 'not null' END, 'default ' || t.typdefault,
        (SELECT string_agg(pg_get_constraintdef(c.oid), ' ' ORDER BY c.conname)
          FROM pg_constraint c WHERE c.contypid = t.oid))
      ELSE t.typtype::text END
  FROM pg_type t JOIN own n ON n.oid = t.typnamespace
  WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND EXISTS (SELECT FROM pg_class c
      WHERE c.oid = t.typrelid AND c.relkind = 'c'))
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
      AND d.objid = t.oid AND d.deptype = 'e')
  UNION ALL SELECT 'event trigger', quote_ident(evtname), '', concat_ws(' ', evtevent,
    array_to_string(evttags, ','), evtfoid::regprocedure) FROM pg_event_trigger)]]

local ALL = 'WITH ' .. TABLES .. OTHERS
  .. ' SELECT kind, name, parent, text FROM told ORDER BY parent, kind, name'

---@class stores.SchemaObject
---@field kind string
---@field name string
---@field parent string the table that it is of, or ''
---@field text string its definition

--- Reads the schema of a database.
---@param store stores.MigrationTarget|stores.Store
---@param ledger string its table, and that of its journal, as they are quoted
---@param journal string
---@return stores.SchemaObject[]
function schema.read(store, ledger, journal)
  return store:in_transaction(function(tx)
    -- so that every name is told with its schema
    tx:query("SELECT set_config('search_path', 'pg_catalog', true)")
    return tx:query(ALL, { ledger, journal }, { readonly = true })
  end)
end

---@class stores.SchemaDifference
---@field kind string 'table', 'column', 'index' ...
---@field name string
---@field table? string that it is of
---@field problem 'missing'|'extra'|'other'
---@field wanted? string its definition as the migrations make it
---@field found? string as it is

local function key_of(one)
  return ('%s\0%s\0%s'):format(one.kind, one.parent, one.name)
end

-- By their keys; and the names of those that are in nothing.
local function by_key(objects)
  local map, tops = {}, {}
  for _, one in ipairs(objects) do
    map[key_of(one)] = one
    if one.parent == '' then tops[one.name] = true end
  end
  return map, tops
end

local function difference(one, problem, wanted, found)
  return { kind = one.kind, name = one.name, table = one.parent ~= '' and one.parent or nil,
           problem = problem, wanted = wanted, found = found }
end

-- A table that is missing, or that nobody wants, stands for what is in it.
local function stands_alone(one, tops)
  return one.parent == '' or tops[one.parent] ~= nil
end

--- Says where two schemas differ.
---@param wanted stores.SchemaObject[]
---@param found stores.SchemaObject[]
---@return stores.SchemaDifference[]
function schema.compare(wanted, found)
  local differences = {}
  local there, tops_there = by_key(found)
  local asked, tops_asked = by_key(wanted)
  local function add(...) differences[#differences + 1] = difference(...) end
  for _, one in ipairs(wanted) do
    local other = there[key_of(one)]
    if not other then
      if stands_alone(one, tops_there) then add(one, 'missing', one.text) end
    elseif other.text ~= one.text then
      add(one, 'other', one.text, other.text)
    end
  end
  for _, one in ipairs(found) do
    if not asked[key_of(one)] and stands_alone(one, tops_asked) then
      add(one, 'extra', nil, one.text)
    end
  end
  return differences
end

local function short(text)
  text = text:gsub('%s+', ' ')
  return #text > 160 and text:sub(1, 157) .. '...' or text
end

--- A difference for people.
---@param one stores.SchemaDifference
---@return string
function schema.describe(one)
  if type(one) ~= 'table' or not one.problem then
    errors.raise('invalid_argument', 'describe takes one of the differences that verify gave, got '
      .. errors.kind(one))
  end
  local what = ('%s %s'):format(one.kind, one.name)
  if one.table and one.kind ~= 'column' then what = ('%s of %s'):format(what, one.table) end
  if one.problem == 'missing' then
    return ('%s is missing%s'):format(what, one.wanted ~= '' and ': ' .. short(one.wanted) or '')
  elseif one.problem == 'extra' then
    return ('%s is of no migration'):format(what)
  end
  return ('%s is %s, not %s'):format(what, short(one.found), short(one.wanted))
end

return schema
