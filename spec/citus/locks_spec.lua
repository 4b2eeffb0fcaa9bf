--- What a Citus cluster asks of who writes to it: locks that a shard takes along when it moves,
-- limits that reach the workers, keys that cascade on them, and a coordinator to talk to.
-- Needs STORES_CITUS_URL.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local citus = require('spec.support.citus')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local there = citus.there(it, function(why) return pending(why) end)

describe('on a Citus cluster', function()
  local cluster, store, other

  setup(function()
    if not citus.is_there() then return end
    cluster = citus.start()
    cluster:distributed('docs', 'parents')
    cluster:psql([[
      CREATE TABLE children (id bigint PRIMARY KEY REFERENCES parents ON DELETE CASCADE,
        value jsonb);
      SELECT create_distributed_table('children', 'id');
      CREATE TABLE toys (id bigint PRIMARY KEY REFERENCES children ON DELETE CASCADE, value jsonb);
      SELECT create_distributed_table('toys', 'id')]])
    store = stores.Store.new(cluster.db, support.redis())
    other = stores.Store.new(cluster.db, support.redis())
  end)

  teardown(function()
    if not cluster then return end
    support.close(store)
    support.close(other)
    cluster:close()
  end)

  -- Other has these rows from the cache.
  local function cached(names, id)
    support.eventually(function()
      local before = other:stats().hits
      for _, name in ipairs(names) do other:find(name, id) end
      return other:stats().hits == before + #names
    end, 60, 'rows in the cache')
  end

  for what, delete in pairs({
    ['a delete'] = function(id) store:delete('parents', id) end,
    ['a query'] = function(id) store:query('DELETE FROM parents WHERE id = $1', { id }) end,
  }) do
    there(what .. ' is told of all rows that it takes with it, by keys on the workers', function()
      local family = { 'parents', 'children', 'toys' }
      for _, name in ipairs(family) do store:insert(name, { id = '1' }) end
      cached(family, '1')
      delete('1')
      for _ = 1, 5 do
        for _, name in ipairs(family) do
          assert.is_nil(other:find(name, '1'))
          assert.is_nil(store:find(name, '1'))
        end
      end
    end)
  end

  -- Changes eight rows by functions, many at a time, until fn is over: no change is lost.
  local function none_lost(fn)
    local ids, acked, is_over, tasks = {}, {}, false, {}
    for i = 1, 8 do
      ids[i] = tostring(100 + i)
      acked[ids[i]] = 0
      store:upsert('docs', { id = ids[i], n = 0 })
    end
    for i = 1, 16 do
      local writer = i % 2 == 0 and store or other
      tasks[i] = stores.spawn(function()
        while not is_over do
          local id = ids[math.random(#ids)]
          local done, err = pcall(writer.updateObject, writer, 'docs', id,
            function(row) row.n = row.n + 1 end)
          assert(done or err.outcome == 'none', tostring(err))
          if done then acked[id] = acked[id] + 1 end
        end
      end)
    end
    local ok, err = pcall(fn)
    is_over = true
    for _, task in ipairs(tasks) do task:join() end
    assert(ok, err)
    local total = 0
    for _, id in ipairs(ids) do
      total = total + acked[id]
      local truth = tonumber(cluster:psql("SELECT value->>'n' FROM docs WHERE id = " .. id))
      assert.equal(acked[id], truth)
      assert.equal(truth, store:find('docs', id).n)
      assert.equal(truth, other:find('docs', id).n)
    end
    assert.is_true(total > 0)
  end

  -- SQL in a psql of its own, while this process goes on.
  local function run(sql)
    local out = os.tmpname()
    local file = assert(io.open(out .. '.sql', 'w'))
    file:write(sql)
    file:close()
    local db = cluster.db
    local psql = process.start({ 'psql', '-XAtq', '-h', db.host, '-p', tostring(db.port), '-U',
      db.user, '-d', db.database, '-f', out .. '.sql' }, out .. '.errors')
    support.eventually(function()
      local stat = io.open('/proc/' .. psql.pid .. '/stat')
      local state = stat and stat:read('*a'):match('%) (%a)')
      if stat then stat:close() end
      return not state or state == 'Z'
    end, 120, sql)
    local text = psql:wait()
    local errors = io.open(out .. '.errors')
    text = text .. errors:read('*a')
    errors:close()
    for _, suffix in ipairs({ '', '.sql', '.errors' }) do os.remove(out .. suffix) end
    assert.is_nil(text:find('ERROR'), text)
  end

  for _, mode in ipairs({ 'block_writes', 'force_logical' }) do
    there('no change by a function is lost while shards move: ' .. mode, function()
      none_lost(function()
        for _ = 1, mode == 'block_writes' and 3 or 1 do
          run(("SELECT citus_move_shard_placement(p.shardid, p.nodename, p.nodeport, q.nodename,"
            .. " q.nodeport, '%s') FROM pg_dist_shard_placement p JOIN pg_dist_node q"
            .. " ON q.groupid <> 0 AND q.nodeport <> p.nodeport WHERE p.shardid ="
            .. " get_shard_id_for_distribution_column('docs', %d::bigint)"):format(mode,
            100 + math.random(8)))
        end
      end)
    end)
  end

  there('a function that locks a row while it calls verbs does not wait for a worker', function()
    for _, id in ipairs({ '1', '2' }) do store:upsert('docs', { id = id, n = 0 }) end
    local began = store.hub:now()
    local tasks = {}
    local locked = false
    tasks[1] = stores.spawn(function()
      store:updateObject('docs', '1', function(row)
        locked = true
        stores.sleep(0.02)
        store:update('docs', { id = '2', n = 1 })
        row.n = row.n + 1
      end)
    end)
    support.eventually(function() return locked end)
    -- of one tick, and so of one segment: one of them waits for the row
    for i = 2, 5 do
      tasks[i] = stores.spawn(store.update, store, 'docs', { id = i == 3 and '1' or '2', n = 5 })
    end
    for _, task in ipairs(tasks) do task:join() end
    assert.is_true(store.hub:now() - began < 10)
  end)

  there('conflicts that a worker finds at COMMIT are conflicts', function()
    local ids = cluster:ids_together('docs')
    for _, id in ipairs(ids) do store:upsert('docs', { id = id, n = 0 }) end
    local codes = {}
    local function begin(reads, writes)
      return stores.spawn(function()
        local done, err = pcall(store.transaction, store, function(tx)
          tx:find('docs', reads)
          stores.sleep(0.2)
          tx:update('docs', { id = writes, n = 1 })
          stores.sleep(0.2)
        end, { isolation = 'serializable', retries = 0 })
        codes[#codes + 1] = done and 'done' or err.code
        if not done then
          assert.equal('none', err.outcome)
          assert.is_true(err.retryable)
        end
      end)
    end
    local tasks = { begin(ids[1], ids[2]), begin(ids[2], ids[1]) }
    for _, task in ipairs(tasks) do task:join() end
    table.sort(codes)
    assert.same({ 'done', 'serialization' }, codes)
  end)

  there('a store that is connected to a worker has no cache, and says so', function()
    local said = {}
    local function open(opts)
      opts.log = function(text) said[#said + 1] = text end
      return stores.Store.new(cluster.workers[1], support.redis(), opts)
    end
    store:upsert('docs', { id = '50', n = 1 })
    cached({ 'docs' }, '50')
    local there_too = open({})
    for _ = 1, 3 do assert.equal(1, there_too:find('docs', '50').n) end
    assert.equal(0, there_too:stats().hits)
    assert.is_truthy(there_too:stats().redis_trouble:find('a worker of Citus', 1, true))
    assert.is_truthy(said[1]:find('it goes on without a cache', 1, true))
    support.close(there_too)
    local strict = open({ on_cache_failure = 'error' })
    support.refused('cache_failure', 'a worker of Citus', strict.update, strict, 'docs',
      { id = '50', n = 2 })
    support.close(strict)
  end)
end)
