--- The verbs that read single rows, lists of ids and whole tables, with every option of theirs.
--- What is refused: arguments_spec. Criteria: criteria_spec.

local cache = require('spec.support.cache')
local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

-- Runs fn and gives by how much a figure of the store grew meanwhile.
local function growth(figure, fn)
  return cache.grown(store, fn, { figure })[figure]
end

-- A row that Stores did not write.
local function put(name, id, json)
  support.psql(db, ("INSERT INTO %s VALUES (%s, '%s')"):format(name, id, json))
end

local function ids_of(documents)
  local list = {}
  for i, document in ipairs(documents) do list[i] = document.id end
  return list
end

setup(function() store, db = support.store({ 'users', 'pages', 'cached', 'parts' }) end)
teardown(function() support.close(store, db) end)

describe('find', function()
  it('gives the document of an id, and nil where there is no such row', function()
    store:insert('users', { id = '1', name = 'Ann', tags = { 'a', 'b' } })
    assert.same({ id = '1', name = 'Ann', tags = { 'a', 'b' } }, store:find('users', '1'))
    assert.is_nil(store:find('users', '2'))
    assert.equal(1, select('#', store:find('users', '2')))
  end)

  it('gives a document of its own to each caller', function()
    store:insert('users', { id = '10', list = { 1 } })
    local first = store:find('users', '10')
    first.list[1] = 'changed'
    assert.same({ id = '10', list = { 1 } }, store:find('users', '10'))
  end)

  it('raises not_found with must', function()
    local err = refused('not_found', 'users has no row 404', store.find, store, 'users', '404',
      { must = true })
    assert.equal(404, err.http)
    assert.equal('users', err.table)
    store:insert('users', { id = '11' })
    assert.equal('11', store:find('users', '11', { must = true }).id)
    assert.is_nil(store:find('users', '404', { must = false }))
  end)

  it('gives the JSON text with raw', function()
    put('users', 12, '{"n": 9007199254740993, "id": "12", "none": null}')
    assert.equal('{"n": 9007199254740993, "id": "12", "none": null}',
      store:find('users', '12', { raw = true }))
    assert.equal('{"n": 9007199254740993, "id": "12", "none": null}',
      store:find('users', '12', { raw = true, cache = false }))
  end)

  it('adds the id to a document that was stored without it', function()
    put('users', 13, '{"name": "Bo"}')
    assert.same({ id = '13', name = 'Bo' }, store:find('users', '13'))
    assert.same({ id = '13', name = 'Bo' }, store:find('users', '13', { cache = false }))
    assert.same({ { id = '13', name = 'Bo' } }, (store:findAllByIds('users', { '13' })))
    assert.same({ { id = '13', name = 'Bo' } }, store:findByJSON('users', { name = 'Bo' }))
  end)

  it('refuses to give a row whose value is not an object', function()
    for i, json in ipairs({ '[1]', '"text"', '5', 'null' }) do
      local id = tostring(20 + i)
      put('users', id, json)
      refused('not_a_document', nil, store.find, store, 'users', id)
      refused('not_a_document', nil, store.find, store, 'users', id, { cache = false })
    end
    support.psql(db, 'INSERT INTO users VALUES (25, NULL)')
    refused('not_a_document', nil, store.find, store, 'users', '25')
    support.psql(db, 'DELETE FROM users WHERE id BETWEEN 20 AND 29')
  end)

  it('takes the smallest and the largest id, and 64-bit cdata', function()
    for _, id in ipairs({ '-9223372036854775808', '9223372036854775807', '0', '-1' }) do
      store:upsert('users', { id = id, mark = id })
      assert.same({ id = id, mark = id }, store:find('users', id))
    end
    assert.equal('9223372036854775807', store:find('users', 9223372036854775807LL).id)
    assert.equal('9223372036854775807', store:find('users', 9223372036854775807ULL).id)
    assert.equal('-9223372036854775808', store:find('users', ffi.cast('int64_t', 2 ^ 63)).id)
    assert.equal('-1', store:find('users', -1LL).id)
    refused('invalid_id', nil, store.find, store, 'users', 9223372036854775808ULL)
    refused('invalid_id', nil, store.find, store, 'users', ffi.new('int32_t', 5))
    refused('invalid_id', nil, store.find, store, 'users', ffi.new('int[2]'))
    local record = store:upsert('users', { id = 5000000000LL })
    assert.equal('5000000000', record.id)
    assert.equal('5000000000', store:find('users', '5000000000').id)
    for _, id in ipairs({ '-9223372036854775808', '9223372036854775807', '0', '-1' }) do
      store:delete('users', id)
    end
  end)

  it('answers the second time from the cache, and with cache = false never', function()
    store:insert('cached', { id = '1' })
    -- the first use of a table waits for nobody, and reads from PostgreSQL until its turn is over
    support.eventually(function()
      store:find('cached', '1')
      return growth('hits', function() store:find('cached', '1') end) == 1
    end)
    assert.equal(0, growth('hits', function() store:find('cached', '1', { cache = false }) end))
    assert.equal(1, growth('selects', function() store:find('cached', '1', { cache = false }) end))
    assert.equal(0, growth('selects', function() store:find('cached', '1', { cache = true }) end))
    assert.equal(1, growth('hits', function() store:exists('cached', '1') end))
    assert.equal(1, growth('hits', function() store:findAllByIds('cached', { '1' }) end))
    assert.equal(0, growth('hits',
      function() store:findAllByIds('cached', { '1' }, { cache = false }) end))
  end)

  it('sees a write with cache = false at once', function()
    store:insert('cached', { id = '2', n = 1 })
    support.eventually(function()
      store:find('cached', '2')
      return growth('hits', function() store:find('cached', '2') end) == 1
    end)
    store:update('cached', { id = '2', n = 2 }, { cache = false })
    assert.equal(2, store:find('cached', '2').n)
    store:updateProperty('cached', '2', 'n', 3, { cache = false })
    assert.equal(3, store:find('cached', '2').n)
    store:upsert('cached', { id = '2', n = 4 }, { cache = false })
    assert.equal(4, store:find('cached', '2').n)
    store:updateObject('cached', '2', function(doc) doc.n = 5 end, { cache = false })
    assert.equal(5, store:find('cached', '2').n)
    store:delete('cached', '2', { cache = false })
    assert.is_nil(store:find('cached', '2'))
    store:insert('cached', { id = '2', n = 6 }, { cache = false })
    assert.equal(6, store:find('cached', '2').n)
  end)
end)

