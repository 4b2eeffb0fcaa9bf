--- What a failed CREATE INDEX CONCURRENTLY leaves behind: an index that is INVALID, costs every
--- write, serves no read, and satisfies IF NOT EXISTS.

local index = {}

-- Not those that another session is building right now, nor the parts of partitioned ones, which
-- are invalid on purpose until every partition has its own.
local INVALID = [[
SELECT format('%I.%I', n.nspname, c.relname) AS name, i.indrelid::regclass::text AS table
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'i' AND NOT (i.indisvalid AND i.indisready AND i.indislive)
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid)
ORDER BY 1]]

-- An index lives in the schema of its table, whatever the search_path says.
local STATE = [[
SELECT format('%I.%I', n.nspname, c.relname) AS name,
  i.indisvalid AND i.indisready AND i.indislive AS valid,
  EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid) AS building
FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_class c ON c.relnamespace = t.relnamespace AND c.relname = (parse_ident($2))[1]
JOIN pg_index i ON i.indexrelid = c.oid
WHERE t.oid = to_regclass($1)]]

local IDENTIFIER = '[%w_$\128-\255]+'

-- Takes an identifier, quoted or not, from the start of a text; gives it and the rest.
local function take(text)
  local quoted = text:match('^"[^"]*"')
  while quoted and text:sub(#quoted + 1, #quoted + 1) == '"' do
    quoted = quoted .. text:match('^"[^"]*"', #quoted + 1)
  end
  local found = quoted or text:match('^' .. IDENTIFIER)
  if not found then return nil, text end
  return found, text:sub(#found + 1):match('^%s*(.*)$')
end

local function skip(text, ...)
  for _, word in ipairs({ ... }) do
    local first, rest = take(text)
    if not first or first:upper() ~= word then return text, false end
    text = rest
  end
  return text, true
end

--- The index that a CREATE INDEX CONCURRENTLY names, and its table. nil for other statements, for
--- an index that PostgreSQL names itself, and where a comment stands between the two.
---@param statement stores.MigrationStatement
---@return {name: string, table: string}? both as they stand in the statement
function index.named(statement)
  if not statement.concurrent or statement.words[1] ~= 'CREATE' then return nil end
  local rest = statement.text:match('[Cc][Oo][Nn][Cc][Uu][Rr][Rr][Ee][Nn][Tt][Ll][Yy]%s+(.*)$')
  if not rest then return nil end
  rest = skip(rest, 'IF', 'NOT', 'EXISTS')
  local name, after = take(rest)
  if not name or name:upper() == 'ON' then return nil end
  local on
  after, on = skip(after, 'ON')
  if not on then return nil end
  local relation, tail = take((skip(after, 'ONLY')))
  if not relation then return nil end
  local dot = tail:match('^%.%s*(.*)$')
  local second = dot and take(dot)
  return { name = name, table = second and relation .. '.' .. second or relation }
end

--- How a named index stands.
---@param runs table
---@param named {name: string, table: string}
---@return 'valid'|'invalid'|'building'|nil state nil where there is no such index
---@return string? name schema-qualified
function index.state(runs, named)
  local row = runs:query(STATE, { named.table, named.name })[1]
  if not row then return nil end
  return row.valid and 'valid' or row.building and 'building' or 'invalid', row.name
end

--- The indexes of the database that a failed concurrent build left INVALID.
---@param runs table
---@return {name: string, table: string}[]
---@return table<string, boolean> set of their names
function index.invalid(runs)
  local rows, names = runs:query(INVALID), {}
  for _, row in ipairs(rows) do names[row.name] = true end
  return rows, names
end

--- What to do about an INVALID index.
---@param names string[] schema-qualified
---@return string
function index.remedy(names)
  return ('DROP INDEX CONCURRENTLY %s, then run the migrations again'):format(
    table.concat(names, ', '))
end

return index
