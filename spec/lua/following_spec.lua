--- Calls of updateObject for one row that never end: a batch that comes right behind another one
--- starts from what that one has stored, and runs again where somebody else was in between.

local stores = require('stores')
local support = require('spec.support')

local MANY = 16

describe('updateObject, of many coroutines for one row over and over,', function()
  local store, db

  setup(function() store, db = support.store({ 'counters', 'limited' }) end)
  teardown(function() support.close(store, db) end)

  local function numbers(count)
    local list = {}
    for i = 1, count do list[i] = i end
    return list
  end

  local function add_one(doc) doc.n = doc.n + 1 end

  local function run(from, fn, rounds)
    return stores.map(numbers(MANY), function()
      local last
      for _ = 1, rounds do last = from:updateObject('counters', '1', fn) end
      return last
    end)
  end

  before_each(function()
    store:upsert('counters', { id = '1', n = 0 })
    store:updateObject('counters', '1', add_one) -- a function is trusted once it has run
    store:upsert('counters', { id = '1', n = 0 })
  end)

  local function stored()
    return stores.json.decode((support.psql(db, 'SELECT value FROM counters WHERE id = 1')))
  end

  -- A store of its own has met no conflict: after one a row is locked at once for a while.
  local function with_own(fn, opts)
    local own = stores.Store.new(db, support.redis(), opts)
    local ok, err = pcall(fn, own)
    support.close(own)
    assert(ok, err)
  end

  it('stores without a lock what the batch before has left, and loses nothing', function()
    local rounds = 0
    support.eventually(function()
      local before = store:stats().segments
      run(store, add_one, 10)
      rounds = rounds + 10
      return store:stats().segments > before -- a lock has a transaction of its own
    end)
    assert.equal(MANY * rounds, stored().n)
    assert.equal(MANY * rounds, store:find('counters', '1').n)
  end)

  it('gives each function the result of the one before, and each caller its own', function()
    local seen = {}
    stores.map(numbers(MANY), function(i)
      for _ = 1, 10 do
        local doc = store:updateObject('counters', '1', add_one)
        assert.is_nil(seen[doc.n])
        seen[doc.n] = true
        doc.mine = i -- documents are not shared
      end
    end)
    for i = 1, 10 * MANY do assert.is_true(seen[i]) end
    assert.is_nil(stored().mine)
  end)

  it('loses nothing, whoever else changes the row', function()
    with_own(function(other)
      stores.map(numbers(MANY), function(i)
        for round = 1, 20 do
          local from = i % 4 == 0 and other or store
          from:updateObject('counters', '1', add_one)
          if i == 1 and round % 5 == 0 then from:patch('counters', '1', { inc = { n = 1 } }) end
        end
      end)
    end)
    assert.equal(MANY * 20 + 4, stored().n)
  end)

  -- Somebody else changes the row between two batches, over again until a function was given what
  -- it was before, which a machine that is too busy for that may never do. Gives what the calls
  -- behind the change gave, or raised.
  local function changed_between(sql, fn, old)
    local results, met
    for _ = 1, 4 do
      with_own(function(own)
        own:upsert('counters', { id = '1', n = 0 })
        local function watched(doc)
          if old(doc) then met = true end
          return fn(doc)
        end
        run(own, watched, 3)
        met = false
        support.psql(db, sql)
        results = stores.map(numbers(MANY), function()
          return { own.try:updateObject('counters', '1', watched) }
        end)
      end)
      if met then break end
    end
    return results
  end

  local CLOSE = [[UPDATE counters SET value = '{"id": "1", "n": 0, "closed": true}' WHERE id = 1]]
  local OPEN = [[UPDATE counters SET value = '{"id": "1", "n": 100}' WHERE id = 1]]

  local function is_open(doc) return not doc.closed end
  local function is_low(doc) return doc.n < 100 end

  it('runs functions again on what somebody else has made of the row meanwhile', function()
    local results = changed_between(OPEN, add_one, is_low)
    local seen = {}
    for i = 1, MANY do seen[results[i][2].n] = true end
    for i = 1, MANY do assert.is_true(seen[100 + i]) end
    assert.equal(100 + MANY, stored().n)
  end)

  it('believes nobody who abandons for what the row was before', function()
    local results = changed_between(OPEN, function(doc)
      doc.n = doc.n + 1
      if doc.n > MANY * 3 and doc.n < 100 then return false end
    end, is_low)
    for i = 1, MANY do assert.is_true(results[i][2].n > 100) end
  end)

  it('believes nobody who raises for what the row was before', function()
    local results = changed_between(OPEN, function(doc)
      doc.n = doc.n + 1
      if doc.n > MANY * 3 and doc.n < 100 then error('it is full', 0) end
    end, is_low)
    for i = 1, MANY do assert.is_true(results[i][1], results[i][2]) end
  end)

  it('abandons for what the row is', function()
    local results = changed_between(CLOSE, function(doc)
      doc.n = doc.n + 1
      if doc.closed then return false end
    end, is_open)
    for i = 1, MANY do assert.is_false(results[i][2]) end
    assert.equal(0, stored().n)
  end)

  it('gives nil for a row that was deleted meanwhile', function()
    local results = changed_between('DELETE FROM counters WHERE id = 1', add_one, is_low)
    for i = 1, MANY do
      assert.is_true(results[i][1])
      assert.is_nil(results[i][2])
    end
  end)

  it('undoes alone what raises or cannot be stored, batch after batch', function()
    stores.map(numbers(MANY), function(i)
      for _ = 1, 10 do
        local ok, err = store.try:updateObject('counters', '1', function(doc)
          doc.n = doc.n + 1
          if i % 4 == 0 then error('no', 0) end
          if i % 4 == 1 then doc.bad = print end
          if i % 4 == 2 then return false end
        end)
        if i % 4 == 0 then assert.is_true(not ok and err == 'no') end
        if i % 4 == 1 then assert.equal('invalid_document', err.code) end
        if i % 4 == 2 then assert.is_false(err) end
      end
    end)
    assert.equal(10 * MANY / 4, stored().n)
  end)

  it('goes on with a lock where a function waits for something', function()
    local calls = 0
    local function fn(doc)
      calls = calls + 1
      if calls % 7 == 0 then store:find('counters', '2', { cache = false }) end
      doc.n = doc.n + 1
    end
    run(store, fn, 10)
    assert.equal(10 * MANY, stored().n)
  end)

  it('lets others wait who may not be without a lock, and creates', function()
    store:delete('counters', '1')
    stores.map(numbers(MANY), function(i)
      for _ = 1, 10 do
        store:updateObject('counters', '1', function(doc)
          doc = doc or { n = 0 }
          doc.n = doc.n + 1
          return doc
        end, { create = i % 2 == 0 })
      end
    end)
    assert.is_true(stored().n >= 10 * MANY / 2)
  end)

  it('refuses a function that touches its own row', function()
    local touches = false
    local function fn(doc)
      if touches then store:patch('counters', '1', { set = { n = 99 } }) end
      doc.n = doc.n + 1
    end
    run(store, fn, 5)
    touches = true
    local codes = stores.map(numbers(MANY), function()
      local _, err = store.try:updateObject('counters', '1', fn)
      return err.code
    end)
    for i = 1, MANY do assert.equal('self_deadlock', codes[i]) end
    assert.equal(5 * MANY, stored().n)
  end)

  it('starts from what a trigger made of the row', function()
    support.psql(db, [[CREATE FUNCTION count_it() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN NEW.value := NEW.value || jsonb_build_object('by', OLD.value->'n'); RETURN NEW; END$$;
      CREATE TRIGGER count_it BEFORE UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION count_it()]])
    run(store, add_one, 10)
    local doc = stored()
    support.psql(db, 'DROP TRIGGER count_it ON counters; DROP FUNCTION count_it')
    assert.equal(10 * MANY, doc.n)
    assert.is_true(doc.by >= doc.n - MANY and doc.by < doc.n)
  end)

  -- A trigger that does what its body says, before each UPDATE.
  local function with_trigger(body, fn)
    support.psql(db, ([[CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN %s END$$;
      CREATE TRIGGER touch BEFORE UPDATE ON counters FOR EACH ROW EXECUTE FUNCTION touch()]])
      :format(body))
    local ok, err = pcall(with_own, fn)
    support.psql(db, 'DROP TRIGGER touch ON counters; DROP FUNCTION touch')
    assert(ok, err)
  end

  it('gives who is alone behind a batch what a trigger made of the row', function()
    with_trigger([[NEW.value := NEW.value || '{"touched": true}'; RETURN NEW;]], function(own)
      for _ = 1, 10 do
        run(own, function(doc) doc.touched = nil end, 1)
        assert.is_true(own:updateObject('counters', '1', function(doc)
          doc.touched = nil
        end).touched)
      end
    end)
  end)

  it('gives functions the id of the row, whatever a trigger made of it', function()
    with_trigger([[NEW.value := NEW.value - 'id'; RETURN NEW;]], function(own)
      local others = 0
      run(own, function(doc)
        if doc.id ~= '1' then others = others + 1 end
        doc.n = doc.n + 1
      end, 30)
      assert.equal(0, others)
    end)
  end)

  it('gives nobody a document that a trigger kept from being stored', function()
    with_trigger('RETURN NULL;', function(own)
      stores.map(numbers(MANY), function()
        assert.is_nil(own:updateObject('counters', '1', add_one))
        local ok, err = own.try:updateObject('counters', '1', add_one, { must = true })
        assert.is_false(ok)
        assert.equal('constraint', err.code)
      end)
    end)
    assert.equal(0, stored().n)
  end)

  it('takes large documents as well', function()
    local text = ('x'):rep(20000)
    run(store, function(doc) doc.n, doc.text = doc.n + 1, text end, 5)
    assert.equal(5 * MANY, stored().n)
    assert.equal(text, stored().text)
  end)

  it('changes rows of declared tables as their definitions say', function()
    stores.define('limited', { validate = function(doc)
      if doc.n > 3 * MANY then return false, 'too many' end
    end })
    store:insert('limited', { id = '1', n = 0 })
    local failed = 0
    stores.map(numbers(MANY), function()
      for _ = 1, 5 do
        local ok, err = store.try:updateObject('limited', '1', add_one)
        if not ok then
          assert.equal('invalid_document', err.code)
          failed = failed + 1
        end
      end
    end)
    assert.equal(2 * MANY, failed)
    assert.equal(3 * MANY, store:find('limited', '1', { cache = false }).n)
  end)
end)
