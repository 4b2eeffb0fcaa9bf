--- The tables of a run of the harness, and what is in them when it begins.

local keys = require('spec.consistency.keys')
local shapes = require('spec.consistency.shapes')

local places = {}

---@class consistency.Place a table, of whose ids the history knows the rows from `first` on
---@field name string as who knows nothing of search_path writes it
---@field short string its name in the search_path of its schema
---@field schema string
---@field database string
---@field mirror string?
---@field first integer
---@field last integer
---@field offset integer row - offset is the id
---@field kind 'rows'|'mixed'|'lives'|'keys'|'nomads' of the last two: keys.lua
---@field share integer of a hundred calls

-- The tables of one schema; their rows begin behind `offset`.
local function places_of(options, schema, database, offset)
  local rows = options.rows
  local hot, few = math.max(1, math.floor(rows / 2)), math.max(1, math.floor(rows / 4))
  local lives, count = math.max(options.workers, rows - hot - few), 0
  local list = {
    { short = 'hot', rows = hot, kind = 'rows', share = 55 },
    { short = 'mixed', rows = few, kind = 'mixed', share = 15 },
    { short = 'lives', rows = lives, kind = 'lives', share = 10 },
    { short = 'keys', rows = few, kind = 'keys', share = 12 },
    { short = 'nomads', rows = lives, kind = 'nomads', share = 8 },
  }
  for _, place in ipairs(list) do
    place.first, place.last = count + 1, count + place.rows
    count = place.last
    place.schema, place.database, place.offset = schema, database, offset
    place.name = schema == 'public' and place.short or schema .. '.' .. place.short
    place.mirror = options.shape and place.name .. '_mirror'
    place.first, place.last = place.first + offset, place.last + offset
  end
  return list, count
end

--- All tables of a run, in their order.
---@param options consistency.Options
---@return consistency.Place[]
function places.all(options)
  local all, offset = {}, 0
  for database = 1, options.databases or 1 do
    for tenant = 0, options.tenants or 0 do
      local list, rows = places_of(options, tenant == 0 and 'public' or 'tenant' .. tenant,
        database == 1 and 'postgres' or 'other' .. database, offset)
      offset = offset + rows
      for _, place in ipairs(list) do all[#all + 1] = place end
    end
  end
  return all
end

-- What makes a table and its rows.
local function sql_of(run, place)
  local lines = { ('CREATE SCHEMA IF NOT EXISTS %s; DROP TABLE IF EXISTS %s_mirror, %s CASCADE;')
    :format(place.schema, place.name, place.name) }
  local shape = run.options.shape
  local sql = shape and shapes.sql[shape]
    or 'CREATE TABLE @ (id bigint PRIMARY KEY, value jsonb);'
  lines[2] = sql:gsub('@', place.name)
  if keys.has(place) then
    lines[3] = keys.sql(place, not shape)
  elseif place.kind ~= 'lives' then
    lines[3] = ([[INSERT INTO %s SELECT i, jsonb_build_object('id', i::text, 'k', 'k' || i, 'v', 0)
      FROM generate_series(%d, %d) i;]]):format(place.name, place.first - place.offset,
        place.last - place.offset)
  end
  return table.concat(lines, '\n')
end

--- Makes them anew, with their rows.
---@param run consistency.Run
function places.fill(run)
  local names, texts = {}, {}
  for _, place in ipairs(run.places) do
    if not texts[place.database] then names[#names + 1] = place.database end
    texts[place.database] = (texts[place.database] or '') .. sql_of(run, place) .. '\n'
  end
  for _, name in ipairs(names) do
    -- an earlier run may have made it
    if run.servers:psql(("SELECT 1 FROM pg_database WHERE datname = '%s'"):format(name)) == '' then
      run.servers:psql('CREATE DATABASE ' .. name)
    end
    run.servers:psql(texts[name], name)
  end
  run.servers:redis_cli('FLUSHALL') -- what it holds is of the tables of an earlier run
end

return places
