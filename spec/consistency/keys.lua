--- Rows of the harness that are found by a unique value alone, by findBy, while it moves between
--- them. Each number has one value, `k<number>`, and three rows of the table. Of `keys` one of the
--- three always has it; of `nomads` one has it, each time another one, or none.

local keys = {}

local random = math.random
local ROWS = 3

--- The ids of the rows that may have the value of a number.
---@param number integer
---@return string[]
function keys.ids(number)
  local ids = {}
  for i = 1, ROWS do ids[i] = ('%d'):format(number * ROWS + i - 1) end
  return ids
end

--- Whether the rows of a table are found by their values alone.
---@param place consistency.Place
---@return boolean
function keys.has(place)
  return place.kind == 'keys' or place.kind == 'nomads'
end

--- The number whose value a document has; nil: it has left its row.
---@param document table
---@return integer?
function keys.number(document)
  return tonumber(document.k:match('^k(%d+)$'))
end

--- The statements that make the rows of `keys`, and the index; tables that PostgreSQL changes by
--- itself may know no such index.
---@param place consistency.Place
---@param indexed boolean
---@return string
function keys.sql(place, indexed)
  local lines = {}
  if indexed then
    lines[1] = ("CREATE UNIQUE INDEX ON %s ((NULLIF(value #> '{k}'::text[], 'null'::jsonb)));")
      :format(place.name)
  end
  if place.kind == 'keys' then
    lines[#lines + 1] = ([[INSERT INTO %s SELECT i * %d, jsonb_build_object('id', (i * %d)::text,
      'k', 'k' || i, 'v', 0) FROM generate_series(%d, %d) i;]]):format(place.name, ROWS, ROWS,
      place.first - place.offset, place.last - place.offset)
  end
  return table.concat(lines, '\n')
end

-- A row that has another value from now on, or is no more.
local function leave(on, place, id)
  if random() < 0.5 then return on:delete(place.name, id) end
  return on:update(place.name, { id = id, k = 'left' .. id, v = 0 })
end

local function another(number, id)
  local ids = keys.ids(number)
  local to = ids[random(ROWS)]
  while to == id do to = ids[random(ROWS)] end
  return to
end

--- Moves a value to another row, in one transaction.
---@param store stores.Store
---@param place consistency.Place
---@param number string
---@param change fun(document: table)
---@return table|false document false: somebody else moved it meanwhile, and nothing was done
function keys.move(store, place, number, change)
  return store:transaction(function(tx)
    local rows = tx:query(("SELECT value FROM %s WHERE value->>'k' = $1 FOR UPDATE"):format(
      place.name), { 'k' .. number }, { readonly = true })
    if not rows[1] then return false end
    local document = rows[1].value
    change(document)
    leave(tx, place, document.id)
    document.id = another(tonumber(number), document.id)
    tx:upsert(place.name, document)
    return document
  end)
end

--- The same by a statement that names no row.
---@param store stores.Store
---@param place consistency.Place
---@param number string
---@param mine string the member that counts the writer's writes
---@return table|false
function keys.query(store, place, number, mine)
  local rows = store:query(([[
    WITH gone AS (DELETE FROM %s WHERE value->>'k' = $1 RETURNING id, value)
    INSERT INTO %s SELECT t.id, gone.value || jsonb_build_object('id', t.id::text,
      'v', (value->>'v')::int + 1, $2::text, coalesce((value->>$2::text)::int, 0) + 1)
    FROM gone, LATERAL (SELECT id / %d * %d + (id + 1) %% %d AS id) AS t
    ON CONFLICT (id) DO UPDATE SET value = excluded.value RETURNING value]]):format(place.name,
      place.name, ROWS, ROWS, ROWS), { 'k' .. number, mine })
  return rows[1] and rows[1].value or false
end

local homes = {} -- of nomads, by their table and number: the row of each

--- Where all nomads are before a run.
---@param all table<string, string>
function keys.are_at(all) homes = all end

--- A nomad settles in a row of its three.
---@param store stores.Store
---@param place consistency.Place
---@param number string
---@param document table
function keys.settle(store, place, number, document)
  local key = place.name .. number
  document.id, document.k = another(tonumber(number), homes[key]), 'k' .. number
  homes[key] = document.id
  store:upsert(place.name, document)
  return document
end

--- A nomad leaves the row that it is in.
---@param store stores.Store
---@param place consistency.Place
---@param number string
function keys.go(store, place, number)
  return leave(store, place, homes[place.name .. number])
end

return keys
