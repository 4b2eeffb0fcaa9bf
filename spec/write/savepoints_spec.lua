--- Savepoints: what becomes of the transaction around one that fails, and what the cache hears.

local stores = require('stores')
local support = require('spec.support')

describe('a savepoint', function()
  local store, other, db

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    store:query([[CREATE TABLE cups (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE mugs (id bigint PRIMARY KEY, value jsonb)]])
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  local last = 0
  local function cup(n)
    last = last + 1
    return store:insert('cups', { id = tostring(last), n = n }).id
  end

  -- What both processes and PostgreSQL say.
  local function holds(id, n)
    for _ = 1, 3 do
      for _, one in ipairs({ store, other }) do
        assert.equal(n, one:find('cups', id).n)
        assert.equal(n, one:find('cups', id, { cache = false }).n)
      end
    end
  end

  it('whose function swallowed a failure is undone and raises, and the rest goes on', function()
    local a, b, c = cup(0), cup(0), cup(0)
    store:transaction(function(tx)
      tx:update('cups', { id = a, n = 1 })
      local ok, err = pcall(tx.transaction, tx, function()
        tx:update('cups', { id = b, n = 1 })
        pcall(tx.query, tx, 'SELECT 1/0')
        return 'fine'
      end)
      assert.is_false(ok)
      assert.equal('25P02', err.sqlstate)
      tx:update('cups', { id = c, n = 1 })
    end)
    holds(a, 1)
    holds(b, 0)
    holds(c, 1)
  end)

  it('whose failure was swallowed inside of another one undoes itself alone', function()
    local a, b = cup(0), cup(0)
    store:transaction(function(tx)
      tx:transaction(function()
        tx:update('cups', { id = a, n = 1 })
        assert.is_false((pcall(tx.transaction, tx, function()
          tx:update('cups', { id = b, n = 1 })
          pcall(tx.insert, tx, 'cups', { id = a })
          pcall(tx.query, tx, 'SELECT 1/0')
        end)))
      end)
    end)
    holds(a, 1)
    holds(b, 0)
  end)

  it('that cannot be rolled back, for another coroutine uses the transaction, dooms it', function()
    local a, b = cup(5), cup(5)
    local ok, err = pcall(stores.run, function()
      store:transaction(function(tx)
        tx:update('cups', { id = a, n = 6 })
        local busy
        local done, raised = pcall(tx.transaction, tx, function()
          tx:update('cups', { id = b, n = 9 })
          busy = stores.spawn(function() tx:query('SELECT pg_sleep(1)') end)
          stores.sleep(0.01)
          error('undo it', 0)
        end)
        assert.is_false(done)
        assert.equal('undo it', raised)
        busy:join()
        -- nothing but its end is possible
        local again, why = pcall(tx.find, tx, 'cups', a)
        assert.is_false(again)
        assert.equal('tx_ended', why.code)
      end)
    end)
    assert.is_false(ok)
    assert.equal('tx_ended', err.code)
    assert.equal('none', err.outcome)
    assert.matches('savepoint could not be rolled back', err.message)
    holds(a, 5)
    holds(b, 5)
  end)

  it('in which a call did not end in time surfaces as timeout, also where that is swallowed',
  function()
    local a, b = cup(0), cup(0)
    local seen, later
    local ok, err = pcall(store.transaction, store, function(tx)
      tx:update('cups', { id = a, n = 1 })
      seen = select(2, pcall(tx.transaction, tx, function()
        tx:update('cups', { id = b, n = 1 })
        tx:query('SELECT pg_sleep(5)', nil, { timeout = 0.1 })
      end))
      later = select(2, pcall(tx.update, tx, 'cups', { id = a, n = 2 }))
    end)
    assert.is_false(ok)
    for _, each in ipairs({ seen, later, err }) do assert.equal('timeout', each.code) end
    holds(a, 0)
    holds(b, 0)
  end)

  it('of raw SQL that is rolled back leaves nothing of itself in the cache', function()
    local a, b = cup(0), cup(0)
    store:transaction(function(tx)
      tx:query('SAVEPOINT mine')
      tx:update('cups', { id = a, n = 1 })
      tx:patch('cups', b, { inc = { n = 7 } })
      tx:query('ROLLBACK TO SAVEPOINT mine')
    end)
    holds(a, 0)
    holds(b, 0)
  end)

  it('of raw SQL may have any name, also one that Stores might use itself', function()
    local a, b = cup(0), cup(0)
    store:transaction(function(tx)
      assert.is_false((pcall(tx.transaction, tx, function()
        tx:query('SAVEPOINT stores_1')
        tx:query('SAVEPOINT stores_reads')
        tx:update('cups', { id = a, n = 1 })
        error('not this one')
      end)))
      tx:transaction(function()
        tx:update('cups', { id = b, n = 1 })
        tx:query('SAVEPOINT stores_1')
        tx:query('SAVEPOINT stores_2')
      end)
    end)
    holds(a, 0)
    holds(b, 1)
  end)

  it('of raw SQL that is said to read only leaves nothing either', function()
    local a = cup(0)
    store:transaction(function(tx)
      local only = { readonly = true }
      if not pcall(tx.query, tx, 'SAVEPOINT mine', nil, only) then return end
      tx:update('cups', { id = a, n = 1 })
      tx:query('ROLLBACK TO SAVEPOINT mine', nil, only)
    end)
    holds(a, 0)
  end)
end)
