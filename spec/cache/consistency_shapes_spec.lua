--- The harness of spec/consistency over tables whose rows PostgreSQL changes by itself, over
--- tenants that search_path tells apart, and over several databases on one Redis.
--- STORES_CONSISTENCY_CALLS=1000000: so many calls in each.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local servers = require('spec.consistency.servers')
local shapes = require('spec.consistency.shapes')

local CALLS = tonumber(os.getenv('STORES_CONSISTENCY_CALLS')) or 1500

describe('#slow the live harness finds no stale read', function()
  local own, run

  setup(function() own = servers.start() end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function judge(options, name)
    options.calls, options.calm = CALLS, 40
    -- where a call is one of few, more processes would only have more to learn before it
    options.workers = options.workers or 3
    run = harness.start(own, options)
    local violations, figures = run:finish({ keep = 60 + CALLS / 1000 })
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    assert.same({}, figures.failures)
    assert.is_true(figures.stats.hits > figures.calls / 20, name .. ': the cache was not used')
  end

  local names = {}
  for name in pairs(shapes.sql) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do
    it('where rows are changed by ' .. name, function() judge({ shape = name }, name) end)
  end

  it('where tenants have tables of one name, by search_path', function()
    judge({ tenants = 3, rows = 16, workers = 6 }, 'tenants')
  end)

  it('where several databases are on one Redis', function()
    judge({ databases = 3, rows = 16, workers = 6 }, 'databases')
  end)

  it('where all of that comes together', function()
    judge({ databases = 2, tenants = 1, rows = 16, workers = 6,
      shape = 'a deferred constraint' }, 'all')
  end)
end)
