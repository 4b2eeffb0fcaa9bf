-- What DDL does to names without a lock on the tables that they meant: a schema that takes the name
-- of another one, a table that comes to stand before another in search_path, or goes from there.
-- Plain pass alone: names_unseen_spec and the units of this room run the same code of the core.

local stores = require('stores')
local support = require('spec.support')
local wait = require('stores.wait')

local AWAY, IN = 'ALTER SCHEMA live RENAME TO old', 'ALTER SCHEMA fresh RENAME TO live'
local BOTH = AWAY .. '; ' .. IN

local SWAPS = {
  ['a query'] = function(store) store:query(BOTH) end,
  ['a transaction'] = function(store)
    store:transaction(function(tx)
      tx:query(AWAY)
      tx:query(IN)
    end)
  end,
  ['a savepoint'] = function(store)
    store:transaction(function(tx) tx:transaction(function(inner) inner:query(BOTH) end) end)
  end,
  ['a block'] = function(store)
    store:query(("DO $$ BEGIN EXECUTE '%s'; EXECUTE '%s'; END $$"):format(AWAY, IN))
  end,
  ['a migration'] = function(store) store:migrate({ { name = 'swap', migration = BOTH } }) end,
}

describe('Schemas that are swapped by their names, in', function()
  local one, other, db

  before_each(function()
    one, db = support.store({})
    one:query([[
      CREATE SCHEMA live; CREATE TABLE live.docs (id bigint PRIMARY KEY, value jsonb);
      CREATE SCHEMA fresh; CREATE TABLE fresh.docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO live.docs VALUES (1, '{"of": "live"}');
      INSERT INTO fresh.docs VALUES (1, '{"of": "fresh"}'), (2, '{"of": "fresh"}')]])
    other = stores.Store.new(db, support.redis())
    for _, store in ipairs({ one, other }) do
      support.eventually(function()
        store:findAllByIds('live.docs', { '1', '2' })
        return store:stats().hits > 0 and store:stats().negative_hits > 0
      end)
    end
  end)

  after_each(function()
    other:close()
    support.close(one, db)
  end)

  for title, swap in pairs(SWAPS) do
    it(title .. ' give everybody the rows of the new one', function()
      swap(one)
      for _, store in ipairs({ other, one }) do
        assert.equal('fresh', store:find('live.docs', '1').of)
        assert.equal('fresh', store:find('live.docs', '2').of)
        assert.equal('live', store:find('old.docs', '1').of)
        support.refused('table_not_found', nil, store.find, store, 'fresh.docs', '1')
      end
      assert.is_true(other:update('live.docs', { id = '1', of = 'written' }))
      assert.equal('written', one:find('live.docs', '1').of)
      assert.equal('live', one:find('old.docs', '1').of)
    end)
  end
end)

describe('A table that comes to stand before another one of its name', function()
  for _, cached in ipairs({ true, false }) do
    it('is meant at once by who made it, ' .. (cached and 'with' or 'without') .. ' a cache',
      function()
        local store, db = support.store({ 'docs' }, cached and {} or { no_redis = true },
          { on_connect = 'SET search_path = app, public' })
        local function of() return store:find('docs', '1').of end
        store:query('CREATE SCHEMA app')
        store:insert('docs', { id = '1', of = 'public' })
        for _ = 1, 3 do assert.equal('public', of()) end
        store:query([[CREATE TABLE app.docs (id bigint PRIMARY KEY, value jsonb);
          INSERT INTO app.docs VALUES (1, '{"of": "app"}')]])
        assert.equal('app', of())
        store:update('docs', { id = '1', of = 'written' })
        assert.equal('public', store:find('public.docs', '1').of)
        store:transaction(function(tx) tx:query('ALTER TABLE app.docs RENAME TO aside') end)
        assert.equal('public', of())
        support.close(store, db)
      end)
  end
end)

local MAKE = 'CREATE TABLE app.docs (id bigint PRIMARY KEY, value jsonb)'
local FILL = [[INSERT INTO app.docs VALUES (1, '{"of": "app"}')]]
local MADE = [[SELECT 1::bigint AS id, '{"of": "app"}'::jsonb AS value]]
local BLOCK = ('DO $$ BEGIN %s; %s; END $$'):format(MAKE, FILL)

local MAKERS = {
  { 'CREATE TABLE .. AS', function(store) store:query('CREATE TABLE app.docs AS ' .. MADE) end },
  { 'SELECT INTO', function(store)
    store:query((MADE:gsub('AS value', 'AS value INTO app.docs')))
  end },
  { 'EXPLAIN ANALYZE CREATE TABLE', function(store)
    store:query('EXPLAIN ANALYZE CREATE TABLE app.docs AS ' .. MADE)
  end },
  { 'a block', function(store) store:query(BLOCK) end },
  { 'a block in a transaction', function(store)
    store:transaction(function(tx) tx:query(BLOCK) end)
  end },
  { 'a procedure', function(store) store:query('CALL public.make()') end },
  { 'a text that makes a temporary table, too', function(store)
    store:query(('CREATE TEMP TABLE other (a int); %s; %s'):format(MAKE, FILL))
  end },
  { 'a session', function(store)
    store:session(function(session)
      session:query(MAKE)
      session:query(FILL)
    end)
  end },
  { 'a transaction in a session', function(store)
    store:session(function(session)
      session:query('BEGIN')
      session:query(MAKE)
      session:query(FILL)
      assert.equal('public', store:find('docs', '1').of)
      session:query('COMMIT')
    end)
  end },
  { 'a block in a session', function(store)
    store:session(function(session) session:query(BLOCK) end)
  end },
  { 'a statement outside of transactions', function(store, opts)
    store:query('CREATE TABLE app.docs AS ' .. MADE, {}, opts)
  end },
}

