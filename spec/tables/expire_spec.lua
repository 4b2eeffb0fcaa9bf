--- expires: documents that are gone to every verb once their time is over.

local stores = require('stores')
local support = require('spec.support')

local store, db
local definition

setup(function()
  store, db = support.store()
  definition = stores.define('sessions', { expires = 'expires_at', unique = { 'token' } })
  store:migrate({ definition })
end)
teardown(function() support.close(store, db) end)
before_each(function() store:query('DELETE FROM sessions') end)

local function count_rows()
  return store:query('SELECT count(*) AS n FROM sessions')[1].n
end

local function text(seconds)
  return os.date('!%Y-%m-%dT%H:%M:%SZ', os.time() + seconds)
end

-- In each form of a time: over, to come, and none.
local OVER = { os.time() - 1000, 0, -5, stores.json.number('1.5'), text(-1000),
  '2020-01-01T00:00:00.123456Z' }
local TO_COME = { os.time() + 1000, 1e18, text(1000), '9999-12-31T23:59:59Z', stores.json.null }

local function refused(code, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.equal(code, err.code, tostring(err))
  return err
end

local function is_gone(t)
  for i, over in ipairs(OVER) do
    local id = tostring(i)
    t:insert('sessions', { id = id, n = i, expires_at = over })
    for _, opts in ipairs({ {}, { raw = true }, { cache = false } }) do
      assert.is_nil(t:find('sessions', id, opts), i)
    end
    assert.is_nil((t:find('sessions', id, { etag = true })))
    assert.is_false(t:exists('sessions', id))
    local found, missing = t:findAllByIds('sessions', { id })
    assert.same({ 0, id }, { #found, missing[1] })
    assert.is_false(t:update('sessions', { id = id, n = 0 }))
    assert.is_nil(t:patch('sessions', id, { set = { n = 0 } }))
    assert.is_nil(t:updateProperty('sessions', id, 'n', 0))
    assert.is_nil(t:updateObject('sessions', id, function() error('there is none') end))
    assert.is_false(t:delete('sessions', id))
    assert.is_nil(t:findOne('sessions', { n = i }))
  end
  assert.equal(0, t:count('sessions'))
  assert.equal(0, t:count('sessions', { n = 1 }))
  assert.equal(0, #t:findAll('sessions'))
  assert.equal(0, #t:findAll('sessions', { where = { { 'n', '>', 0 } }, order = { '-n' },
    limit = 3 }))
  assert.equal(0, #t:findByJSON('sessions', { n = 1 }))
  for _ in t:each('sessions') do error('there is none') end
  assert.equal(0, #t:deleteWhere('sessions', nil, { where = { { 'n', '>', 0 } } }))
end

local function makes_room(t)
  for i in ipairs(OVER) do
    local record = { id = tostring(i), n = i }
    if i == 1 then t:insert('sessions', record) end
    if i == 2 then assert.same({ record, true }, { t:upsert('sessions', record) }) end
    if i == 3 then
      t:updateObject('sessions', '3', function(doc)
        assert.is_nil(doc)
        return record
      end, { create = true })
    end
  end
  assert.equal(3, t:count('sessions'))
  assert.equal(3, t:find('sessions', '3').n)
  refused('conflict', t.update, t, 'sessions', { id = '4' }, { if_match = ('0'):rep(32) })
end

describe('a document that is past its time', function()
  it('is gone to every verb, and makes room for another', function()
    is_gone(store)
    assert.equal(#OVER, count_rows())
    makes_room(store)
    refused('duplicate', store.insert, store, 'sessions', { id = '1' })
  end)

  it('is so in a transaction', function()
    store:transaction(is_gone)
    store:transaction(makes_room)
  end)

  it('is gone to findBy', function()
    store:insert('sessions', { id = '1', token = 'a', expires_at = os.time() + 1000 })
    for _ = 1, 2 do assert.equal('1', store:findBy('sessions', 'token', 'a').id) end
    store:update('sessions', { id = '1', token = 'a', expires_at = 5 })
    assert.is_nil(store:findBy('sessions', 'token', 'a'))
  end)

  it('is gone at once where it was in the cache, to each process', function()
    local other = stores.Store.new(db, support.redis(), { tables = { definition } })
    store:insert('sessions', { id = '1', expires_at = other:query(
      'SELECT extract(epoch FROM clock_timestamp()) + 1 AS t')[1].t })
    assert.is_truthy(store:find('sessions', '1'))
    support.eventually(function() return store:find('sessions', '1') == nil end, 20)
    support.eventually(function() return other:find('sessions', '1') == nil end)
    assert.equal(0, other:count('sessions'))
    other:close()
  end)
end)

describe('a document whose time is to come, or that has none', function()
  it('is there', function()
    for i, time in ipairs(TO_COME) do
      store:insert('sessions', { id = tostring(i), n = i, expires_at = time })
      assert.equal(i, store:find('sessions', tostring(i)).n)
      assert.is_true(store:update('sessions', { id = tostring(i), n = i, expires_at = time }))
      assert.equal(i, store:patch('sessions', tostring(i), { set = { m = 1 } }).n)
    end
    store:insert('sessions', { id = '50', n = 0 })
    assert.equal(#TO_COME + 1, store:count('sessions'))
    assert.equal(#TO_COME + 1, #store:findAll('sessions'))
    assert.equal(0, store:expire('sessions'))
    assert.is_true(store:delete('sessions', '50'))
    assert.equal(#TO_COME, #store:deleteWhere('sessions', {}, { all = true }))
  end)

  it('has a time that is one, or is refused', function()
    for _, value in ipairs({ 'tomorrow', '2026-07-31', '2026-07-31T12:00:00+02:00', true, { 1 },
      '2026-13-31T12:00:00Z', '2026-07-31T12:00:00.Z', '2026-07-31t12:00:00z',
      '2026-07-31T12:00:00123Z' }) do
      local err = refused('invalid_document', store.insert, store, 'sessions',
        { expires_at = value })
      assert.same({ 'expires_at' }, err.path)
    end
    store:insert('sessions', { id = '1' })
    refused('invalid_document', store.patch, store, 'sessions', '1',
      { set = { expires_at = 'soon' } })
  end)
end)

describe('expire', function()
  it('deletes what is over, in batches, and tells the cache', function()
    for i = 1, 30 do
      store:insert('sessions', { id = tostring(i), expires_at = i <= 20 and OVER[i % #OVER + 1]
        or TO_COME[i % #TO_COME + 1] })
      store:find('sessions', tostring(i))
    end
    local plain = stores.Store.new(db, support.redis(), { tables = {} })
    assert.is_truthy(plain:find('sessions', '1')) -- who knows of no times sees the row
    assert.equal(20, store:expire('sessions', { batch = 3, pause = 0.001 }))
    assert.equal(10, count_rows())
    assert.is_nil(plain:find('sessions', '1'))
    assert.is_truthy(plain:find('sessions', '21'))
    assert.equal(0, store:expire('sessions'))
    plain:close()
  end)

  it('deletes it also where the cache does not keep its table', function()
    for change, back in pairs({ ['SET UNLOGGED'] = 'SET LOGGED',
      ['ENABLE ROW LEVEL SECURITY'] = 'DISABLE ROW LEVEL SECURITY' }) do
      store:query('ALTER TABLE sessions ' .. change)
      for i, over in ipairs(OVER) do
        store:insert('sessions', { id = tostring(i), expires_at = over })
      end
      assert.equal(#OVER, store:expire('sessions', { batch = 2 }), change)
      assert.equal(0, count_rows())
      store:query('ALTER TABLE sessions ' .. back)
    end
  end)

  it('waits for nobody who holds a row', function()
    for i = 1, 3 do store:insert('sessions', { id = tostring(i), expires_at = 5 }) end
    local other = stores.Store.new(db, support.redis(), { tables = {} })
    other:transaction(function(tx)
      tx:updateObject('sessions', '2', function() return false end)
      assert.equal(2, store:expire('sessions', { timeout = 20 }))
    end)
    assert.equal(1, store:expire('sessions'))
    other:close()
  end)

  it('asks the index over the times', function()
    store:query([[INSERT INTO sessions SELECT i, jsonb_build_object('expires_at', 3000000000 + i)
      FROM generate_series(1, 4000) AS i]])
    store:query([[INSERT INTO sessions SELECT i, jsonb_build_object('expires_at',
      '2999-01-01T00:00:00Z', 'n', i) FROM generate_series(4001, 8000) AS i]])
    store:query('ANALYZE sessions')
    store:insert('sessions', { id = '50000', expires_at = 5 })
    store:insert('sessions', { id = '50001', expires_at = '2000-01-01T00:00:00Z' })
    local times, seen = require('stores.tables.times'), {}
    for _, form in ipairs(times.over_sql({ 'expires_at' }, os.time())) do
      store:transaction(function(tx)
        tx:query("SET LOCAL plan_cache_mode = 'force_generic_plan'")
        tx:query(('PREPARE over AS SELECT id FROM sessions WHERE %s ORDER BY '):format(
          form.condition) .. "NULLIF(value #> '{expires_at}'::text[], 'null'::jsonb), id LIMIT 500")
        local plan = tx:query(("EXPLAIN EXECUTE over ('%s')"):format(form.param))
        for _, row in ipairs(plan) do
          seen[#seen + 1] = row['QUERY PLAN']:match('sessions_expires_at_idx_%x+')
        end
        tx:query('DEALLOCATE over')
      end)
    end
    assert.equal(2, #seen)
    assert.equal(2, store:expire('sessions'))
  end)

  it('is refused for a table whose documents have no time', function()
    refused('invalid_argument', store.expire, store, 'others')
  end)
end)
