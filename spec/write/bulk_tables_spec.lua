--- The verbs for many rows over declared tables, over tables that PostgreSQL does more with, and
--- over shards.

local locks = require('spec.support.locks')
local put = require('stores.verbs.bulk.put')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local copy_from = put.COPY_FROM

-- Calls fn once with COPY wherever it may be, and once without.
local function both_ways(fn)
  for _, from in ipairs({ 1, 1000 }) do
    put.COPY_FROM = from
    fn(from == 1)
  end
end

after_each(function() put.COPY_FROM = copy_from end)

describe('of a declared table, a verb for many rows', function()
  local store, db

  setup(function()
    store, db = support.store()
    store:migrate({
      stores.define('people', { unique = { 'email' }, validate = function(person, old)
        if type(person.name) ~= 'string' then return 'a person has a name', { 'name' } end
        if old and old.name == person.name and old.fixed then return false, 'it is fixed' end
      end }),
      stores.define('notes', { version = 3, upgrade = {
        [2] = function(note) note.two = true end,
        [3] = function(note) note.three = true end } }),
      stores.define('sessions', { expires = 'over' }),
    })
  end)
  teardown(function() support.close(store, db) end)
  before_each(function()
    store:query('DELETE FROM people; DELETE FROM notes; DELETE FROM sessions')
  end)

  it('checks each document, and names the one that is refused', function()
    both_ways(function()
      local err = refused('invalid_document', 'a person has a name', store.insertMany, store,
        'people', { { id = '1', name = 'A' }, { id = '2' } })
      assert.equal(2, err.index)
      assert.same({ 'name' }, err.path)
      assert.equal(0, store:count('people'))
      store:upsertMany('people', { { id = '1', name = 'A', fixed = true } })
      refused('invalid_document', 'it is fixed', store.updateEach, store, 'people', { name = 'A' },
        function() end)
      assert.equal(1, store:updateEach('people', { name = 'A' }, function(person)
        person.name = 'B'
      end))
      store:deleteMany('people', { '1' })
    end)
  end)

  it('says whose value is there already', function()
    store:insert('people', { id = '1', name = 'A', email = 'a@b' })
    both_ways(function()
      local err = refused('duplicate', 'same email', store.insertMany, store, 'people',
        { { id = '2', name = 'B' }, { id = '3', name = 'C', email = 'a@b' } })
      assert.equal('email', err.path)
      assert.equal(1, store:count('people'))
    end)
  end)

  it('writes the version, and overwrites nothing that a newer program wrote', function()
    both_ways(function()
      store:query([[DELETE FROM notes; INSERT INTO notes VALUES (1, '{"_version": 4}'), (2, '{}')]])
      local err = refused('newer_version', nil, store.upsertMany, store, 'notes',
        { { id = '2' }, { id = '1' } })
      assert.equal('1', err.row)
      refused('newer_version', nil, store.updateEach, store, 'notes', {}, print, { all = true })
      store:deleteMany('notes', { '1' })
      local count = store:updateEach('notes', {}, function(note)
        assert.is_true(note.two and note.three)
        note.seen = true
      end, { all = true })
      assert.equal(1, count)
      store:insertMany('notes', { { id = '3' } })
      local rows = store:query("SELECT value->'_version' AS v FROM notes ORDER BY id")
      assert.same({ 3, 3 }, { rows[1].v, rows[2].v })
    end)
  end)

  it('takes what is past its time for gone', function()
    both_ways(function()
      store:query([[DELETE FROM sessions;
        INSERT INTO sessions VALUES (1, '{"over": 5}'), (2, '{"over": 5}'), (3, '{"over": 5}')]])
      assert.same({ 'inserted' }, (store:insertMany('sessions', { { id = '1', n = 1 } })))
      assert.same({ 'inserted', 'replaced' }, (store:upsertMany('sessions',
        { { id = '2', n = 2 }, { id = '1', n = 3 } })))
      assert.same({ false, true }, (store:deleteMany('sessions', { '3', '2' })))
      assert.equal(1, store:updateEach('sessions', {}, function(one) one.seen = true end,
        { all = true }))
      assert.equal(3, store:find('sessions', '1').n)
      refused('invalid_document', 'time', store.insertMany, store, 'sessions', { { over = 'x' } })
    end)
  end)
end)

