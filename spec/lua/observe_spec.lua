--- stores.on, and the histograms of stats().

local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('somebody who watches', function()
  local store, db

  setup(function()
    store, db = support.store({ 'users', 'flaky' })
    stores.on('call', function() end)() -- the first one wraps the verbs
    store:insert('users', { id = '1', n = 1 })
    -- the first change after each start of the sequence meets a conflict
    store:query([[
      CREATE SEQUENCE tries;
      CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF nextval('tries') = 1 THEN RAISE EXCEPTION 'a conflict' USING ERRCODE = '40001'; END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER conflict BEFORE UPDATE ON flaky FOR EACH ROW EXECUTE FUNCTION conflict();
      INSERT INTO flaky SELECT i, '{"n": 0}' FROM generate_series(1, 3) i]])
  end)
  teardown(function() support.close(store, db) end)

  local function watch(fn, ...)
    local events = {}
    local off = stores.on('call', function(event) events[#events + 1] = event end)
    pcall(fn, ...)
    off()
    return events
  end

  it('hears of each call: its verb, table, source and time', function()
    local before = store:stats().hits
    local events = watch(function()
      support.eventually(function()
        store:find('users', '1')
        return store:stats().hits > before
      end)
      store:find('users', '1', { cache = false })
    end)
    local cached, read = events[#events - 1], events[#events]
    assert.equal('find', cached.verb)
    assert.equal('users', cached.table)
    assert.equal('cache', cached.source)
    assert.is_true(cached.redis > 0)
    assert.equal(0, cached.postgres)
    assert.equal('postgres', read.source)
    assert.is_true(read.postgres > 0)
    assert.equal(0, read.redis)
  end)

  it('finds the parts of a call within its time', function()
    local events = watch(function()
      store:patch('users', '1', { inc = { n = 1 } })
      store:updateObject('users', '1', function(doc) doc.n = doc.n + 1 end)
      store:transaction(function(tx) tx:patch('users', '1', { inc = { n = 1 } }) end)
      store:count('users')
    end)
    assert.equal(4, #events)
    for _, event in ipairs(events) do
      local parts = event.queue + event.connect + event.redis + event.postgres + event.decode
      assert.is_true(parts > 0 and parts <= event.seconds, event.verb)
      assert.is_true(event.postgres > 0, event.verb)
    end
    assert.is_true(events[2].round_trips > 1)
    assert.is_true(events[1].redis > 0)
  end)

  it('hears of which shard it was', function()
    local shards = stores.Shards.new({ { db = db, opts = { cache = false }, id = 0 },
      { db = db, opts = { cache = false }, id = 1 } })
    local statements = {}
    local off = stores.on('statement', function(event) statements[#statements + 1] = event end)
    local events = watch(function()
      for id = 1, 2 do shards:mod(tostring(id)):exists('users', tostring(id)) end
    end)
    off()
    for _, one in ipairs(shards.shards) do one:close() end
    assert.same({ 1, 0 }, { events[1].shard, events[2].shard })
    assert.equal(1, statements[1].shard)
    assert.equal(0, statements[#statements].shard)
    assert.is_nil(watch(store.exists, store, 'users', '1')[1].shard)
  end)

  it('hears of errors too, which are raised all the same', function()
    local events = watch(function() store:find('users', 5) end)
    assert.equal('invalid_id', events[1].error.code)
    assert.has_error(function() store:find('users', 5) end)
  end)

  it('hears of calls of many coroutines, each with its own time', function()
    local events = watch(function()
      local list = {}
      for i = 1, 50 do list[i] = tostring(i) end
      stores.map(list, function(id) store:upsert('users', { id = id, n = 0 }) end)
    end)
    assert.equal(50, #events)
    for _, event in ipairs(events) do assert.equal('upsert', event.verb) end
  end)

  it('hears where the time of a call that failed went', function()
    local events = watch(store.query, store, 'SELECT 1 / (SELECT 0 FROM pg_sleep(0.05))')
    assert.equal('invalid_argument', events[1].error.code)
    assert.is_true(events[1].postgres > 0.04 and events[1].postgres <= events[1].seconds)
  end)

  it('is not told the time of a call twice, where a sleep comes after it', function()
    local events = watch(store.transaction, store, function(tx)
      tx:query('SELECT pg_sleep(0.05)')
      for _ = 1, 3 do stores.sleep(0.001) end
    end)
    assert.equal(2, events[1].round_trips)
    assert.is_true(events[1].postgres < events[1].seconds)
  end)

  describe('hears how often something ran again:', function()
    before_each(function() store:query('ALTER SEQUENCE tries RESTART') end)

    local function change(doc) doc.n = doc.n + 1 end

    it('nothing, as a rule', function()
      local events = watch(function()
        store:find('users', '1')
        store:patch('users', '1', { inc = { n = 1 } })
        store:updateObject('users', '1', change)
        store:transaction(function(tx) tx:find('users', '1') end)
        store:query('SELECT 1')
      end)
      assert.equal(5, #events)
      for _, event in ipairs(events) do assert.equal(0, event.retries, event.verb) end
    end)

    it('the function of a transaction', function()
      local events = watch(store.transaction, store, function(tx)
        tx:patch('flaky', '1', { inc = { n = 1 } })
      end)
      assert.equal(1, events[1].retries)
      assert.is_nil(events[1].error)
    end)

    it('the function of a transaction that never succeeded', function()
      local events = watch(store.transaction, store, function(tx)
        tx:query("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40001'; END $$")
      end, { retries = 2 })
      assert.equal(2, events[1].retries)
      assert.equal('serialization', events[1].error.code)
    end)

    it('the function of updateObject, also of those that were served together', function()
      local events = watch(store.updateObject, store, 'flaky', '1', change)
      assert.equal(1, events[1].retries)
      store:query('ALTER SEQUENCE tries RESTART')
      events = watch(stores.map, { 1, 2, 3 }, function()
        store:updateObject('flaky', '1', change)
      end)
      assert.equal(3, #events)
      local most = 0
      for _, event in ipairs(events) do most = math.max(most, event.retries) end
      assert.equal(1, most)
    end)

    it('the segment of a write', function()
      local events = watch(stores.map, { '1', '2', '3' }, function(id)
        store:update('flaky', { id = id, n = 5 })
      end)
      assert.equal(3, #events)
      for _, event in ipairs(events) do
        assert.equal(1, event.retries)
        assert.is_nil(event.error)
      end
    end)

    -- The event of a read of a table, whose session is ended while it waits for the table.
    local function interrupted(verb, pattern, ...)
      local args, events = { ... }
      local config = { poolsize = 1 }
      for key, value in pairs(db) do config[key] = value end
      local reader = stores.Store.new(config, nil, { cache = false })
      local other = stores.Store.new(db, nil, { cache = false })
      reader[verb](reader, 'users', unpack(args)) -- asks for the table, which will be locked
      stores.run(function()
        other:transaction(function(tx)
          tx:query('LOCK TABLE users IN ACCESS EXCLUSIVE MODE')
          stores.spawn(function()
            events = watch(reader[verb], reader, 'users', unpack(args))
          end)
          support.eventually(function()
            return tx:query("SELECT count(pg_terminate_backend(pid)) AS n FROM pg_stat_activity"
              .. " WHERE datname = current_database() AND wait_event_type = 'Lock'"
              .. ' AND query LIKE $1', { pattern })[1].n == 1
          end)
        end)
      end)
      support.close(reader)
      support.close(other)
      for _, event in ipairs(events) do
        if event.verb == verb then return event end
      end
    end

    it('a read that lost its connection', function()
      for verb, event in pairs({ find = interrupted('find', '%WHERE id = $1%', '1'),
        count = interrupted('count', '%count%') }) do
        assert.equal(1, event.retries, verb)
        assert.is_nil(event.error)
      end
    end)
  end)

  it('hears of slow calls alone where it asks for those', function()
    local events = {}
    local off = stores.on('slow', function(event) events[#events + 1] = event end,
      { seconds = 0.05 })
    store:find('users', '1')
    store:query('SELECT pg_sleep(0.06)')
    off()
    assert.equal(1, #events)
    assert.equal('query', events[1].verb)
  end)

  it('has histograms of every verb in stats()', function()
    local before = store:stats().latency.find
    store:find('users', '1')
    local after = store:stats().latency.find
    assert.equal(before.count + 1, after.count)
    assert.is_true(after.sum > before.sum)
    local total = 0
    for _, bucket in ipairs(after) do total = total + bucket.count end
    assert.equal(after.count, total)
  end)

  it('changes nothing of a call by failing, and is reported', function()
    local errors = os.tmpname()
    local child = process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q }, nil,
        { cache = false })
      local heard = {}
      stores.on('call', function() error('the first hook is broken') end)
      stores.on('slow', function() error({ 'the second, too' }) end, { seconds = 0 })
      stores.on('call', function(event) heard[#heard + 1] = event.verb end)
      print(store:insert('users', { id = '70' }).id)
      print(store:transaction(function(tx)
        return tx:patch('users', '70', { set = { n = 1 } }).n
      end))
      print(pcall(store.find, store, 'users', 'x'))
      stores.run(function() print(store:find('users', '70').n) end)
      print(table.concat(heard, ' '))
      store:delete('users', '70')
    ]]):format(db.host, tostring(db.port), db.database, db.user), errors)
    local said = child:wait()
    assert.matches('^70\n1\nfalse\tinvalid_id[^\n]*\n1\ninsert transaction find find\n$', said)
    local file = assert(io.open(errors))
    assert.equal(5, select(2, file:read('*a'):gsub('the first hook is broken', '')))
    file:close()
    os.remove(errors)
  end)

  it('hears all though others are taken away, or added, meanwhile', function()
    local heard, offs = { 0, 0, 0, 0 }, {}
    for i = 1, 3 do
      offs[i] = stores.on('call', function()
        heard[i] = heard[i] + 1
        if i == 1 then
          offs[1]()
          offs[4] = stores.on('call', function() heard[4] = heard[4] + 1 end)
        end
      end)
    end
    store:find('users', '1')
    store:find('users', '1')
    for i = 1, 4 do offs[i]() offs[i]() end
    store:find('users', '1')
    assert.same({ 1, 2, 2, 1 }, heard)
  end)

  it('does not hear what has been taken away by another hook just then', function()
    local heard, off = 0, nil
    local first = stores.on('call', function() off() end)
    off = stores.on('call', function() heard = heard + 1 end)
    store:find('users', '1')
    first()
    assert.equal(0, heard)
  end)

  it('may call a store, of which it is not told', function()
    local verbs, sum = {}, 0
    local off = stores.on('call', function(event)
      verbs[#verbs + 1] = event.verb
      sum = sum + store:count('users')
      sum = sum + store:transaction(function(tx) return tx:count('users') end)
    end)
    store:find('users', '1')
    stores.run(function() store:find('users', '1') end)
    off()
    assert.same({ 'find', 'find' }, verbs)
    assert.is_true(sum >= 4)
  end)

  it('hears of the calls of a coroutine whose last one was dropped in the middle', function()
    local events = watch(function()
      stores.run(function()
        local step = stores.wrap(function()
          store:transaction(function() coroutine.yield() end)
        end)
        step()
        step = nil -- luacheck: ignore
        collectgarbage()
        collectgarbage()
        store:find('users', '1')
      end)
    end)
    assert.equal(1, #events)
    assert.equal('find', events[1].verb)
  end)

  it('is refused for options that it does not know', function()
    for _, bad in ipairs({
      { 'call', { seconds = 1 } }, { 'statement', { seconds = 1 } }, { 'slow', { secs = 1 } },
      { 'slow', { seconds = -1 } }, { 'slow', { seconds = 0 / 0 } }, { 'slow', { seconds = '1' } },
      { 'slow', 'x' }, { 'call', 1 },
    }) do
      support.refused('invalid_option', nil, stores.on, bad[1], print, bad[2])
    end
    stores.on('call', print, {})()
    stores.on('slow', print, { seconds = 0 })()
  end)

  it('finds no bypassed write where Redis is away and all only read', function()
    local quiet = stores.Store.new(db, { path = '/nowhere/redis.sock' }, { log = function() end })
    for _ = 1, 3 do quiet:find('users', '1') end
    assert.equal(0, quiet:stats().bypassed)
    quiet:upsert('users', { id = '71' })
    assert.equal(1, quiet:stats().bypassed)
    quiet:delete('users', '71')
    support.close(quiet)
  end)

  it('is refused for hooks that are none', function()
    local ok, err = pcall(stores.on, 'calls', print)
    assert.is_false(ok)
    assert.equal('invalid_argument', err.code)
    ok, err = pcall(stores.on, 'call', 'print')
    assert.is_false(ok)
    assert.equal('invalid_argument', err.code)
  end)

  describe('of statements', function()
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
      local events = statements(store.query, store, 'SELECT pg_sleep(0.05); SELECT 1')
      local sleep, one = events[2], events[3]
      assert.equal(sleep.sql, one.sql)
      assert.is_true(sleep.postgres > 0.04)
      assert.is_true(one.queue >= sleep.postgres * 0.9 and one.postgres < one.queue)
    end)

    it('hears of one that failed, and not of those behind it, which never ran', function()
      local events = statements(store.query, store, 'SELECT no_such_column')
      assert.equal('SELECT no_such_column', events[2].sql)
      assert.equal('query_failed', events[2].code)
      assert.equal('42703', events[2].sqlstate)
      store.try:update('flaky', { id = '1' }) -- a new connection asks for the table
      store:query('ALTER SEQUENCE tries RESTART')
      events = statements(store.update, store, 'flaky', { id = '1' })
      assert.same({ 'BEGIN', 'UPDATE', 'ROLLBACK' }, texts(events))
      assert.equal('40001', events[2].sqlstate)
      events = statements(store.transaction, store, function(tx)
        tx:patch('users', '1', { set = { n = 1 } })
        tx:query('SELECT pg_terminate_backend(pg_backend_pid())')
      end)
      assert.equal('connection_lost', events[#events].code)
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
      assert.equal(1, #statements(store.find, store, 'users', '1', { cache = false }))
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
end)
