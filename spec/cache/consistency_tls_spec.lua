--- The live harness where Redis is reached by TLS: no stale read and no lost write, while all is
--- well, while connections are cut and while Redis is gone for a moment.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

local CALLS = tonumber(os.getenv('STORES_CONSISTENCY_CALLS')) or 2000

describe('#slow over TLS', function()
  local own, run

  setup(function() own = servers.start({ tls = true }) end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function judge(options)
    local violations, figures = run:finish(options)
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    return figures
  end

  it('the live harness finds no stale read and no lost write', function()
    run = harness.start(own, { calls = CALLS })
    local figures = judge({ keep = 120 + CALLS / 1000 })
    assert.same({}, figures.failures)
    local hits = figures.stats.hits
    assert.is_true(hits > CALLS / 20, 'the cache was hardly used: ' .. hits)
  end)

  local function start()
    run = harness.start(own, { workers = 4, coroutines = 8, rows = 16, timeout = 10,
      pause = 0.04 })
    run:go_on(150, 60)
  end

  it('it finds none while connections are cut', function()
    start()
    for _ = 1, 10 do
      own:redis_cli('CLIENT KILL TYPE normal')
      process.pass(0.2)
    end
    run:go_on(150, 60)
    local figures = judge()
    assert.equal(0, figures.failed_reads)
    assert.is_true(figures.stats.redis_connects > 10, figures.stats.redis_connects)
  end)

  it('it finds none while Redis is killed, and comes back with nothing', function()
    start()
    own:kill_redis()
    process.pass(0.5)
    own:start_redis()
    run:go_on(150, 60)
    assert.equal(0, judge().failed_reads)
  end)

  it('it finds none while Redis is frozen', function()
    start()
    own.redis:kill('sigstop')
    process.pass(1)
    own.redis:kill('sigcont')
    run:go_on(150, 60)
    assert.equal(0, judge().failed_reads)
  end)
end)
