--- An error is a table that says what was wrong and what became of the work; store.try gives it
--- back instead of raising it.
--- Elsewhere: arguments (arguments_spec), servers (connection_spec).

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local store, db

setup(function() store, db = support.store({ 'users' }) end)
teardown(function() support.close(store, db) end)

describe('a store that is closed', function()
  it('raises closed from every verb, and may be closed again', function()
    local own = stores.Store.new(db, support.redis())
    own:insert('users', { id = '70' })
    own:close()
    own:close()
    for _, call in ipairs({
      function() own:find('users', '70') end,
      function() own:findAll('users') end,
      function() own:each('users') end,
      function() own:insert('users', {}) end,
      function() own:updateObject('users', '70', function() end) end,
      function() own:transaction(function() end) end,
      function() own:query('SELECT 1') end,
      function() own:invalidate('users') end,
      function() own:generateId() end,
      function() own:stats() end,
      function() own:migrate({}) end,
    }) do
      local err = refused('closed', nil, call)
      assert.equal('none', err.outcome)
      assert.equal(503, err.http)
    end
    local ok, err = own.try:find('users', '70')
    assert.is_false(ok)
    assert.equal('closed', err.code)
    store:delete('users', '70')
  end)

  it('while calls wait ends them with closed', function()
    local own = stores.Store.new(db, support.redis())
    stores.run(function()
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = stores.spawn(function() own:query('SELECT pg_sleep(20)') end)
      end
      stores.sleep(0.05)
      own:close()
      for i = 1, 20 do refused('closed', nil, tasks[i].join, tasks[i]) end
    end)
  end)
end)

