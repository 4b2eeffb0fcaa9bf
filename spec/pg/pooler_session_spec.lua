-- Poolers and proxies that hand out sessions, and refuse what a session is started with.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local pg_proxy = require('spec.support.pg_proxy')
local pgbouncer = require('spec.support.pgbouncer')
local stores = require('stores')
local support = require('spec.support')

describe('Behind a pooler of sessions', function()
  local pooler, open

  setup(function() pooler = pgbouncer.start('session') end)
  teardown(function() pooler:stop() end)
  before_each(function() open = {} end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(fields, opts)
    local config = { host = pooler.host, port = pooler.port, user = 'postgres',
      database = 'postgres' }
    for key, value in pairs(fields or {}) do config[key] = value end
    local store = stores.Store.new(config, nil, opts or { cache = false })
    open[#open + 1] = store
    return store
  end

  local function setting(at, name)
    return at:query(("SELECT current_setting('%s') AS it"):format(name))[1].it
  end

  it('a store connects, and has the session that it has elsewhere', function()
    local names = { 'default_transaction_isolation', 'statement_timeout', 'extra_float_digits',
      'idle_in_transaction_session_timeout', 'standard_conforming_strings', 'client_encoding' }
    for _, fields in ipairs({ {}, { pooler = 'session' }, { statement_timeout = 7 } }) do
      local at = { host = support.config().host, port = 5432 }
      for key, value in pairs(fields) do at[key] = value end
      local pooled, direct = store_of(fields), store_of(at)
      for _, name in ipairs(names) do
        assert.equal(setting(direct, name), setting(pooled, name), name)
      end
      assert.equal(1, pooled:stats().pg_connects)
      assert.equal(0, pooled:stats().pg_connect_failures)
    end
  end)

  it('start-up options of the user are settings of the session', function()
    local store = store_of({ params = { options = "-c work_mem=5MB --search-path=pg_catalog"
      .. " -cstores.odd=it's\\ a\\\\b" } })
    assert.equal('5MB', setting(store, 'work_mem'))
    assert.equal('pg_catalog', setting(store, 'search_path'))
    assert.equal("it's a\\b", setting(store, 'stores.odd'))
  end)

  it('many connections have theirs', function()
    local store, inside = store_of({ poolsize = 4 }), 0
    stores.map({ 1, 2, 3, 4 }, function()
      store:transaction(function(tx)
        assert.equal('read committed', setting(tx, 'default_transaction_isolation'))
        inside = inside + 1
        support.eventually(function() return inside == 4 end, 20)
      end)
    end)
    assert.equal(4, store:stats().pg_connects)
  end)

  it('a session that is closed leaves no answers for the next client', function()
    local db = support.db()
    local slow = { 'one', 'two', 'three', 'four' }
    support.psql(db, 'CREATE TABLE rows (n int)')
    for _, name in ipairs(slow) do
      support.psql(db, ('CREATE VIEW %s AS SELECT 1::bigint AS id, '
        .. "jsonb_build_object('slept', pg_sleep(0.04)::text) AS value"):format(name))
    end
    local one = pgbouncer.start('session', 'max_user_connections = 1')
    local function visit(work)
      local store = stores.Store.new(one:config({ database = db.database }), nil,
        { cache = false, timeout = 20 })
      work(store)
      support.close(store)
    end
    for i = 1, 20 do
      visit(function(store) -- which is reset behind the COMMIT that is answered
        local insert = ('INSERT INTO rows VALUES (%d) RETURNING n'):format(i)
        assert.equal(i, store:query(insert)[1].n)
      end)
      visit(function(store) -- whose lane is closed with reads on it
        store:find('one', '1')
        stores.run(function()
          for _, name in ipairs(slow) do
            stores.spawn(function() store.try:find(name, '1') end)
          end
          stores.sleep(0.06)
          store:close()
        end)
      end)
    end
    one:stop()
    support.drop(db)
  end)

  it('what no statement can set is refused for good, with a hint', function()
    for _, options in ipairs({ '-c work_mem=1 -e', '-c stores.unknown' }) do
      local ok, err = store_of({ params = { options = options } }).try:query('SELECT 1')
      assert.is_false(ok)
      assert.equal('connect_failed', err.code)
      assert.is_false(err.retryable)
      assert.truthy(err.hint:find('pooler', 1, true), err.hint)
    end
    local ok, err = store_of({ params = { options = '-c work_mem=much' } }).try:query('SELECT 1')
    assert.is_false(ok)
    assert.equal('connect_failed', err.code)
    assert.equal('22023', err.sqlstate)
    assert.is_false(err.retryable)
  end)

  it('a refusal in the words of other proxies is understood by its SQLSTATE', function()
    local function refusal(sqlstate, text)
      local body = 'SFATAL\0VFATAL\0C' .. sqlstate .. '\0M' .. text .. '\0\0'
      local size = #body + 4
      return 'E' .. string.char(0, 0, math.floor(size / 256), size % 256) .. body
    end
    for sqlstate, text in pairs({
      ['0A000'] = "Feature not supported: this proxy doesn't support command-line options.",
      ['08P01'] = 'unsupported startup parameter in options: statement_timeout',
    }) do
      local proxy = pg_proxy.start(pg_proxy.socket_of(support.config()))
      proxy:refuse_options(refusal(sqlstate, text))
      local store = store_of({ host = proxy.host, port = proxy.port })
      assert.equal('30s', setting(store, 'statement_timeout'))
      proxy:close()
    end
  end)
end)

describe('Behind a pooler that drops start-up options in silence', function()
  it('a session has the settings that it has elsewhere', function()
    local db = support.db()
    support.psql(support.config(), ('ALTER DATABASE %s SET gin_fuzzy_search_limit = 1')
      :format(db.database))
    local pooler = pgbouncer.start('session', 'ignore_startup_parameters = options')
    local store = stores.Store.new({ host = pooler.host, port = pooler.port, user = 'postgres',
      database = db.database, statement_timeout = 7, params = { options = '-c work_mem=5MB' } },
      nil, { cache = false })
    local row = store:query([[SELECT current_setting('gin_fuzzy_search_limit') AS fuzzy,
      current_setting('statement_timeout') AS timeout, current_setting('work_mem') AS mem]])[1]
    assert.same({ '0', '7s', '5MB' }, { row.fuzzy, row.timeout, row.mem })
    support.close(store)
    pooler:stop()
    support.drop(db)
  end)

  it('sessions that are shared are refused by the names of what is wrong with them', function()
    local db = support.db()
    support.psql(support.config(), ([[ALTER DATABASE %s SET gin_fuzzy_search_limit = 1;
      ALTER DATABASE %s SET exit_on_error = on]]):format(db.database, db.database))
    local pooler = pgbouncer.start('transaction')
    local store = stores.Store.new({ host = pooler.host, port = pooler.port, user = 'postgres',
      database = db.database, pooler = 'transaction' }, nil, { cache = false, timeout = 10 })
    local err = support.refused('connect_failed', 'gin_fuzzy_search_limit, exit_on_error',
      store.query, store, 'SELECT 1')
    assert.is_false(err.retryable)
    assert.truthy(err.hint:find('gin_fuzzy_search_limit = 0', 1, true), err.hint)
    support.close(store)
    pooler:stop()
    support.drop(db)
  end)
end)
