--- The cache never lies: many processes over a few hot rows, and a checker that knows from the
--- clock what each call may have seen. As many calls as wished: STORES_CONSISTENCY_CALLS=10000000.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local cache = require('spec.support.cache')
local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')
local stores = require('stores')
local support = require('spec.support')

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

  -- With nobody at work, what was read once is found in the cache from then on.
  local function is_whole()
    local store = stores.Store.new(own:config(), own:redis_config())
    local function look() for row = 1, 16 do store:find('hot', tostring(row)) end end
    support.eventually(function()
      return cache.grown(store, look, { 'hits' }).hits == 16
    end, 60, 'a hit for each row')
    store:close()
  end

  it('finds no stale read and no lost write in 8 processes over 32 hot rows', function()
    local left, rounds = CALLS, 0
    local seen, hits, misses, hints = 0, 0, 0, 0
    while left > 0 do
      local calls = math.min(left, ROUND)
      run = harness.start(own, { calls = calls })
      local violations, figures = finish(120)
      assert.equal(0, #violations, harness.show(violations))
      assert.same({}, figures.failures)
      is_whole()
      left, seen, rounds = left - calls, seen + figures.calls, rounds + 1
      hits, misses = hits + figures.stats.hits, misses + figures.stats.misses
      hints = hints + figures.stats.hints_found
      -- while Redis is not reached yet calls are made without it, and show nothing of the cache
      if left == 0 and (hits < CALLS / 10 or hints < CALLS / 50) and rounds < CALLS / ROUND + 5 then
        left = math.min(CALLS, ROUND)
      end
    end
    assert.is_true(seen >= CALLS)
    assert.is_true(hits > CALLS / 10, 'the cache was hardly used: ' .. hits .. ' hits')
    assert.is_true(hits > misses / 4, ('%d hits, %d misses'):format(hits, misses))
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
    local text, seen
    for _ = 1, 80 do -- it is mostly seen in the first three
      run = harness.start(own, { calls = 1000, build = BROKEN })
      text = table.concat(finish(60), '\n')
      seen = text:find('stale') or text:find('a row was missed') -- not there yet is stale, too
      if seen then break end
    end
    assert.is_truthy(seen, text)
  end)
end)
