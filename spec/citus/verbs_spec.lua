--- What the verbs do otherwise where their tables are spread over the workers of a Citus cluster.
-- Plain pass alone: it is the servers that do this; those that STORES_CITUS_URL names.

local citus = require('spec.support.citus')
local core = require('stores.core')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local there = citus.there(it, function(why) return pending(why) end)

describe('the verbs on a Citus cluster', function()
  local cluster, store

  setup(function()
    if not citus.is_there() then return end
    cluster = citus.start()
    cluster:psql([[
      CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL,
        CONSTRAINT has_n CHECK (value ? 'n'));
      SELECT create_distributed_table('docs', 'id');
      CREATE TABLE parts (id bigint PRIMARY KEY REFERENCES docs, value jsonb);
      SELECT create_distributed_table('parts', 'id');
      CREATE TABLE words (id bigint PRIMARY KEY, value jsonb);
      SELECT create_reference_table('words');
      CREATE TABLE plain (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO docs SELECT i, jsonb_build_object('n', i % 7, 'i', i)
        FROM generate_series(1, 2000) i]])
    store = stores.Store.new(cluster.db)
  end)

  teardown(function()
    if not cluster then return end
    support.close(store)
    cluster:close()
  end)

  there('know which tables are spread, and how', function()
    for _, name in ipairs({ 'docs', 'words', 'plain' }) do store:find(name, '1') end
    assert.equal('distributed', core.spread(store.engine, 'docs'))
    assert.equal('reference', core.spread(store.engine, 'words'))
    assert.is_nil(core.spread(store.engine, 'plain'))
    assert.is_nil(core.spread(store.engine, 'unknown'))
  end)

  there('name constraints and tables as they are called, and not as their shards are', function()
    local function names(verb, ...)
      local _, err = store.try[verb](store, ...)
      return { err.code, err.constraint, err.table }
    end
    assert.same({ 'constraint', 'has_n', 'docs' }, names('insert', 'docs', { id = '9000' }))
    assert.same({ 'constraint', 'has_n', 'docs' }, names('patch', 'docs', '1',
      { remove = { 'n' } }))
    assert.same({ 'constraint', 'parts_id_fkey', 'parts' }, names('insert', 'parts',
      { id = '9000' }))
    store:insert('parts', { id = '5' })
    assert.same({ 'constraint', 'parts_id_fkey', 'parts' }, names('delete', 'docs', '5'))
    assert.same({ 'duplicate', 'docs_pkey' }, names('query',
      "INSERT INTO docs VALUES (1, '{\"n\": 1}')"))
  end)

  there('give many rows by their ids, as many as there are', function()
    local before = store:stats().selects
    local list = {}
    for i = 1, 2400 do list[i] = tostring(i) end
    local found, missing = store:findAllByIds('docs', list)
    assert.same({ 2000, 400 }, { #found, #missing })
    for i, document in ipairs(found) do assert.equal(i, document.i) end
    -- of eight shards each is asked for its own ids, 128 at a time
    assert.is_true(store:stats().selects - before >= 2400 / 128)
    assert.equal('2400', missing[400])
  end)

  there('go through a table in each of its orders', function()
    local function walk(opts)
      local list = {}
      for document in store:each('docs', opts) do list[#list + 1] = document end
      return list
    end
    local all = walk({ batch = 300 })
    assert.equal(2000, #all)
    for i, document in ipairs(all) do assert.equal(i, document.i) end
    local down = walk({ batch = 300, order = 'desc' })
    assert.same({ 2000, 2000, 1 }, { #down, down[1].i, down[2000].i })
    local some = walk({ batch = 10, order = { '-n' }, where = { { 'i', '<=', 35 } } })
    assert.equal(35, #some)
    for i = 2, 35 do assert.is_true(some[i - 1].n >= some[i].n) end
    assert.same({ 5, 33 }, { #walk({ contains = { n = 0 }, where = { { 'i', '<', 40 } } }),
      #walk({ batch = 7, after = '1967', fields = { 'n' } }) })
    -- a transaction sees what it wrote
    store:transaction(function(tx)
      tx:insert('docs', { id = '5000', n = 1, i = 5000 })
      local last
      for document in tx:each('docs', { batch = 500 }) do last = document end
      assert.equal(5000, last.i)
      tx:delete('docs', '5000')
    end)
  end)

  there('go through all that was there before, whatever comes while they do', function()
    cluster:psql([[INSERT INTO docs SELECT i, jsonb_build_object('n', 1)
      FROM generate_series(10000, 10190, 10) i]])
    local turns, ids = 0, {}
    local off = stores.on('statement', function(event)
      if not event.sql:find('row_id', 1, true) or turns == 4 then return end
      turns = turns + 1 -- the places are known, and the documents are asked for next
      cluster:psql(("INSERT INTO docs VALUES (%d, '{\"n\": 0}')"):format(9951 + 50 * turns))
    end)
    for document in store:each('docs', { batch = 5, after = '9999' }) do
      ids[document.id] = true
    end
    off()
    assert.equal(4, turns)
    cluster:psql('DELETE FROM docs WHERE id >= 10000')
    for id = 10000, 10190, 10 do assert.is_true(ids[tostring(id)], tostring(id)) end
  end)

  there('run several statements of which one is DDL, as one transaction', function()
    local text = "INSERT INTO docs VALUES (7000, '{\"n\": 1}'); ALTER TABLE docs ADD COLUMN x int; "
    local fresh = stores.Store.new(cluster.db) -- has not met the server yet
    support.refused('invalid_argument', 'division by zero', fresh.query, fresh,
      text .. 'SELECT 1/0')
    assert.is_nil(fresh:find('docs', '7000'))
    local rows = fresh:query(text .. 'SELECT 5 AS five')
    assert.equal(5, rows[1].five)
    fresh:transaction(function(tx)
      tx:query('DELETE FROM docs WHERE id = 7000; ALTER TABLE docs DROP COLUMN x')
    end)
    assert.is_nil(fresh:find('docs', '7000'))
    support.close(fresh)
  end)

  there('say at once that a reference table is held as a whole', function()
    store:insert('words', { id = '1', n = 1 })
    store:insert('words', { id = '2', n = 1 })
    local inside = {
      function() store:update('words', { id = '2', n = 2 }) end,
      function() store:insert('words', { n = 2 }) end,
      function() store:patchWhere('words', { n = 7 }, { set = { n = 8 } }) end,
      function() store:updateObject('words', '2', function() end) end,
    }
    for _, fn in ipairs(inside) do
      support.refused('self_deadlock', 'reference table', store.updateObject, store, 'words', '1',
        fn)
      support.refused('self_deadlock', 'reference table', store.transaction, store, function(tx)
        tx:delete('words', '99')
        fn()
      end)
    end
    -- of a distributed one a row, and no other one
    store:updateObject('docs', '1', function() store:patch('docs', '2', { inc = { n = 7 } }) end)
  end)

  there('are not refused where a role asks for plans that know no values', function()
    local db = {}
    for key, value in pairs(cluster.db) do db[key] = value end
    db.params = { options = '-c plan_cache_mode=force_generic_plan' }
    local forced = stores.Store.new(db)
    for _ = 1, 7 do
      assert.equal(3, #forced:findAllByIds('docs', { '1', '2', '3' }))
      assert.equal(1, #forced:findByJSON('docs', { i = 77 }))
    end
    support.close(forced)
  end)

  there('spread tables as a migration says', function()
    migrations.runMigrations({
      { name = 'a', distribute = 'id', migration = 'CREATE TABLE a (id bigint PRIMARY KEY,'
        .. ' value jsonb); CREATE TABLE IF NOT EXISTS plain (id bigint);'
        .. ' INSERT INTO a VALUES (1)' },
      { name = 'b', distribute = 'reference',
        migration = 'CREATE TABLE b (id bigint PRIMARY KEY, value jsonb)' },
    }, cluster.db, { ledger = 'spread_ledger', redis = false })
    assert.equal('a id|b |docs id|parts id|plain id|words ', cluster:psql("SELECT string_agg("
      .. "logicalrelid::text || ' ' || coalesce(column_to_column_name(logicalrelid, partkey), ''),"
      .. " '|' ORDER BY logicalrelid::text) FROM pg_dist_partition"))
    support.refused('migration_failed', 'no table that it creates has this column: c',
      migrations.runMigrations, { { name = 'c', distribute = 'nope',
        migration = 'CREATE TABLE c (id bigint PRIMARY KEY, value jsonb)' } }, cluster.db,
      { ledger = 'other_ledger' })
  end)

  there('fail for the rows of a worker that is down, and for no others', function()
    local node = cluster:psql("SELECT nodeid || ' ' || nodeport FROM pg_dist_node"
      .. ' WHERE groupid <> 0 ORDER BY nodeport DESC LIMIT 1')
    local id, port = node:match('^(%d+) (%d+)$')
    local of_node = {}
    for row in cluster:psql(('SELECT i FROM generate_series(1, 60) i JOIN pg_dist_shard_placement'
      .. " p ON p.shardid = get_shard_id_for_distribution_column('docs', i::bigint)"
      .. ' WHERE p.nodeport = %s'):format(port)):gmatch('%d+') do
      of_node[row] = true
    end
    local list = {}
    for i = 1, 60 do list[i] = tostring(i) end
    local function move(to)
      support.eventually(function()
        return pcall(cluster.psql, cluster,
          ("SELECT citus_update_node(%s, '127.0.0.1', %s)"):format(id, to))
      end, 60, 'the worker is known elsewhere')
    end
    move(1)
    local results = stores.map(list, function(row) return { store.try:find('docs', row) } end)
    local queried = { store.try:count('docs') }
    move(port)
    for i, result in ipairs(results) do
      assert.equal(not of_node[list[i]], result[1], list[i])
      if not result[1] then
        assert.same({ 'connection_lost', true, 503 }, { result[2].code, result[2].retryable,
          result[2].http })
      end
    end
    assert.equal('connection_lost', queried[2].code)
    assert.equal(60, #(store:findAllByIds('docs', list)))
  end)
end)
