-- Whose caches hear of what a migration changed, and what is said where nobody does.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local process = require('spec.support.process')
local redis_server = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a migration that changes rows', function()
  local db, store, said

  before_each(function()
    store, db = support.store({ 'parts' })
    store:insert('parts', { id = '1', n = 1 })
    said = ''
  end)

  after_each(function() support.close(store, db) end)

  local function hot(of)
    support.eventually(function()
      local hits = of:stats().hits
      of:find('parts', '1')
      return of:stats().hits > hits
    end, 30, 'the row never became a hit')
  end

  local function set(n, name)
    return { { name = name or 'set ' .. n,
               migration = ("UPDATE parts SET value = value || '{\"n\": %d}'"):format(n) } }
  end

  -- Runs in a process of its own, which knows no store; gives what it printed.
  local function elsewhere(n, opts)
    local errors_file = os.tmpname()
    local one = process.lua(([[
      local db = { host = %q, port = %d, user = %q, database = %q }
      local result = require('migrations').runMigrations({ { name = 'set %d', migration =
        "UPDATE parts SET value = value || '{\"n\": %d}'" } }, db, %s)
      print(result.untold and table.concat(result.untold, ' ') or 'all told')
    ]]):format(db.host, db.port, db.user, db.database, n, n, opts), errors_file)
    local text = one:wait()
    said = assert(io.open(errors_file)):read('*a')
    os.remove(errors_file)
    return (text:gsub('\n$', ''))
  end

  it('is heard by the store that runs it, and by others on its Redis', function()
    local other = stores.Store.new(db, support.redis())
    hot(store)
    hot(other)
    assert.is_nil(store:migrate(set(2)).untold)
    assert.equal(2, store:find('parts', '1').n)
    assert.equal(2, other:find('parts', '1').n)
    other:close()
  end)

  it('is heard by the stores that the process has open, where it is given a config', function()
    hot(store)
    assert.is_nil(migrations.runMigrations(set(2), db).untold)
    assert.equal(2, store:find('parts', '1').n)
    assert.equal(2, store:find('parts', '1', { cache = false }).n)
  end)

  it('is heard by each of their caches', function()
    local other = stores.Store.new(db, support.redis(), { prefix = 'another' })
    hot(store)
    hot(other)
    migrations.runMigrations(set(2), db)
    assert.equal(2, store:find('parts', '1').n)
    assert.equal(2, other:find('parts', '1').n)
    -- also of what a trigger does, of a procedure that commits, and outside of transactions
    store:query([[CREATE TABLE logs (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE parts SET value = value || '{"n": 3}'; RETURN NULL; END $$;
      CREATE CONSTRAINT TRIGGER t AFTER INSERT ON logs DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION f()]])
    hot(store)
    hot(other)
    migrations.runMigrations({ { name = 'logs', migration = "INSERT INTO logs VALUES (1, '{}')" } },
      db)
    assert.equal(3, store:find('parts', '1').n)
    assert.equal(3, other:find('parts', '1').n)
    hot(store)
    hot(other)
    migrations.runMigrations({ { name = 'do', transaction = false, invalidates = { 'parts' },
      migration = [[DO $$ BEGIN UPDATE parts SET value = value || '{"n": 4}'; END $$]] } }, db)
    assert.equal(4, store:find('parts', '1').n)
    assert.equal(4, other:find('parts', '1').n)
    hot(store)
    hot(other)
    local list = set(5)
    list[1].transaction = false
    migrations.runMigrations(list, db)
    assert.equal(5, store:find('parts', '1').n)
    assert.equal(5, other:find('parts', '1').n)
    other:close()
  end)

  it('is not heard by a store of another database', function()
    local other, other_db = support.store({ 'parts' })
    other:insert('parts', { id = '1', n = 1 })
    hot(other)
    local hits = other:stats().hits
    assert.same({ 'set 2' }, migrations.runMigrations(set(2), db).ran)
    assert.equal(1, other:find('parts', '1').n)
    assert.equal(hits + 1, other:stats().hits)
    support.close(other, other_db)
  end)

  it('is heard by a program elsewhere, where the options name its Redis', function()
    hot(store)
    local place = ('{ path = %q, opts = { timeout = 2 } }'):format(support.redis().path)
    assert.equal('all told', elsewhere(2, ('{ redis = %s }'):format(place)))
    assert.equal(2, store:find('parts', '1').n)
    assert.equal('', said)
    local other = stores.Store.new(db, support.redis(), { prefix = 'mine' })
    hot(other)
    elsewhere(3, ("{ redis = %s, prefix = 'mine' }"):format(place))
    assert.equal(3, other:find('parts', '1').n)
    other:close()
  end)

  it('says loudly that nobody hears of it, where that is so', function()
    assert.equal('public.parts', elsewhere(2, '{}'))
    assert.matches('rows of public%.parts, and no cache was told', said)
    assert.matches('redis = ', said)
    assert.equal('all told', elsewhere(3, '{ redis = false }'))
    assert.equal('', said)
  end)

  it('says so where Redis is down', function()
    local rd = redis_server.start()
    local opts = { redis = rd:config({ timeout = 1 }) }
    rd:kill()
    local events = {}
    opts.on = function(event) events[#events + 1] = event.event end
    local result = migrations.runMigrations(set(2), db, opts)
    rd:remove()
    assert.same({ 'public.parts' }, result.untold)
    assert.equal('untold', events[#events])
  end)

  it('says so of each statement outside of a transaction, and of a run that fails', function()
    store:query('CREATE TABLE crates (id bigint PRIMARY KEY, value jsonb)')
    local down = { redis = { path = '/nowhere/redis.sock' } }
    local list = { { name = 'both', transaction = false, migration = [[
      UPDATE parts SET value = value; INSERT INTO crates VALUES (1, '{}'); SELECT 1]] } }
    local result = migrations.runMigrations(list, db, down)
    assert.same({ 'public.parts', 'public.crates' }, result.untold)
    list = { { name = 'fails', transaction = false, migration =
      'UPDATE parts SET value = value; SELECT 1/0' } }
    local err = support.refused('migration_failed', '22012', migrations.runMigrations, list, db,
      down)
    assert.same({ 'public.parts' }, { unpack(err.untold) })
    -- and those that the process has open hear of what was committed before that
    local other = stores.Store.new(db, support.redis(), { prefix = 'another' })
    hot(store)
    hot(other)
    list = set(7, 'fails too')
    list[1].transaction, list[1].migration = false, list[1].migration .. '; SELECT 1/0'
    support.refused('migration_failed', '22012', migrations.runMigrations, list, db)
    assert.equal(7, store:find('parts', '1').n)
    assert.equal(7, other:find('parts', '1').n)
    other:close()
  end)

  it('says so of the shards and stores whose Redis is down, and what to do', function()
    local said_of = function(target)
      local errors_file = os.tmpname()
      local one = process.lua(([[
        local stores = require('stores')
        local db = { host = %q, port = %d, user = %q, database = %q }
        local redis = { path = '/nowhere/redis.sock' }
        local target = %s
        local result = require('migrations').runMigrations({ { name = '%s', migration =
          "UPDATE parts SET value = value || '{\"n\": 2}'" } }, target)
        print(result.untold and table.concat(result.untold, ' ') or 'all told')
        target:close()
      ]]):format(db.host, db.port, db.user, db.database, target, target:sub(1, 12)), errors_file)
      local text = one:wait()
      said = assert(io.open(errors_file)):read('*a')
      os.remove(errors_file)
      return (text:gsub('\n$', ''))
    end
    for _, target in ipairs({ 'stores.Store.new(db, redis)',
      'stores.Shards.new({ { id = 0, db = db, redis = redis } })' }) do
      assert.equal('public.parts', said_of(target))
      assert.matches('rows of public%.parts, and no cache was told; Redis was not reachable', said)
    end
  end)

  it('says nothing of what it made itself, or did not change', function()
    store:close()
    local result = migrations.runMigrations({
      { name = 'new', migration = [[CREATE TABLE fresh (id bigint PRIMARY KEY, value jsonb);
        INSERT INTO fresh VALUES (1, '{}'); SELECT count(*) FROM parts]] },
      { name = 'index', migration = 'CREATE INDEX ON parts ((value->>1))' },
    }, db)
    assert.is_nil(result.untold)
  end)

  it('takes redis and prefix with a config only', function()
    support.refused('invalid_option', 'a store has its own', store.migrate, store, set(2),
      { redis = support.redis() })
    support.refused('invalid_option', 'prefix goes with redis', migrations.runMigrations, set(2),
      db, { prefix = 'x' })
    support.refused('invalid_option', 'redis', migrations.runMigrations, set(2), db,
      { redis = 'localhost' })
  end)
end)
