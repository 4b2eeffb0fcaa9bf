--- A Redis whose answers are errors: each is said once, in its own words, a refused write carries
--- them, what it was about is made up for when Redis takes it again, and nothing is believed that
--- could not be asked.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a Redis', function()
  local server, db, reader, said, keys

  local function open(redis_opts, opts, at)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local own = { timeout = 5 }
    for key, value in pairs(redis_opts or {}) do own[key] = value end
    return stores.Store.new(db, (at or server):config(own), all)
  end

  setup(function()
    said = {}
    server = redis.start({ ['enable-protected-configs'] = 'yes' })
    db = support.db()
    reader = open()
    reader:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
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
    assert.equal(1, reader:find('docs', id).n)
    return id
  end

  local function lines_with(text)
    local count = 0
    for _, line in ipairs(said) do
      if line:find(text, 1, true) then count = count + 1 end
    end
    return count
  end

  -- Calls until the store takes a lease for a row that nobody has asked for.
  local function leases(store)
    local before = store:stats().leases_granted
    store:find('docs', tostring(1000000 + math.random(1e9)))
    return store:stats().leases_granted > before
  end

  -- ---- What it refuses for a while --------------------------------------------------------------

  local function set(...) assert.equal('OK', server:cli('CONFIG', 'SET', ...)) end

  local script -- of somebody else, that runs for long

  local troubles = {
    NOREPLICAS = {
      begin = function() set('min-replicas-to-write', '1') end,
      stop = function() set('min-replicas-to-write', '0') end,
    },
    -- a snapshot that fails, for its folder is gone
    MISCONF = {
      begin = function()
        local folder = server.folder .. '/gone'
        assert(os.execute('mkdir ' .. folder) == 0)
        set('dir', folder)
        assert(os.execute('rmdir ' .. folder) == 0)
        set('save', '3600 1')
        server:cli('BGSAVE')
        support.eventually(function()
          return server:info('rdb_last_bgsave_status') == 'err'
        end, 20, 'a snapshot that fails')
      end,
      stop = function()
        set('dir', server.folder)
        set('save', '')
        server:cli('BGSAVE')
        support.eventually(function()
          return server:info('rdb_last_bgsave_status') == 'ok'
        end, 20, 'a snapshot')
      end,
    },
    BUSY = {
      begin = function()
        set('busy-reply-threshold', '20')
        script = process.start({ 'redis-cli', '-s', server.socket, 'EVAL', 'while true do end',
          '0' })
        support.eventually(function() return server:cli('PING'):find('BUSY') end, 20, 'BUSY')
      end,
      stop = function()
        assert.equal('OK', server:cli('SCRIPT', 'KILL'))
        script:wait()
        set('busy-reply-threshold', '5000')
      end,
    },
  }

  for title, trouble in pairs(troubles) do
    it('that refuses (' .. title .. ') says so once, and is told when it ends', function()
      local id = cached()
      local writer, strict = open(), open(nil, { on_cache_failure = 'error' })
      writer:find('docs', id)
      strict:find('docs', id)
      said = {}
      trouble.begin()
      writer:update('docs', { id = id, n = 2 })
      assert.equal(1, writer:stats().bypassed)
      assert.equal(2, writer:find('docs', id).n)
      local err = support.refused('cache_failure', title, strict.update, strict, 'docs',
        { id = id, n = 3 })
      assert.equal('none', err.outcome)
      support.refused('cache_failure', title, strict.invalidate, strict, 'docs', id)
      assert.matches(title, writer:stats().redis_trouble)
      assert.is_true(writer:stats().redis_refused > 0)
      stores.sleep(0.6) -- several of its attempts are refused as well
      assert.equal(2, lines_with(title), table.concat(said, '\n')) -- one for each store
      trouble.stop()
      support.eventually(function() return reader:find('docs', id).n == 2 end, 20,
        'the write to be seen')
      support.eventually(function() return writer:stats().redis_trouble == nil end, 20,
        'the trouble to be over')
      strict:update('docs', { id = id, n = 4 })
      support.eventually(function() return reader:find('docs', id).n == 4 end, 20,
        'the next write to be seen')
      support.close(strict)
      support.close(writer)
    end)
  end

  -- ---- What it refuses for good -----------------------------------------------------------------

  it('whose answers to scripts are errors is not cached in, nor is anything served', function()
    local dumb = redis.start({ ['rename-command'] = { 'EVALSHA', '' } })
    local store, strict = open(nil, nil, dumb), open(nil, { on_cache_failure = 'error' }, dumb)
    local id = cached()
    for n = 2, 4 do
      store:update('docs', { id = id, n = n, secret = 'swordfish' })
      assert.equal(n, store:find('docs', id).n)
    end
    assert.equal(3, store:stats().bypassed)
    local trouble = store:stats().redis_trouble
    assert.matches("^ERR unknown command 'EVALSHA'$", trouble)
    assert.equal(1, lines_with("unknown command 'EVALSHA'"))
    support.refused('cache_failure', "unknown command 'EVALSHA'", strict.update, strict, 'docs',
      { id = id, n = 5 })
    assert.is_nil(table.concat(said, '\n'):find('swordfish', 1, true))
    assert.equal('0', dumb:cli('DBSIZE'))
    support.close(store)
    support.close(strict)
    dumb:remove()
  end)

  it('that refuses in two ways says each once, however they take turns', function()
    server:cli('ACL', 'SETUSER', 'half', 'on', 'nopass', '~*', '+@all', '-mget')
    local store = open({ username = 'half' })
    for n = 1, 8 do
      if n % 2 == 0 then server:cli('CONFIG', 'SET', 'min-replicas-to-write', '1') end
      store:upsert('docs', { id = '-1', n = n })
      assert.equal(n, store:find('docs', '-1').n)
      server:cli('CONFIG', 'SET', 'min-replicas-to-write', '0')
    end
    assert.equal(1, lines_with('NOPERM'), table.concat(said, '\n'))
    assert.equal(1, lines_with('NOREPLICAS'), table.concat(said, '\n'))
    support.close(store)
  end)

  it('that refuses reads alone says so behind writes that it took, and until it reads', function()
    server:cli('ACL', 'SETUSER', 'mute', 'on', 'nopass', '~*', '&*', '+@all', '-mget')
    local store = open({ username = 'mute' })
    local id = cached()
    for n = 2, 4 do
      assert.equal(n - 1, store:find('docs', id).n)
      store:update('docs', { id = id, n = n })
      assert.equal(n, reader:find('docs', id).n)
      assert.matches('NOPERM', store:stats().redis_trouble)
    end
    assert.equal(0, store:stats().bypassed)
    server:cli('ACL', 'SETUSER', 'mute', '+mget')
    local hits = store:stats().hits
    support.eventually(function()
      store:find('docs', id)
      return store:stats().hits > hits
    end, 20, 'a hit')
    assert.is_nil(store:stats().redis_trouble)
    support.close(store)
  end)

  it('that does not tell its policy is taken to evict, and says why in its own words', function()
    server:cli('ACL', 'SETUSER', 'blind', 'on', 'nopass', '~*', '&*', '+@all', '-info',
      '+info|server', '+info|replication')
    local store = open({ username = 'blind' })
    local id = cached()
    for _ = 1, 3 do assert.equal(1, store:find('docs', id).n) end
    assert.is_false(leases(store))
    assert.equal(1, lines_with('NOPERM'), table.concat(said, '\n'))
    assert.matches('evict.*NOPERM', store:stats().redis_trouble)
    server:cli('ACL', 'SETUSER', 'blind', '+info')
    support.eventually(function() return leases(store) end, 20, 'leases to be taken')
    assert.is_nil(store:stats().redis_trouble)
    -- and it does not tell any more, while the link is up
    said = {}
    server:cli('ACL', 'SETUSER', 'blind', '-info', '+info|server', '+info|replication')
    support.eventually(function() return not leases(store) end, 20, 'leases to end')
    assert.equal(1, lines_with('NOPERM'), table.concat(said, '\n'))
    assert.equal(1, store:stats().redis_connects)
    support.close(store)
  end)

  it('that does not tell whether it is a replica is not used, from then on', function()
    server:cli('ACL', 'SETUSER', 'dim', 'on', 'nopass', '~*', '&*', '+@all')
    local store = open({ username = 'dim' })
    local id = cached()
    assert.equal(1, store:find('docs', id).n)
    server:cli('ACL', 'SETUSER', 'dim', '-info', '+info|server', '+info|memory')
    support.eventually(function()
      assert.equal(1, store:find('docs', id).n)
      return store:stats().redis_up == 0 and store:stats().redis_trouble
    end, 20, 'the link to be given up')
    support.eventually(function()
      return (store:stats().redis_trouble or ''):find('NOPERM', 1, true)
    end, 20, 'its words')
    support.refused('cache_failure', 'NOPERM', store.invalidate, store, 'docs', id)
    assert.equal(1, lines_with('NOPERM'), table.concat(said, '\n'))
    server:cli('ACL', 'SETUSER', 'dim', '+info')
    support.eventually(function() return store:stats().redis_up == 1 end, 20, 'the link')
    support.close(store)
  end)
end)
