-- How many connections there are, and what one serves. Who shares one: pool_lanes_spec; who waits
-- for one, and for how long: pool_waits_spec.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local pools = require('spec.support.pools')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local hold, list = pools.hold, pools.list

describe('The pool', function()
  local at

  setup(function() at = pools.fresh() end)
  teardown(function() at:drop() end)
  before_each(function() at:fill() end)
  after_each(function() at:close() end)

  local function store_of(...) return at:store_of(...) end
  local function sessions(where) return at:sessions(where) end

  describe('opens connections', function()
    it('not before the first call', function()
      local store = store_of()
      stores.sleep(0.02)
      assert.equal(0, store:stats().pg_connects)
      store:find('docs', '1')
      assert.equal(1, store:stats().pg_connects)
    end)

    it('no second one for calls that come one after the other', function()
      -- another one is asked where the server of a busy machine is silent for half a second
      support.eventually(function()
        local store = store_of()
        for i = 1, 20 do
          store:find('docs', tostring(i))
          store:query('SELECT 1')
          store:update('docs', { id = tostring(i), n = i })
        end
        return store:stats().pg_connects == 1
      end)
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

    before_each(function() store = store_of({ poolsize = 1, acquire_timeout = 20 }) end)

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
      at.open[#at.open + 1] = store
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
    local CALLS = os.getenv('STORES_TEST_COLLECTS') and 1000 or 10000
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
    support.eventually(function()
      local stats, left = store:stats(), 0
      for _, figure in ipairs({ 'ops', 'transactions', 'pool_checked_out', 'pool_waiters',
        'pool_connecting', 'pool_writing' }) do
        left = left + stats[figure]
      end
      return left == 0
    end)
    assert.is_true(store:stats().pg_connects <= 10)
  end)
end)
