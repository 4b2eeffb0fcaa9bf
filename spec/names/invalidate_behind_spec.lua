--- What is invalidated by a name whose own rows are not cached, or not for who says so: the tables
-- that are behind it.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a write outside of Stores, of which invalidate is told', function()
  local store, other, db, keys

  setup(function()
    store, db = support.store()
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    store:query([[CREATE TABLE plain (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE root (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
      CREATE TABLE branch PARTITION OF root FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
      CREATE TABLE leaf PARTITION OF branch FOR VALUES FROM (0) TO (5);
      CREATE VIEW seen AS SELECT id, value FROM plain WHERE id < 5;
      CREATE VIEW again AS SELECT * FROM seen;
      CREATE VIEW of_leaf AS SELECT * FROM leaf]])
    for _, name in ipairs({ 'plain', 'root' }) do keys:ready(store, 'public.' .. name) end
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  local number = 0

  -- Changes row 1 by the one name, when both processes have it in the cache by the other.
  local function written(base, name)
    number = number + 1
    store:upsert(base, { id = '1', n = 0 })
    support.eventually(function()
      for _, one in ipairs({ store, other }) do one:find(base, '1') end
      return (keys:row('public.' .. base, '1') or ''):sub(1, 1) == 'V'
    end, 20, 'the row')
    support.psql(db, ('UPDATE %s SET value = \'{"n": %d}\''):format(name, number))
    assert.equal(0, other:find(base, '1').n)
  end

  local function fresh(base)
    for _ = 1, 3 do
      for _, one in ipairs({ store, other }) do assert.equal(number, one:find(base, '1').n) end
    end
  end

  for name, base in pairs({ leaf = 'root', branch = 'root', of_leaf = 'root', seen = 'plain',
    again = 'plain' }) do
    it(('is seen by its rows in %s: %s'):format(base, name), function()
      written(base, name)
      store:invalidate(name, '1')
      fresh(base)
      written(base, name)
      store:invalidate(name)
      fresh(base)
    end)
  end

  it('is seen where who says it may write the table, and not read it', function()
    local role = db.database .. '_writer'
    support.psql(db, ('CREATE ROLE %s LOGIN; GRANT INSERT ON plain TO %s'):format(role, role))
    local writer = stores.Store.new(support.config(db.database, { user = role }), support.redis())
    written('plain', 'plain')
    writer:invalidate('plain', '1')
    fresh('plain')
    support.close(writer)
    support.psql(db, ('DROP OWNED BY %s; DROP ROLE %s'):format(role, role))
  end)

  it('is seen where the connection was lost on which the question goes out', function()
    local one = stores.Store.new(support.config(db.database, { poolsize = 1 }), support.redis())
    one:find('seen', '1')
    written('plain', 'seen')
    support.psql(db, 'SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity'
      .. ' WHERE datname = current_database() AND pid <> pg_backend_pid()')
    one:invalidate('seen')
    fresh('plain')
    support.close(one)
  end)

  it('is told to nobody where nothing is behind the name', function()
    store:query('CREATE VIEW made AS SELECT 1::bigint AS id, \'{"n": 1}\'::jsonb AS value')
    store:invalidate('made', '1')
    assert.equal(1, store:find('made', '1').n)
  end)

  it('is refused where Redis is not reachable', function()
    local own = redis.start()
    local alone = stores.Store.new(db, own:config({ timeout = 2 }))
    alone:find('leaf', '1')
    own:kill()
    support.refused('cache_failure', nil, alone.invalidate, alone, 'leaf', '1')
    support.close(alone)
    own:remove()
  end)
end)
