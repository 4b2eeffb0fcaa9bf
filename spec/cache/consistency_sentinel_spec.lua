--- The live harness while sentinels give Redis another master: no acknowledged write is lost and no
--- read is stale, whatever becomes of the old one.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')
local support = require('spec.support')

describe('#slow when Redis fails over', function()
  local own, group, run

  setup(function()
    own = servers.start()
    group = own:use_sentinels()
  end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
    for _, server in ipairs(group.servers) do server:start() end
    group:settle()
  end)

  local function start(options)
    -- most of the time passes while sentinels make up their minds
    local all = { workers = 4, coroutines = 4, rows = 16, timeout = 10, pause = 0.2 }
    for name, value in pairs(options or {}) do all[name] = value end
    run = harness.start(own, all)
    run:go_on(100)
    return group:roles()
  end

  -- What a client did last is one command: who has read there once is at that master.
  local function all_at(master)
    local reads = {}
    support.eventually(function()
      local count = 0
      for id, command in master:cli('CLIENT', 'LIST'):gmatch('id=(%d+) [^\n]-cmd=(%S+)') do
        reads[id] = reads[id] or command == 'mget'
        if reads[id] then count = count + 1 end
      end
      return count >= run.options.workers
    end, 60, 'all workers at the new master')
  end

  -- The workers go on, and they are on the new master.
  local function judge(master)
    run:go_on(100, 60)
    all_at(master)
    run:go_on(300, 60)
    local violations, figures = run:finish()
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    assert.equal(0, figures.failed_reads)
    assert.is_true(figures.stats.hits > 0)
  end

  it('for its master is killed', function()
    local master, other = start()
    master:kill()
    group:named(other)
    judge(other)
  end)

  it('for its master is frozen, which later goes on where it was', function()
    local master, other = start()
    master:pause()
    group:named(other)
    run:go_on(100, 60)
    master:resume() -- until the sentinels see it, it takes itself for the master
    judge(other)
  end)

  it('and fails over again', function()
    local master, other = start()
    master:kill()
    group:named(other)
    run:go_on(100, 60)
    master:start()
    group:settle()
    other:kill()
    group:named(master)
    judge(master)
  end)

  -- Both take themselves for the master until the sentinels see to it. Who is at the old one may be
  -- stale, and others are not told of what he writes, until he hears of the other one; not longer.
  it('by hand, and the old master goes on: nothing is stale once all are at the new one', function()
    for _ = 1, 2 do
      local _, other = start()
      local began = process.now()
      support.eventually(function()
        return group.watchers[1]:cli('SENTINEL', 'FAILOVER', group.name) == 'OK'
      end, 60, 'a failover')
      group:named(other)
      all_at(other)
      process.pass(1)
      run.window = { began, process.now() }
      judge(other)
      group:settle()
    end
  end)

  it('while writes go by it: nothing is stale once it is back', function()
    local master, other = start({ on_cache_failure = 'bypass' })
    local began = process.now()
    master:kill()
    run:go_on(100, 60)
    group:named(other)
    all_at(other)
    process.pass(1.5)
    run.window = { began, process.now() }
    judge(other)
  end)
end)
