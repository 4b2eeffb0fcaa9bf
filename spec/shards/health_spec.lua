--- One shard of three that is down: its calls fail soon, those of the others do not wait for it,
--- and it is taken as soon as it is back.
-- Not in the gc pass: it is about servers that end; what hangs on values of Lua is in verbs_spec.
-- What calls tell that are under way when a server begins to hang is in hung_spec.lua.

local command = require('spec.support.command')
local postgres = require('spec.support.postgres')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local BREAKER, PATIENCE = 1, 60
local pairs_of, shards, list = {}, nil, {}

setup(function()
  for id = 0, 2 do
    local pair = { pg = postgres.start(), redis = redis.start() }
    pairs_of[id + 1] = pair
    list[id + 1] = { id = id, db = pair.pg:config({ poolsize = 4, acquire_timeout = PATIENCE }),
      redis = pair.redis:config({ timeout = 2 }), opts = { timeout = PATIENCE } }
  end
  shards = stores.Shards.new(list, { breaker = BREAKER })
  shards:migrate({ { name = 'docs', migration =
    'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL)' } })
  for id = 1001, 1024 do shards:insert('docs', { id = tostring(id) }) end
end)

teardown(function()
  for _, store in ipairs(shards.shards) do support.close(store) end
  for _, pair in ipairs(pairs_of) do
    pair.pg:remove()
    pair.redis:remove()
  end
end)

-- What an example that fails has stopped, or frozen.
after_each(function()
  for _, pair in ipairs(pairs_of) do pair.pg:ensure() end
end)

local now = postgres.now

-- Of a server that hangs a call hears that its time is up, or that of the server is.
local function is_hung(...)
  local ok, err = pcall(...)
  assert.is_false(ok)
  assert.is_truthy(err.code == 'timeout' or err.code == 'connection_lost', tostring(err))
end

