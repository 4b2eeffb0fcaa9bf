--- A Redis cluster of three nodes: each table is on one of them, by a link of its own, and where
--- its slot goes the store goes, too.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local ports = require('spec.support.ports')
local clusters = require('spec.support.redis_cluster')
local gate = require('spec.support.gate')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local quiet = { log = function() end }

describe('a store over a Redis cluster', function()
  local cluster, db, store, keys, other

  -- The node that the keys of a table are on.
  local function node_of(name)
    return cluster:owner(cluster:slot(keys:epoch_key('public.' .. name)))
  end

  local function make(name)
    store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(name))
    keys:epoch_key('public.' .. name)
  end

  -- Two tables on different nodes.
  local function two_tables(prefix)
    for i = 1, 60 do
      make(prefix .. i)
      if node_of(prefix .. i) ~= node_of(prefix .. 1) then return prefix .. 1, prefix .. i end
    end
    error('sixty tables on one node')
  end

  local function cached(name, n) keys:put(store, name, n) end

  -- The other process reaches all nodes, too: it may have met one that an example before had end,
  -- and what it writes until it tries that again goes by Redis.
  local function reaches(name)
    support.eventually(function()
      other:find(name, '1')
      return other:stats().redis_up == 1
    end, 60, 'the other process reaches Redis')
  end

  -- This store, and another process's, read what was written.
  local function both_read(name, n)
    assert.equal(n, store:find(name, '1').n)
    assert.equal(n, other:find(name, '1').n)
  end

  -- Which run of which server an epoch is of.
  local function run_of(epoch) return epoch:match('^.[^.]*%.(%w%w%w%w%w%w%w%w)') end

  -- The epoch of the table is of this node. One that was on its way while the slot went is
  -- nobody's, and turned by the next call.
  local function is_of(node, name, n)
    support.eventually(function()
      both_read(name, n)
      return run_of(keys:epoch('public.' .. name)) == node:info('run_id'):sub(1, 8)
    end, 60, 'an epoch of the node that has the slot')
  end

  local function moving(name)
    local slot, from = cluster:slot(keys:epoch_key('public.' .. name)), node_of(name)
    return slot, from, cluster:other(from)
  end

  setup(function()
    cluster = clusters.start()
    db = support.db()
    store = stores.Store.new(db, cluster:config({ timeout = 5 }), quiet)
    other = stores.Store.new(db, cluster:config({ timeout = 5 }), quiet)
    keys = cache.of(db)
    keys.cli = function(...) return cluster:cli(...) end
    make('docs')
  end)

  teardown(function()
    if other then other:close() end
    support.close(store, db)
    cluster:remove()
  end)

  it('recognises it by one address, and has a link to each node that it needs', function()
    local one, two = two_tables('a')
    cached(one, 1)
    cached(two, 2)
    both_read(one, 1)
    both_read(two, 2)
    for _, name in ipairs({ one, two }) do
      assert.equal(node_of(name):info('run_id'):sub(1, 8), run_of(keys:epoch('public.' .. name)))
    end
    local stats = store:stats()
    assert.is_true(stats.redis_nodes >= 2 and stats.redis_nodes <= 3)
    assert.equal(1, stats.redis_up)
    local hits = stats.hits
    assert.equal(1, store:find(one, '1').n)
    assert.equal(hits + 1, store:stats().hits)
  end)

  it('tells Redis of its very first write, before it knows where the keys are', function()
    cached('docs', 1)
    local late = stores.Store.new(db, cluster:config({ timeout = 5 }),
      { log = function() end, on_cache_failure = 'error' })
    late:update('docs', { id = '1', n = 2 })
    both_read('docs', 2)
    assert.equal(0, late:stats().bypassed)
    local fresh = stores.Store.new(db, cluster:config({ timeout = 5 }),
      { log = function() end, on_cache_failure = 'error' })
    fresh:query("UPDATE docs SET value = value || '{\"n\": 3}'")
    both_read('docs', 3)
    assert.equal(0, fresh:stats().bypassed)
    late:close()
    fresh:close()
  end)

  it('follows a slot that moved, and turns its tables there', function()
    cached('docs', 10)
    both_read('docs', 10)
    local slot, from, to = moving('docs')
    cluster:move(slot, from, to)
    both_read('docs', 10)
    other:update('docs', { id = '1', n = 11 })
    both_read('docs', 11)
    assert.equal(0, other:stats().bypassed)
    cached('docs', 12)
    is_of(to, 'docs', 12)
    cluster:move(slot, to, from)
    cached('docs', 13)
    is_of(from, 'docs', 13)
  end)

  it('tells of writes while the keys of a slot go over, one by one', function()
    cached('docs', 20)
    both_read('docs', 20)
    local slot, from, to = moving('docs')
    local epoch_key, row = keys:epoch_key('public.docs'), keys:key('public.docs', '1')
    cluster:begin_move(slot, from, to)
    other:update('docs', { id = '1', n = 21 }) -- all keys are here
    both_read('docs', 21)
    local before = from:cli('GET', epoch_key)
    cluster:carry(from, to, row)
    other:update('docs', { id = '1', n = 22 }) -- TRYAGAIN
    both_read('docs', 22)
    assert.not_equal(before, from:cli('GET', epoch_key))
    cluster:carry(from, to, epoch_key)
    other:update('docs', { id = '1', n = 23 }) -- ASK
    both_read('docs', 23)
    store:query("UPDATE docs SET value = value || '{\"n\": 24}'")
    both_read('docs', 24)
    store:invalidate('docs', '1')
    cluster:end_move(slot, from, to)
    both_read('docs', 24)
    cached('docs', 25)
    both_read('docs', 25)
    assert.equal(0, other:stats().bypassed)
    assert.equal(0, store:stats().bypassed)
  end)

  it('tells of writes in a move that is given up', function()
    cached('docs', 30)
    both_read('docs', 30)
    local slot, from, to = moving('docs')
    cluster:begin_move(slot, from, to)
    cluster:carry(from, to, keys:epoch_key('public.docs'), keys:key('public.docs', '1'))
    other:update('docs', { id = '1', n = 31 })
    both_read('docs', 31)
    cluster:abandon_move(slot, from, to)
    both_read('docs', 31)
    cached('docs', 32)
    both_read('docs', 32)
    assert.equal(0, other:stats().bypassed)
  end)

  -- The row is in the cache as n, and a transaction that makes it n + 1 waits in its COMMIT behind
  -- the intent. Another one where it has none: a node was given up for a moment, and it went by
  -- Redis; or the other process met an epoch from before a move, whose turn ends behind it.
  local function held_up(n)
    while true do
      cached('docs', n)
      reaches('docs')
      keys:ready(other, 'public.docs')
      local bypassed, barrier = other:stats().bypassed, gate.close(db)
      local writer = gate.write(other, function(tx) tx:update('docs', { id = '1', n = n + 1 }) end)
      barrier:holds_somebody_up()
      local turns = keys:epoch('public.docs'):sub(1, 1) ~= 'V'
      if not turns and other:stats().bypassed == bypassed then return barrier, writer end
      barrier:release()
      writer:join()
    end
  end

  it('loses no write whose slot moves between its intent and its commit', function()
    stores.run(function()
      gate.install(store)
      for n, lost in pairs({ [42] = false, [44] = true }) do
        local barrier, writer = held_up(n)
        keys:becomes('public.docs', '1', 'T')
        local slot, from, to = moving('docs')
        local row = keys:key('public.docs', '1')
        cluster:begin_move(slot, from, to)
        if lost then
          -- what its owner forgets before it lets go of the slot is nowhere
          cluster:carry(from, to, keys:epoch_key('public.docs'))
          from:cli('DEL', row)
        end
        cluster:end_move(slot, from, to)
        for _ = 1, 20 do assert.equal(n, store:find('docs', '1').n) end
        barrier:release()
        writer:join()
        both_read('docs', n + 1)
        keys:ready(store, 'public.docs')
        for _ = 1, 20 do both_read('docs', n + 1) end
      end
    end)
  end)

  it('keeps the tables of other nodes where one loses its memory', function()
    local one, two = two_tables('f')
    cached(one, 1)
    cached(two, 2)
    local epoch, kept = keys:epoch('public.' .. one), keys:epoch('public.' .. two)
    node_of(one):cli('FLUSHALL')
    cached(one, 3)
    assert.not_equal(epoch, keys:epoch('public.' .. one))
    assert.equal(kept, keys:epoch('public.' .. two))
    local hits = store:stats().hits
    assert.equal(2, store:find(two, '1').n)
    assert.equal(hits + 1, store:stats().hits)
  end)

  it('sweeps, and turns all tables, on every node', function()
    local one, two = two_tables('s')
    cached(one, 1)
    cached(two, 2)
    local before = { keys:epoch('public.' .. one), keys:epoch('public.' .. two) }
    local dead = { keys:key('public.' .. one, '1'), keys:key('public.' .. two, '1') }
    store:invalidate(one)
    store:invalidate(two)
    for i, name in ipairs({ one, two }) do
      local epoch = keys:turned('public.' .. name, before[i])
      assert.equal(epoch, keys:ready(store, 'public.' .. name))
      assert.equal('1', keys.cli('EXISTS', dead[i]))
    end
    assert.is_true(store:sweep() >= 2)
    for i = 1, 2 do assert.equal('0', keys.cli('EXISTS', dead[i])) end
  end)

  it('needs no more rights than the page says, also while a slot moves', function()
    local page = assert(io.open('docs/redis.md')):read('*a')
    local rights = {}
    for line in page:gmatch('\nACL SETUSER app ([^\n]+)') do
      if not line:find('+role', 1, true) then rights[#rights + 1] = line end
    end
    assert.is_true(#rights >= 3)
    for _, node in ipairs(cluster.nodes) do
      for _, line in ipairs(rights) do
        local words = {}
        for word in line:gmatch('%S+') do words[#words + 1] = word end
        assert.equal('OK', node:cli('ACL', 'SETUSER', 'app', unpack(words)))
      end
    end
    cached('docs', 50)
    local said = {}
    local one = stores.Store.new(db, cluster:config({ timeout = 5, username = 'app',
      password = 'secret' }), { log = function(text) said[#said + 1] = text end })
    one:update('docs', { id = '1', n = 51 })
    both_read('docs', 51)
    local slot, from, to = moving('docs')
    cluster:begin_move(slot, from, to)
    cluster:carry(from, to, keys:epoch_key('public.docs'))
    one:update('docs', { id = '1', n = 52 })
    both_read('docs', 52)
    cluster:end_move(slot, from, to)
    one:update('docs', { id = '1', n = 53 })
    both_read('docs', 53)
    one:sweep()
    assert.equal(0, one:stats().bypassed)
    assert.same({}, said)
    one:close()
    for _, node in ipairs(cluster.nodes) do node:cli('ACL', 'DELUSER', 'app') end
  end)

  it('says what a list of nodes should be, and finds the cluster by one that lives', function()
    local alone = redis.start({ port = ports.free(), bind = '127.0.0.1' })
    local said = {}
    cached('docs', 59)
    local wrong = stores.Store.new(db, { cluster = { '127.0.0.1:' .. alone.options.port } },
      { log = function(text) said[#said + 1] = text end })
    assert.is_table(wrong:find('docs', '1'))
    assert.matches('Redis is no node of a cluster', wrong:stats().redis_trouble)
    wrong:close()
    alone:remove()
    cached('docs', 60)
    local dead = '127.0.0.1:' .. ports.free()
    local named = stores.Store.new(db, { cluster = { dead, cluster.nodes[2].place },
      opts = { timeout = 5 } }, { log = function() end, on_cache_failure = 'error' })
    named:update('docs', { id = '1', n = 61 })
    both_read('docs', 61)
    assert.equal(0, named:stats().bypassed)
    named:close()
  end)
end)
