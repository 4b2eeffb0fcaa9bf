--- A Redis cluster whose node is lost: a replica takes its place, or nobody does.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local clusters = require('spec.support.redis_cluster')
local stores = require('stores')
local support = require('spec.support')

local quiet = { log = function() end }

describe('a store over a Redis cluster with a replica', function()
  local cluster, db, store, keys
  local said = {}

  local function node_of(name)
    return cluster:owner(cluster:slot(keys:epoch_key('public.' .. name)))
  end

  -- A table on the node that has, or was, the replica, and one on another.
  local function two_tables(prefix)
    local here, there
    local first = cluster:owner('0')
    for i = 1, 90 do
      local name = prefix .. i
      store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(name))
      if node_of(name) == first then here = here or name else there = there or name end
      if here and there then return here, there end
    end
    error('ninety tables on one node')
  end

  local function cached(name, n) keys:put(store, name, n) end

  setup(function()
    cluster = clusters.start({ replicas = 1 })
    db = support.db()
    store = stores.Store.new(db, cluster:config({ timeout = 5 }),
      { log = function(text) said[#said + 1] = text end })
    keys = cache.of(db)
    keys.cli = function(...) return cluster:cli(...) end
  end)

  teardown(function()
    support.close(store, db)
    cluster:remove()
  end)

  it('goes on where a node fails over, and turns its tables', function()
    local here, there = two_tables('o')
    cached(here, 1)
    cached(there, 1)
    local lost = keys:epoch('public.' .. here)
    local late = stores.Store.new(db, cluster:config({ timeout = 5 }), quiet)
    assert.equal(1, late:find(here, '1').n)
    cluster.nodes[1]:kill()
    store:update(here, { id = '1', n = 2 }) -- by Redis, for its node is gone
    assert.equal(2, store:find(here, '1').n)
    local hits = store:stats().hits
    assert.equal(1, store:find(there, '1').n)
    assert.equal(hits + 1, store:stats().hits)
    assert.is_string(store:stats().redis_trouble)
    support.eventually(function()
      return cluster.nodes[4]:info('role') == 'master'
    end, 60, 'the promotion')
    local function both_find()
      store:find(here, '1')
      late:find(here, '1')
    end
    support.eventually(function()
      both_find()
      return store:stats().redis_trouble == nil and late:stats().redis_trouble == nil
    end, 60, 'the new master')
    local epoch = keys:turned('public.' .. here, lost, both_find)
    assert.equal(cluster.nodes[4]:info('run_id'):sub(1, 8), epoch:match('%.(%w%w%w%w%w%w%w%w)'))
    for _, one in ipairs({ store, late }) do assert.equal(2, one:find(here, '1').n) end
    cached(here, 3)
    assert.equal(3, late:find(here, '1').n)
    late:close()
  end)

  it('says that the cluster is down, reads from PostgreSQL, and turns when it is back', function()
    local here, there = two_tables('d')
    cached(here, 1)
    cached(there, 1)
    local before = keys:epoch('public.' .. there)
    local gone = node_of(there)
    gone:kill()
    support.eventually(function()
      assert.equal(1, store:find(here, '1').n)
      return table.concat(said, '\n'):find('CLUSTERDOWN', 1, true)
    end, 60, 'the cluster to be down')
    for n = 2, 4 do
      store:update(here, { id = '1', n = n })
      store:update(there, { id = '1', n = n })
      assert.equal(n, store:find(here, '1').n)
      assert.equal(n, store:find(there, '1').n)
    end
    gone:start()
    local function both_find()
      store:find(here, '1')
      store:find(there, '1')
    end
    support.eventually(function()
      both_find()
      return store:stats().redis_trouble == nil
    end, 60, 'the cluster to be well')
    keys:turned('public.' .. there, before, both_find) -- it has lost all: who reads next begins it
    cached(here, 5)
    cached(there, 5)
  end)
end)
