-- Every call ends within its deadline, wherever it stands just then, and the loop goes on
-- meanwhile.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local locks = require('spec.support.locks')
local pools = require('spec.support.pools')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('A deadline', function()
  local server, store, other

  setup(function()
    server = postgres.start()
    server:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  end)

  teardown(function() server:remove() end)

  before_each(function()
    server:psql('TRUNCATE docs')
    store = stores.Store.new(server:config({ poolsize = 2 }))
    other = stores.Store.new(server:config({ application_name = 'other', poolsize = 2 }))
    store:insert('docs', { id = '1', n = 1 })
  end)

  after_each(function()
    server:thaw()
    support.eventually(function()
      local stats = store:stats()
      return stats.ops + stats.transactions + stats.pool_checked_out + stats.pool_waiters == 0
    end, 30, 'a store without work')
    support.close(store)
    support.close(other)
  end)

  -- Runs a call that must fail by its deadline, and says how.
  local function times_out(seconds, fn)
    local began = postgres.now()
    local ok, err = pcall(fn)
    local took = postgres.now() - began
    assert.is_false(ok)
    assert.equal('timeout', err.code, tostring(err))
    assert.is_true(took > seconds - 0.02, 'too early: ' .. took)
    assert.is_true(took < seconds + 5, 'too late: ' .. took)
    return err
  end

  -- What sessions of the store run, that has the text in it.
  local function running(text)
    return tonumber(server:psql(("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
      .. " AND application_name = 'stores' AND query LIKE '%%%s%%'"):format(text)))
  end

  -- Calls fn while all connections of the store are in transactions.
  local function with_pool_taken(fn)
    stores.run(function()
      local let_go = pools.hold(store, 2)
      local ok, err = pcall(fn)
      let_go()
      if not ok then error(err, 0) end
    end)
  end

  -- Calls fn while another session keeps the table locked.
  local function with_table_locked(fn)
    stores.run(locks.during, other, 'LOCK TABLE docs IN ACCESS EXCLUSIVE MODE', fn)
  end

  local short = { timeout = 0.2 }
  local verbs = {
    find = function() return store:find('docs', '1', short) end,
    findAllByIds = function() return store:findAllByIds('docs', { '1', '2' }, short) end,
    findByJSON = function() return store:findByJSON('docs', { n = 1 }, short) end,
    insert = function() return store:insert('docs', { id = '2' }, short) end,
    updateProperty = function() return store:updateProperty('docs', '1', 'n', 2, short) end,
    delete = function() return store:delete('docs', '1', short) end,
    query = function() return store:query('SELECT value FROM docs', nil, short) end,
    updateObject = function()
      return store:updateObject('docs', '1', function(doc) doc.n = 2 end, short)
    end,
    transaction = function()
      return store:transaction(function(tx) return tx:find('docs', '1') end, short)
    end,
  }

  describe('passes while the call waits for a connection:', function()
    for name, verb in pairs(verbs) do
      it(name .. ' was not done, and waits no more', function()
        with_pool_taken(function()
          assert.equal('none', times_out(0.2, verb).outcome)
        end)
        assert.equal(1, store:find('docs', '1').n)
      end)
    end
  end)

  describe('passes while the statement runs:', function()
    for name, verb in pairs(verbs) do
      it(name .. ' ends, and leaves nothing that runs', function()
        with_table_locked(function()
          local err = times_out(0.2, verb)
          if name:find('^find') or name == 'updateObject' or name == 'transaction' then
            assert.equal('none', err.outcome)
          end
        end)
        support.eventually(function() return running('') == 0 end)
      end)
    end

    it('the statement is canceled on the server', function()
      local err = times_out(0.2, function()
        store:query('SELECT pg_sleep(60)', nil, { timeout = 0.2, readonly = true })
      end)
      assert.equal('none', err.outcome)
      support.eventually(function() return running('pg_sleep') == 0 end)
      -- a second one is sent where a busy server has not heard the first one yet
      assert.is_true(store:stats().pg_cancels >= 1)
    end)

    it('its connection serves again', function()
      local connects = store:stats().pg_connects
      times_out(0.2, function() store:query('SELECT pg_sleep(60)', nil, short) end)
      support.eventually(function() return store:stats().pool_checked_out == 0 end)
      assert.equal(7, store:query('SELECT 7 AS n')[1].n)
      assert.is_true(store:stats().pg_connects <= connects + 1)
    end)

    it('a thousand times: the pool of 2 has 2 connections', function()
      local function sessions()
        return other:query("SELECT count(*) AS n FROM pg_stat_activity"
          .. " WHERE application_name = 'stores'", nil, { readonly = true })[1].n
      end
      local codes, most, list = {}, 0, {}
      for i = 1, 1000 do list[i] = i end
      stores.run(function()
        local over = false
        local watcher = stores.spawn(function()
          while not over do
            most = math.max(most, sessions())
            local stats = store:stats()
            assert.is_true(stats.pool_connecting + stats.pool_idle + stats.pool_reading
              + stats.pool_writing + stats.pool_checked_out <= 2)
          end
        end)
        stores.map(list, function(i)
          local opts = { timeout = 0.02 + i % 97 / 100 }
          local ok, err
          if i % 3 == 0 then
            opts.readonly = true
            ok, err = store.try:query('SELECT pg_sleep(60)', nil, opts)
          else
            ok, err = store.try:transaction(function(tx)
              if i % 3 == 1 then tx:insert('docs', { id = tostring(1000 + i), n = i }) end
              tx:query('SELECT pg_sleep(60)')
            end, opts)
          end
          assert.is_false(ok)
          local what = err.code .. ' ' .. err.outcome
          codes[what] = (codes[what] or 0) + 1
        end)
        over = true
        watcher:join()
      end)
      assert.same({ ['timeout none'] = 1000 }, codes)
      assert.is_true(most <= 4, tostring(most)) -- two may be ending, after the pool let go of them
      support.eventually(function() return store:stats().pool_checked_out == 0 end)
      -- also where the cancel came before the statement that it was for
      support.eventually(function() return running('pg_sleep') == 0 end)
      assert.equal(1, store:count('docs'))
      support.eventually(function() return sessions() <= 2 end)
      assert.is_true(store:stats().pg_cancels > 2)
    end)

    it('a statement that commits itself may have been done', function()
      local err = times_out(0.2, function()
        store:query('SELECT pg_sleep(60)', nil, { timeout = 0.2, transaction = false })
      end)
      assert.equal('unknown', err.outcome)
      assert.is_false(err.retryable)
      support.eventually(function() return running('pg_sleep') == 0 end)
    end)

    it('a find on the same lane still gets its answer', function()
      with_table_locked(function(unlock)
        local patient = stores.spawn(function() return store:find('docs', '1') end)
        stores.sleep(0)
        times_out(0.2, verbs.find)
        unlock()
        assert.equal(1, patient:join().n)
      end)
    end)

    it('of a transaction that sleeps in Lua, it is rolled back', function()
      local ok, err = store.try:updateObject('docs', '1', function(doc)
        stores.sleep(0.4)
        doc.n = 2
      end, short)
      assert.is_false(ok)
      assert.equal('timeout', err.code)
      assert.equal('none', err.outcome)
      assert.equal(1, other:find('docs', '1').n)
      assert.equal(3, other:updateProperty('docs', '1', 'n', 3, { timeout = 2 }).n)
    end)
  end)

  it('counts from the call, also where the program did not come to the loop for a while', function()
    -- A call that a busy machine keeps for as long as its deadline says nothing: it is made again.
    -- One whose time was over before it began ends early.
    local function ends_in_time(fn)
      for _ = 1, 50 do
        os.execute('sleep 0.3')
        local began = postgres.now()
        local ok, result = pcall(fn)
        if ok then return result end
        assert.equal('timeout', result.code)
        assert.is_true(postgres.now() - began > short.timeout - 0.02, 'it ended too early')
      end
      error('the machine is too busy for any call to end')
    end
    store:find('docs', '1')
    assert.equal(1, ends_in_time(function() return store:find('docs', '1', short) end).n)
    assert.equal(1, #ends_in_time(function()
      return store:findByJSON('docs', { n = 1 }, short)
    end))
  end)

  -- Seconds that the thread of this process had work and a core, or waited for a core: a busy
  -- machine is not to blame on the loop. Linux' documentation, "scheduler/sched-stats".
  local function runnable()
    local file = io.open('/proc/self/schedstat')
    if not file then return 0 end
    local ran, waited = file:read('*n', '*n')
    file:close()
    return (ran + waited) / 1e9
  end

  -- Runs fn with a clock beside it that wants to strike every 10 ms; gives the longest time for
  -- which the loop slept instead.
  local function with_clock(fn)
    local longest, over = 0, false
    stores.run(function()
      stores.spawn(function()
        while not over do
          local began, before = postgres.now(), runnable()
          stores.sleep(0.01)
          longest = math.max(longest, postgres.now() - began - (runnable() - before))
        end
      end)
      local ok, err = pcall(fn)
      over = true
      if not ok then error(err, 0) end
    end)
    return longest
  end

  -- The loop goes on while fn runs: of a few tries, for a machine may stand still for a moment.
  local function loop_goes_on(fn)
    local least = math.huge
    for _ = 1, 4 do
      least = math.min(least, with_clock(fn))
      if least < 0.15 then return end
    end
    error('the loop stood still for ' .. least .. ' s', 2)
  end

  describe('passes where the server is frozen:', function()
    for name, verb in pairs(verbs) do
      it(name .. ' ends, and the loop goes on', function()
        verb()
        server:freeze()
        loop_goes_on(function() times_out(0.2, verb) end)
      end)
    end

    it('calls by the hundred have no more connections than the pool', function()
      server:freeze()
      loop_goes_on(function()
        local codes = {}
        local list = {}
        for i = 1, 200 do list[i] = i end
        stores.map(list, function(i)
          local opts = { timeout = 0.1 + i / 400 }
          local ok, err
          if i % 3 == 0 then
            ok, err = store.try:find('docs', tostring(i), opts)
          elseif i % 3 == 1 then
            ok, err = store.try:query('SELECT 1', nil, opts)
          else
            ok, err = store.try:update('docs', { id = tostring(i) }, opts)
          end
          assert.is_false(ok)
          codes[err.code] = (codes[err.code] or 0) + 1
          local stats = store:stats()
          assert.is_true(stats.pool_connecting + stats.pool_idle + stats.pool_reading
            + stats.pool_writing + stats.pool_checked_out <= 2)
        end)
        assert.same({ timeout = 200 }, codes)
      end)
      server:thaw()
      assert.equal(1, support.eventually(function()
        local ok, doc = store.try:find('docs', '1')
        return ok and doc.n
      end, 30))
      support.eventually(function()
        return tonumber(server:psql("SELECT count(*) FROM pg_stat_activity"
          .. " WHERE application_name = 'stores'")) <= 2
      end, 30)
    end)

    it('opening a connection ends by connect_timeout', function()
      server:freeze()
      local fresh = stores.Store.new(server:config({ connect_timeout = 0.3 }))
      local began = postgres.now()
      local ok, err = fresh.try:find('docs', '1')
      assert.is_false(ok)
      assert.equal('connect_failed', err.code)
      assert.truthy(err.message:find('no answer', 1, true), err.message)
      assert.is_true(postgres.now() - began < 4)
      support.close(fresh)
    end)

    it('closing the store needs no answer', function()
      local fresh = stores.Store.new(server:config())
      fresh:find('docs', '1')
      server:freeze()
      assert.is_false((fresh.try:query('SELECT 1', nil, short)))
      local began = postgres.now()
      fresh:close()
      assert.is_true(postgres.now() - began < 10, 'close took ' .. postgres.now() - began .. ' s')
    end)
  end)
end)
