--- pooler = 'transaction': the specs of the API once more, through a real PgBouncer.

local stores = require('stores')
local support = require('spec.support')

-- A child of this run has the pooler in its environment: it does not start another one.
if os.getenv('STORES_TEST_POOLER') then return end

local POOLED = { 'api_spec', 'paths_spec', 'query_spec', 'update_object_spec', 'transaction_spec',
  'combine_spec', 'optimistic_spec', 'criteria_spec', 'exact_spec', 'errors_spec', 'shards_spec',
  'query_builder_spec' }

describe("pooler = 'transaction', through PgBouncer, #slow", function()
  local folder

  local function start()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute('mkdir -m 777 ' .. folder) == 0)
    local out = assert(io.open(folder .. '/pgbouncer.ini', 'w'))
    out:write(([[
[databases]
* = host=%s port=5432 user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = any
pool_mode = transaction
max_client_conn = 500
default_pool_size = 8
max_db_connections = 8
server_idle_timeout = 1
logfile = %s/log
pidfile = %s/pid
]]):format(support.config().host, folder, folder, folder))
    out:close()
    -- like PostgreSQL, it refuses to run as root
    local as = io.popen('id -u'):read('*l') == '0'
      and 'setpriv --reuid=postgres --regid=postgres --clear-groups '
      .. '--inh-caps=+dac_override --ambient-caps=+dac_override ' or ''
    assert.equal(0, os.execute(as .. '/usr/sbin/pgbouncer -q -d ' .. folder .. '/pgbouncer.ini'))
  end

  local function open(fields)
    local config = support.config('postgres', { pooler = 'transaction' })
    config.host, config.port = folder, 6432
    for key, value in pairs(fields or {}) do config[key] = value end
    return stores.Store.new(config, nil, { cache = false })
  end

  setup(function()
    start()
    support.eventually(function()
      local store = open()
      local ok = store.try:query('SELECT 1')
      store:close()
      return ok
    end)
  end)

  teardown(function()
    os.execute(('kill $(cat %s/pid); rm -rf %s'):format(folder, folder))
  end)

  for _, name in ipairs(POOLED) do
    it('passes ' .. name, function()
      local path = ('spec/%s.lua'):format(name)
      local file = io.open(path)
      if not file then error(path .. ' is not there') end
      file:close()
      local at = support.config()
      local pipe = assert(io.popen(("STORES_TEST_PGHOST='%s' STORES_TEST_REDIS_SOCKET='%s' "
        .. "STORES_TEST_POOLER='%s' luajit $(command -v busted) -o TAP --exclude-tags=slow,session "
        .. '%s 2>&1'):format(at.host, support.redis().path, folder, path)))
      local text = pipe:read('*a')
      pipe:close()
      local passed = select(2, text:gsub('\nok %d+', ''))
      assert.is_true(passed > 3, text)
      assert.is_nil(text:find('\nnot ok', 1, true), text)
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

  it('ends a transaction that is left alone', function()
    local store = open()
    store:transaction(function(tx)
      local row = tx:query("SELECT current_setting('idle_in_transaction_session_timeout') AS i")[1]
      assert.truthy(row.i ~= '0')
    end)
    store:close()
  end)
end)
