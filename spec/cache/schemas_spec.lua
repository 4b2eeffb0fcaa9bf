--- PostgreSQL changes rows by itself: by triggers, cascades, partitions, rules, deferred
--- constraints, savepoints that are rolled back, other processes' DDL. Schemas of chance have some
--- of these each, two stores work on them, and every row has to be right from the cache after every
--- operation. STORES_SCHEMAS=5000: so many; STORES_SCHEMAS_SEED=7: the first one's seed.
-- Plain pass alone: a hundred schemas take what the other passes have no time for.

local run = require('spec.schemas.run')
local stores = require('stores')
local support = require('spec.support')

local COUNT = tonumber(os.getenv('STORES_SCHEMAS')) or 100
local SEED = tonumber(os.getenv('STORES_SCHEMAS_SEED')) or os.time() % 1000000

describe('over schemas of chance #slow', function()
  randomize(false) -- what was used is told at the end

  local db, world

  setup(function()
    db = support.db()
    local opts = { timeout = 10 }
    world = {
      readers = { stores.Store.new(db, support.redis(), opts),
        stores.Store.new(db, support.redis(), opts) },
      truth = stores.Store.new(db, nil, { cache = false }),
    }
  end)

  teardown(function()
    for _, store in ipairs(world.readers) do support.close(store) end
    support.close(world.truth, db)
  end)

  it(('the cache says what PostgreSQL says (%d from seed %d)'):format(COUNT, SEED), function()
    local wrong = run.all(world, SEED, SEED + COUNT - 1)
    if wrong[1] then
      error(('%d of %d schemas:\n%s'):format(#wrong, COUNT, table.concat(wrong, '\n\n')), 0)
    end
  end)

  it('and is used', function()
    local hits, misses = 0, 0
    for _, store in ipairs(world.readers) do
      local stats = store:stats()
      hits, misses = hits + stats.hits, misses + stats.misses
    end
    assert.is_true(hits > misses / 4, ('%d hits, %d misses'):format(hits, misses))
  end)
end)
