--- updateObject where others are in the way: the function runs again, and no update is lost,
--- whatever the functions do.

local stores = require('stores')
local support = require('spec.support')

local store, db

setup(function() store, db = support.store({ 'docs' }) end)
teardown(function() support.close(store, db) end)

local function idle()
  local stats = store:stats()
  return stats.ops == 0 and stats.transactions == 0 and stats.pool_checked_out == 0
end

after_each(function() support.eventually(idle, 20, 'nothing is left of the calls') end)

describe('retries', function()
  setup(function()
    -- refuses the first updates after the sequence was reset, in a way that asks for another try
    store:query([[
      CREATE TABLE flaky (id bigint PRIMARY KEY, value jsonb);
      CREATE SEQUENCE tries;
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF nextval('tries') <= (NEW.value->>'refusals')::int THEN
            RAISE EXCEPTION 'try again' USING ERRCODE = '40001';
          END IF;
          RETURN NEW;
        END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON flaky FOR EACH ROW EXECUTE FUNCTION refuse();
    ]])
  end)

  local function attempt(refusals, opts)
    store:upsert('flaky', { id = '1', refusals = 0, n = 0 })
    store:query("SELECT setval('tries', 1, false)")
    local runs = 0
    local ok, result = pcall(store.updateObject, store, 'flaky', '1', function(doc)
      runs = runs + 1
      doc.n = doc.n + 1
      doc.refusals = refusals
    end, opts)
    return ok, result, runs
  end

  it('run the function again, on a fresh document', function()
    local ok, document, runs = attempt(3)
    assert.is_true(ok, tostring(document))
    assert.equal(4, runs)
    assert.equal(1, document.n)
  end)

  it('end, with the error of the last one', function()
    local ok, err, runs = attempt(100, { retries = 2 })
    assert.is_false(ok)
    assert.equal('serialization', err.code)
    assert.equal('40001', err.sqlstate)
    assert.equal('none', err.outcome)
    assert.is_true(err.retryable)
    assert.equal(3, runs)
    assert.equal(0, store:find('flaky', '1').n)
  end)

  it('can be none', function()
    local ok, err, runs = attempt(1, { retries = 0 })
    assert.is_false(ok)
    assert.equal('serialization', err.code)
    assert.equal(1, runs)
  end)

  it('do not outlast the deadline', function()
    local hub = require('stores.wait').host.hub()
    local began = hub:now()
    local ok, err = attempt(1000, { retries = 1000, timeout = 0.5 })
    assert.is_false(ok)
    assert.truthy(err.code == 'serialization' or err.code == 'timeout', tostring(err))
    assert.is_true(hub:now() - began < 15)
  end)
end)

it('a transaction whose store is closed before it tries again raises closed', function()
  local own = stores.Store.new(db, support.redis())
  local tries = 0
  stores.run(function()
    local task = stores.spawn(function()
      return own.try:transaction(function()
        tries = tries + 1
        own:query("DO $$ BEGIN RAISE 'try again' USING ERRCODE = '40001'; END $$")
      end, { retries = 100 })
    end)
    support.eventually(function() return tries >= 4 and own:stats().ops == 0 end)
    own:close()
    local ok, err = task:join()
    assert.is_false(ok)
    assert.equal('closed', err.code, err.message)
  end)
end)

describe('no update is lost', function()
  -- So many coroutines, each adding 1 so many times by the store that `pick` gives it.
  local function count_up(id, coroutines, times, opts, pick)
    store:insert('docs', { id = id, n = 0 })
    local list = {}
    for i = 1, coroutines do list[i] = i end
    stores.map(list, function(i)
      for _ = 1, times do
        pick(i):updateObject('docs', id, function(doc) doc.n = doc.n + 1 end, opts)
      end
    end)
    assert.equal(coroutines * times, store:find('docs', id).n)
    assert.equal(coroutines * times, store:find('docs', id, { cache = false }).n)
  end

  it('by 64 coroutines that add 1 a hundred times each', function()
    count_up('50', 64, 100, nil, function() return store end)
  end)

  it('without combining', function()
    count_up('51', 16, 20, { combine = false }, function() return store end)
  end)

  it('by two stores at once', function()
    local other = stores.Store.new(support.config(db.database), support.redis())
    count_up('52', 16, 20, nil, function(i) return i % 2 == 0 and store or other end)
    support.close(other)
  end)

  it('by functions that wait, raise and abandon in between', function()
    store:insert('docs', { id = '53', n = 0 })
    local list, added = {}, 0
    for i = 1, 32 do list[i] = i end
    stores.map(list, function(i)
      for round = 1, 10 do
        local kind = (i + round) % 4
        pcall(store.updateObject, store, 'docs', '53', function(doc)
          doc.n = doc.n + 1
          if kind == 1 then stores.sleep(0.001) end
          if kind == 2 then error('undone') end
          if kind == 3 then return false end
        end)
        if kind < 2 then added = added + 1 end
      end
    end)
    assert.equal(160, added)
    assert.equal(160, store:find('docs', '53', { cache = false }).n)
    assert.equal(160, store:find('docs', '53').n)
  end)
end)
