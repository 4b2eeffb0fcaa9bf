--- One schema of chance, two processes' worth of stores over it, and after each operation the
--- question whether every row is from the cache what PostgreSQL says.

local random_of = require('spec.schemas.random')
local schema_of = require('spec.schemas.schema')
local operations = require('spec.schemas.operations')
local stores = require('stores')

local run = {}

local ROWS, OPERATIONS = 8, 12
local TOGETHER = 20 -- schemas that are made by one statement: each has the server plan all anew

local IDS = {}
for i = 1, ROWS do IDS[i] = tostring(i) end

---@class spec.SchemaWorld
---@field readers stores.Store[] over the cache
---@field truth stores.Store without one: to Redis it is somebody else

-- What PostgreSQL has in a table, by id; nil where there is no such table any more.
local function truth_of(world, name)
  local ok, rows = pcall(world.truth.query, world.truth,
    ('SELECT id::text, value::text FROM %s'):format(name), nil, { readonly = true })
  if not ok then return nil end
  local map = {}
  for _, row in ipairs(rows) do map[row.id] = row.value end
  return map
end

local held = false -- the tables of every second schema are held in memory

-- The same, as a store says.
local function seen_by(store, name)
  local ok, map = pcall(store.findAllByIds, store, name, IDS,
    { as = 'map', raw = true, hold = held or nil })
  if ok then return map end
  if stores.errors.is(map, 'table_not_found') then return nil end
  error(map, 0)
end

local function hits_of(stats)
  return stats.hits + stats.negative_hits + stats.held_hits
end

-- Reads everything until all of it comes from the cache, but for what a store says is not kept.
local function warm(world, names)
  for _ = 1, 6 do
    local asked, hits = 0, 0
    for _, store in ipairs(world.readers) do
      for _, name in ipairs(names) do
        local stats = store:stats()
        if not stats.uncached[name] then
          if seen_by(store, name) then asked = asked + ROWS end
          hits = hits + hits_of(store:stats()) - hits_of(stats)
        end
      end
    end
    if hits == asked then return end
    stores.sleep(0.002)
  end
end

-- Whether a store keeps rows of a table, and does not say why it does not: what is read again
-- and again is a hit by then, but for tables that turn.
local function unsaid(store, name)
  local stats = store:stats()
  if stats.uncached[name] then return nil end
  for _, one in ipairs(stats.turning) do
    if one.table == name then return nil end
  end
  local hits = hits_of(stats)
  if seen_by(store, name) == nil or hits_of(store:stats()) - hits == ROWS then return nil end
  stores.sleep(0.02)
  return true
end

--- Waits until a table's rows come from the cache, or the figures of a store tell why they do not.
---@param store stores.Store
---@param name string
---@return boolean
function run.explained(store, name)
  for _ = 1, 250 do
    if not unsaid(store, name) then return true end
  end
  return false
end

-- What is wrong, as text; nil: nothing.
local function stale(world, names)
  for _, name in ipairs(names) do
    local expected = truth_of(world, name)
    for number, store in ipairs(world.readers) do
      local seen = seen_by(store, name)
      if (seen == nil) ~= (expected == nil) then
        return ('store %d says of %s: %s'):format(number, name, seen and 'there' or 'not there')
      end
      for _, id in ipairs(expected and IDS or {}) do
        if seen[id] ~= expected[id] then
          return ('store %d says %s of row %s of %s, and PostgreSQL %s'):format(number,
            tostring(seen[id]), id, name, tostring(expected[id]))
        end
      end
    end
  end
end

local function name_of(seed)
  return 's' .. seed
end

-- Fills the schema of a seed, and does to it what the seed says. What is wrong, with all that led
-- to it; nil: nothing.
local function one(world, seed)
  local random = random_of.new(seed)
  held = seed % 2 == 0
  local schema = schema_of.new(random, name_of(seed))
  local log = { 'seed ' .. seed, table.concat(schema.sql, '\n') }
  local function elsewhere(sql) world.truth:query(sql) end
  local made, why = pcall(elsewhere, table.concat(schema.sql, '\n'))
  -- triggers of chance may change the row that is being changed, which no database would have
  if not made and why.sqlstate == '27000' then return nil end
  if not made then error(table.concat(log, '\n') .. '\n' .. tostring(why), 0) end
  local violation
  for _ = 1, OPERATIONS do
    local names = schema:names()
    warm(world, names)
    local call, text = operations.draw(random, random:of(world.readers), schema, elsewhere)
    local ok, err = pcall(call)
    log[#log + 1] = text .. (ok and '' or '   -> ' .. tostring(err))
    violation = stale(world, names)
    if violation then
      log[#log + 1] = violation
      break
    end
  end
  for _, name in ipairs(violation and {} or schema:names()) do
    for number, store in ipairs(world.readers) do
      if not run.explained(store, name) then
        violation = ('store %d does not cache %s, and does not say why'):format(number, name)
        log[#log + 1] = violation
      end
    end
  end
  return violation and table.concat(log, '\n')
end

--- Makes the schemas of seeds, some at a time, and does to each what its seed says.
---@param world spec.SchemaWorld
---@param first integer
---@param last integer
---@return string[] violations each with all that led to it
function run.all(world, first, last)
  local wrong = {}
  for start = first, last, TOGETHER do
    local made, names = {}, {}
    for seed = start, math.min(start + TOGETHER - 1, last) do
      names[#names + 1] = name_of(seed)
      made[#made + 1] = 'CREATE SCHEMA ' .. name_of(seed)
    end
    world.truth:query(table.concat(made, ';'))
    for seed = start, math.min(start + TOGETHER - 1, last) do
      wrong[#wrong + 1] = one(world, seed)
    end
    world.truth:query('DROP SCHEMA ' .. table.concat(names, ', ') .. ' CASCADE')
  end
  return wrong
end

return run
