--- Transactions that end in every way, at every call inside them: nothing of the lost ones stays.
---
--- STORES_CHAOS_ROUNDS: how many of them, 500 where it is not set.
-- Plain pass alone: hundreds of transactions take what the other passes have no time for.

local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local ROUNDS = tonumber(os.getenv('STORES_CHAOS_ROUNDS')) or 500
local STEPS = 6

describe('transactions that end anywhere #slow', function()
  local store, db, other

  setup(function()
    store, db = support.store({ 'rows' }, nil, { poolsize = 4 })
    other = stores.Store.new(db, nil, { cache = false })
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  -- The server ends what is lost a moment after its client.
  local function nobody_is_in_one()
    return store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1 "
      .. "AND state LIKE 'idle in transaction%'", { db.database })[1].n == 0
  end

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

  -- The deadline passes anywhere, also in COMMIT: then it may have been done.
  function ENDINGS.hurries(id, mark)
    local ok, err = pcall(store.transaction, store, function(tx)
      for k = 1, STEPS do step(tx, k, id, mark) end
    end, { timeout = math.random() * 0.12, retries = 0 })
    if ok or err.outcome == 'none' then return ok end
    assert(err.code == 'timeout' and err.outcome == 'unknown', tostring(err))
    return nil, true
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
      local ok, unknown = ENDINGS[name](id, i, math.random(STEPS))
      if unknown then
        -- who would make or change the row waits for the one that may have been done
        pcall(store.transaction, store, function(tx)
          tx:query("INSERT INTO rows VALUES ($1, '{}') ON CONFLICT (id) DO UPDATE SET id = $1",
            { id })
          error('undo it', 0)
        end)
        local row = store:find('rows', id, { cache = false })
        ok = row ~= nil and row.mark == i
      end
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
      local least = name == 'hurries' and 0 or ROUNDS / 25 -- how many do depends on the machine
      assert.is_true((counts[key] or 0) > least, key)
    end
    assert.is_nil(counts['raises committed'])
    support.eventually(nobody_is_in_one)
  end)

  -- In cqueues the coroutines of a controller that is dropped are collected while they wait.
  local KILLS = [==[
    local cqueues = require('cqueues')
    local stores = require('stores')
    stores.use('cqueues')
    local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q, poolsize = 4 },
      { path = %q, opts = { timeout = 2 } })
    local rounds, seed = %d, %d
    math.randomseed(seed)

    local steps = {
      function(tx, id, mark) tx:upsert('kills', { id = id, mark = mark }) end,
      function(tx, id) tx:find('kills', id) end,
      function(tx) tx:query('SAVEPOINT mine') end,
      function(tx, id) tx:patch('kills', id, { inc = { n = 1 } }) end,
      function(tx) tx:query('SELECT pg_sleep(0.002)') end,
      function(tx, id, mark) tx:updateProperty('kills', id, 'last', mark) end,
    }
    local COMMIT = #steps + 1

    -- Runs a transaction up to an await, or a little further, and drops it there; gives where.
    local function kill(id, mark, target)
      local at, controller = 0, cqueues.new()
      controller:wrap(function()
        store:transaction(function(tx)
          for k = 1, #steps do
            at = k
            steps[k](tx, id, mark)
          end
          at = COMMIT
        end)
        at = 'ended'
      end)
      local more = math.random(0, 2)
      while at ~= 'ended' and (at < target or more > 0) do
        if at == target then more = more - 1 end
        assert(controller:step(at == target and 0 or 0.01))
        if at ~= 'ended' and at > target then break end
      end
      return at
    end

    local function idle()
      local stats = store:stats()
      return stats.transactions + stats.ops + stats.pool_checked_out + stats.pool_waiters == 0
    end

    local marks, counts = {}, {}
    for round = 1, rounds do
      local id = tostring(round %% 10 + 1)
      local at = kill(id, round, round %% COMMIT + 1)
      collectgarbage()
      collectgarbage()
      local tries = 0
      while not idle() do
        store:query('SELECT pg_sleep(0.001)')
        tries = tries + 1
        assert(tries < 2000, 'something of a killed coroutine stays')
      end
      counts[at] = (counts[at] or 0) + 1
      local row = store:find('kills', id, { cache = false })
      local mark = row and row.mark or nil
      if at == 'ended' then
        assert(mark == round)
      elseif at == COMMIT then
        assert(mark == round or mark == marks[id])
      else
        assert(mark == marks[id], 'a lost transaction was done')
      end
      marks[id] = mark
      assert(not row or (row.last == mark and row.n == 1), 'half of a transaction was done')
      local cached = store:find('kills', id)
      assert((cached and cached.mark) == mark, 'the cache has another one')
    end
    local told = {}
    for k = 1, COMMIT do told[k] = counts[k] or 0 end
    store:close()
    print(table.concat(told, ' '))
  ]==]

  it('the same where a coroutine is collected at each await, with its call under way', function()
    store:query('CREATE TABLE kills (id bigint PRIMARY KEY, value jsonb)')
    local errors = os.tmpname()
    local rounds = math.max(70, math.floor(ROUNDS / 3))
    local child = process.lua(KILLS:format(db.host, tostring(db.port), db.database, db.user,
      support.redis().path, rounds, os.time()), errors)
    local text = child:wait()
    local file = assert(io.open(errors))
    assert.equal('', file:read('*a'))
    file:close()
    os.remove(errors)
    local awaits = 0
    for count in text:gmatch('%d+') do
      awaits = awaits + 1
      assert.is_true(tonumber(count) >= rounds / 20, 'await ' .. awaits .. ': ' .. text)
    end
    assert.equal(7, awaits)
    support.eventually(nobody_is_in_one)
  end)
end)
