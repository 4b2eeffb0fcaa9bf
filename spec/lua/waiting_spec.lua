--- Where a call waits: it blocks outside coroutines, and waits as one inside stores.run, spawn,
--- all, map and wrap. No error of a task is lost, and a dropped coroutine harms nobody.

local stores = require('stores')
local support = require('spec.support')

local ids, refused = support.ids, support.refused
local store, db

setup(function()
  store, db = support.store({ 'things' })
  for i = 1, 20 do store:insert('things', { id = tostring(i), n = i }) end
end)
teardown(function() support.close(store, db) end)

describe('a call', function()
  it('runs to its end outside coroutines', function()
    assert.equal(1, store:find('things', '1').n)
    assert.is_nil(coroutine.running())
  end)

  it('waits as a coroutine inside run, and the others go on meanwhile', function()
    local order = {}
    stores.run(function()
      local slow = stores.spawn(function()
        store:query('SELECT pg_sleep(0.2)')
        order[#order + 1] = 'slow'
      end)
      order[#order + 1] = 'spawned'
      store:find('things', '1')
      order[#order + 1] = 'found'
      slow:join()
    end)
    assert.same({ 'spawned', 'found', 'slow' }, order)
  end)

  it('raises inside a coroutine of somebody else, before anything is sent', function()
    local before = store:stats().calls
    local call = coroutine.wrap(function()
      refused('foreign_coroutine', 'stores.wrap', store.find, store, 'things', '1')
      refused('foreign_coroutine', nil, store.query, store, 'SELECT 1')
      refused('foreign_coroutine', nil, store.updateObject, store, 'things', '1', function() end)
      refused('foreign_coroutine', nil, store.transaction, store, function() end)
      refused('foreign_coroutine', nil, stores.sleep, 0)
      return 'done'
    end)
    assert.equal('done', call())
    assert.equal('done', stores.run(coroutine.wrap(function()
      refused('foreign_coroutine', nil, store.find, store, 'things', '1')
      return 'done'
    end)))
    assert.equal(before, store:stats().calls)
  end)

  it('raises in a wrap that a coroutine of somebody else runs', function()
    local wrapped = stores.wrap(function()
      refused('foreign_coroutine', nil, store.find, store, 'things', '1')
      return 'done'
    end)
    assert.equal('done', coroutine.wrap(function() return wrapped() end)())
  end)

  it('keeps errors and results apart over pcall and many coroutines', function()
    local results = stores.map(ids(200), function(id, i)
      local ok, err = pcall(store.find, store, 'things', id, { must = true })
      assert(ok == (i <= 20), i)
      return ok and err.n or err.code
    end)
    for i = 1, 200 do assert.equal(i <= 20 and i or 'not_found', results[i]) end
  end)
end)

describe('stores.run', function()
  it('passes arguments in and results out, nils included', function()
    local count = select('#', stores.run(function() return nil, 2, nil end))
    assert.equal(3, count)
    assert.same({ 1, nil, 3 }, { stores.run(function(...) return ... end, 1, nil, 3) })
  end)

  it('just calls the function inside of run', function()
    local result = stores.run(function()
      local outer = coroutine.running()
      return stores.run(function(value)
        assert.equal(outer, coroutine.running())
        store:find('things', '1')
        return value
      end, 'inner')
    end)
    assert.equal('inner', result)
  end)

  it('ends when all that it spawned has ended', function()
    local ended = 0
    stores.run(function()
      for _ = 1, 5 do
        stores.spawn(function()
          stores.sleep(0.01)
          stores.spawn(function()
            store:find('things', '2')
            ended = ended + 1
          end)
        end)
      end
    end)
    assert.equal(5, ended)
  end)

  it('raises what its function raises, the very value', function()
    local err = setmetatable({}, {})
    local ok, got = pcall(stores.run, function()
      store:find('things', '1')
      error(err)
    end)
    assert.is_false(ok)
    assert.equal(err, got)
    -- and the next one is as if nothing had been
    assert.equal(2, stores.run(function() return store:find('things', '2').n end))
  end)

  it('raises the first error of a task that nobody joined', function()
    local ok, err = pcall(stores.run, function()
      stores.spawn(function()
        stores.sleep(0.02)
        error('second', 0)
      end)
      stores.spawn(function() error('first', 0) end)
      return 'fine'
    end)
    assert.is_false(ok)
    assert.equal('first', err)
    assert.equal('fine', stores.run(function() return 'fine' end))
  end)

  it('raises an unjoined error also where another one was joined', function()
    local ok, err = pcall(stores.run, function()
      local joined = stores.spawn(function() error('joined', 0) end)
      stores.spawn(function() error('lost', 0) end)
      stores.sleep(0)
      assert(not pcall(joined.join, joined))
    end)
    assert.is_false(ok)
    assert.equal('lost', err)
  end)

  it('does not raise an error that was joined, even late', function()
    stores.run(function()
      local task = stores.spawn(function() error('joined', 0) end)
      stores.sleep(0.01)
      local ok, err = pcall(task.join, task)
      assert(not ok and err == 'joined')
    end)
  end)

  it('says so where every coroutine waits for another', function()
    local err = refused('internal', 'every coroutine waits', stores.run, function()
      local first, second
      first = stores.spawn(function() second:join() end)
      second = stores.spawn(function() first:join() end)
      first:join()
    end)
    assert.equal('none', err.outcome)
    -- what hangs for ever does not keep later runs from ending
    assert.equal('fine', stores.run(function() return 'fine' end))
    refused('self_deadlock', 'its own end', stores.run, function()
      local task
      task = stores.spawn(function() task:join() end)
    end)
  end)

  it('lets the others go first where a task yields', function()
    local order = {}
    stores.run(function()
      stores.spawn(function() order[#order + 1] = 'other' end)
      assert.equal(0, select('#', coroutine.yield('ignored')))
      order[#order + 1] = 'yielder'
      store:find('things', '1')
    end)
    assert.same({ 'other', 'yielder' }, order)
  end)

  it('takes functions only', function()
    for _, verb in ipairs({ 'run', 'spawn', 'wrap' }) do
      refused('invalid_argument', 'stores.' .. verb .. ' takes a function', stores[verb], 'x')
      refused('invalid_argument', 'got nil', stores[verb])
    end
  end)
end)

describe('stores.spawn', function()
  it('gives a task, which any number of coroutines can join', function()
    local results = stores.run(function()
      local task = stores.spawn(function(a, b)
        stores.sleep(0.02)
        return a + b, 'second'
      end, 1, 2)
      return stores.all({
        function() return select(2, task:join()) end,
        function() return (task:join()) end,
        function()
          task:join()
          return task.done
        end,
      })
    end)
    assert.same({ 'second', 3, true }, results)
  end)

  it('gives each of them its error', function()
    stores.run(function()
      local task = stores.spawn(function()
        stores.sleep(0.01)
        error({ code = 5 })
      end)
      local function join()
        local ok, err = pcall(task.join, task)
        return not ok and err.code
      end
      assert.same({ 5, 5 }, stores.all({ join, join }))
    end)
  end)

  it('can be joined outside coroutines, which runs it', function()
    local task = stores.spawn(function() return store:find('things', '3').n end)
    assert.is_false(task.done)
    assert.equal(3, task:join())
    assert.equal(3, task:join())
  end)

  it('raises at the join outside coroutines too', function()
    local task = stores.spawn(function() error('outside', 0) end)
    local ok, err = pcall(task.join, task)
    assert.is_false(ok)
    assert.equal('outside', err)
  end)
end)

describe('stores.all', function()
  it('gives the first results in the order of the functions', function()
    assert.same({ 3, 1, 2 }, stores.all({
      function()
        stores.sleep(0.03)
        return 3, 'more'
      end,
      function() return 1 end,
      function() return store:find('things', '2').n end,
    }))
    assert.same({}, stores.all({}))
  end)

  it('waits for all of them, then raises the first error in their order', function()
    local ended = 0
    local ok, err = pcall(stores.all, {
      function()
        stores.sleep(0.02)
        ended = ended + 1
      end,
      function()
        stores.sleep(0.01)
        error('slow', 0)
      end,
      function() error('quick', 0) end,
    })
    assert.is_false(ok)
    assert.equal('slow', err)
    assert.equal(1, ended)
  end)

  it('raises an error whose value is nil', function()
    assert.is_false((pcall(stores.all, { function() error() end })))
    assert.is_false((pcall(stores.map, { 1 }, function() error() end)))
    assert.is_false((pcall(stores.run, function() error() end)))
    assert.is_false((pcall(stores.run, function() stores.spawn(function() error() end) end)))
  end)

  it('runs side by side', function()
    local asleep, most = 0, 0
    local function nap()
      asleep = asleep + 1
      most = math.max(most, asleep)
      stores.sleep(0.05)
      asleep = asleep - 1
    end
    stores.all({ nap, nap, nap, nap })
    assert.equal(4, most)
  end)

  it('takes an array of functions', function()
    refused('invalid_argument', 'stores.all takes an array', stores.all, function() end)
    refused('invalid_argument', 'stores.all takes a function', stores.all, { 1 })
    refused('invalid_argument', 'stores.all takes an array', stores.all, { a = function() end })
    refused('invalid_argument', 'gaps', stores.all, { [2] = function() end })
  end)
end)

describe('stores.map', function()
  it('gives the results in the order of the list, and the index to the function', function()
    local results = stores.map(ids(20), function(id, i)
      assert(id == tostring(i))
      return store:find('things', id).n * 10
    end)
    for i = 1, 20 do assert.equal(i * 10, results[i]) end
    assert.same({}, stores.map({}, function() end))
  end)

  it('runs as many at once as concurrency says', function()
    for _, concurrency in ipairs({ 1, 3, 20, 100 }) do
      local now, most = 0, 0
      stores.map(ids(20), function()
        now = now + 1
        most = math.max(most, now)
        stores.sleep(0.002)
        now = now - 1
      end, { concurrency = concurrency })
      assert.equal(math.min(concurrency, 20), most)
    end
  end)

  it('begins no more after an error, and raises it when those under way have ended', function()
    local begun, ended = 0, 0
    local ok, err = pcall(stores.map, ids(20), function(_, i)
      begun = begun + 1
      stores.sleep(i == 1 and 0 or 0.02)
      if i == 1 then error('first', 0) end
      ended = ended + 1
    end, { concurrency = 4 })
    assert.is_false(ok)
    assert.equal('first', err)
    assert.equal(4, begun)
    assert.equal(3, ended)
  end)

  it('refuses what it does not know', function()
    local function fn() end
    refused('invalid_option', 'concurrency', stores.map, {}, fn, { parallel = 2 })
    refused('invalid_option', 'a table', stores.map, {}, fn, 2)
    for _, wrong in ipairs({ 0, -1, 1.5, '2', math.huge, 0 / 0 }) do
      refused('invalid_option', 'concurrency', stores.map, { 1 }, fn, { concurrency = wrong })
    end
    refused('invalid_argument', 'stores.map takes an array', stores.map, 5, fn)
    refused('invalid_argument', 'stores.map takes a function', stores.map, {})
  end)
end)

describe('stores.sleep', function()
  it('ends on time beside one that sleeps much longer, also after work that took longer', function()
    local hub = require('stores.wait').host.hub()
    stores.run(function()
      local began = hub:now()
      stores.spawn(function() stores.sleep(3) end)
      stores.sleep(0)
      stores.spawn(function()
        local busy_until = hub:now() + 0.02
        repeat until hub:now() > busy_until -- the timer of the next one is due by then
      end)
      stores.sleep(0.005)
      assert.is_true(hub:now() - began < 2.9)
    end)
  end)

  it('waits at least so long, in a coroutine and outside', function()
    local hub = require('stores.wait').host.hub()
    for _, call in ipairs({ stores.sleep, function(s) stores.run(stores.sleep, s) end }) do
      local began = hub:now()
      call(0.05)
      assert.is_true(hub:now() - began >= 0.049)
    end
  end)

  it('takes seconds', function()
    for _, wrong in ipairs({ -1, 0 / 0, math.huge, '1', {} }) do
      refused('invalid_argument', 'stores.sleep takes seconds', stores.sleep, wrong)
    end
    refused('invalid_argument', 'stores.sleep takes seconds', stores.sleep)
  end)
end)

describe('stores.wrap', function()
  -- A generator of documents that finds each of them.
  local function documents(list)
    return stores.wrap(function()
      for _, id in ipairs(list) do coroutine.yield(store:find('things', id)) end
    end)
  end

  it('passes waits through and gives yields to its caller', function()
    local function sum()
      local total = 0
      for document in documents(ids(20)) do total = total + document.n end
      return total
    end
    assert.equal(210, sum())
    assert.equal(210, stores.run(sum))
    assert.same({ 210, 210, 210 }, stores.all({ sum, sum, sum }))
  end)

  it('passes values both ways', function()
    local echo = stores.wrap(function(a, b)
      store:find('things', '1')
      local c, d = coroutine.yield(a + b, 'first')
      store:find('things', '2')
      return c + d, 'last'
    end)
    assert.same({ 3, 'first' }, { echo(1, 2) })
    assert.same({ 7, 'last' }, { echo(3, 4) })
    assert.has_error(function() echo() end)
  end)

  it('raises to its caller', function()
    local function call()
      local broken = stores.wrap(function() store:find('things', '999', { must = true }) end)
      refused('not_found', nil, broken)
    end
    call()
    stores.run(call)
  end)

  it('goes through wraps inside wraps, where tasks can be joined as well', function()
    local function call()
      return stores.wrap(function()
        return stores.wrap(function()
          local task = stores.spawn(function() return store:find('things', '4').n end)
          local both = stores.all({
            function() return store:find('things', '5').n end,
            function() return stores.run(function() return store:find('things', '6').n end) end,
          })
          return task:join() + both[1] + both[2]
        end)()
      end)()
    end
    assert.equal(15, call())
    assert.equal(15, stores.run(call))
  end)

  it('refuses to be called while it runs', function()
    local own
    own = stores.wrap(function() own() end)
    assert.has_error(own)
  end)
end)

describe('a coroutine that is dropped while it waits', function()
  local function drop(make)
    make()
    for _ = 1, 3 do collectgarbage() end
  end

  local function idle()
    local stats = store:stats()
    return stats.ops == 0 and stats.transactions == 0 and stats.pool_checked_out == 0
      and stats.pool_waiters == 0
  end

  it('rolls back its transaction and gives its connection back', function()
    drop(function()
      local step = stores.wrap(function()
        store:transaction(function(tx)
          tx:insert('things', { id = '500' })
          tx:updateProperty('things', '1', 'n', 99)
          coroutine.yield('in the middle')
        end)
      end)
      assert.equal('in the middle', step())
      assert.equal(1, store:stats().transactions)
    end)
    support.eventually(idle, 5, 'the transaction ends')
    assert.is_nil(store:find('things', '500'))
    assert.equal(1, store:find('things', '1').n)
    assert.equal(1, store:updateProperty('things', '1', 'n', 1, { timeout = 5 }).n)
  end)

  it('lets go of the row that its updateObject has locked', function()
    drop(function()
      local step = stores.wrap(function()
        store:updateObject('things', '2', function(document)
          document.n = 99
          coroutine.yield('in the middle')
        end)
      end)
      assert.equal('in the middle', step())
    end)
    support.eventually(idle, 5, 'the transaction ends')
    local document = store:updateObject('things', '2', function(doc) doc.m = doc.n end,
      { timeout = 5 })
    assert.same({ id = '2', n = 2, m = 2 }, document)
  end)

  it('leaves no call behind that it started', function()
    local hub = require('stores.wait').host.hub()
    local slots = {}
    for i = 1, 50 do
      slots[i] = store.engine:find('things', tostring(i), 5, false, false)
      slots[50 + i] = store.engine:write('upsert', 'things', tostring(700 + i), { i = i }, 5)
    end
    hub:turn(false)
    for _, slot in ipairs(slots) do hub:abandon(slot) end
    support.eventually(idle, 5, 'the calls end')
    assert.equal(0, hub:pending())
    store:query('DELETE FROM things WHERE id > 600')
  end)
end)

-- Runs a Lua program of its own process over the same database; gives what it printed.
local function program(body)
  local file = os.tmpname()
  local out = assert(io.open(file, 'w'))
  out:write(([[
    local stores = require('stores')
    local store = stores.Store.new({ host = %q, port = 5432, database = %q, user = %q,
      application_name = 'program' }, { path = %q, opts = { timeout = 2 } })
  ]]):format(db.host, db.database, db.user, support.redis().path), body)
  out:close()
  local pipe = assert(io.popen(('timeout 60 luajit %s 2>&1; echo status $?'):format(file)))
  local text = pipe:read('*a')
  pipe:close()
  os.remove(file)
  return text
end

describe('a program that ends while calls are under way', function()
  local function gone()
    return store:query("SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = "
      .. "'program' AND datname = current_database()", nil, { readonly = true })[1].n == 0
  end

  it('ends cleanly by itself', function()
    assert.equal('status 0\n', program([[
      stores.spawn(function() store:find('things', '1') end) -- nobody runs it
      store:find('things', '1')
    ]]))
    support.eventually(gone)
  end)

  it('ends cleanly by os.exit inside a coroutine, with the state closed or not', function()
    for _, close in ipairs({ 'true', 'false' }) do
      assert.equal('status 3\n', program([[
        stores.run(function()
          for i = 1, 50 do
            stores.spawn(function() store:query('SELECT pg_sleep(30)') end)
            stores.spawn(function() store:find('things', tostring(i)) end)
            stores.spawn(function()
              store:updateObject('things', '3', function(document)
                document.n = 99
                stores.sleep(30)
              end)
            end)
          end
          stores.sleep(0.05)
          os.exit(3, ]] .. close .. [[)
        end)
      ]]))
      -- a statement that runs on is ended by the server when it cannot answer
      support.psql(db, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE "
        .. "application_name = 'program' AND query LIKE '%pg_sleep%'")
      support.eventually(gone)
      assert.equal(3, store:find('things', '3').n)
    end
  end)

  it('shows an error of its tasks', function()
    local text = program([[
      stores.run(function() stores.spawn(function() error('nobody joined me') end) end)
    ]])
    assert.truthy(text:find('nobody joined me', 1, true), text)
    assert.truthy(text:find('status 1', 1, true), text)
  end)
end)

describe('a sleep that was given up', function()
  local hub = require('stores.wait').host.hub()

  it('is not woken any more, and nor is who has its number since', function()
    local given_up, use = hub:sleep(50)
    hub:abandon(given_up)
    hub:wake(given_up, use) -- harmless
    local next_one, its_use = hub:sleep(50)
    assert.equal(given_up, next_one)
    hub:wake(given_up, use)
    assert.is_false(hub:done(next_one))
    hub:wake(next_one, its_use)
    assert.is_true(hub:done(next_one))
    hub:wake(next_one, its_use) -- harmless again
    hub:result(next_one)
  end)
end)
