--- The option `explain`: the statement that a call would send, what the server would do, and which
--- index is missing. The plan is for these very values.

local expression = require('stores.sql.expression')
local serving = require('stores.sql.serving')

local explain = {}

---@class stores.Plan
---@field sql string the statement
---@field params string[] its parameters
---@field indexes string[] the names of the indexes that it reads
---@field cost number what the planner thinks that it costs
---@field rows number how many rows the planner expects
---@field plan table the plan, as EXPLAIN (FORMAT JSON) has it
---@field missing string? the index that would serve, as a statement; nil where there is one

-- Goes through the nodes of a plan, from the top.
local function walk(node, visit)
  visit(node)
  for _, child in ipairs(node.Plans or {}) do walk(child, visit) end
end

local function indexes_of(plan)
  local names, seen = {}, {}
  walk(plan, function(node)
    local name = node['Index Name']
    if name and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end)
  return names
end

local function relation_of(plan)
  local schema, name
  walk(plan, function(node)
    if not name and node['Relation Name'] then
      schema, name = node.Schema, node['Relation Name']
    end
  end)
  return schema, name
end

-- The indexes that are whole and valid, as their columns say of themselves. Bits of an option: 1 is
-- DESC, 2 NULLS FIRST.
local CATALOG = [[
SELECT m.amname::text AS method,
  (SELECT array_to_json(array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, n, false) ORDER BY n))
    FROM generate_series(1, i.indnkeyatts) n) AS columns,
  (SELECT array_to_json(array_agg(o ORDER BY n))
    FROM unnest(i.indoption::int2[]) WITH ORDINALITY AS u(o, n)) AS options,
  (SELECT array_to_json(array_agg(c.opcname::text ORDER BY n))
    FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u(o, n)
    JOIN pg_catalog.pg_opclass c ON c.oid = u.o) AS classes
FROM pg_catalog.pg_index i
JOIN pg_catalog.pg_class r ON r.oid = i.indexrelid
JOIN pg_catalog.pg_am m ON m.oid = r.relam
WHERE i.indrelid = pg_catalog.to_regclass(format('%I.%I', $1::text, $2::text))
  AND i.indisvalid AND i.indpred IS NULL]]

local OF = "^NULLIF%(%(value #> '(.*)'::text%[%]%), 'null'::jsonb%)$"
local TEXT = "^%(+value #>> '(.*)'::text%[%]%)+$"

-- The names of a path as array_out writes them, and a literal doubles its quotes.
local function names_of(text)
  local names, at = {}, 2
  text = text:gsub("''", "'")
  while at < #text do
    local name
    if text:sub(at, at) == '"' then
      local parts, from = {}, at + 1
      while text:sub(from, from) ~= '"' and from <= #text do
        if text:sub(from, from) == '\\' then from = from + 1 end
        parts[#parts + 1] = text:sub(from, from)
        from = from + 1
      end
      name, at = table.concat(parts), from + 1
    else
      name = text:match('^[^,}]*', at)
      at = at + #name
    end
    names[#names + 1] = name
    at = at + 1
  end
  return names
end

-- A row of the catalog as an index of ours; nil where it is another kind.
local function index_of(row)
  if row.method ~= 'btree' then return nil end
  local keys = {}
  for i, column in ipairs(row.columns) do
    local option = row.options[i]
    local text = column:match(OF)
    if text and (option == 0 or option == 1) then
      keys[i] = { names = names_of(text), down = option == 1 }
    elseif i == 1 and column:match(TEXT) and row.classes[1] == 'text_pattern_ops' then
      return { keys = { { names = names_of(column:match(TEXT)), down = false } }, prefix = true }
    else
      if column ~= 'id' then return nil end
      break
    end
  end
  return keys[1] and { keys = keys, prefix = false } or nil
end

local function missing(catalog, page, name)
  local indexes, has_gin = {}, false
  for _, row in ipairs(catalog) do
    if row.method == 'gin' and row.columns[1] == 'value' then has_gin = true end
    indexes[#indexes + 1] = index_of(row)
  end
  local verdict = serving.judge(indexes, page.group, page.order, page.contains, has_gin)
  if verdict.needs_gin then
    return ('CREATE INDEX CONCURRENTLY ON %s USING gin (value jsonb_path_ops)'):format(name)
  end
  return verdict.missing and expression.create(name, verdict.missing)
end

--- Asks for the plan of a statement.
---@param ask fun(self: any, name: string, sql: string, params: string[], opts: table, rows: true):
---  table[]
---@param self any
---@param name string the table
---@param sql string
---@param params string[]
---@param page stores.sql.Page
---@param opts {timeout: number?, raw: false}
---@return stores.Plan
function explain.run(ask, self, name, sql, params, page, opts)
  local rows = ask(self, name, 'EXPLAIN (VERBOSE, FORMAT JSON) ' .. sql, params, opts, true)
  local plan = rows[1]['QUERY PLAN'][1].Plan
  local schema, relation = relation_of(plan)
  local catalog = relation and ask(self, name, CATALOG, { schema, relation }, opts, true)
  return { sql = (sql:gsub('%%T', function() return name end)), params = params,
    indexes = indexes_of(plan), cost = plan['Total Cost'], rows = plan['Plan Rows'], plan = plan,
    missing = catalog and missing(catalog, page, name) or nil }
end

return explain
