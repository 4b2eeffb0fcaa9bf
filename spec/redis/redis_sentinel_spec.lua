--- A Redis that sentinels name: it is found, verified, and followed where it goes. Sentinels that
--- are down, silent or wrong are passed over; to lose them costs nothing while Redis answers.
-- Plain pass alone: what is waited for are failovers of other processes.

local certificates = require('spec.support.certificates')
local ports = require('spec.support.ports')
local sentinels = require('spec.support.sentinels')
local stores = require('stores')
local support = require('spec.support')

local WAIT = 120

describe('a Redis that sentinels name', function()
  local group, db, said, open_stores, fakes

  local function open(config, opts)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local store = stores.Store.new(db, config or group:config(), all)
    open_stores[#open_stores + 1] = store
    return store
  end

  local function fake(answer)
    local place, one = sentinels.fake(answer)
    fakes[#fakes + 1] = one
    return place
  end

  -- The places of these sentinels, then of the real ones.
  local function with(...)
    local config = group:config()
    for i, place in ipairs({ ... }) do table.insert(config.sentinels, i, place) end
    return config
  end

  local function reads_from(store, server)
    support.eventually(function()
      local hits = store:stats().hits
      return store:find('docs', '1').n and store:stats().hits > hits
    end, WAIT, 'a row of the cache')
    if server then assert.matches('name=[^\n]*cmd=mget', server:cli('CLIENT', 'LIST')) end
  end

  local function up(store)
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().redis_up == 1
    end, WAIT, 'Redis to be reached')
  end

  setup(function()
    group = sentinels.start()
    db = support.db()
    support.psql(db, [[CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs VALUES (1, '{"n": 1}')]])
  end)

  teardown(function()
    support.drop(db)
    group:remove()
  end)

  before_each(function() said, open_stores, fakes = {}, {}, {} end)

  after_each(function()
    for _, store in ipairs(open_stores) do support.close(store) end
    for _, one in ipairs(fakes) do one:kill() end
    for _, one in ipairs(group.watchers) do one:start() end
    for _, server in ipairs(group.servers) do server:start() end
    group:settle()
  end)

  it('is found, and its end is followed by the next one', function()
    local master, other = group:roles()
    local store = open()
    reads_from(store, master)
    assert.equal(1, store:stats().redis_connects)
    master:kill()
    store:update('docs', { id = '1', n = 2 })
    group:named(other)
    reads_from(store, other)
    assert.equal(2, store:find('docs', '1').n)
    -- more than one, where the sentinels closed the first: they do so to whom they promote
    local connects = store:stats().redis_connects
    assert.is_true(connects >= 2)
    -- one that comes back is a replica, and nobody goes to it
    master:start()
    support.eventually(function() return master:info('role') == 'slave' end, WAIT,
      group:story('a replica'))
    store:update('docs', { id = '1', n = 3 })
    reads_from(store, other)
    assert.equal(3, store:find('docs', '1').n)
    assert.equal(connects, store:stats().redis_connects)
    assert.is_nil(master:info('cmdstat_mget'))
  end)

  it('is left when it is no longer the one, although it answers', function()
    local master, other = group:roles()
    local store = open()
    reads_from(store, master)
    local connects = store:stats().redis_connects
    support.eventually(function()
      return group.watchers[1]:cli('SENTINEL', 'FAILOVER', group.name) == 'OK'
    end, WAIT, 'a failover')
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().redis_connects > connects
    end, WAIT, '+switch-master')
    reads_from(store, other)
    assert.same({}, said)
  end)

  it('is found by the sentinel that is left', function()
    group.watchers[1]:kill()
    group.watchers[2]:kill()
    local store = open()
    reads_from(store)
    assert.is_nil(store:stats().redis_trouble)
  end)

  it('is found where the first sentinels are silent, within connect_timeout', function()
    group.watchers[1]:pause()
    local store = open(group:config({ timeout = 2, connect_timeout = 2 }))
    reads_from(store)
    group.watchers[1]:resume()
    assert.equal(0, store:stats().redis_failures)
  end)

  for title, answer in pairs({
    ['know no such master'] = '*-1\r\n',
    ['refuse to say (IDONTKNOW)'] = '-IDONTKNOW I have not enough information to reply. Please ask '
      .. 'another Sentinel.\r\n',
    ['give no address'] = '*1\r\n$3\r\nabc\r\n',
    ['give an address without a port'] = sentinels.address('127.0.0.1', '0'),
    ['speak another protocol'] = 'HTTP/1.1 400 Bad Request\r\n\r\n',
    ['say more than they were asked for'] = '*1000000\r\n',
  }) do
    it('is found by the next ones where some ' .. title, function()
      local place = fake(answer)
      local store = open(with(place))
      reads_from(store)
      assert.equal(0, store:stats().redis_failures)
      -- alone, it is said what is wrong with them, and rows are read from PostgreSQL
      local lost = open({ sentinels = { place }, master = group.name })
      assert.is_number(lost:find('docs', '1').n)
      support.eventually(function() return lost:stats().redis_trouble end, WAIT)
      assert.matches('no sentinel tells where Redis is: ' .. place, lost:stats().redis_trouble,
        1, true)
    end)
  end

  it('is not one that sentinels call a master, and that says otherwise', function()
    local _, other = group:roles()
    local place = fake(sentinels.address('127.0.0.1', other.port))
    local store = open(with(place))
    reads_from(store)
    local lost = open({ sentinels = { place }, master = group.name })
    assert.is_number(lost:find('docs', '1').n)
    support.eventually(function() return lost:stats().redis_trouble end, WAIT)
    assert.matches('is no master, as a sentinel says: slave', lost:stats().redis_trouble, 1, true)
  end)

  it('is found by another sentinel where one names an address at which nobody is', function()
    local store = open(with(fake(sentinels.address('127.0.0.1', tostring(ports.free())))))
    reads_from(store)
  end)

  it('may be announced by its name, and so may be the sentinels', function()
    local master = group:roles()
    local place = fake(sentinels.address('localhost', master.port))
    local store = open({ sentinels = { (place:gsub('^[%d.]+', 'localhost')) }, master = group.name,
      opts = { timeout = 2 } })
    reads_from(store, master)
  end)

  it('is used on where all of them are gone, and followed again when they are back', function()
    local store = open()
    reads_from(store)
    local connects = store:stats().redis_connects
    for _, one in ipairs(group.watchers) do one:kill() end
    for n = 5, 7 do
      store:update('docs', { id = '1', n = n })
      assert.equal(n, store:find('docs', '1').n)
    end
    reads_from(store)
    assert.equal(connects, store:stats().redis_connects)
    assert.is_nil(store:stats().redis_trouble)
    assert.same({}, said)
    for _, one in ipairs(group.watchers) do one:start() end
    group:settle()
    local _, other = group:roles()
    support.eventually(function()
      return group.watchers[1]:cli('SENTINEL', 'FAILOVER', group.name) == 'OK'
    end, WAIT, 'a failover')
    group:named(other)
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().redis_connects > connects
    end, WAIT, 'the new master')
    reads_from(store, other)
  end)

  it('is asked for by no store that is closed, at whatever it is', function()
    for _, place in ipairs({ fake(''), fake('*-1\r\n'), 'localhost:1', '127.0.0.1:1' }) do
      local store = open({ sentinels = { place, place }, master = group.name })
      assert.is_number(store:find('docs', '1').n)
      store:close()
    end
    local store = open()
    up(store)
    store:close()
  end)
