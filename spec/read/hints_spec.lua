--- The hints of findBy in Redis: which row had a value last. All processes share them; what stands
--- there may be anything, and decides what a call costs, never what it gives.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local UNIQUE = { unique = true }

describe('a hint', function()
  local server, db, store, other, keys
  local said = {}

  local function open(opts, redis_opts)
    local all = { log = function(text) said[#said + 1] = text end }
    for name, value in pairs(opts or {}) do all[name] = value end
    local own = { timeout = 2 } -- a hint that a silent Redis is not told waits for the next call
    for name, value in pairs(redis_opts or {}) do own[name] = value end
    return stores.Store.new(db, server:config(own), all)
  end

  setup(function()
    server, db = redis.start(), support.db()
    store, other = open(), open({ ttl = 100 })
    store:query([[CREATE TABLE users (id bigint PRIMARY KEY, value jsonb);
      CREATE UNIQUE INDEX ON users ((NULLIF(value #> '{email}'::text[], 'null'::jsonb)))]])
    keys = cache.of(db, server.socket)
    keys:ready(store, 'public.users')
    keys:ready(other, 'public.users')
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
    server:remove()
  end)

  local last = 0
  local function fresh()
    last = last + 1
    local email = ('user%d@x'):format(last)
    store:insert('users', { id = tostring(last), email = email })
    return tostring(last), email
  end

  local function by(email, on, opts)
    return (on or store):findBy('users', 'email', email, opts or UNIQUE)
  end

  local function key_of(email)
    local digest = support.psql(db, ([[SELECT md5('{email}"%s"')]]):format(email)):match('%x+')
    return ('%s=%s'):format(keys:epoch_key('public.users'), digest)
  end

  local function hint_of(email)
    local text = server:cli('GET', key_of(email))
    return text ~= '' and text or nil
  end

  -- Waits for what is under way to Redis; gives the key. A call that could not tell Redis, or whose
  -- PostgreSQL was lost behind its answer, left the hint to the next one.
  local function becomes(email, value, on)
    on = on or store
    local asked = on.hub:now()
    support.eventually(function()
      on:find('users', '-1') -- what the tick has goes out
      if hint_of(email) == value then return true end
      if value and on.hub:now() > asked + 1 then
        by(email, on)
        asked = on.hub:now()
      end
    end, 30, 'the hint to be ' .. tostring(value))
    return key_of(email)
  end

  local function figures(one, fn)
    local before = one:stats()
    fn()
    local after, spent = one:stats(), {}
    for _, name in ipairs({ 'hits', 'pg_statements', 'redis_commands', 'redis_round_trips' }) do
      spent[name] = after[name] - before[name]
    end
    return spent
  end

  local CHEAP = { hits = 1, pg_statements = 0, redis_commands = 2, redis_round_trips = 2 }

  before_each(function() said = {} end)

  it('serves every process: two round trips to Redis, and no statement', function()
    local id, email = fresh()
    assert.equal(id, by(email).id)
    becomes(email, id)
    other:find('users', id) -- the row is cached by now
    for _, one in ipairs({ store, other }) do
      -- what a spec before did to Redis may still be asked about meanwhile
      support.eventually(function()
        local spent = figures(one, function() assert.equal(id, by(email, one).id) end)
        return pcall(assert.same, CHEAP, spent)
      end, 30, 'two commands and no statement')
    end
  end)

  it('is asked for with all others of a tick', function()
    local emails, ids = {}, {}
    for i = 1, 40 do
      ids[i], emails[i] = fresh()
      by(emails[i])
    end
    support.eventually(function()
      local spent = figures(store, function()
        local found = stores.map(emails, function(email) return by(email).id end)
        assert.same(ids, found)
      end)
      return spent.pg_statements == 0 and spent.redis_commands <= 4
    end, 30, 'forty calls by four commands')
  end)

  it('has a key of one length beside its rows, and lives as long as they', function()
    local id = fresh()
    local long = ('x'):rep(2000)
    store:update('users', { id = id, email = long })
    by(long, other)
    local key = becomes(long, id, other)
    assert.equal(#keys:epoch_key('public.users') + 33, #key)
    local left = tonumber(server:cli('PTTL', key))
    assert.is_true(left > 0 and left <= 110000, left .. ' ms')
    assert.equal(id, by(long).id)
  end)

  it('of anything misleads nobody, and is mended', function()
    local id, email = fresh()
    local another = fresh()
    by(email)
    local key = becomes(email, id)
    for _, value in ipairs({ '', 'x', '01', '-0', id .. ' ', '99999999999999999999', '-5', another,
      ('9'):rep(5000) }) do
      server:cli('SET', key, value)
      assert.equal(id, by(email).id, value)
      becomes(email, id)
    end
    server:cli('DEL', key)
    server:cli('RPUSH', key, another)
    assert.equal(id, by(email).id)
    becomes(email, id)
    server:cli('FLUSHALL')
    assert.equal(id, by(email).id)
  end)

  it('that Redis was too silent to be told is told by the next call', function()
    local id, email = fresh()
    local hasty = open(nil, { timeout = 0.05 })
    keys:ready(hasty, 'public.users')
    by(email)
    local key = becomes(email, id)
    server:cli('SET', key, 'x')
    server:pause()
    assert.equal(id, by(email, hasty).id)
    server:resume()
    support.eventually(function()
      hasty:find('users', '-1')
      return hasty:stats().redis_up == 1
    end, 30, 'the link of who gave it up')
    assert.equal('x', server:cli('GET', key))
    support.eventually(function()
      assert.equal(id, by(email, hasty).id)
      return server:cli('GET', key) == id
    end, 30, 'a hint that leads to the row')
    support.close(hasty)
  end)

  it('is removed where nobody has the value', function()
    local id, email = fresh()
    by(email)
    becomes(email, id)
    store:delete('users', id)
    assert.is_nil(by(email))
    becomes(email, nil)
    support.eventually(function()
      return figures(store, function() assert.is_nil(by(email)) end).redis_commands == 1
    end, 30, 'one command')
    becomes(email, nil)
  end)

  it('is not swept, and outlives the turns of its table', function()
    local id, email = fresh()
    by(email)
    local key = becomes(email, id)
    local epoch = keys:epoch('public.users')
    store:query("UPDATE users SET value = value || '{\"n\": 1}' WHERE id = " .. id)
    keys:turned('public.users', epoch)
    store:sweep()
    assert.equal(id, server:cli('GET', key))
    assert.equal(1, by(email).n)
    support.eventually(function()
      return figures(store, function() by(email) end).pg_statements == 0
    end, 30, 'the row in Redis again')
  end)

  it('is not asked for where the call says that no cache is', function()
    local id, email = fresh()
    local plain = open({ cache = false })
    for _ = 1, 2 do
      -- what a write before did may still be told meanwhile
      support.eventually(function()
        return figures(store, function()
          by(email, store, { unique = true, cache = false })
        end).redis_commands == 0
      end, 30, 'no command')
      assert.equal(id, by(email, plain).id)
    end
    assert.is_nil(hint_of(email))
    plain:close()
  end)

  it('that may not be written costs a statement, and is said', function()
    local id, email = fresh()
    server:cli('ACL', 'SETUSER', 'reader', 'on', '>pw', '~*', '+@all', '-set', '-del')
    local reader = open(nil, { username = 'reader', password = 'pw' })
    support.eventually(function()
      assert.equal(id, by(email, reader).id)
      return reader:stats().redis_refused > 0
    end, 30, 'a refusal')
    assert.equal(id, by(email, reader).id)
    assert.is_nil(hint_of(email))
    assert.matches('NOPERM', table.concat(said, '\n'))
    reader:close()
  end)

  it('is not missed where Redis is gone, also where writes need it', function()
    local id, email = fresh()
    local strict = open({ on_cache_failure = 'error' })
    assert.equal(id, by(email, strict).id)
    server:pause()
    for _, one in ipairs({ store, strict }) do
      assert.equal(id, by(email, one).id)
      assert.is_nil(by('nobody@x', one))
    end
    server:resume()
    server:kill()
    for _, one in ipairs({ store, strict }) do assert.equal(id, by(email, one).id) end
    server:start()
    keys:ready(store, 'public.users')
    support.eventually(function()
      return figures(store, function() assert.equal(id, by(email).id) end).pg_statements == 0
    end, 30, 'a hint again')
    support.close(strict)
  end)
end)
