--- stores.run, spawn, all and map: tasks wait side by side, and no error of one is lost.

local stores = require('stores')
local support = require('spec.support')

local ids, refused = support.ids, support.refused
local store, db

setup(function()
  store, db = support.store({ 'things' })
  for i = 1, 20 do store:insert('things', { id = tostring(i), n = i }) end
end)
teardown(function() support.close(store, db) end)

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
    local err = refused('self_deadlock', 'do tasks join each other', stores.run, function()
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

describe('the lists of stores.all and stores.map', function()
  it('are arrays, and give arrays', function()
    local function one() return 1 end
    refused('invalid_argument', 'without gaps', stores.all, { a = one })
    refused('invalid_argument', 'without gaps', stores.map, { a = 1 }, one)
    refused('invalid_argument', 'without gaps', stores.map, { 1, 2, [5] = 5 }, one)
    for _, list in ipairs({ stores.all({}), stores.map({}, one) }) do
      assert.equal('[]', stores.json.encode(list))
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