describe('an error', function()
  setup(function()
    store:query([[CREATE TABLE limits (id bigint PRIMARY KEY, value jsonb,
      CONSTRAINT limits_small CHECK ((value->>'n')::int < 10))]])
  end)

  it('tells everything that is known', function()
    local err = refused('constraint', nil, store.insert, store, 'limits', { id = '1', n = 50 })
    assert.equal('23514', err.sqlstate)
    assert.equal('limits_small', err.constraint)
    assert.truthy(err.table:find('limits', 1, true))
    assert.equal('none', err.outcome)
    assert.equal(409, err.http)
    assert.is_false(err.retryable)
    assert.equal('constraint: ' .. err.message .. ' (SQLSTATE 23514)', tostring(err))
    assert.equal('seen: ' .. tostring(err), 'seen: ' .. err)
    for _, call in ipairs({
      function() store:upsert('limits', { id = '1', n = 50 }) end,
      function()
        store:upsert('limits', { id = '1', n = 5 })
        store:update('limits', { id = '1', n = 50 })
      end,
      function() store:updateProperty('limits', '1', 'n', 50) end,
      function() store:patch('limits', '1', { inc = { n = 50 } }) end,
      function() store:updateObject('limits', '1', function(doc) doc.n = 50 end) end,
    }) do
      assert.equal('limits_small', refused('constraint', nil, call).constraint)
    end
    assert.equal(5, store:find('limits', '1').n)
  end)

  it('has its hint in its text, as one line', function()
    local err = refused('query_failed', nil, store.query, store, 'SELECT lenght(value::text) '
      .. 'FROM users')
    assert.is_string(err.hint)
    assert.equal('query_failed: ' .. err.message .. ' (SQLSTATE 42883); hint: ' .. err.hint,
      tostring(err))
    err = stores.errors.new('timeout', 'late', { hint = 'look at the locks' })
    assert.equal('timeout: late; hint: look at the locks', tostring(err))
  end)

  it('says which of many records it is about, where no id does', function()
    local err = refused('invalid_document', nil, store.insertMany, store, 'users',
      { { name = 'Ada' }, { name = print } })
    assert.equal('invalid_document: cannot store .name: function (record 2)', tostring(err))
    err = refused('duplicate', nil, store.insertMany, store, 'users',
      { { id = '7' }, { id = '7' } })
    assert.same({ 2, '7' }, { err.index, err.row })
    assert.is_nil(tostring(err):find('record', 1, true))
  end)

  it('names the document neither in its message nor in its text', function()
    store:upsert('limits', { id = '1', n = 5 })
    for _, call in ipairs({
      function() store:insert('limits', { id = '2', n = 50, secret = 'hush-hush' }) end,
      function() store:insert('limits', { id = '2', n = 'hush-hush' }) end,
      function() store:updateProperty('limits', '1', 'n', 'hush-hush') end,
      function() store:updateProperty('limits', '1', { 'n', 'x' }, 'hush-hush') end,
      function() store:insert('users', { secret = 'hush-hush', f = print }) end,
      function() store:find('users', 'hush-hush '):len() end,
    }) do
      local ok, err = pcall(call)
      assert.is_false(ok)
      if err.code ~= 'invalid_id' then
        assert.is_nil(tostring(err):find('hush-hush', 1, true), tostring(err))
      end
    end
  end)

  it('of a duplicate id says which table, and changes nothing', function()
    store:upsert('users', { id = '80', n = 1 })
    local err = refused('duplicate', 'users', store.insert, store, 'users', { id = '80', n = 2 })
    assert.equal(409, err.http)
    assert.truthy(err.table:find('users', 1, true))
    assert.equal(1, store:find('users', '80').n)
    assert.equal(1, store:find('users', '80', { cache = false }).n)
  end)

  it('of a key that is DEFERRABLE says what it lacks', function()
    store:query('CREATE TABLE late (id bigint PRIMARY KEY DEFERRABLE, value jsonb NOT NULL)')
    local err = refused('query_failed', 'deferrable', store.upsert, store, 'late',
      { id = '1' })
    assert.same({ '55000', 'late_pkey' }, { err.sqlstate, err.constraint })
    assert.matches('NOT DEFERRABLE', err.hint)
  end)

  it('is one of its call alone, among many that share a round trip', function()
    store:upsert('users', { id = '80', n = 1 })
    local list = {}
    for i = 1, 60 do list[i] = i end
    local results = stores.map(list, function(i)
      local kind = i % 3
      local ok, err = pcall(store.insert, store, kind == 1 and 'limits' or 'users',
        { id = kind == 2 and '80' or tostring(8000 + i), n = kind == 1 and 50 or 1 })
      return ok and 'ok' or err.code
    end)
    local expected = { [0] = 'ok', 'constraint', 'duplicate' }
    for i = 1, 60 do assert.equal(expected[i % 3], results[i], i) end
    for i = 3, 60, 3 do assert.equal(1, store:find('users', tostring(8000 + i)).n) end
  end)

  it('has one of the codes of the list, each with an HTTP status and a text', function()
    local count = 0
    for code, known in pairs(require('stores.core').codes) do
      count = count + 1
      assert.truthy(code:find('^[%l_]+$'), code)
      assert.is_true(known.http >= 400 and known.http < 600, code)
      assert.is_true(#known.text > 5, code)
      assert.is_boolean(known.retryable)
      local err = stores.errors.new(code)
      assert.equal(known.http, err.http)
      assert.equal(known.retryable, err.retryable)
    end
    assert.is_true(count > 30)
  end)
end)

describe('store.try', function()
  it('gives true and the values, or false and the error', function()
    store:upsert('users', { id = '90', n = 1 })
    local ok, document = store.try:find('users', '90')
    assert.is_true(ok)
    assert.equal(1, document.n)
    ok, document = store.try:find('users', '404')
    assert.is_true(ok)
    assert.is_nil(document)
    local err
    ok, err = store.try:find('users', 90)
    assert.is_false(ok)
    assert.equal('invalid_id', err.code)
    local record, inserted
    ok, record, inserted = store.try:upsert('users', { id = '90', n = 2 })
    assert.is_true(ok)
    assert.equal('90', record.id)
    assert.is_false(inserted)
    local found, missing
    ok, found, missing = store.try:findAllByIds('users', { '90', '404' })
    assert.is_true(ok)
    assert.same({ 1, { '404' } }, { #found, missing })
  end)

  it('has all the verbs, and waits as they do', function()
    store:upsert('users', { id = '90', n = 1 })
    local ok, err = stores.run(function()
      return store.try:updateObject('users', '90', function()
        store:find('users', '404')
        error('mine', 0)
      end)
    end)
    assert.is_false(ok)
    assert.equal('mine', err)
    assert.is_true((store.try:query('SELECT 1')))
    assert.is_false((store.try:query('SELECT 1 / 0')))
    assert.is_true((store.try:transaction(function(tx) tx:find('users', '90') end)))
    assert.equal(store.try, store.try)
    assert.is_nil(store.try.findd)
  end)

  it('is of its own store', function()
    local other = stores.Store.new(support.config(db.database), nil)
    other.try:upsert('users', { id = '91', n = 1 })
    assert.equal(1, store:find('users', '91').n)
    support.close(other)
    assert.is_false((other.try:find('users', '91')))
    assert.is_true((store.try:find('users', '91')))
  end)
end)
