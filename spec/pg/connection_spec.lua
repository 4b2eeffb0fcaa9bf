-- Opening connections: where the server is, who may come in, and how a session begins. What goes
-- wrong is told at once, by name, and without the password.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local NO_CACHE = { cache = false }

describe('A connection', function()
  local server, open

  setup(function()
    server = postgres.start({ default_transaction_isolation = 'repeatable read' })
    server:psql("CREATE ROLE app LOGIN PASSWORD 's3cr3t/w@rd'")
    server:psql('CREATE DATABASE other OWNER app')
  end)

  teardown(function() server:remove() end)

  before_each(function()
    server:ensure()
    open = {}
  end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(db, opts)
    local store = stores.Store.new(db, nil, opts or NO_CACHE)
    open[#open + 1] = store
    return store
  end

  local function tcp(fields)
    local db = server:config({ host = '127.0.0.1', user = 'app', password = 's3cr3t/w@rd' })
    for key, value in pairs(fields or {}) do db[key] = value end
    return db
  end

  -- One value of a statement.
  local function ask(store, sql)
    return store:query('SELECT ' .. sql .. ' AS it')[1].it
  end

  local function failure_of(db)
    local began = postgres.now()
    local ok, err = store_of(db).try:query('SELECT 1')
    assert.is_false(ok)
    assert.equal('none', err.outcome)
    return err, postgres.now() - began
  end

  describe('to a server that is not there', function()
    it('fails at once, with the address and the port', function()
      local err, took = failure_of(tcp({ port = 1 }))
      assert.equal('connect_failed', err.code)
      assert.equal(503, err.http)
      assert.truthy(err.message:find('127.0.0.1', 1, true), err.message)
      assert.truthy(err.message:find('port 1 ', 1, true), err.message)
      assert.truthy(err.message:find('refused', 1, true), err.message)
      assert.is_true(took < 10)
    end)

    it('fails for every verb alike', function()
      local store = store_of(tcp({ port = 1 }))
      local function code(verb, ...)
        local ok, err = store.try[verb](store, ...)
        assert.is_false(ok)
        assert.equal('none', err.outcome)
        return err.code
      end
      assert.equal('connect_failed', code('find', 'users', '1'))
      assert.equal('connect_failed', code('insert', 'users', { id = '1' }))
      assert.equal('connect_failed', code('delete', 'users', '1'))
      assert.equal('connect_failed', code('findByJSON', 'users', { a = 1 }))
      assert.equal('connect_failed', code('query', 'SELECT 1'))
      assert.equal('connect_failed', code('updateObject', 'users', '1', function() end))
      assert.equal('connect_failed', code('transaction', function(tx) tx:find('users', '1') end))
    end)

    it('names the socket that is missing', function()
      local err = failure_of({ host = server.home, port = server.port, database = 'postgres',
        user = 'app' })
      assert.equal('connect_failed', err.code)
      assert.truthy(err.message:find(server.home, 1, true), err.message)
    end)

    it('names the host that nobody knows', function()
      local err = failure_of(tcp({ host = 'no-such-host.invalid' }))
      assert.equal('connect_failed', err.code)
      assert.truthy(err.message:find('no-such-host.invalid', 1, true), err.message)
    end)

    it('names every host that was tried', function()
      local err = failure_of(tcp({ host = { '127.0.0.2', 'no-such-host.invalid', '127.0.0.1' },
        port = 1 }))
      assert.equal('connect_failed', err.code)
      for _, name in ipairs({ '127.0.0.2', 'no-such-host.invalid', '127.0.0.1' }) do
        assert.truthy(err.message:find(name, 1, true), err.message)
      end
    end)
  end)

  describe('that is refused', function()
    it('says that the password is wrong, and not which one was sent', function()
      local err = failure_of(tcp({ password = 'hunter2hunter2' }))
      assert.equal('auth_failed', err.code)
      assert.equal('28P01', err.sqlstate)
      assert.truthy(err.message:find('"app"', 1, true), err.message)
      for _, text in pairs(err) do
        assert.is_nil(tostring(text):find('hunter2', 1, true))
      end
      assert.is_nil(tostring(err):find('hunter2', 1, true))
    end)

    it('says that the password is missing', function()
      local db = tcp()
      db.password = nil
      local err = failure_of(db)
      assert.equal('auth_failed', err.code)
      assert.truthy(err.message:find('password', 1, true), err.message)
    end)

    it('names the database that does not exist', function()
      local err = failure_of(tcp({ database = 'nowhere' }))
      assert.equal('auth_failed', err.code)
      assert.equal('3D000', err.sqlstate)
      assert.truthy(err.message:find('"nowhere"', 1, true), err.message)
    end)

    it('names the database that takes not this user, or nobody for now', function()
      server:psql('CREATE DATABASE shut; REVOKE CONNECT ON DATABASE shut FROM PUBLIC')
      local err = failure_of(tcp({ database = 'shut' }))
      assert.equal('auth_failed', err.code)
      assert.equal('42501', err.sqlstate)
      assert.truthy(err.message:find('"shut"', 1, true), err.message)
      server:psql('ALTER DATABASE shut ALLOW_CONNECTIONS false')
      err = failure_of(server:config({ database = 'shut' }))
      assert.equal('connect_failed', err.code)
      assert.equal('55000', err.sqlstate)
      assert.truthy(err.message:find('"shut"', 1, true), err.message)
      server:psql('DROP DATABASE shut')
    end)

    it('names the user that does not exist', function()
      local err = failure_of(server:config({ user = 'nobody_here' }))
      assert.equal('auth_failed', err.code)
      assert.truthy(err.message:find('nobody_here', 1, true), err.message)
    end)
  end)

  describe('finds its server', function()
    it('by address and port, with a password', function()
      assert.equal('app', ask(store_of(tcp()), 'current_user'))
    end)

    it('by a port that is a string', function()
      assert.equal('app', ask(store_of(tcp({ port = tostring(server.port) })), 'current_user'))
    end)

    it('by the folder of its unix socket', function()
      local store = store_of(server:config())
      assert.equal(stores.json.null, ask(store, 'inet_server_addr()'))
    end)

    it('by a name, whichever of its addresses answers', function()
      local store = store_of(tcp({ host = 'localhost' }))
      assert.equal('127.0.0.1', ask(store, 'host(inet_server_addr())'))
    end)

    it('by a url, with its password escaped', function()
      local store = store_of({ url = ('postgresql://app:s3cr3t%%2Fw%%40rd@127.0.0.1:%d/other')
        :format(server.port) })
      assert.equal('other', ask(store, 'current_database()'))
    end)

    it('by a url and a password beside it', function()
      local store = store_of({ url = ('postgres://app@127.0.0.1:%d/other'):format(server.port),
        password = 's3cr3t/w@rd' })
      assert.equal('app', ask(store, 'current_user'))
    end)

    it('behind a dead host of several', function()
      local db = tcp({ host = { '127.0.0.2', '127.0.0.1' }, port = { 1, server.port } })
      assert.equal('app', ask(store_of(db), 'current_user'))
    end)

    it('behind a name of several that nobody knows', function()
      local db = tcp({ host = { 'no-such-host.invalid', 'localhost' }, sslmode = 'prefer' })
      assert.equal('app', ask(store_of(db), 'current_user'))
    end)

    it('where target_session_attrs asks for a server that takes writes', function()
      local db = tcp({ host = { '127.0.0.2', '127.0.0.1' }, port = { 1, server.port },
        target_session_attrs = 'read-write' })
      assert.equal('app', ask(store_of(db), 'current_user'))
    end)

    it('not where target_session_attrs asks for a standby', function()
      local err = failure_of(tcp({ target_session_attrs = 'standby' }))
      assert.equal('connect_failed', err.code)
      assert.truthy(err.message:find('hot standby', 1, true), err.message)
    end)

    it('as soon as it is there', function()
      local store = store_of(server:config())
      server:stop('fast')
      assert.is_false((store.try:query('SELECT 1')))
      server:start()
      assert.equal(1, support.eventually(function()
        local ok, rows = store.try:query('SELECT 1 AS n')
        return ok and rows[1].n
      end))
    end)
  end)

  describe('gives a session', function()
    local function setting(store, name)
      return ask(store, ("current_setting('%s')"):format(name))
    end

    it('that is read committed, whatever the server prefers', function()
      assert.equal('repeatable read', server:psql('SHOW default_transaction_isolation'))
      local store = store_of(server:config())
      assert.equal('read committed', setting(store, 'default_transaction_isolation'))
      assert.equal('read committed', setting(store, 'transaction_isolation'))
      store:transaction(function(tx)
        local rows = tx:query("SELECT current_setting('transaction_isolation') AS it")
        assert.equal('read committed', rows[1].it)
      end)
    end)

    it('that ends transactions which nobody attends, later than their deadline does', function()
      local name = 'idle_in_transaction_session_timeout'
      local store = store_of(server:config())
      assert.equal('35s', setting(store, name))
      local function inside(timeout)
        return store:transaction(function(tx)
          return tx:query(("SELECT current_setting('%s') AS it"):format(name))[1].it
        end, { timeout = timeout })
      end
      local before = store:stats().pg_round_trips
      assert.equal('6s', inside(1))
      local plain = store:stats().pg_round_trips - before
      assert.equal('605s', inside(600))
      assert.equal(2 * plain, store:stats().pg_round_trips - before)
      assert.equal('35s', setting(store, name))
      assert.equal('15s', setting(store_of(server:config(), { timeout = 0.5 }), name))
    end)

    it('with a limit for statements, 30 s or what the config says', function()
      assert.equal('30s', setting(store_of(server:config()), 'statement_timeout'))
      assert.equal('1500ms',
        setting(store_of(server:config({ statement_timeout = 1.5 })), 'statement_timeout'))
    end)

    it('that ends a statement at that limit', function()
      local store = store_of(server:config({ statement_timeout = 0.1 }))
      local ok, err = store.try:query('SELECT pg_sleep(20)')
      assert.is_false(ok)
      assert.equal('canceled', err.code)
      assert.equal('57014', err.sqlstate)
      assert.equal('none', err.outcome)
    end)

    it('whose statement somebody else cancels: it runs again, once, but for what may write more',
      function()
        local store = store_of(server:config())
        store:query('CREATE TABLE canceled (id bigint PRIMARY KEY, value jsonb)')
        store:insert('canceled', { id = '1', n = 1 })
        local CANCEL = [[SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
          WHERE wait_event_type = 'Lock' AND application_name = 'stores']]
        local calls = {
          find = function() return store:find('canceled', '1').n end,
          count = function() return store:count('canceled') end,
          update = function()
            return store:update('canceled', { id = '1', n = 1 }) and 1
          end,
          query = function()
            return store:query('SELECT 1 AS n FROM canceled', nil, { readonly = true })[1].n
          end,
          transaction = function()
            return store:query('UPDATE canceled SET value = value')
          end,
        }
        for name, call in pairs(calls) do
          local ok, value
          stores.run(function()
            local blocker = store_of(server:config({ application_name = 'blocker' }))
            local locked, go = false, false
            stores.spawn(function()
              blocker:transaction(function(tx)
                tx:query('LOCK TABLE canceled IN ACCESS EXCLUSIVE MODE')
                locked = true
                while not go do stores.sleep(0.005) end
              end)
            end)
            while not locked do stores.sleep(0.005) end
            local task = stores.spawn(function() ok, value = pcall(call) end)
            support.eventually(function() return server:psql(CANCEL) == '1' end)
            stores.sleep(0.05)
            go = true
            task:join()
          end)
          if name == 'transaction' then
            assert.equal('canceled none', value.code .. ' ' .. value.outcome)
          else
            assert.is_true(ok, name .. ': ' .. tostring(value))
            assert.equal(1, value)
          end
        end
      end)

    it('that speaks UTF-8', function()
      assert.equal('UTF8', setting(store_of(server:config()), 'client_encoding'))
    end)

    it('with a name for pg_stat_activity', function()
      assert.equal('stores', setting(store_of(server:config()), 'application_name'))
      local named = store_of(server:config({ application_name = 'the shop' }))
      assert.equal('the shop', setting(named, 'application_name'))
    end)

    it('with the options of libpq that the config adds', function()
      local store = store_of(server:config({ params = { options = '-c work_mem=7MB' } }))
      assert.equal('7MB', setting(store, 'work_mem'))
      assert.equal('read committed', setting(store, 'default_transaction_isolation'))
    end)

    it('that no server ends because it is idle', function()
      server:psql("ALTER ROLE app SET idle_session_timeout = '200ms'")
      finally(function() server:psql('ALTER ROLE app RESET ALL') end)
      local store = store_of(tcp({ database = 'other' }))
      store:query('CREATE TABLE idle (id bigint PRIMARY KEY, value jsonb)')
      assert.equal('0', setting(store, 'idle_session_timeout'))
      stores.run(function()
        stores.map({ 1, 2, 3, 4 }, function(i)
          store:upsert('idle', { id = tostring(i) })
          store:query('SELECT 1')
        end)
        stores.sleep(0.5) -- past the limit
        stores.map({ 1, 2, 3, 4 }, function(i)
          assert.truthy(store:find('idle', tostring(i)))
          store:query('SELECT 1')
        end)
      end)
      assert.equal(0, store:stats().pg_lost)
    end)

    it('that keeps no setting which a query made for its own transaction', function()
      local store = store_of(server:config({ poolsize = 1 }))
      store:query("SET LOCAL application_name = 'changed'; SELECT 1")
      assert.equal('stores', setting(store, 'application_name'))
    end)
  end)
end)
