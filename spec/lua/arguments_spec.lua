--- Arguments that are none: each verb refuses ids, names of tables and options that cannot be
--- meant, says what is wrong with them, and does nothing.
--- Elsewhere: options of Store.new (config_spec), values (json_refused_spec), criteria
--- (criteria_spec), paths (paths_spec), SQL (query_spec).

local cache = require('spec.support.cache')
local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')
local known_verbs = require('stores.verbs.list').verbs

local refused = support.refused
local store, db

setup(function()
  store, db = support.store({ 'users', '"Users"', '"we""ird"', '"white space"' })
  store:query('CREATE SCHEMA app; CREATE TABLE app.users (id bigint PRIMARY KEY, value jsonb)')
end)
teardown(function() support.close(store, db) end)

-- Every verb that takes an id.
local function with_id(id)
  return {
    find = function() return store:find('users', id) end,
    exists = function() return store:exists('users', id) end,
    findAllByIds = id ~= nil and function()
      return store:findAllByIds('users', { '1', id })
    end or nil,
    update = function() return store:update('users', { id = id }) end,
    updateProperty = function() return store:updateProperty('users', id, 'a', 1) end,
    patch = function() return store:patch('users', id, { set = { a = 1 } }) end,
    updateObject = function() return store:updateObject('users', id, function() end) end,
    delete = function() return store:delete('users', id) end,
    invalidate = id ~= nil and function() return store:invalidate('users', id) end or nil,
    -- a record without an id is given one
    insert = id ~= nil and function() return store:insert('users', { id = id }) end or nil,
    upsert = id ~= nil and function() return store:upsert('users', { id = id }) end or nil,
  }
end

-- Every verb that takes a table.
local function with_table(name)
  return {
    find = function() return store:find(name, '1') end,
    exists = function() return store:exists(name, '1') end,
    findAll = function() return store:findAll(name) end,
    each = function() return store:each(name)() end,
    findAllByIds = function() return store:findAllByIds(name, { '1' }) end,
    findByJSON = function() return store:findByJSON(name, { a = 1 }) end,
    findOne = function() return store:findOne(name, { a = 1 }) end,
    count = function() return store:count(name) end,
    findByJsonArrayContains = function() return store:findByJsonArrayContains(name, 'a', 1) end,
    findByJsonSubContains = function() return store:findByJsonSubContains(name, 'a', { b = 1 }) end,
    findByPath = function() return store:findByPath(name, '$.a') end,
    insert = function() return store:insert(name, { id = '1' }) end,
    update = function() return store:update(name, { id = '1' }) end,
    upsert = function() return store:upsert(name, { id = '1' }) end,
    updateProperty = function() return store:updateProperty(name, '1', 'a', 1) end,
    patch = function() return store:patch(name, '1', { set = { a = 1 } }) end,
    updateObject = function() return store:updateObject(name, '1', function() end) end,
    delete = function() return store:delete(name, '1') end,
    invalidate = function() return store:invalidate(name, '1') end,
  }
end

local function all_refused(code, text, verbs)
  for name, call in pairs(verbs) do
    local ok, err = pcall(refused, code, text, call)
    assert.is_true(ok, name .. ': ' .. tostring(err))
    assert.equal('none', err.outcome)
    assert.is_false(err.retryable)
  end
end

describe('an id', function()
  local function refuses(what, id, text)
    it(what .. ' is refused by every verb', function()
      local before = store:stats().calls
      all_refused('invalid_id', text, with_id(id))
      assert.equal(before, store:stats().calls)
    end)
  end

  refuses('that is a number', 5, 'pass the id as a string: a number cannot carry 64 bits')
  refuses('that is not there', nil, 'id')
  refuses('that is empty', '', 'empty')
  refuses('that is a word', 'abc', "'abc' is not a decimal number")
  refuses('that is a fraction', '1.5', "'1.5' is a fraction")
  refuses('in exponent form', '1e5', 'exponent form')
  refuses('of 2^63', '9223372036854775808', 'out of range')
  refuses('below -2^63', '-9223372036854775809', 'out of range')
  refuses('with leading zeros', '007', "leading zeros: write '7'")
  refuses('with a plus sign', '+7', "a plus sign: write '7'")
  refuses('of minus zero', '-0', "write '0'")
  refuses('with white space', ' 7', 'white space')
  refuses('with a zero byte', '7\0', 'zero byte')
  refuses('that is null', stores.json.null, 'id')
  refuses('that is a table', { 1 }, 'got table')
  refuses('that is true', true, 'got boolean')
  refuses('that is a cdata of fewer bits', ffi.new('int32_t', 7), 'got cdata')

  it('may be -2^63', function()
    local id = '-9223372036854775808'
    store:insert('users', { id = id, n = 1 })
    assert.equal(1, store:find('users', id).n)
    assert.equal(2, store:updateProperty('users', id, 'n', 2).n)
    assert.equal(3, store:updateObject('users', id, function(doc) doc.n = 3 end).n)
    assert.same({ id }, { store:findAll('users', { limit = 1 })[1].id })
    assert.is_true(store:delete('users', id))
  end)

  it('of the record must be the id of the row', function()
    store:insert('users', { id = '1', n = 1 })
    refused('id_mismatch', nil, store.updateObject, store, 'users', '1',
      function() return { id = '2' } end)
    refused('id_mismatch', nil, store.patch, store, 'users', '1', { merge = { id = '2' } })
    refused('invalid_argument', 'id', store.updateProperty, store, 'users', '1', 'id', '2')
    assert.equal(1, store:find('users', '1').n)
    store:delete('users', '1')
  end)
end)

