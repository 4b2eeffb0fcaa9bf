--- insertMany, upsertMany and deleteMany: what becomes of each row, what an error leaves, how the
--- work is cut into chunks, and that no cache shows what was before.

local put = require('stores.verbs.bulk.put')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local null = stores.json.null

describe('a verb for many rows', function()
  local store, other, db
  local copy_from = put.COPY_FROM

  setup(function()
    store, db = support.store({ 'items', 'tags' })
    store:query('CREATE UNIQUE INDEX items_code ON items ((value ->> $$code$$))')
    other = stores.Store.new(db, support.redis())
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)
  before_each(function() store:query('DELETE FROM items; DELETE FROM tags') end)
  after_each(function() put.COPY_FROM = copy_from end)

  -- Calls fn with the store and with a transaction of it, by INSERT and by COPY.
  local function in_all(fn)
    for _, from in ipairs({ 1, 1000 }) do
      put.COPY_FROM = from
      store:query('DELETE FROM items')
      fn(store)
      store:query('DELETE FROM items')
      store:transaction(fn)
    end
  end

  local function numbered(first, last, fields)
    local list = {}
    for i = first, last do
      list[#list + 1] = { id = tostring(i), n = i }
      for name, value in pairs(fields or {}) do list[#list][name] = value end
    end
    return list
  end

  it('inserts each record exactly as insert does', function()
    local odd = { id = '1', text = 'tab\t, line\n, back\\slash, "quote", \\n, \\.', list = {},
      array = stores.json.array(), none = null, big = stores.json.number('12345678901234567890.5'),
      unicode = 'ä \226\130\172', deep = { { a = { b = { 1, 2.5, false } } } } }
    in_all(function(target)
      local results, counts = target:insertMany('items', { odd, { name = 'no id' } })
      assert.same({ 'inserted', 'inserted' }, results)
      assert.same({ inserted = 2, replaced = 0, ignored = 0 }, counts)
      store:insert('tags', odd)
      assert.equal(store:find('tags', '1', { raw = true }),
        target:find('items', '1', { raw = true }))
      store:delete('tags', '1')
    end)
  end)

  it('gives ids to those that have none, and takes them back where nothing was stored', function()
    in_all(function(target)
      local list = { { a = 1 }, { a = 2 } }
      target:insertMany('items', list)
      assert.equal(2, target:find('items', list[2].id).a)
    end)
    local list = { { a = 3 }, { id = '5' }, { id = '5' } }
    refused('duplicate', 'id 5', store.insertMany, store, 'items', list)
    assert.is_nil(list[1].id)
    assert.equal(0, #store:findAll('items', { where = { { 'a', '=', 3 } } }))
  end)

  it('takes ids in every form', function()
    in_all(function(target)
      target:insertMany('items', { { id = 7LL }, { id = stores.json.number('8') } })
      local deleted = target:deleteMany('items', { 7LL, stores.json.number('8'), '9' })
      assert.same({ true, true, false }, deleted)
    end)
    refused('invalid_id', nil, store.insertMany, store, 'items', { { id = 5 } })
    refused('invalid_id', nil, store.deleteMany, store, 'items', { '1', 'x' })
  end)

  it('is all or nothing, and says which record is in the way', function()
    in_all(function(target)
      if target == store then
        store:insert('items', { id = '3' })
        local err = refused('duplicate', 'id 3', store.insertMany, store, 'items', numbered(1, 5))
        assert.equal('3', err.row)
        assert.equal(3, err.index)
        assert.equal('none', err.outcome)
        assert.equal(1, store:count('items'))
      end
    end)
    local err = refused('invalid_document', '.bad', store.insertMany, store, 'items',
      { { id = '21' }, { id = '22', bad = print } })
    assert.equal(2, err.index)
    assert.is_false(store:exists('items', '21'))
  end)

  it('leaves rows that are there, where it is told to ignore', function()
    in_all(function(target)
      target:insertMany('items', { { id = '1', v = 'old', code = 'c' } })
      local results, counts, etags = target:insertMany('items', { { id = '1', v = 'new' },
        { id = '2', code = 'c' }, { id = '3', v = 1 }, { id = '3', v = 2 } },
        { conflict = 'ignore', etag = true })
      assert.same({ 'ignored', 'ignored', 'inserted', 'ignored' }, results)
      assert.same({ inserted = 1, replaced = 0, ignored = 3 }, counts)
      assert.equal('old', target:find('items', '1').v)
      assert.is_nil(target:find('items', '2'))
      local found, etag = target:find('items', '3', { etag = true })
      assert.equal(1, found.v)
      assert.same({ false, false, etag, false }, etags)
    end)
  end)

  it('replaces rows that are there', function()
    in_all(function(target)
      target:insertMany('items', { { id = '1', v = 'old', more = true } })
      local list = { { id = '1', v = 'new' }, { id = '2', v = 1 }, { id = '2', v = 2 }, { v = 3 } }
      local results, counts, etags = target:upsertMany('items', list, { etag = true })
      assert.same({ 'replaced', 'inserted', 'replaced', 'inserted' }, results)
      assert.same({ inserted = 2, replaced = 2, ignored = 0 }, counts)
      assert.same({ id = '1', v = 'new' }, target:find('items', '1'))
      local found, etag = target:find('items', '2', { etag = true })
      assert.equal(2, found.v)
      assert.equal(etag, etags[3])
      assert.equal(3, target:find('items', list[4].id).v)
      assert.same({ 'replaced' }, (target:insertMany('items', { { id = '1' } },
        { conflict = 'replace' })))
    end)
  end)

  it('deletes, and says which were there', function()
    in_all(function(target)
      target:insertMany('items', numbered(1, 5))
      local deleted, count = target:deleteMany('items', { '2', '9', '4', '2' }, { batch = 3 })
      assert.same({ true, false, true, false }, deleted)
      assert.equal(2, count)
      assert.equal(3, target:count('items'))
      assert.same({}, (target:deleteMany('items', {})))
    end)
  end)

  it('takes what a function gives, a chunk at a time', function()
    local given, most, held = 0, 0, 0
    local function records()
      if given == 25 then return nil end
      given, held = given + 1, held + 1
      most = math.max(most, held)
      return { id = tostring(given) }
    end
    local told = {}
    local results, counts = store:insertMany('items', records, { batch = 10, progress =
      function(count, after)
        held = 0
        told[#told + 1] = count .. '/' .. after
      end })
    assert.same({}, results)
    assert.equal(25, counts.inserted)
    assert.same({ '10/10', '20/20', '25/25' }, told)
    assert.equal(10, most)
  end)

  it('keeps the chunks before an error where each is a transaction, and goes on behind them',
    function()
      local list = numbered(1, 30)
      store:insert('items', { id = '25' })
      local err = refused('duplicate', 'id 25', store.insertMany, store, 'items', list,
        { batch = 10, transaction = false })
      assert.equal(20, err.count)
      assert.equal(20, err.after)
      assert.equal(25, err.index)
      assert.equal(21, store:count('items'))
      store:delete('items', '25')
      local told
      local results, counts = store:insertMany('items', list, { batch = 10, transaction = false,
        after = err.after, progress = function(count, after) told = count .. '/' .. after end })
      assert.equal('10/30', told)
      assert.equal('inserted', results[30])
      assert.equal(10, counts.inserted)
      local ids = {}
      for i = 1, 30 do ids[i] = tostring(i) end
      local deleted, count = store:deleteMany('items', ids, { batch = 7, transaction = false,
        after = 28 })
      assert.equal(2, count)
      assert.is_false(deleted[28])
      assert.is_true(deleted[29])
    end)

  it('is a part of a transaction', function()
    store:transaction(function(tx)
      tx:insertMany('items', numbered(1, 300))
      pcall(tx.transaction, tx, function(inner)
        inner:deleteMany('items', { '1', '2' })
        error('undone')
      end)
      assert.equal(300, tx:count('items'))
      refused('self_deadlock', nil, store.delete, store, 'items', '7')
      refused('invalid_option', 'inside of a transaction', tx.insertMany, tx, 'items', {},
        { transaction = false })
    end)
    assert.equal(300, store:count('items'))
    pcall(store.transaction, store, function(tx)
      tx:insertMany('items', numbered(301, 600))
      error('no')
    end)
    assert.equal(300, store:count('items'))
    assert.is_nil(other:find('items', '400'))
  end)

  it('refuses what is no list', function()
    refused('invalid_argument', 'gap', store.insertMany, store, 'items', { {}, nil, {} })
    refused('invalid_argument', "key 'id'", store.upsertMany, store, 'items', { id = '1' })
    refused('invalid_argument', 'a function', store.insertMany, store, 'items', 'x')
    refused('invalid_argument', 'gap', store.deleteMany, store, 'items', { '1', nil, '2' })
    refused('invalid_document', nil, store.insertMany, store, 'items', { 'x' })
    refused('invalid_document', nil, store.insertMany, store, 'items', { stores.json.array({ 1 }) })
    refused('invalid_option', 'after', store.insertMany, store, 'items', {}, { after = 'x' })
    refused('invalid_option', 'got -1', store.insertMany, store, 'items', {}, { after = -1 })
    refused('invalid_option', 'conflict', store.insertMany, store, 'items', {},
      { conflict = 'merge' })
    refused('table_not_found', nil, store.insertMany, store, 'nowhere', { {} })
    assert.same({}, (store:insertMany('items', {})))
  end)

  it('is seen at once, by every cache', function()
    local function look()
      for n = 1, 250 do
        store:find('items', tostring(n))
        other:find('items', tostring(n))
      end
    end
    look() -- "no such row" is remembered
    store:insertMany('items', numbered(1, 250))
    assert.equal(250, other:find('items', '250').n)
    look()
    other:upsertMany('items', numbered(1, 250, { v = 2 }))
    assert.equal(2, store:find('items', '77').v)
    look()
    store:deleteMany('items', { '5', '6' })
    assert.is_nil(other:find('items', '5'))
    assert.equal(2, other:find('items', '7').v)
  end)

  it('leaves other rows in the cache, and turns the table where there are very many', function()
    store:insert('items', { id = '1' })
    store:find('items', '1')
    local function hits()
      local before = store:stats().hits
      store:find('items', '1')
      return store:stats().hits - before
    end
    support.eventually(function() return hits() == 1 end) -- the table was turned a moment ago
    store:insertMany('items', numbered(2, 400))
    assert.equal(1, hits())
    assert.is_nil(other:find('items', '9000'))
    store:insertMany('items', numbered(1001, 9000), { batch = 3000 })
    assert.equal(9000, other:find('items', '9000').n)
    assert.equal(0, hits())
  end)
end)
