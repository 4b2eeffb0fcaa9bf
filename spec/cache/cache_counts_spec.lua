--- What a single call of a warm engine costs, outside coroutines, as stats() counts it.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('a call of a warm engine', function()
  local store, db, keys, plain

  local function warm(one)
    one:insert('docs', { id = '1', n = 1 })
    one:update('docs', { id = '1', n = 2 })
    one:upsert('docs', { id = '1', n = 3 })
    one:updateProperty('docs', '1', 'n', 4)
    one:updateObject('docs', '1', function(doc) doc.n = 5 end)
    one:find('docs', '1')
    one:find('docs', '2')
    one:delete('docs', '1')
  end

  setup(function()
    store, db = support.store({ 'docs' })
    keys = cache.of(db)
    plain = stores.Store.new(db, support.redis(), { cache = false })
    -- every statement is prepared, the epoch stands, and no turn is under way
    keys:ready(store, 'public.docs')
    for _, one in ipairs({ store, plain }) do warm(one) end
    keys:becomes('public.docs', '1', 'N')
  end)

  teardown(function()
    support.close(plain)
    support.close(store, db)
  end)

  -- Round trips to both servers while fn runs, and what of Redis's answers was there by then.
  local function cost(fn, of)
    local one = of or store
    -- what is asked every few seconds is asked by these: Redis' policy, the facts of the table
    one:find('docs', '0')
    one:find('docs', '0', { cache = false })
    -- what the call before left to be answered
    support.eventually(function() return (one:stats().redis_pending or 0) == 0 end)
    local before = one:stats()
    fn()
    local after = one:stats()
    return {
      redis = (after.redis_round_trips or 0) - (before.redis_round_trips or 0),
      pg = after.pg_round_trips - before.pg_round_trips,
      statements = after.pg_statements - before.pg_statements,
      unanswered = after.redis_pending,
    }
  end

  local last = 100
  local function fresh()
    last = last + 1
    return tostring(last)
  end

  local function cached()
    local id = fresh()
    store:insert('docs', { id = id, n = 1 })
    keys:becomes('public.docs', id, 'V')
    return id
  end

  it('is one round trip to Redis and none to PostgreSQL for a hit', function()
    local id = cached()
    local expected = { redis = 1, pg = 0, statements = 0, unanswered = 0 }
    assert.same(expected, cost(function() store:find('docs', id) end))
    assert.same(expected, cost(function() store:exists('docs', id) end))
    local absent = fresh()
    store:find('docs', absent)
    keys:becomes('public.docs', absent, 'N')
    assert.same(expected, cost(function() store:find('docs', absent) end))
    assert.same(expected, cost(function() store:findAllByIds('docs', { id, absent, id }) end))
  end)

  it('waits for MGET, LEASE and SELECT on a miss, and not for the FILL', function()
    local absent, there = fresh(), cached()
    store:invalidate('docs', there)
    for _, id in ipairs({ absent, there }) do
      local before = store:stats().fills
      assert.same({ redis = 3, pg = 1, statements = 1, unanswered = 1 },
        cost(function() store:find('docs', id) end))
      support.eventually(function() return store:stats().fills > before end)
    end
  end)

  it('waits for the statements, the INTENT and the COMMIT of a write, not for SETTLE', function()
    local id, gone = cached(), cached()
    for name, write in pairs({
      insert = function() store:insert('docs', { id = fresh() }) end,
      update = function() store:update('docs', { id = id, n = 2 }) end,
      upsert = function() store:upsert('docs', { id = id, n = 3 }) end,
      updateProperty = function() store:updateProperty('docs', id, 'n', 4) end,
      patch = function() store:patch('docs', id, { inc = { n = 1 } }) end,
      uncached = function() store:update('docs', { id = id, n = 5 }, { cache = false }) end,
      delete = function() store:delete('docs', gone) end,
    }) do
      -- BEGIN, the statement and the xid in one round trip, COMMIT in the other
      assert.same({ redis = 2, pg = 2, statements = 4, unanswered = 1 }, cost(write), name)
    end
  end)

  it('tells Redis nothing of a write that found no row', function()
    assert.same({ redis = 0, pg = 2, statements = 4, unanswered = 0 },
      cost(function() store:update('docs', { id = fresh() }) end))
  end)

  it('is one round trip more for updateObject, which holds the row meanwhile', function()
    local id = cached()
    assert.same({ redis = 2, pg = 3, statements = 5, unanswered = 1 },
      cost(function() store:updateObject('docs', id, function(doc) doc.n = doc.n + 1 end) end))
  end)

  it('is the same for a transaction, whatever it writes', function()
    local ids = {}
    for i = 1, 5 do ids[i] = cached() end
    local figures = cost(function()
      store:transaction(function(tx)
        for _, id in ipairs(ids) do tx:update('docs', { id = id, n = 2 }) end
      end)
    end)
    assert.equal(2, figures.redis)
    assert.equal(#ids + 1, figures.pg)
  end)

  it('shares its round trips with the calls of the same tick', function()
    local ids = {}
    for i = 1, 50 do ids[i] = cached() end
    assert.same({ redis = 1, pg = 0, statements = 0, unanswered = 0 }, cost(function()
      stores.map(ids, function(id) assert.equal(1, store:find('docs', id).n) end)
    end))
    local figures = cost(function()
      stores.map(ids, function(id) store:update('docs', { id = id, n = 2 }) end)
    end)
    assert.equal(2, figures.redis)
    assert.equal(2, figures.pg)
  end)

  it('asks for the locks with the query itself, and turns what it wrote before COMMIT', function()
    -- Redis hears nothing where nothing was written: BEGIN, SELECT, constraints twice, cursors,
    -- locks, COMMIT
    assert.same({ redis = 0, pg = 2, statements = 7, unanswered = 0 },
      cost(function() store:query('SELECT count(*) FROM docs') end))
    assert.same({ redis = 0, pg = 1, statements = 3, unanswered = 0 },
      cost(function() store:query('SELECT count(*) FROM docs', nil, { readonly = true }) end))
    local id = cached()
    local figures = cost(function()
      store:query("UPDATE docs SET value = value || '{\"n\": 9}' WHERE id = $1", { id })
    end)
    assert.equal(1, figures.redis)
    keys:ready(store, 'public.docs')
  end)

  it('is one round trip for anything on a store without a cache', function()
    warm(plain) -- its connection may have become too old meanwhile
    local id = fresh()
    local expected = { redis = 0, pg = 1, statements = 1, unanswered = nil }
    assert.same(expected, cost(function() plain:insert('docs', { id = id, n = 1 }) end, plain))
    assert.same(expected, cost(function() plain:find('docs', id) end, plain))
    assert.same(expected, cost(function() plain:update('docs', { id = id, n = 2 }) end, plain))
    assert.same(expected, cost(function() plain:updateProperty('docs', id, 'n', 3) end, plain))
    assert.same(expected, cost(function() plain:delete('docs', id) end, plain))
    assert.same(expected, cost(function() plain:query('SELECT 1') end, plain))
  end)
end)
