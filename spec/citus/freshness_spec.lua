--- What a cache may answer before a Citus cluster, where the coordinator and the worker that has a
--- row are two: one commits before the other, and the way between them may be slow, or lost.
-- Needs STORES_CITUS_URL; STORES_CITUS_CRASH=1 has it crash the coordinator, too.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local citus = require('spec.support.citus')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local LOOKS = 6 -- of a reader, 100 ms apart: he asks about what he meets after as long

local there = citus.there(it, function(why) return pending(why) end)

describe('before a Citus cluster the cache', function()
  local cluster, store, other, one, two

  -- Has the coordinator end what workers have prepared. Where it meets a link that is cut it fails,
  -- and its daemon does it: what comes of it is waited for.
  local function recover()
    pcall(cluster.psql, cluster, 'SELECT recover_prepared_transactions()')
  end

  local function open(opts) return stores.Store.new(cluster.db, support.redis(), opts) end

  setup(function()
    if not citus.is_there() then return end
    cluster = citus.start({ proxies = true })
    cluster:distributed('docs')
    one, two = unpack(cluster:ids_apart('docs'))
    one, two = tostring(one), tostring(two)
    store, other = open(), open()
  end)

  teardown(function()
    if not cluster then return end
    support.close(store)
    support.close(other)
    cluster:close()
  end)

  -- The Redis of the run serves this file alone.
  local function flush()
    local pipe = assert(io.popen(("redis-cli -s '%s' FLUSHALL"):format(support.redis().path)))
    assert(pipe:read('*a'):find('OK'))
    pipe:close()
  end

  local function n_of(reader, id) return reader:find('docs', id).n end

  -- Both rows, as everybody has them, and other has them from the cache.
  local function both(n)
    cluster.proxy:pass()
    recover()
    store:upsert('docs', { id = one, n = n })
    store:upsert('docs', { id = two, n = n })
    support.eventually(function()
      local before = other:stats().hits
      local known = n_of(other, one) == n and n_of(other, two) == n
      return known and other:stats().hits == before + 2
    end, 60, 'both rows in the cache')
  end

  -- Changes both rows, which are on two workers, in one transaction.
  local function change(n)
    return store:transaction(function(tx)
      for _, id in ipairs({ one, two }) do tx:update('docs', { id = id, n = n }) end
    end, { retries = 0 })
  end

  -- Reads both for a while, with what is there to be said of a row that is not changed yet.
  local function look(old, new)
    local seen = {}
    for _ = 1, LOOKS do
      for _, id in ipairs({ one, two }) do
        local n = n_of(other, id)
        assert.is_true(n == old or n == new, tostring(n))
        assert.is_true(n == new or seen[id] ~= new, 'a read went back')
        seen[id] = n
      end
      stores.sleep(0.1)
    end
    return seen
  end

  -- From now on everybody has this, and at last from the cache.
  local function settles(n)
    for _ = 1, LOOKS do
      for _, reader in ipairs({ store, other }) do
        assert.equal(n, n_of(reader, one))
        assert.equal(n, n_of(reader, two))
      end
      stores.sleep(0.02)
    end
    support.eventually(function()
      local before = other:stats().hits
      assert.equal(n, n_of(other, one))
      assert.equal(n, n_of(other, two))
      return other:stats().hits == before + 2
    end, 60, 'both rows in the cache')
  end

  there('waits for a worker that is told late, and not for the coordinator', function()
    both(1)
    cluster.proxy:at('hold', 'COMMIT PREPARED')
    local writer = stores.spawn(change, 2)
    cluster.proxy:reached()
    local seen = look(1, 2)
    assert.is_true(seen[one] == 1 or seen[two] == 1)
    cluster.proxy:pass()
    writer:join()
    settles(2)
  end)

  there('is not fooled by a writer that dies meanwhile', function()
    both(1)
    cluster.proxy:at('hold', 'COMMIT PREPARED')
    local writer = process.lua(([[
      local stores = require('stores')
      local db = { host = %q, port = %d, database = %q, user = %q }
      local store = stores.Store.new(db, { path = %q, opts = { timeout = 2 } })
      print('ready')
      store:transaction(function(tx)
        for _, id in ipairs({ %q, %q }) do tx:update('docs', { id = id, n = 2 }) end
      end)
    ]]):format(cluster.db.host, cluster.db.port, cluster.db.database, cluster.db.user,
      support.redis().path, one, two))
    assert(writer:line() == 'ready')
    cluster.proxy:reached()
    writer:kill()
    local seen = look(1, 2)
    assert.is_true(seen[one] == 1 or seen[two] == 1)
    cluster.proxy:pass()
    support.eventually(function() return n_of(other, one) == 2 and n_of(other, two) == 2 end, 60)
    settles(2)
  end)

  -- Whoever else uses the cluster loses his connections: the file is run alone then.
  there('is not fooled by a coordinator that dies between its commit and that of a worker',
    function()
      if not os.getenv('STORES_CITUS_CRASH') then
        return pending('skipped: STORES_CITUS_CRASH is not set')
      end
      both(1)
      cluster.proxy:at('hold', 'COMMIT PREPARED')
      local writer = stores.spawn(function() return pcall(change, 2) end)
      cluster.proxy:reached()
      local pid = cluster:psql('SELECT pid FROM pg_stat_activity WHERE datname ='
        .. " current_database() AND state = 'active' AND query LIKE 'COMMIT%'")
      assert(pid:match('^%d+$'), 'who commits: ' .. pid)
      assert(os.execute('kill -9 ' .. pid) == 0)
      local ok, err = writer:join()
      assert.is_true(ok or err.outcome == 'unknown')
      support.eventually(function() return pcall(cluster.psql, cluster, 'SELECT 1') end, 60)
      support.eventually(function()
        return pcall(n_of, other, one) and pcall(n_of, other, two)
      end, 60, 'the end of the recovery')
      look(1, 2)
      cluster.proxy:drop()
      support.eventually(function()
        recover()
        return n_of(other, one) == 2 and n_of(other, two) == 2
      end, 60)
      settles(2)
    end)

  there('keeps the intent of what was acknowledged with a warning, until the worker recovers',
    function()
      both(1)
      cluster.proxy:at('cut', 'COMMIT PREPARED')
      change(2)
      look(1, 2)
      recover()
      settles(2)
    end)

  there('is told by a row that is inserted late when that is there', function()
    store:delete('docs', one)
    store:delete('docs', two)
    cluster.proxy:at('cut', 'COMMIT PREPARED')
    store:transaction(function(tx)
      for _, id in ipairs({ one, two }) do tx:insert('docs', { id = id, n = 1 }) end
    end, { retries = 0 })
    for _ = 1, LOOKS do
      other:find('docs', one)
      other:find('docs', two)
      stores.sleep(0.1)
    end
    recover()
    settles(1)
  end)

  there('waits for every copy of a row of a reference table', function()
    cluster:psql("CREATE TABLE copied (id bigint PRIMARY KEY, value jsonb);"
      .. " SELECT create_reference_table('copied')")
    store:insert('copied', { id = '1', n = 1 })
    support.eventually(function()
      local before = other:stats().hits
      return other:find('copied', '1').n == 1 and other:stats().hits == before + 1
    end, 60, 'the row in the cache')
    cluster.proxy:at('cut', 'COMMIT PREPARED')
    store:update('copied', { id = '1', n = 2 })
    local last = 1
    for _ = 1, LOOKS do
      local n = other:find('copied', '1').n
      assert.is_true(n >= last, 'a read went back')
      last = n
      stores.sleep(0.1)
    end
    recover()
    support.eventually(function()
      local before = other:stats().hits
      assert.equal(2, store:find('copied', '1').n)
      assert.equal(2, other:find('copied', '1').n)
      return other:stats().hits == before + 1
    end, 60, 'the row in the cache again')
  end)

  there('stays turned while a worker has what a query wrote prepared', function()
    both(1)
    cluster.proxy:at('cut', 'COMMIT PREPARED')
    store:query("UPDATE docs SET value = value || '{\"n\": 2}'")
    look(1, 2)
    local prepared = cluster:psql("SELECT sum(result::int) FROM run_command_on_workers("
      .. "'SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()')")
    assert.is_true(prepared == '0' or #store:stats().turning == 1) -- its daemon may be quicker
    recover()
    support.eventually(function() return #store:stats().turning == 0 end, 60, 'the end of the turn')
    settles(2)
  end)

  for what, word in pairs({ hold = 'does not answer', cut = 'cannot be asked' }) do
    there('stays turned while a worker ' .. word, function()
      both(1)
      cluster.proxy:at(what, 'pg_locks')
      store:query("UPDATE docs SET value = value || '{\"n\": 2}'")
      cluster.proxy:reached()
      if what == 'hold' then
        look(2, 2)
        assert.equal(1, #store:stats().turning)
        cluster.proxy:pass()
      end
      support.eventually(function() return #store:stats().turning == 0 end, 60, 'its end')
      settles(2)
    end)
  end

  there('has no old row under load, while links to workers are cut and Redis is emptied', function()
    both(1)
    local ids, acked, stale, cuts, is_over = {}, {}, {}, 0, false
    for i = 1, 8 do
      ids[i] = tostring(1000 + i)
      store:upsert('docs', { id = ids[i], n = 0 })
      acked[ids[i]] = 0
    end
    local tasks = {}
    for i, id in ipairs(ids) do
      -- what is unknown may be there, and may not: the next one is greater than both
      tasks[#tasks + 1] = stores.spawn(function()
        local n = 0
        while not is_over do
          n = n + 1
          if pcall(store.update, store, 'docs', { id = id, n = n }) then acked[id] = n end
        end
      end)
      local reader = i % 2 == 0 and store or other
      tasks[#tasks + 1] = stores.spawn(function()
        local last = 0
        while not is_over do
          local least = math.max(acked[id], last)
          local ok, row = pcall(reader.find, reader, 'docs', id)
          if ok and row.n < least then
            stale[#stale + 1] = ('%s: %d < %d'):format(id, row.n, least)
          end
          if ok then last = row.n end
        end
      end)
    end
    local ends = store.hub:now() + 3
    while store.hub:now() < ends do
      stores.sleep(0.3)
      cluster.proxy:drop()
      cuts = cuts + 1
      if cuts % 2 == 0 then flush() end
    end
    is_over = true
    for _, task in ipairs(tasks) do task:join() end
    assert.same({}, stale)
    recover()
    for _, id in ipairs(ids) do
      local seen = {}
      local same = pcall(support.eventually, function()
        local truth = tonumber(cluster:psql("SELECT value->>'n' FROM docs WHERE id = " .. id))
        seen = { truth, n_of(store, id), n_of(other, id) }
        return truth and seen[2] == truth and seen[3] == truth
      end, 60)
      assert.is_true(same, table.concat(seen, ' '))
    end
  end)

  there('calls a COMMIT unknown that was on its way to a worker, and waits for that', function()
    both(1)
    cluster.proxy:at('late', 'COMMIT$')
    local err = support.refused('connection_lost', nil, store.update, store, 'docs',
      { id = one, n = 2 })
    assert.equal('unknown', err.outcome)
    assert.is_false(err.retryable)
    for _ = 1, LOOKS do
      assert.equal(1, n_of(other, one))
      stores.sleep(0.1)
    end
    cluster.proxy:pass()
    support.eventually(function() return n_of(other, one) == 2 end, 60, 'the late COMMIT')
    for _ = 1, LOOKS do
      assert.equal(2, n_of(other, one))
      assert.equal(2, n_of(store, one))
      stores.sleep(0.05)
    end
  end)

  there('calls a COMMIT unknown that a worker did, and whose answer was lost', function()
    both(1)
    cluster.proxy:at('answer', 'COMMIT$')
    local err = support.refused('connection_lost', nil, store.update, store, 'docs',
      { id = one, n = 2 })
    assert.equal('unknown', err.outcome)
    for _ = 1, LOOKS do
      assert.equal(2, n_of(other, one))
      stores.sleep(0.1)
    end
  end)

  there('calls a statement unknown that commits itself, and whose answer was lost', function()
    both(1)
    local lone = stores.Store.new(cluster.db, nil, { cache = false })
    cluster.proxy:at('answer', 'UPDATE')
    local err = support.refused('connection_lost', nil, lone.update, lone, 'docs',
      { id = one, n = 2 })
    assert.equal('unknown', err.outcome)
    assert.is_false(err.retryable)
    support.close(lone)
  end)
end)