describe('exists', function()
  it('says whether there is such a row', function()
    store:insert('users', { id = '50' })
    assert.is_true(store:exists('users', '50'))
    assert.is_false(store:exists('users', '51'))
    assert.is_true(store:exists('users', '50', { cache = false }))
    assert.is_true(store:exists('users', 50LL, { timeout = 5 }))
  end)

  it('does not mind what the row holds', function()
    put('users', 52, '[1]')
    assert.is_true(store:exists('users', '52'))
    support.psql(db, 'DELETE FROM users WHERE id = 52')
  end)
end)

describe('findAllByIds', function()
  setup(function()
    for i = 1, 5 do store:insert('pages', { id = tostring(i), n = i }) end
  end)
  teardown(function() store:query('DELETE FROM pages') end)

  it('gives the documents in the order of the ids, and the ids that are missing', function()
    local found, missing = store:findAllByIds('pages', { '3', '99', '1', '98', '5' })
    assert.same({ '3', '1', '5' }, ids_of(found))
    assert.same({ '99', '98' }, missing)
  end)

  it('gives a document twice whose id is asked twice, each a table of its own', function()
    local found, missing = store:findAllByIds('pages', { '2', '99', '2', '99' })
    assert.same({ '2', '2' }, ids_of(found))
    assert.are_not.equal(found[1], found[2])
    assert.same({ '99' }, missing)
  end)

  it('gives two empty arrays for no ids', function()
    local found, missing = store:findAllByIds('pages', {})
    assert.same({}, found)
    assert.same({}, missing)
  end)

  it('gives a table by id with as = map', function()
    local found, missing = store:findAllByIds('pages', { '4', '77', '2', '4' }, { as = 'map' })
    assert.same({ ['4'] = { id = '4', n = 4 }, ['2'] = { id = '2', n = 2 } }, found)
    assert.same({ '77' }, missing)
    assert.same({ '4' }, ids_of((store:findAllByIds('pages', { '4' }, { as = 'array' }))))
  end)

  it('gives JSON texts with raw', function()
    local found = store:findAllByIds('pages', { '1' }, { raw = true })
    assert.same({ '{"n": 1, "id": "1"}' }, found)
  end)

  it('takes many ids at once', function()
    local wanted = {}
    for i = 1, 5000 do wanted[i] = tostring(i) end
    local found, missing = store:findAllByIds('pages', wanted)
    assert.same({ '1', '2', '3', '4', '5' }, ids_of(found))
    assert.equal(4995, #missing)
    assert.equal('6', missing[1])
    assert.equal('5000', missing[4995])
  end)

  it('refuses what is no array of ids', function()
    refused('invalid_argument', 'the ids must be an array', store.findAllByIds, store, 'pages', '1')
    refused('invalid_argument', 'the ids must be an array', store.findAllByIds, store, 'pages')
    refused('invalid_id', 'pass the id as a string', store.findAllByIds, store, 'pages', { '1', 2 })
    refused('invalid_argument', 'array', store.findAllByIds, store, 'pages', { a = '1' })
    refused('invalid_argument', 'gap', store.findAllByIds, store, 'pages', { [1] = '1', [3] = '3' })
    refused('invalid_option', 'map', store.findAllByIds, store, 'pages', {}, { as = 'table' })
  end)
end)

describe('findAll and each', function()
  local COUNT = 25
  setup(function()
    -- in another order than that of the ids, some of them negative
    for i = COUNT - 5, -4, -1 do store:insert('pages', { id = tostring(i), n = (i * 7) % 25 }) end
  end)
  teardown(function() store:query('DELETE FROM pages') end)

  it('gives everything, ordered by id as a number', function()
    local list = ids_of(store:findAll('pages'))
    assert.equal(COUNT, #list)
    for i = 1, COUNT do assert.equal(tostring(i - 5), list[i]) end
  end)

  it('gives an empty array of an empty table', function()
    assert.same({}, store:findAll('parts'))
  end)

  it('pages by limit and after', function()
    assert.same({ '-4', '-3' }, ids_of(store:findAll('pages', { limit = 2 })))
    assert.same({ '-2', '-1', '0' }, ids_of(store:findAll('pages', { limit = 3, after = '-3' })))
    assert.same({ '19', '20' }, ids_of(store:findAll('pages', { after = '18' })))
    assert.same({}, store:findAll('pages', { after = '20' }))
    assert.same({}, store:findAll('pages', { limit = 0 }))
    assert.same({ '1' }, ids_of(store:findAll('pages', { limit = 1, after = 0LL })))
  end)

  it('orders by id downwards, or by a path', function()
    assert.same({ '20', '19' }, ids_of(store:findAll('pages', { order = 'desc', limit = 2 })))
    assert.same({ '-3', '-4' }, ids_of(store:findAll('pages', { order = '-id', after = '-2' })))
    local by_n = store:findAll('pages', { order = { 'n' } })
    for i = 2, #by_n do assert.is_true(by_n[i - 1].n <= by_n[i].n) end
    by_n = store:findAll('pages', { order = { { 'n' }, 'desc' } })
    for i = 2, #by_n do assert.is_true(by_n[i - 1].n >= by_n[i].n) end
    refused('invalid_argument', 'after', store.findAll, store, 'pages',
      { order = { 'n' }, after = '1' })
  end)

  it('gives JSON texts with raw', function()
    local texts = store:findAll('pages', { raw = true, limit = 1 })
    assert.equal(1, #texts)
    assert.truthy(texts[1]:find('^{"n": 22, "id": "%-4"'), texts[1])
  end)

  it('iterates over every document, however large the batches are', function()
    for _, batch in ipairs({ 1, 7, COUNT, COUNT + 1, 500 }) do
      local seen = {}
      for document in store:each('pages', { batch = batch }) do seen[#seen + 1] = document.id end
      assert.equal(COUNT, #seen)
      for i = 1, COUNT do assert.equal(tostring(i - 5), seen[i]) end
    end
  end)

  it('iterates from behind an id, and as JSON texts', function()
    local seen = {}
    for text in store:each('pages', { after = '18', raw = true, batch = 1 }) do
      seen[#seen + 1] = text
    end
    assert.equal(2, #seen)
    assert.truthy(seen[1]:find('"id": "19"', 1, true))
    assert.truthy(seen[2]:find('"id": "20"', 1, true))
  end)

  it('iterates over nothing, and stays at the end', function()
    local next_one = store:each('parts')
    assert.is_nil(next_one())
    assert.is_nil(next_one())
  end)

  it('iterates while the rows are changed', function()
    local seen = 0
    for document in store:each('pages', { batch = 3 }) do
      seen = seen + 1
      store:updateProperty('pages', document.id, 'seen', true)
    end
    assert.equal(COUNT, seen)
    assert.equal(COUNT, store:count('pages', { seen = true }))
  end)

  it('does not skip rows that have no id of their own in the document', function()
    support.psql(db, [[INSERT INTO parts SELECT n, '{"x": 1}' FROM generate_series(1, 9) n]])
    local seen = {}
    for text in store:each('parts', { batch = 2, raw = true }) do seen[#seen + 1] = text end
    assert.equal(9, #seen)
    store:query('DELETE FROM parts')
  end)

  it('waits as a coroutine in the middle of an iteration', function()
    local order = {}
    stores.run(function()
      stores.all({
        function()
          for _ in store:each('pages', { batch = 5 }) do order[#order + 1] = 'a' end
        end,
        function()
          for _ in store:each('pages', { batch = 5 }) do order[#order + 1] = 'b' end
        end,
      })
    end)
    assert.equal(2 * COUNT, #order)
  end)

  it('refuses a wrong start at the call, before the first document', function()
    refused('invalid_id', nil, store.each, store, 'pages', { after = 5 })
    refused('invalid_option', 'batch', store.each, store, 'pages', { batch = 0 })
    refused('invalid_option', 'after', store.each, store, 'pages', { afer = '1' })
  end)
end)

describe('count', function()
  it('counts all, or what contains a document', function()
    for i = 1, 6 do store:insert('parts', { id = tostring(i), even = i % 2 == 0 }) end
    assert.equal(6, store:count('parts'))
    assert.equal(3, store:count('parts', { even = true }))
    assert.equal(0, store:count('parts', { even = 'no' }))
    assert.equal(6, store:count('parts', {}, { all = true }))
    assert.equal(6, store:count('parts', nil, { timeout = 5 }))
    assert.equal('number', type(store:count('parts')))
    store:query('DELETE FROM parts')
    assert.equal(0, store:count('parts'))
  end)
end)
