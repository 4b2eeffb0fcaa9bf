--- The API under settings that nobody expects. STORES_TEST_SETTINGS: how many, or `all`;
--- STORES_TEST_SEED: which.
-- Plain pass alone: programs of their own, which no pass reaches.

local generator = require('spec.settings.generator')

-- Those on which something depends are tried each time.
local ALWAYS = {
  'PGCLIENTENCODING=LATIN1',
  'PGOPTIONS=-c gin_fuzzy_search_limit=1 -c extra_float_digits=-15',
  'ALTER ROLE .. SET quote_all_identifiers = \'on\'',
  'ALTER ROLE .. SET exit_on_error = \'on\'',
  'ALTER DATABASE .. SET standard_conforming_strings = \'off\'',
  'ALTER DATABASE .. SET default_transaction_isolation = \'serializable\'',
  'ALTER ROLE .. SET default_transaction_read_only = \'on\'',
  'ALTER ROLE .. SET cpu_tuple_cost = \'1.79769e+308\'', -- the plans of EXPLAIN cost Infinity
}

describe('the API #slow', function()
  local at

  setup(function() at = generator.start() end)

  teardown(function() generator.stop(at) end)

  -- Those that are tried each time, and so many others.
  local function chosen(count)
    local cases = generator.variables()
    for _, case in ipairs(generator.settings(at.server:config())) do cases[#cases + 1] = case end
    if count == 'all' then return cases end
    local list, others = {}, {}
    for _, case in ipairs(cases) do
      local always = false
      for _, title in ipairs(ALWAYS) do always = always or generator.title(case) == title end
      table.insert(always and list or others, case)
    end
    assert.equal(#ALWAYS, #list)
    for _ = 1, math.min(tonumber(count), #others) do
      list[#list + 1] = table.remove(others, math.random(#others))
    end
    return list
  end

  it('works, or says by name what it cannot work under', function()
    local seed = tonumber(os.getenv('STORES_TEST_SEED')) or os.time()
    math.randomseed(seed)
    local wrong, taken = {}, 0
    local cases = chosen(os.getenv('STORES_TEST_SETTINGS') or '10')
    for _, case in ipairs(cases) do
      local said = generator.run(at, case)
      taken = taken + (said and 1 or 0)
      if said and not generator.is_right(case, said) then
        wrong[#wrong + 1] = generator.title(case) .. ': ' .. said
      end
    end
    print(('%d of %d settings, STORES_TEST_SEED=%d'):format(taken, #cases, seed))
    assert.is_true(taken > #cases / 2)
    assert.equal('', table.concat(wrong, '\n'))
  end)
end)
