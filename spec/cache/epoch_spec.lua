--- Epochs: what a cache that lost its memory, or got back an old one, may still answer.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local gate = require('spec.support.gate')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('the epoch of a table', function()
  local server, db, store, keys

  local function open()
    return stores.Store.new(db, server:config(), { log = function() end })
  end

  setup(function()
    server = redis.start()
    db = support.db()
    store = open()
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    gate.install(store)
    keys = cache.of(db, server.socket)
    keys:ready(store, 'public.docs')
  end)

  teardown(function()
    support.close(store, db)
    server:remove()
  end)

  local last = 0
  local function cached(n)
    last = last + 1
    local id = tostring(last)
    support.eventually(function() -- what the spec before turned may be turned once more
      for _, name in ipairs({ 'public.docs', 'public.gate' }) do keys:ready(store, name) end
      return #store:stats().turning == 0
    end, 60, 'an end of all turns')
    store:insert('docs', { id = id, n = n })
    support.eventually(function() -- or what was started again knows it no more
      store:find('docs', id)
      return (keys:row('public.docs', id) or ''):find('^V')
    end, 60, 'the row in the cache')
    return id
  end

  -- The server's row, behind the back of the cache: who reads n from now on read the cache.
  local function change(id, n)
    support.psql(db, ("UPDATE docs SET value = '{\"n\": %d}' WHERE id = %s"):format(n, id))
  end

  local function up(one)
    support.eventually(function() return (one or store):stats().redis_up == 1 end)
  end

  it('is turned when it is missing, and nothing under the lost one counts', function()
    local id = cached(1)
    local lost, key = keys:epoch('public.docs'), keys:key('public.docs', id)
    change(id, 2)
    assert.equal(1, store:find('docs', id).n)
    keys.cli('DEL', keys:epoch_key('public.docs'))
    for _ = 1, 5 do assert.equal(2, store:find('docs', id).n) end
    local epoch = keys:turned('public.docs', lost)
    assert.equal('V{"n": 1, "id": "' .. id .. '"}', keys.cli('GET', key))
    assert.not_equal(lost, epoch)
    for _ = 1, 5 do assert.equal(2, store:find('docs', id).n) end
    keys:becomes('public.docs', id, 'V{"n": 2')
  end)

  it('goes through B, under which rows come from PostgreSQL and nobody waits', function()
    local id = cached(1)
    stores.run(function()
      local closed = gate.close(db)
      local writer = gate.write(store, function(tx) tx:update('docs', { id = id, n = 2 }) end)
      keys:becomes('public.docs', id, 'T=')
      server:cli('FLUSHALL')
      for _ = 1, 20 do
        local began = store.hub:now()
        assert.equal(1, store:find('docs', id).n)
        assert.is_true(store.hub:now() - began < 5) -- the gate is closed all the while
        stores.sleep(0.01)
      end
      -- the writer put its intent under the lost epoch, and has not committed
      assert.matches('^B', keys:epoch('public.docs'))
      assert.is_nil(keys:row('public.docs', id))
      local turning = store:stats().turning
      local found
      for _, turn in ipairs(turning) do
        if turn.table:find('docs', 1, true) then found = turn end
      end
      assert.is_true(found.seconds > 0.1)
      assert.matches('%d+/%d+', found.waits_for)
      closed:release()
      writer:join()
      for _ = 1, 20 do assert.equal(2, store:find('docs', id).n) end
    end)
    keys:ready(store, 'public.docs')
    assert.equal(2, store:find('docs', id).n)
  end)

  it('waits for a writer that may use the older one, also one that cannot name its rows', function()
    local id = cached(1)
    stores.run(function()
      local closed = gate.close(db)
      local writer = gate.write(store, function(tx)
        tx:query("UPDATE docs SET value = '{\"n\": 2}' WHERE id = $1", { id })
      end, true)
      support.eventually(function() return keys:epoch('public.docs'):sub(1, 1) == 'B' end)
      -- an invalidation turns it once more, while that writer is still on its way
      store:invalidate('docs')
      stores.sleep(0.3)
      assert.matches('^B', keys:epoch('public.docs'))
      assert.equal(1, store:find('docs', id).n)
      closed:release()
      writer:join()
      assert.equal(2, store:find('docs', id).n)
    end)
    keys:ready(store, 'public.docs')
    assert.equal(2, store:find('docs', id).n)
  end)

  it('does not wait for a transaction that began after it was turned', function()
    local id = cached(1)
    local lost = keys:epoch('public.docs')
    keys.cli('DEL', keys:epoch_key('public.docs'))
    store:find('docs', id)
    stores.run(function()
      local closed = gate.close(db)
      keys:turned('public.docs', lost)
      local writer = gate.write(store, function(tx) tx:update('docs', { id = id, n = 2 }) end)
      keys:becomes('public.docs', id, 'T=')
      assert.matches('^V', keys:epoch('public.docs'))
      closed:release()
      writer:join()
    end)
    assert.equal(2, store:find('docs', id).n)
  end)

  it('is ended by anyone who sees that somebody began to turn it', function()
    local id = cached(1)
    local epoch = keys:epoch('public.docs')
    local begun = ('x'):rep(16) .. epoch:sub(18)
    local ended = store:stats().turns_ended
    keys.cli('SET', keys:epoch_key('public.docs'), 'B' .. begun)
    assert.equal(1, store:find('docs', id).n)
    assert.equal('V' .. begun, keys:turned('public.docs', 'B' .. begun))
    support.eventually(function() return store:stats().turns_ended == ended + 1 end)
  end)

  it('is ended when the process that turned it was killed inside its COMMIT', function()
    local id = cached(1)
    local lost = keys:epoch('public.docs')
    stores.run(function()
      local closed = gate.close(db)
      local child = process.lua(([[
        local stores = require('stores')
        local store = stores.Store.new({ host = %q, port = 5432, database = %q, user = 'postgres' },
          { path = %q })
        store:transaction(function(tx)
          -- a server that looks for clients that died would end it; not every server can
          tx:query("SELECT set_config('client_connection_check_interval', '0', false)")
          tx:query("UPDATE docs SET value = '{\"n\": 2}' WHERE id = $1", { %q })
          tx:query('INSERT INTO gate_raw DEFAULT VALUES')
          print('commits')
        end)
      ]]):format(db.host, db.database, server.socket, id))
      assert.equal('commits', child:line())
      support.eventually(function() return keys:epoch('public.docs'):sub(1, 1) == 'B' end)
      closed:holds_somebody_up()
      child:kill()
      for _ = 1, 10 do
        assert.equal(1, store:find('docs', id).n)
        stores.sleep(0.02)
      end
      -- its backend does not know yet that nobody listens any more, and commits
      assert.matches('^B', keys:epoch('public.docs'))
      closed:release()
      keys:turned('public.docs', lost)
    end)
    -- the one who ended the turn may hear of it after us, and fills nothing until then
    support.eventually(function()
      assert.equal(2, store:find('docs', id).n)
      return (keys:row('public.docs', id) or ''):find('^V{"n": 2')
    end, 60)
  end)

  it('is ended once by two engines that see it', function()
    local id = cached(1)
    local other = open()
    keys:ready(other, 'public.docs')
    local begun = ('y'):rep(16) .. keys:epoch('public.docs'):sub(18)
    keys.cli('SET', keys:epoch_key('public.docs'), 'B' .. begun)
    stores.run(function()
      for _, one in ipairs({ store, other, store, other }) do
        stores.spawn(function() assert.equal(1, one:find('docs', id).n) end)
      end
    end)
    assert.equal('V' .. begun, keys:turned('public.docs', 'B' .. begun))
    assert.equal(1, other:find('docs', id).n)
    support.close(other)
  end)

  it('of an older version counts, and rows stand where that version has them', function()
    local id = cached(1)
    local epoch = keys:epoch('public.docs')
    local older = ('z'):rep(16) .. epoch:sub(18, -2)
    local key = ('%s/%s/%s'):format(keys:epoch_key('public.docs'), older, id)
    keys.cli('SET', keys:epoch_key('public.docs'), 'B' .. older)
    assert.equal(1, store:find('docs', id).n)
    assert.equal('V' .. older, keys:turned('public.docs', 'B' .. older))
    support.eventually(function() -- what was announced under B is not published
      store:update('docs', { id = id, n = 2 })
      return keys.cli('GET', key):find('"n": 2')
    end)
    keys.cli('SET', key, 'V{"n": 3}')
    support.eventually(function() return store:find('docs', id).n == 3 end)
    store:invalidate('docs', id)
    assert.equal('', keys.cli('GET', key))
    store:invalidate('docs')
    assert.matches('%+$', keys:turned('public.docs', 'V' .. older))
    assert.equal(2, store:find('docs', id).n)
  end)

  it('of an older version has rows held in memory, too, and writers tell those who do', function()
    store:query('CREATE TABLE kept (id bigint PRIMARY KEY, value jsonb)')
    keys:ready(store, 'public.kept')
    local id = store:insert('kept', { n = 1 }).id
    local holder = stores.Store.new(db, server:config(), { hold = { 'kept' } })
    local function held()
      support.eventually(function()
        local before = holder:stats().held_hits
        holder:find('kept', id)
        return holder:stats().held_hits > before
      end)
    end
    held() -- the mark that it needs turns the table
    local older = ('w'):rep(16) .. keys:epoch('public.kept'):sub(18, -2)
    keys.cli('SET', keys:epoch_key('public.kept'), 'B' .. older)
    assert.equal(1, store:find('kept', id).n)
    keys:turned('public.kept', 'B' .. older)
    held()
    assert.equal('V' .. older, keys:epoch('public.kept'))
    stores.run(function() store:update('kept', { id = id, n = 2 }) end)
    assert.equal(2, holder:find('kept', id).n)
    held()
    support.close(holder)
  end)

  it('is nobody\'s when it is of another Redis, or is no epoch at all', function()
    local id = cached(1)
    local epoch = keys:epoch('public.docs')
    local foreign = epoch:sub(1, 17) .. '.' .. ('0'):rep(16) .. epoch:match('%.%x+%+$')
    for _, forged in ipairs({ foreign, 'V', 'x', epoch .. '0', 'V' .. ('z'):rep(100) }) do
      local key = keys:key_under('public.docs', id, forged)
      keys.cli('SET', key, 'V{"n": 666}')
      keys.cli('SET', keys:epoch_key('public.docs'), forged)
      for _ = 1, 3 do assert.equal(1, store:find('docs', id).n) end
      keys:turned('public.docs', forged)
      assert.equal(1, store:find('docs', id).n)
      keys.cli('DEL', key)
    end
  end)

  it('is nobody\'s when it is of another timeline of PostgreSQL', function()
    local id = cached(1)
    local epoch = keys:epoch('public.docs')
    for _, timeline in ipairs({ 'FFFFFFFF', '00000000' }) do
      local forged = epoch:sub(1, -10) .. timeline .. '+'
      assert.equal(#epoch, #forged)
      local key = keys:key_under('public.docs', id, forged)
      keys.cli('SET', key, 'V{"n": 666}')
      keys.cli('SET', keys:epoch_key('public.docs'), forged)
      for _ = 1, 3 do assert.equal(1, store:find('docs', id).n) end
      support.eventually(function()
        assert.equal(1, store:find('docs', id).n)
        local now = keys:epoch('public.docs')
        return now:sub(1, 1) == 'V' and now:sub(-9) == epoch:sub(-9)
      end)
      keys.cli('DEL', key)
    end
  end)

  it('is another one after Redis was started again, empty', function()
    local id = cached(1)
    local lost = keys:epoch('public.docs')
    server:kill()
    change(id, 2)
    for _ = 1, 5 do assert.equal(2, store:find('docs', id).n) end
    server:start()
    up()
    keys:ready(store, 'public.docs')
    assert.not_equal(lost:match('%.(%x+)%.'), keys:epoch('public.docs'):match('%.(%x+)%.'))
    assert.equal(2, store:find('docs', id).n)
    keys:becomes('public.docs', id, 'V{"n": 2')
  end)

  it('is another one after Redis was started again from an old dump', function()
    local id, gone = cached(1), cached(1)
    server:save()
    store:update('docs', { id = id, n = 2 })
    store:delete('docs', gone)
    keys:becomes('public.docs', gone, 'N')
    server:kill()
    server:start()
    assert.equal('V{"n": 1, "id": "' .. id .. '"}', keys:row('public.docs', id))
    -- a process that knew it before, and one that meets it now
    local other = open()
    for _ = 1, 5 do
      for _, one in ipairs({ store, other }) do
        assert.equal(2, one:find('docs', id).n)
        assert.is_nil(one:find('docs', gone))
      end
    end
    up()
    keys:ready(store, 'public.docs')
    assert.equal(2, other:find('docs', id).n)
    assert.is_nil(other:find('docs', gone))
    support.close(other)
    server:forget()
  end)

  it('leaves keys behind that a sweep finds and removes', function()
    local id = cached(1)
    local dead, lost = keys:key('public.docs', id), keys:epoch('public.docs')
    store:invalidate('docs')
    keys:turned('public.docs', lost)
    store:find('docs', id)
    keys:becomes('public.docs', id, 'V')
    assert.equal('1', keys.cli('EXISTS', dead))
    assert.is_true(store:sweep() >= 1)
    assert.equal('0', keys.cli('EXISTS', dead))
    keys:becomes('public.docs', id, 'V')
    assert.equal(0, store:sweep())
  end)

  it('covers a writer that was under way when Redis was started again', function()
    local id = cached(1)
    stores.run(function()
      local closed = gate.close(db)
      local writer = gate.write(store, function(tx) tx:update('docs', { id = id, n = 2 }) end)
      keys:becomes('public.docs', id, 'T=')
      server:kill()
      server:start()
      up()
      -- who finds no epoch begins a turn, once the loss of the link is known
      support.eventually(function()
        assert.equal(1, store:find('docs', id).n)
        return (keys:epoch('public.docs') or ''):find('^B')
      end, 20, 'a turn')
      for _ = 1, 20 do
        assert.equal(1, store:find('docs', id).n)
        stores.sleep(0.01)
      end
      assert.matches('^B', keys:epoch('public.docs'))
      closed:release()
      writer:join()
      for _ = 1, 10 do assert.equal(2, store:find('docs', id).n) end
    end)
    keys:ready(store, 'public.docs')
    assert.equal(2, store:find('docs', id).n)
  end)
end)
