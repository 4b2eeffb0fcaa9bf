--- tx:find with lock = true: the row waits for the end of the transaction.

local stores = require('stores')
local support = require('spec.support')

describe('a find with lock', function()
  local store, db
  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)
  before_each(function() store:upsert('docs', { id = '1', n = 1 }) end)

  local function is_locked(id)
    local ok, err = pcall(store.query, store,
      'SELECT FROM docs WHERE id = $1 FOR UPDATE NOWAIT', { id })
    if ok then return false end
    assert(stores.errors.is(err, 'lock_timeout'), tostring(err))
    return true
  end

  it('gives the document, and keeps others from the row until the end', function()
    store:transaction(function(tx)
      assert.is_false(is_locked('1'))
      assert.equal(1, tx:find('docs', '1').n)
      assert.is_false(is_locked('1'))
      local document = tx:find('docs', '1', { lock = true })
      assert.same({ id = '1', n = 1 }, document)
      assert.is_true(is_locked('1'))
    end)
    assert.is_false(is_locked('1'))
  end)

  it('reads what the last holder has written', function()
    local raised = 0
    stores.map({ 1, 2, 3, 4, 5, 6 }, function()
      store:transaction(function(tx)
        local document = tx:find('docs', '1', { lock = true })
        document.n = document.n + 1
        tx:update('docs', document)
        raised = raised + 1
      end)
    end)
    assert.equal(1 + raised, store:find('docs', '1').n)
  end)

  it('takes the other options of a find', function()
    store:transaction(function(tx)
      local text, etag = tx:find('docs', '1', { lock = true, raw = true, etag = true })
      assert.equal(1, stores.json.decode(text).n)
      assert.equal(etag, (select(2, tx:find('docs', '1', { etag = true }))))
      assert.equal(stores.unchanged,
        (tx:find('docs', '1', { lock = true, if_none_match = etag })))
      assert.is_nil((tx:find('docs', '404', { lock = true })))
      support.refused('not_found', nil, tx.find, tx, 'docs', '404', { lock = true, must = true })
    end)
  end)

  it('lets go with a savepoint that is undone', function()
    store:transaction(function(tx)
      pcall(tx.transaction, tx, function(inner)
        inner:find('docs', '1', { lock = true })
        assert.is_true(is_locked('1'))
        error('undo')
      end)
      assert.is_false(is_locked('1'))
    end)
  end)

  it('raises where its own coroutine would wait for it', function()
    store:transaction(function(tx)
      tx:find('docs', '1', { lock = true })
      support.refused('self_deadlock', nil, store.update, store, 'docs', { id = '1' })
      support.refused('self_deadlock', nil, store.updateObject, store, 'docs', '1',
        function() end)
    end)
  end)

  it('ends at the deadline of its call where another one holds the row', function()
    local holds, over = false, false
    stores.all({
      function()
        store:transaction(function(tx)
          tx:find('docs', '1', { lock = true })
          holds = true
          support.eventually(function() return over end, 20)
        end)
      end,
      function()
        support.eventually(function() return holds end, 20)
        local err = support.refused('timeout', nil, store.transaction, store, function(tx)
          tx:find('docs', '1', { lock = true, timeout = 0.05 })
        end)
        assert.equal('none', err.outcome)
        over = true
      end,
    })
  end)

  it('is refused in a transaction that only reads', function()
    support.refused('read_only', nil, store.transaction, store, function(tx)
      tx:find('docs', '1', { lock = true })
    end, { readonly = true })
    support.refused('invalid_option', 'lock', store.find, store, 'docs', '1', { lock = true })
  end)

  it('turns nothing: the row stays cached', function()
    support.eventually(function()
      local hits = store:stats().hits
      store:find('docs', '1')
      return store:stats().hits > hits
    end)
    store:transaction(function(tx) tx:find('docs', '1', { lock = true }) end)
    local before = store:stats()
    store:find('docs', '1')
    local after = store:stats()
    assert.equal(before.hits + 1, after.hits)
    assert.equal(before.turns_started, after.turns_started)
  end)
end)
