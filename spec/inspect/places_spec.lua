--- The commands that look, where the cache is on several nodes, and the rows on several shards.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local clusters = require('spec.support.redis_cluster')
local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local TABLES = { 'docs', 'others', 'more', 'and_more' }

-- Has rows of all tables be cached.
local function warm(store)
  for _, name in ipairs(TABLES) do
    support.eventually(function()
      local before = store:stats().hits
      store:find(name, '1')
      return store:stats().hits > before
    end)
  end
end

describe('in a cluster, the commands that look #slow', function()
  local cluster, store, db, served

  setup(function()
    cluster = clusters.start()
    db = support.db()
    store = stores.Store.new(db, cluster:config({ timeout = 2 }))
    for _, name in ipairs(TABLES) do
      store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(name))
      store:insert(name, { id = '1' })
    end
    served = { db = db, redis = cluster:config({ timeout = 2 }) }
  end)

  teardown(function()
    support.close(store, db)
    cluster:remove()
  end)

  it('ask the node of each table', function()
    warm(store)
    for _, name in ipairs(TABLES) do
      local out = command.must({ 'cache', name, '1' }, served)
      assert.matches('^' .. name .. ' 1: they agree', out)
      -- what other commands asked for, which is not there, is cached as such
      local rows, agree = command.must({ 'cache', 'verify', name }, served)
        :match('(%d+) cached rows? compared with PostgreSQL, of which (%d+) agree\n')
      assert.is_true(tonumber(rows) >= 1)
      assert.equal(rows, agree)
    end
    assert.matches('^public%.docs is cached', (command.must({ 'why', 'docs' }, served)))
  end)

  it('tell of every node', function()
    local report = json.decode((command.must({ 'doctor', '--json' }, served)))
    local nodes = 0
    for _, fact in ipairs(report.facts) do nodes = nodes + (fact:find('^Redis') and 1 or 0) end
    assert.equal(cluster.masters, nodes)
  end)

  it('sweep every node', function()
    warm(store)
    for _, name in ipairs(TABLES) do command.must({ 'invalidate', name }, served) end
    local report = json.decode((command.must({ 'sweep', '--json' }, served)))
    assert.is_true(report.rows >= #TABLES)
  end)
end)

describe('over shards, the commands that look', function()
  local list, file = {}, os.tmpname()

  setup(function()
    for at = 1, 2 do
      local store, db = support.store({ 'docs' })
      store:insert('docs', { id = tostring(at - 1) })
      list[at] = { store = store, db = db }
    end
    local shards = {}
    for at, one in ipairs(list) do
      shards[at] = { id = at - 1, db = one.db, redis = support.redis() }
    end
    shell.write(file, 'return ' .. command.source(shards))
  end)

  teardown(function()
    os.remove(file)
    for _, one in ipairs(list) do support.close(one.store, one.db) end
  end)

  local function run(...)
    return command.must({ '--config', file, ... })
  end

  it('ask the shard of a row', function()
    for id = 0, 1 do
      assert.matches('PostgreSQL  {"id": "' .. id .. '"}', (run('cache', 'docs', tostring(id))))
    end
  end)

  it('tell of each', function()
    local out = run('why', 'docs')
    assert.matches('^shard 0\n  public%.docs is cached\n', out)
    assert.matches('\nshard 1\n  public%.docs is cached\n', out)
    local reports = json.decode((run('sweep', '--json')))
    assert.same({ 0, 1 }, { reports[1].shard, reports[2].shard })
    assert.matches('shard 1\n  docs: ', (run('cache', 'verify', 'docs')))
    assert.equal(2, #json.decode((run('doctor', '--json'))))
    assert.matches('all of its rows are read anew', (run('invalidate', 'docs')))
  end)
end)
