-- Connections that are lost, hang or lead to the wrong server: what becomes of the others, and of
-- the calls that come after.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local ffi = require('ffi')
local pg_proxy = require('spec.support.pg_proxy')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('A pool', function()
  local db, store, proxy, stopped

  setup(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs SELECT i, jsonb_build_object('n', i) FROM generate_series(1, 20) i]])
  end)

  teardown(function() support.drop(db) end)

  before_each(function() stopped = {} end)

  after_each(function()
    for _, pid in ipairs(stopped) do os.execute('kill -CONT ' .. pid .. ' 2>/dev/null') end
    if store then support.close(store) end
    if proxy then proxy:close() end
    store, proxy = nil, nil
  end)

  local function store_of(fields)
    local config = {}
    for key, value in pairs(db) do config[key] = value end
    for key, value in pairs(fields or {}) do config[key] = value end
    store = stores.Store.new(config, nil, { cache = false })
    return store
  end

  local function behind_proxy(fields)
    proxy = pg_proxy.start(pg_proxy.socket_of(db))
    local config = { host = proxy.host, port = proxy.port }
    for key, value in pairs(fields or {}) do config[key] = value end
    return store_of(config)
  end

  local function pid_of(at) return at:query('SELECT pg_backend_pid() AS pid')[1].pid end

  local function stop(pid)
    stopped[#stopped + 1] = pid
    assert.equal(0, os.execute('kill -STOP ' .. pid))
  end

  -- So many connections open and idle; their process numbers.
  local function fill(count)
    local inside, pids = 0, {}
    stores.run(function()
      for i = 1, count do
        stores.spawn(function()
          store:transaction(function(tx)
            pids[i] = pid_of(tx)
            inside = inside + 1
            support.eventually(function() return inside == count end, 20)
          end)
        end)
      end
    end)
    return pids
  end

  it('keeps the others when one of its backends is ended', function()
    store_of({ poolsize = 5 })
    local pids = fill(5)
    -- and is gone: what is sent to one that still goes may be lost with it
    support.psql(db, ('SELECT pg_terminate_backend(%d, 20000)'):format(pids[3]))
    local before, after = {}, nil
    for _, pid in ipairs(pids) do before[pid] = true end
    stores.run(function()
      support.eventually(function()
        for _ = 1, 3 do pid_of(store) end
        return store:stats().pg_lost == 1
      end)
      after = fill(4)
    end)
    for _, pid in ipairs(after) do assert.is_true(before[pid] and pid ~= pids[3]) end
    assert.equal(5, store:stats().pg_connects)
  end)

  it('finds out which are gone when all of its backends are ended, and no read fails', function()
    store_of({ poolsize = 6 })
    fill(6)
    support.psql(db, 'SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE datname ='
      .. " '" .. db.database .. "' AND pid <> pg_backend_pid()")
    local list = {}
    for i = 1, 20 do list[i] = i end
    stores.map(list, function(i) assert.equal(i, store:find('docs', tostring(i)).n) end)
  end)

  for _, case in ipairs({
    { 'turned', function() stores.sleep(1.3) end },
    { 'did not turn', function() os.execute('sleep 1.3') end },
  }) do
    it('does not use what was idle for too long and was forgotten by the network, where the loop '
      .. case[1] .. ' meanwhile', function()
      behind_proxy({ idle_timeout = 1 })
      pid_of(store)
      proxy:swallow()
      case[2]()
      local ok, rows = store.try:query('SELECT 1 AS one', nil, { timeout = 10 })
      assert.is_true(ok, tostring(rows))
      assert.equal(1, rows[1].one)
      assert.equal(2, store:stats().pg_connects)
      assert.equal(0, store:stats().timeouts)
    end)

    it('asks what was idle for ping_after before it is used, and does not wait long for the answer,'
      .. ' where the loop ' .. case[1], function()
      behind_proxy({ ping_after = 1, poolsize = 1 })
      pid_of(store)
      proxy:swallow()
      case[2]()
      for _ = 1, 2 do
        local ok, rows = store.try:query('SELECT 1 AS one', nil, { timeout = 10 })
        assert.is_true(ok, tostring(rows))
      end
      assert.equal(2, store:stats().pg_connects)
    end)
  end

  it('keeps what was idle for ping_after and still answers', function()
    store_of({ ping_after = 0.2 })
    local pid = pid_of(store)
    os.execute('sleep 0.5')
    assert.equal(pid, pid_of(store))
    assert.equal(1, store:stats().pg_connects)
  end)

  it('gets a connection back whose backend hangs in COMMIT or in ROLLBACK', function()
    store_of({ poolsize = 1 })
    for _, ending in ipairs({ 'COMMIT', 'ROLLBACK' }) do
      local ok, err = store.try:transaction(function(tx)
        local pid = pid_of(tx)
        tx:query("SELECT set_config('stores.test', 'x', true)")
        stop(pid)
        if ending == 'ROLLBACK' then error('mine', 0) end
      end, { timeout = 1 })
      assert.is_false(ok)
      assert.truthy(ending == 'ROLLBACK' and err == 'mine'
        or err.code == 'timeout' and err.outcome == 'unknown', tostring(err))
      stores.run(function()
        support.eventually(function() return store:stats().pool_checked_out == 0 end, 30)
      end)
      assert.is_true(pid_of(store) > 0)
    end
  end)

  describe('over servers of its own', function()
    local primary

    setup(function() primary = postgres.start() end)
    teardown(function() primary:remove() end)

    it('looks for another server when this one takes no writes any more', function()
      local second = postgres.start()
      finally(function() second:remove() end)
      for _, server in ipairs({ primary, second }) do
        server:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
      end
      proxy = pg_proxy.start(('%s/.s.PGSQL.%d'):format(primary.socket, primary.port))
      store = stores.Store.new(primary:config({ host = proxy.host, port = proxy.port }), nil,
        { cache = false })
      store:upsert('docs', { id = '1', n = 1 })
      -- a switch-over: the old server refuses writes and keeps its connections
      primary:psql('ALTER SYSTEM SET default_transaction_read_only = on; SELECT pg_reload_conf()')
      proxy:lead_to(('%s/.s.PGSQL.%d'):format(second.socket, second.port))
      stores.run(function()
        support.eventually(function()
          local ok, err = store.try:upsert('docs', { id = '2', n = 2 })
          assert.truthy(ok or err.code == 'read_only', tostring(err))
          -- a session of the first one hears of its setting when it may
          return ok and second:psql('SELECT count(*) FROM docs') == '1'
        end, 20)
      end)
      -- a transaction that was begun read only proves nothing
      local connects = store:stats().pg_connects
      local ok, err = store.try:transaction(function(tx)
        tx:insert('docs', { id = '9', n = 9 })
      end, { readonly = true })
      assert.is_false(ok)
      assert.equal('read_only', err.code)
      store:upsert('docs', { id = '3', n = 3 })
      assert.equal(connects, store:stats().pg_connects)
    end)
  end)

  it('sends no more cancels than a few to somebody who never answers them', function()
    behind_proxy({ poolsize = 4 })
    pid_of(store)
    proxy:ignore_cancels()
    local before, most, rounds = pg_proxy.threads(), 0, 0
    stores.run(function()
      repeat -- a busy machine may end a call before its statement is sent, which needs no cancel
        rounds = rounds + 1
        stores.map({ 1, 2, 3, 4 }, function()
          local ok, err = store.try:query('SELECT pg_sleep(0.2)', nil, { timeout = 0.05 })
          assert.is_true(not ok and err.code == 'timeout', tostring(err))
        end)
        most = math.max(most, pg_proxy.threads() - before)
        support.eventually(function() return store:stats().pool_checked_out == 0 end, 20)
      until rounds >= 8 and store:stats().pg_cancels >= 10 or rounds == 80
    end)
    assert.is_true(store:stats().pg_cancels >= 10)
    assert.is_true(most <= 20, tostring(most))
  end)

  local function message(kind, body)
    local size = #body + 4
    return kind .. string.char(0, 0, math.floor(size / 256), size % 256) .. body
  end

  local copies = { CopyInResponse = 'G', CopyOutResponse = 'H', CopyBothResponse = 'W' }

  for name, kind in pairs(copies) do
    it('ends a connection that greets with ' .. name, function()
      behind_proxy({ connect_timeout = 5, acquire_timeout = 5 })
      proxy:say(1, message(kind, '\0\0\0'))
      ffi.cdef('long clock(void);')
      local began = ffi.C.clock()
      local ok, err = store.try:query('SELECT 1', nil, { timeout = 10 })
      assert.is_false(ok)
      assert.equal('connect_failed', err.code)
      -- and not by its timeout, with the processor busy until then
      assert.is_true(tonumber(ffi.C.clock() - began) < 2e6)
      proxy:pass()
      stores.run(function()
        support.eventually(function() return (store.try:query('SELECT 1')) end, 30)
      end)
    end)

    it('ends a connection that answers a question of its own with ' .. name, function()
      behind_proxy()
      for n = 2, 3 do
        proxy:say(n, message(kind, '\0\0\0'))
        local ok, err = store.try:find('docs', tostring(n), { timeout = 10 })
        assert.truthy(ok or err.code == 'connection_lost' or err.code == 'unsupported',
          tostring(err))
        proxy:pass()
        stores.run(function()
          support.eventually(function() return (store.try:find('docs', '1')) end, 30)
        end)
      end
    end)
  end

  it('believes no server that gives a table without a name', function()
    behind_proxy()
    local columns = 8
    local described, row = '\0' .. string.char(columns), '\0' .. string.char(columns)
    for _ = 1, columns do
      described = described .. 'c\0' .. ('\0'):rep(6) .. '\0\0\0\25' .. '\255\255'
        .. '\255\255\255\255' .. '\0\0'
      row = row .. '\255\255\255\255'
    end
    -- where its lane was silent for too long, a find asks another connection, and hears the truth
    stores.run(function()
      support.eventually(function()
        proxy:say(2, message('1', '') .. message('2', '') .. message('T', described)
          .. message('D', row) .. message('C', 'SELECT 1\0') .. message('Z', 'I'))
        local ok, err = store.try:find('docs', '1', { timeout = 10 })
        assert.equal(ok and 1 or 'internal', ok and err.n or err.code)
        proxy:pass()
        if ok then
          support.close(store)
          proxy:close()
          behind_proxy()
        end
        return not ok
      end, 60)
    end)
    stores.run(function()
      support.eventually(function()
        local found, doc = store.try:find('docs', '1', { timeout = 1 })
        return found and doc.n == 1
      end, 20)
    end)
  end)
end)
