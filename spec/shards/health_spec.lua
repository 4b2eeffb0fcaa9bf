--- One shard of three that is down: its calls fail soon, those of the others do not wait for it,
--- and it is taken as soon as it is back.
-- Not in the gc pass: it is about servers that end; what hangs on values of Lua is in verbs_spec.
-- What calls tell that are under way when a server begins to hang is in hung_spec.lua.

local postgres = require('spec.support.postgres')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local BREAKER, PATIENCE = 1, 60
local pairs_of, shards = {}, nil

setup(function()
  local list = {}
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
    support.eventually(function() return (shards.try:exists('docs', '3')) ~= nil end, PATIENCE)
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
      local list = {}
      for id, pair in ipairs(pairs_of) do
        list[id] = { id = id - 1, db = pair.pg:config({ poolsize = 4,
          acquire_timeout = PATIENCE }), redis = false, opts = { timeout = PATIENCE } }
      end
      local others = stores.Shards.new(list, { breaker = BREAKER })
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
end)
