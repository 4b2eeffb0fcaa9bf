-- Reading lanes that do not answer: a table that DDL has locked, a backend that hangs, a network
-- that swallows what is sent. What does not wait for the same goes on.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local locks = require('spec.support.locks')
local pg_proxy = require('spec.support.pg_proxy')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('A lane that does not answer', function()
  local db, store, stopped, proxy

  setup(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE free (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE locked (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE also_locked (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE late (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO free SELECT i, jsonb_build_object('n', i) FROM generate_series(1, 20) i;
      INSERT INTO locked SELECT * FROM free;
      INSERT INTO also_locked SELECT * FROM free;
      INSERT INTO late SELECT * FROM free;
      CREATE VIEW seen AS SELECT * FROM locked]])
  end)

  teardown(function() support.drop(db) end)

  before_each(function() stopped = {} end)

  after_each(function()
    for _, pid in ipairs(stopped) do os.execute('kill -CONT ' .. pid .. ' 2>/dev/null') end
    if store then support.close(store) end
    if proxy then proxy:close() end
    store, proxy = nil, nil
  end)

  local function store_of(fields, opts)
    local config = { application_name = 'stalled' }
    for key, value in pairs(db) do config[key] = value end
    for key, value in pairs(fields or {}) do config[key] = value end
    store = stores.Store.new(config, nil, opts or { cache = false })
    return store
  end

  local function sessions(where)
    return tonumber((support.psql(db, 'SELECT count(*) FROM pg_stat_activity WHERE datname ='
      .. (" '%s' AND application_name = 'stalled' AND %s"):format(db.database, where))))
  end

  -- Calls fn while these tables are locked as by DDL; in stores.run.
  local function while_locked(tables, fn)
    local holder = stores.Store.new(db, nil, { cache = false, timeout = 120 })
    local ok, err = pcall(locks.during, holder, 'LOCK TABLE ' .. tables
      .. ' IN ACCESS EXCLUSIVE MODE', fn, 100)
    holder:close()
    if not ok then error(err, 0) end
  end

  -- Finds of a table without end, each with a deadline; returns what stops them and counts.
  local function stream(name, width, timeout)
    local self = { over = false, done = 0, failed = 0, slowest = 0 }
    local tasks = {}
    for i = 1, width do
      tasks[i] = stores.spawn(function()
        while not self.over do
          local began = postgres.now()
          local ok, err = store.try:find(name, tostring(i % 20 + 1), { timeout = timeout })
          self.slowest = math.max(self.slowest, postgres.now() - began)
          if ok then self.done = self.done + 1 else self.failed, self.why = self.failed + 1, err end
          stores.sleep(0.01)
        end
      end)
    end
    function self.stop()
      self.over = true
      for _, task in ipairs(tasks) do task:join() end
    end
    return self
  end

  for _, poolsize in ipairs({ 10, 4, 2, 1 }) do
    it('behind a locked table leaves others alone, with a poolsize of ' .. poolsize, function()
      store_of({ poolsize = poolsize, acquire_timeout = 20 })
      for _, name in ipairs({ 'free', 'locked' }) do store:find(name, '1') end
      stores.run(function()
        local blocked, free
        while_locked('locked', function()
          blocked = stream('locked', 24, 60)
          support.eventually(function() return store:stats().pool_stalled > 0 end, 20)
          free = stream('free', 6, 20)
          support.eventually(function() return free.done > 60 end, 60)
          assert.equal(0, blocked.done)
          assert.equal(0, free.failed, tostring(free.why))
          assert.is_true(store:stats().pool_stalled <= 2)
          assert.is_true(sessions("wait_event_type = 'Lock'") <= 3)
          free.stop()
        end)
        -- and those that waited have their answers as soon as the lock is gone
        support.eventually(function() return blocked.done > 24 end, 30)
        blocked.stop()
        assert.equal(0, blocked.failed, tostring(blocked.why))
      end)
    end)
  end

  -- what a view does in its session is its own: none of its finds joins another one
  it('behind a view takes few of them, and leaves others to others', function()
    store_of({ poolsize = 10, acquire_timeout = 20 })
    for _, name in ipairs({ 'free', 'seen' }) do store:find(name, '1') end
    stores.run(function()
      local blocked = {}
      while_locked('locked', function()
        for i = 1, 12 do -- each in a tick of its own, so that they share no statement
          blocked[i] = stream('seen', 1, 60)
          store:find('free', '1')
        end
        support.eventually(function() return store:stats().pool_stalled > 0 end, 20)
        assert.is_true(store:stats().pool_stalled <= 3)
        assert.is_true(sessions("wait_event_type = 'Lock'") <= 4)
      end)
      for _, one in ipairs(blocked) do
        support.eventually(function() return one.done > 0 end, 30)
        one.stop()
        assert.equal(0, one.failed, tostring(one.why))
      end
    end)
  end)

  it('behind several locked tables leaves the others alone', function()
    store_of({ poolsize = 4, acquire_timeout = 20 })
    for _, name in ipairs({ 'free', 'locked', 'also_locked', 'late' }) do store:find(name, '1') end
    stores.run(function()
      while_locked('locked, also_locked, late', function()
        local blocked = {}
        for i, name in ipairs({ 'locked', 'also_locked', 'late' }) do
          blocked[i] = stream(name, 8, 10)
        end
        support.eventually(function() return store:stats().pool_stalled > 0 end, 20)
        local free = stream('free', 6, 20)
        support.eventually(function() return free.done > 60 end, 60)
        assert.equal(0, free.failed, tostring(free.why))
        free.stop()
        for _, one in ipairs(blocked) do one.over = true end
      end)
    end)
  end)

  it('is not left to searches of a locked table either', function()
    store_of({ poolsize = 6, acquire_timeout = 20 })
    for _, name in ipairs({ 'free', 'locked' }) do store:find(name, '1') end
    stores.run(function()
      local done = 0
      while_locked('locked', function()
        for _ = 1, 12 do
          stores.spawn(function()
            store:count('locked')
            done = done + 1
          end)
        end
        support.eventually(function() return store:stats().pool_checked_out == 5 end, 20)
        for i = 1, 20 do
          assert.equal(i, store:find('free', tostring(i), { timeout = 10 }).n)
          assert.equal(1, #store:findByJSON('free', { n = i }, { timeout = 10 }))
        end
        assert.equal(0, done)
      end)
      support.eventually(function() return done == 12 end, 30)
    end)
  end)

  it('tells those whose time to wait is over that it may be a lock', function()
    store_of({ poolsize = 3, acquire_timeout = 2 })
    store:find('locked', '1')
    stores.run(function()
      while_locked('locked', function()
        local hints, tasks = 0, {}
        for i = 1, 60 do
          tasks[i] = stores.spawn(function()
            local ok, err = store.try:find('locked', '1', { timeout = 10 })
            assert.is_false(ok)
            if err.code == 'acquire_timeout' and err.hint and err.hint:find('lock', 1, true) then
              hints = hints + 1
            end
          end)
          stores.sleep(0.02) -- each is a statement of its own
        end
        for _, task in ipairs(tasks) do task:join() end
        assert.is_true(hints > 0)
      end)
    end)
  end)

  local function pid_of(at) return at:query('SELECT pg_backend_pid() AS pid')[1].pid end

  local function stop(pid)
    stopped[#stopped + 1] = pid
    assert.equal(0, os.execute('kill -STOP ' .. pid))
  end

  for _, poolsize in ipairs({ 4, 1 }) do
    it('for its backend hangs does not keep a find, nor those after it, with a poolsize of '
      .. poolsize, function()
      store_of({ poolsize = poolsize, acquire_timeout = 20 })
      store:find('free', '1')
      stop(pid_of(store))
      for i = 1, 12 do
        assert.equal(i, store:find('free', tostring(i), { timeout = 15 }).n)
      end
      -- one more than is needed where the machine is slow
      assert.is_true(store:stats().pg_connects <= 3)
      -- the connection is given up in the end
      stores.run(function()
        support.eventually(function()
          store:find('free', '1')
          return store:stats().pool_stalled == 0
        end, 30)
      end)
    end)

    it("for its backend hangs does not keep a table's name unknown, with a poolsize of "
      .. poolsize, function()
      store_of({ poolsize = poolsize, acquire_timeout = 20 })
      stop(pid_of(store))
      assert.equal(7, store:find('late', '7', { timeout = 15 }).n)
      assert.equal(8, store:find('late', '8', { timeout = 15 }).n)
    end)
  end

  it('for the network swallows what is sent does not keep a find', function()
    proxy = pg_proxy.start(pg_proxy.socket_of(db))
    store_of({ host = proxy.host, port = proxy.port, poolsize = 3, connect_timeout = 20 })
    store:find('free', '1')
    stores.run(function()
      stores.map({ 1, 2, 3 }, function() store:query('SELECT pg_sleep(0.05)') end)
      support.eventually(function() return store:stats().pool_connecting == 0 end, 20)
      proxy:swallow()
      local list = {}
      for i = 1, 20 do list[i] = i end
      stores.map(list, function(i)
        assert.equal(i, store:find('free', tostring(i), { timeout = 20 }).n)
      end)
    end)
  end)

  it('for its statement is slow is waited for, and the statement runs twice at most', function()
    support.psql(db, [[CREATE TABLE runs (at timestamptz);
      CREATE FUNCTION slow() RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN
        PERFORM count_run();
        PERFORM pg_sleep(4);
        RETURN true;
      END $$;
      CREATE SEQUENCE run;
      CREATE FUNCTION count_run() RETURNS void LANGUAGE sql AS 'SELECT nextval(''run'')';
      CREATE VIEW slow_free AS SELECT id, value FROM free WHERE slow()]])
    for _, poolsize in ipairs({ 4, 1 }) do
      store_of({ poolsize = poolsize })
      support.psql(db, "SELECT setval('run', 1)")
      assert.equal(3, store:find('slow_free', '3', { timeout = 60 }).n)
      assert.is_true(tonumber((support.psql(db, 'SELECT last_value FROM run'))) <= 3)
      support.close(store)
    end
    store = nil
  end)

  it('serves again when it answers after all', function()
    store_of({ poolsize = 3 })
    store:find('free', '1')
    local pid = pid_of(store)
    stop(pid)
    assert.equal(2, store:find('free', '2', { timeout = 15 }).n)
    assert.equal(0, os.execute('kill -CONT ' .. pid))
    stores.run(function()
      support.eventually(function() return store:stats().pool_idle >= 2 end, 20)
    end)
    assert.is_true(store:stats().pg_connects <= 3)
    assert.equal(0, store:stats().pool_stalled)
  end)
end)