describe('A table that comes to stand before another one of its name is meant at once, made by',
  function()
    for _, cached in ipairs({ true, false }) do
      local store, db

      setup(function()
        store, db = support.store({ 'docs' }, cached and {} or { no_redis = true },
          { on_connect = 'SET search_path = app, public' })
        store:query('CREATE SCHEMA app')
        store:query(('CREATE PROCEDURE public.make() LANGUAGE plpgsql AS $$ BEGIN %s; %s; END $$')
          :format(MAKE, FILL))
        store:insert('docs', { id = '1', of = 'public' })
      end)
      teardown(function() support.close(store, db) end)

      for _, maker in ipairs(MAKERS) do
        it(('%s, with%s a cache'):format(maker[1], cached and '' or 'out'), function()
          store:query('DROP TABLE IF EXISTS app.docs')
          assert.equal('public', store:find('docs', '1').of)
          maker[2](store, { transaction = false, invalidates = cached and { 'docs' } or nil })
          assert.equal('app', store:find('docs', '1').of)
        end)
      end
    end
  end)

local GONE = {
  { 'is dropped', 'DROP TABLE app.docs' },
  { 'is renamed', 'ALTER TABLE app.docs RENAME TO aside' },
  { 'goes elsewhere with its schema', 'ALTER SCHEMA app RENAME TO other' },
}

