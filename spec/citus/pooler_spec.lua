--- A PgBouncer in transaction mode before the coordinator of a Citus cluster, beside a store that
--- has the coordinator itself. Needs STORES_CITUS_URL.
-- Plain pass alone: it is the core and the servers that do this.

local citus = require('spec.support.citus')
local pgbouncer = require('spec.support.pgbouncer')
local stores = require('stores')
local support = require('spec.support')

local ROUNDS = 25 -- of each of the writers of a counter

local there = citus.there(it, function(why) return pending(why) end)

describe('behind a PgBouncer before a Citus cluster a store', function()
  local cluster, bouncer, pooled, direct, one, two

  setup(function()
    if not citus.is_there() then return end
    cluster = citus.start({ proxies = true })
    cluster:distributed('docs')
    one, two = unpack(cluster:ids_apart('docs'))
    one, two = tostring(one), tostring(two)
    bouncer = pgbouncer.start('transaction', nil, cluster.db)
    pooled = stores.Store.new(bouncer:config({ database = cluster.db.database,
      pooler = 'transaction', acquire_timeout = 20 }), support.redis())
    direct = stores.Store.new(cluster.db, support.redis())
  end)

  teardown(function()
    if not cluster then return end
    support.close(pooled)
    support.close(direct)
    bouncer:stop()
    cluster:close()
  end)

  -- A row has this, and reader has it from the cache.
  local function is_cached(reader, id, n)
    support.eventually(function()
      local before = reader:stats().hits
      return reader:find('docs', id).n == n and reader:stats().hits == before + 1
    end, 60, 'the row in the cache')
  end

  there('has every verb', function()
    assert.equal(1, pooled:insert('docs', { id = '901', n = 1 }).n)
    pooled:update('docs', { id = '901', n = 2 })
    pooled:upsert('docs', { id = '902', n = 2 })
    pooled:patch('docs', '902', { set = { m = 3 } })
    assert.same({ id = '902', n = 2, m = 3 }, pooled:find('docs', '902'))
    assert.equal(2, #pooled:findAllByIds('docs', { '901', '902' }))
    assert.equal(2, #pooled:findByJSON('docs', { n = 2 }))
    assert.equal(2, pooled:count('docs', { n = 2 }))
    pooled:transaction(function(tx)
      tx:delete('docs', '901')
      tx:delete('docs', '902')
    end)
    assert.is_nil(pooled:find('docs', '901'))
    assert.equal(0, direct:count('docs', { n = 2 }))
  end)

  there('reads at once what another one wrote, and is read', function()
    for n = 1, 10 do
      local writer, reader = pooled, direct
      if n % 2 == 0 then writer, reader = direct, pooled end
      writer:upsert('docs', { id = one, n = n })
      writer:upsert('docs', { id = two, n = n })
      assert.same({ n, n }, { reader:find('docs', one).n, reader:find('docs', two).n })
      is_cached(reader, one, n)
      reader:query("UPDATE docs SET value = jsonb_set(value, '{n}', '-1')")
      assert.same({ -1, -1 }, { writer:find('docs', one).n, writer:find('docs', two).n })
    end
  end)

  there('loses no update of a row that both change', function()
    pooled:upsert('docs', { id = one, n = 0 })
    local tasks = {}
    for _, store in ipairs({ pooled, direct, pooled, direct }) do
      tasks[#tasks + 1] = stores.spawn(function()
        for _ = 1, ROUNDS do
          store:updateObject('docs', one, function(row) row.n = row.n + 1 end, { retries = 50 })
        end
      end)
    end
    for _, task in ipairs(tasks) do task:join() end
    assert.equal(#tasks * ROUNDS, pooled:find('docs', one).n)
    assert.equal(#tasks * ROUNDS, direct:find('docs', one).n)
  end)

  there('waits for a worker that is told late', function()
    for _, id in ipairs({ one, two }) do pooled:upsert('docs', { id = id, n = 1 }) end
    is_cached(direct, one, 1)
    is_cached(direct, two, 1)
    cluster.proxy:at('hold', 'COMMIT PREPARED')
    local writer = stores.spawn(function()
      pooled:transaction(function(tx)
        for _, id in ipairs({ one, two }) do tx:update('docs', { id = id, n = 2 }) end
      end, { retries = 0 })
    end)
    cluster.proxy:reached()
    local seen = {}
    for _ = 1, 6 do
      for _, id in ipairs({ one, two }) do
        local n = direct:find('docs', id).n
        assert.is_true(n == 2 or seen[id] ~= 2, 'a read went back')
        seen[id] = n
      end
      stores.sleep(0.1)
    end
    assert.is_true(seen[one] == 1 or seen[two] == 1)
    cluster.proxy:pass()
    writer:join()
    for _, reader in ipairs({ pooled, direct }) do
      for _, id in ipairs({ one, two }) do
        assert.equal(2, reader:find('docs', id).n)
        is_cached(reader, id, 2)
      end
    end
  end)
end)
