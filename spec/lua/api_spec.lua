--- The verbs on single rows, on lists of ids and on whole tables, with every option of theirs.
--- What is refused: errors_spec. Criteria: criteria_spec. Changes by path: paths_spec.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

-- Runs fn and gives by how much a figure of the store grew meanwhile.
local function growth(figure, fn)
  local before = store:stats()[figure]
  fn()
  return store:stats()[figure] - before
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

describe('insert', function()
  it('gives back the same table, with an id where it had none', function()
    local record = { name = 'Cy' }
    assert.equal(record, store:insert('users', record))
    assert.truthy(record.id:find('^%d+$'))
    assert.same({ id = record.id, name = 'Cy' }, store:find('users', record.id))
  end)

  it('stores the id in the document', function()
    local record = store:insert('users', { name = 'Di' })
    assert.equal(record.id, store:query("SELECT value->>'id' AS id FROM users WHERE id = $1",
      { record.id })[1].id)
  end)

  it('keeps the id that it is given', function()
    assert.equal('60', store:insert('users', { id = '60' }).id)
  end)

  it('refuses an id that is taken, and leaves the row alone', function()
    store:insert('users', { id = '61', n = 1 })
    local err = refused('duplicate', nil, store.insert, store, 'users', { id = '61', n = 2 })
    assert.equal(409, err.http)
    assert.equal('none', err.outcome)
    assert.equal(1, store:find('users', '61').n)
  end)

  it('takes its own id out again where nothing was stored', function()
    local record = { f = print }
    refused('invalid_document', '.f', store.insert, store, 'users', record)
    assert.is_nil(record.id)
    refused('invalid_document', '.f', store.upsert, store, 'users', record)
    assert.is_nil(record.id)
    record = {}
    refused('table_not_found', nil, store.insert, store, 'nowhere', record)
    assert.is_nil(record.id)
    refused('table_not_found', nil, store.upsert, store, 'nowhere', record)
    assert.is_nil(record.id)
  end)

  it('draws another id where the one that it made is taken', function()
    local taken = store:insert('users', {}).id
    local made, free = 0, store:generateId()
    local clumsy = setmetatable({ generateId = function()
      made = made + 1
      return made < 3 and taken or free
    end }, { __index = store })
    assert.equal(free, clumsy:insert('users', { n = 1 }).id)
    assert.equal(3, made)
    made = -1e9
    local record = {}
    refused('duplicate', nil, clumsy.insert, clumsy, 'users', record)
    assert.is_nil(record.id)
  end)

  it('does not draw again where something else than the id is taken', function()
    store:query("CREATE TABLE mails (id bigint PRIMARY KEY, value jsonb)")
    store:query("CREATE UNIQUE INDEX mails_email ON mails ((value->>'email'))")
    store:insert('mails', { email = 'a@b.c' })
    local err = refused('duplicate', nil, store.insert, store, 'mails', { email = 'a@b.c' })
    assert.equal('mails_email', err.constraint)
    assert.equal('23505', err.sqlstate)
    assert.is_nil(err.message:find('a@b.c', 1, true))
  end)

  it('refuses what is no document', function()
    refused('invalid_document', 'array', store.insert, store, 'users', { 1, 2 })
    refused('invalid_document', 'a record is a table', store.insert, store, 'users', 'text')
    refused('invalid_document', 'a record is a table', store.insert, store, 'users')
  end)
end)

describe('update', function()
  it('replaces the document of a row', function()
    store:insert('users', { id = '70', old = 1 })
    assert.is_true(store:update('users', { id = '70', new = 2 }))
    assert.same({ id = '70', new = 2 }, store:find('users', '70'))
  end)

  it('is false where there is no such row, or raises with must', function()
    assert.is_false(store:update('users', { id = '71' }))
    refused('not_found', 'users has no row 71', store.update, store, 'users', { id = '71' },
      { must = true })
    assert.is_nil(store:find('users', '71'))
  end)

  it('takes an id as cdata, and leaves it in the record as a string', function()
    store:insert('users', { id = '72' })
    local record = { id = 72LL, n = 1 }
    assert.is_true(store:update('users', record))
    assert.equal('72', record.id)
    assert.same({ id = '72', n = 1 }, store:find('users', '72'))
  end)
end)

