--- What a database says of itself is seen by those who have connections open already, and wherever
--- in it the table is that says it.
-- Plain pass alone: plain Lua over several stores; verbs_spec and health_spec have these passes.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused, Shards, Store = support.refused, stores.Shards, stores.Store
local OFTEN = 0.1 -- seconds: ping_after
local ROUNDS = 10

local function with(fields, db)
  local copy = {}
  for key, value in pairs(db) do copy[key] = value end
  for key, value in pairs(fields) do copy[key] = value end
  return copy
end

local function list_of(databases, fields)
  local list = {}
  for place, db in ipairs(databases) do
    list[place] = { id = place - 1, db = with(fields or {}, db), redis = support.redis() }
  end
  return list
end

-- Waits until a call is refused for what the database is. One that was just dropped ends those
-- connections, too, that are being made.
local function is_refused(fn, ...)
  local args = { ... }
  local found
  support.eventually(function()
    local ok, err = pcall(fn, unpack(args))
    local is_away = not ok and stores.errors.is(err, 'connect_failed')
    if not ok and not is_away and not stores.errors.is(err, 'shard_mismatch') then error(err, 0) end
    found = err
    return not ok and not is_away
  end)
  return found
end

describe('databases of which some are told which shards they are', function()
  local shards, databases

  setup(function() shards, databases = three.open(4, { 'things' }) end)
  teardown(function() three.close(shards, databases) end)

  -- Told or not, as who asks finds them.
  it('are one or the other for first calls at the same time', function()
    shards:init()
    for _, db in ipairs(databases) do
      support.psql(db, 'CREATE TABLE kept AS SELECT * FROM stores_shard')
    end
    for _ = 1, ROUNDS do
      for _, db in ipairs(databases) do support.psql(db, 'TRUNCATE stores_shard') end
      local fresh = Shards.new(list_of(databases))
      local tasks = {}
      for id = 0, 5 do
        tasks[#tasks + 1] = stores.spawn(function()
          local ok, err = pcall(fresh.find, fresh, 'things', tostring(id))
          if not ok and not stores.errors.is(err, 'shard_mismatch') then error(err, 0) end
        end)
      end
      for _, db in ipairs(databases) do
        tasks[#tasks + 1] = stores.spawn(function()
          local teller = Store.new(db, nil, { any_shard = true, cache = false })
          teller:query('INSERT INTO stores_shard SELECT * FROM kept')
          teller:close()
        end)
      end
      for _, task in ipairs(tasks) do task:join() end
      fresh:close()
    end
  end)
end)

describe('a database that is told which shard it is', function()
  local shards, databases

  before_each(function() shards, databases = three.open(2, { 'things' }) end)
  after_each(function() three.close(shards, databases) end)

  it('is noticed by a store that reads it, also from its cache alone', function()
    shards:upsert('things', { id = '2', n = 1 })
    local alone = Store.new(with({ ping_after = OFTEN }, databases[1]), support.redis())
    assert.equal(1, alone:find('things', '2').n)
    shards:init()
    local err = is_refused(alone.find, alone, 'things', '2')
    assert.matches('a store alone would miss', err.message)
    assert.equal('none', err.outcome)
    refused('shard_mismatch', nil, alone.insert, alone, 'things', {})
    alone:close()
    assert.equal(1, shards:find('things', '2').n)
  end)

  it('is noticed by one whose only connection is never idle', function()
    local alone = Store.new(with({ ping_after = OFTEN, poolsize = 1 }, databases[1]), nil)
    stores.run(function()
      local ends = {}
      for worker = 1, 4 do
        ends[worker] = stores.spawn(function()
          return is_refused(alone.upsert, alone, 'things', { id = tostring(2 * worker) })
        end)
      end
      stores.sleep(0.05)
      shards:init()
      for _, task in ipairs(ends) do task:join() end
    end)
    alone:close()
  end)

  it('is noticed by shards of another list, and does not disturb those of the same', function()
    local store, third = support.store({ 'things' }, { no_redis = true })
    store:close()
    local same = Shards.new(list_of(databases, { ping_after = OFTEN }))
    local more = Shards.new(list_of({ databases[1], databases[2], third }, { ping_after = OFTEN }))
    for id = 1, 3 do
      same:find('things', tostring(id))
      more:find('things', tostring(id))
    end
    shards:init()
    local connects = same:stats().pg_connects
    is_refused(more.find, more, 'things', '3')
    support.eventually(function()
      for id = 1, 4 do same:upsert('things', { id = tostring(id) }) end
      return same:stats().pg_connects > connects and same:stats().shards[2].shard
    end)
    same:close()
    more:close()
    support.drop(third)
  end)

  it('is noticed where it says something else later', function()
    shards:init()
    local same = Shards.new(list_of(databases, { ping_after = OFTEN }))
    assert.is_nil(same:find('things', '1'))
    support.psql(databases[2], 'UPDATE stores_shard SET count = 3')
    local err = is_refused(same.find, same, 'things', '1')
    assert.matches('is shard 1 of 3', err.message)
    assert.equal(1, err.shard)
    assert.is_nil(same:find('things', '2'))
    support.psql(databases[2], 'UPDATE stores_shard SET count = 2')
    support.eventually(function() return (same.try:find('things', '1')) end)
    same:close()
  end)

  it('is not taken for the one that it was when it was made anew, and says nothing', function()
    shards:init()
    local same = Shards.new(list_of(databases))
    same:upsert('things', { id = '1' })
    support.drop(databases[2])
    support.psql(support.config(), 'CREATE DATABASE ' .. databases[2].database)
    support.psql(databases[2], 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)')
    local err = is_refused(same.find, same, 'things', '1')
    assert.matches('does not say which shard it is', err.message)
    refused('shard_mismatch', 'does not say', same.insert, same, 'things', { id = '1' })
    same:close()
    -- who opens it anew knows no more than what the others say
    same = Shards.new(list_of(databases))
    for _, id in ipairs({ '2', '1' }) do
      refused('shard_mismatch', 'shard 1: its database does not say', same.find, same, 'things', id)
    end
    same:init()
    assert.is_nil(same:find('things', '1'))
    same:close()
  end)
end)

