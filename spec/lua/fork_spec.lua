--- A fork: the store stays the parent's, the child may have one of its own, and neither harms the
--- other.

local fork = require('spec.support.fork')
local stores = require('stores')
local support = require('spec.support')

local ids, refused = support.ids, support.refused
local store, db

setup(function()
  store, db = support.store({ 'things' })
  for i = 1, 20 do store:insert('things', { id = tostring(i), n = i }) end
end)
teardown(function() support.close(store, db) end)

describe('a fork', function()
  setup(function()
    -- a cancel gives libuv's threads something to do: a child has them no more, nor may miss them
    refused('timeout', nil, store.query, store, 'SELECT pg_sleep(20)', nil, { timeout = 0.02 })
    support.eventually(function() return store:stats().pg_cancels > 0 end)
  end)

  -- Every verb in the child, and the codes of what they raise.
  local function try_all()
    local codes = {}
    for i, verb in ipairs({
      function() store:find('things', '1') end,
      function() store:insert('things', { id = '800' }) end,
      function() store:findByJSON('things', { n = 1 }) end,
      function() store:query('SELECT 1') end,
      function() store:updateObject('things', '1', function() end) end,
      function() store:transaction(function(tx) tx:find('things', '1') end) end,
      function() store:invalidate('things') end,
      function() store:generateId() end,
      function() store:stats() end,
      function() store:close() end,
    }) do
      local ok, err = pcall(verb)
      codes[i] = ok and 'ok' or type(err) == 'table' and err.code or tostring(err)
    end
    return table.concat(codes, ' ')
  end

  for how, exit in pairs(fork.endings) do
    it('leaves the store to the parent; the child raises, and ends ' .. how, function()
      -- the cancelled statement's connection may still be busy, and another one on its way for it
      support.eventually(function()
        store:find('things', '1', { cache = false })
        local stats = store:stats()
        return stats.pool_connecting == 0 and stats.pool_reading == 0
          and stats.pool_checked_out == 0
      end)
      local connects, lost = store:stats().pg_connects, store:stats().pg_lost
      assert.equal(('forked '):rep(10):sub(1, -2), fork.run(try_all, exit))
      for i = 1, 20 do
        assert.equal(i, store:find('things', tostring(i), { cache = false }).n)
        assert.equal(i, store:find('things', tostring(i)).n)
      end
      assert.is_nil(store:find('things', '800'))
      assert.equal(connects, store:stats().pg_connects)
      assert.equal(lost, store:stats().pg_lost)
    end)

    it('lets the child have a store of its own, and end ' .. how, function()
      local text = fork.run(function()
        local own = stores.Store.new(db, support.redis())
        assert(own:find('things', '1').n == 1)
        own:updateProperty('things', '4', 'child', true)
        local id = own:generateId()
        local total = 0
        stores.run(function()
          for _, n in ipairs(stores.map(ids(20), function(i) return own:find('things', i).n end)) do
            total = total + n
          end
        end)
        assert(total == 210, total)
        own:close()
        return id
      end, exit)
      assert.truthy(text:find('^%d+$'), text)
      assert.are_not.equal(text, store:generateId())
      assert.is_true(store:find('things', '4').child)
    end)
  end

  it('inside of run raises in the child, and the parent goes on', function()
    stores.run(function()
      local task = stores.spawn(function() return store:query('SELECT 5 AS n, pg_sleep(0.1)') end)
      stores.sleep(0.03)
      assert.equal('forked', fork.run(function()
        local _, err = pcall(store.find, store, 'things', '1')
        return err.code
      end, fork.endings['without a farewell']))
      assert.equal(5, task:join()[1].n)
    end)
  end)

  it('inside of run leaves those whose calls are done to the parent', function()
    local went_on, forked, is_child = {}, false, false
    local file = os.tmpname()
    local ok, err = pcall(stores.run, function()
      for i = 1, 8 do
        stores.spawn(function()
          local _, found = pcall(store.find, store, 'things', tostring(i))
          went_on[#went_on + 1] = found
          if forked then return end
          forked = true
          pcall(fork.run, function()
            is_child, went_on = true, {}
            local own = stores.Store.new(db, support.redis())
            own:find('things', '1') -- which leaves the coroutine
          end, fork.endings['without a farewell'])
        end)
      end
    end)
    if is_child then
      local out = io.open(file, 'w')
      out:write(('%d %s'):format(#went_on, ok and 'ended' or err.code))
      out:close()
      fork.endings['without a farewell']()
    end
    assert(ok, err)
    assert.equal(8, #went_on)
    for _, found in ipairs(went_on) do assert.equal(tostring(found.n), found.id) end
    local input = io.open(file)
    assert.equal('0 forked', input:read('*a'))
    input:close()
    os.remove(file)
  end)
end)
