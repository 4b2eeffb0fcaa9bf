--- The live harness under all faults in any order. For longer: STORES_CONSISTENCY_CHAOS=600, in
--- seconds; a run that failed names its seed, and STORES_CONSISTENCY_SEED takes it.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

local SECONDS = tonumber(os.getenv('STORES_CONSISTENCY_CHAOS') or 7)
local SEED = tonumber(os.getenv('STORES_CONSISTENCY_SEED') or os.time())
local ROUND = 30

describe('#slow in chaos', function()
  local own, run

  setup(function() own = servers.start() end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function of_backends(call, share)
    -- a server that recovers from another fault has none
    pcall(own.psql, own, ('SELECT %s(pid) FROM pg_stat_activity WHERE random() < %g '
      .. "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"):format(call, share))
  end

  local function pause(one, seconds)
    one:kill('sigstop')
    process.pass(seconds)
    one:kill('sigcont')
  end

  local function either(one, other) return math.random() < 0.5 and one or other end

  -- Of a hundred: how often, and what.
  local FAULTS = {
    { 8, function() of_backends('pg_terminate_backend', 1) end },
    { 10, function() of_backends('pg_terminate_backend', 0.2) end },
    { 7, function() of_backends('pg_cancel_backend', 0.5) end },
    { 4, function() own:crash_backend() end },
    { 2, function() own:restart_postgres('fast') end },
    { 4, function() own:restart_postgres('immediate') end },
    { 9, function() own:redis_cli('FLUSHALL') end },
    { 3, function() own:redis_cli('SCRIPT FLUSH') end },
    { 9, function() own:redis_cli('CLIENT KILL TYPE normal') end },
    { 3, function() own:redis_cli('SAVE') end },
    { 6, function()
      own:kill_redis()
      if math.random() < 0.4 then os.remove(own.home .. '/dump.rdb') end
      process.pass(math.random() * 0.3)
      own:start_redis()
    end },
    { 10, function() pause(own.redis, math.random() * 0.15) end },
    { 10, function() pause(run.workers[math.random(2, #run.workers)], math.random() * 0.3) end },
    { 9, function()
      run:order({ ['do'] = 'cut', server = either('pg', 'redis'), after = math.random(0, 500) })
    end },
    { 6, function()
      local ms = math.random(0, 1) * math.random(0, 90)
      run:order({ ['do'] = 'delay', server = either('pg', 'redis'), ms = ms })
    end },
  }

  local function harm_something()
    local dice = math.random(100)
    for _, fault in ipairs(FAULTS) do
      dice = dice - fault[1]
      if dice <= 0 then return fault[2]() end
    end
  end

  local function round(seed, seconds)
    math.randomseed(seed)
    run = harness.start(own, { proxied = true, workers = 6, coroutines = 8, rows = 16, seed = seed,
      pause = 0.02 })
    for writer = 2, 6 do run.pauses[writer] = 1 end
    run:go_on(300)
    local stop = process.now() + seconds
    while process.now() < stop do
      harm_something()
      process.pass(math.random() * 0.2)
    end
    run:order({ ['do'] = 'delay', server = 'pg', ms = 0 })
    run:order({ ['do'] = 'delay', server = 'redis', ms = 0 })
    run:go_on(300)
    local violations = run:finish()
    run = nil
    assert.equal(0, #violations, ('seed %d: %s'):format(seed, harness.show(violations)))
  end

  it('no acknowledged write is lost and no read is stale', function()
    local rounds = math.ceil(SECONDS / ROUND)
    for i = 1, rounds do round(SEED + i - 1, SECONDS / rounds) end
  end)
end)
