--- Citus: tables that a migration creates become distributed tables, or reference tables. On plain
--- PostgreSQL, nothing.

local errors = require('stores.errors')
local json = require('stores.json')
local script = require('stores.migrate.script')
local sql = require('stores.sql.text')

local distribute = {}

local REFERENCE = 'reference' -- what a step says in place of a column

local CITUS = "SELECT to_regproc('create_distributed_table') IS NOT NULL AS there"

-- How tables stand: some by their names, which a statement has.
local TABLES = [[
SELECT c.oid::regclass::text AS name, EXISTS (SELECT FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attname = $1 AND a.attnum > 0) AS has_column,
  CASE WHEN d.logicalrelid IS NULL THEN NULL
    WHEN d.partmethod = 'n' AND d.repmodel = 't' THEN 'reference'
    ELSE coalesce(column_to_column_name(d.logicalrelid, d.partkey), 'no column') END AS spread
FROM pg_class c
JOIN pg_attribute made ON made.attrelid = c.oid AND made.attnum = -1
LEFT JOIN pg_dist_partition d ON d.logicalrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND (%sc.oid IN (SELECT to_regclass(named)::oid FROM unnest($2::text[]) named))
ORDER BY c.oid]]

local EXISTING = TABLES:format('')

-- And those that this very transaction created: their system columns are of its xid, which no ALTER
-- TABLE changes. Others it would have created, were they not there.
local CREATED = TABLES:format('made.xmin = pg_current_xact_id()::xid OR ')

-- The first tokens of a statement.
local function beginning(text)
  local list = {}
  for kind, from, to in sql.tokens(text) do
    local is_blank = kind == 'space' or kind == 'comment' or kind == 'line_comment'
    if not is_blank then list[#list + 1] = text:sub(from, to) end
    if #list == 12 then break end
  end
  return list
end

-- The name of the table that a statement creates, as it is written; nil: it creates none.
local function created_by(text)
  local list, at = beginning(text), 1
  local function skip(word)
    if (list[at] or ''):upper() ~= word then return false end
    at = at + 1
    return true
  end
  if not skip('CREATE') then return nil end
  skip('UNLOGGED')
  if not skip('TABLE') then return nil end
  if skip('IF') then at = at + 2 end
  return list[at + 1] == '.' and table.concat(list, '', at, at + 2) or list[at]
end

local function named_by(statements)
  local list = {}
  for _, statement in ipairs(statements or {}) do list[#list + 1] = created_by(statement.text) end
  return list
end

local function array_of(list)
  for i, item in ipairs(list) do list[i] = '"' .. item:gsub('[\\"]', '\\%0') .. '"' end
  return '{' .. table.concat(list, ',') .. '}'
end

local function refuse(step, message, ...)
  errors.raise('invalid_argument', ("distribute = '%s': %s"):format(step.distribute,
    message:format(...)), { migration = step.name })
end

-- Those of them that are to be spread now.
local function pending(step, rows)
  local list, names, fits = {}, {}, false
  for i, row in ipairs(rows) do
    names[i] = row.name
    local is_spread = row.spread ~= json.null
    if is_spread and row.spread ~= step.distribute then
      refuse(step, '%s is spread by Citus already, otherwise: %s', row.name, row.spread)
    end
    local has_it = step.distribute == REFERENCE or row.has_column
    fits = fits or has_it
    if has_it and not is_spread then list[#list + 1] = row.name end
  end
  if #rows > 0 and not fits then
    refuse(step, 'no table that it creates has this column: %s', table.concat(names, ', '))
  end
  return list
end

--- Distributes what the transaction created, by the column that the step names, or to all servers.
--- A table of one of its CREATE TABLE statements that was there before is distributed as well.
---@param tx table in which the statements of the step ran
---@param step stores.MigrationStep
---@param statements {text: string}[]? those that ran
---Raises invalid_argument.
function distribute.created(tx, step, statements)
  if not step.distribute or not tx:query(CITUS)[1].there then return end
  local rows = tx:query(CREATED, { step.distribute, array_of(named_by(statements)) })
  for _, name in ipairs(pending(step, rows)) do
    if step.distribute == REFERENCE then
      tx:query('SELECT create_reference_table($1::text::regclass)', { name })
    else
      tx:query('SELECT create_distributed_table($1::text::regclass, $2)', { name, step.distribute })
    end
  end
end

--- What ought to be spread, and is not as the list says: of the tables that its statements create.
---@param store stores.MigrationTarget
---@param steps stores.MigrationStep[]
---@param done table<string, boolean> the names of those that the database has run
---@return string[] lines
function distribute.lacking(store, steps, done)
  local lines, is_citus = {}, nil
  for _, step in ipairs(steps) do
    if step.distribute and done[step.name] then
      if is_citus == nil then is_citus = store:query(CITUS)[1].there end
      script.parse(step)
      local named = is_citus and named_by(step.statements) or {}
      local rows = #named > 0 and store:query(EXISTING, { step.distribute, array_of(named) }) or {}
      for _, row in ipairs(rows) do
        local ought = step.distribute == REFERENCE or row.has_column
        if ought and row.spread ~= step.distribute then
          lines[#lines + 1] = ("%s (%s, not %s)"):format(row.name,
            row.spread == json.null and 'on the coordinator alone' or row.spread, step.distribute)
        end
      end
    end
  end
  return lines
end

return distribute
