--- Held tables where Redis is several servers: nodes of a cluster, between which slots move, and
--- a master that sentinels replace. Nobody reads what is old, and tables are held again.
-- Plain pass alone: what is waited for are failovers of other processes.

local cache = require('spec.support.cache')
local clusters = require('spec.support.redis_cluster')
local sentinels = require('spec.support.sentinels')
local stores = require('stores')
local support = require('spec.support')

local WAIT = 120

describe('held tables', function()
  local group, db, store, other

  local function open(config, lease)
    local opts = { hold = { 'routes', 'prices' }, hold_lease = lease, log = function() end }
    return stores.Store.new(db, config, opts)
  end

  local function begin(config, lease)
    db = support.db()
    support.psql(db, [[CREATE TABLE routes (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE prices (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO routes VALUES (1, '{"n": 0}');
      INSERT INTO prices VALUES (1, '{"n": 0}')]])
    store, other = open(config, lease), open(config, lease)
  end

  after_each(function()
    support.close(store)
    support.close(other)
    support.drop(db)
    group:remove()
  end)

  local function hold(of, name) cache.hold(of, name, '1', WAIT) end

  -- Writes of one process, each of which the other one, that holds the row, reads next.
  local function agree(name, from, to)
    for n = from, to do
      other:update(name, { id = '1', n = n })
      assert.equal(n, store:find(name, '1').n)
      assert.equal(n, other:find(name, '1').n)
    end
  end

  it('of a cluster are held on the nodes of their slots, wherever these go', function()
    group = clusters.start()
    begin(group:config({ timeout = 5 }))
    for _, name in ipairs({ 'routes', 'prices' }) do
      hold(store, name)
      hold(other, name)
      agree(name, 1, 10)
    end
    local keys = cache.of(db)
    keys.cli = function(...) return group:cli(...) end
    local slot = group:slot(keys:epoch_key('public.routes'))
    hold(store, 'routes')
    local from = group:owner(slot)
    local to = group:other(from)
    group:begin_move(slot, from, to)
    agree('routes', 11, 15)
    group:end_move(slot, from, to)
    agree('routes', 16, 25)
    hold(store, 'routes')
    agree('routes', 26, 30)
    agree('prices', 11, 15)
  end)

  it('of a cluster survive the end of a node', function()
    group = clusters.start({ replicas = 3 })
    begin(group:config({ timeout = 5 }))
    hold(store, 'routes')
    agree('routes', 1, 3)
    local keys = cache.of(db)
    keys.cli = function(...) return group:cli(...) end
    local slot = group:slot(keys:epoch_key('public.routes'))
    local node = group:owner(slot)
    hold(store, 'routes')
    node:kill()
    agree('routes', 4, 6)
    support.eventually(function() return group:owner(slot) ~= node end, WAIT, 'a failover')
    agree('routes', 7, 9)
    hold(store, 'routes')
    agree('routes', 10, 15)
  end)

  it('of a cluster are told of a write by who has waited for leases, where their node is back',
    function()
      group = clusters.start()
      begin(group:config({ timeout = 0.5 }), 4)
      hold(store, 'routes')
      hold(other, 'routes')
      agree('routes', 1, 3)
      local keys = cache.of(db)
      keys.cli = function(...) return group:cli(...) end
      local node = group:owner(group:slot(keys:epoch_key('public.routes')))
      for n, write in ipairs({
        function() other:update('routes', { id = '1', n = 11 }) end,
        function()
          other:query([[UPDATE routes SET value = '{"n": 12}']], nil,
            { transaction = false, invalidates = { 'routes' } })
        end,
      }) do
        hold(store, 'routes')
        hold(other, 'routes')
        local before = other:stats().bypassed
        stores.run(function()
          node:pause()
          support.eventually(function()
            other:find('routes', '6')
            return other:stats().redis_up < 1
          end)
          local writing = stores.spawn(write)
          stores.sleep(0.05) -- it has begun
          node:resume()
          writing:join()
        end)
        assert.equal(10 + n, store:find('routes', '1').n)
        assert.equal(before, other:stats().bypassed)
      end
    end)

  it('of sentinels survive the end of the master, and are held on the next one', function()
    group = sentinels.start()
    begin(group:config())
    local master, next_one = group:roles()
    hold(store, 'routes')
    hold(other, 'routes')
    agree('routes', 1, 3)
    hold(store, 'routes')
    master:kill()
    agree('routes', 4, 6)
    group:named(next_one)
    agree('routes', 7, 9)
    hold(store, 'routes')
    hold(other, 'routes')
    agree('routes', 10, 15)
  end)
end)