describe('the table of a shard', function()
  local shards, databases

  setup(function()
    shards, databases = three.open(2, { 'things' })
    shards:query('CREATE SCHEMA other', nil, { on = 'all' })
    shards:init()
  end)
  teardown(function() three.close(shards, databases) end)

  local function tables(db)
    return tonumber(support.psql(db, 'SELECT count(*) FROM pg_class '
      .. "WHERE relname = 'stores_shard'"))
  end

  local FIELDS = {
    ['of a role'] = { params = { options = '-c search_path=other' } },
    ['that on_connect sets'] = { on_connect = 'SET search_path TO other' },
  }
  for what, fields in pairs(FIELDS) do
    it('counts in each schema: not in a search_path ' .. what, function()
      local alone = Store.new(with(fields, databases[1]), nil)
      refused('shard_mismatch', 'a store alone', alone.query, alone, 'SELECT 1')
      alone:close()
      local same = Shards.new(list_of(databases, fields))
      assert.is_nil(same:find('public.things', '1'))
      assert.equal(shards:init(), same:init())
      assert.same({ 1, 1 }, { tables(databases[1]), tables(databases[2]) })
      same:close()
      local swapped = Shards.new(list_of({ databases[2], databases[1] }, fields))
      refused('shard_mismatch', 'is shard 1 of 2', swapped.find, swapped, 'public.things', '2')
      swapped:close()
      local one = Shards.new(list_of({ databases[1] }, fields))
      refused('shard_mismatch', 'is shard 0 of 2', one.find, one, 'public.things', '2')
      one:close()
    end)
  end

  it('names its schema to who does not look there', function()
    local alone = Store.new(with(FIELDS['of a role'], databases[1]), nil)
    local err = refused('shard_mismatch', nil, alone.query, alone, 'SELECT 1')
    assert.matches('public.stores_shard', err.hint)
    alone:close()
    alone = Store.new(with(FIELDS['of a role'], databases[1]), nil, { any_shard = true })
    assert.equal(1, #alone:query('SELECT 1'))
    alone:close()
  end)

  it('is not a temporary one', function()
    local same = Shards.new(list_of(databases, { on_connect = 'CREATE TEMPORARY TABLE '
      .. 'stores_shard AS SELECT 9 AS shard, 9 AS count, NULL AS strategy, NULL AS cluster' }))
    assert.is_nil(same:find('things', '1'))
    assert.equal(shards:init(), same:init())
    same:close()
  end)

  it('is of the schema where shards are schemas of one database', function()
    local db = support.db()
    support.psql(db, 'CREATE SCHEMA zero; CREATE SCHEMA one')
    local list = {}
    for place, schema in ipairs({ 'zero', 'one' }) do
      list[place] = { id = place - 1, redis = support.redis(),
        db = with({ params = { options = '-c search_path=' .. schema } }, db) }
    end
    local some = Shards.new(list)
    some:init()
    some:query('CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)', nil, { on = 'all' })
    for id = 1, 4 do some:insert('things', { id = tostring(id) }) end
    some:close()
    some = Shards.new(list)
    assert.equal(4, some:count('things'))
    assert.equal(2, some.shards[2]:count('things'))
    some:close()
    some = Shards.new({ { id = 0, db = list[2].db, redis = list[2].redis },
      { id = 1, db = list[1].db, redis = list[1].redis } })
    refused('shard_mismatch', 'is shard 1 of 2', some.find, some, 'things', '2')
    some:close()
    support.drop(db)
  end)
end)

describe('calls that come first to a shard', function()
  it('wait for one look, which all of them hear of', function()
    local shards, databases = three.open(2)
    local one = { { name = 'things', migration =
      'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)' } }
    local more = { one[1], { name = 'more', migration = 'CREATE TABLE more (id bigint)' } }
    shards:migrate(one)
    local some = Shards.new(list_of(databases), { require_migrated = more })
    local list = {}
    for n = 1, 40 do list[n] = n end
    local looks = 0
    local off = stores.on('statement', function(event)
      if event.sql:find('migrations', 1, true) then looks = looks + 1 end
    end)
    local function all()
      looks = 0
      return stores.map(list, function(n)
        local ok, err = some.try:find('things', tostring(2 * n + 1))
        return ok or err.code
      end)
    end
    assert.equal('not_migrated', all()[40])
    local once = looks
    shards:migrate(more)
    assert.equal(true, all()[1])
    assert.equal(true, all()[40])
    off()
    assert.is_true(once > 0 and once < 40, tostring(once))
    some:close()
    three.close(shards, databases)
  end)
end)
