--- stores.on: calls, and the histograms of stats(). Statements: observe_statements_spec.

local cache = require('spec.support.cache')
local conflicts = require('spec.support.conflicts')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('somebody who watches', function()
  local store, db

  setup(function()
    store, db = support.store({ 'users', 'flaky' })
    stores.on('call', function() end)() -- the first one wraps the verbs
    store:insert('users', { id = '1', n = 1 })
    conflicts.add(store, 'flaky')
    store:query([[INSERT INTO flaky SELECT i, '{"n": 0}' FROM generate_series(1, 3) i]])
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
    local events = watch(function()
      cache.hit(store, 'users', '1')
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
    before_each(function() conflicts.again(store) end)

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
      conflicts.again(store)
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
            tx:query('SELECT pg_stat_clear_snapshot()') -- a transaction sees one for all its time
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
    support.eventually(function()
      local events = {}
      local off = stores.on('slow', function(event) events[#events + 1] = event end,
        { seconds = 0.05 })
      store:find('users', '1')
      store:query('SELECT pg_sleep(0.06)')
      off()
      for _, event in ipairs(events) do assert.is_true(event.seconds >= 0.05) end
      assert.equal('query', events[#events].verb)
      return #events == 1 -- on a busy machine the find may be slow, too
    end)
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
end)
