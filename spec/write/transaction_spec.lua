--- store:transaction: one connection, all or nothing, and nothing left behind.

local socket = require('cqueues.socket')
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

  it('gives nils that its function returns, also the last ones', function()
    local function count(...) return select('#', ...) end
    local function nothing() return nil end
    local function four() return nil, 2, nil, nil end
    assert.equal('nil', tostring(store:transaction(nothing)))
    assert.equal(4, count(store:transaction(four)))
    assert.equal(5, count(store.try:transaction(four)))
    assert.equal(4, store:transaction(function(tx) return count(tx:transaction(four)) end))
    if store.session then assert.equal(4, count(store:session(four))) end
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

  it('has all the verbs, which do in it what those of the store do', function()
    local raised = store.try:transaction(function(tx)
      assert.is_string(tx:generateId())
      tx:insert('accounts', { id = '1', balance = 1, tags = { 'a' }, owner = { name = 'Ada' } })
      assert.equal('2', tx:insert('accounts', { id = '2', balance = 2 }).id)
      assert.is_true(tx:update('accounts', { id = '2', balance = 3 }))
      assert.is_false(tx:update('accounts', { id = '9', balance = 3 }))
      local record, inserted = tx:upsert('accounts', { id = '3', balance = 4 })
      assert.same({ { id = '3', balance = 4 }, true }, { record, inserted })
      assert.equal(5, tx:updateProperty('accounts', '3', 'balance', 5).balance)
      assert.equal(6, tx:patch('accounts', '3', { inc = { balance = 1 } }).balance)
      assert.is_true(tx:delete('accounts', '2'))
      assert.is_false(tx:delete('accounts', '2'))

      assert.equal(6, tx:find('accounts', '3').balance)
      assert.is_false(tx:exists('accounts', '2'))
      local found, missing = tx:findAllByIds('accounts', { '3', '2', '1' })
      assert.same({ '3', '1' }, { found[1].id, found[2].id })
      assert.same({ '2' }, missing)
      assert.equal(2, #tx:findAll('accounts'))
      local ids = {}
      for doc in tx:each('accounts', { batch = 1 }) do ids[#ids + 1] = doc.id end
      assert.same({ '1', '3' }, ids)
      assert.equal('3', tx:findByJSON('accounts', { balance = 6 })[1].id)
      assert.equal('1', tx:findOne('accounts', { balance = 1 }).id)
      assert.equal(2, tx:count('accounts'))
      assert.equal('1', tx:findByJsonArrayContains('accounts', 'tags', 'a')[1].id)
      assert.equal('1', tx:findByJsonSubContains('accounts', 'owner', { name = 'Ada' })[1].id)
      assert.equal('3', tx:findByPath('accounts', '$.balance ? (@ > $x)', { x = 5 })[1].id)
      assert.equal(2, tx:query('SELECT count(*) AS n FROM accounts')[1].n)
      assert.equal(0, store:count('accounts')) -- and nobody else sees any of it
      error('undo it')
    end)
    assert.is_false(raised)
    assert.equal(0, store:count('accounts'))
  end)

  describe('changes a document by updateObject, as a part of itself:', function()
    local function change(doc) doc.balance = doc.balance + 1 end

    before_each(function() store:insert('accounts', { id = '1', balance = 1 }) end)

    it('with the other changes, or not at all', function()
      store:transaction(function(tx)
        assert.same({ id = '1', balance = 2 }, tx:updateObject('accounts', '1', change))
        tx:patch('accounts', '1', { inc = { balance = 5 } })
        assert.equal(8, tx:updateObject('accounts', '1', change).balance)
        assert.equal(1, balance('1'))
      end)
      assert.equal(8, balance('1'))
      store.try:transaction(function(tx)
        tx:updateObject('accounts', '1', change)
        error('undo it')
      end)
      assert.equal(8, balance('1'))
    end)

    it('under a lock that lasts to its end, and that it names', function()
      local other
      stores.run(function()
        store:transaction(function(tx)
          tx:updateObject('accounts', '1', change)
          assert.equal('self_deadlock', select(2, store.try:delete('accounts', '1')).code)
          other = stores.spawn(function()
            return store:updateObject('accounts', '1', change).balance
          end)
          support.eventually(function()
            return support.psql(db, 'SELECT count(*) FROM pg_stat_activity WHERE datname ='
              .. " current_database() AND wait_event_type = 'Lock'"):match('%d+') == '1'
          end)
          tx:patch('accounts', '1', { inc = { balance = 10 } })
        end)
        assert.equal(13, other:join())
      end)
    end)

    it('by the rules of the store', function()
      store:transaction(function(tx)
        assert.is_nil(tx:updateObject('accounts', '2', change))
        assert.is_false(tx:updateObject('accounts', '1', function() return false end))
        assert.same({ id = '3', n = 1 }, tx:updateObject('accounts', '3', function(doc)
          assert.is_nil(doc)
          return { n = 1 }
        end, { create = true }))
        assert.equal('{"n": 2, "id": "3"}', tx:updateObject('accounts', '3',
          function(doc) doc.n = 2 end, { raw = true }))
        support.refused('not_found', nil, tx.updateObject, tx, 'accounts', '2', change,
          { must = true })
        support.refused('id_mismatch', nil, tx.updateObject, tx, 'accounts', '1',
          function(doc) doc.id = '2' end)
        support.refused('invalid_document', nil, tx.updateObject, tx, 'accounts', '1',
          function() return 5 end)
        support.refused('invalid_argument', nil, tx.updateObject, tx, 'accounts', '1', 'fn')
        support.refused('invalid_option', 'combine', tx.updateObject, tx, 'accounts', '1', change,
          { combine = true })
        local ok, err = pcall(tx.updateObject, tx, 'accounts', '1', function() error('mine', 0) end)
        assert.same({ false, 'mine' }, { ok, err })
      end)
      assert.equal(1, balance('1'))
      assert.equal(2, store:find('accounts', '3').n)
    end)
  end)

  it('tells Redis of its rows once, at COMMIT, and publishes nothing of an undone savepoint',
    function()
      store:insert('accounts', { id = '1', balance = 1 })
      store:find('accounts', '2')
      local before, inside
      local function settled() return (store:stats().redis_pending or 0) == 0 end
      support.eventually(function()
        local hits = store:stats().hits
        return balance('1') == 1 and store:stats().hits == hits + 1
      end)
      support.eventually(settled)
      store:transaction(function(tx)
        before = store:stats()
        for i = 1, 5 do tx:upsert('accounts', { id = tostring(i), balance = i }) end
        pcall(tx.transaction, tx, function(inner)
          inner:insert('accounts', { id = '6', balance = 6 })
          error('undo it')
        end)
        inside = store:stats()
      end)
      support.eventually(settled)
      local after = store:stats()
      assert.equal(before.redis_commands, inside.redis_commands)
      assert.equal(0, inside.intents - before.intents)
      -- one INTENT and one SETTLE, of all rows
      assert.equal(2, after.redis_commands - before.redis_commands)
      assert.equal(5, after.settles_published - before.settles_published)
      local intents = after.intents - before.intents
      assert.is_true(intents == 5 or intents == 6, tostring(intents))
      for i = 1, 5 do assert.equal(i, balance(tostring(i))) end
      assert.equal(5, store:stats().hits - after.hits)
      assert.is_nil(store:find('accounts', '6'))
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

  it('may be given another isolation behind what it sets for its own SQL', function()
    store:transaction(function(tx)
      tx:query("SET LOCAL app.reader = 'Ada'")
      tx:query('SET TRANSACTION ISOLATION LEVEL REPEATABLE READ')
      local is = "SELECT current_setting('transaction_isolation') AS level"
      assert.equal('repeatable read', tx:query(is)[1].level)
    end)
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
    local attempts, seen = 0, 0
    stores.run(function()
      stores.map({ '1', '2' }, function(id)
        store:transaction(function(tx)
          attempts = attempts + 1
          local sum = tx:find('accounts', '1').balance + tx:find('accounts', '2').balance
          seen = seen + 1
          support.eventually(function() return seen > 1 end) -- both have, before one writes
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

  it('waits no longer than that for the clock of a server that says nothing', function()
    local folder = os.tmpname()
    os.remove(folder)
    os.execute('mkdir -m 700 ' .. folder)
    local silent = socket.listen({ path = folder .. '/.s.PGSQL.5432' })
    silent:listen()
    local other = stores.Store.new({ host = folder, database = 'app', user = 'me' }, nil,
      { timeout = 60 })
    for _, opts in ipairs({ {}, { timeout = 30 } }) do
      local began = other.hub:now()
      local ok, err = pcall(other.transaction, other, function(tx)
        tx:insert('accounts', { balance = 1 }, opts) -- an id is made by that clock
      end, { timeout = 0.2 })
      assert.is_false(ok)
      assert.equal('timeout', err.code)
      assert.is_true(other.hub:now() - began < 15)
    end
    other:close()
    silent:close()
    os.execute('rm -r ' .. folder)
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
end)
