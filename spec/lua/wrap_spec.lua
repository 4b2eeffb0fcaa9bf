--- stores.wrap: waits go through it, and yields to its caller; one that is dropped in the middle of
--- a call harms nobody.

local stores = require('stores')
local support = require('spec.support')

local ids, refused = support.ids, support.refused
local store, db

setup(function()
  store, db = support.store({ 'things' })
  for i = 1, 20 do store:insert('things', { id = tostring(i), n = i }) end
end)
teardown(function() support.close(store, db) end)

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
    support.eventually(idle, 20, 'the transaction ends')
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
    support.eventually(idle, 20, 'the transaction ends')
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
    support.eventually(idle, 20, 'the calls end')
    assert.equal(0, hub:pending())
    store:query('DELETE FROM things WHERE id > 600')
  end)
end)