end)

describe('sentinels that want a password', function()
  it('get one of their own, and what is wrong is said without it', function()
    local group = sentinels.start({ count = 1, password = 's3cret', redis = { requirepass = 'pw',
      masterauth = 'pw' } })
    local db = support.db()
    local store, wrong, none
    finally(function()
      for _, one in pairs({ store, wrong, none }) do support.close(one) end
      support.drop(db)
      group:remove()
    end)
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    local quiet = { log = function() end }
    local redis_opts = { timeout = 2, password = 'pw' }
    store = stores.Store.new(db, group:config(redis_opts), quiet)
    store:insert('docs', { id = '1', n = 1 })
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().hits > 0
    end, WAIT)
    local function why(sentinel_opts)
      local one = stores.Store.new(db, group:config(redis_opts, { sentinel_opts = sentinel_opts }),
        quiet)
      support.eventually(function()
        one:find('docs', '1')
        return one:stats().redis_trouble
      end, WAIT)
      return one, one:stats().redis_trouble
    end
    local text
    wrong, text = why({ password = 'wr0ng' })
    assert.matches('refuses the user name or the password: WRONGPASS', text, 1, true)
    assert.is_nil(text:find('wr0ng', 1, true))
    none, text = why({})
    assert.matches('NOAUTH', text)
  end)
end)

describe('sentinels that speak TLS', function()
  it('are asked, and listened to, and what is wrong with their certificate is said', function()
    local folder = certificates.folder()
    local ca = certificates.authority(folder, 'ca')
    local other = certificates.authority(folder, 'other')
    local group = sentinels.start({ count = 1, tls = { ca = ca.file,
      path = ca:issue('sentinel', 'IP:127.0.0.1') } })
    local db = support.db()
    local store, wrong
    finally(function()
      for _, one in pairs({ store, wrong }) do support.close(one) end
      support.drop(db)
      group:remove()
      os.execute("rm -rf '" .. folder .. "'")
    end)
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    local quiet = { log = function() end }
    local function with(tls) return group:config(nil, { sentinel_opts = { tls = tls } }) end
    store = stores.Store.new(db, with({ ca = ca.file }), quiet)
    store:insert('docs', { id = '1', n = 1 })
    local function reads()
      local hits = store:stats().hits
      store:find('docs', '1')
      return store:stats().hits > hits
    end
    support.eventually(reads, WAIT)
    local watcher = group.watchers[1]
    support.eventually(function()
      return watcher:cli('CLIENT', 'LIST'):find('sub=1', 1, true)
    end, WAIT, 'a subscription')
    local connects = store:stats().redis_connects
    support.eventually(function()
      return watcher:cli('SENTINEL', 'FAILOVER', group.name) == 'OK'
    end, WAIT, 'a failover')
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().redis_connects > connects
    end, WAIT, '+switch-master')
    wrong = stores.Store.new(db, with({ ca = other.file }), quiet)
    support.eventually(function()
      wrong:find('docs', '1')
      return wrong:stats().redis_trouble
    end, WAIT)
    assert.matches('no sentinel tells where Redis is: ' .. watcher.place .. ':',
      wrong:stats().redis_trouble, 1, true)
    assert.matches('certificate', wrong:stats().redis_trouble)
  end)
end)
