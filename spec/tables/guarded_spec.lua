--- Writes to tables whose documents have a version or a time: one statement where the row is what
--- nearly every one is, and the row's lock where it is not.
-- Not in the gc pass: SQL that plain Lua writes, over verbs that have it.

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

describe('a write to a table with versions and times', function()
  local store, old, new, db, definition

  local function made(version)
    local upgrade = {}
    for step = 2, version do upgrade[step] = function(document) document.steps = step end end
    return stores.define('things', { version = version, upgrade = upgrade, expires = 'until' })
  end

  setup(function()
    store, db = support.store({ 'plain' })
    old, definition, new = made(1), made(2), made(3)
    old = stores.Store.new(db, support.redis(), { tables = { old } })
    new = stores.Store.new(db, support.redis(), { tables = { new } })
    store:close()
    store = stores.Store.new(db, support.redis(), { tables = { definition } })
    store:migrate({ definition })
  end)

  teardown(function()
    old:close()
    new:close()
    support.close(store, db)
  end)

  before_each(function()
    store:query('DELETE FROM things')
    for id = 1, 4 do
      store:insert('things', { id = tostring(id), n = 0, ['until'] = os.time() + 1000 })
      store:upsert('plain', { id = tostring(id), n = 0 })
      store:find('things', tostring(id))
    end
  end)

  local function round_trips(fn)
    local before = store:stats()
    fn()
    local after = store:stats()
    assert.equal(before.pg_resets, after.pg_resets)
    return after.pg_round_trips - before.pg_round_trips
  end

  -- The last one has its row made anew.
  local function writes(name)
    return {
      function() assert.is_true(store:update(name, { id = '1', n = 1 })) end,
      function() assert.is_true(store:patch(name, '2', { inc = { n = 2 } }).n > 0) end,
      function() assert.equal(3, store:updateProperty(name, '3', 'n', 3).n) end,
      function() assert.is_true(store:delete(name, '4')) end,
    }
  end

  -- The least of some times: what a pool asks now and then is no part of a write.
  local function least_round_trips(name, at)
    local least = math.huge
    for _ = 1, 3 do
      if not store:find(name, '4') then store:insert(name, { id = '4', n = 0 }) end
      store:find(name, tostring(at))
      least = math.min(least, round_trips(writes(name)[at]))
    end
    return least
  end

  it('costs what one to another table costs', function()
    for at = 1, 4 do
      assert.equal(least_round_trips('plain', at), least_round_trips('things', at), at)
    end
    assert.equal(6, store:find('things', '2').n)
    assert.equal(2, store:find('things', '1')._version)
    assert.is_nil(store:find('things', '4'))
  end)

  it('gives what it gives elsewhere: etags, text, nothing where there is no row', function()
    local _, etag = store:update('things', { id = '1', n = 5 }, { etag = true })
    assert.same({ store:find('things', '1'), etag }, { store:find('things', '1', { etag = true }) })
    local text
    text, etag = store:patch('things', '2', { inc = { n = 5 } }, { raw = true, etag = true })
    assert.equal(5, stores.json.decode(text).n)
    assert.same({ text, etag }, { store:find('things', '2', { raw = true, etag = true }) })
    assert.is_false(store:update('things', { id = '9', n = 5 }))
    assert.is_nil(store:patch('things', '9', { inc = { n = 5 } }))
    assert.is_false(store:delete('things', '9'))
    refused('not_found', '9', store.delete, store, 'things', '9', { must = true })
    refused('path_blocked', 'n', store.updateProperty, store, 'things', '1', { 'n', 'x' }, 1)
  end)

  it('is not done to what is past, and looks at what its change makes of the time', function()
    store:query([[UPDATE things SET value = value || '{"until": 5}' WHERE id = 1]])
    assert.is_false(store:update('things', { id = '1', n = 7 }))
    assert.is_nil(store:patch('things', '1', { inc = { n = 7 } }))
    assert.is_false(store:delete('things', '1'))
    assert.equal(1, store:query('SELECT count(*) AS n FROM things WHERE id = 1')[1].n)
    refused('invalid_document', 'time', store.updateProperty, store, 'things', '2', 'until', true)
    refused('invalid_document', 'version', store.patch, store, 'things', '2',
      { set = { _version = 1 } })
    local later = os.time() + 5000
    assert.equal(later, store:updateProperty('things', '2', 'until', later)['until'])
    assert.is_nil(store:patch('things', '2', { remove = { 'until' } })['until'])
    assert.equal(1, store:patch('things', '2', { inc = { n = 1 } }).n)
  end)

  it('brings up what is older, and leaves what is newer', function()
    store:query([[UPDATE things SET value = value - '_version' WHERE id < 3]])
    assert.equal(2, store:patch('things', '1', { inc = { n = 1 } }).steps)
    assert.equal(1, store:find('things', '1').n)
    assert.is_true(store:update('things', { id = '2', n = 9 }))
    assert.is_truthy(new:patch('things', '3', { inc = { n = 1 } }))
    refused('newer_version', '3', store.patch, store, 'things', '3', { inc = { n = 1 } })
    refused('newer_version', '3', store.update, store, 'things', { id = '3', n = 1 })
    refused('newer_version', '2', old.update, old, 'things', { id = '1', n = 1 })
    assert.is_true(store:delete('things', '3'))
  end)

  it('takes a document that says no version for one of the first', function()
    store:query([[UPDATE things SET value = value - '_version' WHERE id = 1]])
    store:query([[UPDATE things SET value = value || '{"_version": null}' WHERE id = 2]])
    for id = 1, 2 do
      assert.equal(1, old:patch('things', tostring(id), { inc = { n = 1 } }).n)
      assert.is_true(old:update('things', { id = tostring(id), n = 4 }))
    end
  end)

  it('loses nothing that others write meanwhile, of whichever version', function()
    stores.run(function()
      local tasks = {}
      for i = 1, 6 do
        tasks[i] = stores.spawn(function()
          local one = i % 2 == 0 and store or new
          for round = 1, 20 do
            local id = tostring(round % 4 + 1)
            local ok, err = pcall(one.patch, one, 'things', id, { inc = { n = 1, ['t' .. i] = 1 } })
            assert(ok or err.code == 'newer_version', err)
            if ok then tasks['done' .. i] = (tasks['done' .. i] or 0) + 1 end
          end
        end)
      end
      for i = 1, 6 do tasks[i]:join() end
      local done, there = 0, 0
      for i = 1, 6 do done = done + (tasks['done' .. i] or 0) end
      for id = 1, 4 do there = there + new:find('things', tostring(id)).n end
      assert.is_true(done >= 60)
      assert.equal(done, there)
    end)
  end)
end)
