--- Shards of which each has a replica: every list is answered by replicas, and none of them goes
--- back in time for its caller, nor for the next process, which is given a token of all shards.
-- Plain pass alone: standbys come and go; what of C it runs units take through the other passes.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local COUNT, ROWS = 2, 20
local SQL = 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL)'
local primaries, standbys, opened = {}, {}, {}

local function open(opts)
  local list = {}
  for at = 1, COUNT do
    local own = { read = 'replica', log = function() end }
    for key, value in pairs(opts or {}) do own[key] = value end
    list[at] = { id = at - 1, db = primaries[at]:config({ replicas = { standbys[at]:config() } }),
      redis = false, opts = own }
  end
  local shards = stores.Shards.new(list, { breaker = 20 })
  opened[#opened + 1] = shards
  return shards
end

local function on_standbys(sql)
  for _, standby in ipairs(standbys) do standby:psql(sql) end
end

setup(function()
  for at = 1, COUNT do
    primaries[at] = postgres.primary()
    standbys[at] = postgres.standby(primaries[at])
  end
  open():migrate({ { name = 'docs', migration = SQL } })
  for id = 1, ROWS do opened[1]:insert('docs', { id = tostring(id), n = id }) end
end)
before_each(function()
  for _, standby in ipairs(standbys) do standby:catch_up() end
end)
after_each(function()
  for _, shards in ipairs(opened) do
    for _, store in ipairs(shards.shards) do support.close(store) end
  end
  opened = {}
  -- of one that failed; the promoted one has nothing to go on with
  for _, standby in ipairs(standbys) do
    pcall(standby.psql, standby, 'SELECT pg_wal_replay_resume()')
  end
end)
teardown(function()
  for _, list in ipairs({ standbys, primaries }) do
    for _, server in ipairs(list) do server:remove() end
  end
end)

local function reads(shards)
  local counts = {}
  for at, stats in ipairs(shards:stats().shards) do counts[at] = stats.replica_reads end
  return counts
end

-- Whether all shards were read on replicas.
local function by_replicas(shards, call)
  local before = reads(shards)
  call()
  local is_all = true
  for at, count in ipairs(reads(shards)) do is_all = is_all and count > before[at] end
  return is_all
end

local function count_by_each(shards, opts)
  local count = 0
  for _ in shards:each('docs', opts) do count = count + 1 end
  return count
end

local CALLS = {
  count = function(shards, opts) return shards:count('docs', nil, opts) end,
  findAll = function(shards, opts) return #shards:findAll('docs', opts) end,
  findAllByIds = function(shards, opts)
    return #shards:findAllByIds('docs', { '1', '2', '100', '101' }, opts)
  end,
  findByJSON = function(shards, opts)
    opts.where = { { 'n', '>', 0 } }
    return #shards:findByJSON('docs', {}, opts)
  end,
  each = function(shards, opts)
    opts.batch = 3
    return count_by_each(shards, opts)
  end,
  query = function(shards, opts)
    opts.on, opts.readonly = 'all', true
    return #shards:query('SELECT id FROM docs', {}, opts)
  end,
}

describe('shards of which each has a replica', function()
  randomize(false)

  it('have all that asks them answered there, and by their primaries where that is asked for',
    function()
      local shards = open()
      shards:count('docs', nil, { read = 'primary' })
      for name, call in pairs(CALLS) do
        support.eventually(function()
          return by_replicas(shards, function() call(shards, {}) end)
        end, 20, name)
        local before = reads(shards)
        call(shards, { read = 'primary' })
        assert.same(before, reads(shards), name)
      end
      local before = reads(shards)
      shards:findAll('docs', { explain = true }) -- plans are the primary's
      assert.same(before, reads(shards))
    end)

  it('give all that was written and read to who wrote, and by a token to the next one', function()
    local shards = open()
    for name, call in pairs(CALLS) do
      if name ~= 'findAllByIds' then assert.equal(ROWS, call(shards, {}), name) end
    end
    on_standbys('SELECT pg_wal_replay_pause()')
    shards:insertMany('docs', { { id = '100', n = 100 }, { id = '101', n = 101 } })
    local token, other = shards:token(), open()
    for name, call in pairs(CALLS) do
      local wanted = name == 'findAllByIds' and 4 or ROWS + 2
      assert.equal(wanted, call(shards, {}), name)
      assert.equal(wanted - 2, call(open(), {}), name) -- nobody has told that one
      assert.equal(wanted, call(other, { after_token = token }), name)
      assert.equal(wanted, call(open({ after_token = token }), {}), name)
    end
    assert.equal(101, open():find('docs', '101', { after_token = token }).n)
    -- one that is of the other shard alone has the primary asked
    assert.equal(101, open():find('docs', '101', { after_token = token:match('^[^,]+') }).n)
    for _, wrong in ipairs({ 'nonsense', token .. ',x', token .. ',' }) do
      support.refused('invalid_argument', 'after_token is no token', other.count, other, 'docs',
        nil, { after_token = wrong })
    end
    on_standbys('SELECT pg_wal_replay_resume()')
    shards:deleteMany('docs', { '100', '101' })
  end)

  it('are read on one that was promoted no more, and on the new primary with the old token',
    function()
      local shards = open()
      shards:upsert('docs', { id = '1', n = 'before' })
      local token = shards:token()
      standbys[2]:catch_up()
      standbys[2]:psql('SELECT pg_promote()')
      support.eventually(function()
        assert.equal(ROWS, shards:count('docs'))
        return shards.shards[2]:stats().replicas[1].left_alone == 'promoted'
      end, 20)
      shards:upsert('docs', { id = '1', n = 'after' }) -- which the promoted one does not have
      assert.equal('after', shards:find('docs', '1').n)
      primaries[2]:stop('immediate')
      local list = {}
      for at, server in ipairs({ primaries[1], standbys[2] }) do
        list[at] = { id = at - 1, db = server:config(), redis = false, opts = { read = 'replica' } }
      end
      local later = stores.Shards.new(list)
      opened[#opened + 1] = later
      assert.equal('before', later:find('docs', '1', { after_token = token }).n)
      later:upsert('docs', { id = '1', n = 'later' })
      assert.equal('later', later:findOne('docs', { id = '1' },
        { after_token = token .. ',' .. later:token() }).n)
    end)
end)
