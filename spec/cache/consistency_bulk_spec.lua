--- The harness of spec/consistency with the verbs for many rows among the others: readers look
--- through caches meanwhile, writers die in the middle.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

local CALLS = tonumber(os.getenv('STORES_CONSISTENCY_CALLS')) or 3000

describe('#slow with writes of many rows the live harness finds no stale read', function()
  local own, run

  setup(function() own = servers.start() end)

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

  it('of rows that are named', function()
    run = harness.start(own, { bulk = true, calls = CALLS, calm = 2 })
    local figures = judge({ keep = 60 + CALLS / 1000 })
    assert.same({}, figures.failures)
    assert.is_true(figures.stats.hits > figures.calls / 20, 'the cache was not used')
  end)

  it('of tables whose triggers write others', function()
    run = harness.start(own, { bulk = true, calls = CALLS / 2, calm = 40, workers = 4,
      shape = 'a deferred constraint' })
    assert.same({}, judge({ keep = 60 + CALLS / 1000 }).failures)
  end)

  for _, step in ipairs({ 'dml', 'before intent', 'after intent', 'commit', 'settle' }) do
    it('of a writer that is killed at its step: ' .. step, function()
      run = harness.start(own, { bulk = true, workers = 3, coroutines = 8, rows = 16, timeout = 5,
        pause = 0.04, poolsize = 2, proxied = true, victim = 'lives' })
      run:go_on(150)
      run:at_step(step, 'sigkill')
      process.pass(0.6)
      run:go_on(150)
      judge()
    end)
  end
end)
