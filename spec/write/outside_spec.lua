--- Statements that run outside of transactions, and say which tables they write.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local pg_proxy = require('spec.support.pg_proxy')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('a query outside of transactions', function()
  local store, other, db, keys

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    store:query([[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      CREATE VIEW seen AS SELECT * FROM docs;
      CREATE FUNCTION write_late(seconds float8, n int) RETURNS void LANGUAGE plpgsql AS $$
      BEGIN
        -- a server that looks for clients that died would end it; not every server can
        PERFORM set_config('client_connection_check_interval', '0', false);
        PERFORM pg_sleep(seconds);
        EXECUTE format('UPDATE docs SET value = ''{"n": %s}''', n);
      END $$]])
    store:insert('docs', { id = '1', n = 1 })
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  local function truth()
    return tonumber(support.psql(db, "SELECT value->>'n' FROM docs WHERE id = 1"):match('%d+'))
  end

  it('that runs on when its process is dead is waited for by whoever ends the turn', function()
    store:update('docs', { id = '1', n = 1 })
    keys:ready(store, 'public.docs')
    local child = process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = 'postgres' },
        { path = %q, opts = { timeout = 2 } })
      store:find('docs', '1')
      print('asks')
      store:query('SELECT write_late(2, 2)', nil, { transaction = false, invalidates = { 'docs' } })
    ]]):format(db.host, db.port, db.database, support.redis().path))
    assert.equal('asks', child:line())
    support.eventually(function()
      return support.psql(db, [[SELECT count(*) FROM pg_stat_activity
        WHERE query LIKE 'SELECT write_late%' AND state = 'active']]):match('%d+') == '1'
    end)
    child:kill()
    local before = truth()
    assert.equal(1, before)
    support.eventually(function()
      local now = truth()
      for _, one in ipairs({ store, other }) do
        assert.is_true(one:find('docs', '1').n >= now)
      end
      return now == 2
    end, 15, 'the statement of the dead process')
    for _, one in ipairs({ store, other }) do assert.equal(2, one:find('docs', '1').n) end
    keys:ready(store, 'public.docs')
    for _, one in ipairs({ store, other }) do assert.equal(2, one:find('docs', '1').n) end
  end)

  it('holds up nobody, and its sign goes with it', function()
    store:query('SELECT write_late(0, 3)', nil, { transaction = false, invalidates = { 'docs' } })
    for _, one in ipairs({ store, other }) do assert.equal(3, one:find('docs', '1').n) end
    keys:ready(store, 'public.docs')
    assert.matches('^%s*0', support.psql(db, [[SELECT count(*) FROM pg_locks
      WHERE locktype = 'advisory' AND database =
        (SELECT oid FROM pg_database WHERE datname = current_database())]]))
  end)

  describe('that commits inside, and fails after that,', function()
    local plain

    setup(function()
      plain = stores.Store.new(support.config(db.database), nil, { cache = false })
      store:query([[CREATE PROCEDURE write_and_fail(n int, seconds float8) LANGUAGE plpgsql AS $$
        BEGIN
          UPDATE docs SET value = jsonb_build_object('n', n);
          COMMIT;
          PERFORM pg_sleep(seconds);
          RAISE EXCEPTION 'after its commit' USING ERRCODE = '55P03';
        END $$]])
    end)
    teardown(function() support.close(plain) end)

    local n = 100
    for title, sql in pairs({
      ['a procedure,'] = 'CALL write_and_fail(%d, 0)',
      ['a block,'] = "DO $$ BEGIN UPDATE docs SET value = '{\"n\": %d}'; COMMIT; PERFORM 1/0;"
        .. ' END $$',
      ['one of several statements,'] = '/* the first */ CALL write_and_fail(%d, 0); SELECT 1',
    }) do
      it(title .. ' says that it may have been done', function()
        for _, one in ipairs({ store, plain }) do
          n = n + 1
          cache.hit(store, 'docs', '1')
          cache.hit(other, 'docs', '1')
          local err = support.refused(nil, nil, one.query, one, sql:format(n), nil,
            { transaction = false, invalidates = one == store and { 'docs' } or nil })
          assert.equal('unknown', err.outcome)
          assert.is_false(err.retryable)
          assert.equal(n, truth())
          if one == plain then store:invalidate('docs', '1') end
          for _, reader in ipairs({ store, other }) do
            assert.equal(n, reader:find('docs', '1').n)
          end
        end
      end)
    end

    it('says so too in a lone query of a store without a cache', function()
      n = n + 1
      local err = support.refused(nil, 'after its commit', plain.query, plain,
        ('CALL write_and_fail(%d, 0)'):format(n))
      assert.equal('unknown', err.outcome)
      assert.equal(n, truth())
      store:invalidate('docs', '1')
    end)

    it('is known to have done nothing where the text was refused before it ran', function()
      for _, sql in ipairs({ 'CALL no_such_procedure(1)', 'CALL write_and_fail(nothing, 0)',
        'DROP INDEX CONCURRENTLY', 'VACUUM (nonsense) docs' }) do
        local err = support.refused('query_failed', nil, store.query, store, sql, nil,
          { transaction = false, invalidates = { 'docs' } })
        assert.equal('none', err.outcome, sql)
      end
    end)

    it('may leave an index that is not valid', function()
      store:query([[CREATE TABLE twice (id bigint PRIMARY KEY, value jsonb);
        INSERT INTO twice VALUES (1, '{}'), (2, '{}')]])
      local err = support.refused('duplicate', nil, store.query, store,
        'CREATE UNIQUE INDEX CONCURRENTLY twice_once ON twice (value)', nil,
        { transaction = false, invalidates = {} })
      assert.equal('unknown', err.outcome)
      assert.matches('f', support.psql(db,
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'twice_once'::regclass"))
    end)
  end)

  for _, name in ipairs({ 'dcos', 'seen', 'nowhere.docs' }) do
    it('is refused before it is sent where it names ' .. name .. ', which is no table', function()
      local err = support.refused('table_not_found', 'no table', store.query, store,
        'SELECT write_late(0, 99)', nil, { transaction = false, invalidates = { 'docs', name } })
      assert.equal('none', err.outcome)
      assert.matches(name:match('%w+$'), err.table)
      assert.matches(name:match('%w+$'), err.message)
      assert.not_equal(99, truth())
    end)

    it('(and one in a transaction) that names ' .. name .. ' does nothing', function()
      local err = support.refused('table_not_found', 'no table', store.query, store,
        'SELECT write_late(0, 99)', nil, { invalidates = { 'docs', name } })
      assert.equal('none', err.outcome)
      assert.not_equal(99, truth())
      support.refused('table_not_found', 'no table', store.query, store,
        'SELECT write_late(0, 99); SELECT 1', nil, { invalidates = { name } })
      assert.not_equal(99, truth())
    end)
  end

  it('that was to read only, and wrote before its answer was lost, is soon read by all', function()
    local proxy = pg_proxy.start(pg_proxy.socket_of(db))
    local far = stores.Store.new({ host = proxy.host, port = proxy.port, database = db.database,
      user = db.user }, support.redis())
    store:update('docs', { id = '1', n = 1 })
    keys:ready(store, 'public.docs')
    stores.all({
      function()
        local err = support.refused('timeout', nil, far.query, far,
          'DECLARE late CURSOR WITH HOLD FOR SELECT write_late(1, 7)', nil,
          { transaction = false, readonly = true, timeout = 3 })
        assert.equal('unknown', err.outcome)
      end,
      function()
        support.eventually(function()
          return support.psql(db, [[SELECT count(*) FROM pg_stat_activity
            WHERE query LIKE 'DECLARE late%' AND wait_event = 'PgSleep']]):match('%d+') == '1'
        end)
        proxy:swallow()
      end,
    })
    support.eventually(function() return truth() == 7 end)
    support.eventually(function() return store:find('docs', '1').n == 7 end)
    support.close(far)
    proxy:close()
  end)

  it('may name a table that it makes, or drops', function()
    local named = { invalidates = { 'brief' } }
    store:query('CREATE TABLE brief (id bigint PRIMARY KEY, value jsonb)', nil, named)
    store:insert('brief', { id = '1' })
    other:find('brief', '1')
    store:query('DROP TABLE brief', nil, named)
    support.refused('table_not_found', nil, other.find, other, 'brief', '1')
  end)
end)
