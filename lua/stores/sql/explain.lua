--- The option `explain`: the statement that a call would send, what the server would do, and which
--- index is missing. The plan is for these very values.

local expression = require('stores.sql.expression')
local indexes = require('stores.sql.indexes')
local json = require('stores.json')
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

-- Those that are whole and valid.
local CATALOG = indexes.SELECT
  .. [[ WHERE i.indrelid = pg_catalog.to_regclass(format('%I.%I', $1::text, $2::text))
  AND i.indisvalid AND i.indpred IS NULL]]

local function missing(catalog, page, name)
  local list, has_gin = {}, false
  for _, row in ipairs(catalog) do
    if row.method == 'gin' and row.columns[1] == 'value' then has_gin = true end
    list[#list + 1] = indexes.read(row)
  end
  local verdict = serving.judge(list, page.group, page.order, page.contains, has_gin)
  if verdict.needs_gin then
    return ('CREATE INDEX CONCURRENTLY ON %s USING gin (value jsonb_path_ops)'):format(name)
  end
  return verdict.missing and expression.create(name, verdict.missing)
end

-- A cost that is too large for a double the server writes as no JSON has it.
local function finite(text)
  return (text:gsub('([^\\]": )Infinity', '%11.7976931348623157e308'))
end

--- Asks for the plan of a statement.
---@param ask fun(self: any, name: string, sql: string, params: string[], opts: table, rows: true):
---  table[]
---@param self any
---@param name string the table
---@param sql string
---@param params string[]
---@param page stores.sql.Page
---@param opts {timeout: number?, raw: false, read: string}
---@return stores.Plan
function explain.run(ask, self, name, sql, params, page, opts)
  local raw = { timeout = opts.timeout, raw = true, read = opts.read }
  local rows = ask(self, name, 'EXPLAIN (VERBOSE, FORMAT JSON) ' .. sql, params, raw, true)
  local plan = json.decode(finite(rows[1]['QUERY PLAN']))[1].Plan
  local schema, relation = relation_of(plan)
  local catalog = relation and ask(self, name, CATALOG, { schema, relation }, opts, true)
  return { sql = (sql:gsub('%%T', function() return name end)), params = json.array(params),
    indexes = json.array(indexes_of(plan)), cost = plan['Total Cost'], rows = plan['Plan Rows'],
    plan = plan, missing = catalog and missing(catalog, page, name) or nil }
end

return explain
