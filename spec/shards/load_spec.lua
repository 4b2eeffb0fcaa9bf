--- A mixed load over three private pairs of servers, the third behind a PgBouncer, while one of
--- them is killed, hangs, or loses its Redis: its calls fail alone, nothing that was acknowledged
--- is lost, nothing is read that is older, and it is back by itself.
-- Plain pass alone: it is about servers that end, under a load at the speed of a user's program;
-- the C of these calls, and what hangs on values of Lua, is in health_spec and verbs_spec.

local pgbouncer = require('spec.support.pgbouncer')
local postgres = require('spec.support.postgres')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

-- A busy machine may leave a server that is well without an answer for a second or two.
local BREAKER, PATIENCE, WORKERS = 5, 120, 24
local now = postgres.now
local pairs_of, shards, bouncer = {}, nil, nil

setup(function()
  local list = {}
  for id = 0, 2 do
    local pair = { pg = postgres.start(), redis = redis.start() }
    pairs_of[id + 1] = pair
    pair.pg:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL)')
    local db = pair.pg:config()
    if id == 2 then
      -- who waits in it when its server goes hears nothing before query_wait_timeout: all of the
      -- workers may, and then nobody is left whose call would fail
      bouncer = pgbouncer.start('transaction', 'server_login_retry = 1\nquery_wait_timeout = 5',
        { host = db.host, port = db.port })
      db = bouncer:config({ pooler = 'transaction' })
    end
    db.poolsize, db.acquire_timeout = 4, PATIENCE
    list[id + 1] = { id = id, db = db, redis = pair.redis:config({ timeout = 2 }),
      opts = { timeout = PATIENCE } }
  end
  shards = stores.Shards.new(list, { breaker = BREAKER })
  shards:init()
end)

teardown(function()
  for _, store in ipairs(shards.shards) do support.close(store) end
  bouncer:stop()
  for _, pair in ipairs(pairs_of) do
    pair.pg:remove()
    pair.redis:remove()
  end
end)

-- What an example that fails has stopped, or frozen.
after_each(function()
  for _, pair in ipairs(pairs_of) do
    pair.pg:ensure()
    pair.redis:start()
  end
  bouncer:ensure()
end)

local function id_of(worker) return tostring(worker + 1000) end

local ALL = {}
for worker = 1, WORKERS do ALL[worker] = id_of(worker) end

-- ---- What a worker does with a row of its own ---------------------------------------------------

-- Each stores n, so that it is acknowledged when the function returns.
local WRITES = {
  function(id, n) shards:upsert('docs', { id = id, n = n }) end,
  function(id, n) shards:patch('docs', id, { set = { n = n } }) end,
  function(id, n) shards:updateObject('docs', id, function(doc) doc.n = n end) end,
  function(id, n)
    shards:transaction(id, function(tx)
      tx:find('docs', id, { lock = true })
      tx:update('docs', { id = id, n = n })
    end)
  end,
  function(id, n) shards:upsertMany('docs', { { id = id, n = n } }) end,
}

-- Who asks all of them gets what the others say, and the names of those that fail.
local SCATTERS = {
  function() return select(2, shards:count('docs', nil, { partial = true })) end,
  function() return select(4, shards:findAll('docs', { partial = true, limit = 10 })) end,
  function() return select(3, shards:findAllByIds('docs', ALL, { partial = true })) end,
}

-- A load that goes on until `load.is_over`.
---@class spec.ShardLoad
---@field victim integer the place of the shard that may fail
---@field asks_all boolean its workers ask all shards, too
---@field done integer[] by place: rows that were written and read
---@field failed integer calls that failed, and shards that were named as failing
---@field kept table<string, integer> what was acknowledged of each row
---@field tried table<string, integer>
---@field longest number seconds of the longest call that failed
---@field spec thread whose load it is

local function note_failure(load, err, began)
  if not (stores.errors.is(err) and err.shard == load.victim - 1) then error(err, 0) end
  load.failed = load.failed + 1
  load.longest = math.max(load.longest, now() - began)
end

