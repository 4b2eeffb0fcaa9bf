-- Stores in one page: the languages, subdivisions, scripts and currencies of ISO, from Debian's
-- package iso-codes, go in and out of a PostgreSQL and a Redis of our own.
--   . tools/env.sh; luajit examples/quickstart.lua [FOLDER]       (./data where it is left out)

local stores = require('stores')
local progress = require('stores.progress')

local FILES = '/usr/share/iso-codes/json/iso_%s.json'
local ISO = { languages = '639-3', subdivisions = '3166-2', scripts = '15924', currencies = '4217' }
local NAMES = { 'languages', 'subdivisions', 'scripts', 'currencies' }

-- A table of Stores has an id and a JSON value, and an index for queries by what values contain.
local migrations = {}
for i, name in ipairs(NAMES) do
  migrations[i] = { name = 'create ' .. name, migration = ([[
    CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb NOT NULL);
    CREATE INDEX ON %s USING gin (value jsonb_path_ops);]]):format(name, name) }
end

-- Calls fn for each item of a list, in up to 500 coroutines at once, and prints how long it took.
local function each(what, list, fn)
  local bar = progress.new(what, #list)
  stores.map(list, function(item)
    fn(item)
    bar:step()
  end, { concurrency = 500 })
  print(('%-58s %6d in %.3f s'):format(what, #list, bar:finish()))
end

-- Starts both servers where they do not run yet; when the last user has gone they stop.
local store = stores.open(arg[1] or './data')
print(('%-58s %6d'):format('migrations that were new', #store:migrate(migrations).ran))
store:query('TRUNCATE ' .. table.concat(NAMES, ', ')) -- what an earlier run left

local records = {}
for _, name in ipairs(NAMES) do
  local file = assert(io.open(FILES:format(ISO[name])))
  local list = stores.json.decode(file:read('*a'))[ISO[name]] -- {"639-3": [{...}, {...}, ...]}
  for _, document in ipairs(list) do records[#records + 1] = { name = name, doc = document } end
  file:close()
end

-- insert gives each document its id: a string, for a Lua number cannot carry 64 bits.
each('inserted documents', records, function(record) store:insert(record.name, record.doc) end)

each('found by id in PostgreSQL', records, function(record)
  assert(store:find(record.name, record.doc.id, { cache = false }))
end)
local hits = store:stats().hits
each('found by id through the cache', records, function(record)
  assert(store:find(record.name, record.doc.id))
end)
print(('%-58s %6d'):format('  of which were in Redis', store:stats().hits - hits))

local german = store:findOne('languages', { alpha_3 = 'deu' })
print(("findOne {alpha_3 = 'deu'}: %s, id %s"):format(german.name, german.id))
local cantons = store:findByJSON('subdivisions', { type = 'Canton' })
print(("findByJSON {type = 'Canton'}: %d, the first is %s"):format(#cantons, cantons[1].code))

each('cantons given their country, by updateProperty', cantons, function(canton)
  store:updateProperty('subdivisions', canton.id, 'country', canton.code:sub(1, 2))
end)
local swiss = store:findByJSON('subdivisions', { type = 'Canton', country = 'CH' })

-- A function of ours changes a document inside a transaction: however many at once, none is lost.
local franc = store:findOne('currencies', { alpha_3 = 'CHF' })
each('changes to one document at once, by updateObject', swiss, function(canton)
  store:updateObject('currencies', franc.id, function(doc)
    doc.cantons = doc.cantons or {}
    doc.cantons[#doc.cantons + 1] = canton.name
  end)
end)
print('cantons that pay in ' .. franc.name .. ': ' .. #store:find('currencies', franc.id).cantons)

local extinct = store:findByJSON('languages', { type = 'E' })
each('extinct languages deleted', extinct, function(doc) store:delete('languages', doc.id) end)
for _, name in ipairs(NAMES) do
  print(('%-58s %6d'):format('left in ' .. name, store:count(name)))
end
store:close()
