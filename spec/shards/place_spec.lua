--- Each database of shards knows which shard it is, and is refused where it is taken for another
--- one, at the first call and before anything is read or written.
-- Plain pass alone: what C does for it is in test_shard_place.c for the other passes.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused, Shards, Store = support.refused, stores.Shards, stores.Store
local TABLE = { { name = 'things', migration =
  'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)' } }
local shards, databases, cluster

setup(function()
  shards, databases = three.open(3)
  shards:migrate(TABLE)
  for number = 1, 3 do shards:upsert('things', { id = tostring(number) }) end
  cluster = shards:stats().shards[1]
end)
teardown(function() three.close(shards, databases) end)

-- A list over databases of the three, by their numbers.
local function list_of(numbers)
  local list = {}
  for place, number in ipairs(numbers) do
    list[place] = { id = place - 1, db = databases[number], redis = support.redis() }
  end
  return list
end

-- Shards that are closed when fn is over.
local function with(numbers, opts, fn)
  local some = Shards.new(list_of(numbers), opts)
  local ok, err = pcall(fn, some)
  some:close()
  if not ok then error(err, 0) end
end

-- Every call to the shard of an id is refused, and leaves nothing behind.
local function refuses(some, text, id)
  local before = {}
  for i, db in ipairs(databases) do before[i] = support.psql(db, 'SELECT count(*) FROM things') end
  for _, call in ipairs({
    function() some:insert('things', { id = id }) end,
    function() some:find('things', id) end,
    function() some:mod(id):find('things', id) end,
    function() some:mod(id):transaction(function(tx) tx:insert('things', { id = id }) end) end,
    function() some:mod(id):query('DELETE FROM things') end,
    function() some:count('things') end,
  }) do
    local err = refused('shard_mismatch', text, call)
    assert.equal('none', err.outcome)
    assert.is_false(err.retryable)
    assert.is_number(err.shard)
  end
  for i, db in ipairs(databases) do
    assert.equal(before[i], support.psql(db, 'SELECT count(*) FROM things'))
  end
end

