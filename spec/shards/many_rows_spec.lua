--- Many rows of several shards: side by side, and what is known where some of it failed.
-- Not in the gc pass: SQL that plain Lua writes, over verbs that have it.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused = support.refused
local shards, databases

setup(function()
  local people = stores.define('people', { version = 2, upgrade = { [2] = function(doc)
    if doc.bad then stores.errors.raise('conflict', 'not this one') end
    return doc
  end } })
  shards, databases = three.open(3, { 'items', 'people' }, nil, { tables = { people } })
end)
teardown(function() three.close(shards, databases) end)
before_each(function()
  shards:query('DELETE FROM items', nil, { on = 'all' })
  for _, store in ipairs(shards.shards) do store:invalidate('items') end
end)

describe('many rows of several shards', function()
  it('are stored side by side', function()
    stores.run(function()
      shards:insert('items', { id = '3' })
      local task
      shards:transaction('3', function(tx)
        tx:updateProperty('items', '3', 'n', 1)
        task = stores.spawn(shards.upsertMany, shards, 'items', { { id = '3' }, { id = '4' } })
        support.eventually(function() return shards:exists('items', '4') end)
        assert.is_false(task.done)
      end)
      assert.same({ 'replaced', 'inserted' }, (task:join()))
    end)
  end)

  it('are stored by one after the other where that is wanted', function()
    local list = {}
    for n = 1, 9 do list[n] = { id = tostring(n) } end
    local _, counts = shards:insertMany('items', list, { concurrency = 1 })
    assert.equal(9, counts.inserted)
    local ids = { '1', '2', '3', '4', '5', '6', '7', '8', '9', '10' }
    local deleted, count = shards:deleteMany('items', ids, { concurrency = 2 })
    assert.same({ 9, true, false }, { count, deleted[9], deleted[10] })
    for verb, given in pairs({ insertMany = { {} }, upsertMany = { {} }, deleteMany = { {} },
      updateEach = { {}, function() end }, each = {} }) do
      given[#given + 1] = { partial = true }
      refused('invalid_option', "'partial' does not belong", shards[verb], shards, 'items',
        unpack(given))
    end
  end)

  it('keep the ids that were made for those that are stored, and no others', function()
    shards:insert('items', { id = '4' })
    local list = { { id = '4' } }
    for n = 2, 40 do list[n] = { n = n } end
    local err = refused('duplicate', 'id 4', shards.insertMany, shards, 'items', list)
    assert.same({ 1, 'unknown' }, { err.shard, err.outcome })
    local kept = 0
    for n = 2, 40 do
      if list[n].id then
        kept = kept + 1
        assert.equal(n, shards:find('items', list[n].id).n)
      end
    end
    assert.is_true(kept > 0 and kept < 39)
    assert.equal(kept + 1, shards:count('items'))
    local first = { n = 1 }
    refused('invalid_document', 'a record is', shards.insertMany, shards, 'items', { first, 7 })
    assert.is_nil(first.id)
  end)

  it('keep them for the chunks of a shard that went by themselves', function()
    local list = {}
    for n = 1, 30 do list[n] = { n = n } end
    list[31] = { id = '3', n = 31 }
    shards:insert('items', { id = '3' })
    local err = refused('duplicate', 'id 3', shards.insertMany, shards, 'items', list,
      { transaction = false, batch = 2 })
    assert.equal('unknown', err.outcome)
    local kept = 0
    for n = 1, 30 do kept = kept + (list[n].id and 1 or 0) end
    assert.equal(kept + 1, shards:count('items'))
  end)

  it('are not said to be untouched where an earlier part of them is stored', function()
    local n = 0
    local err = refused('duplicate', nil, shards.insertMany, shards, 'items', function()
      n = n + 1
      return n <= 12 and { id = tostring(n <= 6 and 3 * n or 3) } or nil
    end, { batch = 2 })
    assert.same({ 'unknown', false }, { err.outcome, err.retryable })
    assert.equal(6, shards:count('items'))
  end)
end)

describe('the record that is in the way', function()
  it('is named by its place among all, as a store does', function()
    shards:insert('items', { id = '14' })
    local list = {}
    for n = 1, 20 do list[n] = { id = tostring(n) } end
    local err = refused('duplicate', 'id 14', shards.insertMany, shards, 'items', list)
    assert.same({ 14, '14', 2 }, { err.index, err.row, err.shard })
    shards:query('DELETE FROM items WHERE id <> 14', nil, { on = 'all' })
    err = refused('duplicate', nil, shards.insertMany, shards, 'items', list, { after = 12 })
    assert.equal(14, err.index)
    local n = 0
    err = refused('duplicate', nil, shards.insertMany, shards, 'items', function()
      n = n + 1
      return { id = tostring(n == 9 and 14 or 50 + n) }
    end, { batch = 5 })
    assert.equal(9, err.index)
    for wrong, code in pairs({ [7] = 'invalid_document', [{ id = 'x' }] = 'invalid_id' }) do
      err = refused(code, nil, shards.upsertMany, shards, 'items', { {}, { n = 1 }, wrong })
      assert.equal(3, err.index)
    end
    err = refused('invalid_document', nil, shards.upsertMany, shards, 'items',
      { { id = '1' }, { id = '2' }, { id = '3' }, { id = '4', fn = print } })
    assert.equal(4, err.index)
  end)
end)

describe('a function over the rows of several shards', function()
  local function fill()
    for n = 1, 24 do shards:insert('items', { id = tostring(n), n = 0 }) end
  end

  local function all_are(n)
    return shards:count('items', { n = n }) == 24 and shards:count('items') == 24
  end

  it('changes them side by side', function()
    stores.run(function()
      fill()
      local task, place
      shards:transaction('3', function(tx)
        tx:updateProperty('items', '3', 'held', true)
        task = stores.spawn(shards.updateEach, shards, 'items', {}, function(item)
          item.n = item.n + 1
        end, { all = true, batch = 4, progress = function(_, after) place = after end })
        support.eventually(function()
          return shards.shards[2]:count('items', { n = 1 }) == 8
            and shards.shards[3]:count('items', { n = 1 }) == 8
        end)
        assert.is_false(task.done)
        assert.matches('^,%d+,%d+$', place)
      end)
      local count, last = task:join()
      assert.same({ 24, '24,22,23' }, { count, last })
      assert.is_true(all_are(1))
    end)
  end)

  it('changes those of one shard after the other where that is wanted', function()
    fill()
    local order = {}
    shards:updateEach('items', {}, function(item)
      order[#order + 1] = tonumber(item.id) % 3
    end, { all = true, batch = 2, concurrency = 1 })
    for place = 2, #order do assert.is_true(order[place - 1] <= order[place]) end
  end)

  it('goes on in each behind what was done there, where one failed or somebody was killed',
    function()
      fill()
      local count, after = 0, nil
      for at = 5, 45, 10 do
        local seen = 0
        local ok, err = shards.try:updateEach('items', {}, function(item)
          seen = seen + 1
          if seen == at then stores.errors.raise('conflict', 'not this one') end
          item.n = item.n + 1
        end, { all = true, batch = 3, after = after })
        if ok then
          count = count + err
          break
        end
        assert.same({ 'conflict', 'none' }, { err.code, err.outcome })
        count, after = count + err.count, err.after
      end
      assert.equal(24, count)
      assert.is_true(all_are(1))
      local told
      pcall(shards.updateEach, shards, 'items', {}, function(item) item.n = item.n + 1 end,
        { all = true, batch = 3, progress = function(done, place)
          told = place
          if done > 8 then error('killed', 0) end
        end })
      local rest = shards:updateEach('items', {}, function(item) item.n = item.n + 1 end,
        { where = { { 'n', '=', 1 } }, batch = 3, after = told })
      assert.is_true(rest < 24 and all_are(2))
      assert.equal(0, shards:updateEach('items', {}, function() end,
        { all = true, after = '99,99,99' }))
      for _, wrong in ipairs({ '1', '1,2', '1,2,3,4', '1,2,x', '0/7' }) do
        refused('invalid_option', 'after', shards.updateEach, shards, 'items', {}, function() end,
          { all = true, after = wrong })
      end
    end)
end)

describe('an upgrade of shards that stops in two of them', function()
  it('goes on behind the one that came less far', function()
    for id = 1, 12 do
      shards:query('INSERT INTO people VALUES ($1, $2::jsonb)', { tostring(id),
        (id == 9 or id == 4) and '{"bad": true}' or '{}' }, { on = tostring(id) })
    end
    local err = refused('conflict', 'not this one', shards.upgrade, shards, 'people')
    assert.equal('1', err.after)
    for id = 4, 9, 5 do
      shards:query("UPDATE people SET value = '{}' WHERE id = $1", { tostring(id) },
        { on = tostring(id) })
    end
    shards:upgrade('people', { after = err.after })
    assert.equal(12, shards:count('people', { _version = 2 }))
  end)
end)
