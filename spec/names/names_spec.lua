-- What the name of a table means. It depends on the session that asks: a transaction's search_path
-- and its temporary tables are its own, and never decide what a name means to anybody else.
-- Plain pass alone: names_unseen_spec and the units of this room run the same code of the core.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')
local wait = require('stores.wait')

local MANY = 1100 -- more than are remembered

describe('The name of a table', function()
  local store, db

  before_each(function()
    store, db = support.store({ 'docs', 'others' })
    store:query([[
      CREATE SCHEMA a; CREATE TABLE a.docs (id bigint PRIMARY KEY, value jsonb);
      CREATE SCHEMA b; CREATE TABLE b.docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs VALUES (1, '{"of": "public"}');
      INSERT INTO a.docs VALUES (1, '{"of": "a"}');
      INSERT INTO b.docs VALUES (1, '{"of": "b"}')]])
  end)

  after_each(function() support.close(store, db) end)

  local function psql(sql) return (support.psql(db, sql):gsub('%s+$', '')) end

  local function of(target, opts) return target:find('docs', '1', opts).of end

  -- Verbs of a transaction that all have to mean the schema, and what they leave.
  local function use(tx, schema)
    assert.equal(schema, of(tx))
    assert.equal(schema, tx:findByJSON('docs', { of = schema })[1].of)
    assert.equal(1, tx:count('docs'))
    assert.is_true(tx:update('docs', { id = '1', of = schema, by = 'update' }))
    assert.equal(schema, tx:patch('docs', '1', { set = { by = 'patch' } }).of)
    assert.equal(schema, tx:updateObject('docs', '1', function(doc) doc.by = 'function' end).of)
    tx:insert('docs', { id = '2', of = schema })
    assert.is_true(tx:delete('docs', '2'))
    assert.same({ schema }, { tx:query("SELECT value->>'of' AS of FROM docs")[1].of })
  end

  local function everybody_sees_public()
    assert.equal('public', of(store))
    assert.equal('public', of(store, { cache = false }))
    assert.equal('public', store:transaction(function(tx) return of(tx) end))
    assert.equal('public', psql("SELECT value->>'of' FROM public.docs WHERE id = 1"))
  end

  for _, known in ipairs({ false, true }) do
    describe(known and 'that was known before' or 'that nobody has asked for', function()
      before_each(function() if known then assert.equal('public', of(store)) end end)

      for _, text in ipairs({
        'SET LOCAL search_path TO b', 'SET search_path TO b',
        "SELECT set_config('search_path', 'b', true)",
        "DO $$ BEGIN PERFORM set_config('search_path', 'b', false); END $$",
        'SELECT 1; SET LOCAL search_path = b; SELECT 2',
        "UPDATE pg_settings SET setting = 'b' WHERE name = 'search_path'",
      }) do
        it('is its own in a transaction after ' .. text, function()
          local meanwhile
          store:transaction(function(tx)
            tx:query(text)
            use(tx, 'b')
            meanwhile = stores.spawn(everybody_sees_public)
            use(tx, 'b')
          end)
          meanwhile:join()
          everybody_sees_public()
          assert.equal('function', psql("SELECT value->>'by' FROM b.docs"))
          assert.equal('', psql("SELECT value->>'by' FROM public.docs"))
        end)
      end

      it('follows each text of a transaction, and what a savepoint undoes', function()
        store:transaction(function(tx)
          assert.equal('public', of(tx))
          tx:query('SET LOCAL search_path TO b')
          assert.equal('b', of(tx))
          pcall(tx.transaction, tx, function()
            tx:query('SET LOCAL search_path TO a')
            assert.equal('a', of(tx))
            error('undone')
          end)
          assert.equal('b', of(tx))
          tx:query('SAVEPOINT mine; SET LOCAL search_path TO a')
          assert.equal('a', of(tx))
          tx:query('ROLLBACK TO SAVEPOINT mine')
          assert.equal('b', of(tx))
          tx:query('RESET search_path')
          assert.equal('public', of(tx))
        end)
        everybody_sees_public()
      end)

      it('means the temporary table of a transaction in that alone', function()
        local made, seen = false, false
        stores.run(function()
          stores.spawn(function()
            store:transaction(function(tx)
              tx:query('CREATE TEMP TABLE docs (id bigint PRIMARY KEY, value jsonb) ON COMMIT DROP')
              tx:insert('docs', { id = '1', of = 'temporary' })
              made = true
              assert.equal('temporary', of(tx))
              support.eventually(function() return seen end, 20)
              assert.equal('temporary', of(tx))
            end)
          end)
          support.eventually(function() return made end, 20)
          everybody_sees_public()
          assert.is_true(store:update('docs', { id = '1', of = 'public' }))
          seen = true
        end)
        everybody_sees_public()
      end)
    end)
  end

  for _, isolation in ipairs({ 'read committed', 'repeatable read', 'serializable' }) do
    it('keeps tenants apart in transactions at the same time, ' .. isolation, function()
      local schemas = { 'a', 'b', 'public' }
      stores.run(function()
        for round = 1, 60 do
          stores.spawn(function()
            local schema = schemas[round % 3 + 1]
            store:transaction(function(tx)
              if schema ~= 'public' then tx:query('SET LOCAL search_path TO ' .. schema) end
              assert.equal(schema, of(tx))
              stores.sleep(0.001 * (round % 5))
              tx:insert('docs', { id = tostring(100 + round), of = schema })
              assert.equal(schema, tx:find('docs', tostring(100 + round)).of)
            end, { isolation = isolation, retries = 20 })
          end)
        end
      end)
      for _, schema in ipairs(schemas) do
        assert.equal('21|' .. schema, psql(("SELECT count(*), min(value->>'of') FROM"
          .. " %s.docs WHERE value->>'of' = '%s'"):format(schema, schema)))
      end
      everybody_sees_public()
    end)
  end

  it('is what on_connect makes of it, after a text of somebody as well', function()
    local config = { on_connect = 'SET search_path TO b' }
    for key, value in pairs(db) do config[key] = value end
    local other = stores.Store.new(config, support.redis())
    for _ = 1, 3 do
      assert.equal('b', of(other))
      other:query('SET search_path TO a')
      other:transaction(function(tx)
        assert.equal('b', of(tx))
        tx:query('SET LOCAL search_path TO a')
        assert.equal('a', of(tx))
      end)
    end
    support.close(other)
    everybody_sees_public()
  end)

  it('is asked on the connection of its transaction, where another one is not to be had', function()
    local config = { poolsize = 1, acquire_timeout = 1 }
    for key, value in pairs(db) do config[key] = value end
    local alone = stores.Store.new(config, support.redis())
    alone:transaction(function(tx)
      tx:query('SET LOCAL search_path TO b')
      use(tx, 'b')
      tx:query('CREATE TABLE fresh (id bigint PRIMARY KEY, value jsonb)')
      tx:insert('fresh', { id = '1' })
      support.refused('table_not_found', nil, tx.find, tx, 'nowhere', '1')
    end)
    support.refused('table_not_found', nil, alone.find, alone, 'fresh', '1')
    assert.same({ id = '1' }, alone:find('b.fresh', '1'))
    support.close(alone)
  end)

  it('is no reason to ask again after a text that changes nothing of it', function()
    store:transaction(function(tx)
      tx:query('SELECT count(*) AS n FROM docs')
      tx:query("INSERT INTO others (id, value) VALUES (7, '{}')")
      of(tx)
      local before = store:stats().pg_round_trips
      of(tx)
      tx:query("UPDATE others SET value = '{}' WHERE id = $1", { 7 })
      of(tx)
      assert.equal(3, store:stats().pg_round_trips - before)
    end)
  end)

  it('is refused to verbs behind a text that changed the encoding they speak', function()
    store:transaction(function(tx)
      tx:query("SET LOCAL client_encoding = 'LATIN1'")
      support.refused('unsupported', 'client_encoding', tx.find, tx, 'docs', '1')
      tx:query("SET LOCAL client_encoding = 'UTF8'")
      assert.equal('public', of(tx))
    end)
  end)

  it('is put for %T, but not inside strings, comments and quoted names', function()
    local rows = wait.slot(store.hub, store.engine:select('docs', "SELECT '100%T' AS text,"
      .. ' $$%T$$ AS dollars, 1 AS "%T" FROM %T /* %T */ WHERE id = 1 -- %T', {}, 10, false, true))
    assert.same({ text = '100%T', dollars = '%T', ['%T'] = 1 },
      { text = rows[1].text, dollars = rows[1].dollars, ['%T'] = rows[1]['%T'] })
  end)

  it('of a table that is not there is not remembered', function()
    for i = 1, MANY do
      assert.is_false((store.try:find('from_outside_' .. i, '1')))
    end
    everybody_sees_public()
  end)

  -- Views of docs, made by one text, each read once, and dropped by another.
  local function come_and_go(target, ddl, prefix, many)
    local make, drop, names = {}, {}, {}
    for i = 1, many do
      names[i] = prefix .. i
      make[i] = ('CREATE VIEW %s AS SELECT * FROM docs;'):format(names[i])
      drop[i] = ('DROP VIEW %s;'):format(names[i])
    end
    ddl(table.concat(make))
    stores.run(function()
      stores.map(names, function(name)
        assert.equal('public', target:find(name, '1').of)
      end, { concurrency = 16 })
    end)
    ddl(table.concat(drop))
  end

  it('means its table to calls that have it while many others come and go', function()
    stores.run(function()
      store:transaction(function(tx)
        tx:insert('docs', { id = '5', of = 'tx' })
        assert.is_true(tx:update('docs', { id = '1', of = 'public', by = 'tx' }))
        stores.spawn(function() -- it waits for that row
          local late = { id = '1', of = 'public', by = 'late' }
          assert.is_true(store:update('docs', late, { timeout = 240 }))
        end)
        come_and_go(store, function(text) support.psql(db, text) end, 'aside_', MANY)
        -- after what a statement of the engine's own changes, no name is known any more
        store:query('CREATE TABLE own (id bigint PRIMARY KEY, value jsonb)')
        come_and_go(store, function(text) store:query(text) end, 'again_', 100)
        assert.equal('tx', tx:find('docs', '5').of)
        assert.is_true(tx:delete('docs', '5'))
        tx:insert('docs', { id = '6', of = 'tx' })
      end, { timeout = 240 })
    end)
    assert.is_nil(store:find('docs', '5'))
    assert.equal('tx', store:find('docs', '6').of)
    assert.equal('late', store:find('docs', '1').by)
    everybody_sees_public()
  end)

  it('means the new table where one was dropped and made again, among others #slow', function()
    for round, others in ipairs({ MANY, 10 }) do
      store:query('CREATE TABLE again (id bigint PRIMARY KEY, value jsonb)')
      assert.is_nil(store:find('again', '1'))
      store:insert('again', { id = '1', round = round })
      assert.equal(round, store:find('again', '1').round)
      come_and_go(store, function(text) store:query(text) end, 'among_', others)
      assert.equal(round, store:find('again', '1').round)
      store:query('DROP TABLE again')
      support.refused('table_not_found', nil, store.find, store, 'again', '1')
    end
  end)

  it('serves many tables, more than are remembered #slow', function()
    local sql = {}
    for i = 1, MANY do -- most are views, which ask less of the server
      sql[#sql + 1] = (i % 20 > 0 and [[CREATE VIEW t%d AS
        SELECT id, value || '{"n": %d}' AS value FROM docs;]]
        or [[CREATE TABLE t%d (id bigint PRIMARY KEY, value jsonb);
        INSERT INTO t%d VALUES (1, '{"n": %d}');]]):gsub('%%d', i)
      if i % 100 == 0 then
        store:query(table.concat(sql))
        sql = {}
      end
    end
    for _, last in ipairs({ MANY, 200 }) do -- the first ones are forgotten by then
      local list = {}
      for i = 1, last do list[i] = i end
      stores.run(function()
        stores.map(list, function(i)
          assert.equal(i, store:find('t' .. i, '1').n)
        end, { concurrency = 16 })
      end)
    end
  end)
