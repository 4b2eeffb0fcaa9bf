--- What a run of the harness leaves behind: in the database, and in the cache.

local keys = require('spec.consistency.keys')
local process = require('spec.consistency.process')
local stores = require('stores')

local final = {}

--- What the database holds, once no transaction writes any more.
---@param run consistency.Run
---@return table<integer, {version: integer|false, by: table<integer, integer>}> by row
function final.of(run)
  local servers, rows = run.servers, {}
  process.wait(function()
    local ok, count = pcall(servers.psql, servers, 'SELECT count(*) FROM pg_stat_activity WHERE '
      .. "backend_xid IS NOT NULL OR state LIKE 'idle in%'")
    return ok and count == '0' -- while the server recovers nobody can ask
  end, 20, 'the end of the transactions')
  for _, place in ipairs(run.places) do
    local store = run.crew:reader('uncached ' .. place.database, {
      db = servers:config({ database = place.database }), opts = { cache = false } })
    for row = place.first, place.last do rows[row] = { version = false, by = {} } end
    for _, document in ipairs(store:findAll(place.name)) do
      local by = {}
      for writer = 1, run.options.workers do by[writer] = document['w' .. writer] end
      local number = keys.has(place) and keys.number(document) or tonumber(document.id)
      if not keys.has(place) or keys.number(document) then
        rows[number + place.offset] = { version = document.v, by = by, id = document.id }
      end
    end
  end
  return rows
end

-- The documents of a table by their numbers.
local function find_rows(store, place, name)
  local ids, found = {}, {}
  for row = place.first, place.last do ids[#ids + 1] = tostring(row - place.offset) end
  for id, document in pairs(store:findAllByIds(name, ids, { as = 'map' })) do
    found[tonumber(id)] = document
  end
  return found
end

-- The same by their values; and each of their rows is read, for the sake of its intents.
local function find_keys(store, place, name)
  local found = {}
  for number = place.first - place.offset, place.last - place.offset do
    store:findAllByIds(name, keys.ids(number))
    found[number] = store:findBy(name, 'k', 'k' .. number, { unique = true })
  end
  return found
end

--- Two reads, more than 100 ms apart, resolve what dead writers left; and the cache says what the
--- database says. What is wrong is a violation of the run.
---@param run consistency.Run
---@param rows table what `of` gave
function final.read_twice(run, rows)
  local servers, report = run.servers, run.violations
  local function read(place, name)
    local store = run.crew:reader(place.database, { db = servers:config({
      database = place.database }), redis = servers:redis_config() })
    local found = (keys.has(place) and find_keys or find_rows)(store, place, name)
    for number = place.first - place.offset, place.last - place.offset do
      local version = found[number] and found[number].v or false
      local expected = rows[number + place.offset].version
      if version ~= expected then
        report[#report + 1] = ('after all, row %d of %s reads as version %s and is at %s'):format(
          number, name, tostring(version), tostring(expected))
      end
    end
  end
  local function read_all()
    for _, place in ipairs(run.places) do
      read(place, place.name)
      if place.mirror then read(place, place.mirror) end
    end
  end
  -- an epoch that turns is over when the writers are, and a store has to greet Redis first
  for _ = 1, 2 do
    read_all()
    stores.sleep(0.15)
  end
  -- which read resolves an intent depends on when the turn of its epoch was over
  local ok = pcall(process.wait, function()
    read_all()
    return servers:intents() == 0
  end, 15, 'no intents')
  if not ok then
    report[#report + 1] = servers:intents() .. ' intents are left after the reads'
  end
  read_all()
end

return final
