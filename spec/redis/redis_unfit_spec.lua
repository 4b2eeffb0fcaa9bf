--- A Redis that answers, and cannot be used as it is: it has no memory, is a replica, wants another
--- password, loads its data, may evict anything.
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

  it('has no memory left, it takes intents and turns all the same, and says so once', function()
    local id = at:cached(1)
    server:cli('CONFIG', 'SET', 'maxmemory', '1')
    assert.matches('OOM', server:cli('SET', 'x', 'y'))
    local cold = keys:fresh()
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
    support.eventually(function() -- for a moment after a refusal nothing is put there
      store:find('docs', cold)
      return (keys:row('public.docs', cold) or ''):find('^V')
    end, 60, 'the row in the cache')
  end)

  it('drops values that it has no room for, nothing is lost', function()
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'volatile-random')
    local used = tonumber(server:info('used_memory'))
    server:cli('CONFIG', 'SET', 'maxmemory', used + 300 * 1024)
    local ids, text = {}, ('x'):rep(4000)
    for i = 1, 300 do ids[i] = keys:fresh() end
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
    local id = at:cached(1)
    server:cli('REPLICAOF', '127.0.0.1', '1')
    store:update('docs', { id = id, n = 2 })
    assert.equal(2, store:find('docs', id).n)
    support.eventually(function() return not is_up(store) end)
    at:carries_on(store)
    support.refused('cache_failure', nil, strict.update, strict, 'docs', { id = id, n = 666 })
    at:refuses(id, 2)
    server:cli('REPLICAOF', 'NO', 'ONE')
    at:back()
    assert.equal(2, store:find('docs', id).n)
    assert.equal(2, strict:find('docs', id).n)
  end)

  it('wants a password, or another one, it is not used, and says so', function()
    local locked = redis.start({ requirepass = 'sesame' })
    for _, opts in ipairs({ {}, { password = 'wrong-word' } }) do
      local said = {} -- by this store: the others may still tell of the example before
      local one = at:open({ log = function(text) said[#said + 1] = text end }, opts, locked)
      at:carries_on(one)
      assert.is_false(is_up(one))
      assert.equal(1, #said)
      assert.matches('password', said[1])
      assert.is_nil(said[1]:find('wrong-word', 1, true))
      support.close(one)
    end
    local one = at:open(nil, { password = 'sesame' }, locked)
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
    local id = at:cached(1)
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
    at:back()
    for _ = 1, 5 do assert.equal(2, store:find('docs', id).n) end
    keys:ready(store, 'public.docs')
    assert.equal(2, store:find('docs', id).n)
    server:forget()
    server:kill()
    server:start()
    at:back()
  end)

  it('may evict intents, no lease is taken, and that is said once', function()
    local greedy = redis.start({ ['maxmemory-policy'] = 'allkeys-lru' })
    local there = cache.of(db, greedy.socket)
    local one = at:open(nil, nil, greedy)
    support.eventually(function()
      one:find('docs', '-1')
      local epoch = there:epoch('public.docs')
      return epoch and epoch:sub(1, 1) == 'V'
    end)
    local id = keys:fresh()
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
    for _, text in ipairs(at.said) do
      if text:find('evict', 1, true) then warnings = warnings + 1 end
    end
    assert.equal(1, warnings)
    support.close(one)
    local bold = at:open({ unsafe_eviction = true }, nil, greedy)
    there:ready(bold, 'public.docs')
    bold:find('docs', id)
    there:becomes('public.docs', id, 'V')
    support.close(bold)
    greedy:remove()
  end)
end)
