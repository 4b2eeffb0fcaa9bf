--- Where a call waits: it blocks outside coroutines, and waits as one inside them. Those of tasks:
--- tasks_spec; those of stores.wrap: wrap_spec.

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
    -- both have their connections: to open one may take a busy machine its time
    stores.all({ function() store:query('SELECT pg_sleep(0.05)') end,
      function() store:find('things', '1') end })
    stores.run(function()
      local slow = stores.spawn(function()
        store:query('SELECT pg_sleep(1)')
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

  it('goes on waiting where somebody else resumes its coroutine meanwhile', function()
    for _, call in ipairs({
      function() return store:find('things', '7').n end, -- which waits by itself
      function() return store:find('things', '7', { must = true }).n end,
    }) do
      local found
      stores.run(function()
        local waits = true
        local co
        local task = stores.spawn(function()
          co = coroutine.running()
          stores.sleep(0)
          found = call()
          waits = false
        end)
        stores.spawn(function()
          stores.sleep(0) -- behind that one
          for _ = 1, 3 do
            if waits then assert.is_true(coroutine.resume(co, 1, nil, 'stray')) end
          end
          assert.is_nil(found)
        end):join()
        task:join()
      end)
      assert.equal(7, found)
    end
  end)

  it('gives its own row to who was led out of a call before by an error of a hook', function()
    support.psql(db, 'CREATE TABLE others (id bigint PRIMARY KEY, value jsonb)')
    for i = 1, 20 do store:find('things', tostring(i)) end
    jit.off() -- compiled code calls no hook
    finally(jit.on)
    local function round(n)
      local co
      local task = stores.spawn(function()
        co = coroutine.running()
        stores.sleep(0)
        -- in no cache: those of the loop come sooner
        local ok, err = pcall(store.find, store, 'others', tostring(n))
        assert(not ok and err == 'long enough', err)
        for i = 1, 20 do assert.equal(i, store:find('things', tostring(i)).n) end
      end)
      stores.spawn(function()
        stores.sleep(0)
        debug.sethook(function()
          if coroutine.running() ~= co then return end
          debug.sethook()
          error('long enough', 0)
        end, '', 1)
        assert(coroutine.resume(co))
      end):join()
      task:join()
    end
    stores.run(function()
      for n = 1, 20 do round(n) end
    end)
  end)

  it('gives its own row to each of many coroutines, of which some yield and some park', function()
    local found = 0
    stores.run(function()
      local sleeper = stores.spawn(function() stores.sleep(0.01) end)
      for i = 1, 200 do
        stores.spawn(function()
          for n = 1, 5 do
            local id = tostring((i + n) % 20 + 1)
            assert.equal(tonumber(id), store:find('things', id).n)
            if i % 3 == 0 then coroutine.yield('something else') end
            if i % 5 == 0 then sleeper:join() end
            found = found + 1
          end
        end)
      end
    end)
    assert.equal(1000, found)
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

describe('stores.sleep', function()
  it('ends on time beside one that sleeps much longer, also after work that took longer', function()
    local hub = require('stores.wait').host.hub()
    local late = false
    stores.run(function()
      stores.spawn(function()
        stores.sleep(3)
        late = true
      end)
      stores.sleep(0)
      stores.spawn(function()
        local busy_until = hub:now() + 0.02
        repeat until hub:now() > busy_until -- the timer of the next one is due by then
      end)
      stores.sleep(0.005)
      assert.is_false(late)
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