describe('a shard that is down', function()
  it('is named by calls to all, or beside their answer', function()
    local total = shards:count('docs')
    local own = shards.shards[2]:count('docs')
    pairs_of[2].pg:stop('immediate')
    local err = refused('connect_failed', 'shard 1: ', function()
      support.eventually(function() shards:count('docs') end)
    end)
    assert.equal(1, err.shard)
    assert.is_true(err.retryable)
    local count, failed = shards:count('docs', nil, { partial = true })
    assert.equal(total - own, count)
    assert.equal(1, #failed)
    assert.equal(1, failed[1].shard)
    assert.matches('^shard 1: ', failed[1].message)
    pairs_of[2].pg:start()
    support.eventually(function() return (shards.try:count('docs')) end, PATIENCE)
    assert.equal(total, shards:count('docs'))
  end)

  it('has others tell what is to be heard by those who listen', function()
    pairs_of[1].pg:stop('immediate')
    support.eventually(function() return not shards.try:find('docs', '3', { cache = false }) end)
    for n = 1, 20 do shards:notify('news', tostring(n)) end
    pairs_of[1].pg:start()
    support.eventually(function() return (shards.try:find('docs', '3', { cache = false })) end,
      PATIENCE)
    shards:notify('news', 'all')
  end)

  it('is not asked by every call', function()
    pairs_of[2].pg:stop('immediate')
    support.eventually(function() return not shards.try:find('docs', '1', { cache = false }) end)
    local attempts = shards.shards[2]:stats().pg_connect_failures
    for _ = 1, 1000 do refused('connect_failed', nil, shards.find, shards, 'docs', '1') end
    assert.is_true(shards.shards[2]:stats().pg_connect_failures - attempts < 200)
    pairs_of[2].pg:start()
    support.eventually(function() return (shards.try:find('docs', '1', { cache = false })) end,
      PATIENCE)
  end)
end)

describe('a shard that hangs', function()
  it('holds up neither the calls that were under way nor those that come later', function()
    stores.run(function()
      shards:find('docs', '1', { cache = false })
      pairs_of[2].pg:freeze()
      local began = now()
      local first = stores.spawn(pcall, shards.find, shards, 'docs', '1', { cache = false })
      stores.sleep(1.5 * BREAKER)
      is_hung(shards.find, shards, 'docs', '4', { cache = false })
      assert.is_nil(shards:find('docs', '3', { cache = false })) -- of another one
      assert.is_false(first:join())
      assert.is_true(now() - began < PATIENCE / 2)
      began = now()
      for _ = 1, 20 do pcall(shards.find, shards, 'docs', '4', { cache = false }) end
      assert.is_true(now() - began < PATIENCE / 2)
      pairs_of[2].pg:thaw()
      support.eventually(function()
        return (shards.try:find('docs', '4', { cache = false }))
      end, PATIENCE)
    end)
  end)

  it('holds up nobody for long, also before it has answered once', function()
    stores.run(function()
      local others_list = {}
      for id, pair in ipairs(pairs_of) do
        others_list[id] = { id = id - 1, db = pair.pg:config({ poolsize = 4,
          acquire_timeout = PATIENCE }), redis = false, opts = { timeout = PATIENCE } }
      end
      local others = stores.Shards.new(others_list, { breaker = BREAKER })
      pairs_of[2].pg:freeze()
      local began = now()
      local first = stores.spawn(pcall, others.find, others, 'docs', '1')
      stores.sleep(1.5 * BREAKER)
      is_hung(others.find, others, 'docs', '4')
      assert.is_nil(others:find('docs', '3'))
      assert.is_false(first:join())
      assert.is_true(now() - began < PATIENCE / 2)
      pairs_of[2].pg:thaw()
      others:close()
    end)
  end)

  it('is asked by the next one where who asked was interrupted', function()
    local program = ([[
      local stores = require('stores')
      local shards = stores.Shards.new(%s, { breaker = 1 })
      local find = function() return pcall(shards.find, shards, 'docs', '1', { cache = false }) end
      local pid = require('stores.local.system').pid()
      os.execute('kill -STOP ' .. arg[1] .. ' 2>/dev/null')
      while not shards.health[2].down do find() end
      os.execute('(sleep 0.5; kill -INT ' .. pid .. ') &')
      print(pcall(stores.run, function()
        while true do
          find()
          stores.sleep(0.01)
        end
      end))
      os.execute('kill -CONT ' .. arg[1] .. ' 2>/dev/null')
      local ends = os.time() + 20
      while not find() and os.time() < ends do stores.sleep(0.05) end
      print((find()))
      shards:close()]]):format(command.source(list))
    local pids = {}
    pairs_of[2].pg:freeze()
    for _, pid in ipairs(pairs_of[2].pg.frozen) do pids[#pids + 1] = tostring(pid) end
    pairs_of[2].pg:thaw()
    local child = process.lua((program:gsub('arg%[1%]', ("'%s'"):format(table.concat(pids, ' ')))))
    local text = child:wait()
    os.execute('kill -CONT ' .. table.concat(pids, ' ') .. ' 2>/dev/null')
    assert.matches('interrupted!.*\ntrue\n$', text)
  end)
end)

-- Shards with one connection each.
local function narrow()
  local own = {}
  for id, pair in ipairs(pairs_of) do
    own[id] = { id = id - 1, db = pair.pg:config({ poolsize = 1, acquire_timeout = PATIENCE,
      application_name = 'narrow' }), redis = false, opts = { timeout = PATIENCE } }
  end
  local others = stores.Shards.new(own, { breaker = BREAKER })
  others:find('docs', '1')
  return others
end

describe('a shard all of whose connections are in use', function()
  it('is none that is down: who comes later waits for one', function()
    stores.run(function()
      local others = narrow()
      local free = false
      local holder = stores.spawn(others.transaction, others, '1', function(tx)
        tx:query('SELECT 1')
        while not free do stores.sleep(0.02) end
      end)
      local waiting = { stores.spawn(pcall, others.find, others, 'docs', '1003') }
      stores.sleep(1.5 * BREAKER)
      for n = 2, 5 do
        waiting[n] = stores.spawn(pcall, others.update, others, 'docs', { id = '1003', n = n })
      end
      stores.sleep(1.5 * BREAKER)
      local is_down = others.health[2].down ~= nil
      free = true
      holder:join()
      assert.is_false(is_down)
      for _, task in ipairs(waiting) do assert.is_true(task:join()) end
      others:close()
    end)
  end)

  it('is asked by one for all who come, and by nobody any more once it is closed', function()
    stores.run(function()
      local others = narrow()
      local free = false
      local function hold()
        return stores.spawn(pcall, others.transaction, others, '1', function(tx)
          tx:query('SELECT 1')
          while not free do stores.sleep(0.02) end
        end)
      end
      local pg = pairs_of[2].pg
      -- Without those that were answered before another one came: the server may take its time to
      -- end them.
      local function connections()
        return tonumber(pg:psql([[SELECT count(*) FROM pg_stat_activity AS one
          WHERE application_name = 'narrow' AND NOT (state = 'idle' AND EXISTS (SELECT
            FROM pg_stat_activity AS next WHERE next.application_name = one.application_name
            AND next.backend_start > one.state_change))]]))
      end
      local function is_held() return others.shards[2]:stats().pool_checked_out == 1 end
      local holder, waiting, most = hold(), {}, 0
      support.eventually(is_held)
      assert.equal(1, connections())
      waiting[1] = stores.spawn(pcall, others.find, others, 'docs', '1003')
      stores.sleep(1.2 * BREAKER)
      for n = 2, 100 do
        waiting[n] = stores.spawn(pcall, others.find, others, 'docs', '1003', { cache = false })
      end
      for _ = 1, 10 do
        most = math.max(most, connections())
        stores.sleep(0.01)
      end
      free = true
      holder:join()
      for _, task in ipairs(waiting) do assert.is_true(task:join()) end
      -- of a hundred who come: one asks for all of them, and the engine for what it has under way
      assert.is_true(most <= 3, most)
      free = false
      hold()
      support.eventually(is_held)
      waiting = { stores.spawn(pcall, others.find, others, 'docs', '1003') }
      stores.sleep(1.2 * BREAKER)
      pg:freeze()
      for n = 2, 3 do waiting[n] = stores.spawn(pcall, others.find, others, 'docs', '1003') end
      support.eventually(function() return others.health[2].beside end)
      others:close()
      for _, task in ipairs(waiting) do
        local ok, err = task:join()
        assert.is_false(ok)
        assert.equal('closed', err.code)
      end
      free = true
      pg:thaw()
    end)
  end)

  it('is down where it hangs as well', function()
    stores.run(function()
      local others = narrow()
      local holder = stores.spawn(pcall, others.transaction, others, '1', function(tx)
        tx:query('SELECT pg_sleep(100)')
      end)
      support.eventually(function()
        return pairs_of[2].pg:psql('SELECT count(*) FROM pg_stat_activity WHERE'
          .. " application_name = 'narrow' AND wait_event = 'PgSleep'") == '1'
      end)
      pairs_of[2].pg:freeze()
      local began = now()
      repeat is_hung(others.find, others, 'docs', '1') until others.health[2].down
      assert.is_true(now() - began < PATIENCE / 2)
      pairs_of[2].pg:thaw()
      holder:join()
      support.eventually(function() return (others.try:find('docs', '1')) end, PATIENCE)
      others:close()
    end)
  end)
end)