end)

ffi.cdef([[
  typedef struct stores_spec_mallinfo {
    size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks, fordblks, keepcost;
  } stores_spec_mallinfo;
  stores_spec_mallinfo mallinfo2(void);
]])

describe('The names of tables that come and go #slow', function()
  -- FILL: rounds that reach what is remembered, also on each of two connections
  local EACH, FILL, ROUNDS = 180, 8, 2

  -- Bytes that malloc has given out: the engine's. What the system has given moves by more.
  local function given()
    collectgarbage()
    collectgarbage()
    local info = ffi.C.mallinfo2()
    return tonumber(info.uordblks + info.hblkhd)
  end

  for _, case in ipairs({
    { 'a store without a cache', cache = false },
    { 'a store with a cache', cache = true },
    { 'a store with a cache, of tables that others make', cache = true, outside = true },
  }) do
    it('leave no memory behind: ' .. case[1], function()
      local db = support.db()
      local config = { poolsize = 2, acquire_timeout = 20 }
      for key, value in pairs(db) do config[key] = value end
      local store = stores.Store.new(config, case.cache and support.redis() or nil)
      local function ddl(text)
        if case.outside then support.psql(db, text) else store:query(text) end
      end
      ddl("CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);"
        .. " INSERT INTO docs VALUES (1, '{}')")
      local function round(n)
        local make, drop, names = {}, {}, {}
        for i = 1, EACH do
          names[i] = ('x%d_%d'):format(n, i)
          make[i] = ('CREATE VIEW %s AS SELECT * FROM docs;'):format(names[i])
          drop[i] = ('DROP VIEW %s;'):format(names[i])
        end
        ddl(table.concat(make))
        stores.run(function()
          stores.map(names, function(name)
            assert.same({ id = '1' }, store:find(name, '1'))
          end, { concurrency = 20 })
        end)
        ddl(table.concat(drop))
      end
      for n = 1, FILL do round(n) end
      local before = given()
      for n = FILL + 1, FILL + ROUNDS do round(n) end
      local each = (given() - before) / (EACH * ROUNDS)
      assert.is_true(each < 100, ('%.0f bytes for each of %d'):format(each, EACH * ROUNDS))
      support.close(store, db)
    end)
  end
end)
