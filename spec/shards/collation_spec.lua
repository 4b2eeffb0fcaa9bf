--- Lists of shards whose strings sort as a language has it: the servers say how, and pages follow
--- it; also where the keys are arrays and objects with strings in them.
-- Plain pass alone: plain Lua over several stores; verbs_spec and health_spec have these passes.

local stores = require('stores')
local support = require('spec.support')

local NAMES = { 'Zoe', 'anna', 'Äpfel', 'Anna', 'Bo', 'item 10', 'item 9', 'Apfel', 'zoe', 'ändern',
  'item 100', 'émile', 'Emil', 'emil', 'b', 'B', 'Ångström' }

describe('in databases with a collation a list of shards', function()
  local shards, whole, databases = nil, nil, {}

  local function database()
    local db = support.db()
    support.drop(db)
    support.psql(support.config(), ('CREATE DATABASE %s TEMPLATE template0 LOCALE_PROVIDER icu '
      .. "ICU_LOCALE 'de-u-kn'"):format(db.database))
    databases[#databases + 1] = db
    return db
  end

  setup(function()
    local list = {}
    for id = 0, 2 do list[id + 1] = { id = id, db = database(), redis = support.redis() } end
    shards = stores.Shards.new(list)
    whole = stores.Store.new(database(), support.redis())
    local sql = 'CREATE TABLE people (id bigint PRIMARY KEY, value jsonb)'
    whole:query(sql)
    shards:query(sql, {}, { on = 'all' })
    for i, name in ipairs(NAMES) do
      for _, target in ipairs({ whole, shards }) do
        target:insert('people', { id = tostring(i), name = name, n = i % 3,
          list = { NAMES[i % 4 + 1], i % 2 }, object = { a = NAMES[i % 5 + 1] } })
      end
    end
  end)
  teardown(function()
    for _, store in ipairs(shards.shards) do support.close(store) end
    support.close(whole)
    for _, db in ipairs(databases) do support.drop(db) end
  end)

  it('follows it, page by page and in each', function()
    for _, order in ipairs({ { 'name' }, { '-name' }, { 'n', '-name' }, { 'list', 'name' },
      { '-object' } }) do
      assert.same(whole:findAll('people', { order = order }),
        (shards:findAll('people', { order = order })))
      local after
      repeat
        local opts = { order = order, limit = 4, after = after }
        local expected = { whole:findAll('people', opts) }
        assert.same(expected, { shards:findAll('people', opts) })
        after = expected[2]
      until not after
      local names, expected = {}, {}
      for one in shards:each('people', { order = order, batch = 2 }) do
        names[#names + 1] = one.id
      end
      for one in whole:each('people', { order = order }) do expected[#expected + 1] = one.id end
      assert.same(expected, names)
    end
  end)

  it('is refused where one sorts otherwise, and each may have pages with holes', function()
    local odd = support.db()
    databases[#databases + 1] = odd
    support.psql(odd, 'CREATE TABLE people (id bigint PRIMARY KEY, value jsonb);'
      .. [[INSERT INTO people VALUES (2, '{"name": "x", "n": 1}'), (5, '{"name": "y", "n": 2}')]])
    local mixed = stores.Shards.new({ { id = 0, db = databases[1] }, { id = 1, db = databases[2] },
      { id = 2, db = odd } })
    for _ = 1, 2 do
      local err = support.refused('shard_mismatch', 'shard 2 sorts strings by', mixed.findAll,
        mixed, 'people', { order = { 'name' } })
      assert.equal(2, err.shard)
      support.refused('shard_mismatch', 'of one collation', function()
        for _ in mixed:each('people', { order = { 'name' } }) do end
      end)
    end
    assert.is_true(#mixed:findAll('people', { order = { 'n' } }) > 2)
    for _, store in ipairs(mixed.shards) do support.close(store) end
  end)

  it('asks a server once for a page, and not where nothing has to be compared', function()
    local function round_trips(fn)
      local before = shards:stats().pg_round_trips
      fn()
      return shards:stats().pg_round_trips - before
    end
    local function page(order)
      return function() shards:findAll('people', { order = order, limit = 5 }) end
    end
    page({ 'name' })() -- prepares
    page({ 'n' })()
    assert.equal(4, round_trips(page({ 'name' })))
    assert.equal(3, round_trips(page({ 'n' })))
    assert.equal(3, round_trips(page('desc')))
  end)
end)