describe('upsert', function()
  it('inserts or replaces, and says which', function()
    local record = { id = '80', n = 1 }
    local same, inserted = store:upsert('users', record)
    assert.equal(record, same)
    assert.is_true(inserted)
    same, inserted = store:upsert('users', { id = '80', m = 2 })
    assert.same({ id = '80', m = 2 }, same)
    assert.is_false(inserted)
    assert.same({ id = '80', m = 2 }, store:find('users', '80'))
  end)

  it('makes an id where there is none', function()
    local record, inserted = store:upsert('users', { n = 3 })
    assert.is_true(inserted)
    assert.equal(3, store:find('users', record.id).n)
  end)
end)

describe('delete', function()
  it('is true where there was such a row', function()
    store:insert('users', { id = '90' })
    assert.is_true(store:delete('users', '90'))
    assert.is_nil(store:find('users', '90'))
    assert.is_false(store:delete('users', '90'))
    refused('not_found', 'users has no row 90', store.delete, store, 'users', '90', { must = true })
  end)
end)

describe('invalidate', function()
  it('makes a write that Stores did not see visible, of a row or of a table', function()
    for i = 1, 2 do
      local id = tostring(30 + i)
      store:insert('cached', { id = id, n = 1 })
      support.eventually(function()
        return growth('hits', function() store:find('cached', id) end) == 1
      end)
      support.psql(db, [[UPDATE cached SET value = '{"n": 2}' WHERE id = ]] .. id)
      assert.equal(1, store:find('cached', id).n)
      store:invalidate('cached', i == 1 and id or nil)
      assert.equal(2, store:find('cached', id).n)
    end
  end)
end)

describe('a store', function()
  it('has defaults of its own that a call overrides', function()
    local plain = stores.Store(support.config(db.database), support.redis(),
      { raw = true, cache = false })
    plain:insert('users', { id = '100', n = 1 })
    assert.equal('{"n": 1, "id": "100"}', plain:find('users', '100'))
    assert.same({ id = '100', n = 1 }, plain:find('users', '100', { raw = false }))
    assert.equal('{"n": 1, "id": "100"}', plain:findByJSON('users', { n = 1, id = '100' })[1])
    assert.equal(0, plain:stats().redis_commands or 0)
    support.close(plain)
  end)

  it('works without a Redis', function()
    local plain = stores.Store.new(support.config(db.database))
    plain:insert('users', { id = '101', n = 1 })
    assert.equal(1, plain:find('users', '101').n)
    assert.equal(2, plain:updateProperty('users', '101', 'n', 2).n)
    assert.equal(3, plain:updateObject('users', '101', function(doc) doc.n = 3 end).n)
    assert.is_true(plain:delete('users', '101'))
    plain:invalidate('users', '101')
    assert.equal(0, plain:stats().redis_connects or 0)
    support.close(plain)
  end)

  it('reads what another store wrote', function()
    local other = stores.Store.new(support.config(db.database), support.redis())
    store:insert('users', { id = '102', n = 1 })
    assert.equal(1, other:find('users', '102').n)
    other:update('users', { id = '102', n = 2 })
    assert.equal(2, store:find('users', '102').n)
    store:delete('users', '102')
    assert.is_nil(other:find('users', '102'))
    support.close(other)
  end)

  it('serves many coroutines at once over its pool', function()
    local list = {}
    for i = 1, 300 do list[i] = i end
    stores.run(function()
      stores.map(list, function(i)
        local id = tostring(1000 + i)
        store:insert('users', { id = id, n = i })
        assert(store:find('users', id).n == i)
        assert(store:updateProperty('users', id, 'n', -i).n == -i)
        assert(store:find('users', id, { cache = false }).n == -i)
        assert(store:delete('users', id))
        assert(store:find('users', id) == nil)
      end)
    end)
    local stats = store:stats()
    assert.same({ 0, 0, 0 }, { stats.ops, stats.pool_checked_out, stats.pool_waiters })
  end)
end)
