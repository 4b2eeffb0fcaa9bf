-- What a caller sees when PostgreSQL goes away and comes back: reads go on, and a write says
-- truthfully whether it was done.
-- Plain pass alone: what the core does with connections that are lost is looked at in the asan pass
-- by pool_loss_spec and test_engine_faults.

local locks = require('spec.support.locks')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('When PostgreSQL', function()
  local server, store, other

  setup(function()
    server = postgres.start()
    server:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  end)

  teardown(function() server:remove() end)

  before_each(function()
    server:ensure()
    -- those of the example before may take their time to end, and are counted
    support.eventually(function()
      return server:psql("SELECT count(*) FROM pg_stat_activity"
        .. " WHERE application_name IN ('stores', 'other')") == '0'
    end, 20, 'the sessions of before to end')
    server:psql('TRUNCATE docs')
    store = stores.Store.new(server:config({ poolsize = 4 }))
    other = stores.Store.new(server:config({ application_name = 'other', poolsize = 2 }))
    store:insert('docs', { id = '1', n = 1 })
  end)

  after_each(function()
    support.eventually(function()
      local stats = store:stats()
      return stats.ops + stats.transactions + stats.pool_checked_out + stats.pool_waiters == 0
    end)
    support.close(store)
    support.close(other)
  end)

  -- As psql sees it, so that no store can be wrong about it.
  local function row(id)
    local text = server:psql('SELECT value FROM docs WHERE id = ' .. id)
    return text ~= '' and text or nil
  end

  -- Opens every connection of the pool.
  local function fill_pool()
    local open = 0
    stores.map({ 1, 2, 3, 4 }, function()
      store:transaction(function(tx)
        tx:query('SELECT 1')
        open = open + 1
        support.eventually(function() return open == 4 end)
      end)
    end)
    support.eventually(function() return store:stats().pool_idle == 4 end)
  end

  -- Ends the backends of `store`, busy ones or all; gives how many there were.
  local function terminate(where)
    return tonumber(server:psql("SELECT count(pg_terminate_backend(pid, 20000))"
      .. " FROM pg_stat_activity WHERE application_name = 'stores'"
      .. (where and ' AND ' .. where or '')))
  end

  local function sessions()
    return tonumber(server:psql("SELECT count(*) FROM pg_stat_activity"
      .. " WHERE application_name = 'stores'"))
  end

  -- Runs fn while another session keeps the table locked.
  local function while_locked(mode, fn)
    stores.run(locks.during, other, 'LOCK TABLE docs IN ' .. mode .. ' MODE', fn)
  end

  local function waits_for_lock(count)
    support.eventually(function()
      return server:psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stores'"
        .. " AND wait_event_type = 'Lock'") == tostring(count or 1)
    end, 20, 'a session that waits for a lock')
  end

  local verbs = {
    find = function() assert.equal(1, store:find('docs', '1').n) end,
    findByJSON = function() assert.equal(1, #store:findByJSON('docs', { n = 1 })) end,
    count = function() assert.equal(1, store:count('docs')) end,
    insert = function() assert.equal('2', store:insert('docs', { id = '2' }).id) end,
    update = function() assert.is_true(store:update('docs', { id = '1', n = 1 })) end,
    delete = function() assert.is_true(store:delete('docs', '1')) end,
    query = function() assert.equal(7, store:query('SELECT 7 AS n')[1].n) end,
    updateObject = function()
      assert.equal(2, store:updateObject('docs', '1', function(doc) doc.n = 2 end).n)
    end,
    transaction = function()
      store:transaction(function(tx) assert.equal(1, tx:find('docs', '1').n) end)
    end,
  }

  describe('was restarted between calls, the next', function()
    local function works(name, how)
      it(name .. ' works (' .. how .. ')', function()
        fill_pool()
        server:restart(how)
        verbs[name]()
      end)
    end

    for name in pairs(verbs) do works(name, 'fast') end
    for _, name in ipairs({ 'find', 'insert', 'query' }) do
      works(name, 'immediate')
      works(name, 'kill')
    end
  end)

  describe('ended every idle connection, the next', function()
    for name, verb in pairs(verbs) do
      it(name .. ' works', function()
        fill_pool()
        assert.equal(4, terminate())
        support.eventually(function() return sessions() == 0 end)
        verb()
      end)
    end
  end)

  for _, how in ipairs({ 'fast', 'immediate', 'kill' }) do
    it('stops (' .. how .. ') under a load of writes, each tells what became of it', function()
      local results, done = {}, 0
      stores.run(function()
        for i = 1, 300 do
          stores.spawn(function()
            local id = tostring(1000 + i)
            results[id] = { store.try:insert('docs', { id = id }, { timeout = 10 }) }
            done = done + 1
          end)
        end
        support.eventually(function() return done > 0 end)
        server:restart(how)
      end)
      local there = {}
      for id in server:psql('SELECT id FROM docs'):gmatch('%d+') do there[id] = true end
      local counts = { ok = 0, none = 0, unknown = 0 }
      for id, result in pairs(results) do
        local ok, err = result[1], result[2]
        counts[ok and 'ok' or err.outcome] = counts[ok and 'ok' or err.outcome] + 1
        if ok then
          assert.truthy(there[id], 'acknowledged, but lost: ' .. id)
        elseif err.outcome == 'none' then
          assert.is_nil(there[id], 'not done, it said, but there: ' .. id)
        end
      end
      assert.equal(300, counts.ok + counts.none + counts.unknown)
      assert.is_true(counts.ok > 0)
    end)
  end

  describe('ends a connection', function()
    it('that reads, the read goes on elsewhere', function()
      while_locked('ACCESS EXCLUSIVE', function(unlock)
        local task = stores.spawn(function() return store:find('docs', '1') end)
        waits_for_lock()
        assert.equal(1, terminate("wait_event_type = 'Lock'"))
        waits_for_lock()
        unlock()
        assert.equal(1, task:join().n)
        assert.equal(1, store:stats().read_retries)
      end)
    end)

    it('that searches, the search goes on elsewhere', function()
      while_locked('ACCESS EXCLUSIVE', function(unlock)
        local task = stores.spawn(function() return store:findByJSON('docs', { n = 1 }) end)
        waits_for_lock()
        assert.equal(1, terminate("wait_event_type = 'Lock'"))
        waits_for_lock()
        unlock()
        assert.equal(1, #task:join())
      end)
    end)

    it('under a read time and again, the read fails instead of asking for ever', function()
      while_locked('ACCESS EXCLUSIVE', function()
        local task = stores.spawn(function() return store.try:find('docs', '1') end)
        local ended = 0
        support.eventually(function()
          ended = ended + terminate("wait_event_type = 'Lock'")
          return task.done
        end)
        local ok, err = task:join()
        assert.is_false(ok)
        assert.equal('connection_lost', err.code)
        assert.equal('none', err.outcome)
        assert.is_true(err.retryable)
        assert.is_true(ended <= 4)
      end)
    end)

    it('that runs a query in a transaction, nothing was done', function()
      while_locked('EXCLUSIVE', function(unlock)
        local task = stores.spawn(function()
          return store.try:query("INSERT INTO docs VALUES (8, '{}');"
            .. "INSERT INTO docs VALUES (9, '{}')")
        end)
        waits_for_lock()
        assert.equal(1, terminate("wait_event_type = 'Lock'"))
        local ok, err = task:join()
        unlock()
        assert.is_false(ok)
        assert.equal('connection_lost', err.code)
        assert.equal('57P01', err.sqlstate)
        assert.equal('none', err.outcome)
        assert.is_nil(row(8))
      end)
    end)

    it('that runs a statement which commits itself, nobody knows what was done', function()
      while_locked('EXCLUSIVE', function(unlock)
        local task = stores.spawn(function()
          return store.try:query("INSERT INTO docs VALUES (8, '{}')", nil, { transaction = false })
        end)
        waits_for_lock()
        assert.equal(1, terminate("wait_event_type = 'Lock'"))
        local ok, err = task:join()
        unlock()
        assert.is_false(ok)
        assert.equal('connection_lost', err.code)
        assert.equal('unknown', err.outcome)
        assert.is_false(err.retryable)
      end)
    end)

    it('that writes, the write is done once or says what it knows', function()
      while_locked('EXCLUSIVE', function(unlock)
        local task = stores.spawn(function()
          return store.try:updateProperty('docs', '1', 'n', 5)
        end)
        waits_for_lock()
        assert.equal(1, terminate("wait_event_type = 'Lock'"))
        unlock()
        local ok, err = task:join()
        local stored = row(1)
        if ok then
          assert.truthy(stored:find('"n": 5', 1, true))
        else
          assert.equal('connection_lost', err.code)
          assert.truthy(err.outcome == 'unknown' or stored:find('"n": 1', 1, true))
        end
      end)
    end)

    it('inside of updateObject, the row is as it was and the caller hears of it', function()
      local calls = 0
      local ok, err = store.try:updateObject('docs', '1', function(doc)
        calls = calls + 1
        terminate()
        support.eventually(function() return sessions() == 0 end)
        doc.n = 2
      end)
      assert.is_false(ok)
      assert.equal('connection_lost', err.code)
      assert.equal('none', err.outcome)
      assert.truthy(row(1):find('"n": 1', 1, true))
      assert.is_true(calls >= 1)
      assert.equal(3, store:updateObject('docs', '1', function(doc) doc.n = 3 end).n)
    end)

    it('inside of a transaction, what comes after says so', function()
      local after
      local ok, err = store.try:transaction(function(tx)
        tx:insert('docs', { id = '5' })
        terminate()
        support.eventually(function() return sessions() == 0 end)
        pcall(tx.find, tx, 'docs', '1')
        after = select(2, pcall(tx.insert, tx, 'docs', { id = '6' }))
      end)
      assert.equal('tx_ended', after.code)
      assert.is_false(ok)
      assert.equal('none', err.outcome)
      assert.is_nil(row(5))
      assert.is_nil(row(6))
    end)

    it('while nothing is asked, nobody notices', function()
      fill_pool()
      terminate()
      support.eventually(function() return store:stats().pool_idle == 0 end)
      assert.equal(4, store:stats().pg_lost)
      assert.equal(1, store:find('docs', '1').n)
    end)
  end)

  describe('is down', function()
    it('it is not asked more often than the back-off allows', function()
      fill_pool()
      server:stop('fast')
      local before = store:stats()
      local began, failures = postgres.now(), 0
      stores.run(function()
        for _ = 1, 20 do
          stores.spawn(function()
            while postgres.now() < began + 1 do
              local ok, err = store.try:find('docs', '1')
              assert.is_false(ok)
              assert.equal('connect_failed', err.code)
              failures = failures + 1
            end
          end)
        end
      end)
      local after = store:stats()
      assert.is_true(failures > 20)
      assert.is_true(after.pg_connect_failures - before.pg_connect_failures <= 8)
      assert.equal(before.pg_connects, after.pg_connects)
      server:start()
      assert.equal(1, support.eventually(function()
        local ok, doc = store.try:find('docs', '1')
        return ok and doc.n
      end))
    end)

    it('a call waits no longer for it than the back-off', function()
      server:stop('fast')
      for _ = 1, 6 do
        local began = postgres.now()
        assert.is_false((store.try:find('docs', '1')))
        assert.is_true(postgres.now() - began < 10)
      end
      server:start()
    end)
  end)
end)
