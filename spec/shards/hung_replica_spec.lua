--- A shard whose replica hangs, or whose primary does while replicas answer for it: who waits for
--- the one that hangs is given the answer of the other one, or hears of it, in the time of the
--- breaker; who is served by the other one notices nothing.
-- Plain pass alone: standbys come and go; the C that it runs hung_spec.lua and units take through
-- the other passes.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local BREAKER, PATIENCE = 2, 60
local SQL = 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL)'
local primary, replica, other, shards

local function open(opts)
  local one = stores.Shards.new({
    { id = 0, db = primary:config({ replicas = { replica:config() }, poolsize = 6,
      acquire_timeout = PATIENCE }),
    redis = opts and opts.redis or false, opts = { timeout = PATIENCE, read = 'replica',
      log = function() end } },
    { id = 1, db = other:config({ poolsize = 6 }), redis = false, opts = { timeout = PATIENCE } },
  }, { breaker = BREAKER })
  one:count('docs')
  return one
end

setup(function()
  primary, other = postgres.primary(), postgres.start()
  replica = postgres.standby(primary)
  shards = stores.Shards.new({ { id = 0, db = primary:config(), redis = false },
    { id = 1, db = other:config(), redis = false } }, { breaker = PATIENCE })
  shards:migrate({ { name = 'docs', migration = SQL } })
  for id = 1, 40 do shards:insert('docs', { id = tostring(id), n = id }) end
  for _, store in ipairs(shards.shards) do support.close(store) end
  replica:catch_up()
end)

before_each(function() shards = open() end)
after_each(function()
  for _, store in ipairs(shards.shards) do support.close(store) end
end)
teardown(function()
  for _, server in ipairs({ replica, primary, other }) do server:remove() end
end)

local function while_frozen(servers, fn)
  for _, server in ipairs(servers) do server:freeze() end
  local ok, err = pcall(fn)
  for _, server in ipairs(servers) do server:thaw() end
  support.eventually(function()
    return shards.try:find('docs', '2', { read = 'primary' })
  end, PATIENCE)
  if not ok then error(err, 0) end
end

local function reads_of_replica() return shards.shards[1]:stats().replica_reads end

local READS = {
  find = function() return shards:find('docs', '2').n == 2 end,
  findAllByIds = function() return #shards:findAllByIds('docs', { '1', '2', '4' }) == 3 end,
  findAll = function() return #shards:findAll('docs') == 40 end,
  count = function() return shards:count('docs') == 40 end,
  findByJSON = function() return #shards:findByJSON('docs', { n = 2 }) == 1 end,
  query = function()
    return shards:query('SELECT 2 AS two', {}, { on = '2', readonly = true })[1].two == 2
  end,
  each = function() return shards:each('docs')().n == 1 end,
}

-- Starts a query that is answered by the replica when it has slept.
local function begin_sleep(seconds)
  local task = stores.spawn(pcall, shards.query, shards, ('SELECT pg_sleep(%g), 1 AS one'):format(
    seconds), {}, { on = '2', readonly = true })
  support.eventually(function()
    return replica:psql("SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
      .. " AND state = 'active'") == '1'
  end, PATIENCE)
  return task
end

describe('reads of a shard whose replica hangs', function()
  it('are answered by its primary, in the time of the breaker', function()
    stores.run(function()
      support.eventually(function()
        local before = reads_of_replica()
        shards:count('docs')
        return reads_of_replica() > before
      end, PATIENCE)
      while_frozen({ replica }, function()
        local began, tasks = postgres.now(), {}
        for what, read in pairs(READS) do tasks[what] = stores.spawn(read) end
        for what, task in pairs(tasks) do assert.is_true(task:join(), what) end
        assert.is_true(postgres.now() - began < PATIENCE / 2)
      end)
    end)
  end)

  it('go on to the primary also where the replica had begun to answer', function()
    stores.run(function()
      local task = begin_sleep(BREAKER / 2)
      while_frozen({ replica }, function()
        local began = postgres.now()
        local ok, rows = task:join()
        assert.is_true(ok, tostring(rows))
        assert.equal(1, rows[1].one)
        assert.is_true(postgres.now() - began < PATIENCE / 2)
      end)
    end)
  end)

  it('end with connection_lost where its primary hangs as well', function()
    stores.run(function()
      local task = begin_sleep(PATIENCE)
      while_frozen({ replica, primary }, function()
        local began, tasks = postgres.now(), { asleep = task }
        for what, read in pairs(READS) do
          if what ~= 'each' then tasks[what] = stores.spawn(pcall, read) end
        end
        for what, one in pairs(tasks) do
          local ok, err = one:join()
          assert.is_false(ok, what)
          assert.same({ what, 'connection_lost', 'none', 0 },
            { what, err.code, err.outcome, err.shard })
        end
        assert.is_true(postgres.now() - began < PATIENCE / 2)
        assert.equal(1, shards:find('docs', '1').n)
      end)
    end)
  end)
end)

describe('reads of a shard whose primary hangs', function()
  it('go on where a replica answers, however long they take', function()
    stores.run(function()
      local task = begin_sleep(3 * BREAKER)
      while_frozen({ primary }, function()
        local ok, rows = task:join()
        assert.is_true(ok, tostring(rows))
        assert.equal(1, rows[1].one)
      end)
    end)
  end)

  for _, how in ipairs({ 'hangs', 'is gone' }) do
    it('are answered by the replica also when a write has found out that it ' .. how, function()
      stores.run(function()
        if how == 'hangs' then primary:freeze() else primary:stop('immediate') end
        local ok, err = pcall(shards.patch, shards, 'docs', '2', { set = { n = 2 } })
        local found = {}
        for what, read in pairs(READS) do found[what] = { pcall(read) } end
        local again, after = pcall(shards.patch, shards, 'docs', '2', { set = { n = 2 } })
        if how == 'hangs' then primary:thaw() else primary:start() end
        assert.same({ false, 0, false, 0 }, { ok, err.shard, again, after.shard })
        for what, one in pairs(found) do
          assert.is_true(one[1], what .. ' ' .. tostring(one[2]))
          assert.is_true(one[2], what)
        end
        support.eventually(function()
          return shards.try:patch('docs', '2', { set = { n = 2 } })
        end, PATIENCE)
      end)
    end)
  end

  it('end where the cache has to have them, or a write is read', function()
    stores.run(function()
      for _, store in ipairs(shards.shards) do support.close(store) end
      shards = open({ redis = support.redis() })
      while_frozen({ primary }, function()
        local began, tasks = postgres.now(), {
          cached = stores.spawn(pcall, shards.find, shards, 'docs', '14'),
          write = stores.spawn(pcall, shards.query, shards, 'DELETE FROM docs WHERE false', {},
            { on = '2' }),
          patch = stores.spawn(pcall, shards.patch, shards, 'docs', '2', { set = { n = 2 } }),
        }
        for what, one in pairs(tasks) do
          local ok, err = one:join()
          assert.is_false(ok, what)
          assert.same({ what, 'connection_lost', 0 }, { what, err.code, err.shard })
        end
        assert.is_true(postgres.now() - began < PATIENCE / 2)
      end)
    end)
  end)
end)
