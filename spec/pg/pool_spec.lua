-- Which connection serves what: how many there are, who shares one, who waits, and for how long.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('The pool', function()
  local db, open

  setup(function()
    local store
    store, db = support.store({ 'docs', 'late' }, { no_redis = true },
      { application_name = 'pool_spec' })
    support.close(store)
  end)

  teardown(function() support.drop(db) end)

  before_each(function()
    open = {}
    support.psql(db, [[
      TRUNCATE docs, late;
      INSERT INTO docs SELECT i, jsonb_build_object('id', i::text, 'n', i)
        FROM generate_series(1, 20) i;]])
  end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(fields, redis, opts)
    local config = {}
    for key, value in pairs(db) do config[key] = value end
    for key, value in pairs(fields or {}) do config[key] = value end
    local store = stores.Store.new(config, redis, opts)
    open[#open + 1] = store
    return store
  end

  -- Sessions on the server, as psql sees them.
  local function sessions(where)
    return tonumber((support.psql(db, "SELECT count(*) FROM pg_stat_activity"
      .. " WHERE application_name = 'pool_spec'" .. (where and ' AND ' .. where or ''))))
  end

  -- Keeps `count` connections of a store in transactions; returns what ends them.
  local function hold(store, count)
    local held, over = 0, false
    for _ = 1, count do
      stores.spawn(function()
        store:transaction(function(tx)
          tx:query('SELECT 1')
          held = held + 1
          support.eventually(function() return over end, 20)
        end)
      end)
    end
    support.eventually(function() return held == count end)
    return function() over = true end
  end

  local function list(count)
    local numbers = {}
    for i = 1, count do numbers[i] = i end
    return numbers
  end

  describe('opens connections', function()
    it('not before the first call', function()
      local store = store_of()
      stores.sleep(0.02)
      assert.equal(0, store:stats().pg_connects)
      store:find('docs', '1')
      assert.equal(1, store:stats().pg_connects)
    end)

    it('no second one for calls that come one after the other', function()
      local store = store_of()
      for i = 1, 20 do
        store:find('docs', tostring(i))
        store:query('SELECT 1')
        store:update('docs', { id = tostring(i), n = i })
      end
      assert.equal(1, store:stats().pg_connects)
    end)

    it('never more than poolsize', function()
      local store = store_of({ poolsize = 3, acquire_timeout = 30 })
      local most = 0
      stores.map(list(60), function(i)
        if i % 3 == 0 then store:query('SELECT pg_sleep(0.01)') end
        if i % 3 == 1 then store:find('docs', tostring(i)) end
        if i % 3 == 2 then store:update('docs', { id = tostring(i % 20 + 1), n = i }) end
        if i % 10 == 0 then most = math.max(most, sessions()) end
      end)
      assert.is_true(most <= 3 and most > 1, tostring(most))
      assert.equal(3, store:stats().pg_connects)
    end)
  end)

  describe('of one connection', function()
    local store

    before_each(function() store = store_of({ poolsize = 1, acquire_timeout = 2 }) end)

    after_each(function() assert.equal(1, store:stats().pg_connects) end)

    it('serves every verb', function()
      store:upsert('docs', { id = '30', n = 30, tags = { 'a' } })
      assert.equal(30, store:find('docs', '30').n)
      assert.is_true(store:exists('docs', '30'))
      assert.equal(31, store:updateProperty('docs', '30', 'n', 31).n)
      assert.equal(32, store:patch('docs', '30', { inc = { n = 1 } }).n)
      assert.equal(1, #store:findByJSON('docs', { n = 32 }))
      assert.equal(1, #store:findByJsonArrayContains('docs', 'tags', 'a'))
      assert.equal(21, store:count('docs'))
      assert.equal(21, #store:findAll('docs'))
      assert.is_true(store:delete('docs', '30'))
    end)

    it('looks up a table that updateObject meets first', function()
      assert.equal(1, store:updateObject('late', '1', function() return { id = '1', n = 1 } end,
        { create = true }).n)
    end)

    it('looks up a table inside of a transaction', function()
      store:transaction(function(tx)
        assert.equal(1, tx:find('docs', '1').n)
        assert.is_nil(tx:find('late', '77'))
      end)
    end)

    it('looks up a table that the transaction itself has made', function()
      local ok, err = store.try:transaction(function(tx)
        tx:query('CREATE TABLE brief (id bigint PRIMARY KEY, value jsonb)')
        tx:insert('brief', { id = '1', n = 1 })
        assert.equal(1, tx:find('brief', '1').n)
        error('undo it')
      end)
      assert.is_false(ok)
      assert.truthy(tostring(err):find('undo it', 1, true), tostring(err))
      ok, err = store.try:find('brief', '1')
      assert.is_false(ok)
      assert.equal('table_not_found', err.code)
    end)

    it('serves a find in the middle of each', function()
      local count = 0
      for doc in store:each('docs', { batch = 3 }) do
        count = count + 1
        assert.equal(doc.id, store:find('docs', doc.id).id)
      end
      assert.equal(20, count)
    end)

    it('serves all kinds of calls at once', function()
      stores.map(list(200), function(i)
        local id = tostring(i % 20 + 1)
        if i % 4 == 0 then store:find('docs', id) end
        if i % 4 == 1 then store:updateProperty('docs', id, 'seen', i) end
        if i % 4 == 2 then store:query('SELECT 1') end
        if i % 4 == 3 then store:updateObject('docs', id, function(doc) doc.i = i end) end
      end)
    end)
  end)

  describe('shares lanes:', function()
    it('the finds of one tick are one statement', function()
      local store = store_of()
      store:find('docs', '1')
      local before = store:stats()
      stores.map(list(20), function(i) assert.equal(i, store:find('docs', tostring(i)).n) end)
      local after = store:stats()
      assert.equal(1, after.pg_round_trips - before.pg_round_trips)
      assert.equal(1, after.pg_statements - before.pg_statements)
    end)

    it('finds of different ticks are in flight together on one connection', function()
      local store, other = store_of({ poolsize = 1 }), store_of({ application_name = 'other' })
      store:find('docs', '1')
      stores.run(function()
        local locked, over = false, false
        stores.spawn(function()
          other:transaction(function(tx)
            tx:query('LOCK TABLE docs IN ACCESS EXCLUSIVE MODE')
            locked = true
            support.eventually(function() return over end, 20)
          end)
        end)
        support.eventually(function() return locked end)
        local before = store:stats().pg_round_trips
        local tasks = {}
        for i = 1, 5 do
          tasks[i] = stores.spawn(function() return store:find('docs', tostring(i)).n end)
          stores.sleep(0.01)
        end
        local stats = store:stats()
        assert.equal(5, stats.ops)
        assert.equal(5, stats.pg_round_trips - before)
        assert.equal(1, stats.pool_reading)
        assert.equal(0, stats.pool_waiters)
        assert.equal(1, sessions())
        over = true
        for i = 1, 5 do assert.equal(i, tasks[i]:join()) end
      end)
    end)

    it('a write that meets a lock does not hold up those that it was sent with', function()
      local store, other = store_of({ poolsize = 4 }), store_of({ application_name = 'other' })
      store:update('docs', { id = '1', n = 1 })
      stores.run(function()
        local locked, over, longest, ended = false, false, 0, 0
        local holder = stores.spawn(function()
          other:transaction(function(tx)
            tx:query('SELECT 1 FROM docs WHERE id = 1 FOR UPDATE')
            locked = true
            support.eventually(function() return over end, 20)
          end)
        end)
        support.eventually(function() return locked end)
        local before = store:stats()
        local blocked = stores.spawn(function() store:update('docs', { id = '1', n = 100 }) end)
        for i = 2, 10 do
          stores.spawn(function()
            local began = postgres.now()
            store:update('docs', { id = tostring(i), n = 100 })
            longest = math.max(longest, postgres.now() - began)
            ended = ended + 1
          end)
        end
        support.eventually(function() return ended == 9 end)
        assert.is_nil(blocked.done or nil)
        assert.is_true(longest < 1, tostring(longest)) -- the lock timeout of a segment is 50 ms
        assert.is_true(store:stats().segment_retries > before.segment_retries)
        -- and reads go on
        for i = 2, 10 do assert.equal(100, store:find('docs', tostring(i)).n) end
        over = true
        holder:join()
        blocked:join()
      end)
      assert.equal(100, store:find('docs', '1').n)
    end)

    it('a slow query never stands before a find', function()
      local store = store_of({ poolsize = 2 })
      store:find('docs', '1')
      stores.run(function()
        local slow = stores.spawn(function() store:query('SELECT pg_sleep(2)') end)
        support.eventually(function() return sessions("query LIKE '%pg_sleep(2)%'") == 1 end)
        local count = 0
        while not slow.done do
          assert.equal(3, store:find('docs', '3').n)
          if not slow.done then count = count + 1 end
        end
        assert.is_true(count > 5)
      end)
    end)
  end)

  describe('with every connection taken', function()
    it('serves those who wait in the order in which they came', function()
      local store, order = store_of({ poolsize = 1 }), {}
      stores.run(function()
        local let_go = hold(store, 1)
        for i = 1, 10 do
          stores.spawn(function()
            if i % 2 == 0 then
              store:query('SELECT 1')
            else
              store:transaction(function(tx) tx:query('SELECT 1') end)
            end
            order[#order + 1] = i
          end)
        end
        support.eventually(function() return store:stats().pool_waiters == 10 end)
        let_go()
      end)
      assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, order)
    end)

    -- Calls that come one after the other without end, until a call of the other kind is done.
    local function beside(store, stream, call)
      local over, count, done = false, 0, nil
      stores.run(function()
        for i = 1, 8 do
          stores.spawn(function()
            stores.sleep(i * 0.001) -- each in a tick of its own
            while not over do
              stream()
              count = count + 1
            end
          end)
        end
        support.eventually(function() return count > 50 end)
        local before = count
        local ok, err = pcall(call)
        done = count - before
        over = true
        if not ok then error(err, 0) end
      end)
      assert.equal(1, store:stats().pg_connects)
      return done
    end

    it('lets a transaction through a stream of reads, and a read through one of transactions',
      function()
        local store = store_of({ poolsize = 1 })
        support.psql(db, 'CREATE OR REPLACE VIEW slow AS SELECT id, value FROM docs,'
          .. ' pg_sleep(0.003)') -- so that one of them is always in flight
        local function read() assert.equal(1, store:find('slow', '1').n) end
        local function transact()
          store:transaction(function(tx) assert.equal(2, tx:find('docs', '2').n) end)
        end
        local function write() store:update('docs', { id = '3', n = 3 }) end
        -- each waits for those that were there before it, and then takes its turn
        assert.is_true(beside(store, read, transact) < 50)
        assert.is_true(beside(store, transact, read) < 50)
        assert.is_true(beside(store, transact, write) < 50)
        assert.is_true(beside(store, write, transact) < 50)
        assert.is_true(beside(store, read, write) < 50)
      end)

    it('says after acquire_timeout who has them', function()
      local store = store_of({ poolsize = 3, acquire_timeout = 0.2 })
      stores.run(function()
        local let_go = hold(store, 2)
        local slow = stores.spawn(function()
          support.refused('timeout', nil, store.query, store, 'SELECT pg_sleep(60)', nil,
            { timeout = 5 })
        end)
        support.eventually(function() return store:stats().pool_checked_out == 3 end)
        for _, verb in ipairs({
          function() store:query('SELECT 1') end,
          function() store:find('docs', '1') end,
          function() store:update('docs', { id = '1', n = 1 }) end,
          function() store:updateObject('docs', '1', function() end) end,
        }) do
          local ok, err = pcall(verb)
          assert.is_false(ok)
          assert.equal('acquire_timeout', err.code)
          assert.equal(503, err.http)
          assert.equal('none', err.outcome)
          assert.is_true(err.retryable)
          assert.truthy(err.message:find(
            '^waited %d%.%d s; 3 of 3 connections busy: 2 transactions, 1 queries, 0 lanes'),
            err.message)
        end
        assert.is_false(slow.done or false)
        assert.equal(0, store:stats().pool_waiters)
        slow:join()
        let_go()
      end)
    end)

    it('does not keep transactions from looking up a table', function()
      local store = store_of({ poolsize = 3, acquire_timeout = 1 })
      local begun = 0
      stores.map({ 1, 2, 3 }, function()
        store:transaction(function(tx)
          tx:query('SELECT 1')
          begun = begun + 1
          support.eventually(function() return begun == 3 end)
          assert.is_nil(tx:find('late', '1'))
        end)
      end)
    end)

    it('refuses at once who would be one more than max_waiters', function()
      local store = store_of({ poolsize = 1, max_waiters = 2 })
      stores.run(function()
        local let_go = hold(store, 1)
        for _ = 1, 2 do stores.spawn(function() store:query('SELECT 1') end) end
        support.eventually(function() return store:stats().pool_waiters == 2 end)
        local ok, err = store.try:query('SELECT 1')
        assert.is_false(ok)
        assert.equal('pool_full', err.code)
        assert.equal('none', err.outcome)
        let_go()
      end)
    end)

    it('does not wait for itself: a find inside of updateObject says so', function()
      local store = store_of({ poolsize = 1 })
      local ok, err = store.try:updateObject('docs', '1', function()
        store:find('docs', '2')
      end)
      assert.is_false(ok)
      assert.equal('self_deadlock', err.code)
      assert.truthy(err.message:find('1 of 1 connections', 1, true), err.message)
      assert.equal(1, store:find('docs', '1').n)
    end)
  end)

  describe('over a server with few connections', function()
    local server

    setup(function()
      server = postgres.start({ max_connections = 7, superuser_reserved_connections = 3,
        autovacuum = 'off' })
      server:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
      server:psql('CREATE ROLE app LOGIN')
      server:psql('GRANT ALL ON docs TO app')
    end)

    teardown(function() server:remove() end)

    local function small_store()
      local store = stores.Store.new(server:config({ poolsize = 20, user = 'app',
        acquire_timeout = 20 }))
      open[#open + 1] = store
      return store
    end

    it('is smaller than its poolsize, and every call completes', function()
      local store = small_store()
      local done = 0
      stores.map(list(200), function(i)
        if i % 2 == 0 then
          store:query('SELECT pg_sleep(0.01)')
        else
          store:upsert('docs', { id = tostring(i), n = i })
        end
        done = done + 1
      end)
      assert.equal(200, done)
      local stats = store:stats()
      assert.is_true(stats.pool_idle + stats.pool_reading <= 4)
      assert.is_true(stats.pg_connect_failures > 0)
    end)

    it('says so where others have them all, and works when they leave', function()
      local first, second = small_store(), small_store()
      stores.run(function()
        local let_go = hold(first, 4)
        local ok, err = second.try:query('SELECT 1')
        assert.is_false(ok)
        assert.equal('connect_failed', err.code)
        assert.equal('53300', err.sqlstate)
        assert.equal('none', err.outcome)
        let_go()
      end)
      first:close()
      assert.equal(7, support.eventually(function()
        local ok, rows = second.try:query('SELECT 7 AS n')
        return ok and rows[1].n
      end))
    end)
  end)

  it('of 10 serves 10,000 coroutines that read and write, and nothing is left', function()
    -- a collector that walks over all of them all the time keeps locks for longer than the server
    -- lets a transaction idle
    local CALLS = os.getenv('STORES_TEST_PASS') == 'gc' and 1000 or 10000
    local store = store_of({ poolsize = 10, acquire_timeout = 60 }, support.redis())
    local done = {}
    local function count(kind) done[kind] = (done[kind] or 0) + 1 end
    stores.map(list(CALLS), function(i)
      local id = tostring(i % 20 + 1)
      local kind = i % 20
      if kind == 0 then
        assert.equal(1, #store:findByJSON('docs', { n = i % 20 + 1 }))
        count('searches')
      elseif kind == 1 then
        store:query('SELECT 1')
        count('queries')
      elseif kind == 2 then
        store:updateObject('late', tostring(i % 100), function(doc)
          doc = doc or { id = tostring(i % 100), n = 0 }
          doc.n = doc.n + 1
          return doc
        end, { create = true })
        count('objects')
      elseif kind < 6 then
        store:insert('late', { id = tostring(1000 + i), n = i })
        count('inserts')
      elseif kind < 8 then
        store:updateProperty('docs', id, 'seen', i)
        count('updates')
      else
        assert.equal(i % 20 + 1, store:find('docs', id).n)
        count('finds')
      end
    end)
    local share = CALLS / 20
    assert.same({ searches = share, queries = share, objects = share, inserts = 3 * share,
      updates = 2 * share, finds = 12 * share }, done)
    assert.equal(3 * share, store:query('SELECT count(*) AS n FROM late WHERE id >= 1000')[1].n)
    local stats = store:stats()
    for _, figure in ipairs({ 'ops', 'transactions', 'pool_checked_out', 'pool_waiters',
      'pool_connecting', 'pool_writing' }) do
      assert.equal(0, stats[figure], figure)
    end
    assert.is_true(stats.pg_connects <= 10)
  end)
end)
