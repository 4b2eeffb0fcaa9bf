--- The verbs that write single rows, invalidate, and what a store as a whole does.
--- What is refused: arguments_spec. Changes by path: paths_spec. updateObject: update_object_spec.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

-- Runs fn and gives by how much a figure of the store grew meanwhile.
local function growth(figure, fn)
  return cache.grown(store, fn, { figure })[figure]
end

setup(function() store, db = support.store({ 'users', 'cached' }) end)
teardown(function() support.close(store, db) end)

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

  it('stores large documents, small ones after them, and after one that is refused', function()
    local id = store:insert('users', { n = 0 }).id
    for n, text in ipairs({ ('x'):rep(3 * 1024 * 1024), 'y', ('z'):rep(100 * 1024), '' }) do
      assert.is_true(store:update('users', { id = id, n = n, text = text }))
      support.refused('invalid_document', 'function', store.update, store, 'users',
        { id = id, text = 'refused', fn = print })
      local found = store:find('users', id, { cache = false })
      assert.is_true(found.n == n and found.text == text)
    end
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
    support.eventually(function()
      local stats = store:stats()
      return stats.ops + stats.pool_checked_out + stats.pool_waiters == 0
    end)
  end)
end)
