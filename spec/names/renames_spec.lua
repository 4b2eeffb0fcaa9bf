-- What DDL through Stores does to names without a lock on the tables that they meant: a schema that
-- takes the name of another one, a table that comes to stand before another in search_path.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

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
