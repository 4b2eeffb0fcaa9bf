--- Servers that change under a store with replicas: one is promoted, one is another system's, and
--- after a failover nothing is read from one that has not come to the new timeline.
-- Plain pass alone: servers come and go, and what is read does not depend on the collector.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local function reader(db, replicas)
  local list = {}
  for i, server in ipairs(replicas) do list[i] = server:config() end
  db.replicas = list
  return stores.Store.new(db, nil, { cache = false, read = 'replica', log = function() end })
end

-- The reads of replicas, by what one of them is left alone for.
local function state(store, i)
  local replica = store:stats().replicas[i]
  return replica.left_alone or 'fit', replica.reads
end

describe('a failover under replicas #slow', function()
  it('has reads go on, and never back, from one timeline to the next', function()
    local primary = postgres.primary()
    local heir, late, stranger = postgres.standby(primary), postgres.standby(primary),
      postgres.start()
    local store
    finally(function()
      if store then support.close(store) end
      for _, server in ipairs({ late, heir, primary, stranger }) do server:remove() end
    end)
    primary:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. " INSERT INTO docs VALUES (1, '{\"n\": 0}')")
    stranger:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. " INSERT INTO docs VALUES (1, '{\"n\": 99}')")
    heir:catch_up()
    late:catch_up()
    local db = { host = { primary.socket, heir.socket }, port = { primary.port, heir.port },
      user = 'postgres', database = 'postgres', target_session_attrs = 'read-write' }
    store = reader(db, { late, heir, stranger })
    local n = 0
    for _ = 1, 12 do
      n = n + 1
      store:update('docs', { id = '1', n = n })
      for _ = 1, 3 do assert.equal(n, store:find('docs', '1').n) end
      support.eventually(function()
        local before = store:stats().replica_reads
        assert.equal(n, store:findByJSON('docs', {}, { all = true })[1].n)
        return store:stats().replica_reads > before
      end)
    end
    assert.equal('foreign', (state(store, 3)))
    assert.equal(0, select(2, state(store, 3)))
    local before = store:token()

    -- what the old primary wrote last reaches the late one and not the heir
    heir:psql('SELECT pg_wal_replay_pause()')
    heir:stop('immediate')
    primary:psql("UPDATE docs SET value = '{\"n\": 55}'; SELECT pg_switch_wal();"
      .. " UPDATE docs SET value = '{\"n\": 56}'")
    late:catch_up()
    primary:stop('immediate')
    heir:start()
    assert.equal('t', heir:psql('SELECT pg_promote()'))
    support.eventually(function() return (store.try:update('docs', { id = '1', n = n + 1 })) end,
      30, 'the new primary')
    n = n + 1
    for _ = 1, 30 do
      assert.equal(n, store:find('docs', '1').n)
      assert.equal(n, store:find('docs', '1', { after_token = before }).n)
      stores.sleep(0.05)
    end
    -- one is the primary itself now, the other one has followed somebody else
    support.eventually(function()
      store:count('docs')
      return (state(store, 2)) == 'promoted' and (state(store, 1)) == 'foreign'
    end, 30, 'both to be left alone')
    local after = store:token()
    assert.matches('^%d+%.00000002%.', after)
    assert.matches('^%d+%.00000001%.', before)

    -- a new standby of the new primary takes the place of the late one
    local follower = postgres.standby(heir)
    finally(function()
      if store then support.close(store) end
      for _, server in ipairs({ follower, late, heir, primary, stranger }) do server:remove() end
    end)
    local other = reader({ host = heir.socket, port = heir.port, user = 'postgres',
      database = 'postgres' }, { follower })
    assert.equal(n, other:find('docs', '1', { after_token = after }).n)
    support.eventually(function()
      assert.equal(n, other:find('docs', '1', { after_token = after }).n)
      return other:stats().replica_reads > 0
    end, 30, 'the new replica')
    support.close(other)
  end)
end)
