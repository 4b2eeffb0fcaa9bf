--- updateObject of many rows at once: functions that do not wait run without a lock, and a row that
--- somebody else changed meanwhile is locked, and its function runs again.

local stores = require('stores')
local support = require('spec.support')

local ROWS = 40

describe('updateObject, of many rows at once,', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  local function numbers(count)
    local list = {}
    for i = 1, count do list[i] = i end
    return list
  end

  local function id_of(i) return tostring((i - 1) % ROWS + 1) end

  local function add_one(doc) doc.n = doc.n + 1 end

  -- A function is trusted once it has run: here they have.
  local function fill()
    for i = 1, ROWS do store:upsert('docs', { id = id_of(i), n = 0 }) end
    store:updateObject('docs', '1', function(doc) doc.seen = true end)
    store:updateObject('docs', '1', add_one)
    store:upsert('docs', { id = '1', n = 0 })
  end

  before_each(fill)

  local function sum()
    local total = 0
    for _, doc in ipairs((store:findAllByIds('docs', stores.map(numbers(ROWS), id_of)))) do
      total = total + doc.n
    end
    return total
  end

  it('shares transactions, and gives each caller its own document', function()
    local before = store:stats()
    local results = stores.map(numbers(ROWS), function(i)
      return store:updateObject('docs', id_of(i), add_one)
    end)
    for i = 1, ROWS do
      assert.same({ id = id_of(i), n = 1 }, results[i])
      results[i].mine = i
    end
    assert.is_true(store:stats().commits - before.commits <= ROWS / 4)
    assert.equal(ROWS, sum())
  end)

  -- By a store that has no text of a row from a moment ago, which an upsert has replaced since.
  it('runs each function once where nobody is in the way', function()
    local own, runs = stores.Store.new(db, support.redis()), 0
    local function count(doc)
      runs = runs + 1
      doc.n = doc.n + 1
    end
    own:updateObject('docs', '1', count)
    stores.map(numbers(ROWS), function(i) own:updateObject('docs', id_of(i), count) end)
    assert.equal(ROWS + 1, runs)
    support.close(own)
  end)

  it('loses nothing, whoever else changes the rows', function()
    local other = stores.Store.new(db, support.redis())
    stores.map(numbers(200), function(i)
      for round = 1, 5 do
        local from = (i + round) % 2 == 0 and store or other
        from:updateObject('docs', id_of(i * 7 + round), add_one)
        if i % 20 == 0 then
          from:patch('docs', id_of(i + round), { inc = { n = 1 } })
        end
      end
    end)
    assert.equal(1050, sum())
    assert.equal('1050', (support.psql(db, "SELECT sum((value->>'n')::int) FROM docs")
      :gsub('%s', '')))
    other:close()
  end)

  -- What the row holds is changed behind the back of the function that runs; once. By a store of
  -- its own, which has met no conflict: after one a row is locked at once for a while.
  local function changed_under(id, sql, also)
    local own = stores.Store.new(db, support.redis())
    local runs, changed, seen = 0, true, nil
    local function fn(doc)
      runs = runs + 1
      if doc.id == id then
        seen = doc
        if not changed then support.psql(db, sql) end
        changed = true
      end
      doc.n = doc.n + 1
      if also then also(doc) end
    end
    own:updateObject('docs', '1', fn)
    runs, changed = 0, false
    local ok, results = pcall(stores.map, numbers(ROWS), function(i)
      return own:updateObject('docs', id_of(i), fn)
    end)
    support.close(own)
    assert(ok, results)
    return results[tonumber(id)], seen, runs
  end

  it('runs the function again on a row that was changed meanwhile', function()
    local result, seen, runs = changed_under('20',
      "UPDATE docs SET value = value || '{\"by\": \"psql\"}' WHERE id = 20")
    assert.same({ id = '20', n = 1, by = 'psql' }, result)
    assert.equal('psql', seen.by)
    assert.equal(ROWS + 1, runs)
    assert.same(result, store:find('docs', '20'))
  end)

  it('takes 1 and 1.0 for a change, though jsonb says that they are equal', function()
    local result = changed_under('21',
      "UPDATE docs SET value = jsonb_set(value, '{n}', '0.0') WHERE id = 21",
      function(doc) doc.n = doc.id == '21' and doc.n or 0 end)
    assert.equal('21', result.id)
    assert.equal('1', (support.psql(db, "SELECT value->>'n' FROM docs WHERE id = 21")
      :gsub('%s', '')))
  end)

  it('gives nil for a row that was deleted meanwhile', function()
    assert.is_nil((changed_under('22', 'DELETE FROM docs WHERE id = 22')))
    assert.is_nil(store:find('docs', '22', { cache = false }))
  end)

  it('locks the row of a function that has waited before, and runs none twice for that', function()
    local runs = {}
    local waits = false
    local function fn(doc)
      runs[doc.id] = (runs[doc.id] or 0) + 1
      if waits then
        store:find('docs', '999', { cache = false })
        local ok, answer = pcall(support.psql, db,
          ('SELECT 1 FROM docs WHERE id = %s FOR UPDATE NOWAIT'):format(doc.id))
        doc.locked = not ok and answer:find('could not obtain lock', 1, true) ~= nil
      end
      doc.n = doc.n + 1
    end
    -- six locks and the finds inside have to fit into the eight connections of the specs' pooler,
    -- which lets those wait for ever that are one too many
    store:updateObject('docs', '1', fn)
    store:upsert('docs', { id = '1', n = 0 })
    runs, waits = {}, true
    local results = stores.map(numbers(6), function(i)
      return store:updateObject('docs', id_of(i), fn)
    end)
    for i = 1, 6 do
      assert.equal(1, results[i].n)
      assert.equal(1, runs[id_of(i)])
    end
    results = stores.map(numbers(6), function(i) -- it is known by now
      return store:updateObject('docs', id_of(i), fn)
    end)
    for i = 1, 6 do
      assert.is_true(results[i].locked)
      assert.equal(2, runs[id_of(i)])
    end
  end)

  it('lets functions raise, abandon, break their document and find nothing', function()
    local function fn(doc)
      doc.n = doc.n + 1
      local number = tonumber(doc.id)
      if number == 1 then return end
      if number % 5 == 0 then error({ mine = doc.id }, 0) end
      if number % 5 == 1 then return false end
      if number % 5 == 2 then doc.bad = print end
      if number % 5 == 3 then return { n = 'another' } end
    end
    store:updateObject('docs', '1', fn)
    store:upsert('docs', { id = '1', n = 0 })
    local results = stores.map(numbers(ROWS), function(i)
      local ok, value = store.try:updateObject('docs', id_of(i), fn)
      return { ok, value }
    end)
    for i = 2, ROWS do
      local ok, value = results[i][1], results[i][2]
      if i % 5 == 0 then
        assert.is_true(not ok and value.mine == id_of(i))
      elseif i % 5 == 1 then
        assert.is_true(ok and value == false)
      elseif i % 5 == 2 then
        assert.equal('invalid_document', value.code)
      else
        assert.same({ id = id_of(i), n = i % 5 == 3 and 'another' or 1 }, value)
      end
    end
    local missing = stores.map(numbers(ROWS), function(i)
      return store:updateObject('docs', tostring(1000 + i), fn) == nil
    end)
    for i = 1, ROWS do assert.is_true(missing[i]) end
  end)

  it('refuses a value that is no object, and adds the id where it is missing', function()
    support.psql(db, [[UPDATE docs SET value = '[1]' WHERE id = 2;
      UPDATE docs SET value = '{"n": 5}' WHERE id = 3]])
    local results = stores.map(numbers(ROWS), function(i)
      local ok, value = store.try:updateObject('docs', id_of(i), add_one)
      return { ok, value }
    end)
    assert.equal('not_a_document', results[2][2].code)
    assert.same({ id = '3', n = 6 }, results[3][2])
    support.psql(db, 'DELETE FROM docs WHERE id = 2')
  end)

  it('raises where a function touches its own row, which nobody has changed then', function()
    local touches = false
    local function fn(doc)
      if touches then store:patch('docs', doc.id, { set = { n = 99 } }) end
      doc.n = doc.n + 1
    end
    store:updateObject('docs', '1', fn)
    store:upsert('docs', { id = '1', n = 0 })
    touches = true
    local codes = stores.map(numbers(8), function(i)
      local _, err = store.try:updateObject('docs', id_of(i), fn)
      return err.code
    end)
    for i = 1, 8 do assert.equal('self_deadlock', codes[i]) end
    assert.equal(0, sum())
  end)

  it('shows what it stored to readers of the cache at once', function()
    for round = 1, 5 do
      stores.map(numbers(ROWS), function(i)
        local id = id_of(i)
        store:find('docs', id)
        assert.equal(round, store:updateObject('docs', id, add_one).n)
        assert.equal(round, store:find('docs', id).n)
      end)
    end
  end)

  it('takes a lock for each with combine = false', function()
    local before = store:stats().commits
    stores.map(numbers(ROWS), function(i)
      store:updateObject('docs', id_of(i), add_one, { combine = false })
    end)
    assert.equal(ROWS, store:stats().commits - before)
  end)
end)
