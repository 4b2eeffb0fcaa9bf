--- A standby among several hosts is late: with a cache it does not answer in the primary's place.
-- Plain pass alone: it waits for a standby, and what is read does not depend on the collector.

-- spec.consistency is for the plain pass.
local pg_proxy = require('spec.support.pg_proxy')
local pgbouncer = require('spec.support.pgbouncer')
local servers = require('spec.consistency.servers')
local stores = require('stores')
local support = require('spec.support')

local function on_standby(own, sql)
  return support.psql({ host = own.home, port = 5433, user = 'postgres', database = 'postgres' },
    sql)
end

-- A primary, and a standby that is a minute behind.
local function behind()
  local own = servers.start()
  own:psql('CREATE TABLE tubs (id bigint PRIMARY KEY, value jsonb); INSERT INTO tubs '
    .. "SELECT i, '{\"n\": 0}' FROM generate_series(1, 50) i")
  own:add_standby()
  local conf = assert(io.open(own.home .. '/pg5433/postgresql.auto.conf', 'a'))
  conf:write("recovery_min_apply_delay = '60s'\n")
  conf:close()
  on_standby(own, 'SELECT pg_reload_conf()')
  support.eventually(function()
    return on_standby(own, 'SHOW recovery_min_apply_delay') == '1min\n'
  end, 20, 'the setting')
  return own
end

-- A store that meets the standby alone, through a pooler.
local function through_pooler(own)
  local bouncer = pgbouncer.start('transaction', 'server_login_retry = 0',
    { host = own.home, port = 5433 })
  return stores.Store.new(bouncer:config({ pooler = 'transaction' }),
    own:redis_config({ opts = { timeout = 2 } }), { log = function() end }), bouncer
end

describe('with a standby that is seconds behind, #slow', function()
  local own, writer

  setup(function()
    own = behind()
    writer = stores.Store.new(own:config(), own:redis_config({ opts = { timeout = 2 } }))
  end)

  teardown(function()
    support.close(writer)
    own:remove()
  end)

  local last = 0
  -- A row that was written, acknowledged, and is not in the cache.
  local function written()
    last = last + 1
    writer:update('tubs', { id = tostring(last), n = 1, mark = last })
    own:redis_cli('FLUSHALL')
    return tostring(last)
  end

  local function reader(attrs, redis)
    local db = { host = { own.home, own.home }, port = { 5433, 5432 }, user = 'postgres',
      database = 'postgres', target_session_attrs = attrs }
    return stores.Store.new(db, redis ~= false and own:redis_config({ opts = { timeout = 2 } })
      or nil, { cache = redis ~= false, log = function() end })
  end

  it('refuses at once to listen to a standby, and keeps nothing', function()
    local store = reader('standby', false)
    stores.run(function()
      local began = store.hub:now()
      local ok, err = store.try:listen('news', function() end)
      assert.is_false(ok)
      assert.equal('read_only', err.code)
      assert.is_true(store.hub:now() - began < store.timeout)
      assert.equal(0, store:stats().listeners)
    end)
    store:close()
  end)

  it('says that it is a standby to who notifies, or tells the cache, by it', function()
    local store = reader('standby')
    local err = support.refused('read_only', 'NOTIFY', store.notify, store, 'news', 'x')
    assert.truthy(err.hint:find('standby', 1, true), err.hint)
    assert.is_true(err.retryable)
    support.refused('cache_failure', 'only a standby was met', store.invalidate, store, 'tubs', '1')
    support.refused('cache_failure', 'only a standby was met', store.invalidate, store, 'tubs')
    support.close(store)
  end)

  it('finds the primary for who notifies, where its connections lead there by now', function()
    local proxy = pg_proxy.start(own.home .. '/.s.PGSQL.5433')
    local store = stores.Store.new({ host = proxy.host, port = proxy.port, user = 'postgres',
      database = 'postgres' }, nil, { cache = false, log = function() end })
    assert.is_truthy(store:find('tubs', '50'))
    proxy:lead_to(own.home .. '/.s.PGSQL.5432')
    support.eventually(function() return store.try:notify('news', 'x') end, 20)
    support.close(store)
    proxy:close()
  end)

  for _, attrs in ipairs({ false, 'prefer-standby', 'primary', 'read-write' }) do
    it('reads what was written, where target_session_attrs is ' .. tostring(attrs), function()
      local store = reader(attrs or nil)
      for _ = 1, 3 do
        local id = written()
        assert.equal(1, store:find('tubs', id).n)
        assert.equal(1, store:find('tubs', id, { cache = false }).n)
        assert.equal(1, #store:findByJSON('tubs', { mark = tonumber(id) }))
      end
      store:update('tubs', { id = '50', n = 7 })
      support.close(store)
    end)
  end

  it('a store without a cache takes the standby that it asked for', function()
    local store = reader('prefer-standby', false)
    assert.is_true(store:query('SELECT pg_is_in_recovery() AS standby')[1].standby)
    support.close(store)
  end)

  it('what a pooler reads from a standby is not put into the cache', function()
    local store, bouncer = through_pooler(own)
    local id = written()
    for _ = 1, 5 do store:find('tubs', id) end -- late, as the standby is
    assert.equal(0, store:stats().fills)
    assert.equal(1, writer:find('tubs', id).n)
    support.close(store)
    bouncer:stop()
  end)
end)

describe('a standby that is promoted behind a pooler #slow', function()
  it('is noticed', function()
    local own = behind()
    own:psql("ALTER SYSTEM SET synchronous_standby_names = ''")
    own:psql('SELECT pg_reload_conf()')
    on_standby(own, 'ALTER SYSTEM RESET recovery_min_apply_delay')
    local store, bouncer = through_pooler(own)
    store:find('tubs', '40')
    on_standby(own, 'SELECT pg_promote()')
    support.eventually(function()
      store:find('tubs', '40')
      return store:stats().hits > 0
    end, 20, 'rows to be cached again')
    store:update('tubs', { id = '40', n = 9 })
    assert.equal(9, store:find('tubs', '40').n)
    support.close(store)
    bouncer:stop()
    own:remove()
  end)
end)
