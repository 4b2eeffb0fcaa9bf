--- pooler = 'transaction': the specs of the API once more, through a real PgBouncer.
-- Plain pass alone: it runs other files, each of which has these passes for itself.

local pgbouncer = require('spec.support.pgbouncer')
local stores = require('stores')
local support = require('spec.support')

-- A child of this run has the pooler in its environment: it does not start another one.
if os.getenv('STORES_TEST_POOLER') then return end

local POOLED = {
  'lua/read_verbs_spec', 'lua/write_verbs_spec', 'lua/paths_spec', 'write/query_spec',
  'lua/update_object_spec', 'lua/update_object_races_spec', 'write/transaction_spec',
  'write/self_deadlock_spec', 'lua/combine_spec', 'lua/optimistic_spec', 'read/criteria_spec',
  'json/exact_spec', 'lua/arguments_spec', 'lua/errors_spec', 'base/shards_spec',
  'lua/query_builder_spec', 'read/etag_spec', 'write/conditional_spec', 'write/bulk_spec',
  'write/update_each_spec'
}

describe("pooler = 'transaction', through PgBouncer, #slow", function()
  local pooler

  local function open(fields, cached)
    local config = support.config('postgres', { pooler = 'transaction' })
    config.host, config.port = pooler.host, pooler.port
    for key, value in pairs(fields or {}) do config[key] = value end
    return stores.Store.new(config, cached and support.redis() or nil, { cache = cached or false })
  end

  setup(function() pooler = pgbouncer.start('transaction') end)
  teardown(function() pooler:stop() end)

  for _, name in ipairs(POOLED) do
    it('passes ' .. name, function()
      local path = ('spec/%s.lua'):format(name)
      local file = io.open(path)
      if not file then error(path .. ' is not there') end
      file:close()
      local at = support.config()
      -- documents of chance are about values, which a pooler passes on
      local pipe = assert(io.popen(("STORES_TEST_PGHOST='%s' STORES_TEST_REDIS_SOCKET='%s' "
        .. "STORES_TEST_POOLER='%s' STORES_ROUNDS=300 luajit $(command -v busted) -o TAP "
        .. '--exclude-tags=slow,session %s 2>&1'):format(at.host, support.redis().path,
          pooler.host, path)))
      local text = pipe:read('*a')
      pipe:close()
      local passed = select(2, ('\n' .. text):gsub('\nok %d+', ''))
      assert.is_true(passed > 1, text)
      assert.is_nil(('\n' .. text):find('\nnot ok', 1, true), text)
    end)
  end

  it('leaves nothing of a session to the next client', function()
    local first, second = open({ poolsize = 3 }), open({ poolsize = 3 })
    local function settings(store)
      return store:query("SELECT current_setting('statement_timeout') AS s, "
        .. "current_setting('idle_in_transaction_session_timeout') AS i, "
        .. '(SELECT count(*) FROM pg_prepared_statements) AS p')[1]
    end
    local before = settings(first)
    stores.run(function()
      stores.map({ 1, 2, 3, 4, 5, 6 }, function()
        first:transaction(function(tx) tx:query('SELECT 1') end)
      end)
    end)
    for _ = 1, 10 do assert.same(before, settings(second)) end
    assert.equal(0, before.p)
    first:close()
    second:close()
  end)

  it('leaves nothing of a text that failed, also where each request has another server', function()
    -- servers that are left alone stay
    local own = pgbouncer.start('transaction', 'server_idle_timeout = 600\nserver_round_robin = 1')
    finally(function() own:stop() end)
    local LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4714"
    local TEXT = 'SELECT pg_advisory_lock(4714), 1 / (n - 2) FROM generate_series(1, 2) n'
    local function fails(verb, store, ...)
      support.refused('invalid_argument', 'division', store[verb], store, ...)
      store:query('SELECT 1')
      support.eventually(function()
        return support.psql(support.config('postgres'), LOCKS):match('%d') == '0'
      end)
    end
    local function try_all(cached)
      local store = open({ host = own.host, port = own.port }, cached)
      stores.run(function() -- the pooler has several servers
        stores.map({ 1, 2, 3 }, function()
          store:transaction(function(tx) tx:query('SELECT pg_sleep(0.05)') end)
        end)
      end)
      fails('query', store, TEXT)
      fails('query', store, TEXT, nil, { readonly = true })
      fails('transaction', store, function(tx) tx:query(TEXT) end)
      store:close()
    end
    try_all(false)
    try_all(true)
  end)

  it('has no transaction around a text where none is asked for, which may refuse to run in one',
    function()
      local store = open()
      local function statements(opts)
        local before = store:stats().pg_statements
        store:query("SELECT set_config('app.user', 'ada', false)", nil, opts)
        return store:stats().pg_statements - before
      end
      local opts, outside, inside = { transaction = false, invalidates = {} }, math.huge, math.huge
      for _ = 1, 3 do -- what the one before left is taken back in some of them
        outside, inside = math.min(outside, statements(opts)), math.min(inside, statements())
      end
      assert.equal(inside - 2, outside) -- BEGIN and COMMIT
      store:close()
    end)

  it('ends a transaction that is left alone', function()
    local store = open()
    store:transaction(function(tx)
      local row = tx:query("SELECT current_setting('idle_in_transaction_session_timeout') AS i")[1]
      assert.truthy(row.i ~= '0')
    end)
    store:close()
  end)
end)

describe('a PgBouncer of statements', function()
  it('is named, and what it refuses is not to be tried again #slow', function()
    local pooler = pgbouncer.start('statement')
    for _, declared in ipairs({ 'session', 'transaction' }) do
      local store = stores.Store.new(pooler:config({ pooler = declared }), nil)
      local err = support.refused('connection_lost', 'statement pooling', store.transaction, store,
        function(tx) tx:query('SELECT 1') end)
      assert.is_false(err.retryable)
      assert.equal('none', err.outcome)
      assert.truthy(err.hint:find('pool_mode', 1, true), err.hint)
      store:close()
    end
    pooler:stop()
  end)
end)
