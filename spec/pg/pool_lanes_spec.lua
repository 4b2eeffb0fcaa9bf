-- Calls that share a connection: what is in flight on it together, and what does not hold up
-- others.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local locks = require('spec.support.locks')
local pools = require('spec.support.pools')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local list = pools.list

describe('The pool', function()
  local at

  setup(function() at = pools.fresh() end)
  teardown(function() at:drop() end)
  before_each(function() at:fill() end)
  after_each(function() at:close() end)

  local function store_of(...) return at:store_of(...) end
  local function sessions(where) return at:sessions(where) end

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
        local let_go = locks.keep(other, 'LOCK TABLE docs IN ACCESS EXCLUSIVE MODE')
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
        let_go()
        for i = 1, 5 do assert.equal(i, tasks[i]:join()) end
      end)
    end)

    it('a write that meets a lock does not hold up those that it was sent with', function()
      local store, other = store_of({ poolsize = 4 }), store_of({ application_name = 'other' })
      store:update('docs', { id = '1', n = 1 })
      stores.run(function()
        local let_go, holder = locks.keep(other, 'SELECT 1 FROM docs WHERE id = 1 FOR UPDATE')
        local before = store:stats()
        local blocked = stores.spawn(function() store:update('docs', { id = '1', n = 100 }) end)
        local began, others = postgres.now(), {}
        for i = 2, 10 do
          others[i - 1] = function() store:update('docs', { id = tostring(i), n = 100 }) end
        end
        stores.all(others)
        assert.is_true(postgres.now() - began < 5) -- the lock timeout of a segment is 50 ms
        assert.is_false(blocked.done)
        assert.is_true(store:stats().segment_retries > before.segment_retries)
        -- and reads go on
        for i = 2, 10 do assert.equal(100, store:find('docs', tostring(i)).n) end
        let_go()
        holder:join()
        blocked:join()
      end)
      assert.equal(100, store:find('docs', '1').n)
    end)

    it('a slow query never stands before a find', function()
      local store = store_of({ poolsize = 2 })
      store:find('docs', '1')
      stores.run(function()
        local slow = stores.spawn(function() return store.try:query('SELECT pg_sleep(60)') end)
        local sleeps = "query LIKE '%pg_sleep(60)%' AND state = 'active'"
        support.eventually(function() return sessions(sleeps) == 1 end)
        for _ = 1, 20 do assert.equal(3, store:find('docs', '3').n) end
        assert.is_false(slow.done)
        support.psql(at.db, 'SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE '
          .. "application_name = 'pool_spec' AND " .. sleeps)
        assert.is_false((slow:join()))
      end)
    end)
  end)
end)
