--- Intents whose writer is gone: readers ask PostgreSQL, not a clock, whether its transaction is
--- over.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local gate = require('spec.support.gate')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('an intent', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs' })
    gate.install(store)
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
  end)

  teardown(function() support.close(store, db) end)

  local last = 0
  local function stored(n)
    last = last + 1
    local id = tostring(last)
    keys:ready(store, 'public.docs')
    store:insert('docs', { id = id, n = n })
    keys:becomes('public.docs', id, 'V')
    return id
  end

  local function entry(xid, letter)
    return (letter or 'a'):rep(16) .. bit.tohex(tonumber(xid), 16)
  end

  local function place(id, ...)
    local text = select('#', ...) == 1 and 'T=' or 'T+'
    for _, one in ipairs({ ... }) do text = text .. one end
    keys.cli('SET', keys:key('public.docs', id), text)
    return text
  end

  -- The number of a transaction that is over.
  local function dead_xid()
    return (support.psql(db, 'SELECT pg_current_xact_id()'):match('%d+'))
  end

  local function resolved()
    return store:stats().settles_resolved
  end

  -- Finds until the row is cached again; every answer on the way is right.
  local function comes_back(id, n)
    support.eventually(function()
      assert.equal(n, store:find('docs', id).n)
      return (keys:row('public.docs', id) or ''):sub(1, 1) == 'V'
    end, 20, 'the row to be cached again')
    assert.equal(n, store:find('docs', id).n)
  end

  -- Calls fn with the number of a transaction that is under way meanwhile.
  local function with_live(fn)
    stores.run(function()
      local over, xid = false, nil
      local task = stores.spawn(function()
        store:transaction(function(tx)
          xid = tx:query('SELECT pg_current_xact_id()::text AS xid', nil,
            { readonly = true })[1].xid
          while not over do stores.sleep(0.01) end
        end)
      end)
      support.eventually(function() return xid end)
      local ok, err = pcall(fn, xid)
      over = true
      task:join()
      if not ok then error(err, 0) end
    end)
  end

  it('of nobody is taken out when it is seen again 100 ms later, and not before', function()
    local id, text, before
    -- a machine that is busy elsewhere may make 100 ms of it
    support.eventually(function()
      id, before = stored(1), resolved()
      text = place(id, entry(dead_xid()))
      local began = store.hub:now()
      for _ = 1, 10 do assert.equal(1, store:find('docs', id).n) end
      return store.hub:now() - began < 0.08
    end, 60)
    stores.sleep(0.01)
    assert.equal(before, resolved())
    assert.equal(text, keys:row('public.docs', id))
    -- nobody looks, so nothing happens
    stores.sleep(0.15)
    assert.equal(text, keys:row('public.docs', id))
    assert.equal(1, store:find('docs', id).n)
    support.eventually(function() return resolved() == before + 1 end)
    assert.is_nil(keys:row('public.docs', id))
    comes_back(id, 1)
  end)

  it('of a transaction that is under way stays, however often it is seen', function()
    local id, before = stored(1), resolved()
    with_live(function(xid)
      local text = place(id, entry(xid))
      for _ = 1, 5 do
        assert.equal(1, store:find('docs', id).n)
        stores.sleep(0.11)
      end
      assert.equal(text, keys:row('public.docs', id))
      assert.equal(before, resolved())
    end)
    comes_back(id, 1)
  end)

  it('of a transaction of which the server has never heard is over', function()
    local id = stored(1)
    place(id, ('a'):rep(16) .. '7fffffffffffffff')
    comes_back(id, 1)
    place(id, ('a'):rep(16) .. '0000000000000000')
    comes_back(id, 1)
  end)

  it('is taken out alone, where there are others', function()
    local id = stored(1)
    with_live(function(xid)
      local live = entry(xid, 'l')
      place(id, entry(dead_xid(), 'd'), live, entry(dead_xid(), 'e'))
      support.eventually(function()
        store:find('docs', id)
        return keys:row('public.docs', id) == 'T+' .. live
      end)
    end)
    comes_back(id, 1)
  end)

  it('of nobody does not keep later writers from being seen', function()
    local id = stored(1)
    place(id, entry(dead_xid()))
    store:update('docs', { id = id, n = 2 })
    assert.equal(2, store:find('docs', id).n)
    store:update('docs', { id = id, n = 3 })
    comes_back(id, 3)
  end)

  it('that is none at all is not believed', function()
    local id = stored(1)
    for _, text in ipairs({ 'T', 'T=', 'T=short', 'T+' .. ('x'):rep(40), 'X', 'L',
      '{"n": 666}' }) do
      keys.cli('SET', keys:key('public.docs', id), text)
      assert.equal(1, store:find('docs', id).n)
    end
    keys.cli('DEL', keys:key('public.docs', id))
  end)

  local function child_that_writes(id)
    return process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = 5432, database = %q, user = 'postgres' },
        { path = %q, opts = { timeout = 2 } })
      store:transaction(function(tx)
        -- a server that looks for clients that died would end it within a second
        tx:query("SELECT set_config('client_connection_check_interval', '0', false)", nil,
          { readonly = true })
        print(tx:query('SELECT pg_backend_pid() AS pid', nil, { readonly = true })[1].pid)
        tx:update('docs', { id = %q, n = 2 })
        tx:insert('gate', { id = store:generateId() })
      end)
    ]]):format(db.host, db.database, support.redis().path, id))
  end

  it('of a writer killed inside its COMMIT covers the commit that comes late', function()
    local id, before = stored(1), resolved()
    stores.run(function()
      local closed = gate.close(db)
      local child = child_that_writes(id)
      assert(child:line())
      keys:becomes('public.docs', id, 'T=')
      closed:holds_somebody_up()
      child:kill()
      for _ = 1, 4 do
        assert.equal(1, store:find('docs', id).n)
        stores.sleep(0.11)
      end
      keys:becomes('public.docs', id, 'T=')
      assert.equal(before, resolved())
      closed:release()
    end)
    support.eventually(function() return store:find('docs', id).n == 2 end)
    comes_back(id, 2)
    assert.equal(before + 1, resolved())
  end)

  it('of a writer killed inside its COMMIT that never happened goes as well', function()
    local id, before = stored(1), resolved()
    stores.run(function()
      local closed = gate.close(db)
      local child = child_that_writes(id)
      local pid = child:line()
      keys:becomes('public.docs', id, 'T=')
      child:kill()
      support.psql(db, ('SELECT pg_terminate_backend(%s)'):format(pid))
      comes_back(id, 1)
      closed:release()
    end)
    assert.equal(before + 1, resolved())
    comes_back(id, 1)
  end)

  it('of a writer whose connection was cut inside its COMMIT is settled by what became of it',
  function()
    local id = stored(1)
    stores.run(function()
      local closed = gate.close(db)
      local pid
      local writer = gate.write(store, function(tx)
        pid = tx:query('SELECT pg_backend_pid() AS pid', nil, { readonly = true })[1].pid
        tx:update('docs', { id = id, n = 2 })
      end)
      keys:becomes('public.docs', id, 'T=')
      support.psql(db, ('SELECT pg_terminate_backend(%d)'):format(pid))
      local ok, err = pcall(writer.join, writer)
      assert.is_false(ok)
      assert.equal('none', err.outcome)
      closed:release()
    end)
    comes_back(id, 1)
  end)
end)