describe('a table name', function()
  it('that says more than a name is refused by every verb', function()
    all_refused('invalid_table', 'a table name', with_table('users; drop table x'))
    for _, name in ipairs({ '', ' ', 'users x', 'users--', "users'", '1users', '"users', 'users"',
                            '""', 'a.b.c', 'a..b', '.users', 'users.', 'users\0', 'us*rs',
                            'users, x' }) do
      refused('invalid_table', nil, store.find, store, name, '1')
      refused('invalid_table', nil, store.findAll, store, name)
      refused('invalid_table', nil, store.insert, store, name, { id = '1' })
    end
  end)

  it('that is no string is refused by every verb', function()
    for _, name in ipairs({ 5, true, {}, stores.json.null }) do
      all_refused('invalid_table', 'a table name is a string', with_table(name))
    end
    all_refused('invalid_table', 'got nil', with_table(nil))
  end)

  it('has at most 63 bytes', function()
    local longest = ('n'):rep(63)
    store:query('CREATE TABLE ' .. longest .. ' (id bigint PRIMARY KEY, value jsonb)')
    store:insert(longest, { id = '1', n = 1 })
    assert.equal(1, store:find(longest, '1').n)
    -- PostgreSQL would cut it silently, and read the other table
    all_refused('invalid_table', '63 bytes', with_table(longest .. 'n'))
    all_refused('invalid_table', '63 bytes', with_table('"' .. longest .. 'n"'))
    refused('invalid_table', '63 bytes', store.find, store, ('ä'):rep(32), '1')
  end)

  it('is read as PostgreSQL reads it', function()
    store:insert('users', { id = '5', where = 'users' })
    store:insert('"Users"', { id = '5', where = 'Users' })
    store:insert('app.users', { id = '5', where = 'app' })
    store:insert('"we""ird"', { id = '5', where = 'weird' })
    store:insert('"white space"', { id = '5', where = 'space' })
    for _ = 1, 2 do
      for name, where in pairs({ users = 'users', Users = 'users', USERS = 'users',
                                 ['"users"'] = 'users', ['public.users'] = 'users',
                                 ['PUBLIC."users"'] = 'users', ['"Users"'] = 'Users',
                                 ['public."Users"'] = 'Users', ['app.users'] = 'app',
                                 ['"app"."users"'] = 'app', ['APP.Users'] = 'app',
                                 ['"we""ird"'] = 'weird', ['"white space"'] = 'space' }) do
        assert.equal(where, store:find(name, '5').where, name)
        assert.equal(where, store:findByJSON(name, { id = '5' })[1].where, name)
      end
    end
  end)

  it('with and without its schema is one table, also to the cache', function()
    store:upsert('users', { id = '6', n = 1 })
    cache.hit(store, 'users', '6')
    local hits = store:stats().hits
    for _, name in ipairs({ 'public.users', 'USERS', '"public"."users"' }) do
      assert.equal(1, store:find(name, '6').n)
    end
    assert.equal(hits + 3, store:stats().hits)
    store:update('public.users', { id = '6', n = 2 })
    assert.equal(2, store:find('users', '6').n)
    store:update('Users', { id = '6', n = 3 })
    assert.equal(3, store:find('public.users', '6').n)
    store:query([[UPDATE users SET value = '{"n": 4}' WHERE id = 6]])
    assert.equal(4, store:find('public.users', '6').n)
    assert.is_true(store:delete('"public".users', '6'))
    assert.is_nil(store:find('users', '6'))
  end)

  it('of a table that is not there is an error of every verb', function()
    local verbs = with_table('nowhere')
    verbs.invalidate = nil
    all_refused('table_not_found', 'nowhere', verbs)
    all_refused('table_not_found', nil, { function() store:find('no_schema.users', '1') end,
      function() store:insert('app.nowhere', { n = 1 }) end })
    local err = refused('table_not_found', nil, store.find, store, 'nowhere', '1')
    assert.equal(500, err.http) -- of the program, and not of a path that somebody asked for
  end)

  it('of a table that is made later is found then', function()
    refused('table_not_found', nil, store.find, store, 'later', '1')
    store:query('CREATE TABLE later (id bigint PRIMARY KEY, value jsonb)')
    assert.is_nil(store:find('later', '1'))
    store:insert('later', { id = '1' })
    assert.equal('1', store:find('later', '1').id)
  end)

  it('of a table of another shape is an error that says so', function()
    store:query('CREATE TABLE shapeless (name text)')
    for _, call in ipairs({
      function() store:find('shapeless', '1') end,
      function() store:insert('shapeless', {}) end,
      function() store:findByJSON('shapeless', { a = 1 }) end,
    }) do
      local err = refused('query_failed', 'does not exist', call)
      assert.equal('42703', err.sqlstate)
      assert.equal('none', err.outcome)
    end
  end)
end)

