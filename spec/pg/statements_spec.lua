-- Prepared statements: they are kept for each connection, the longest unused one goes, and what DDL
-- or somebody else made useless is prepared again without a word.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('Prepared statements', function()
  local store, db

  before_each(function()
    store, db = support.store({ 'docs' }, { no_redis = true }, { poolsize = 1 })
    store:insert('docs', { id = '1', n = 1 })
    store:insert('docs', { id = '2', n = 2 })
  end)

  after_each(function() support.close(store, db) end)

  -- Every verb that prepares, so often that the server made generic plans.
  local function use()
    for i = 1, 7 do
      assert.equal(1, store:find('docs', '1').n)
      assert.equal(2, #store:findAllByIds('docs', { '1', '2', '9' }))
      assert.is_true(store:update('docs', { id = '2', n = i }))
      assert.equal(i, store:updateProperty('docs', '2', 'i', i).i)
      assert.is_false(select(2, store:upsert('docs', { id = '2', n = i })))
      assert.equal(i, store:updateObject('docs', '2', function(doc) doc.n = i end).n)
      assert.is_false(store:delete('docs', '77'))
      assert.equal(1, #store:findByJSON('docs', { n = 1, id = '1' }))
      store:transaction(function(tx) assert.equal(1, tx:find('docs', '1').n) end)
      store:insert('docs', { id = '3', n = 3 })
      assert.is_true(store:delete('docs', '3'))
    end
  end

  it('are made once for a text', function()
    use()
    local before = store:stats().pg_prepares
    use()
    assert.equal(before, store:stats().pg_prepares)
    assert.is_true(store:query('SELECT count(*) AS n FROM pg_prepared_statements')[1].n > 3)
  end)

  local changes = {
    ['a column was added'] = 'ALTER TABLE docs ADD COLUMN extra text',
    ['the type of the id changed'] = 'ALTER TABLE docs ALTER COLUMN id TYPE numeric;'
      .. 'ALTER TABLE docs ALTER COLUMN id TYPE bigint',
    ['the column was made anew'] = 'ALTER TABLE docs RENAME value TO old;'
      .. 'ALTER TABLE docs ADD COLUMN value jsonb; UPDATE docs SET value = old;'
      .. 'ALTER TABLE docs DROP COLUMN old',
    ['the value became json'] = 'ALTER TABLE docs ALTER COLUMN value TYPE text;'
      .. 'ALTER TABLE docs ALTER COLUMN value TYPE jsonb USING value::jsonb',
    ['an index was made'] = 'CREATE INDEX ON docs USING gin (value jsonb_path_ops)',
    ['the table was made anew'] = 'CREATE TABLE fresh (LIKE docs INCLUDING ALL);'
      .. 'INSERT INTO fresh SELECT * FROM docs; DROP TABLE docs; ALTER TABLE fresh RENAME TO docs',
    ['its columns changed places'] = 'CREATE TABLE fresh (value jsonb, id bigint PRIMARY KEY);'
      .. 'INSERT INTO fresh (id, value) SELECT id, value FROM docs; DROP TABLE docs;'
      .. 'ALTER TABLE fresh RENAME TO docs',
  }
  for what, sql in pairs(changes) do
    it('go on after ' .. what, function()
      use()
      assert.equal('', support.psql(db, sql))
      use()
    end)
  end

  -- The id's type stays what it is to Stores, an int8 in text; the plan's result type does not.
  it('heal where the type of a result changed for good', function()
    use()
    assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE numeric'))
    use()
  end)

  it('heal where what they were prepared for is another type now', function()
    store:query('CREATE TABLE small (id int PRIMARY KEY, value text)')
    local function use_small(id)
      store:insert('small', { id = id, n = 1 })
      assert.is_true(store:update('small', { id = id, n = 2 }))
      assert.equal(2, store:find('small', id).n)
      assert.is_false(select(2, store:upsert('small', { id = id, n = 3 })))
      store:transaction(function(tx) assert.equal(3, tx:find('small', id).n) end)
      assert.is_true(store:delete('small', id))
    end
    for i = 1, 7 do use_small(tostring(i)) end
    assert.equal('', support.psql(db, 'ALTER TABLE small ALTER COLUMN id TYPE bigint,'
      .. ' ALTER COLUMN value TYPE jsonb USING value::jsonb'))
    for i = 1, 7 do use_small('500000000000' .. i) end
    for i = 1, 7 do assert.equal(i, store:patch('docs', '2', { set = { i = i } }).i) end
  end)

  it('heal where the operators of the id are others, or say what is wrong', function()
    use()
    assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE text'))
    for _, call in ipairs({
      function() store:find('docs', '1') end,
      function() store:delete('docs', '1') end,
      function() store:transaction(function(tx) tx:find('docs', '1') end) end,
    }) do
      assert.equal('42883', support.refused('query_failed', nil, call).sqlstate)
    end
    assert.equal('', support.psql(db,
      'ALTER TABLE docs ALTER COLUMN id TYPE bigint USING id::bigint'))
    use()
  end)

  -- The parameters were prepared for the type that a column had.
  for _, kind in ipairs({ 'integer', 'smallint', 'numeric(20)', 'double precision' }) do
    it('heal where the id became ' .. kind, function()
      use()
      assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE ' .. kind))
      assert.equal(1, store:find('docs', '1').n)
      assert.is_true(store:update('docs', { id = '1', n = 5 }))
      assert.equal(6, store:patch('docs', '1', { inc = { n = 1 } }).n)
      assert.equal(7, store:updateObject('docs', '1', function(doc) doc.n = 7 end).n)
      store:insert('docs', { id = '5', n = 8 })
      store:transaction(function(tx) assert.equal(8, tx:find('docs', '5').n) end)
      assert.is_true(store:delete('docs', '5'))
      assert.is_nil(store:find('docs', '5'))
    end)
  end

  it('heal where the value became json, and jsonb again', function()
    use()
    for _, kind in ipairs({ 'json', 'jsonb' }) do
      assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN value TYPE ' .. kind))
      assert.is_true(store:update('docs', { id = '1', n = 5 }))
      assert.equal(5, store:find('docs', '1').n)
    end
    assert.is_true(store:update('docs', { id = '1', n = 1 }))
    assert.equal(1, store:transaction(function(tx) return tx:find('docs', '1').n end))
  end)

  it('are not taken for useless where a trigger fails', function()
    store:query([[CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN PERFORM no_such_function(); RETURN NEW; END $$;
      CREATE TRIGGER fails BEFORE UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION fails()]])
    for _ = 1, 3 do store.try:update('docs', { id = '1' }) end
    local before = store:stats().pg_prepares
    for _ = 1, 3 do
      local ok, err = store.try:update('docs', { id = '1' })
      assert.is_false(ok)
      assert.equal('42883', err.sqlstate)
    end
    assert.equal(before, store:stats().pg_prepares)
  end)

  for _, sql in ipairs({ 'DEALLOCATE ALL', 'DISCARD PLANS; DEALLOCATE ALL' }) do
    it('heal after ' .. sql, function()
      use()
      store:query(sql, nil, { transaction = false })
      use()
    end)
  end

  it('heal for the question about a table of which there is more to say', function()
    store:query([[CREATE FUNCTION forget() RETURNS jsonb LANGUAGE plpgsql AS
      $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN '{"n": 1}'::jsonb; END $$;
      CREATE VIEW forgets AS SELECT 1::bigint AS id, forget() AS value;
      CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$]])
    for i = 1, 3 do
      store:query(([[CREATE TABLE fired%d (id bigint PRIMARY KEY, value jsonb);
        INSERT INTO fired%d VALUES (1, '{"n": %d}');
        CREATE TRIGGER fired BEFORE UPDATE ON fired%d FOR EACH ROW EXECUTE FUNCTION fired()
        ]]):format(i, i, i, i))
    end
    for i = 1, 3 do
      assert.equal(1, store:find('forgets', '1').n)
      assert.equal(i, store:find('fired' .. i, '1').n)
    end
  end)

  it('heal for a transaction, which runs again', function()
    use()
    assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE numeric'))
    local runs = 0
    store:transaction(function(tx)
      runs = runs + 1
      assert.equal(1, tx:find('docs', '1').n)
    end)
    assert.equal(2, runs)
  end)

  it('heal for updateObject', function()
    use()
    assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE numeric'))
    assert.equal(5, store:updateObject('docs', '1', function(doc) doc.m = 5 end).m)
  end)

  it('that fail in the middle of a transaction have it run again', function()
    use()
    local runs = 0
    store:transaction(function(tx)
      runs = runs + 1
      tx:insert('docs', { id = '4', n = runs })
      if runs == 1 then tx:query("DO $$ BEGIN EXECUTE 'DEALLO' || 'CATE ALL'; END $$") end
      assert.equal(1, tx:find('docs', '1').n)
    end)
    assert.equal(2, runs)
    assert.equal(2, store:find('docs', '4').n)
  end)

  it('heal for calls that are in flight together', function()
    use()
    assert.equal('', support.psql(db, 'ALTER TABLE docs ALTER COLUMN id TYPE numeric'))
    stores.run(function()
      for i = 1, 20 do
        stores.spawn(function()
          if i % 2 == 0 then
            assert.equal(1, store:find('docs', '1').n)
          else
            assert.equal(i, store:updateProperty('docs', '2', 'i', i).i)
          end
        end)
        stores.sleep(0)
      end
    end)
  end)

  it('say that the table is gone, and work again when it is back', function()
    use()
    support.psql(db, 'ALTER TABLE docs RENAME TO away')
    local ok, err = store.try:find('docs', '1')
    assert.is_false(ok)
    assert.equal('table_not_found', err.code)
    support.psql(db, 'ALTER TABLE away RENAME TO docs')
    use()
  end)

  it('are at most 256 on a connection, of any number of texts', function()
    for i = 1, 400 do
      assert.equal(i, store:patch('docs', '1', { set = { ['key' .. i] = i } })['key' .. i])
    end
    local prefix = 'CREATE TABLE t%d (id bigint PRIMARY KEY, value jsonb)'
    local sql = {}
    for i = 1, 150 do sql[i] = prefix:format(i) end
    store:query(table.concat(sql, ';'))
    for round = 1, 2 do
      for i = 1, 150 do
        local name = 't' .. i
        store:upsert(name, { id = '1', n = round })
        assert.equal(round, store:find(name, '1').n)
      end
    end
    local stats = store:stats()
    assert.is_true(stats.pg_prepares > 300)
    assert.equal(1, stats.pg_connects)
    local count = store:query('SELECT count(*) AS n FROM pg_prepared_statements')[1].n
    assert.is_true(count <= 256 and count > 200, tostring(count))
    use()
  end)
end)
