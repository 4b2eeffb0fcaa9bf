--- updateObject: a Lua function that changes a document while its row is locked. What runs it
--- again, and that no update is lost: update_object_races_spec.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

setup(function() store, db = support.store({ 'docs' }) end)
teardown(function() support.close(store, db) end)

local function idle()
  local stats = store:stats()
  return stats.ops == 0 and stats.transactions == 0 and stats.pool_checked_out == 0
end

after_each(function() support.eventually(idle, 20, 'nothing is left of the calls') end)

describe('the function of updateObject', function()
  it('may change the document in place', function()
    store:insert('docs', { id = '1', n = 1, list = {} })
    local document = store:updateObject('docs', '1', function(doc)
      doc.n = doc.n + 1
      doc.list[1] = 'x'
    end)
    assert.same({ id = '1', n = 2, list = { 'x' } }, document)
    assert.same(document, store:find('docs', '1'))
    assert.same(document, store:find('docs', '1', { cache = false }))
  end)

  it('may return another document, which need not name the id', function()
    store:insert('docs', { id = '2', old = true })
    assert.same({ id = '2', new = true },
      store:updateObject('docs', '2', function() return { new = true } end))
    assert.same({ id = '2', new = true }, store:find('docs', '2', { cache = false }))
  end)

  it('abandons the change with false, which is given back', function()
    store:insert('docs', { id = '3', n = 1 })
    assert.is_false(store:updateObject('docs', '3', function(doc)
      doc.n = 2
      return false
    end))
    assert.equal(1, store:find('docs', '3').n)
    assert.equal(1, store:find('docs', '3', { cache = false }).n)
  end)

  it('rolls back with the error that it raises, the very value', function()
    store:insert('docs', { id = '4', n = 1 })
    local err = setmetatable({ mine = true }, {})
    local ok, got = pcall(store.updateObject, store, 'docs', '4', function(doc)
      doc.n = 2
      error(err)
    end)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(1, store:find('docs', '4').n)
    -- and the row is free again
    assert.equal(3, store:updateObject('docs', '4', function(doc) doc.n = 3 end).n)
    assert.is_false((pcall(store.updateObject, store, 'docs', '4', function() error() end)))
  end)

  it('runs once where nothing is in the way', function()
    store:insert('docs', { id = '5' })
    local runs = 0
    store:updateObject('docs', '5', function() runs = runs + 1 end)
    assert.equal(1, runs)
  end)

  it('gets a document of its own, from PostgreSQL and not from the cache', function()
    store:insert('docs', { id = '6', n = 1 })
    cache.hit(store, 'docs', '6')
    support.psql(db, [[UPDATE docs SET value = '{"id": "6", "n": 10}' WHERE id = 6]])
    assert.equal(11, store:updateObject('docs', '6', function(doc) doc.n = doc.n + 1 end).n)
    assert.equal(11, store:find('docs', '6').n)
  end)

  it('keeps every value as it was that it does not touch', function()
    local json = '{"n": 9007199254740993, "id": "7", "big": 123456789012345678901234567890.5, '
      .. '"null": null, "empty": [], "object": {}, "nested": [[], {}, [null]]}'
    support.psql(db, ("INSERT INTO docs VALUES (7, '%s')"):format(json))
    local before = store:find('docs', '7', { raw = true })
    store:updateObject('docs', '7', function(doc) doc.touched = true end)
    store:updateObject('docs', '7', function(doc) doc.touched = nil end)
    assert.equal(before, store:find('docs', '7', { raw = true, cache = false }))
  end)

  it('gets the id in a document that was stored without it', function()
    support.psql(db, [[INSERT INTO docs VALUES (8, '{"n": 1}')]])
    local document = store:updateObject('docs', '8', function(doc)
      assert.equal('8', doc.id)
      doc.id = nil
      doc.n = 2
    end)
    assert.same({ id = '8', n = 2 }, document)
  end)

  it('must not change the id', function()
    store:insert('docs', { id = '9', n = 1 })
    local function with(id)
      return function(doc)
        doc.id, doc.n = id, 2
      end
    end
    local err = refused('id_mismatch', 'changed the id', store.updateObject, store, 'docs', '9',
      with('10'))
    assert.equal('none', err.outcome)
    refused('id_mismatch', nil, store.updateObject, store, 'docs', '9', with(10LL))
    refused('invalid_id', 'as a string', store.updateObject, store, 'docs', '9', with(9))
    refused('invalid_id', nil, store.updateObject, store, 'docs', '9', with('nine'))
    assert.equal(1, store:find('docs', '9', { cache = false }).n)
    assert.is_nil(store:find('docs', '10'))
    assert.same({ id = '9', n = 2 }, store:updateObject('docs', '9', with(9LL)))
  end)

  it('must give a document', function()
    store:insert('docs', { id = '11', n = 1 })
    for _, wrong in ipairs({ true, 5, 'text', stores.json.null, stores.json.array({}), { 1 } }) do
      refused('invalid_document', nil, store.updateObject, store, 'docs', '11',
        function() return wrong end)
    end
    local err = refused('invalid_document', '.deep.f', store.updateObject, store, 'docs', '11',
      function(doc) doc.deep = { f = print } end)
    assert.equal('none', err.outcome)
    assert.same({ id = '11', n = 1 }, store:find('docs', '11', { cache = false }))
  end)

  it('has to be one', function()
    for _, wrong in ipairs({ 'x', 5, {} }) do
      refused('invalid_argument', 'updateObject takes a function', store.updateObject, store,
        'docs', '1', wrong)
    end
    refused('invalid_argument', 'got nil', store.updateObject, store, 'docs', '1')
  end)
end)

