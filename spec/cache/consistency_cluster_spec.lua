--- The live harness over a Redis cluster whose slots move under load, key by key, there and back:
--- no acknowledged write is lost and no read is stale.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local servers = require('spec.consistency.servers')

describe('#slow while slots move between the nodes of a cluster', function()
  local own, cluster, run

  setup(function()
    own = servers.start()
    cluster = own:use_cluster()
  end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  -- The slots of the tables that the workers write, each with its owner.
  local function slots()
    local list = {}
    for _, node in ipairs(cluster.nodes) do
      for key in node:cli('KEYS', '*}'):gmatch('[^\n]+') do list[#list + 1] = cluster:slot(key) end
    end
    assert(#list > 0)
    return list
  end

  local function start(options)
    local all = { workers = 4, coroutines = 8, rows = 16, timeout = 10, pause = 0.1 }
    for name, value in pairs(options or {}) do all[name] = value end
    run = harness.start(own, all)
    run:go_on(150)
  end

  local function judge()
    run:go_on(150, 60)
    local violations, figures = run:finish()
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    assert.equal(0, figures.failed_reads)
    assert.is_true(figures.stats.hits > 0 and figures.stats.hints_found > 0)
    assert.equal(0, figures.stats.bypassed)
  end

  -- Half of its keys go over while the workers go on, then the rest, and the slot with them.
  local function move_slowly(slot)
    local from = cluster:owner(slot)
    local to = cluster:other(from)
    cluster:begin_move(slot, from, to)
    run:go_on(100, 60)
    local nth = 0
    for key in from:cli('CLUSTER', 'GETKEYSINSLOT', slot, 100):gmatch('[^\n]+') do
      nth = nth + 1
      if nth % 2 == 0 then cluster:carry(from, to, key) end
    end
    run:go_on(100, 60)
    return from, to
  end

  it('to another one, and back', function()
    start()
    for _ = 1, 2 do
      for _, slot in ipairs(slots()) do
        local from, to = move_slowly(slot)
        cluster:end_move(slot, from, to)
        run:go_on(50, 60)
      end
    end
    judge()
  end)

  local function signal(name)
    for _, worker in ipairs(run.workers) do worker:kill(name) end
  end

  -- Its keys go back behind the slot, over those that were made anew meanwhile: an administrator
  -- has a running Redis take rows of before, a hole (docs/cache.md). Nobody writes in that moment.
  it('and the move is given up', function()
    start()
    for _, slot in ipairs(slots()) do
      local from, to = move_slowly(slot)
      signal('sigstop')
      for _, node in ipairs({ from, to }) do node:cli('PING') end -- what was on its way is done
      cluster:abandon_move(slot, from, to)
      signal('sigcont')
      run:go_on(50, 60)
    end
    judge()
  end)
end)
