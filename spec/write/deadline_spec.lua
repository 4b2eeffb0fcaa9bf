--- A transaction is over at its deadline, also while its function waits for something else.

local stores = require('stores')
local support = require('spec.support')

describe('a transaction past its deadline', function()
  local store, other, db

  setup(function()
    store, db = support.store({ 'cups' })
    other = stores.Store.new(support.config(db.database), support.redis())
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)
  before_each(function() store:query('TRUNCATE cups') end)

  local IDLE = [[SELECT count(*)::int AS n FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%']]

  local function idle_in_transaction() return other:query(IDLE)[1].n end

  -- Runs the function in a task, with the time that its transaction may take.
  local function late(seconds, fn)
    local err
    stores.run(function()
      err = select(2, pcall(store.transaction, store, fn, { timeout = seconds }))
    end)
    assert.equal('timeout', err.code, tostring(err))
    assert.equal('none', err.outcome)
    support.eventually(function() return store:stats().pool_checked_out == 0 end, 2)
  end

  local function is_rolled_back()
    support.eventually(function() return idle_in_transaction() == 0 end, 2)
  end

  it('gives its locks and its connection back while its function sleeps', function()
    local id = store:insert('cups', { n = 1 }).id
    late(0.3, function(tx)
      tx:update('cups', { id = id, n = 2 })
      assert.equal(1, idle_in_transaction())
      stores.sleep(0.6)
      assert.equal(0, idle_in_transaction())
      assert.equal(0, store:stats().pool_checked_out)
      other:update('cups', { id = id, n = 3 }, { timeout = 1 })
      assert.equal(3, store:find('cups', id).n)
    end)
    assert.equal(3, store:find('cups', id).n)
  end)

  it('raises timeout for each later use, and once more at the end where that is swallowed',
  function()
    late(0.2, function(tx)
      tx:insert('cups', { id = '1', n = 1 })
      stores.sleep(0.4)
      for _, use in ipairs({
        function() tx:find('cups', '1') end,
        function() tx:insert('cups', { id = '2', n = 1 }) end,
        function() tx:query('SELECT 1') end,
        function() tx:transaction(function() end) end,
      }) do
        local ok, err = pcall(use)
        assert.is_false(ok)
        assert.equal('timeout', err.code)
      end
    end)
    assert.equal(0, store:count('cups'))
  end)

  it('is rolled back as a whole where it is over in a savepoint', function()
    late(0.2, function(tx)
      tx:insert('cups', { id = '1', n = 1 })
      pcall(tx.transaction, tx, function()
        tx:insert('cups', { id = '2', n = 1 })
        stores.sleep(0.5)
        is_rolled_back()
      end)
    end)
    assert.equal(0, store:count('cups'))
  end)

  it('has let go of its rows for who is around it', function()
    local id = store:insert('cups', { n = 1 }).id
    late(0.2, function(tx)
      tx:update('cups', { id = id, n = 2 })
      local ok, err = pcall(store.update, store, 'cups', { id = id, n = 5 })
      assert.is_false(ok)
      assert.equal('self_deadlock', err.code)
      stores.sleep(0.4)
      store:update('cups', { id = id, n = 3 }, { timeout = 2 })
    end)
    assert.equal(3, store:find('cups', id).n)
  end)

  it('leaves a statement that is under way to that one\'s own deadline', function()
    late(0.3, function(tx)
      tx:insert('cups', { id = '1', n = 1 })
      local ok, err = pcall(tx.query, tx, 'SELECT pg_sleep(20)')
      assert.is_false(ok)
      assert.equal('timeout', err.code)
      is_rolled_back()
    end)
    assert.equal(0, store:count('cups'))
  end)

  it('gives back the row of a function of updateObject that waits', function()
    local id = store:insert('cups', { n = 1 }).id
    local err
    stores.run(function()
      err = select(2, pcall(store.updateObject, store, 'cups', id, function(cup)
        cup.n = 2
        stores.sleep(0.6)
        assert.equal(0, idle_in_transaction())
        other:update('cups', { id = id, n = 3 }, { timeout = 1 })
      end, { timeout = 0.3 }))
    end)
    assert.equal('timeout', err.code, tostring(err))
    assert.equal('none', err.outcome)
    assert.equal(3, store:find('cups', id).n)
  end)

  for who = 1, 3 do
    it('ends no other call of updateObject that shares the row, of which it is number ' .. who,
    function()
      local id = store:insert('cups', { n = 0 }).id
      local ends = {}
      stores.run(function()
        stores.map({ 1, 2, 3 }, function(i)
          local ok, err = pcall(store.updateObject, store, 'cups', id, function(cup)
            cup.n = cup.n + 1
            if i == who then stores.sleep(0.6) end
          end, { timeout = i == who and 0.3 or 10 })
          ends[i] = ok and 'done' or err.code .. ' ' .. err.outcome
        end)
      end)
      -- the first one's transaction it was; a later one's change was with those before by then
      local expected = { 'done', 'done', 'done' }
      expected[who] = who == 1 and 'timeout none' or 'timeout unknown'
      assert.same(expected, ends)
      local n = store:find('cups', id, { cache = false }).n
      assert.is_true(n == 2 or n == 3 and who > 1)
      assert.equal(n, other:find('cups', id).n)
      support.eventually(function() return store:stats().pool_checked_out == 0 end, 2)
    end)
  end

  it('is over where a statement had failed in it before', function()
    late(0.2, function(tx)
      tx:insert('cups', { id = '1', n = 1 })
      pcall(tx.query, tx, 'SELECT 1/0')
      assert.equal(1, idle_in_transaction())
      stores.sleep(0.4)
      assert.equal(0, idle_in_transaction())
    end)
  end)

  it('goes on where none was said, as long as the store lets a call', function()
    store:transaction(function(tx)
      tx:insert('cups', { id = '1', n = 1 })
      stores.sleep(0.3)
      assert.equal(1, idle_in_transaction())
    end)
    store:transaction(function(tx)
      tx:insert('cups', { id = '2', n = 1 })
      stores.sleep(0.3)
    end, { timeout = math.huge })
    assert.equal(2, store:count('cups'))
  end)

  it('is not met where it ends in time', function()
    for i = 1, 20 do
      store:transaction(function(tx) tx:insert('cups', { id = tostring(i), n = 1 }) end,
        { timeout = 1 })
    end
    stores.run(function() stores.sleep(1.1) end)
    assert.equal(20, store:count('cups'))
  end)

  it('is ended by the server where nobody turns the loop, soon after', function()
    local function limit(timeout)
      return store:transaction(function(tx)
        return tx:query("SELECT current_setting('idle_in_transaction_session_timeout') AS it")[1].it
      end, { timeout = timeout })
    end
    assert.equal('6s', limit(1))
    assert.equal('9s', limit(4))
    assert.equal('35s', limit())
    assert.equal('605s', limit(600))
  end)
end)
