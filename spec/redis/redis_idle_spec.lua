--- Links to Redis that nobody uses: servers close them after a while, balancers forget them without
--- a word. A PING now and then holds them, and the next write goes by Redis in neither case.
-- Plain pass alone: it waits for the time to go by; spec/redis/test_redis_keep.c is in the others.

local cache = require('spec.support.cache')
local proxy = require('spec.support.pg_proxy')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a link to Redis that nobody uses', function()
  local server, db, reader, said, keys

  local function open(redis_opts, opts, path)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local own = { timeout = 2 }
    for key, value in pairs(redis_opts) do own[key] = value end
    return stores.Store.new(db, { path = path or server.socket, opts = own }, all)
  end

  setup(function()
    said = {}
    server = redis.start()
    db = support.db()
    reader = open({})
    reader:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. ' CREATE VIEW seen AS SELECT * FROM docs')
    keys = cache.of(db, server.socket)
  end)

  teardown(function()
    support.close(reader, db)
    server:remove()
  end)

  before_each(function() said = {} end)

  local last = 0
  local function cached()
    last = last + 1
    local id = tostring(last)
    keys:ready(reader, 'public.docs')
    reader:insert('docs', { id = id, n = 1 })
    keys:becomes('public.docs', id, 'V')
    return id
  end

  -- Waits until the store has its link, and nothing is due on it.
  local function settled(store)
    support.eventually(function()
      local stats = store:stats()
      return stats.redis_up == 1 and stats.redis_pending == 0
    end, 20, 'a link that is idle')
  end

  -- The loop turns for so long, and nobody calls.
  local function pause(seconds)
    stores.run(function() stores.sleep(seconds) end)
  end

  describe('and that the server closes after three seconds', function()
    setup(function() server:cli('CONFIG', 'SET', 'timeout', '3') end)
    teardown(function() server:cli('CONFIG', 'SET', 'timeout', '0') end)

    -- So long that the server, which looks now and then, has closed every other one.
    local function outlive(store)
      local idle = open({ keepalive = 0 })
      idle:find('docs', '1')
      local connects = idle:stats().redis_connects
      support.eventually(function()
        pause(0.2)
        return idle:stats().redis_connects > connects
      end, 60, 'a link that is closed')
      support.close(idle)
      return store:stats().redis_connects
    end

    it('is held by a PING, which is no round trip of a call', function()
      local store = open({ keepalive = 0.2 })
      store:find('docs', '1')
      pause(0.1)
      local before = store:stats()
      assert.equal(before.redis_connects, outlive(store))
      local after = store:stats()
      assert.equal(before.redis_commands, after.redis_commands)
      assert.equal(before.redis_round_trips, after.redis_round_trips)
      settled(store)
      assert.same({}, said)
      support.close(store)
    end)

    it('is made anew at once where nobody asks: nothing is said, no write goes by it', function()
      local id = cached()
      local store = open({ keepalive = 0 }, { on_cache_failure = 'error' })
      assert.equal(1, store:find('docs', id).n)
      outlive(store)
      store:update('docs', { id = id, n = 2 })
      assert.equal(2, reader:find('docs', id).n)
      assert.equal(0, store:stats().bypassed)
      assert.same({}, said)
      support.close(store)
    end)
  end)

  describe('and that a balancer forgets without a word', function()
    local balancer, path

    setup(function()
      balancer = proxy.start(server.socket)
      path = balancer.socket
    end)
    teardown(function() balancer:close() end)

    -- Stands for a process that computes: its loop does not turn, and no PING finds out.
    local function forgotten(opts)
      local store = open({ keepalive = 0, timeout = 1, connect_timeout = 10 }, opts, path)
      local id = cached()
      assert.equal(1, store:find('docs', id).n)
      settled(store)
      -- what was used a moment ago is not taken for forgotten
      os.execute('sleep 1.2')
      balancer:swallow()
      return store, id
    end

    it('costs the next write one more connection, and is no reason to go by Redis', function()
      for _, mode in ipairs({ 'bypass', 'error' }) do
        local store, id = forgotten({ on_cache_failure = mode })
        local connects = store:stats().redis_connects
        store:update('docs', { id = id, n = 2 })
        assert.equal(2, reader:find('docs', id).n)
        assert.equal(0, store:stats().bypassed)
        assert.equal(connects + 1, store:stats().redis_connects)
        assert.same({}, said)
        support.close(store)
      end
    end)

    it('costs no read its answer, nor an invalidation, nor what names no rows', function()
      local store, id = forgotten()
      assert.equal(1, store:find('docs', id).n)
      support.close(store)
      store, id = forgotten()
      store:invalidate('docs', id)
      support.close(store)
      store, id = forgotten()
      store:query("UPDATE docs SET value = '{\"n\": 3}' WHERE id = $1", { id })
      assert.equal(3, reader:find('docs', id).n)
      assert.equal(0, store:stats().bypassed)
      assert.same({}, said)
      support.close(store)
    end)

    it('costs the tables behind a view, of which they are told, nothing, either', function()
      local store, id = forgotten()
      support.psql(db, ("UPDATE docs SET value = '{\"n\": 4}' WHERE id = %s"):format(id))
      assert.equal(1, reader:find('docs', id).n)
      store:invalidate('seen', id)
      assert.equal(4, reader:find('docs', id).n)
      assert.same({}, said)
      support.close(store)
    end)

    it('is found out by a PING before anybody needs it', function()
      local store = open({ keepalive = 1.2, timeout = 1, connect_timeout = 10 }, nil, path)
      store:find('docs', cached())
      settled(store)
      local connects = store:stats().redis_connects
      balancer:swallow()
      support.eventually(function()
        pause(0.1)
        return store:stats().redis_connects > connects
      end, 60, 'a link that is made anew')
      assert.same({}, said)
      support.close(store)
    end)
  end)
end)
