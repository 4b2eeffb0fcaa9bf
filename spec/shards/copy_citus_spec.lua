--- A copy goes to a coordinator of Citus, which is a store like another one, and from there to
--- shards: its workers refuse writes meanwhile, too.
-- Plain pass alone: it is of servers that are not the suite's own.

local citus = require('spec.support.citus')
local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

if not citus.is_there() then
  it(citus.SKIPPED, function() pending(citus.SKIPPED) end)
  return
end

local refused = support.refused
local old, cluster, place, new

setup(function()
  old = sides.open(0, 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)')
  new = sides.open(2, 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)')
  cluster = citus.start()
  cluster:distributed('things')
  place = { db = cluster.db, redis = support.redis() }
  for n = 1, 300 do old.target:upsert('things', { id = tostring(n), n = n, text = 'a\\b\n' }) end
end)
teardown(function()
  old:close()
  new:close()
  sides.drop()
  cluster:close()
end)

describe('a copy', function()
  randomize(false)

  it('goes to a coordinator, whose workers take rows from nobody else', function()
    local stops = 0
    stores.copy(old.place, place, { batch = 50, stopping = function()
      stops = stops + 1
      return stops > 3
    end })
    assert.matches('does not own its rows yet',
      support.psql_refused(cluster.db, "INSERT INTO things VALUES (999, '{}')"))
    local result = stores.copy(old.place, place)
    assert.same({ true, 300 }, { result.finished, result.tables[1].count })
    local store = stores.Store.new(place.db, place.redis)
    assert.equal(300, store:count('things'))
    assert.equal('a\\b\n', store:find('things', '77').text)
    store:update('things', { id = '77', n = 'new' })
    store:close()
  end)

  it('goes from there to shards: reads go on, and no write is taken', function()
    local store = stores.Store.new(place.db, place.redis)
    stores.copy(place, new.place, { stopping = function() return true end })
    assert.equal(1, store:find('things', '1').n)
    for _, call in ipairs({
      function() store:insert('things', {}) end,
      function() store:upsert('things', { id = '1' }) end,
      function() store:patch('things', '1', { set = { n = 2 } }) end,
      function() store:updateObject('things', '1', function(doc) doc.n = 2 end) end,
      function() store:delete('things', '1') end,
      function() store:deleteWhere('things', { n = 1 }) end,
    }) do
      assert.matches('its rows are being copied', refused('read_only', nil, call).message)
    end
    local result = stores.copy(place, new.place, { batch = 50 })
    assert.same({ true, 300 }, { result.finished, result.tables[1].count })
    assert.equal('new', new.target:find('things', '77').n)
    for _, call in ipairs({
      function() store:find('things', '1') end,
      function() store:count('things') end,
    }) do
      refused('moved', 'went to other databases', call)
    end
    refused('unsupported', 'cannot modify views', store.upsert, store, 'things', { id = '1' })
    store:close()
  end)

  it('into a coordinator that was given up is begun anew', function()
    -- the coordinator of before is moved: another table of it is free, as if it were new
    cluster:psql('DROP TABLE stores_shard; DROP VIEW things')
    cluster:distributed('things')
    local stops = 0
    stores.copy(new.place, place, { batch = 50, stopping = function()
      stops = stops + 1
      return stops > 3
    end })
    stores.copy(new.place, place, { abort = true })
    assert.is_true(new.target:delete('things', '1'))
    assert.equal(299, stores.copy(new.place, place).tables[1].count)
  end)
end)
