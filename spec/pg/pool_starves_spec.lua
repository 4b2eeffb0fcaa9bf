-- A pool whose every connection is held by a transaction that waits for one more.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('A pool that starves itself', function()
  local db, store

  setup(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs SELECT i, jsonb_build_object('n', 1) FROM generate_series(1, 40) i]])
  end)

  teardown(function() support.drop(db) end)
  after_each(function() support.close(store) end)

  local function store_of(poolsize, redis)
    local config = { poolsize = poolsize, acquire_timeout = 60 }
    for key, value in pairs(db) do config[key] = value end
    store = stores.Store.new(config, redis and support.redis() or nil,
      { segment = true, timeout = 100 })
    store:find('docs', '40')
    return store
  end

  -- So many transactions at once, each of which calls inner(i) when all that fit have begun.
  local function hold(count, poolsize, inner)
    local begun, ok_count, errors = 0, 0, {}
    local list = {}
    for i = 1, count do list[i] = i end
    stores.map(list, function(i)
      local ok, err = store.try:transaction(function(tx)
        tx:query('SELECT 1')
        begun = begun + 1
        support.eventually(function() return begun >= poolsize end, 30)
        inner(i, tx)
      end, { retries = 0 })
      if ok then ok_count = ok_count + 1 else errors[#errors + 1] = err end
    end)
    return ok_count, errors
  end

  local CALLS = {
    ['counts'] = function() store:count('docs') end,
    ['queries'] = function() store:query('SELECT 1') end,
    ['finds'] = function(i) store:find('docs', tostring(i), { cache = false }) end,
    ['writes'] = function(i) store:update('docs', { id = tostring(i), n = 2 }) end,
    ['begins another transaction'] = function()
      store:transaction(function(tx) tx:query('SELECT 1') end)
    end,
    ['changes an object'] = function(i)
      store:updateObject('docs', tostring(i), function(doc) doc.n = 3 end, { combine = false })
    end,
  }

  for name, call in pairs(CALLS) do
    it('says so at once where each ' .. name .. ' outside of its transaction', function()
      store_of(3)
      local began = postgres.now()
      local ok_count, errors = hold(3, 3, call)
      assert.is_true(postgres.now() - began < 20)
      assert.is_true(ok_count >= 1 and #errors >= 1)
      for _, err in ipairs(errors) do
        assert.equal('acquire_timeout', err.code)
        assert.equal('none', err.outcome)
        assert.is_true(err.retryable)
        assert.truthy(err.message:find('each of the 3 connections', 1, true), err.message)
        assert.truthy(err.hint:find('tx', 1, true), err.hint)
      end
    end)
  end

  it('lets those who hold a connection go before those who wait for their first', function()
    store_of(4)
    local ok_count, errors = hold(12, 4, CALLS.counts)
    assert.is_true(ok_count >= 9, tostring(ok_count))
    assert.equal(12, ok_count + #errors)
  end)

  it('is none where one of them only thinks, or calls its own transaction', function()
    store_of(3)
    local thinking = true
    stores.run(function()
      local done = 0
      local task = stores.spawn(function()
        local ok_count = hold(3, 3, function(i, tx)
          if i == 1 then
            support.eventually(function() return not thinking end, 60)
          elseif i == 2 then
            for _ = 1, 10 do
              tx:query('SELECT pg_sleep(0.1)')
              stores.sleep(0.01)
            end
          else
            store:count('docs')
          end
          done = done + 1
        end)
        assert.equal(3, ok_count)
      end)
      support.eventually(function() return done == 2 end, 30)
      thinking = false
      task:join()
    end)
  end)

  it('is none where a call of one of them was refused before it was sent', function()
    store_of(2)
    stores.run(function()
      local refused, asked, waits
      local thinks = stores.spawn(function()
        return store:transaction(function(tx)
          tx:query('SELECT 1')
          local ok, err = pcall(store.insert, store, 'docs', { id = '50', f = print })
          refused = not ok and err.code
          support.eventually(function() return waits end, 30)
          stores.sleep(0.5)
        end)
      end)
      support.eventually(function() return refused end, 30)
      assert.equal('invalid_document', refused)
      local holds = stores.spawn(function()
        return store:transaction(function(tx)
          tx:query('SELECT 1')
          support.eventually(function() return asked end, 30)
          waits = true
          return store:query('SELECT 2 AS two')[1].two
        end)
      end)
      local other = stores.spawn(function()
        asked = true
        return store:query('SELECT 3 AS three')[1].three
      end)
      assert.equal(3, other:join())
      assert.equal(2, holds:join())
      thinks:join()
    end)
  end)

  it('is none where the cache answers', function()
    store_of(3, true)
    for i = 1, 3 do
      support.eventually(function()
        local hits = store:stats().hits
        store:find('docs', tostring(i))
        return store:stats().hits > hits
      end, 30, 'a row of the cache')
    end
    local ok_count, errors = hold(3, 3, function(i)
      for _ = 1, 50 do store:find('docs', tostring(i)) end
    end)
    assert.equal(3, ok_count, tostring(errors[1]))
  end)
end)
