-- What the pool does when nobody asks it for anything: connections that are idle, old or silent go,
-- as many as shall stay stay, and a server that is down is not hammered.
-- Plain pass alone: it waits for limits of age; other files of the pool have these passes.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')
local uv = require('luv')

describe('#slow A pool that is left alone', function()
  local db, open

  setup(function()
    db = support.db()
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. " INSERT INTO docs VALUES (1, '{\"n\": 1}');"
      .. ' CREATE VIEW slow AS SELECT id, value FROM docs, pg_sleep(0.02)')
  end)

  teardown(function() support.drop(db) end)

  before_each(function() open = {} end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local names = 0

  -- A store without a cache, whose sessions have a name of their own.
  local function store_of(fields)
    names = names + 1
    local config = { application_name = 'limits ' .. names, acquire_timeout = 20 }
    for key, value in pairs(db) do config[key] = value end
    for key, value in pairs(fields) do config[key] = value end
    local store = stores.Store.new(config, nil, { cache = false })
    store.session_name = config.application_name
    open[#open + 1] = store
    return store
  end

  -- The process numbers of its sessions, as psql sees them.
  local function sessions(store)
    local pids = {}
    for pid in support.psql(db, "SELECT pid FROM pg_stat_activity WHERE application_name = '"
      .. store.session_name .. "'"):gmatch('%d+') do pids[#pids + 1] = pid end
    return pids
  end

  -- Has so many connections open at once, and then idle.
  local function fill(store, count)
    local inside, list = 0, {}
    for i = 1, count do list[i] = i end
    stores.map(list, function()
      store:transaction(function(tx)
        tx:query('SELECT 1')
        inside = inside + 1
        support.eventually(function() return inside == count end)
      end)
    end)
  end

  local function pid_of(at) return at:query('SELECT pg_backend_pid() AS pid')[1].pid end

  it('closes what was idle for idle_timeout, and opens again for who comes', function()
    local store = store_of({ idle_timeout = 0.3 })
    fill(store, 4)
    local idle_since = postgres.now()
    support.eventually(function() return store:stats().pool_idle == 4 end)
    support.eventually(function() return #sessions(store) == 0 end)
    assert.is_true(postgres.now() - idle_since >= 0.3)
    assert.equal(0, store:stats().pool_idle)
    assert.is_true(pid_of(store) > 0)
    assert.equal(5, store:stats().pg_connects)
  end)

  it('does not close what is used again and again, nor what a transaction holds', function()
    local store, witness = store_of({ idle_timeout = 0.3, poolsize = 2 }),
      store_of({ idle_timeout = 0.3 })
    store:transaction(function(tx)
      local held, used, used_at, closed = pid_of(tx), pid_of(store), postgres.now(), 0
      local function use()
        local pid = pid_of(store)
        if pid ~= used then -- a busy machine may have left it alone for so long
          assert.is_true(postgres.now() - used_at >= 0.3)
          used, closed = pid, closed + 1
        end
        used_at = postgres.now()
      end
      for _ = 1, 3 do
        pid_of(witness)
        support.eventually(function()
          use()
          return witness:stats().pool_idle == 0
        end)
      end
      assert.equal(held, pid_of(tx))
      assert.equal(2 + closed, store:stats().pg_connects)
    end)
  end)

  it('keeps min_idle open, whatever they were used for last', function()
    local store, witness = store_of({ idle_timeout = 0.2, min_idle = 2 }),
      store_of({ idle_timeout = 0.2 })
    fill(store, 5)
    support.eventually(function() return #sessions(store) == 2 end)
    local kept, connects = sessions(store), store:stats().pg_connects
    for _ = 1, 2 do
      pid_of(witness)
      support.eventually(function() return #sessions(witness) == 0 end)
    end
    assert.same(kept, sessions(store))
    assert.equal(connects, store:stats().pg_connects)
  end)

  it('opens min_idle after the first call, and again after they were lost', function()
    local store = store_of({ idle_timeout = 0.2, min_idle = 3 })
    pid_of(store)
    support.eventually(function() return store:stats().pool_idle == 3 end)
    local before = sessions(store)
    assert.equal(3, #before)
    for _, pid in ipairs(before) do
      support.psql(db, 'SELECT pg_terminate_backend(' .. pid .. ')')
    end
    support.eventually(function()
      return store:stats().pg_connects == 6 and store:stats().pool_idle == 3
    end)
    for _, pid in ipairs(sessions(store)) do
      for _, old in ipairs(before) do assert.not_equal(old, pid) end
    end
  end)

  it('does not use a connection again after max_age, give or take 10 %', function()
    local store = store_of({ max_age = 0.5, poolsize = 1 })
    local opened = postgres.now() -- or later
    local pid = pid_of(store)
    for _ = 1, 2 do
      local asked
      local now = support.eventually(function()
        local before = postgres.now()
        local other = pid_of(store)
        if other ~= pid then return other end
        asked = before
      end)
      assert.is_true(postgres.now() - opened > 0.4, tostring(postgres.now() - opened))
      pid, opened = now, asked or opened
    end
    assert.equal(3, store:stats().pg_connects)
    assert.equal(0, store:stats().pg_lost)
  end)

  it('leaves a connection that grows old in a transaction to it, and to nobody after it', function()
    local store, other = store_of({ max_age = 0.3, poolsize = 1 }), store_of({ max_age = 0.3 })
    local held = store:transaction(function(tx)
      local pid, old = pid_of(tx), pid_of(other)
      support.eventually(function() return pid_of(other) ~= old end)
      old = pid_of(other)
      support.eventually(function() return pid_of(other) ~= old end)
      assert.equal(pid, pid_of(tx))
      return pid
    end)
    assert.not_equal(held, pid_of(store))
  end)

  it('does not let reads keep an old lane alive, and loses none of them', function()
    local store = store_of({ max_age = 0.3, poolsize = 1 })
    local began = postgres.now()
    stores.map({ 1, 2, 3, 4 }, function(i)
      stores.sleep(i * 0.005) -- each in a tick of its own: one of them is always in flight
      while store:stats().pg_connects < 4 and postgres.now() - began < 60 do
        assert.equal(1, store:find('slow', '1').n)
      end
    end)
    assert.is_true(store:stats().pg_connects >= 4)
    assert.equal(0, store:stats().pg_lost)
    assert.equal(0, store:stats().read_retries)
  end)

  it('asks a connection that was idle for ping_after whether it lives', function()
    local store = store_of({ ping_after = 0.2 })
    local pid = pid_of(store)
    local asked = 0
    local off = stores.on('statement', function(event)
      if event.sql:find('stores_shard', 1, true) then asked = asked + 1 end
    end)
    support.eventually(function() return asked >= 2 end)
    off()
    assert.equal(pid, pid_of(store))
  end)

  it('gives nobody a connection that does not answer that, and closes it', function()
    local store = store_of({ ping_after = 0.2 })
    local pid = pid_of(store)
    store:find('docs', '1') -- so that its session has been reset
    finally(function() os.execute('kill -CONT ' .. pid .. ' 2>/dev/null') end)
    assert.equal(0, os.execute('kill -STOP ' .. pid))
    local before = store:stats().pg_round_trips
    support.eventually(function() return store:stats().pg_round_trips > before end)
    assert.not_equal(pid, pid_of(store))
    support.eventually(function() return store:stats().pool_idle == 2 end)
    support.eventually(function() return store:stats().pool_idle == 1 end)
    assert.equal(2, store:stats().pg_connects)
  end)
end)

describe('#slow A pool whose server is down', function()
  local folder, listener, accepted, together, most, store

  before_each(function()
    folder = os.tmpname()
    os.remove(folder)
    assert.equal(0, os.execute('mkdir ' .. folder))
    accepted, together, most = 0, 0, 0
  end)

  after_each(function()
    support.close(store)
    if listener then listener:close() end
    listener = nil
    uv.run('nowait')
    os.execute('rm -rf ' .. folder)
  end)

  -- Takes connections, and closes each after a moment without a word.
  local function listen()
    listener = uv.new_pipe(false)
    assert(listener:bind(folder .. '/.s.PGSQL.5432'))
    listener:listen(64, function()
      local client, timer = uv.new_pipe(false), uv.new_timer()
      listener:accept(client)
      accepted, together = accepted + 1, together + 1
      most = math.max(most, together)
      timer:start(20, 0, function()
        timer:close()
        client:close()
        together = together - 1
      end)
    end)
  end

  local function eventually(condition, seconds)
    return support.eventually(function()
      uv.run('nowait')
      return condition()
    end, seconds)
  end

  local function store_of(fields)
    local config = support.config('postgres', { host = folder, poolsize = 10, port = 5432 })
    for key, value in pairs(fields or {}) do config[key] = value end
    store = stores.Store.new(config, nil, { cache = false })
    return store
  end

  it('is asked by one connection at a time, less and less often, whoever calls', function()
    listen()
    store_of()
    local began, failed, codes = postgres.now(), 0, {}
    -- a busy machine may take longer for as many
    local function is_over()
      local seconds = postgres.now() - began
      return seconds > 1.2 and (failed >= 100 and accepted >= 3 or seconds > 20)
    end
    stores.run(function()
      for _ = 1, 50 do
        stores.spawn(function()
          while not is_over() do
            local ok, err = store.try:query('SELECT 1')
            assert.is_false(ok)
            codes[err.code .. ' ' .. err.outcome] = true
            failed = failed + 1
          end
        end)
      end
      -- back-off of 50, 100, 200, 400, 800 ms: six attempts, where each also takes a moment
      eventually(is_over, 30)
      eventually(function() return store:stats().ops == 0 end)
    end)
    assert.same({ ['connect_failed none'] = true }, codes)
    assert.is_true(failed >= 100, tostring(failed))
    assert.equal(1, most)
    assert.is_true(accepted >= 3 and accepted <= 7, tostring(accepted))
    assert.equal(accepted, store:stats().pg_connect_failures)
  end)

  it('goes on as soon as the server is there, for who waits and for who comes', function()
    store_of({ acquire_timeout = 20 })
    local ok, err = store.try:query('SELECT 1')
    assert.is_false(ok)
    assert.equal('connect_failed', err.code)
    local at = support.config()
    assert.equal(0, os.execute(("ln -s '%s/.s.PGSQL.%s' %s/.s.PGSQL.5432"):format(at.host,
      tostring(at.port), folder)))
    assert.equal(1, store:query('SELECT 1 AS n')[1].n) -- waits for the next attempt
    assert.equal(1, store:stats().pg_connects)
  end)

  it('gives up its one attempt, that gets no answer, after connect_timeout', function()
    listener = uv.new_pipe(false)
    assert(listener:bind(folder .. '/.s.PGSQL.5432'))
    listener:listen(64, function() end) -- nobody ever takes them
    store_of({ connect_timeout = 0.3 })
    local began, failed, connecting = postgres.now(), 0, 0
    stores.run(function()
      for i = 1, 10 do
        stores.spawn(function()
          stores.sleep(0.01 * i)
          local ok, err = store.try:query('SELECT 1')
          assert.is_false(ok)
          assert.equal('connect_failed', err.code)
          assert.equal('none', err.outcome)
          assert.is_true(postgres.now() - began >= 0.3)
          failed = failed + 1
        end)
      end
      support.eventually(function()
        connecting = math.max(connecting, store:stats().pool_connecting)
        return failed == 10
      end)
    end)
    assert.equal(1, connecting)
    assert.equal(1, store:stats().pg_connect_failures)
  end)

  it('is not asked first again where there is another host: that one had all the time', function()
    listener = uv.new_pipe(false)
    assert(listener:bind(folder .. '/.s.PGSQL.5432'))
    listener:listen(64, function() end)
    local at = support.config()
    store_of({ host = { folder, at.host }, port = { 5432, at.port }, connect_timeout = 0.3,
      acquire_timeout = 5 })
    assert.is_false((store.try:query('SELECT 1')))
    assert.equal(1, store:query('SELECT 1 AS n')[1].n)
    assert.equal(1, store:stats().pg_connect_failures)
  end)

  it('opens one connection at a time for many who wait', function()
    local at = support.config()
    assert.equal(0, os.execute(("ln -s '%s/.s.PGSQL.%s' %s/.s.PGSQL.5432"):format(at.host,
      tostring(at.port), folder)))
    store_of({ poolsize = 6, acquire_timeout = 20 })
    stores.run(function()
      local inside, connecting = 0, 0
      for _ = 1, 6 do
        stores.spawn(function()
          store:transaction(function(tx)
            tx:query('SELECT 1')
            inside = inside + 1
            support.eventually(function() return inside == 6 end, 20)
          end)
        end)
      end
      support.eventually(function()
        connecting = math.max(connecting, store:stats().pool_connecting)
        return inside == 6
      end, 20)
      assert.equal(1, connecting)
    end)
    assert.equal(6, store:stats().pg_connects)
  end)
end)
