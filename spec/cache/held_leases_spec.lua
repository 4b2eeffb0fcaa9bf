--- How long a lease of held rows lasts is a matter of each process: a writer waits for one that
--- froze as long as that one may read its rows, and no longer (docs/held.md).
-- Plain pass alone: processes of their own are stopped, and times are measured.

local cache = require('spec.support.cache')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

-- A process that reads a row again and again, and says which version it has read from its memory.
local HOLDER = [[
  local stores = require('stores')
  local store = stores.Store.new({ host = %q, port = %d, database = %q, user = %q },
    { path = %q }, { hold = { 'routes' }, hold_lease = %s })
  local hits, last = 0, nil
  while true do
    local n = store:find('routes', %q).n
    local now = store:stats().held_hits
    if now > hits and n ~= last then
      last = n
      print(n)
    end
    hits = now
    stores.sleep(0.01)
  end
]]

describe('a lease of a held table', function()
  local store, db, id, keys, children

  before_each(function()
    store, db = support.store({ 'routes' }, { log = function() end })
    keys, children = cache.of(db), {}
    id = store:insert('routes', { n = 0 }).id
  end)

  after_each(function()
    for _, child in ipairs(children) do child:kill() end
    support.close(store, db)
  end)

  local function again(lease)
    return stores.Store.new(db, support.redis(),
      { hold = { 'routes' }, hold_lease = lease, log = function() end })
  end

  -- The ids of those who hold the table.
  local function holders()
    local fields = keys.cli('hkeys', keys:epoch_key('public.routes') .. '/held')
    local found = {}
    for field in fields:gmatch('[^\n]+') do
      if field:find(':', 1, true) then found[#found + 1] = field end
    end
    return found
  end

  -- Who did not let go is taken out beside the write that waited, which asks for no word of that.
  local function are_left(count)
    support.eventually(function() return #holders() == count end, 20, function()
      return ('%d holders, not %s'):format(count, table.concat(holders(), ' '))
    end)
  end

  local function longest()
    local found = 0
    for _, field in ipairs(holders()) do
      found = math.max(found, tonumber(field:match('/(%d+)$') or 1000))
    end
    return found
  end

  -- A process that holds the row with such a lease, and with no shorter one.
  local function holder(lease)
    local before = #holders()
    local child = process.lua(HOLDER:format(db.host, db.port, db.database, db.user,
      support.redis().path, lease, id))
    children[#children + 1] = child
    assert.is_truthy(child:line())
    support.eventually(function()
      return #holders() > before and longest() >= lease * 1000
    end, 20, 'a holder')
    -- nobody waits any more for those who nobody knows of
    support.eventually(function()
      return keys.cli('hexists', keys:epoch_key('public.routes') .. '/held', '?') == '0'
    end, 20)
    return child
  end

  local function seconds_of(write, ...)
    local began = store.hub:now()
    write(...)
    return store.hub:now() - began
  end

  local function update(n)
    return seconds_of(function() store:update('routes', { id = id, n = n }) end)
  end

  -- Declares what is about the time that a lease takes: of a few tries one has to be as it should,
  -- for a process that a busy machine leaves waiting loses its lease, and a write takes longer.
  local function timed(name, body)
    it(name, function()
      local ok, failure
      for n = 1, 4 do
        ok, failure = pcall(body)
        if ok then return end
        for _, child in ipairs(children) do child:kill() end
        children = {}
        store:update('routes', { id = id, n = -n }) -- which waits for the leases of those
        are_left(0)
      end
      error(failure, 0)
    end)
  end

  -- A write waits as long as the lease of a process that froze, and not twice; a busy machine may
  -- add to that.
  local function lasts(lease, write, ...)
    local took = seconds_of(write, ...)
    assert.is_true(took >= lease and took < math.max(lease + 0.7, 1.9 * lease), took)
  end

  for _, lease in ipairs({ 0.3, 1, 3 }) do
    timed(('of %g s is waited for as long, once, where its process froze'):format(lease), function()
      local child, evicted = holder(lease), store:stats().held_evictions
      assert.is_true(update(1) < lease)
      assert.equal('1', child:line())
      child:signal('STOP')
      lasts(lease, update, 2)
      are_left(0)
      update(3)
      assert.equal(evicted + 1, store:stats().held_evictions)
      child:signal('CONT')
      assert.equal('3', child:line())
      assert.is_true(update(4) < lease)
      assert.equal('4', child:line())
    end)
  end

  timed('is waited for where it is left, and not where its process has let go', function()
    local long, short = holder(3), holder(0.3)
    assert.equal(2, #holders())
    short:signal('STOP')
    lasts(0.3, update, 1)
    are_left(1)
    long:signal('STOP')
    lasts(3, update, 2)
    are_left(0)
  end)

  it('is not given back for its process by one whose other lease ran out first', function()
    local own, short = again(3), holder(0.3)
    cache.hold(own, 'routes', id)
    support.eventually(function()
      own:find('routes', id)
      return longest() == 3000
    end, 20)
    short:signal('STOP')
    own:update('routes', { id = id, n = 1 })
    are_left(1)
    for n = 2, 6 do
      store:update('routes', { id = id, n = n })
      assert.equal(n, own:find('routes', id).n)
    end
    support.close(own)
  end)

  it('is as long as it is to be once the mark says so, and no longer before', function()
    local one = again()
    cache.hold(one, 'routes', id)
    assert.equal(1000, longest())
    local two = again(2.5)
    support.eventually(function()
      two:find('routes', id)
      return longest() == 2500
    end, 20)
    assert.matches('stores_held_%d+\nstores_held_%d+_3', support.psql(db,
      "SELECT typname FROM pg_type WHERE typname LIKE 'stores_held_%' ORDER BY 1"))
    for n = 1, 5 do
      store:update('routes', { id = id, n = n })
      assert.equal(n, one:find('routes', id).n)
      assert.equal(n, two:find('routes', id).n)
    end
    support.close(one)
    support.close(two)
  end)

  it('is no longer while the mark is not committed', function()
    holder(1):signal('STOP')
    local two = again(2.5)
    local function is_marked()
      return support.psql(db, "SELECT typname FROM pg_type WHERE typname LIKE 'stores_held_%_3'")
        :find('stores_held', 1, true)
    end
    support.eventually(function() -- who makes the mark turns the table, and so waits for a second
      two:find('routes', id)
      local is_long = longest() > 1000
      if is_long then assert.is_truthy(is_marked()) end
      return is_long
    end, 20)
    support.close(two)
  end)

  it('is as long as the mark lets it be, where the role may not make a longer one', function()
    local one = again()
    cache.hold(one, 'routes', id)
    support.psql(db, [[
      CREATE ROLE leases_only LOGIN;
      GRANT USAGE ON SCHEMA public TO leases_only;
      GRANT SELECT ON routes TO leases_only]])
    finally(function()
      support.psql(db, 'DROP OWNED BY leases_only; DROP ROLE leases_only')
    end)
    local said = {}
    local config = {}
    for name, value in pairs(db) do config[name] = value end
    config.user = 'leases_only'
    local two = stores.Store.new(config, support.redis(), { hold = { 'routes' }, hold_lease = 3,
      log = function(text) said[#said + 1] = text end })
    cache.hold(two, 'routes', id)
    support.eventually(function() return said[1] end, 20)
    assert.matches('leases of held rows are shorter than hold_lease', said[1], 1, true)
    assert.equal(1000, longest())
    assert.is_nil(two:stats().held_refused)
    support.close(one)
    support.close(two)
  end)

  -- What the scripts of processes did for which every lease was a second.
  local OLDER = [[
    local seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
    redis.call('PUBLISH', KEYS[1], redis.call('HGET', KEYS[1], 'nonce') .. ' ' .. seq .. ' 1')]]

  it('is a second where a process writes that waits for no longer', function()
    local said = {}
    local one = stores.Store.new(db, support.redis(), { hold = { 'routes' }, hold_lease = 3,
      log = function(text) said[#said + 1] = text end })
    local function is(ms)
      support.eventually(function()
        one:find('routes', id)
        return longest() == ms
      end, 20)
    end
    is(3000)
    keys.cli('eval', OLDER, '1', keys:epoch_key('public.routes') .. '/held')
    is(1000)
    assert.matches('a process of an older version, which waits for a second', said[1], 1, true)
    store:update('routes', { id = id, n = 1 })
    assert.equal(1, one:find('routes', id).n)
    support.close(one)
  end)

  timed('is waited for where the hash is lost, as long as the mark tells of', function()
    local child = holder(2)
    child:signal('STOP')
    keys.cli('del', keys:epoch_key('public.routes') .. '/held')
    lasts(2, update, 1)
    local waits = store:stats().held_waits
    update(2)
    assert.equal(waits, store:stats().held_waits)
    keys.cli('del', keys:epoch_key('public.routes') .. '/held')
    lasts(2, store.invalidate, store, 'routes', id)
  end)

  timed('is waited for where nobody has a lock, by what PostgreSQL says after the turn', function()
    local stranger = stores.Store.new(db, support.redis())
    local child = holder(2)
    child:signal('STOP')
    keys.cli('del', keys:epoch_key('public.routes') .. '/held')
    lasts(2, stranger.invalidate, stranger, 'routes')
    support.close(stranger)
  end)

  timed('is waited for by transactions of every isolation', function()
    for _, isolation in ipairs({ 'read committed', 'repeatable read', 'serializable' }) do
      local child = holder(2)
      child:signal('STOP')
      keys.cli('del', keys:epoch_key('public.routes') .. '/held')
      lasts(2, store.transaction, store, function(tx)
        tx:query([[UPDATE routes SET value = value || '{"n": 1}']])
      end, { isolation = isolation })
      child:kill()
      children = {}
    end
  end)

  it('is from 0.2 to 10 seconds', function()
    for _, wrong in ipairs({ 0, 0.1, 10.5, -1, 1000, 'long', true, 0 / 0, math.huge }) do
      local err = support.refused('invalid_option', 'hold_lease', again, wrong)
      assert.is_table(err)
    end
    for _, right in ipairs({ 0.2, 10 }) do support.close(again(right)) end
  end)
end)

describe('the first writer of a table that is held for the first time', function()
  it('waits for nobody but those who hold it', function()
    local took
    for _ = 1, 5 do -- a busy machine may take as long for a write as a lease is
      local store, db = support.store({ 'routes' }, { hold = { 'routes' } })
      local other = stores.Store.new(db, support.redis())
      local id = store:insert('routes', { n = 0 }).id
      cache.hold(store, 'routes', id)
      local began = store.hub:now()
      other:update('routes', { id = id, n = 1 })
      took = store.hub:now() - began
      assert.equal(1, store:find('routes', id).n)
      local evicted = other:stats().held_evictions
      support.close(other)
      support.close(store, db)
      if took < 0.8 then
        assert.equal(0, evicted)
        return
      end
    end
    error('it waited each time: ' .. took)
  end)
end)
