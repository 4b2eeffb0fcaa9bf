--- validate: a function of a declared table that sees each document before it is stored.

local stores = require('stores')
local support = require('spec.support')

local store, db
local calls = {}

local function validate(doc, old)
  calls[#calls + 1] = { doc = doc, old = old }
  if doc.age == 'raise' then error({ mine = true }) end
  if doc.age == 'bare' then return false end
  if doc.age == 'text' then return 'age is a text', 'age' end
  if type(doc.age) == 'number' and doc.age < 0 then return false, 'age is below zero', { 'age' } end
  if old and old.state == 'closed' then return false, 'it is closed', 'state' end
  return doc.age ~= 5 or nil
end

setup(function()
  store, db = support.store({ 'people' })
  stores.define('people', { validate = validate })
end)
teardown(function() support.close(store, db) end)
before_each(function() calls = {} end)

local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal('invalid_document', err.code, tostring(err))
  assert.equal('none', err.outcome)
  return err
end

-- All that is promised, of a store and of a transaction.
local function holds_over(t)
  local row = t:insert('people', { age = 1, list = { 1, 2 } })
  local id = row.id
  for _, try in ipairs({
    function(age) return t.insert, t, 'people', { age = age } end,
    function(age) return t.update, t, 'people', { id = id, age = age } end,
    function(age) return t.upsert, t, 'people', { id = id, age = age } end,
    function(age) return t.upsert, t, 'people', { age = age } end,
    function(age) return t.patch, t, 'people', id, { set = { age = age } } end,
    function(age) return t.updateProperty, t, 'people', id, 'age', age end,
    function(age)
      return t.updateObject, t, 'people', id, function(doc) doc.age = age end
    end,
  }) do
    local err = refused(try(-1))
    assert.equal('age is below zero', err.message)
    assert.same({ 'age' }, err.path)
    assert.equal('people', err.table)
    assert.equal('age', refused(try('text')).path)
    assert.is_truthy(refused(try('bare')).message)
    local ok, raised = pcall(try('raise'))
    assert.is_false(ok)
    assert.is_true(raised.mine)
    assert.equal(1, t:find('people', id).age)
  end

  calls = {}
  assert.equal(5, t:patch('people', id, { inc = { age = 4 }, append = { list = 3 } }).age)
  assert.equal(1, #calls)
  assert.same({ 1, 5 }, { calls[1].old.age, calls[1].doc.age })
  assert.same({ 2, 3 }, { #calls[1].old.list, #calls[1].doc.list })
  t:updateObject('people', id, function(doc) doc.state, doc.list[1] = 'closed', 7 end)
  assert.same({ nil, 1 }, { calls[2].old.state, calls[2].old.list[1] })
  assert.equal('it is closed',
    refused(t.updateProperty, t, 'people', id, 'state', 'open').message)
  assert.equal('closed', t:find('people', id).state)
  assert.is_nil(t:patch('people', '404', { set = { a = 1 } }))
  assert.is_nil(t:updateProperty('people', '404', 'a', 1))
  local ok, err = pcall(t.patch, t, 'people', '404', { set = { a = 1 } }, { must = true })
  assert.same({ false, 'not_found' }, { ok, err.code })
  ok, err = pcall(t.patchWhere, t, 'people', { age = 5 }, { set = { age = -1 } })
  assert.same({ false, 'unsupported' }, { ok, err.code })
  assert.is_truthy(err.hint)
end

describe('validate', function()
  it('sees each document before it is stored, in every verb', function()
    holds_over(store)
  end)

  it('does so in a transaction, which goes on', function()
    store:transaction(holds_over)
  end)

  it('does so over shards, whose transactions are one\'s', function()
    local other = support.db()
    support.psql(other, 'CREATE TABLE people (id bigint PRIMARY KEY, value jsonb)')
    local shards = stores.Shards.new({ { id = 0, db = db }, { id = 1, db = other } })
    holds_over(shards)
    shards:transaction('404', holds_over)
    shards:close()
    support.drop(other)
  end)

  it('is not told what was there by verbs that replace a document without reading it', function()
    local row = store:insert('people', { age = 1 })
    calls = {}
    store:update('people', { id = row.id, age = 2 })
    store:upsert('people', { id = row.id, age = 3 })
    assert.same({ 2, nil, nil }, { #calls, calls[1].old, calls[2].old })
    store:updateObject('people', row.id, function(doc) doc.age = 4 end)
    store:updateProperty('people', row.id, 'age', 6)
    assert.same({ 3, 4 }, { calls[3].old.age, calls[4].old.age })
  end)

  it('is asked before anything is sent', function()
    local elsewhere = stores.Store.new({ host = '/nowhere', database = 'none', user = 'x' }, nil)
    refused(elsewhere.update, elsewhere, 'people', { id = '1', age = -1 })
    refused(elsewhere.insert, elsewhere, 'people', { id = '1', age = -1 })
    elsewhere:close()
  end)

  it('keeps what a patch promises of paths in the way', function()
    local row = store:insert('people', { a = 1 })
    local ok, err = pcall(store.updateProperty, store, 'people', row.id, { 'a', 'b' }, 1)
    assert.same({ false, 'path_blocked' }, { ok, err.code })
  end)

  it('is asked of each of many that change one row at once, in turn', function()
    local row = store:insert('people', { age = 0 })
    local fns = {}
    for i = 1, 20 do
      fns[i] = function()
        return (pcall(store.updateObject, store, 'people', row.id, function(doc)
          doc.age = i % 4 == 0 and -1 or doc.age + 1
        end))
      end
    end
    local done = stores.run(function() return stores.all(fns) end)
    local count = 0
    for _, ok in ipairs(done) do if ok then count = count + 1 end end
    assert.equal(15, count)
    assert.equal(15, store:find('people', row.id).age)
  end)
end)
