-- Who waits where every connection is taken: in which order, for how long, and what is said then.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local pools = require('spec.support.pools')
local stores = require('stores')
local support = require('spec.support')

local hold = pools.hold

describe('The pool', function()
  local at

  setup(function() at = pools.fresh() end)
  teardown(function() at:drop() end)
  before_each(function() at:fill() end)
  after_each(function() at:close() end)

  local function store_of(...) return at:store_of(...) end

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
        support.psql(at.db, 'CREATE OR REPLACE VIEW slow AS SELECT id, value FROM docs,'
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
      -- a busy machine may take longer than that to open them
      support.eventually(function()
        pcall(stores.map, { 1, 2, 3 }, function() store:query('SELECT pg_sleep(0.1)') end)
        return store:stats().pool_idle == 3
      end, 30, 'three connections to be open')
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

    it('says that a connection is being opened where that is what takes so long', function()
      local store = store_of({ acquire_timeout = 0.3, on_connect = 'SELECT pg_sleep(5)' })
      local err = support.refused('acquire_timeout', nil, store.query, store, 'SELECT 1')
      assert.truthy(err.hint:find('a connection is being opened', 1, true), err.hint)
      assert.truthy(err.hint:find('on_connect takes so long', 1, true), err.hint)
    end)

    it('does not keep transactions from looking up a table', function()
      local store = store_of({ poolsize = 3, acquire_timeout = 20 })
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
end)
