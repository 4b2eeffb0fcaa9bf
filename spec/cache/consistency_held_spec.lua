--- The live harness over tables that every process holds in its memory: no read is stale, whatever
--- happens to those who hold rows, whose leases are of different lengths. STORES_CONSISTENCY_HELD=1
--- has all other specs of the harness hold their tables, too.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

describe('#slow the live harness over held tables', function()
  local own, run

  setup(function() own = servers.start() end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function start(options)
    local all = { workers = 3, coroutines = 4, rows = 16, timeout = 10, pause = 0.03, poolsize = 3,
      held = true, leases = { 3, 0.3, 1 } }
    for name, value in pairs(options or {}) do all[name] = value end
    run = harness.start(own, all)
    run:go_on(200)
  end

  local function judge()
    run:go_on(150)
    local violations, figures = run:finish()
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    assert.is_true(figures.stats.held_hits > 0, 'nothing was read from memory')
    assert.is_true(figures.stats.held_waits > 0, 'no writer waited for a holder')
    return figures
  end

  it('finds no stale read', function()
    start()
    run:go_on(1000)
    judge()
  end)

  it('finds none where all leases last a second', function()
    start({ leases = { 1 } })
    run:go_on(1000)
    judge()
  end)

  it('finds none where a holder is stopped, again and again, for longer than its lease', function()
    for _, seconds in ipairs({ 1.5, 4 }) do -- within its lease, which others have not, and over it
      start({ proxied = true, victim = 'hot' })
      for _, step in ipairs({ 'begin', 'after intent' }) do
        run:at_step(step, 'sigstop')
        process.pass(seconds)
        run:continue(1)
        process.pass(0.3)
      end
      judge()
    end
  end)

  it('finds none where that one has the shortest lease of all', function()
    start({ proxied = true, victim = 'hot', leases = { 0.3, 3, 1 } })
    for _, step in ipairs({ 'begin', 'after intent' }) do
      run:at_step(step, 'sigstop')
      process.pass(0.8)
      run:continue(1)
      process.pass(0.3)
    end
    judge()
  end)

  it('finds none where a holder is killed', function()
    start({ proxied = true, victim = 'hot' })
    run:at_step('after intent', 'sigkill')
    process.pass(1.5)
    judge()
  end)

  for name, fault in pairs({
    ['is flushed'] = function() own:redis_cli('FLUSHALL') end,
    ['loses its clients, and what they are subscribed to'] = function()
      own:redis_cli('CLIENT KILL TYPE normal')
      own:redis_cli('CLIENT KILL TYPE pubsub')
    end,
    ['is stopped for a moment'] = function()
      own.redis:kill('sigstop')
      process.pass(0.2)
      own.redis:kill('sigcont')
    end,
    ['comes back with an old dump'] = function()
      own:redis_cli('SAVE')
      run:go_on(50)
      own:kill_redis()
      own:start_redis()
    end,
  }) do
    it('finds none where Redis ' .. name, function()
      start()
      for _ = 1, 3 do
        fault()
        process.pass(0.4)
      end
      judge()
    end)
  end
end)