local FIRST_CALLS = {
  find = function(store) return store:find('docs', '1').of end,
  ['find without the cache'] = function(store)
    return store:find('docs', '1', { cache = false }).of
  end,
  findAllByIds = function(store) return store:findAllByIds('docs', { '1', '2' })[2].of end,
  findOne = function(store) return store:findOne('docs', { of = 'public' }).of end,
  count = function(store) return store:count('docs') == 2 and 'public' end,
  insert = function(store)
    store:insert('docs', { id = '3', of = 'new' })
    return store:delete('public.docs', '3') and 'public'
  end,
  update = function(store)
    store:update('docs', { id = '1', of = 'public', n = 1 })
    return store:find('public.docs', '1').n == 1 and 'public'
  end,
  patch = function(store) return store:patch('docs', '1', { inc = { n = 1 } }).of end,
  updateObject = function(store)
    return store:updateObject('docs', '1', function(document)
      document.n = 1
      return document
    end).of
  end,
  insertMany = function(store)
    store:insertMany('docs', { { id = '3', of = 'new' } })
    return store:delete('public.docs', '3') and 'public'
  end,
  ['insertMany of so many that they are copied'] = function(store)
    local documents = {}
    for i = 3, 3000 do documents[#documents + 1] = { id = tostring(i), of = 'new' } end
    store:insertMany('docs', documents)
    return store:count('public.docs') == 3000 and 'public'
  end,
  upsertMany = function(store)
    store:upsertMany('docs', { { id = '1', of = 'public', n = 3 } })
    return store:find('public.docs', '1').n == 3 and 'public'
  end,
  patchWhere = function(store)
    store:patchWhere('docs', { of = 'public' }, { inc = { n = 1 } })
    return store:find('public.docs', '1').n == 1 and 'public'
  end,
  deleteWhere = function(store)
    store:deleteWhere('docs', { of = 'public' })
    return store:count('public.docs') == 0 and 'public'
  end,
  ['updateObject that creates'] = function(store)
    store:updateObject('docs', '9', function() return { of = 'new' } end, { create = true })
    return store:find('public.docs', '9') and 'public'
  end,
  ['updateObject of many rows'] = function(store)
    stores.run(function()
      stores.map({ '1', '2', '3', '4', '5', '6' }, function(id)
        store:updateObject('docs', id, function() return { n = 5, of = 'new' } end,
          { create = true })
      end)
    end)
    return store:count('public.docs') == 6 and 'public'
  end,
  each = function(store)
    local of
    for document in store:each('docs') do of = document.of end
    return of
  end,
  ['a transaction'] = function(store)
    return store:transaction(function(tx)
      tx:insert('public.docs', { id = '3', of = 'new' })
      return tx:patch('docs', '1', { inc = { n = 1 } }).of
    end)
  end,
  upsert = function(store)
    store:upsert('docs', { id = '1', of = 'public', n = 2 })
    return store:find('public.docs', '1').n == 2 and 'public'
  end,
  delete = function(store)
    return store:delete('docs', '2') and not store:find('public.docs', '2') and 'public'
  end,
  ['writes of one tick, of which others are of other tables'] = function(store)
    stores.run(function()
      stores.map({ '1', '2', '3', '4', '5', '6' }, function(id)
        if id > '2' then return store:upsert('others', { id = id, of = 'others' }) end
        store:patch('docs', id, { inc = { n = 1 } })
      end)
    end)
    assert.equal(4, store:count('others'))
    for id = 1, 2 do assert.equal(1, store:find('public.docs', tostring(id)).n) end
    return 'public'
  end,
  ['a transaction in one'] = function(store)
    local runs = 0
    return store:transaction(function(tx)
      runs = runs + 1
      assert.is_true(runs < 3)
      tx:insert('public.docs', { id = '3', of = 'new' })
      return tx:transaction(function() return tx:patch('docs', '1', { inc = { n = 1 } }).of end)
    end)
  end,
  ['many of one tick'] = function(store)
    local of = {}
    stores.run(function()
      stores.map({ '1', '2', '1' }, function(id)
        local found = store:find('docs', id, { cache = false }).of
        of[#of + 1] = found
        store:update('docs', { id = id, of = 'public' })
      end)
    end)
    assert.same({ 'public', 'public', 'public' }, of)
    return 'public'
  end,
}

describe('The first call of a process after somebody else took away the table in front', function()
  for _, cached in ipairs({ true, false }) do
    local store, db

    setup(function()
      store, db = support.store({ 'docs', 'others' }, cached and {} or { no_redis = true },
        { on_connect = 'SET search_path = app, public' })
    end)
    teardown(function() support.close(store, db) end)
    before_each(function()
      store:query('DROP SCHEMA IF EXISTS app CASCADE; DROP SCHEMA IF EXISTS other CASCADE;'
        .. 'TRUNCATE public.docs, public.others; CREATE SCHEMA app')
      for i = 1, 2 do store:insert('public.docs', { id = tostring(i), of = 'public' }) end
      store:query(MAKE)
      for i = 1, 2 do store:insert('docs', { id = tostring(i), of = 'app' }) end
      assert.equal(2, store:count('docs'))
      assert.equal('app', store:find('docs', '1', { cache = false }).of)
    end)

    for _, how in ipairs(GONE) do
      for name, call in pairs(FIRST_CALLS) do
        if name ~= 'find' or not cached then -- Redis has its rows until somebody tells it
          it(('which %s means the next one, by %s, with%s a cache'):format(how[1], name,
            cached and '' or 'out'), function()
            support.psql(db, how[2])
            assert.equal('public', call(store))
          end)
        end
      end
    end

    local with = cached and ', with a cache' or ', without a cache'

    it('is retryable in a transaction, of which the next one means the next table' .. with,
    function()
      for _, call in ipairs({
        function(tx) return tx:patch('docs', '1', { inc = { n = 1 } }).of end,
        function(tx) return tx:find('docs', '1').of end,
        function(tx) return tx:findOne('docs', { id = '1' }).of end,
      }) do
        store:query('DROP TABLE IF EXISTS app.docs;' .. MAKE)
        store:count('docs')
        support.psql(db, 'DROP TABLE app.docs')
        local err = support.refused('table_not_found', nil, store.transaction, store, call,
          { retries = 0 })
        assert.is_true(err.retryable)
        assert.equal('none', err.outcome)
        assert.equal('public', store:transaction(call))
      end
    end)

    it('is not what a text misses that names something else, which no other attempt finds' .. with,
    function()
      for _, text in ipairs({
        'SELECT d.id, d.value FROM %T d JOIN nowhere_at_all n ON n.id = d.id',
        'SELECT d.id, d.value FROM %T d WHERE other.id = 1',
        "SELECT id, value, 'ä' FROM %T WHERE id IN (SELECT id FROM app.docs_of_old)",
      }) do
        local runs = 0
        local err = support.refused('table_not_found', nil, store.transaction, store, function(tx)
          runs = runs + 1
          wait.slot(store.hub, tx.tx:select('docs', text, {}, 5, false))
        end)
        assert.is_false(err.retryable)
        assert.equal(1, runs)
      end
    end)

    it('names the one that is gone where the caller named its schema' .. with, function()
      assert.equal('app', store:find('app.docs', '1', { cache = false }).of)
      support.psql(db, 'DROP TABLE app.docs')
      local err = support.refused('table_not_found', nil, store.find, store, 'app.docs', '1',
        { cache = false })
      assert.is_false(err.retryable)
    end)

    it('raises what its own triggers miss, once' .. with, function()
      store:query([[CREATE OR REPLACE FUNCTION app.misses() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN PERFORM 1 FROM nowhere_at_all; RETURN NEW; END $$;
        CREATE TRIGGER misses BEFORE UPDATE ON app.docs
          FOR EACH ROW EXECUTE FUNCTION app.misses()]])
      store:count('docs')
      local err = support.refused('table_not_found', 'nowhere_at_all', store.update, store, 'docs',
        { id = '1', of = 'x' })
      assert.is_false(err.retryable)
    end)
  end
end)
