--- stores.on('statement'): what is sent to PostgreSQL, how long it took, and never a value.

local conflicts = require('spec.support.conflicts')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('somebody who watches statements', function()
  local store, db

  setup(function()
    store, db = support.store({ 'users', 'flaky' })
    stores.on('call', function() end)() -- the first one wraps the verbs
    store:insert('users', { id = '1', n = 1 })
    conflicts.add(store, 'flaky')
    store:query([[INSERT INTO flaky SELECT i, '{"n": 0}' FROM generate_series(1, 3) i]])
  end)
  teardown(function() support.close(store, db) end)

  -- A call that failed is over before its ROLLBACK is.
  local function quiet()
    support.eventually(function()
      local stats = store:stats()
      return stats.pool_writing + stats.pool_reading + stats.pool_checked_out == 0
    end)
  end

  local function statements(fn, ...)
    local events = {}
    quiet()
    local off = stores.on('statement', function(event) events[#events + 1] = event end)
    pcall(fn, ...)
    quiet()
    off()
    return events
  end

  local function texts(events)
    local list = {}
    for i, event in ipairs(events) do list[i] = event.sql:match('^%u+') end
    return list
  end

  it('hears of each one of a transaction, on its one connection', function()
    local function change(doc) doc.n = doc.n + 1 end
    store:updateObject('users', '1', change) -- its connection asks for the table once
    local events = statements(store.updateObject, store, 'users', '1', change)
    assert.same({ 'BEGIN', 'SELECT', 'UPDATE', 'SELECT', 'COMMIT' }, texts(events))
    for _, event in ipairs(events) do
      assert.equal(events[1].connection, event.connection)
      assert.is_nil(event.code)
      assert.is_true(event.queue >= 0 and event.postgres >= 0)
      assert.is_true(math.abs(event.seconds - event.queue - event.postgres) < 1e-9)
    end
    assert.same({ 0, 1, 1 }, { events[1].rows, events[2].rows, events[3].rows })
    assert.truthy(events[2].sql:find('WHERE id = %$1.* FOR UPDATE$'))
  end)

  it('hears how many rows were given, or changed', function()
    local events = statements(function()
      store:query('SELECT generate_series(1, 7)', nil, { transaction = false, readonly = true })
      store:query('CREATE TEMP TABLE brief AS SELECT generate_series(1, 3)', nil,
        { transaction = false, readonly = true })
    end)
    local rows = {}
    for _, event in ipairs(events) do rows[event.sql:match('^%u+')] = event.rows end
    assert.equal(7, rows.SELECT) -- in a transaction that reads only
    assert.equal(3, rows.CREATE)
  end)

  it('finds the time of each: its own, and that of those before it', function()
    support.eventually(function()
      local events = statements(store.query, store, 'SELECT pg_sleep(0.05); SELECT 1')
      local sleep, one = events[2], events[3]
      assert.equal(sleep.sql, one.sql)
      assert.is_true(sleep.postgres > 0.04)
      assert.is_true(one.queue >= sleep.postgres * 0.9)
      return one.postgres < one.queue -- unless a busy machine took as long for it
    end)
  end)

  it('hears of one that failed, and not of those behind it, which never ran', function()
    local events = statements(store.query, store, 'SELECT no_such_column')
    assert.equal('SELECT no_such_column', events[2].sql)
    assert.equal('query_failed', events[2].code)
    assert.equal('42703', events[2].sqlstate)
    store.try:update('flaky', { id = '1' }) -- a new connection asks for the table
    conflicts.again(store)
    events = statements(store.update, store, 'flaky', { id = '1' })
    assert.same({ 'BEGIN', 'UPDATE', 'ROLLBACK' }, texts(events))
    assert.equal('40001', events[2].sqlstate)
    events = statements(store.transaction, store, function(tx)
      tx:patch('users', '1', { set = { n = 1 } })
      tx:query('SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(5)')
    end)
    -- behind it another connection may have been opened, which asks for what it has to know
    local last
    for _, event in ipairs(events) do last = event.code or last end
    assert.equal('connection_lost', last)
  end)

  it('is never told a value', function()
    local secret = 'geheim'
    local watching = {}
    local off = stores.on('statement', function(event) watching[#watching + 1] = event end)
    local config = { on_connect = "SELECT set_config('app.name', '" .. secret .. "', false)" }
    for key, value in pairs(db) do config[key] = value end
    local other = stores.Store.new(config, support.redis())
    other:insert('users', { id = '90', name = secret })
    other:upsert('users', { id = '91', [secret] = 1 })
    other:updateProperty('users', '90', secret, secret)
    other:patch('users', '91', { set = { b = secret }, remove = { secret } })
    other:updateObject('users', '91', function(doc) doc.c = secret end)
    other:findByJSON('users', { name = secret }, { where = { { 'name', 'prefix', secret } } })
    other:findByJsonArrayContains('users', secret, secret)
    other:findByPath('users', '$.name ? (@ == $x)', { x = secret })
    other:query('SELECT $1', { secret })
    other:transaction(function(tx) tx:query('SELECT $1', { secret }) end)
    other:notify('channel', secret)
    other:delete('users', '90')
    other:delete('users', '91')
    other:close()
    off()
    assert.is_true(#watching > 40)
    for _, event in ipairs(watching) do
      assert.is_nil(event.sql:find(secret, 1, true), event.sql)
    end
  end)

  it('hears of those of a store that is made later, and of none after its end', function()
    local events = {}
    local off = stores.on('statement', function(event) events[#events + 1] = event end)
    local other = stores.Store.new(db, nil, { cache = false })
    other:find('users', '1')
    off()
    off() -- harmless again
    local count = #events
    assert.is_true(count > 0)
    store:find('users', '1', { cache = false })
    other:find('users', '1')
    other:close()
    assert.equal(count, #events)
    -- each connection asks for the table once
    support.eventually(function()
      return #statements(store.find, store, 'users', '1', { cache = false }) == 1
    end)
  end)

  it('and of calls are told in a child of a fork, too', function()
    local child = process.lua(([[
      local ffi = require('ffi')
      ffi.cdef('int fork(void); int waitpid(int, int *, int); void _exit(int);')
      local stores = require('stores')
      local function open()
        return stores.Store.new({ host = %q, port = %q, database = %q, user = %q }, nil,
          { cache = false })
      end
      local parents = open()
      parents:find('users', '1')
      local told = 0
      stores.on('statement', function(event) told = told + 1 end)
      stores.on('call', function(event)
        print(event.verb, event.round_trips, event.postgres > 0, told > 0)
      end)
      parents:find('users', '1')
      local pid = ffi.C.fork()
      if pid == 0 then
        told = 0
        open():find('users', '1')
        io.stdout:flush()
        ffi.C._exit(0)
      end
      ffi.C.waitpid(pid, nil, 0)
      parents:close()
    ]]):format(db.host, tostring(db.port), db.database, db.user))
    assert.equal(('find\t1\ttrue\ttrue\n'):rep(2), child:wait())
  end)

  it('is told that it must not call a store, where it does', function()
    local errors = os.tmpname()
    local child = process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q }, nil,
        { cache = false })
      local heard = 0
      stores.on('statement', function()
        heard = heard + 1
        store:count('users')
      end)
      for _ = 1, 3 do print(store:find('users', '1').id) end
      assert(heard < 20, heard)
    ]]):format(db.host, tostring(db.port), db.database, db.user), errors)
    assert.equal('1\n1\n1\n', child:wait())
    local file = assert(io.open(errors))
    local _, count = file:read('*a'):gsub("a hook of 'statement' calls a store", '')
    assert.equal(1, count)
    file:close()
    os.remove(errors)
  end)

  it('may fail, which is said on stderr and changes nothing', function()
    local errors = os.tmpname()
    local child = process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q }, nil,
        { cache = false })
      stores.on('statement', function() error('the hook is broken') end)
      print(store:find('users', '1').id)
    ]]):format(db.host, tostring(db.port), db.database, db.user), errors)
    assert.equal('1\n', child:wait())
    local file = assert(io.open(errors))
    assert.truthy(file:read('*a'):find('the hook is broken', 1, true))
    file:close()
    os.remove(errors)
  end)
end)
