--- transaction with strict: its function calls the transaction, and never the store beside it.

local stores = require('stores')
local support = require('spec.support')

describe('a strict transaction', function()
  local store, db, other, other_db
  setup(function()
    store, db = support.store({ 'docs' })
    other, other_db = support.store({ 'docs' })
    store:insert('docs', { id = '1', n = 1 })
  end)
  teardown(function()
    support.close(store, db)
    support.close(other, other_db)
  end)

  local function strict(fn, opts)
    opts = opts or {}
    opts.strict = true
    return store:transaction(fn, opts)
  end

  -- What its programs call of a store that asks a server for something.
  local calls = {
    find = { 'docs', '1' }, exists = { 'docs', '1' }, findAllByIds = { 'docs', { '1' } },
    findAll = { 'docs' }, each = { 'docs' }, findByJSON = { 'docs', { n = 1 } },
    findOne = { 'docs', { n = 1 } }, count = { 'docs' }, insert = { 'docs', { n = 1 } },
    update = { 'docs', { id = '1' } }, upsert = { 'docs', { id = '1' } },
    patch = { 'docs', '1', { set = { n = 2 } } }, updateProperty = { 'docs', '1', 'n', 2 },
    delete = { 'docs', '1' }, query = { 'SELECT 1' }, notify = { 'channel' },
    updateObject = { 'docs', '1', function() end }, transaction = { function() end },
    invalidate = { 'docs', '1' }, sweep = {}, listen = { 'channel', function() end },
  }

  it('refuses the verbs of its store, by unsupported, and goes on', function()
    local result = strict(function(tx)
      for name, arguments in pairs(calls) do
        local err = support.refused('unsupported', 'call it on tx', store[name], store,
          unpack(arguments))
        assert.equal('none', err.outcome)
      end
      support.refused('unsupported', nil, tx.transaction, tx, function()
        store:find('docs', '1')
      end)
      tx:patch('docs', '1', { set = { n = 5 } })
      return tx:find('docs', '1').n
    end)
    assert.equal(5, result)
    assert.equal(5, store:find('docs', '1').n)
  end)

  it('is rolled back by such a call that is not caught', function()
    store:upsert('docs', { id = '1', n = 1 })
    support.refused('unsupported', nil, strict, function(tx)
      tx:patch('docs', '1', { set = { n = 6 } })
      store:patch('docs', '2', { set = { n = 6 } })
    end)
    assert.equal(1, store:find('docs', '1').n)
  end)

  it('refuses an iteration that was begun outside of it', function()
    local iterate = store:each('docs', { batch = 1 })
    strict(function() support.refused('unsupported', nil, iterate) end)
    assert.is_table(iterate())
  end)

  it('refuses what a function inside calls, at any depth', function()
    strict(function(tx)
      tx:updateObject('docs', '1', function(document)
        support.refused('unsupported', nil, store.find, store, 'docs', '1')
        document.n = 7
      end)
      other:transaction(function()
        support.refused('unsupported', nil, store.find, store, 'docs', '1')
      end)
    end)
    assert.equal(7, store:find('docs', '1').n)
  end)

  it('leaves other stores, other coroutines, and what asks no server alone', function()
    strict(function(tx)
      assert.is_nil(other:find('docs', '1'))
      other:transaction(function(there) assert.equal(0, there:count('docs')) end)
      assert.is_string(store:generateId())
      assert.is_table(store:stats())
      stores.run(function() assert.equal('1', tx:find('docs', '1').id) end)
    end)
    local begun, done = false, false
    stores.all({
      function()
        strict(function(tx)
          tx:find('docs', '1')
          begun = true
          support.eventually(function() return done end)
        end)
      end,
      function()
        support.eventually(function() return begun end)
        assert.equal('1', store:find('docs', '1').id)
        done = true
      end,
    })
  end)

  it('is over with its function, and the next one is not', function()
    strict(function() end)
    assert.is_table(store:find('docs', '1'))
    store:transaction(function() assert.is_table(store:find('docs', '1')) end)
    support.refused('invalid_option', 'strict', store.transaction, store, function() end,
      { strict = 'yes' })
    support.refused('invalid_option', 'strict', store.find, store, 'docs', '1', { strict = true })
  end)
end)

describe('the attempt of a transaction', function()
  it('is 1, and one more after each conflict', function()
    local store, db = support.store({ 'docs' })
    store:insert('docs', { id = '1', n = 0 })
    local seen = {}
    local function run(tx)
      seen[#seen + 1] = tx.attempt
      local n = tx:find('docs', '1').n
      if tx.attempt < 3 then store:patch('docs', '1', { inc = { n = 1 } }) end
      return tx:patch('docs', '1', { set = { n = n + 100 } }).n
    end
    assert.equal(102, store:transaction(run, { isolation = 'repeatable read' }))
    assert.same({ 1, 2, 3 }, seen)
    seen = {}
    support.refused('serialization', nil, store.transaction, store, run,
      { isolation = 'repeatable read', retries = 1 })
    assert.same({ 1, 2 }, seen)
    seen = {}
    store:transaction(function(tx)
      tx:transaction(function(inner) seen[1] = inner.attempt end)
    end)
    assert.same({ 1 }, seen)
    support.close(store, db)
  end)
end)