describe('a database of shards', function()
  it('says which shard it is, from the first migration on', function()
    local rows = shards:query('SELECT shard, count, strategy, version, cluster FROM stores_shard',
      {}, { on = 'all' })
    for number = 0, 2 do
      assert.same({ shard = number, count = 3, strategy = 'modulo', version = stores.json.null,
        cluster = rows[1].cluster }, rows[number + 1])
    end
    assert.equal(rows[1].cluster, shards:init())
    with({ 1, 2, 3 }, nil, function(some)
      assert.equal(3, some:count('things'))
      assert.same({ shard = 2, count = 3, strategy = 'modulo', cluster = rows[1].cluster },
        some:stats().shards[3].shard)
    end)
    with({ 1, 2, 3 }, { cluster = rows[1].cluster }, function(some)
      assert.equal(3, some:count('things'))
    end)
  end)

  it('is refused in a list with another count', function()
    with({ 1, 2 }, nil, function(some)
      refuses(some, 'is shard 0 of 3, by modulo', '2')
      refuses(some, 'the list of the shards has it as shard 0 of 2', '2')
    end)
  end)

  it('is refused in the place of another one', function()
    with({ 1, 3, 2 }, nil, function(some)
      refuses(some, databases[3].database .. ' is shard 2 of 3', '1')
    end)
  end)

  it('is refused with all of its list, whichever of them the first call is for', function()
    for number = 3, 1, -1 do
      with({ 1, 3, 2 }, nil, function(some)
        refused('shard_mismatch', 'the list of the shards has it as', some.find, some, 'things',
          tostring(number))
      end)
    end
    local fresh, db = support.store({ 'things' })
    support.close(fresh)
    local four = list_of({ 1, 2, 3 })
    four[4] = { id = 3, db = db, redis = support.redis() }
    for _, call in ipairs({
      function(some) some:find('things', '3') end, -- of the fourth, which says nothing
      function(some) some:insert('things', { id = '3' }) end,
      function(some)
        for _ = 1, 4 do pcall(some.insert, some, 'things', {}) end
        some:count('things')
      end,
    }) do
      local some = Shards.new(four)
      refused('shard_mismatch', 'is shard 0 of 3, by modulo', call, some)
      some:close()
    end
    assert.equal('0\n', support.psql(db, 'SELECT count(*) FROM things'))
    support.drop(db)
  end)

  it('keeps nobody from the others where it is not reached', function()
    local list = list_of({ 1, 2, 3 })
    list[2].db = { host = '127.0.0.1', port = 1, database = 'nowhere' }
    local some = Shards.new(list)
    assert.is_true(some:exists('things', '3'))
    refused('connect_failed', nil, some.find, some, 'things', '1')
    some:close()
  end)

  it('is refused where coroutines cannot be left to wait as well', function()
    stores.run(function()
      with({ 1, 3, 2 }, nil, function(some)
        ('x'):gsub('x', function()
          refused('shard_mismatch', 'is shard 2 of 3', some.find, some, 'things', '3')
        end)
      end)
    end)
  end)

  it('is refused as two shards', function()
    with({ 1, 1, 3 }, nil, function(some)
      refuses(some, 'the list of the shards has it as shard 1 of 3', '1')
    end)
  end)

  it('is refused under the name of another cluster', function()
    with({ 1, 2, 3 }, { cluster = 'another' }, function(some)
      refuses(some, 'of the cluster another', '1')
    end)
  end)

  it('is refused by another strategy, or another version of it', function()
    local function first() return 0 end
    with({ 1, 2, 3 }, { strategy = { name = 'first', owner = first } }, function(some)
      refuses(some, 'has it as shard 0 of 3, by first', '3')
    end)
  end)

  it('is refused by a store alone, unless that is meant', function()
    local alone = Store.new(databases[2], support.redis())
    for _, call in ipairs({ function() alone:find('things', '1') end,
      function() alone:count('things') end, function() alone:query('SELECT 1') end,
      function() alone:insert('things', {}) end }) do
      local err = refused('shard_mismatch', databases[2].database .. ' is shard 1 of 3', call)
      assert.matches('any_shard', err.hint)
    end
    alone:close()
    alone = Store.new(databases[2], support.redis(), { any_shard = true })
    assert.is_true(alone:exists('things', '1'))
    assert.is_nil(alone:find('things', '2'))
    alone:close()
  end)

  it('is migrated by itself all the same', function()
    local result = require('stores.migrations').runMigrations(TABLE, databases[1],
      { redis = false })
    assert.equal(1, #result.skipped)
  end)

  it('is refused beside those of another cluster', function()
    local others, other_databases = three.open(3, { 'things' })
    assert.is_not_equal(cluster, others:init())
    others:close()
    local list = list_of({ 1, 2, 3 })
    list[2].db = other_databases[2]
    local mixed = Shards.new(list)
    refused('shard_mismatch', 'of the cluster', mixed.exists, mixed, 'things', '3')
    refused('shard_mismatch', 'and that of shard 0 of the cluster', mixed.find, mixed, 'things',
      '1')
    refused('shard_mismatch', 'of the cluster', mixed.init, mixed)
    refused('shard_mismatch', 'of the cluster', mixed.migrate, mixed, TABLE)
    mixed:close()
    for _, db in ipairs(other_databases) do support.drop(db) end
  end)

  it('is refused beside those that say it, where it does not; until it is told', function()
    local fresh, db = support.store({ 'things' })
    support.close(fresh)
    local list = list_of({ 1, 2, 3 })
    list[2].db = db
    local mixed = Shards.new(list)
    for _, id in ipairs({ '3', '1' }) do
      refused('shard_mismatch', 'shard 1: its database does not say', mixed.find, mixed, 'things',
        id)
    end
    mixed:init()
    assert.is_nil(mixed:find('things', '1'))
    mixed:close()
    support.drop(db)
  end)

  it('is refused as two shards also where it does not say it, and is told nothing', function()
    local fresh, db = support.store({ 'things' })
    support.close(fresh)
    local list = list_of({ 1, 2 })
    list[1].db, list[2].db = db, db
    local some = Shards.new(list)
    local before = support.psql(db, 'SELECT count(*) FROM things')
    for _, call in ipairs({ function() some:insert('things', { id = '1' }) end,
      function() some:insert('things', { id = '2' }) end,
      function() some:count('things') end, function() some:init() end }) do
      refused('shard_mismatch', 'shard 1: its database is that of shard 0', call)
    end
    assert.equal(before, support.psql(db, 'SELECT count(*) FROM things'))
    -- migrations are of a database, which they change once
    local result = some:migrate({ { name = 'once', migration = 'CREATE TABLE once (id bigint)' } })
    assert.same({ 1, 0 }, { #result.shards[1].ran, #result.shards[2].ran })
    assert.matches('^t', support.psql(db, "SELECT to_regclass('stores_shard') IS NULL"))
    some:close()
    support.drop(db)
  end)

  it('needs not say it', function()
    local some, own = three.open(2, { 'things' })
    some:insert('things', { id = '1' })
    assert.equal(1, some:count('things'))
    assert.is_nil(some:stats().shards[1].shard)
    three.close(some, own)
  end)

  it('says nothing by what is no table, or a temporary one', function()
    local db = support.db()
    support.psql(db, 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)')
    support.psql(db, 'CREATE INDEX stores_shard ON things (value)')
    local other = Store.new(db)
    other:transaction(function(tx)
      tx:query('CREATE TEMPORARY TABLE stores_shard (shard int, count int, strategy text)')
      local store = Store.new(db)
      assert.equal('1', store:insert('things', { id = '1' }).id)
      store:close()
    end)
    other:close()
    support.drop(db)
  end)
end)

describe('shards that require migrations', function()
  it('refuse a database that lacks one, and take it as soon as it has it', function()
    local more = { TABLE[1], { name = 'more', migration = 'CREATE TABLE more (id bigint)' } }
    shards.shards[1]:migrate(more)
    with({ 1, 2, 3 }, { require_migrated = more, breaker = 5 }, function(some)
      some:find('things', '3')
      local err = refused('not_migrated', "shard 1: the migration 'more' is pending", some.find,
        some, 'things', '1')
      assert.equal(1, err.shard)
      local _, failed = some:count('things', nil, { partial = true })
      assert.equal(2, #failed)
      shards:migrate(more)
      assert.is_true(some:exists('things', '1'))
      assert.equal(3, some:count('things'))
    end)
  end)
end)
