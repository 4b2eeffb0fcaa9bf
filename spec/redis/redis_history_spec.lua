--- A Redis that was another one's replica for a while: what it has then is what the other one had,
--- and it is the same run of the same server. Rows that are older than what it had are not served.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local ports = require('spec.support.ports')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a Redis that goes on with the rows of another one', function()
  local server, copy, db, store, keys

  -- Listens on TCP as well, for replicas; gives the port.
  local function listening(one)
    one:cli('CONFIG', 'SET', 'bind', '127.0.0.1')
    for _ = 1, 50 do
      local port = tostring(ports.free())
      if one:cli('CONFIG', 'SET', 'port', port) == 'OK' then return port end
    end
    error('no port is free')
  end

  -- Takes over the rows of another one, and is a primary again.
  local function take_over(one, port)
    one:cli('REPLICAOF', '127.0.0.1', port)
    support.eventually(function() return one:info('master_link_status') == 'up' end, 30, 'a copy')
    one:cli('REPLICAOF', 'NO', 'ONE')
  end

  local function cached(n)
    keys:ready(store, 'public.docs')
    store:upsert('docs', { id = '1', n = n })
    support.eventually(function()
      assert.equal(n, store:find('docs', '1').n)
      return (keys:row('public.docs', '1') or ''):sub(1, 1) == 'V'
    end, 30, 'the row in Redis')
  end

  setup(function()
    server, copy = redis.start(), redis.start()
    db = support.db()
    store = stores.Store.new(db, server:config({ timeout = 2 }), { log = function() end })
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    keys = cache.of(db, server.socket)
    for _, one in ipairs({ server, copy }) do
      one:cli('CONFIG', 'SET', 'repl-diskless-sync-delay', '0')
    end
  end)

  teardown(function()
    support.close(store, db)
    server:remove()
    copy:remove()
  end)

  -- The copy has the row as it was, under an epoch that still counts; the server has that again.
  local function back_in_time(port, copys_port)
    cached(1)
    take_over(copy, port)
    cached(2)
    take_over(server, copys_port)
    assert.matches('"n": 1', keys:row('public.docs', '1'))
  end

  it('is another one to who connects anew, and to who was connected all along', function()
    local port, copys_port = listening(server), listening(copy)
    back_in_time(port, copys_port)
    server:cli('CLIENT', 'KILL', 'TYPE', 'normal') -- as a sentinel does
    assert.equal(2, store:find('docs', '1').n)
    back_in_time(port, copys_port)
    support.eventually(function() return store:find('docs', '1').n == 2 end, 20, 'a look at Redis')
    cached(3)
  end)

  it('is not one that takes a replica on: readers and writers go on', function()
    cached(4)
    local port = listening(server)
    copy:cli('REPLICAOF', '127.0.0.1', port)
    local late = stores.Store.new(db, server:config({ timeout = 2 }), { log = function() end })
    for n = 5, 8 do
      late:update('docs', { id = '1', n = n })
      assert.equal(n, store:find('docs', '1').n)
      store:update('docs', { id = '1', n = -n })
      assert.equal(-n, late:find('docs', '1').n)
    end
    support.eventually(function()
      local before = late:stats().hits
      assert.equal(-8, store:find('docs', '1').n)
      assert.equal(-8, late:find('docs', '1').n)
      return late:stats().hits > before
    end, 20, 'both read it from Redis')
    copy:cli('REPLICAOF', 'NO', 'ONE')
    support.close(late)
  end)
end)
