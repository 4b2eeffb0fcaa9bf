--- How rows are spread over shards, and how long a call to all of them takes.
-- Plain pass alone: 10^5 rows are a matter of time.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local COUNT = 100000

describe('100,000 documents, #slow', function()
  local shards, databases

  setup(function()
    -- 1,000 first calls at once, on a machine that is busy: no shard is down for that
    shards, databases = three.open(3, { 'docs' }, { breaker = 60 },
      { cache = false, timeout = 60 })
    local list = {}
    for i = 1, COUNT do list[i] = i end
    stores.map(list, function(n) shards:insert('docs', { n = n }) end, { concurrency = 1000 })
  end)
  teardown(function() three.close(shards, databases) end)

  it('are spread within 2 %', function()
    for _, store in ipairs(shards.shards) do
      local share = store:count('docs') / COUNT * 3
      assert.is_true(share > 0.98 and share < 1.02, tostring(share))
    end
    assert.equal(COUNT, shards:count('docs'))
  end)

  it('are paged through in every order without loss, and each once', function()
    for _, order in ipairs({ 'asc', { '-n' } }) do
      local seen, count, after = {}, 0, nil
      repeat
        local page
        page, after = shards:findAll('docs', { order = order, limit = 20000, after = after,
          fields = { 'n' } })
        for _, document in ipairs(page) do
          assert.is_nil(seen[document.n])
          seen[document.n] = true
          count = count + 1
          if order ~= 'asc' then assert.equal(COUNT + 1 - count, document.n) end
        end
      until not after
      assert.equal(COUNT, count)
    end
  end)
end)

describe('a call to all shards, #slow', function()
  local shards, databases

  setup(function() shards, databases = three.open(3, { 'docs' }, nil, { cache = false }) end)
  teardown(function() three.close(shards, databases) end)

  -- The sleep stands for a server's work: a server that works has a processor of its own, and those
  -- of a spec share few.
  local WORK = 'SELECT pg_sleep(%s)'

  it('takes no longer than the slowest of them, and a fifth', function()
    local function seconds(fn)
      local hub = require('stores.wait').host.hub()
      local began = hub:now()
      fn()
      return hub:now() - began
    end
    local sql = WORK:format('0.5 + 0.5 * (SELECT count(*) FROM docs)')
    shards.shards[2]:insert('docs', { id = '1' })
    -- by turns, and the best of each: a neighbour on the machine makes either of them slow
    local slowest, all = math.huge, math.huge
    support.eventually(function()
      slowest = math.min(slowest, seconds(function() shards.shards[2]:query(sql) end))
      all = math.min(all, seconds(function() shards:query(sql, {}, { on = 'all' }) end))
      return all <= slowest * 1.2
    end, 60)
    assert.is_true(slowest >= 1)
  end)

  it('asks no more of them at a time than it is told, and all within one deadline', function()
    local running, most = 0, 0
    for _, store in ipairs(shards.shards) do
      local query = store.query
      function store:query(...)
        running = running + 1
        most = math.max(most, running)
        local results = { pcall(query, self, ...) }
        running = running - 1
        if not results[1] then error(results[2], 0) end
        return unpack(results, 2)
      end
    end
    shards:query('SELECT pg_sleep(0.1)', {}, { on = 'all', concurrency = 2 })
    assert.equal(2, most)
    local err = support.refused('timeout', nil, shards.query, shards, 'SELECT pg_sleep(20)', {},
      { on = 'all', concurrency = 1, timeout = 0.5 })
    assert.equal(0, err.shard)
    assert.equal(3, #err.failed)
    assert.equal(2, most)
    for _, store in ipairs(shards.shards) do store.query = nil end
  end)
end)