describe('where PostgreSQL does more with the rows, a verb for many of them', function()
  local store, other, db

  setup(function()
    store, db = support.store({ 'plain', '"Odd ""name"' })
    store:query([[
      CREATE TABLE parts (id bigint PRIMARY KEY, value jsonb) PARTITION BY HASH (id);
      CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
      CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
      CREATE VIEW seen AS SELECT id, value FROM plain;
      CREATE TABLE own (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value json);
      CREATE TABLE kept (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE logged (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
      CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE plain SET value = value || '{"logged": true}'; RETURN NULL; END $$;
      CREATE TRIGGER log AFTER INSERT OR UPDATE OR DELETE ON logged
        FOR EACH STATEMENT EXECUTE FUNCTION log();
    ]])
    other = stores.Store.new(db, support.redis())
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  it('does the same', function()
    for _, name in ipairs({ 'plain', 'parts', 'seen', 'own', 'kept', 'logged', '"Odd ""name"' }) do
      both_ways(function()
        local function list(v)
          return { { id = '1', v = v }, { id = '2', v = v }, { id = '3', v = v } }
        end
        assert.same({ 'inserted', 'inserted', 'inserted' }, (store:insertMany(name, list(1))), name)
        refused('duplicate', nil, store.insertMany, store, name, list(1))
        for n = 1, 4 do other:find(name, tostring(n)) end
        local results = store:upsertMany(name, { { id = '3', v = 2 }, { id = '4', v = 2 } })
        assert.same({ 'replaced', 'inserted' }, results, name)
        assert.equal(2, other:find(name, '3').v)
        assert.equal(2, other:find(name, '4').v)
        assert.equal(4, store:updateEach(name, {}, function(one) one.v = 5 end, { all = true }))
        assert.equal(5, other:find(name, '1').v)
        assert.same({ true, true, true, true, false },
          (store:deleteMany(name, { '1', '2', '3', '4', '5' })), name)
        assert.is_nil(other:find(name, '4'))
      end)
    end
  end)

  it('lets no cache show what a trigger changed', function()
    both_ways(function()
      store:upsert('plain', { id = '9' })
      for _ = 1, 3 do other:find('plain', '9') end
      store:insertMany('logged', { { id = '1' }, { id = '2' } })
      assert.is_true(other:find('plain', '9').logged)
      store:deleteMany('logged', { '1', '2' })
      store:delete('plain', '9')
    end)
  end)

  it('leaves nothing where the server refuses a row in the middle', function()
    store:query([[ALTER TABLE plain ADD CONSTRAINT small CHECK ((value ->> 'n')::int < 700)]])
    local list = {}
    for n = 1, 1000 do list[n] = { id = tostring(100 + n), n = n } end
    local err = refused('constraint', nil, store.insertMany, store, 'plain', list)
    assert.equal('small', err.constraint)
    assert.equal('none', err.outcome)
    assert.is_nil(other:find('plain', '101'))
    assert.equal(0, store:count('plain', nil, { where = { { 'n', '>', 0 } } }))
    store:query('ALTER TABLE plain DROP CONSTRAINT small')
  end)

  it('ends within its deadline while the table is locked, and leaves the pool whole', function()
    stores.run(function()
      local let_go = locks.keep(other, 'LOCK TABLE plain')
      local list = {}
      for n = 1, 3000 do list[n] = { id = tostring(5000 + n) } end
      refused('timeout', nil, store.insertMany, store, 'plain', list, { timeout = 0.3 })
      let_go()
    end)
    assert.equal(0, store:count('plain', nil, { where = { { 'id', '>', '5000' } } }))
    support.eventually(function() return store:stats().pool_checked_out == 0 end)
  end)

  it('tells who watches', function()
    local events = {}
    local off = stores.on('call', function(event) events[#events + 1] = event.verb end)
    store:insertMany('plain', { { id = '77' } })
    store:updateEach('plain', { id = '77' }, function() end)
    store:deleteMany('plain', { '77' })
    off()
    assert.same({ 'insertMany', 'updateEach', 'deleteMany' }, events)
  end)
end)

describe('of shards, a verb for many rows', function()
  local COUNT = 3
  local databases, shards = {}, nil

  setup(function()
    local list = {}
    for id = 0, COUNT - 1 do
      local store, db = support.store({ 'items' })
      support.close(store)
      databases[id + 1], list[id + 1] = db, { db = db, redis = support.redis(), id = id }
    end
    shards = stores.Shards.new(list)
  end)
  teardown(function()
    for i, store in ipairs(shards.shards) do support.close(store, databases[i]) end
  end)
  before_each(function() shards:deleteWhere('items', {}, { all = true }) end)

  it('takes each row to the shard of its id', function()
    local list = {}
    for n = 1, 30 do list[n] = { id = tostring(n), n = n } end
    list[31] = { n = 31 }
    local results, counts = shards:insertMany('items', list)
    assert.equal(31, #results)
    assert.equal(31, counts.inserted)
    for n = 1, 31 do assert.equal(n, shards:mod(list[n].id):find('items', list[n].id).n) end
    results = shards:upsertMany('items', { { id = '5', n = 50 }, { id = '40', n = 40 } })
    assert.same({ 'replaced', 'inserted' }, results)
    local given = 0
    counts = select(2, shards:insertMany('items', function()
      given = given + 1
      return given <= 100 and { id = tostring(given), n = given } or nil
    end, { conflict = 'ignore', batch = 10 }))
    assert.same({ inserted = 69, replaced = 0, ignored = 31 }, counts)
    local deleted, count = shards:deleteMany('items', { '100', '101', '1', list[31].id })
    assert.same({ true, false, true, true }, deleted)
    assert.equal(3, count)
    assert.equal(98, shards:updateEach('items', {}, function(item) item.n = 1 end, { all = true }))
    assert.equal(98, #shards:patchWhere('items', { n = 1 }, { inc = { n = 1 } }))
    assert.equal(98, #shards:deleteWhere('items', { n = 2 }))
  end)

  it('says what it has done before an error, and goes on behind it', function()
    shards.shards[2]:insert('items', { id = '4' })
    local list = { { id = '3' }, { id = '4' }, { id = '5' }, { n = 1 } }
    local err = refused('duplicate', 'id 4', shards.insertMany, shards, 'items', list)
    assert.equal(1, err.shard)
    assert.equal('unknown', err.outcome)
    assert.is_true(shards:mod('3'):exists('items', '3'))
    assert.is_true(shards:mod('5'):exists('items', '5')) -- side by side
    shards:deleteWhere('items', {}, { all = true })

    for n = 1, 12 do list[n] = { id = tostring(n), n = 0 } end
    shards:insertMany('items', list)
    local seen = 0
    local function once(item)
      seen = seen + 1
      if seen == 7 then stores.errors.raise('conflict', 'enough') end
      item.n = item.n + 1
    end
    err = refused('conflict', 'enough', shards.updateEach, shards, 'items', {}, once,
      { all = true, batch = 2 })
    local count = shards:updateEach('items', {}, once, { all = true, batch = 2, after = err.after })
    assert.equal(12, err.count + count)
    for n = 1, 12 do assert.equal(1, shards:mod(tostring(n)):find('items', tostring(n)).n) end
    refused('invalid_option', 'after', shards.updateEach, shards, 'items', {}, print,
      { all = true, after = '7/1' })
  end)
end)
