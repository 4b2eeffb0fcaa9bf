--- Redis at its edges: links that are closed while nobody uses them, users without a password or
--- without scripts, policies that change. Where Redis can be reached a write tells it.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local ports = require('spec.support.ports')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local HEAD = [[
local stores = require('stores')
local store = stores.Store.new({ host = %q, port = 5432, database = %q, user = 'postgres' },
  { path = %q, opts = { timeout = 2 } }, { on_cache_failure = %q })
]]

describe('a Redis', function()
  local server, db, reader, said, keys

  local function open(redis_opts, opts, at)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local own = { timeout = 2 }
    for key, value in pairs(redis_opts or {}) do own[key] = value end
    return stores.Store.new(db, (at or server):config(own), all)
  end

  setup(function()
    said = {}
    server = redis.start()
    db = support.db()
    reader = open()
    reader:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    keys = cache.of(db, server.socket)
    keys:ready(reader, 'public.docs')
  end)

  teardown(function()
    support.close(reader, db)
    server:remove()
  end)

  before_each(function() said = {} end)

  local last = 0
  local function cached(n)
    last = last + 1
    local id = tostring(last)
    keys:ready(reader, 'public.docs')
    reader:insert('docs', { id = id, n = n })
    keys:becomes('public.docs', id, 'V')
    assert.equal(n, reader:find('docs', id).n)
    return id
  end

  -- In another process: code with `store`, and the row's id as `...`.
  local function run(code, id, failure)
    return process.lua(HEAD:format(db.host, db.database, server.socket, failure or 'bypass')
      .. ('local id = %q\n'):format(id) .. code)
  end

  local function sees(id, n, seconds)
    support.eventually(function() return reader:find('docs', id).n == n end, seconds or 3,
      'the write to be seen')
  end

  describe('that closes links which nobody uses', function()
    -- The process pauses as a script does that computes: its loop does not turn meanwhile.
    local WRITE = [[
      assert(store:find('docs', id))
      print('reads')
      io.read('*l')
      store:update('docs', { id = id, n = 2 })
      print(store:stats().bypassed)
    ]]
    local function closed_meanwhile(code, id, failure)
      -- the other process says that it has its link, then waits until that is closed
      local fifo = os.tmpname()
      os.remove(fifo)
      assert(os.execute('mkfifo ' .. fifo) == 0)
      local child = run(("io.input(io.open(%q, 'r+'))\n"):format(fifo) .. code, id, failure)
      assert.equal('reads', child:line())
      server:cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
      local out = assert(io.open(fifo, 'r+'))
      out:write('go on\n')
      out:close()
      local line = child:line()
      os.remove(fifo)
      return line, child
    end

    for title, after in pairs({
      ['goes on without a call'] = "os.execute('sleep 5')",
      ['ends without a word'] = 'os.exit(0, false)',
      ['closes its store'] = 'store:close()',
    }) do
      it('is told of the next write of a process that ' .. title, function()
        local id = cached(1)
        local line, child = closed_meanwhile(WRITE .. after, id)
        assert.equal('0', line)
        sees(id, 2)
        child:kill()
      end)
    end

    it('is no reason to refuse a write', function()
      local id = cached(1)
      local line, child = closed_meanwhile(WRITE, id, 'error')
      assert.equal('0', line)
      sees(id, 2)
      child:kill()
    end)

    it('is told of writes of rows that cannot be named, and of invalidations', function()
      local id = cached(1)
      local line, child = closed_meanwhile([[
        assert(store:find('docs', id))
        print('reads')
        io.read('*l')
        store:query("UPDATE docs SET value = value || '{\"n\": 2}'")
        print(store:stats().bypassed)
      ]], id)
      assert.equal('0', line)
      sees(id, 2)
      child:kill()
      id = cached(1)
      line, child = closed_meanwhile([[
        assert(store:find('docs', id))
        print('reads')
        io.read('*l')
        print(pcall(store.invalidate, store, 'docs', id))
      ]], id)
      assert.equal('true', line)
      child:kill()
    end)

    it('closes them under a store that goes on, nothing is said, and nothing goes by it', function()
      local id = cached(1)
      local writer = open()
      writer:find('docs', id)
      for n = 2, 12 do
        server:cli('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
        writer:update('docs', { id = id, n = n })
        assert.equal(n, reader:find('docs', id).n)
        -- a link that is lost as soon as it is made waits for its next attempt
        support.eventually(function() return writer:stats().redis_up == 1 end)
        writer:find('docs', id)
      end
      assert.equal(0, writer:stats().bypassed)
      assert.same({}, said)
      support.close(writer)
    end)
  end)

  it('that was away is told what went by it before a store that closes is gone', function()
    local id = cached(1)
    local writer = open()
    writer:find('docs', id)
    server:pause()
    local quiet = { log = function() end }
    local brief = stores.Store.new(db, server:config({ timeout = 0.05 }), quiet)
    local ok = pcall(brief.update, brief, 'docs', { id = id, n = 2 })
    assert.is_true(ok)
    assert.equal(1, brief:stats().bypassed)
    server:resume()
    local epoch = keys:epoch('public.docs')
    brief:close()
    assert.not_equal(epoch, keys:epoch('public.docs'))
    assert.equal(2, reader:find('docs', id).n)
    support.close(writer)
  end)

  it('that lets a user run no scripts says so, in its own words', function()
    server:cli('ACL', 'SETUSER', 'lim', 'on', '>pw', '~*', '+@all', '-eval', '-evalsha', '-script')
    local id = cached(1)
    local user = { username = 'lim', password = 'pw' }
    local weak, strict = open(user), open(user, { on_cache_failure = 'error' })
    for i = 1, 5 do
      assert.equal(1, weak:find('docs', id).n)
      assert.is_nil(weak:find('docs', tostring(-100 - i))) -- what is not cached needs a lease
    end
    assert.matches('NOPERM', weak:stats().redis_trouble)
    assert.matches('NOPERM', table.concat(said, '\n'))
    support.refused('cache_failure', 'NOPERM', weak.invalidate, weak, 'docs', id)
    support.refused('cache_failure', 'NOPERM', strict.update, strict, 'docs', { id = id, n = 2 })
    assert.equal(1, reader:find('docs', id, { cache = false }).n)
    support.close(weak)
    support.close(strict)
  end)

  it('takes a user that needs no password', function()
    server:cli('ACL', 'SETUSER', 'app', 'on', 'nopass', '~*', '&*', '+@all')
    for _, opts in ipairs({ { username = 'app' }, { username = 'app', password = '' } }) do
      local store = open(opts)
      store:find('docs', '1')
      support.eventually(function() return store:stats().redis_up == 1 end)
      assert.matches(' user=app ', server:cli('CLIENT', 'LIST'))
      support.close(store)
    end
  end)

  it('whose policy changes is noticed, in both directions', function()
    local id = cached(1)
    local store = open()
    store:find('docs', id)
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    local function leases()
      local before = store:stats().leases_granted
      store:find('docs', tostring(1000000 + math.random(1e9)))
      return store:stats().leases_granted > before
    end
    support.eventually(function() return not leases() end, 30, 'leases to end')
    assert.matches('evict', table.concat(said, '\n'))
    assert.matches('evict', store:stats().redis_trouble)
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'volatile-lru')
    support.eventually(leases, 30, 'leases to be taken again')
    assert.is_nil(store:stats().redis_trouble)
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    support.close(store)
  end)

  it('that freezes under steady reads is given up, and they go on by PostgreSQL', function()
    local port = ports.free()
    server:cli('CONFIG', 'SET', 'bind', '127.0.0.1')
    assert.equal('OK', server:cli('CONFIG', 'SET', 'port', port))
    local id = cached(1)
    local store = stores.Store.new(db, { host = '127.0.0.1', port = port },
      { log = function() end, timeout = 10 })
    store:find('docs', id)
    local slow = 0
    stores.run(function()
      server:pause()
      local until_ = store.hub:now() + 3
      local tasks = {}
      -- each 5 ms one more: its bytes still fit into the socket, and nothing comes back
      while store.hub:now() < until_ do
        tasks[#tasks + 1] = stores.spawn(function()
          local began = store.hub:now()
          assert.equal(1, store:find('docs', id).n)
          slow = math.max(slow, store.hub:now() - began)
        end)
        stores.sleep(0.005)
      end
      for _, task in ipairs(tasks) do task:join() end
    end)
    server:resume()
    assert.is_true(slow < 5, slow .. ' s')
    assert.is_true(store:stats().redis_timeouts > 0)
    support.close(store)
    server:cli('CONFIG', 'SET', 'port', '0')
  end)

  it('serves those who wait for a lease together, also when the first of them leaves', function()
    local id = cached(1)
    local key = keys:key('public.docs', id)
    stores.run(function()
      for _ = 1, 20 do
        server:cli('SET', key, 'L' .. ('x'):rep(16), 'PX', 60000)
        local tasks = {}
        for i = 1, 6 do
          tasks[i] = stores.spawn(function()
            return reader.try:find('docs', id, { timeout = i == 1 and 0.004 or 20 })
          end)
        end
        for i = 1, 6 do
          local ok, value = tasks[i]:join()
          if i > 1 then
            assert.is_true(ok, tostring(value))
            assert.equal(1, value.n)
          end
        end
      end
    end)
    server:cli('DEL', key)
  end)
end)
