--- Calls of updateObject for one row: those that wait are served by one lock and one COMMIT.

local stores = require('stores')
local support = require('spec.support')

describe('updateObject, of many coroutines for one row,', function()
  local store, db

  setup(function() store, db = support.store({ 'counters' }) end)
  teardown(function() support.close(store, db) end)
  before_each(function() store:upsert('counters', { id = '1', n = 0 }) end)

  local function numbers(count)
    local list = {}
    for i = 1, count do list[i] = i end
    return list
  end

  local function n() return store:find('counters', '1', { cache = false }).n end

  it('gives each function the result of the one before, and each caller its own', function()
    local results = stores.map(numbers(64), function()
      return store:updateObject('counters', '1', function(doc) doc.n = doc.n + 1 end)
    end)
    local seen = {}
    for i, doc in ipairs(results) do
      assert.is_nil(seen[doc.n])
      seen[doc.n] = true
      doc.mine = i -- documents are not shared: what one caller changes no other one sees
    end
    for i = 1, 64 do assert.is_true(seen[i]) end
    assert.equal(64, n())
  end)

  it('commits a few times, not once a call', function()
    local before = store:stats().commits
    stores.map(numbers(64), function()
      for _ = 1, 5 do
        store:updateObject('counters', '1', function(doc) doc.n = doc.n + 1 end)
      end
    end)
    assert.equal(320, n())
    assert.is_true(store:stats().commits - before <= 64)
  end)

  it('takes one connection, whatever the number of callers', function()
    local other, other_db = support.store({ 'counters' }, { no_redis = true }, { poolsize = 5 })
    other:insert('counters', { id = '1', n = 0 })
    local connects = other:stats().pg_connects
    stores.map(numbers(50), function()
      other:updateObject('counters', '1', function(doc) doc.n = doc.n + 1 end)
    end)
    assert.is_true(other:stats().pg_connects - connects <= 1)
    support.close(other, other_db)
  end)

  it('undoes a function that raises alone', function()
    local results = stores.map(numbers(30), function(i)
      local ok, err = store.try:updateObject('counters', '1', function(doc)
        doc.n = doc.n + 1
        if i % 3 == 0 then error({ mine = i }, 0) end
      end)
      return ok or err.mine == i
    end)
    assert.equal(20, n())
    for i = 1, 30 do assert.is_true(results[i]) end
  end)

  it('undoes one whose document cannot be stored alone', function()
    local codes = stores.map(numbers(10), function(i)
      local ok, err = store.try:updateObject('counters', '1', function(doc)
        doc.n = doc.n + 1
        if i == 4 then doc.bad = print end
      end)
      return ok and 'stored' or err.code
    end)
    assert.equal('invalid_document', codes[4])
    assert.equal(9, n())
  end)

  it('runs one again whose leader came to its deadline meanwhile, and tells what became of it',
    function()
      local function slowly(doc)
        stores.sleep(0.3)
        doc.n = doc.n + 1
      end
      local leader = stores.spawn(function()
        return store.try:updateObject('counters', '1', function(doc) doc.n = doc.n + 100 end,
          { timeout = 0.15 })
      end)
      local results = stores.map(numbers(3), function()
        return store:updateObject('counters', '1', slowly)
      end)
      leader:join()
      local last = n() % 100
      assert.equal(3, last)
      local seen = {}
      for i = 1, 3 do seen[results[i].n % 100] = true end
      assert.same({ true, true, true }, seen)
    end)

  it('names a function that touches its own row, whoever has the lock', function()
    local codes = stores.map(numbers(3), function()
      local _, err = store.try:updateObject('counters', '1', function()
        store:patch('counters', '1', { set = { touched = true } })
      end, { timeout = 5 })
      return err.code
    end)
    assert.same({ 'self_deadlock', 'self_deadlock', 'self_deadlock' }, codes)
    assert.is_nil(store:find('counters', '1', { cache = false }).touched)
  end)

  it('raises closed from those that wait while the store is closed', function()
    local other = stores.Store.new(db, support.redis())
    local tasks = {}
    stores.run(function()
      local began, is_closed
      for i = 1, 4 do
        tasks[i] = stores.spawn(function()
          return pcall(other.updateObject, other, 'counters', '1', function()
            began = true
            support.eventually(function() return is_closed end)
          end)
        end)
      end
      support.eventually(function() return began end)
      other:close()
      is_closed = true
      for i = 1, 4 do
        local ok, err = tasks[i]:join()
        assert.is_true(not ok and stores.errors.is(err, 'closed'), tostring(err))
      end
    end)
  end)

  it('lets one abandon, and one find nothing, among the others', function()
    local results = stores.map(numbers(9), function(i)
      return store:updateObject('counters', '1', function(doc)
        if i % 2 == 0 then return false end
        doc.n = doc.n + 1
      end)
    end)
    assert.is_false(results[2])
    assert.equal(5, n())
  end)

  it('ends the batch with a function that waits for something', function()
    local order = {}
    stores.map(numbers(12), function(i)
      store:updateObject('counters', '1', function(doc)
        if i == 3 then store:find('counters', '2', { cache = false }) end
        doc.n = doc.n + 1
        order[#order + 1] = i
      end)
    end)
    assert.equal(12, n())
    assert.equal(12, #order)
  end)

  it('makes one row where many create it', function()
    store:delete('counters', '7')
    stores.map(numbers(20), function()
      store:updateObject('counters', '7', function(doc)
        doc = doc or { n = 0 }
        doc.n = doc.n + 1
        return doc
      end, { create = true })
    end)
    assert.equal(20, store:find('counters', '7', { cache = false }).n)
  end)

  it('lets a caller go at its deadline, and serves the others', function()
    local results = stores.all({
      function()
        return store:updateObject('counters', '1', function(doc)
          stores.sleep(0.3)
          doc.n = doc.n + 1
        end)
      end,
      function()
        local ok, err = store.try:updateObject('counters', '1', function(doc) doc.n = 100 end,
          { timeout = 0.05 })
        return not ok and err
      end,
      function()
        return store:updateObject('counters', '1', function(doc) doc.n = doc.n + 1 end)
      end,
    })
    assert.equal('timeout', results[2].code)
    assert.equal('none', results[2].outcome)
    assert.equal(2, n())
  end)

  it('is a transaction for each where combine = false', function()
    local before = store:stats().commits
    stores.map(numbers(10), function()
      store:updateObject('counters', '1', function(doc) doc.n = doc.n + 1 end, { combine = false })
    end)
    assert.equal(10, n())
    assert.equal(10, store:stats().commits - before)
  end)

  it('leaves nothing of a row behind', function()
    assert.equal(0, store.updating.busy)
    stores.map(numbers(600), function(i)
      assert.is_nil(store:updateObject('counters', ('%d'):format(1000 + i), function() end))
    end, { concurrency = 64 })
    local rows = 0
    for _ in pairs(store.updating.by_key) do rows = rows + 1 end
    assert.is_true(rows <= 256, rows .. ' rows are remembered')
    assert.equal(rows, store.updating.idle)
  end)
end)
