--- Shards that begin as databases of one server, and are moved to another one later, one by one and
--- by PostgreSQL's own tools, as docs/scaling.md says.
-- Plain pass alone: what moves is moved by other programs.

local postgres = require('spec.support.postgres')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local refused, Shards = support.refused, stores.Shards
local BUCKETS, ROWS = 4, 400

describe('buckets', function()
  local first, second, shards

  setup(function()
    first, second = postgres.start(), postgres.start()
    for _, server in ipairs({ first, second }) do
      server:psql('CREATE ROLE shop LOGIN; GRANT pg_monitor TO shop;'
        .. 'GRANT EXECUTE ON FUNCTION pg_control_system() TO shop')
    end
    for id = 0, BUCKETS - 1 do
      first:psql(('CREATE DATABASE bucket_%d OWNER shop'):format(id))
      first:psql('ALTER SCHEMA public OWNER TO shop', 'bucket_' .. id)
    end
  end)
  teardown(function()
    shards:close()
    first:remove()
    second:remove()
  end)

  -- The list, with some buckets on the second server.
  local function open(moved)
    local list = {}
    for id = 0, BUCKETS - 1 do
      local server = moved[id] and second or first
      list[id + 1] = { id = id, redis = support.redis(), opts = { timeout = 20 },
        db = server:config({ database = 'bucket_' .. id, user = 'shop', poolsize = 3 }) }
    end
    return Shards.new(list, { breaker = 1 })
  end

  local function move(id)
    first:psql(('ALTER DATABASE bucket_%d CONNECTION LIMIT 0'):format(id))
    first:psql(('SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity '
      .. "WHERE datname = 'bucket_%d'"):format(id))
    local status, text = shell.run(('LD_PRELOAD= pg_dump -h %s -p %d -U postgres -Fc --create '
      .. 'bucket_%d | LD_PRELOAD= pg_restore -h %s -p %d -U postgres --create -d postgres')
      :format(first.socket, first.port, id, second.socket, second.port))
    assert.equal(0, status, text)
    second:psql(('ALTER DATABASE bucket_%d CONNECTION LIMIT -1'):format(id))
  end

  it('are shards of one server, of which one is moved while the others are used; '
    .. 'they stand in no other place of the list, wherever they are', function()
    shards = open({})
    shards:migrate({ { name = 'orders', migration =
      'CREATE TABLE orders (id bigint PRIMARY KEY, value jsonb NOT NULL)' } })
    local list = {}
    for n = 1, ROWS do list[n] = { id = tostring(n), n = n } end
    shards:insertMany('orders', list)
    for n = 1, ROWS do assert.equal(n, shards:find('orders', tostring(n)).n) end -- caches

    move(3)
    local err
    support.eventually(function()
      local ok
      ok, err = shards.try:patch('orders', '3', { set = { n = -3 } })
      return not ok
    end)
    assert.same({ 3, 'none' }, { err.shard, err.outcome })
    assert.equal(-4, shards:patch('orders', '4', { set = { n = -4 } }).n)
    local count, failed = shards:count('orders', nil, { partial = true })
    assert.same({ ROWS * 3 / 4, 3 }, { count, failed[1].shard })

    local moved = open({ [3] = true })
    assert.equal(ROWS, moved:count('orders'))
    assert.equal(-7, moved:patch('orders', '7', { set = { n = -7 } }).n)
    assert.equal(-7, moved:find('orders', '7').n)
    assert.equal(3, moved:find('orders', '3').n)
    local _, gone = shards.try:find('orders', '7')
    assert.same({ 'connect_failed', 3 }, { gone.code, gone.shard })
    shards:close()
    shards = moved

    list = {}
    for id = 0, BUCKETS - 1 do
      local name = ({ [0] = 3, [3] = 0 })[id] or id
      list[id + 1] = { id = id, redis = false, db = (name == 3 and second or first):config({
        database = 'bucket_' .. name, user = 'shop', poolsize = 3 }) }
    end
    local swapped = Shards.new(list)
    refused('shard_mismatch', 'is shard 3 of 4', swapped.find, swapped, 'orders', '4')
    refused('shard_mismatch', 'is shard 0 of 4', swapped.find, swapped, 'orders', '3')
    swapped:close()
  end)
end)
