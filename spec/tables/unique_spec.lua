--- unique: a value that no two documents of a declared table have.

local stores = require('stores')
local support = require('spec.support')

local store, db

setup(function()
  store, db = support.store()
  local definition = stores.define('members', { unique = { 'email', { 'address', 'street' },
    { 'team', '+number' } } })
  store:migrate({ definition })
end)
teardown(function() support.close(store, db) end)

local function taken(path, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal('duplicate', err.code, tostring(err))
  assert.same(path, err.path)
  assert.is_truthy(err.constraint)
end

describe('a unique path', function()
  it('is named by the error of each verb that would have it twice', function()
    store:insert('members', { id = '1', email = 'a@b.c', address = { street = 'x' }, team = 1,
      number = 2 })
    store:insert('members', { id = '2', email = 'b@b.c' })
    taken('email', store.insert, store, 'members', { email = 'a@b.c' })
    taken({ 'address', 'street' }, store.insert, store, 'members', { address = { street = 'x' } })
    taken({ 'team', 'number' }, store.insert, store, 'members', { team = 1, number = 2 })
    taken('email', store.update, store, 'members', { id = '2', email = 'a@b.c' })
    taken('email', store.upsert, store, 'members', { id = '3', email = 'a@b.c' })
    taken('email', store.patch, store, 'members', '2', { set = { email = 'a@b.c' } })
    taken('email', store.updateProperty, store, 'members', '2', 'email', 'a@b.c')
    taken('email', store.updateObject, store, 'members', '2',
      function(doc) doc.email = 'a@b.c' end)
    taken('email', store.patchWhere, store, 'members', { email = 'b@b.c' },
      { set = { email = 'a@b.c' } })
    assert.equal('b@b.c', store:find('members', '2').email)
  end)

  it('is named in a transaction, and undone by its savepoint', function()
    store:upsert('members', { id = '11', email = 'x@b.c' })
    store:transaction(function(tx)
      local function inside(fn)
        taken('email', tx.transaction, tx, fn)
      end
      inside(function(sub) sub:insert('members', { email = 'x@b.c' }) end)
      inside(function(sub) sub:upsert('members', { id = '12', email = 'x@b.c' }) end)
      tx:insert('members', { id = '12', email = 'y@b.c' })
      inside(function(sub)
        sub:updateObject('members', '12', function(doc) doc.email = 'x@b.c' end)
      end)
      assert.equal('y@b.c', tx:find('members', '12').email)
    end)
  end)

  it('is what findBy asks for', function()
    store:upsert('members', { id = '31', email = 'find@b.c', address = { street = 'y' } })
    for _ = 1, 2 do assert.equal('31', store:findBy('members', 'email', 'find@b.c').id) end
    assert.equal('31', store:findBy('members', 'address.street', 'y').id)
    assert.is_false((pcall(store.findBy, store, 'members', 'number', 2)))
  end)

  it('may be missing, or null, in any number of documents', function()
    for _ = 1, 3 do store:insert('members', { name = 'none' }) end
    for _ = 1, 3 do store:insert('members', { email = stores.json.null }) end
    assert.equal(3, store:count('members', { name = 'none' }))
  end)

  it('says nothing of an id that is taken', function()
    store:upsert('members', { id = '21' })
    local ok, err = pcall(store.insert, store, 'members', { id = '21' })
    assert.same({ false, 'duplicate' }, { ok, err.code })
    assert.is_nil(err.path)
  end)
end)