local function write_and_read(load, id, n)
  load.tried[id] = n
  WRITES[load.kept[id] and n % #WRITES + 1 or 1](id, n)
  load.kept[id] = n
  local found = shards:find('docs', id)
  if found and found.n == n then return end
  local there = shards:find('docs', id, { cache = false })
  error(('the row %s is %s, and not %d; PostgreSQL has %s'):format(id,
    tostring(found and found.n), n, tostring(there and there.n)))
end

local function work(load, worker)
  local id, n = id_of(worker), load.tried[id_of(worker)] or 0
  local place = shards:place_of(id)
  -- where the spec has failed meanwhile nobody says that it is over
  while not load.is_over and coroutine.status(load.spec) ~= 'dead' do
    n = n + 1
    local began = now()
    local ok, err = pcall(write_and_read, load, id, n)
    if ok then
      load.done[place] = load.done[place] + 1
      stores.sleep(0.06) -- there is a load while a server starts, and it leaves room for that
    else
      note_failure(load, err, began)
      stores.sleep(0.01)
    end
    if n % 5 == 0 and load.asks_all then
      began = now()
      local failed
      ok, failed = pcall(SCATTERS[math.floor(n / 5) % #SCATTERS + 1])
      if not ok then error(failed, 0) end
      for _, one in ipairs(failed or {}) do note_failure(load, one, began) end
    end
  end
end

local kept, tried = {}, {}

local function begin(victim, is_alone)
  local load = { victim = victim, asks_all = not is_alone, done = { 0, 0, 0 }, failed = 0,
    kept = kept, tried = tried, longest = 0, is_over = false, spec = coroutine.running() }
  load.tasks = {}
  for worker = 1, WORKERS do load.tasks[worker] = stores.spawn(work, load, worker) end
  return load
end

-- A worker that ended says why at once.
local function wait_until(load, condition, what)
  support.eventually(function()
    for _, task in ipairs(load.tasks) do if task.done then task:join() end end
    return condition()
  end, PATIENCE, what)
end

-- Waits until so many more were written and read in each of these shards.
local function wait_for(load, more, places)
  local before = { unpack(load.done) }
  wait_until(load, function()
    for _, place in ipairs(places) do
      if load.done[place] < before[place] + more then return false end
    end
    return true
  end, more .. ' more in the shards ' .. table.concat(places, ' '))
end

local function finish(load)
  load.is_over = true
  for _, task in ipairs(load.tasks) do task:join() end
  for id, n in pairs(load.kept) do
    for _, opts in ipairs({ { cache = true }, { cache = false } }) do
      local found = shards:find('docs', id, opts).n
      assert.is_true(found >= n and found <= load.tried[id], ('the row %s is %d: %d was '
        .. 'acknowledged, and %d tried'):format(id, found, n, load.tried[id]))
    end
  end
  assert.equal(WORKERS, shards:count('docs'))
end

local function others(victim)
  local list = {}
  for place = 1, 3 do if place ~= victim then list[#list + 1] = place end end
  return list
end

-- fault and mend of a shard, which is gone meanwhile.
local function without(victim, fault, mend)
  stores.run(function()
    local load = begin(victim)
    wait_for(load, 20, { 1, 2, 3 })
    fault(pairs_of[victim])
    wait_until(load, function() return load.failed > 20 end, 'calls that fail')
    wait_for(load, 100, others(victim))
    mend(pairs_of[victim])
    wait_for(load, 20, { 1, 2, 3 })
    finish(load)
    -- far less than the call, and its wait for a connection, may take
    assert.is_true(load.longest < PATIENCE / 2, tostring(load.longest))
  end)
end

local function kill(pair)
  pair.redis:kill()
  pair.pg:stop('kill')
end

local function start(pair)
  pair.redis:start()
  pair.pg:start()
end

describe('under a mixed load a shard', function()
  it('whose pair is killed fails its own calls alone, and is back by itself', function()
    without(2, kill, start)
  end)

  it('behind a PgBouncer does so, too', function()
    without(3, kill, start)
  end)

  it('whose PostgreSQL hangs does not hold up the others, and goes on where it was', function()
    stores.run(function()
      local load = begin(1, true) -- calls that are under way when it hangs wait for their own time
      wait_for(load, 20, { 1, 2, 3 })
      pairs_of[1].pg:freeze()
      support.eventually(function()
        local ok, err = shards.try:find('docs', '1002', { cache = false, timeout = 2 * BREAKER })
        return not ok and err.shard == 0
      end, PATIENCE)
      wait_for(load, 50, { 2, 3 })
      local began = now()
      for _, ask in ipairs(SCATTERS) do assert.equal(0, ask()[1].shard) end
      assert.is_true(now() - began < PATIENCE / 2)
      pairs_of[1].pg:thaw()
      wait_for(load, 20, { 1, 2, 3 })
      finish(load)
    end)
  end)

  it('whose Redis is gone goes on without it, and trusts it again when it is back', function()
    stores.run(function()
      local load = begin(2)
      wait_for(load, 20, { 1, 2, 3 })
      pairs_of[2].redis:kill()
      wait_for(load, 50, { 1, 2, 3 })
      pairs_of[2].redis:start()
      local hits = shards.shards[2]:stats().hits
      support.eventually(function() return shards.shards[2]:stats().hits > hits end, PATIENCE)
      wait_for(load, 20, { 1, 2, 3 })
      finish(load)
      assert.equal(0, load.failed)
    end)
  end)

  it('whose PgBouncer is gone is back with it', function()
    without(3, function() bouncer:kill() end, function() bouncer:start() end)
  end)
end)
