--- Redis fails in every way that it can: reads keep being answered, and never by what is old.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('when Redis', function()
  local server, db, store, strict, keys, said

  local function open(opts, server_opts, to)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    return stores.Store.new(db, (to or server):config(server_opts or {}), all)
  end

  setup(function()
    said = {}
    server = redis.start()
    db = support.db()
    store, strict = open(), open({ on_cache_failure = 'error' })
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    keys = cache.of(db, server.socket)
    keys:ready(store, 'public.docs')
    keys:ready(strict, 'public.docs')
  end)

  teardown(function()
    support.close(strict)
    support.close(store, db)
    server:remove()
  end)

  before_each(function() said = {} end)

  local last = 0
  local function fresh()
    last = last + 1
    return tostring(last)
  end

  local function is_up(one)
    return one:stats().redis_up == 1
  end

  -- The seconds until every link is up again and a row is served from the cache.
  local function back(...)
    local began = store.hub:now()
    for _, one in ipairs({ store, strict, ... }) do
      support.eventually(function() return is_up(one) end, 20, 'the link to be up')
    end
    local seconds = store.hub:now() - began
    keys:ready(store, 'public.docs')
    return seconds
  end

  local function cached(n)
    local id = fresh()
    store:insert('docs', { id = id, n = n })
    -- a write is published, or, while the process learns a new epoch, the next read fills
    support.eventually(function()
      store:find('docs', id)
      return (keys:row('public.docs', id) or ''):sub(1, 1) == 'V'
    end, 10, 'the row to be cached')
    return id
  end

  -- What must hold all the while, with Redis away: reads and writes by PostgreSQL, in time.
  local function carries_on(one)
    local id, began = fresh(), store.hub:now()
    one:insert('docs', { id = id, n = 1 })
    assert.equal(1, one:find('docs', id).n)
    one:update('docs', { id = id, n = 2 })
    assert.equal(2, one:find('docs', id).n)
    one:updateObject('docs', id, function(doc) doc.n = 3 end)
    assert.equal(3, one:find('docs', id).n)
    one:transaction(function(tx) tx:update('docs', { id = id, n = 4 }) end)
    assert.equal(4, one:find('docs', id).n)
    one:query("UPDATE docs SET value = '{\"n\": 5}' WHERE id = $1", { id })
    assert.equal(5, one:find('docs', id).n)
    assert.is_true(one:delete('docs', id))
    assert.is_nil(one:find('docs', id))
    assert.is_true(store.hub:now() - began < 15) -- of twelve calls, each of which may take thirty
  end

  -- A strict store refuses every write, and has done none of them.
  local function refuses(id, n)
    for _, write in ipairs({
      function() strict:update('docs', { id = id, n = 666 }) end,
      function() strict:upsert('docs', { id = id, n = 666 }) end,
      function() strict:insert('docs', { id = fresh(), n = 666 }) end,
      function() strict:updateProperty('docs', id, 'n', 666) end,
      function() strict:updateObject('docs', id, function(doc) doc.n = 666 end) end,
      function() strict:delete('docs', id) end,
      function() strict:transaction(function(tx) tx:update('docs', { id = id, n = 666 }) end) end,
      function() strict:query('DELETE FROM docs') end,
    }) do
      local err = support.refused('cache_failure', nil, write)
      assert.equal('none', err.outcome)
      assert.is_true(err.retryable)
      assert.equal(n, strict:find('docs', id).n)
    end
    assert.equal(n, strict:find('docs', id, { cache = false }).n)
    assert.equal(0, strict:count('docs', { n = 666 }))
  end

  it('is not there at the start, a store works without it', function()
    local nowhere = redis.new()
    local one = open(nil, nil, nowhere)
    carries_on(one)
    assert.equal(0, one:stats().redis_up)
    assert.is_true(one:stats().bypassed > 0)
    assert.equal(1, #said, table.concat(said, '\n'))
    assert.matches('not reachable', said[1])
    -- and with it, when it comes
    nowhere:start()
    support.eventually(function() return is_up(one) end)
    local there = cache.of(db, nowhere.socket)
    there:ready(one, 'public.docs')
    local id = fresh()
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
    local one = open(nil, nil, gone)
    assert.equal(0, os.execute("test -S '" .. socket .. "'"))
    carries_on(one)
    assert.equal(1, #said)
    support.close(one)
    gone:remove()
    local closed_port = stores.Store.new(db, { host = '127.0.0.1', port = 1 },
      { log = function() end })
    carries_on(closed_port)
    support.close(closed_port)
  end)

  it('is silent, its breaker opens within 250 ms, and closes within a second after', function()
    local id = cached(1)
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
      closed = back()
      -- several rounds only where the machine is busy elsewhere
      return opened < 0.25 and closed < 1 and slowest < 0.05
    end, 90, 'the breaker to be quick')
    assert.is_true(opened < 0.25)
    assert.is_true(closed < 1)
    local hits = store:stats().hits
    support.eventually(function()
      assert.equal(1, store:find('docs', id).n)
      return store:stats().hits > hits
    end, 10, 'a hit')
  end)

  it('answers too late, its answer is nobody\'s', function()
    local ids = {}
    for i = 1, 40 do ids[i] = cached(i) end
    for _ = 1, 3 do
      server:pause()
      stores.map(ids, function(id, i) assert.equal(i, store:find('docs', id).n) end)
      server:resume()
      for i, id in ipairs(ids) do assert.equal(i, store:find('docs', id).n) end
      back()
      for i, id in ipairs(ids) do assert.equal(i, store:find('docs', id).n) end
    end
  end)

  it('is frozen, everything goes on at the cap of the pool', function()
    local ids = {}
    for i = 1, 20 do ids[i] = cached(i) end
    server:pause()
    carries_on(store)
    local list = {}
    for i = 1, 1000 do list[i] = i % 20 + 1 end
    stores.map(list, function(i)
      assert.equal(i, store:find('docs', ids[i]).n)
      assert.is_true(store:stats().pool_size <= 10)
    end)
    server:resume()
    back()
  end)

  it('missed a write, nobody reads what it still has', function()
    local id, gone = cached(1), cached(1)
    local absent = fresh()
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
    back()
    keys:ready(strict, 'public.docs')
    for _ = 1, 5 do
      right(store)
      right(strict)
    end
    assert.not_equal(epoch, keys:epoch('public.docs'))
    keys:becomes('public.docs', id, 'V{"n": 2')
  end)

  it('cannot be told, a strict store refuses to write before it touches the row', function()
    local id = cached(1)
    server:pause()
    -- the first one finds out itself, after the statement: it is rolled back
    local err = support.refused('cache_failure', nil, strict.update, strict, 'docs',
      { id = id, n = 666 })
    assert.equal('none', err.outcome)
    refuses(id, 1)
    server:resume()
    back()
    strict:update('docs', { id = id, n = 2 })
    assert.equal(2, store:find('docs', id).n)
    server:kill()
    support.eventually(function() return not is_up(strict) end)
    refuses(id, 2)
    server:start()
    back()
    strict:update('docs', { id = id, n = 3 })
    assert.equal(3, store:find('docs', id).n)
  end)

  it('was started again, the next calls are right, and it is used within a second', function()
    local id = cached(1)
    for n = 2, 4 do
      server:kill()
      carries_on(store)
      store:update('docs', { id = id, n = n })
      server:start()
      assert.equal(n, store:find('docs', id).n)
      back()
      assert.equal(n, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
    end
  end)

  it('forgot everything, or its scripts, nothing is lost', function()
    local id = cached(1)
    for n = 2, 6 do
      server:cli(n % 2 == 0 and 'FLUSHALL' or 'SCRIPT', n % 2 == 0 and 'SYNC' or 'FLUSH')
      store:update('docs', { id = id, n = n })
      assert.equal(n, store:find('docs', id).n)
      carries_on(store)
      keys:ready(store, 'public.docs')
      assert.equal(n, store:find('docs', id).n)
      keys:becomes('public.docs', id, 'V')
    end
    assert.is_true(is_up(store))
  end)

  it('cuts connections, nothing is lost', function()
    local id = cached(1)
    for n = 2, 6 do
      server:cli('CLIENT', 'KILL', 'TYPE', 'normal')
      if n % 2 == 0 then assert.equal(n - 1, store:find('docs', id).n) end
      store:update('docs', { id = id, n = n })
      assert.equal(n, store:find('docs', id).n)
      back()
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
    back()
  end)

  it('has no memory left, it takes intents and turns all the same, and says so once', function()
    local id = cached(1)
    server:cli('CONFIG', 'SET', 'maxmemory', '1')
    assert.matches('OOM', server:cli('SET', 'x', 'y'))
    local cold = fresh()
    support.psql(db, ("INSERT INTO docs VALUES (%s, '{\"n\": 1}')"):format(cold))
    for _ = 1, 3 do assert.equal(1, store:find('docs', cold).n) end
    for n = 2, 4 do
      store:update('docs', { id = id, n = n })
      assert.equal(n, store:find('docs', id).n)
      assert.equal(n, strict:find('docs', id).n)
    end
    assert.matches('^OOM', store:stats().redis_trouble or '')
    support.refused('cache_failure', 'OOM', strict.update, strict, 'docs', { id = id, n = 5 })
    assert.equal(4, store:find('docs', id).n)
    local epoch = keys:epoch('public.docs')
    strict:query("UPDATE docs SET value = '{\"n\": 9}' WHERE id = $1", { id })
    assert.equal(9, store:find('docs', id).n)
    keys:turned('public.docs', epoch)
    assert.equal(9, store:find('docs', id).n)
    assert.is_true(is_up(store))
    server:cli('CONFIG', 'SET', 'maxmemory', '0')
    store:find('docs', cold)
    keys:becomes('public.docs', cold, 'V')
  end)

  it('drops values that it has no room for, nothing is lost', function()
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'volatile-random')
    local used = tonumber(server:info('used_memory'))
    server:cli('CONFIG', 'SET', 'maxmemory', used + 300 * 1024)
    local ids, text = {}, ('x'):rep(4000)
    for i = 1, 300 do ids[i] = fresh() end
    for n = 1, 2 do
      stores.map(ids, function(id) store:upsert('docs', { id = id, n = n, text = text }) end)
      stores.map(ids, function(id) assert.equal(n, store:find('docs', id).n) end)
      stores.map(ids, function(id) assert.equal(n, strict:find('docs', id).n) end)
    end
    assert.is_true(tonumber(server:info('evicted_keys')) > 0)
    assert.matches('^V', keys:epoch('public.docs'))
    server:cli('CONFIG', 'SET', 'maxmemory', '0')
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  end)

  it('became a replica, it is not used until it is a primary again', function()
    local id = cached(1)
    server:cli('REPLICAOF', '127.0.0.1', '1')
    store:update('docs', { id = id, n = 2 })
    assert.equal(2, store:find('docs', id).n)
    support.eventually(function() return not is_up(store) end)
    carries_on(store)
    support.refused('cache_failure', nil, strict.update, strict, 'docs', { id = id, n = 666 })
    refuses(id, 2)
    server:cli('REPLICAOF', 'NO', 'ONE')
    back()
    assert.equal(2, store:find('docs', id).n)
    assert.equal(2, strict:find('docs', id).n)
  end)

  it('wants a password, or another one, it is not used, and says so', function()
    local locked = redis.start({ requirepass = 'sesame' })
    for _, opts in ipairs({ {}, { password = 'wrong-word' } }) do
      said = {}
      local one = open(nil, opts, locked)
      carries_on(one)
      assert.is_false(is_up(one))
      assert.equal(1, #said)
      assert.matches('password', said[1])
      assert.is_nil(said[1]:find('wrong-word', 1, true))
      support.close(one)
    end
    local one = open(nil, { password = 'sesame' }, locked)
    support.eventually(function() return is_up(one) end)
    local there = cache.of(db, locked.socket)
    there.cli = function(...) return locked:cli(...) end
    there:ready(one, 'public.docs')
    support.close(one)
    locked:remove()
  end)

  it('loads its data, it is not used before it has', function()
    server:cli('FLUSHALL')
    keys:ready(store, 'public.docs')
    local id = cached(1)
    server:cli('CONFIG', 'SET', 'rdbcompression', 'no')
    for i = 1, 20 do server:cli('SET', 'filler' .. i, ('x'):rep(2000)) end
    server:save()
    store:update('docs', { id = id, n = 2 })
    server:kill()
    -- 50 ms for each key, and a look at its clients for each KiB
    server:start({ ['key-load-delay'] = 50000, ['loading-process-events-interval-bytes'] = 1024 },
      false)
    support.eventually(function() return server:info('loading') == '1' end)
    local loading = 0
    while server:info('loading') == '1' do
      assert.equal(2, store:find('docs', id).n)
      assert.is_false(is_up(store))
      loading = loading + 1
    end
    assert.is_true(loading > 3)
    back()
    for _ = 1, 5 do assert.equal(2, store:find('docs', id).n) end
    keys:ready(store, 'public.docs')
    assert.equal(2, store:find('docs', id).n)
    server:forget()
    server:kill()
    server:start()
    back()
  end)

  it('may evict intents, no lease is taken, and that is said once', function()
    local greedy = redis.start({ ['maxmemory-policy'] = 'allkeys-lru' })
    local there = cache.of(db, greedy.socket)
    local one = open(nil, nil, greedy)
    support.eventually(function()
      one:find('docs', '-1')
      local epoch = there:epoch('public.docs')
      return epoch and epoch:sub(1, 1) == 'V'
    end)
    local id = fresh()
    support.psql(db, ("INSERT INTO docs VALUES (%s, '{\"n\": 1}')"):format(id))
    for _ = 1, 5 do assert.equal(1, one:find('docs', id).n) end
    assert.equal(0, one:stats().leases_granted)
    assert.is_nil(there:row('public.docs', id))
    -- also after a new connection
    greedy:cli('CLIENT', 'KILL', 'TYPE', 'normal')
    support.eventually(function()
      assert.equal(1, one:find('docs', id).n)
      return one:stats().redis_connects == 2 and is_up(one)
    end)
    local warnings = 0
    for _, text in ipairs(said) do
      if text:find('evict', 1, true) then warnings = warnings + 1 end
    end
    assert.equal(1, warnings)
    support.close(one)
    local bold = open({ unsafe_eviction = true }, nil, greedy)
    there:ready(bold, 'public.docs')
    bold:find('docs', id)
    there:becomes('public.docs', id, 'V')
    support.close(bold)
    greedy:remove()
  end)
end)
