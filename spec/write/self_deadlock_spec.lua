--- Calls that would wait for what their own coroutine holds: they are named, and do not wait.

local support = require('spec.support')

describe('a transaction names a call that would wait for its own coroutine:', function()
  local store, db

  setup(function() store, db = support.store({ 'accounts' }) end)
  teardown(function() support.close(store, db) end)

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

  it('a call in a transaction inside of another one, to a row that the other one holds', function()
    store:upsert('accounts', { id = '11', balance = 1 })
    store:upsert('accounts', { id = '12', balance = 1 })
    local calls = {
      function(tx) tx:patch('accounts', '11', { inc = { balance = 1 } }) end,
      function(tx) tx:delete('accounts', '11') end,
      function(tx) tx:upsert('accounts', { id = '11' }) end,
      function(tx) tx:find('accounts', '11', { lock = true }) end,
      function(tx) tx:updateObject('public.accounts', '11', function() end) end,
      function(tx) tx:transaction(function() tx:update('accounts', { id = '11' }) end) end,
    }
    local bulk = {
      function() store:deleteMany('accounts', { '13', '11' }) end,
      function() store:upsertMany('accounts', { { id = '11' } }) end,
    }
    local function try_all()
      for _, call in ipairs(calls) do
        refused(function() store:transaction(call) end)
      end
      for _, call in ipairs(bulk) do refused(call) end
      store:transaction(function(tx) tx:patch('accounts', '12', { inc = { balance = 1 } }) end)
    end
    store:transaction(function(outer)
      outer:find('accounts', '11', { lock = true })
      try_all()
      outer:patch('accounts', '11', { inc = { balance = 1 } })
    end)
    store:updateObject('accounts', '11', try_all)
    assert.equal(2, store:find('accounts', '11').balance)
    assert.equal(3, store:find('accounts', '12').balance)
  end)

  it('a call in the outer one of two transactions, to a row that the inner one holds', function()
    store:upsert('accounts', { id = '21', balance = 1 })
    store:transaction(function(outer)
      outer:count('accounts')
      store:transaction(function(inner)
        inner:patch('accounts', '21', { inc = { balance = 1 } })
        refused(function() outer:patch('accounts', '21', { inc = { balance = 1 } }) end)
      end)
      outer:patch('accounts', '21', { inc = { balance = 1 } })
      store:updateObject('accounts', '22', function()
        refused(function() outer:upsert('accounts', { id = '22' }) end)
        return { n = 1 }
      end, { create = true })
    end)
    assert.equal(3, store:find('accounts', '21').balance)
  end)

  it('a row that a savepoint held is free again where it was undone', function()
    store:upsert('accounts', { id = '31', balance = 1 })
    store:upsert('accounts', { id = '32', balance = 1 })
    local function add(on, id) on:patch('accounts', id, { inc = { balance = 1 } }) end
    local function undone(tx, fn)
      local why = {}
      local ok, err = pcall(tx.transaction, tx, function(inner)
        fn(inner)
        error(why)
      end)
      assert.is_false(ok)
      assert.equal(why, err)
    end
    store:transaction(function(tx)
      undone(tx, function() add(tx, '31') end)
      add(store, '31')
      undone(tx, function()
        tx:transaction(function() add(tx, '31') end)
        refused(function() add(store, '31') end)
      end)
      add(store, '31')
      add(tx, '32')
      undone(tx, function() add(tx, '32') end)
      refused(function() add(store, '32') end) -- locked before the savepoint, too
      tx:transaction(function() add(tx, '31') end)
      refused(function() add(store, '31') end)
    end)
    assert.equal(4, store:find('accounts', '31').balance)
    assert.equal(2, store:find('accounts', '32').balance)
  end)

  it('a row of which nothing was sent is free', function()
    store:upsert('accounts', { id = '41', balance = 1 })
    store:transaction(function(tx)
      for _, call in ipairs({
        function() tx:update('accounts', { id = '41', wrong = print }) end,
        function() tx:patch('accounts', '41', { set = { wrong = print } }) end,
      }) do
        assert.is_false(pcall(call))
      end
      store:patch('accounts', '41', { inc = { balance = 1 } })
    end)
    assert.equal(2, store:find('accounts', '41').balance)
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
