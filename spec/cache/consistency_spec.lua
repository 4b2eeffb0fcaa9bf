--- The cache never lies: many processes over a few hot rows, and a checker that knows from the
--- clock what each call may have seen. As many calls as wished: STORES_CONSISTENCY_CALLS=10000000.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

local CALLS = tonumber(os.getenv('STORES_CONSISTENCY_CALLS') or 5000)
local ROUND = 200000 -- the history of a round is held in memory
local BROKEN = (os.getenv('STORES_BUILD') or 'build') .. '/broken'

describe('#slow the live harness', function()
  local own, run

  setup(function() own = servers.start() end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function finish(seconds)
    local violations, figures = run:finish({ keep = seconds })
    run = nil
    return violations, figures
  end

  it('finds no stale read and no lost write in 8 processes over 32 hot rows', function()
    local left, seen, hits, hints = CALLS, 0, 0, 0
    while left > 0 do
      local calls = math.min(left, ROUND)
      run = harness.start(own, { calls = calls })
      local violations, figures = finish(120)
      assert.equal(0, #violations, harness.show(violations))
      assert.same({}, figures.failures)
      left, seen, hits = left - calls, seen + figures.calls, hits + figures.stats.hits
      hints = hints + figures.stats.hints_found
    end
    assert.is_true(seen >= CALLS)
    assert.is_true(hits > CALLS / 50, 'the cache was hardly used: ' .. hits .. ' hits')
    assert.is_true(hints > CALLS / 50, 'hints were hardly used: ' .. hints)
  end)

  for _, rows in ipairs({ 8, 64 }) do
    it(('finds none over %d rows either'):format(rows), function()
      run = harness.start(own, { calls = 2500, rows = rows, workers = 5 })
      local violations = finish(60)
      assert.equal(0, #violations, harness.show(violations))
    end)
  end

  it('finds none where rows are evicted under their readers', function()
    own:redis_cli('CONFIG SET maxmemory-policy volatile-random')
    finally(function() own:redis_cli('CONFIG SET maxmemory 0') end)
    run = harness.start(own)
    run:go_on(1000)
    local used = own:redis_cli('INFO memory'):match('used_memory:(%d+)')
    own:redis_cli('CONFIG SET maxmemory ' .. used)
    process.wait(function()
      return own:redis_cli('INFO stats'):match('evicted_keys:(%d+)') ~= '0'
    end, 60, 'a row is evicted')
    run:go_on(2000, 60)
    local violations = finish()
    assert.equal(0, #violations, harness.show(violations))
  end)

  it('sees the mistake of a build that deletes from the cache after COMMIT', function()
    local file = io.open(BROKEN .. '/stores/core.so')
    if not file then
      pending('configure with -DSTORES_BROKEN_CACHE=ON for the negative control')
      return
    end
    file:close()
    local violations = {}
    for _ = 1, 20 do
      run = harness.start(own, { calls = 4000, build = BROKEN })
      violations = finish(60)
      if #violations > 0 then break end
    end
    local text = table.concat(violations, '\n') -- a row that was not there yet is stale, too
    assert.is_truthy(text:find('stale') or text:find('a row was missed'), text)
  end)
end)
