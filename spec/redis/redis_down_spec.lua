--- Redis is away in every way that it can: reads keep being answered, and never by what is old.
--- One that is there, and cannot be used: redis_unfit_spec.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local ailing = require('spec.support.ailing')
local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local is_up = ailing.is_up

describe('when Redis', function()
  local at, server, db, store, strict, keys

  setup(function()
    at = ailing.start()
    server, db, store, strict, keys = at.server, at.db, at.store, at.strict, at.keys
  end)
  teardown(function() at:stop() end)
  before_each(function()
    at.said = {}
    at:back() -- the example before may have had the server end
  end)

  it('is not there at the start, a store works without it', function()
    local nowhere = redis.new()
    local one = at:open(nil, nil, nowhere)
    at:carries_on(one)
    assert.equal(0, one:stats().redis_up)
    assert.is_true(one:stats().bypassed > 0)
    assert.equal(1, #at.said, table.concat(at.said, '\n'))
    assert.matches('not reachable', at.said[1])
    -- and with it, when it comes
    nowhere:start()
    support.eventually(function() return is_up(one) end)
    local there = cache.of(db, nowhere.socket)
    there:ready(one, 'public.docs')
    local id = keys:fresh()
    one:insert('docs', { id = id, n = 1 })
    there:becomes('public.docs', id, 'V')
    support.close(one)
    nowhere:remove()
  end)

  it('refuses connections, a store works without it', function()
    local gone = redis.start()
    local socket = gone.socket
    gone.process:kill()
    gone.process = nil -- its socket stays, and nobody listens
    local one = at:open(nil, nil, gone)
    assert.equal(0, os.execute("test -S '" .. socket .. "'"))
    at:carries_on(one)
    assert.equal(1, #at.said)
    support.close(one)
    gone:remove()
    local closed_port = stores.Store.new(db, { host = '127.0.0.1', port = 1 },
      { log = function() end })
    at:carries_on(closed_port)
    support.close(closed_port)
  end)

  it('is silent, its breaker opens within 250 ms, and closes within a second after', function()
    local id = at:cached(1)
    local opened, closed
    support.eventually(function()
      keys:ready(strict, 'public.docs')
      store:find('docs', id)
      server:pause()
      local began = store.hub:now()
      assert.equal(1, store:find('docs', id).n)
      opened = store.hub:now() - began
      assert.is_false(is_up(store))
      -- from now on nobody waits for it
      local slowest = 0
      for _ = 1, 50 do
        local start = store.hub:now()
        assert.equal(1, store:find('docs', id).n)
        slowest = math.max(slowest, store.hub:now() - start)
      end
      server:resume()
      closed = at:back()
      -- several rounds only where the machine is busy elsewhere
      return opened < 0.25 and closed < 1 and slowest < 0.05
    end, 90, 'the breaker to be quick')
    assert.is_true(opened < 0.25)
    assert.is_true(closed < 1)
    local hits = store:stats().hits
    support.eventually(function()
      assert.equal(1, store:find('docs', id).n)
      return store:stats().hits > hits
    end, 30, 'a hit')
  end)

  it('answers too late, its answer is nobody\'s', function()
    local ids = {}
    for i = 1, 40 do ids[i] = at:cached(i) end
    for _ = 1, 3 do
      server:pause()
      stores.map(ids, function(id, i) assert.equal(i, store:find('docs', id).n) end)
      server:resume()
      for i, id in ipairs(ids) do assert.equal(i, store:find('docs', id).n) end
      at:back()
      for i, id in ipairs(ids) do assert.equal(i, store:find('docs', id).n) end
    end
  end)

  it('is frozen, everything goes on at the cap of the pool', function()
    local ids = {}
    for i = 1, 20 do ids[i] = at:cached(i) end
    server:pause()
    at:carries_on(store)
    local list = {}
    for i = 1, 1000 do list[i] = i % 20 + 1 end
    stores.map(list, function(i)
      assert.equal(i, store:find('docs', ids[i]).n)
      assert.is_true(store:stats().pool_size <= 10)
    end)
    server:resume()
    at:back()
  end)

  it('missed a write, nobody reads what it still has', function()
    local id, gone = at:cached(1), at:cached(1)
    local absent = keys:fresh()
    store:find('docs', absent)
    keys:becomes('public.docs', absent, 'N')
    keys:ready(strict, 'public.docs')
    assert.equal(1, strict:find('docs', id).n)
    server:pause()
    store:update('docs', { id = id, n = 2 })
    store:delete('docs', gone)
    store:insert('docs', { id = absent, n = 3 })
    local epoch
    local function right(one)
      assert.equal(2, one:find('docs', id).n)
      assert.is_nil(one:find('docs', gone))
      assert.equal(3, one:find('docs', absent).n)
    end
    right(store)
    right(strict)
    server:resume()
    -- its memory is the same: the old values stand under the old epoch
    epoch = keys:epoch('public.docs')
    support.eventually(function()
      right(store)
      return keys:epoch('public.docs') ~= epoch
    end)
    at:back()
    keys:ready(strict, 'public.docs')
    for _ = 1, 5 do
      right(store)
      right(strict)
    end
    assert.not_equal(epoch, keys:epoch('public.docs'))
    keys:becomes('public.docs', id, 'V{"n": 2')
  end)

  it('cannot be told, a strict store refuses to write before it touches the row', function()
    local id = at:cached(1)
    server:pause()
    -- the first one finds out itself, after the statement: it is rolled back
    local err = support.refused('cache_failure', nil, strict.update, strict, 'docs',
      { id = id, n = 666 })
    assert.equal('none', err.outcome)
    at:refuses(id, 1)
    server:resume()
    at:back()
    strict:update('docs', { id = id, n = 2 })
    assert.equal(2, store:find('docs', id).n)
    server:kill()
    support.eventually(function() return not is_up(strict) end)
    at:refuses(id, 2)
    server:start()
    at:back()
    strict:update('docs', { id = id, n = 3 })
    assert.equal(3, store:find('docs', id).n)
  end)

  it('was started again, the next calls are right, and it is used within a second', function()
    local id = at:cached(1)
    for n = 2, 4 do
      server:kill()
      at:carries_on(store)
      store:update('docs', { id = id, n = n })
      server:start()
      assert.equal(n, store:find('docs', id).n)
      at:back()
      assert.equal(n, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
    end
  end)

  it('forgot everything, or its scripts, nothing is lost', function()
    local id = at:cached(1)
    for n = 2, 6 do
      server:cli(n % 2 == 0 and 'FLUSHALL' or 'SCRIPT', n % 2 == 0 and 'SYNC' or 'FLUSH')
      store:update('docs', { id = id, n = n })
      assert.equal(n, store:find('docs', id).n)
      at:carries_on(store)
      keys:ready(store, 'public.docs')
      assert.equal(n, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
    end
    assert.is_true(is_up(store))
  end)

  it('cuts connections, nothing is lost', function()
    local id = at:cached(1)
    for n = 2, 6 do
      server:cli('CLIENT', 'KILL', 'TYPE', 'normal')
      if n % 2 == 0 then assert.equal(n - 1, store:find('docs', id).n) end
      store:update('docs', { id = id, n = n })
      assert.equal(n, store:find('docs', id).n)
      at:back()
      assert.equal(n, store:find('docs', id).n)
    end
    stores.run(function()
      local over = false
      local cutter = stores.spawn(function()
        for _ = 1, 10 do
          server:cli('CLIENT', 'KILL', 'TYPE', 'normal')
          stores.sleep(0.02)
        end
        over = true
      end)
      local count = 6
      while not over do
        store:updateObject('docs', id, function(doc) doc.n = doc.n + 1 end)
        count = count + 1
        assert.equal(count, store:find('docs', id).n)
      end
      cutter:join()
    end)
    at:back()
  end)
end)