describe('an option', function()
  it('that nobody knows is refused, with the nearest that the verb takes', function()
    for key, near in pairs({ tiemout = 'timeout', Timeout = 'timeout', chache = 'cache',
                             noCache = 'cache', raww = 'raw', required = 'must' }) do
      local err = refused('invalid_option', ("unknown option '%s'"):format(key), store.find, store,
        'users', '1', { [key] = 1 })
      assert.truthy(err.message:find("'" .. near .. "'", 1, true), err.message)
    end
    refused('invalid_option', "did you mean 'limit'?", store.findAll, store, 'users', { limt = 1 })
    refused('invalid_option', "use 'after'", store.findAll, store, 'users', { offset = 1 })
    refused('invalid_option', 'known are', store.find, store, 'users', '1', { zzzzzzzz = 1 })
    refused('invalid_option', nil, store.find, store, 'users', '1', { 5 })
  end)

  it('of another verb is refused, with those that this one takes', function()
    refused('invalid_option', "'limit' does not belong to this call", store.find, store, 'users',
      '1', { limit = 1 })
    refused('invalid_option', "'must' does not belong", store.insert, store, 'users', {},
      { must = true })
    refused('invalid_option', "'create' does not belong", store.update, store, 'users',
      { id = '1' }, { create = true })
  end)

  it('of a wrong kind is refused', function()
    refused('invalid_option', 'options.cache must be true or false', store.find, store, 'users',
      '1', { cache = 'no' })
    refused('invalid_option', 'options.limit must be a whole number', store.findAll, store, 'users',
      { limit = '5' })
    refused('invalid_option', 'options.limit', store.findAll, store, 'users', { limit = -1 })
    refused('invalid_option', 'options.limit', store.findAll, store, 'users', { limit = 1.5 })
    refused('invalid_option', 'options must be a table', store.find, store, 'users', '1', 5)
    refused('invalid_option', 'options must be a table', store.find, store, 'users', '1', true)
  end)

  it('of time is in seconds: 30000 is meant as milliseconds, and refused', function()
    for _, call in ipairs({
      function(opts) return store:find('users', '1', opts) end,
      function(opts) return store:query('SELECT 1', nil, opts) end,
      function(opts) return store:updateObject('users', '1', function() end, opts) end,
      function(opts) return store:transaction(function() end, opts) end,
      function(opts) return stores.Store.new(db, nil, opts) end,
    }) do
      refused('invalid_option', 'seconds are meant, not milliseconds', call, { timeout = 30000 })
      refused('invalid_option', 'seconds', call, { timeout = 0 })
      refused('invalid_option', 'seconds', call, { timeout = -1 })
      refused('invalid_option', 'seconds', call, { timeout = '5' })
      refused('invalid_option', 'seconds', call, { timeout = 0 / 0 })
    end
    assert.is_nil(store:find('users', '404', { timeout = math.huge }))
    assert.is_nil(store:find('users', '404', { timeout = 3600 }))
  end)

  it('where parameters belong is refused by its name', function()
    refused('invalid_argument', "options such as 'timeout' go in the third", store.query, store,
      'SELECT 1', { timeout = 5 })
    refused('invalid_argument', "'limit' go in the fourth", store.findByPath, store, 'users', '$.a',
      { limit = 5 })
  end)
end)

describe('a verb with a dot instead of a colon', function()
  it('says so', function()
    for _, row in ipairs(known_verbs) do
      local name = row.name
      local text = ('call it with a colon: store:%s(...)'):format(name)
      refused('invalid_argument', text, store[name], 'users', '1')
      refused('invalid_argument', text, store[name])
      refused('invalid_argument', text, store[name], { 'users' })
      local ok, err = store.try[name]('users', '1')
      assert.is_false(ok)
      assert.equal('invalid_argument', err.code)
    end
    refused('invalid_argument', 'call it with a dot', stores.Store.new, stores.Store, {}, {})
    refused('invalid_argument', 'call it with a dot', stores.Shards.new, stores.Shards, {})
  end)
end)
