--- Versions of documents: programs of two versions side by side over one table and one cache.
-- Not in the gc pass: SQL that plain Lua writes, over verbs that have it.

local stores = require('stores')
local support = require('spec.support')

local json = stores.json
local old_store, new_store, db, empty
local second, third

setup(function()
  old_store, db = support.store({ 'people' }, { tables = {} })
  empty = support.db()
  support.psql(empty, 'CREATE TABLE people (id bigint PRIMARY KEY, value jsonb)')
  local steps = {
    [2] = function(doc) doc.full, doc.name = doc.name, nil end,
    [3] = function(doc)
      local made = {}
      for key, value in pairs(doc) do made[key] = value end
      made.names = json.array({ doc.full })
      made.full = nil
      return made
    end,
  }
  second = stores.define('people', { version = 2, upgrade = { [2] = steps[2] } })
  third = stores.define('people', { version = 3, upgrade = steps })
  old_store:close()
  old_store = stores.Store.new(db, support.redis(), { tables = { second } })
  new_store = stores.Store.new(db, support.redis(), { tables = { third } })
end)
teardown(function()
  old_store:close()
  support.close(new_store, db)
  support.drop(empty)
end)
before_each(function() new_store:query('DELETE FROM people') end)

local function plain(id, text)
  new_store:query('INSERT INTO people VALUES ($1, $2)', { id, text })
end

local function stored(id)
  return new_store:query('SELECT value FROM people WHERE id = $1', { id })[1].value
end

