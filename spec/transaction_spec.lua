--- store:transaction: one connection, all or nothing, and nothing left behind.

local stores = require('stores')
local support = require('spec.support')

describe('a transaction', function()
  local store, db

  setup(function() store, db = support.store({ 'accounts' }) end)
  teardown(function() support.close(store, db) end)
  before_each(function() store:query('TRUNCATE accounts') end)

  local function balance(id) return store:find('accounts', id, { must = true }).balance end

  it('commits what its function did, and gives what it returns', function()
    local a, b, c = store:transaction(function(tx)
      tx:insert('accounts', { id = '1', balance = 1 })
      return 1, nil, 'three'
    end)
    assert.same({ 1, nil, 'three' }, { a, b, c })
    assert.equal(1, balance('1'))
  end)

  it('rolls back when its function raises, and raises the same value', function()
    local value = {}
    local ok, err = pcall(store.transaction, store, function(tx)
      tx:insert('accounts', { id = '1', balance = 1 })
      error(value, 0)
    end)
    assert.is_false(ok)
    assert.equal(value, err)
    assert.is_nil(store:find('accounts', '1'))
  end)

  it('sees its own writes, which nobody else sees before its end', function()
    store:insert('accounts', { id = '1', balance = 1 })
    store:find('accounts', '1')
    store:transaction(function(tx)
      tx:update('accounts', { id = '1', balance = 2 })
      assert.equal(2, tx:find('accounts', '1').balance)
      assert.equal(2, tx:findAllByIds('accounts', { '1' })[1].balance)
      assert.equal(2, tx:findOne('accounts', { balance = 2 }).balance)
      assert.equal(1, balance('1'))
    end)
    assert.equal(2, balance('1'))
  end)

  it('leaves the cache as it was after a rollback', function()
    store:insert('accounts', { id = '1', balance = 1 })
    support.eventually(function()
      balance('1')
      local hits = store:stats().hits
      return balance('1') == 1 and store:stats().hits == hits + 1
    end)
    pcall(store.transaction, store, function(tx)
      tx:update('accounts', { id = '1', balance = 2 })
      error('no')
    end)
    local hits = store:stats().hits
    assert.equal(1, balance('1'))
    assert.equal(hits + 1, store:stats().hits)
  end)

  describe('inside of another', function()
    it('is a savepoint: what it wrote is undone alone', function()
      store:transaction(function(tx)
        tx:insert('accounts', { id = '1', balance = 1 })
        local ok, err = pcall(tx.transaction, tx, function(inner)
          inner:update('accounts', { id = '1', balance = 2 })
          inner:insert('accounts', { id = '2', balance = 2 })
          error('inner', 0)
        end)
        assert.is_false(ok)
        assert.equal('inner', err)
        tx:transaction(function(inner) inner:insert('accounts', { id = '3', balance = 3 }) end)
      end)
      for _ = 1, 3 do -- what was rolled back is never published, neither at once nor later
        assert.equal(1, balance('1'))
        assert.is_nil(store:find('accounts', '2'))
        assert.equal(3, balance('3'))
      end
    end)

    it('heals after a statement that failed', function()
      store:transaction(function(tx)
        pcall(tx.transaction, tx, function(inner) inner:query('SELECT no_such_column') end)
        tx:insert('accounts', { id = '1', balance = 1 })
      end)
      assert.equal(1, balance('1'))
    end)
  end)

  it('never says committed when a statement of it has failed', function()
    local ok, err = pcall(store.transaction, store, function(tx)
      tx:insert('accounts', { id = '1', balance = 1 })
      pcall(tx.query, tx, 'SELECT no_such_column')
    end)
    assert.is_false(ok)
    assert.equal('none', err.outcome)
    assert.is_nil(store:find('accounts', '1'))
  end)

  it('is read only where it says so', function()
    local ok, err = pcall(store.transaction, store, function(tx)
      tx:insert('accounts', { id = '1', balance = 1 })
    end, { readonly = true })
    assert.is_false(ok)
    assert.equal('read_only', err.code)
  end)

  it('refuses to be used after its end, and by two coroutines at once', function()
    local kept
    store:transaction(function(tx) kept = tx end)
    local ok, err = pcall(kept.find, kept, 'accounts', '1')
    assert.is_false(ok)
    assert.equal('tx_ended', err.code)
    stores.run(function()
      store:transaction(function(tx)
        local results = stores.map({ 1, 2 }, function()
          return { pcall(tx.query, tx, 'SELECT pg_sleep(0.05)') }
        end)
        assert.is_true(results[1][1])
        assert.is_false(results[2][1])
        assert.equal('tx_busy', results[2][2].code)
      end)
    end)
  end)

  it('is tried again after a serialization failure, to a correct result', function()
    -- write skew: each takes from one account while the sum of both allows it
    store:insert('accounts', { id = '1', balance = 50 })
    store:insert('accounts', { id = '2', balance = 50 })
    local attempts = 0
    stores.run(function()
      stores.map({ '1', '2' }, function(id)
        store:transaction(function(tx)
          attempts = attempts + 1
          local sum = tx:find('accounts', '1').balance + tx:find('accounts', '2').balance
          stores.sleep(0.05)
          if sum >= 100 then tx:patch('accounts', id, { inc = { balance = -100 } }) end
        end, { isolation = 'serializable' })
      end)
    end)
    assert.equal(0, balance('1') + balance('2'))
    assert.is_true(attempts > 2)
  end)

  it('is tried again after a deadlock', function()
    store:insert('accounts', { id = '1', balance = 0 })
    store:insert('accounts', { id = '2', balance = 0 })
    stores.run(function()
      stores.map({ { '1', '2' }, { '2', '1' } }, function(ids)
        store:transaction(function(tx)
          tx:patch('accounts', ids[1], { inc = { balance = 1 } })
          stores.sleep(0.05)
          tx:patch('accounts', ids[2], { inc = { balance = 1 } })
        end)
      end)
    end)
    assert.equal(2, balance('1'))
    assert.equal(2, balance('2'))
  end)

  it('ends within its deadline, and rolls back', function()
    local ok, err = pcall(store.transaction, store, function(tx)
      tx:insert('accounts', { id = '1', balance = 1 })
      tx:query('SELECT pg_sleep(10)')
    end, { timeout = 0.2 })
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    assert.equal('none', err.outcome)
    assert.is_nil(store:find('accounts', '1'))
    support.eventually(function() return store:stats().pool_checked_out == 0 end)
  end)

  it('is rolled back when the coroutine that holds it is collected', function()
    stores.run(function()
      local step = stores.wrap(function()
        store:transaction(function(tx)
          tx:insert('accounts', { id = '1', balance = 1 })
          coroutine.yield('inside')
        end)
      end)
      assert.equal('inside', step())
      step = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      support.eventually(function()
        local stats = store:stats()
        return stats.transactions == 0 and stats.pool_checked_out == 0
      end)
    end)
    assert.is_nil(store:find('accounts', '1'))
  end)

  describe('names a call that would wait for its own coroutine:', function()
    local function refused(fn)
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.equal('self_deadlock', err.code)
    end

    it('a write of the store to a row that it holds', function()
      store:insert('accounts', { id = '1', balance = 1 })
      store:transaction(function(tx)
        tx:patch('accounts', '1', { inc = { balance = 1 } })
        refused(function() store:delete('accounts', '1') end)
        refused(function() store:updateObject('public.accounts', '1', function() end) end)
      end)
      store:updateObject('accounts', '1', function()
        refused(function() store:patch('accounts', '1', { inc = { balance = 1 } }) end)
      end)
    end)

    it('one that needs a connection, where it has all that there are', function()
      local small, other = support.store({ 'accounts' }, nil, { poolsize = 2 })
      local calls = {
        function() small:transaction(function(tx) tx:count('accounts') end) end,
        function() small:query('SELECT 1') end,
        function() small:count('accounts') end,
        function() small:findByJSON('accounts', { a = 1 }) end,
        function() small:find('accounts', '1', { cache = false }) end,
        function() small:findAllByIds('accounts', { '1' }, { cache = false }) end,
        function() small:upsert('accounts', { id = '1' }) end,
        function() small:delete('accounts', '2') end,
        function() small:updateObject('accounts', '3', function() end) end,
        function() small:notify('news') end,
      }
      small:transaction(function(tx)
        tx:count('accounts')
        for _, call in ipairs(calls) do call() end -- one is left for them
        small:transaction(function(inner)
          -- it takes its connection at its first call
          for i = 2, #calls do if i ~= 9 then calls[i]() end end
          inner:count('accounts')
          for _, call in ipairs(calls) do refused(call) end
        end)
        for _, call in ipairs(calls) do call() end
      end)
      for _, call in ipairs(calls) do call() end
      support.close(small, other)
    end)
  end)
end)