describe('a row that updateObject', function()
  it('does not find gives nil, and the function does not run', function()
    local function fail() error('it ran') end
    assert.is_nil(store:updateObject('docs', '404', fail))
    refused('not_found', 'docs has no row 404', store.updateObject, store, 'docs', '404', fail,
      { must = true })
    refused('table_not_found', nil, store.updateObject, store, 'nowhere', '1', fail)
  end)

  it('does not find is made with create, from nil', function()
    local document = store:updateObject('docs', '20', function(doc)
      assert.is_nil(doc)
      return { n = 1 }
    end, { create = true })
    assert.same({ id = '20', n = 1 }, document)
    assert.same({ id = '20', n = 1 }, store:find('docs', '20'))
    document = store:updateObject('docs', '20', function(doc)
      doc.n = doc.n + 1
    end, { create = true })
    assert.same({ id = '20', n = 2 }, document)
  end)

  it('does not find stays away where the function makes nothing', function()
    assert.is_nil(store:updateObject('docs', '21', function() end, { create = true }))
    assert.is_false(store:updateObject('docs', '21', function() return false end,
      { create = true }))
    refused('not_found', nil, store.updateObject, store, 'docs', '21', function() end,
      { create = true, must = true })
    refused('id_mismatch', nil, store.updateObject, store, 'docs', '21',
      function() return { id = '22' } end, { create = true })
    assert.is_nil(store:find('docs', '21'))
    assert.is_nil(store:find('docs', '22'))
  end)

  it('makes while another one makes it too runs the function again, on what is there', function()
    local seen = {}
    local document = store:updateObject('docs', '23', function(doc)
      seen[#seen + 1] = doc and doc.n or 'none'
      if not doc then
        support.psql(db, [[INSERT INTO docs VALUES (23, '{"id": "23", "n": 7}')]])
        return { n = 1 }
      end
      doc.n = doc.n + 1
    end, { create = true })
    assert.same({ 'none', 7 }, seen)
    assert.same({ id = '23', n = 8 }, document)
  end)

  it('is made by many at once holds what all of them did', function()
    local list = {}
    for i = 1, 20 do list[i] = i end
    for _, combine in ipairs({ true, false }) do
      local id = combine and '24' or '25'
      stores.map(list, function()
        store:updateObject('docs', id, function(doc)
          doc = doc or { n = 0 }
          doc.n = doc.n + 1
          return doc
        end, { create = true, combine = combine, retries = 100 })
      end)
      assert.equal(20, store:find('docs', id).n)
    end
  end)

  it('cannot make for another unique column raises, after one run', function()
    store:query('CREATE TABLE mails (id bigint PRIMARY KEY, value jsonb)')
    store:query("CREATE UNIQUE INDEX mails_email ON mails ((value->>'email'))")
    store:insert('mails', { id = '1', email = 'a@b.c' })
    local runs = 0
    local err = refused('duplicate', nil, store.updateObject, store, 'mails', '2', function()
      runs = runs + 1
      return { email = 'a@b.c' }
    end, { create = true })
    assert.equal('mails_email', err.constraint)
    assert.equal(1, runs)
  end)

  it('reads as no object is not given to the function', function()
    support.psql(db, "INSERT INTO docs VALUES (26, '[1]'), (27, NULL)")
    for _, id in ipairs({ '26', '27' }) do
      refused('not_a_document', nil, store.updateObject, store, 'docs', id, error)
    end
    support.psql(db, 'DELETE FROM docs WHERE id IN (26, 27)')
  end)

  it('gives as its JSON text with raw, while the function has the table', function()
    store:insert('docs', { id = '28', n = 1 })
    assert.equal('{"n": 2, "id": "28"}', store:updateObject('docs', '28', function(doc)
      doc.n = doc.n + 1
    end, { raw = true }))
  end)
end)

describe('a function that waits', function()
  it('may call the store for other rows', function()
    store:insert('docs', { id = '30', n = 1 })
    store:insert('docs', { id = '31', n = 10 })
    local function sum()
      return store:updateObject('docs', '30', function(doc)
        doc.n = doc.n + store:find('docs', '31').n
        store:updateProperty('docs', '31', 'read', true)
        store:insert('docs', { n = 5 })
        stores.sleep(0.01)
      end).n
    end
    assert.equal(11, sum())
    assert.equal(21, stores.run(sum))
    assert.is_true(store:find('docs', '31').read)
  end)

  it('holds the row, so that others wait for it', function()
    store:insert('docs', { id = '32', n = 1 })
    local order = {}
    stores.run(function()
      local first = stores.spawn(function()
        store:updateObject('docs', '32', function(doc)
          order[#order + 1] = 'began'
          stores.sleep(0.1)
          doc.n = doc.n * 10
          order[#order + 1] = 'changed'
        end)
      end)
      support.eventually(function() return order[1] end)
      local second = stores.spawn(function()
        store:updateObject('docs', '32', function(doc)
          doc.n = doc.n + 1
          order[#order + 1] = 'added'
        end)
      end)
      assert.equal(1, store:find('docs', '32').n) -- a read does not wait
      store:updateProperty('docs', '32', 'property', true)
      first:join()
      second:join()
    end)
    assert.same({ 'began', 'changed', 'added' }, order)
    assert.same({ id = '32', n = 11, property = true }, store:find('docs', '32', { cache = false }))
  end)

  it('touching its own row raises at once instead of waiting for itself', function()
    store:insert('docs', { id = '33', n = 1 })
    local function touch(verb, ...)
      local args = { ... }
      return function()
        store:updateObject('docs', '33', function() store[verb](store, 'docs', unpack(args)) end)
      end
    end
    for _, call in ipairs({
      touch('update', { id = '33' }),
      touch('upsert', { id = '33' }),
      touch('delete', '33'),
      touch('updateProperty', '33', 'n', 2),
      touch('patch', '33', { inc = { n = 1 } }),
      touch('updateObject', '33', function() end),
    }) do
      refused('self_deadlock', nil, call)
      refused('self_deadlock', nil, stores.run, call)
    end
    assert.equal(1, store:find('docs', '33').n)
  end)

  it('ends with its deadline, and nothing is stored', function()
    store:insert('docs', { id = '34', n = 1 })
    local err = refused('timeout', nil, store.updateObject, store, 'docs', '34', function(doc)
      doc.n = 2
      stores.sleep(0.2)
    end, { timeout = 0.1 })
    assert.equal('none', err.outcome)
    assert.is_true(err.retryable)
    assert.equal(1, store:find('docs', '34', { cache = false }).n)
    assert.equal(3, store:updateObject('docs', '34', function(doc) doc.n = 3 end).n)
  end)

  it('runs again behind a leader whose time was over meanwhile, and gives its document', function()
    store:insert('docs', { id = '37', n = 1 })
    local function slow(doc)
      doc.n = doc.n + 1
      stores.sleep(0.4)
    end
    stores.run(function()
      local first = stores.spawn(function()
        return store.try:updateObject('docs', '37', function(doc) doc.n = 99 end, { timeout = 0.2 })
      end)
      local second = stores.spawn(store.updateObject, store, 'docs', '37', slow)
      local ok, err = first:join()
      assert.is_false(ok)
      assert.equal('timeout', err.code)
      assert.equal(2, second:join().n)
    end)
    assert.equal(2, store:find('docs', '37', { cache = false }).n)
  end)

  it('that loses its connection raises, and nothing is stored', function()
    store:insert('docs', { id = '35', n = 1 })
    local err = refused('connection_lost', nil, store.updateObject, store, 'docs', '35',
      function(doc)
        doc.n = 2
        support.psql(db, [[SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity
          WHERE state = 'idle in transaction' AND datname = current_database()]])
      end)
    assert.equal('none', err.outcome)
    assert.equal(1, store:find('docs', '35', { cache = false }).n)
  end)

  it('and is dropped leaves the row to the others in its process', function()
    store:insert('docs', { id = '36', n = 1 })
    local function start()
      stores.wrap(function()
        store:updateObject('docs', '36', function(doc)
          doc.n = 99
          coroutine.yield()
        end)
      end)()
    end
    start()
    for _ = 1, 3 do collectgarbage() end
    local function add() return store:updateObject('docs', '36', function(doc)
      doc.n = doc.n + 1
    end, { timeout = 5 }).n end
    assert.equal(2, add())
    assert.equal(3, stores.run(add))
  end)
end)
