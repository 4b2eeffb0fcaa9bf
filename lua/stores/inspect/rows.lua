--- Whether the rows of a table are what they should be: objects, whose `id` is that of their row.
--- Of a large table a part is looked at, here and there.

local catalog = require('stores.inspect.catalog')

local rows = {}

local PAGES = 5000 -- 40 MB in pages of 8 kB
local SHOWN = 5
local LONG = math.huge -- seconds

---@class stores.RowsReport
---@field looked integer rows that were looked at
---@field share number of the table, from 0 to 1
---@field no_object integer rows whose value is no object
---@field other_id integer rows whose value has another id than the row
---@field no_object_ids string[] some of them
---@field other_id_ids string[]

local NO_OBJECT = "jsonb_typeof(value) IS DISTINCT FROM 'object'"
local OTHER_ID = "(jsonb_typeof(value) = 'object' AND value ? 'id' AND value->>'id' <> id::text)"

local SQL = ([[
SELECT count(*)::float8 AS looked, count(*) FILTER (WHERE NO)::float8 AS no_object,
  count(*) FILTER (WHERE OTHER)::float8 AS other_id,
  array_to_json((array_agg(id::text) FILTER (WHERE NO))[1:%d]) AS no_object_ids,
  array_to_json((array_agg(id::text) FILTER (WHERE OTHER))[1:%d]) AS other_id_ids
FROM ]]):format(SHOWN, SHOWN):gsub('NO%f[%)]', NO_OBJECT):gsub('OTHER%f[%)]', OTHER_ID)

--- The statement that gives the documents of a table the ids of their rows.
---@param name string as it stands in SQL
---@return string
function rows.mend(name)
  return ("UPDATE %s SET value = jsonb_set(value, '{id}', to_jsonb(id::text)) WHERE %s"):format(
    name, OTHER_ID)
end

-- Of a large table that takes longer than a statement may otherwise.
local function ask_long(store, sql)
  return store:transaction(function(tx)
    tx:query('SET LOCAL statement_timeout = 0', nil, { readonly = true })
    return tx:query(sql, nil, { readonly = true, raw = false, timeout = LONG })
  end, { readonly = true, timeout = LONG })
end

--- Looks at the rows of a table that has an id and a value of the right kind.
---@param store stores.Store
---@param found stores.CatalogTable
---@param all? boolean all of them, however long that takes
---@return stores.RowsReport
function rows.look(store, found, all)
  local share = (all or found.pages <= PAGES) and 1 or PAGES / found.pages
  local from = found.name
  if share < 1 then from = ('%s TABLESAMPLE SYSTEM (%.6f)'):format(from, share * 100) end
  local report = (all and ask_long or catalog.ask)(store, SQL .. from)[1]
  report.share = share
  for _, list in ipairs({ 'no_object_ids', 'other_id_ids' }) do
    if type(report[list]) ~= 'table' then report[list] = {} end
  end
  return report
end

return rows
