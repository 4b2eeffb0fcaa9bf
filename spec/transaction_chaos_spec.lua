--- Transactions that end in every way, at every call inside them: nothing of the lost ones stays.

local stores = require('stores')
local support = require('spec.support')

local ROUNDS = tonumber(os.getenv('STORES_CHAOS_ROUNDS')) or 1000
local STEPS = 6

describe('1,000 transactions that end anywhere #slow', function()
  local store, db, other

  setup(function()
    store, db = support.store({ 'rows' }, nil, { poolsize = 4 })
    other = stores.Store.new(db, nil, { cache = false })
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  -- What a transaction does at its step: a few of every kind of call.
  local function step(tx, k, id, mark)
    if k == 1 then
      tx:upsert('rows', { id = id, mark = mark })
    elseif k == 2 then
      tx:find('rows', id)
    elseif k == 3 then
      tx:transaction(function(inner) inner:patch('rows', id, { inc = { n = 1 } }) end)
    elseif k == 4 then
      tx:query("UPDATE rows SET value = jsonb_set(value, '{raw}', 'true') WHERE id = $1", { id })
    elseif k == 5 then
      tx:updateProperty('rows', id, 'last', mark)
    else
      tx:findAllByIds('rows', { id, '1' })
    end
  end

  local ENDINGS = {}

  function ENDINGS.commits(id, mark)
    return pcall(store.transaction, store, function(tx)
      for k = 1, STEPS do step(tx, k, id, mark) end
    end)
  end

  function ENDINGS.raises(id, mark, at)
    return pcall(store.transaction, store, function(tx)
      for k = 1, STEPS do
        if k == at then error('given up', 0) end
        step(tx, k, id, mark)
      end
    end)
  end

  function ENDINGS.times_out(id, mark, at)
    return pcall(store.transaction, store, function(tx)
      for k = 1, at do step(tx, k, id, mark) end
      tx:query('SELECT pg_sleep(5)')
    end, { timeout = 0.03 })
  end

  local function enter_and_forget(id, mark, at, seen)
    local enter = stores.wrap(function()
      store:transaction(function(tx)
        seen[1] = tx
        for k = 1, at do step(tx, k, id, mark) end
        coroutine.yield()
      end)
    end)
    pcall(enter)
  end

  function ENDINGS.is_collected(id, mark, at)
    local seen = setmetatable({}, { __mode = 'v' })
    enter_and_forget(id, mark, at, seen)
    repeat
      collectgarbage()
      stores.sleep(0)
    until seen[1] == nil
    return false
  end

  function ENDINGS.is_killed(id, mark, at)
    return pcall(store.transaction, store, function(tx)
      for k = 1, at do step(tx, k, id, mark) end
      local pid = tx:query('SELECT pg_backend_pid() AS pid')[1].pid
      other:query('SELECT pg_terminate_backend($1)', { pid }, { readonly = true })
      for k = 1, STEPS do step(tx, k, id, mark) end
    end, { retries = 0 })
  end

  it('leaves every connection idle, and every row as if the lost ones had never run', function()
    local names = {}
    for name in pairs(ENDINGS) do names[#names + 1] = name end
    table.sort(names)
    math.randomseed(os.time())
    local expected, counts = {}, {}
    local list = {}
    for i = 1, ROUNDS do list[i] = i end
    stores.map(list, function(i)
      local id = tostring(i % 40 + 1)
      local name = names[math.random(#names)]
      -- one at a time for each row, so that what stands in it is known
      while expected[id] == 'busy' do stores.sleep(0.005) end
      local before = expected[id]
      expected[id] = 'busy'
      local ok = ENDINGS[name](id, i, math.random(STEPS))
      counts[name .. (ok and ' committed' or ' lost')] =
        (counts[name .. (ok and ' committed' or ' lost')] or 0) + 1
      expected[id] = ok and i or before or false
    end, { concurrency = 16 })
    collectgarbage()
    collectgarbage()
    stores.run(function()
      support.eventually(function()
        collectgarbage()
        local stats = store:stats()
        return stats.transactions == 0 and stats.pool_checked_out == 0 and stats.ops == 0
      end, 15)
    end)
    for id, mark in pairs(expected) do
      for _, cache in ipairs({ true, false }) do
        local row = store:find('rows', id, { cache = cache })
        if mark then
          assert.equal(mark, row and row.mark)
          assert.equal(mark, row.last)
        else
          assert.is_nil(row)
        end
      end
    end
    for _, name in ipairs(names) do
      local key = name .. (name == 'commits' and ' committed' or ' lost')
      assert.is_true((counts[key] or 0) > ROUNDS / 20, key)
    end
    assert.is_nil(counts['raises committed'])
    local busy = store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 "
      .. "AND state LIKE 'idle in transaction%'", { db.database })[1].n
    assert.equal(0, busy)
  end)
end)