local function refused(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  return err
end

describe('a document of an older version', function()
  local function is_brought_up(t)
    local function check(doc)
      assert.equal('Ada', doc.names[1])
      assert.same({ nil, 3, '1' }, { doc.name, doc._version, doc.id })
    end
    check(t:find('people', '1'))
    check(t:findAllByIds('people', { '1' })[1])
    check(t:findAllByIds('people', { '1' }, { as = 'map' })['1'])
    check(t:findAll('people')[1])
    check(t:findAll('people', { limit = 1, order = { 'name' } })[1])
    check(t:findOne('people', { name = 'Ada' }))
    check(t:findByJSON('people', { name = 'Ada' })[1])
    check(t:findByPath('people', '$ ? (@.name == "Ada")')[1])
    for doc in t:each('people') do check(doc) end
    -- who asks for text gets what is stored
    assert.is_truthy(t:find('people', '1', { raw = true }):find('"name": "Ada"', 1, true))
  end

  -- Parts are those of what it is brought up to, and not of what is stored.
  local function has_parts(t)
    local fields = { 'names', { 'at', 'city' }, { 'at', 'none' }, { 'full', 'x' }, 'absent' }
    local function check(doc)
      assert.same({ id = '1', names = { 'Ada' }, at = { city = 'Paris' } }, doc)
    end
    check(t:findAll('people', { fields = fields })[1])
    check(t:findAll('people', { fields = fields, limit = 1, order = { 'name' } })[1])
    check(t:findOne('people', { name = 'Ada' }, { fields = fields }))
    check(t:findByJSON('people', { name = 'Ada' }, { fields = fields })[1])
    check(t:findByPath('people', '$ ? (@.name == "Ada")', nil, { fields = fields })[1])
    for doc in t:each('people', { fields = fields, batch = 1 }) do check(doc) end
    assert.same({ id = '1', _version = 3 }, t:findAll('people', { fields = { '_version' } })[1])
    assert.equal('{"id": "1", "name": "Ada"}',
      t:findAll('people', { fields = { 'name' }, raw = true })[1])
    assert.equal('invalid_argument', refused(t.findAll, t, 'people', { fields = { 5 } }).code)
    assert.equal('invalid_argument', refused(t.findAll, t, 'people', { fields = 'name' }).code)
  end

  it('is brought up before parts are made of it', function()
    plain(1, '{"name": "Ada", "at": {"city": "Paris", "zip": 1}}')
    has_parts(new_store)
    new_store:transaction(has_parts)
    local shards = stores.Shards.new({
      { id = 0, db = db, opts = { tables = { third } } },
      { id = 1, db = empty, opts = { tables = { third } } } })
    has_parts(shards)
    is_brought_up(stores.Shards.new({ { id = 0, db = db, opts = { tables = { third } } } }))
    shards:close()
    -- as a plain table has them
    local unread = stores.Store.new(db, nil, { tables = {} })
    local fields = { 'names', { 'at', 'city' }, { 'at', 'none' }, { 'name', 'x' }, 'absent' }
    plain(2, '{"at": [1], "names": null}')
    assert.same({ { id = '1', at = { city = 'Paris' } }, { id = '2', names = json.null } },
      unread:findAll('people', { fields = fields }))
    unread:close()
  end)

  it('is brought up by each verb that reads', function()
    plain(1, '{"name": "Ada"}')
    is_brought_up(new_store)
    is_brought_up(new_store) -- from the cache
    new_store:transaction(is_brought_up)
    assert.same({ id = '1', full = 'Ada', _version = 2 }, old_store:find('people', '1'))
    assert.equal('Ada', stored(1).name)
  end)

  it('is the own copy of who reads it', function()
    plain(1, '{"name": "Ada"}')
    local one, two = new_store:find('people', '1'), new_store:find('people', '1')
    one.names[1] = 'Eve'
    assert.equal('Ada', two.names[1])
    assert.equal('Ada', new_store:find('people', '1').names[1])
  end)

  local function is_written_back(t)
    for id, change in ipairs({
      function() return t:updateObject('people', '1', function(doc) doc.age = #doc.names end) end,
      function() return t:patch('people', '2', { set = { age = 1 } }) end,
      function() return t:updateProperty('people', '3', 'age', 1) end,
      function()
        local doc = t:find('people', '4')
        doc.age = 1
        assert.is_true(t:update('people', doc))
        return doc
      end,
    }) do
      local doc = change()
      assert.same({ 1, 3, 'Ada' }, { doc.age, doc._version, doc.names[1] })
      local row = json.decode(t:find('people', tostring(id), { raw = true }))
      assert.same({ 1, 3, 'Ada' }, { row.age, row._version, row.names[1] })
      assert.is_nil(row.name)
    end
  end

  it('is written back by what changes it', function()
    for id = 1, 4 do plain(id, '{"name": "Ada"}') end
    is_written_back(new_store)
    for id = 1, 4 do
      new_store:query('UPDATE people SET value = $2 WHERE id = $1', { id, '{"name": "Ada"}' })
    end
    new_store:transaction(is_written_back)
  end)

  it('is told apart from one that no function brings up', function()
    local only = stores.define('people', { version = 3, upgrade = { [3] = print } })
    local store = stores.Store.new(db, nil, { tables = { only } })
    plain(1, '{"name": "Ada"}')
    plain(2, '{"_version": "x"}')
    plain(3, '{"_version": 3}')
    assert.equal('unreadable', refused(store.find, store, 'people', '1').code)
    assert.equal('2', refused(store.find, store, 'people', '2').row)
    assert.equal(3, store:find('people', '3')._version)
    store:close()
  end)
end)

describe('a document of a newer version', function()
  local function is_refused(t)
    assert.equal('new', t:find('people', '1').names[1])
    local function never() error('the function is not called') end
    for _, try in ipairs({
      { t.update, t, 'people', { id = '1', full = 'x' } },
      { t.upsert, t, 'people', { id = '1', full = 'x' } },
      { t.patch, t, 'people', '1', { set = { full = 'x' } } },
      { t.updateProperty, t, 'people', '1', 'full', 'x' },
      { t.updateObject, t, 'people', '1', never },
      { t.update, t, 'people', t:find('people', '1') },
      { t.insert, t, 'people', { full = 'x', _version = 3 } },
    }) do
      local err = refused(unpack(try))
      assert.equal('newer_version', err.code, tostring(err))
      assert.same({ 3, 2 }, { err.version, err.known_version })
      assert.equal('none', err.outcome)
    end
    assert.equal('unsupported', refused(t.patchWhere, t, 'people', { a = 1 },
      { set = { a = 2 } }).code)
  end

  it('is read, and refused to be written', function()
    new_store:insert('people', { id = '1', names = json.array({ 'new' }) })
    is_refused(old_store)
    old_store:transaction(is_refused)
    assert.equal('new', new_store:find('people', '1').names[1])
    assert.is_true(old_store:delete('people', '1'))
  end)

  it('is there for both programs, as soon as one has written it', function()
    old_store:insert('people', { id = '1', full = 'Ada' })
    for i = 1, 5 do
      assert.equal('Ada', new_store:find('people', '1').names[1])
      assert.equal(2, old_store:find('people', '1')._version)
      old_store:updateObject('people', '1', function(doc) doc.count = i end)
      assert.equal(i, new_store:find('people', '1').count)
    end
    new_store:updateProperty('people', '1', 'count', 6)
    assert.same({ 6, 3 }, { old_store:find('people', '1').count, stored(1)._version })
  end)
end)

describe('a record that is to be stored', function()
  it('gets the version, and may not say an older one', function()
    assert.equal(3, new_store:insert('people', { names = {} })._version)
    local record, inserted = new_store:upsert('people', { id = '5', names = {} })
    assert.same({ 3, true }, { record._version, inserted })
    assert.is_false(new_store:update('people', { id = '404' }))
    local err = refused(new_store.insert, new_store, 'people', { full = 'x', _version = 2 })
    assert.same({ 'invalid_document', '_version' }, { err.code, err.path })
    assert.equal('x', third:upcast({ full = 'x', _version = 2 }).names[1])
  end)
end)

describe('upgrade', function()
  it('brings the stored documents up, and counts them', function()
    for id = 1, 25 do plain(id, id % 5 == 0 and '{"_version": 3}' or '{"name": "Ada"}') end
    assert.same({ 20, '24' }, { new_store:upgrade('people', { batch = 7, pause = 0.001 }) })
    assert.equal(25, new_store:count('people', { _version = 3 }))
    assert.same({ 0 }, { new_store:upgrade('people') })
    assert.equal('Ada', new_store:find('people', '1').names[1])
  end)

  it('says how far it came before it failed', function()
    local failing = stores.define('people', { version = 2, upgrade = { [2] = function(doc)
      if doc.id == '5' then error(require('stores.errors').new('invalid_document', 'no')) end
    end } })
    local store = stores.Store.new(db, nil, { tables = { failing } })
    for id = 1, 9 do plain(id, '{"name": "Ada"}') end
    local err = refused(store.upgrade, store, 'people', { batch = 2 })
    assert.same({ '4', 4 }, { err.after, err.count })
    assert.same({ 4, '9' }, { store:upgrade('people', { after = '5' }) })
    store:close()
  end)

  it('is refused for a table without versions', function()
    assert.equal('invalid_argument', refused(new_store.upgrade, new_store, 'other').code)
  end)
end)
