--- stores.copy moves all rows of databases into others, to where each id belongs there, and then
--- the new side owns them. That the old side is read-only meanwhile is in copy_read_only_spec.lua,
--- what becomes of it where it is killed in copy_killed_spec.lua.
-- Plain pass alone: Lua over queries and transactions, whose C other files of these passes run.

local json = require('stores').json
local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local TABLES = [[
  CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL);
  CREATE TABLE "Odd names" (id bigint PRIMARY KEY, value jsonb)]]

-- Ids around zero, at both ends, and texts that COPY has words of its own for.
local function documents()
  local list = { { id = '-9223372036854775808', n = 1 }, { id = '9223372036854775807', n = 2 } }
  for n = -150, 150 do
    list[#list + 1] = { id = tostring(n), n = n, text = ('\\N \\. "%d"\t\r\n\\\\ é'):format(n),
      list = json.array({}) }
  end
  return list
end

local old, new

local function open(from, to, opts)
  old, new = sides.open(from, TABLES, opts), sides.open(to, TABLES, opts)
end

after_each(function()
  if old then old:close() end
  if new then new:close() end
  old, new = nil, nil
end)

teardown(sides.drop)

local function all_of(side)
  local list = {}
  for text in side.target:each('things', { raw = true }) do list[#list + 1] = text end
  return list
end

for _, sizes in ipairs({ { 0, 2 }, { 3, 4 }, { 3, 0 }, { 1, 1 } }) do
  describe(('a copy of %d databases into %d'):format(math.max(sizes[1], 1),
    math.max(sizes[2], 1)), function()
    it('puts each row where it belongs, as it was, and switches', function()
      open(sizes[1], sizes[2])
      old.target:insertMany('things', documents())
      old.target:upsert('"Odd names"', { id = '5', name = 'five' })
      local before = all_of(old)
      local told, last = {}, 0
      local result = stores.copy(old.place, new.place, { batch = 40,
        progress = function(count, total)
          assert.is_true(count > last and count <= total)
          last = count
        end, say = function(text) told[#told + 1] = text end })
      assert.is_true(result.finished)
      assert.equal(304, result.rows)
      assert.equal(304, last)
      assert.equal(2, #result.tables)
      assert.matches('^%x+$', result.tables[1].hash)
      assert.same(before, all_of(new))
      assert.equal('five', new.target:find('"Odd names"', '5').name)
      if new.target.shards then
        for place, store in ipairs(new.target.shards) do
          for document in store:each('things') do
            assert.equal(place, new.target:place_of(document.id))
          end
        end
      end
    end)
  end)
end

describe('after a copy', function()
  before_each(function()
    open(0, 2)
    old.target:insertMany('things', documents())
    old.target:upsert('things', { id = '21', n = 21 })
    for n = 1, 20 do old.target:find('things', tostring(n)) end -- they are cached
    for n = 1, 20 do assert.is_nil(new.target:find('things', tostring(n))) end -- and so is that
    stores.copy(old.place, new.place)
  end)

  it('who used the old side is refused by every verb, cached or not', function()
    local store = old.target
    for _, call in ipairs({
      function() store:find('things', '7') end,
      function() store:find('things', '100') end,
      function() store:find('things', '4711') end,
      function() store:findAllByIds('things', { '7', '8' }) end,
      function() store:count('things') end,
      function() store:findByJSON('things', { n = 7 }) end,
      function() store:each('things')() end,
      function() store:query('SELECT * FROM things WHERE id = 4711') end,
      function() store:insert('things', { n = 1 }) end,
      function() store:upsert('things', { id = '7' }) end,
      function() store:update('things', { id = '7' }) end,
      function() store:patch('things', '7', { set = { n = 1 } }) end,
      function() store:updateObject('things', '7', function(doc) doc.n = 1 end) end,
      function() store:delete('things', '7') end,
      function() store:insertMany('things', documents()) end,
      function() store:transaction(function(tx) tx:find('things', '7') end) end,
    }) do
      local err = refused('moved', 'went to other databases', call)
      assert.equal('none', err.outcome)
      assert.equal(503, err.http)
      assert.is_false(err.retryable)
    end
    assert.matches('went to other databases', old:refusal('SELECT * FROM things WHERE id = 4711'))
  end)

  it('nobody opens the old side any more, and its rows are still there', function()
    local err = refused('moved', 'owns no rows any more: they went to other databases', function()
      old:open():find('things', '7')
    end)
    assert.matches('configuration of the databases', err.message)
    assert.equal('303\n', old:psql('SELECT count(*) FROM stores_moved_public.things')[1])
  end)

  it('the new side is read and written, also where it was asked before', function()
    for n = 1, 20 do assert.equal(n, new.target:find('things', tostring(n)).n) end
    new.target:insert('things', { n = 1 })
    assert.is_true(new.target:delete('things', '-150'))
    assert.equal(303, new.target:count('things'))
    assert.same({ '0\n', '0\n' }, new:psql(
      "SELECT count(*) FROM pg_trigger WHERE tgname = 'stores_refuse'"))
  end)

  it('the same call has nothing left to do, and none leads back', function()
    assert.is_true(stores.copy(old.place, new.place).finished)
    refused('conflict', 'the new side is moved: its rows', stores.copy, new.place, old.place)
    refused('conflict', 'has moved', stores.copy, old.place, new.place, { abort = true })
    assert.equal(303, new.target:count('things'))
  end)

  it('the new side grows on', function()
    local third = sides.open(0, TABLES)
    assert.is_true(stores.copy(new.place, third.place).finished)
    assert.equal(303, third.target:count('things'))
    refused('moved', 'went to other', new.target.find, new.target, 'things', '7')
    third:close()
  end)
end)

describe('a copy', function()
  it('ends what processes hold in their memory', function()
    open(0, 2)
    old.target:upsert('things', { id = '7', n = 7 })
    support.eventually(function()
      assert.equal(7, old.target:find('things', '7', { hold = true }).n)
      return old.target:stats().held_hits > 0
    end)
    stores.copy(old.place, new.place)
    for _ = 1, 20 do
      refused('moved', 'went to other', old.target.find, old.target, 'things', '7', { hold = true })
    end
    assert.equal(7, new.target:find('things', '7', { hold = true }).n)
  end)

  it('carries all columns, and what identities have given', function()
    local sql = [[CREATE TABLE things (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
      value jsonb NOT NULL, note text, twice numeric GENERATED ALWAYS AS (id * 2) STORED,
      serial bigserial)]]
    old, new = sides.open(0, sql), sides.open(2, sql)
    old:psql([[INSERT INTO things (value, note) SELECT '{}', NULL FROM generate_series(1, 4);
      UPDATE things SET note = E'a\\N\t\n\rb' WHERE id = 2]])
    local whole = 'SELECT id, value, note, twice, serial FROM things ORDER BY id'
    local wanted = old:psql(whole)[1]
    stores.copy(old.place, new.place)
    local rows = new.target:query('SELECT id, note, twice, serial FROM things', {}, { on = 'all' })
    assert.equal(4, #rows)
    local single = sides.open(0, sql)
    stores.copy(new.place, single.place)
    assert.equal(wanted, single:psql(whole)[1])
    assert.equal('5\n', single:psql("INSERT INTO things (value) VALUES ('{}') RETURNING serial")[1])
    single:close()
  end)

  it('takes rows of megabytes few at a time', function()
    open(0, 2)
    old:psql([[INSERT INTO things SELECT i, jsonb_build_object('n', i, 'text',
        repeat(md5(i::text), CASE WHEN i > 40 THEN 100000 ELSE 1 END))
      FROM generate_series(1, 56) i]])
    local counts, last = {}, 0
    stores.copy(old.place, new.place, { tables = { 'things' }, progress = function(count)
      counts[#counts + 1], last = count - last, count
    end })
    assert.equal(56, last)
    assert.equal(3200000, #new.target:find('things', '56').text)
    assert.is_true(counts[#counts] <= 2, table.concat(counts, ' '))
  end)

  it('asks a function of the program whose a row is', function()
    local strategy = { name = 'tenant', owner = function(id, count)
      return tonumber(id:sub(-2, -2)) % count
    end }
    old = sides.open(0, TABLES)
    new = sides.open(3, TABLES, { strategy = strategy })
    for n = 100, 199 do old.target:upsert('things', { id = tostring(n), n = n }) end
    stores.copy(old.place, new.place, { batch = 7, tables = { 'things' } })
    for n = 100, 199 do assert.equal(n, new.target:find('things', tostring(n)).n) end
    assert.equal(40, new.target.shards[1]:count('things'))
  end)

  it('copies those tables that are named, and refuses what has not the shape by name', function()
    open(0, 2)
    old:psql([[CREATE TABLE log (at timestamptz);
      CREATE TABLE texts (id text PRIMARY KEY, value jsonb)]])
    old.target:upsert('things', { id = '1' })
    local err = refused('unsupported', 'log (no id of the type bigint)', stores.copy, old.place,
      new.place)
    assert.matches('texts %(no id of the type bigint%)', err.message)
    refused('table_not_found', 'no table nothing', stores.copy, old.place, new.place,
      { tables = { 'nothing' } })
    assert.equal(1, #stores.copy(old.place, new.place, { tables = { 'things' } }).tables)
  end)

  it('puts rows behind those that they refer to', function()
    local sql = [[CREATE TABLE a_child (id bigint PRIMARY KEY, value jsonb, parent bigint);
      CREATE TABLE parent (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE a_child ADD FOREIGN KEY (parent) REFERENCES parent]]
    old, new = sides.open(0, sql), sides.open(0, sql)
    old:psql("INSERT INTO parent VALUES (1, '{}'); INSERT INTO a_child VALUES (1, '{}', 1)")
    assert.equal(2, stores.copy(old.place, new.place).rows)
  end)

  it('refuses a new side that is not migrated, and says what is missing', function()
    open(0, 2)
    old.target:migrate({ { name = 'first', migration = 'SELECT 1' },
      { name = 'second', migration = 'CREATE TABLE more (id bigint PRIMARY KEY, value jsonb)' } })
    new.target.shards[1]:migrate({ { name = 'first', migration = 'SELECT 1' } })
    local err = refused('not_migrated', 'shard 0 of the new side has no table more', stores.copy,
      old.place, new.place)
    assert.matches('shard 0 of the new side lacks the migrations second', err.message)
    assert.matches('shard 1 of the new side lacks the migrations first, second', err.message)
    new:psql('ALTER TABLE things ADD COLUMN more text')
    refused('not_migrated', 'has the columns id bigint, more text, value jsonb, and not',
      stores.copy, old.place, new.place, { tables = { 'things' } })
    new:psql('ALTER TABLE things DROP COLUMN more')
    old:psql("CREATE INDEX ON things ((value ->> 'n')) WHERE id > 0")
    refused('not_migrated', "has no index USING btree (((value ->> 'n'::text))) WHERE (id > 0)",
      stores.copy, old.place, new.place, { tables = { 'things' } })
    assert.is_true(old.target:query("SELECT to_regclass('stores_shard') IS NULL AS none")[1].none)
  end)

  it('leaves no table behind that only one of the old databases has', function()
    open(2, 3)
    support.psql(old.databases[2], 'CREATE TABLE extra (id bigint PRIMARY KEY, value jsonb)')
    old.target.shards[2]:insert('extra', { id = '1' })
    local err = refused('not_migrated', 'shard 0 of the old side has no table extra', stores.copy,
      old.place, new.place)
    assert.matches('shard 2 of the new side has no table extra', err.message)
    old.target.shards[2]:migrate({ { name = 'own', migration = 'DROP TABLE IF EXISTS extra' } })
    refused('not_migrated', 'shard 0 of the old side lacks the migrations own', stores.copy,
      old.place, new.place)
    old.target:migrate({ { name = 'own', migration = 'DROP TABLE IF EXISTS extra' } })
    new.target:migrate({ { name = 'own', migration = 'DROP TABLE IF EXISTS extra' } })
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)

  it('takes names of columns as they are', function()
    local sql = [[CREATE TABLE "100%T" (id bigint PRIMARY KEY, value jsonb, "%T" text,
      "50 %% of ""it""" text)]]
    old, new = sides.open(0, sql), sides.open(1, sql)
    old:psql([[INSERT INTO "100%T" VALUES (1, '{}', 'a', 'b')]])
    assert.equal(1, stores.copy(old.place, new.place).rows)
    assert.equal('1|{}|a|b\n', new:psql('SELECT * FROM "100%T"')[1])
  end)

  it('takes the rows of tables that inherit once, into those', function()
    local sql = [[CREATE TABLE things (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE heirs (PRIMARY KEY (id)) INHERITS (things)]]
    old, new = sides.open(0, sql), sides.open(2, sql)
    old:psql("INSERT INTO things VALUES (1, '{}'); INSERT INTO heirs VALUES (2, '{}'), (3, '{}')")
    assert.equal(3, stores.copy(old.place, new.place).rows)
    assert.same({ 3, 2 }, { new.target:count('things'), new.target:count('heirs') })
  end)

  it('lets nobody else into a partition of the new side, either', function()
    local sql = [[CREATE TABLE things (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
      CREATE TABLE low PARTITION OF things FOR VALUES FROM (MINVALUE) TO (100);
      CREATE TABLE high PARTITION OF things FOR VALUES FROM (100) TO (MAXVALUE)]]
    old, new = sides.open(0, sql), sides.open(2, sql)
    old:psql("INSERT INTO things SELECT i, '{}' FROM generate_series(1, 200) i")
    local said
    local result = stores.copy(old.place, new.place, { say = function(text)
      if text == 'compares both sides' then
        said = new:refusal("INSERT INTO low VALUES (-2, '{}')")
      end
    end })
    assert.matches('does not own its rows yet', said)
    assert.equal(200, result.rows)
    assert.same({ '0\n', '0\n' }, new:psql(
      "SELECT count(*) FROM pg_trigger WHERE tgname = 'stores_refuse'"))
    new.target:insert('low', { id = '-2' })
    assert.equal(201, new.target:count('things'))
  end)

  it('goes only into tables that are empty', function()
    open(0, 2)
    new.target:upsert('things', { id = '1' })
    refused('conflict', 'things of shard 1 of the new side has rows already', stores.copy,
      old.place, new.place)
    new.target:delete('things', '1')
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)

  it('goes into databases of its own', function()
    open(2, 0)
    local place = { shards = { old.place.shards[1],
      { id = 1, db = new.databases[1], redis = support.redis() } } }
    refused('shard_mismatch', 'shard 0 of the new side is in the database of shard 0 of the old',
      stores.copy, old.place, place)
  end)

  it('does not switch where the sides differ', function()
    open(0, 2)
    old.target:insertMany('things', documents())
    old:psql([[UPDATE things SET value = value || '{"exact": 1.00}' WHERE id = 7]])
    local changed = false
    refused('conflict', 'things is not the same on both sides', stores.copy, old.place, new.place,
      { say = function(text)
        if not text:find('compares') then return end
        changed = true
        new:psql([[SET stores.copy = ''; ALTER TABLE things DISABLE TRIGGER stores_refuse;
          UPDATE things SET value = value || '{"exact": 1.0}' WHERE id = 7;
          ALTER TABLE things ENABLE ALWAYS TRIGGER stores_refuse]])
      end })
    assert.is_true(changed)
    assert.equal(7, old.target:find('things', '7').n)
    refused('moved', 'does not own its rows yet', new:open().find, new.others[2], 'things', '7')
    assert.is_true(stores.copy(old.place, new.place, { abort = true }).aborted)
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.same({ '', '1.00\n' }, new:psql("SELECT value ->> 'exact' FROM things WHERE id = 7"))
  end)

  it('says which option it does not know', function()
    open(0, 2)
    refused('invalid_option', "'table'", stores.copy, old.place, new.place, { table = 'things' })
    refused('invalid_argument', 'the new side is what', stores.copy, old.place, 'four.lua')
  end)
end)
