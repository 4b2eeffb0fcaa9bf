--- stores bench: a small workload on servers of the caller's, which leaves nothing behind.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local json = require('stores.json')
local redis = require('spec.support.redis')
local sh = require('spec.support.shell')
local support = require('spec.support')
local two = require('spec.support.shards')

describe('stores bench', function()
  local server, db

  setup(function() server, db = redis.start(), support.db() end)
  teardown(function()
    server:remove()
    support.drop(db)
  end)

  local function is_clean()
    assert.equal('0', support.psql(db, "SELECT count(*) FROM pg_class WHERE relname LIKE "
      .. "'stores_bench%'"):match('%d+'))
    support.eventually(function() return server:cli('DBSIZE') == '0' end)
  end

  it('measures calls beside bare round trips, and drops its table', function()
    local report = json.decode((command.must({ 'bench', '--seconds', '0.1', '--json' },
      { db = db, redis = server:config({ timeout = 2 }) })))
    local seen = {}
    for _, one in ipairs(report.figures) do
      assert.is_true(one.per_second > 0 and one.half <= one.most, one.name)
      seen[one.name .. ' ' .. one.at_once] = one
    end
    assert.equal(10, #report.figures)
    for _, name in ipairs({ 'find, cached', 'find, of PostgreSQL', 'update', 'insert' }) do
      assert.is_true(seen[name .. ' 1'].ratio > 0)
      assert.is_nil(seen[name .. ' 64'].ratio)
    end
    assert.truthy(seen['SELECT 1 of PostgreSQL 1'])
    assert.truthy(seen['PING of Redis 1'])
    is_clean()
  end)

  it('does without a cache, and in a schema', function()
    support.psql(db, 'CREATE SCHEMA "Bench"')
    local out = command.must({ 'bench', '--seconds', '0.05', '--schema', 'Bench' },
      { db = db, redis = false })
    assert.matches('^call +at once +per second +50 %% ms +99 %% ms +bare round trips\n', out)
    assert.matches('\nupdate +1 +%d+ +[%d.]+ +[%d.]+ +[%d.]+\n', out)
    assert.is_nil(out:find('cached', 1, true))
    is_clean()
  end)

  it('measures the first one of shards', function()
    local shards, databases = two.open(2, {})
    local path = os.tmpname()
    sh.write(path, ('return { { id = 0, db = %s }, { id = 1, db = %s } }'):format(
      command.source(databases[1]), command.source(databases[2])))
    shards:init()
    local report = json.decode((command.must({ 'bench', '--seconds', '0.05', '--json' },
      { env = { STORES_CONFIG = path } })))
    assert.equal(7, #report.figures)
    os.remove(path)
    two.close(shards, databases)
  end)

  it('drops its table also where it is stopped', function()
    local program = command.start({ 'bench', '--seconds', '5' },
      { db = db, redis = server:config({ timeout = 2 }) }, '/dev/null')
    support.eventually(function()
      return support.psql(db, "SELECT count(*) FROM pg_class WHERE relname LIKE 'stores_bench%'")
        :match('%d+') ~= '0' and server:cli('DBSIZE') ~= '0'
    end)
    program:signal('INT')
    program:wait()
    is_clean()
  end)
end)
