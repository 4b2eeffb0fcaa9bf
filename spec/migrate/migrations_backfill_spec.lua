-- Backfills: what changes the rows of a table batch by batch, and goes on where it was stopped.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('a backfill', function()
  local db, store

  before_each(function()
    store, db = support.store({ 'parts' })
    store:query([[INSERT INTO parts SELECT n, jsonb_build_object('id', n::text, 'n', n)
      FROM generate_series(1, 25) AS n]])
  end)

  after_each(function() support.close(store, db) end)

  local function run(list, opts) return store:migrate(list, opts) end

  local function count(condition)
    return store:query('SELECT count(*)::int AS n FROM parts WHERE ' .. condition)[1].n
  end

  local function double(more)
    local entry = { name = 'double', type = 'backfill', table = 'parts', batch = 10, pause = 0,
                    fn = function(document) document.twice = 2 * document.n end }
    for key, value in pairs(more or {}) do entry[key] = value end
    return entry
  end

  local SQL = [[
    UPDATE parts SET value = value || jsonb_build_object('twice', 2 * (value->>'n')::int)
    WHERE id IN (SELECT id FROM parts WHERE id > $after AND NOT value ? 'twice'
      ORDER BY id LIMIT $limit)
    RETURNING id -- $after and '$limit' are names
  ]]

  local function statement(more)
    local entry = { name = 'double', type = 'backfill', batch = 10, pause = 0, migration = SQL }
    for key, value in pairs(more or {}) do entry[key] = value end
    return entry
  end

  -- The batches of a run, as the rows that each had gone through.
  local function batches(entry)
    local seen, at = {}, {}
    local result = run({ entry }, { on = function(event)
      if event.event == 'progress' then
        seen[#seen + 1], at[#at + 1] = event.rows, event.after
      end
    end })
    return result, seen, at
  end

  it('hands each document to its function, batch by batch', function()
    local result, seen, at = batches(double())
    assert.same({ 'double' }, result.ran)
    assert.equal(25, count("(value->>'twice')::int = 2 * id"))
    assert.same({ 10, 20, 25 }, { seen[1], seen[2], seen[3] })
    assert.same({ '10', '20', '25' }, { at[1], at[2], at[3] })
    assert.same({ 'double' }, run({ double() }).skipped)
    assert.same({}, store:query('SELECT FROM migrations_journal'))
  end)

  it('takes a statement in its place, which says itself what rows it took', function()
    store:query("UPDATE parts SET value = value || '{\"twice\": 0}' WHERE id % 2 = 0")
    local result, seen = batches(statement())
    assert.same({ 'double' }, result.ran)
    assert.same({ 10, 13 }, { seen[1], seen[2] })
    assert.equal(12, count("value->>'twice' = '0'"))
    assert.equal(13, count("(value->>'twice')::int = 2 * id"))
  end)

  it('stores what the function gives, and only what it changed', function()
    store:query([[CREATE TABLE touched (id bigint);
      CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO touched VALUES (NEW.id); RETURN NEW; END $$;
      CREATE TRIGGER t BEFORE UPDATE ON parts FOR EACH ROW EXECUTE FUNCTION touch()]])
    run({ double({ fn = function(document)
      if document.n == 1 then return { n = 100 } end
      if document.n == 2 then document.n = 200 return false end
      if document.n == 3 then document.n = 300 end
    end }) })
    assert.equal('1 3', store:query("SELECT string_agg(id::text, ' ' ORDER BY id) AS ids"
      .. ' FROM touched')[1].ids)
    assert.equal(100, store:find('parts', '1').n)
    assert.equal(2, store:find('parts', '2').n)
    assert.equal(300, store:find('parts', '3').n)
  end)

  it('has the transaction of its batch for a function that asks for it', function()
    store:query('CREATE TABLE sums (id bigint PRIMARY KEY, value jsonb)')
    run({ double({ fn = function(document, tx)
      tx:insert('sums', { id = document.id, n = document.n })
      return false
    end }) })
    assert.equal(25, store:count('sums'))
  end)

  it('leaves nothing in the session of its next batch, nor of the next migration', function()
    local seen = {}
    run({ double({ batch = 5, fn = function(document, tx)
      if document.n % 5 ~= 1 then return false end
      seen[#seen + 1] = tx:query("SELECT current_setting('work_mem') AS mem")[1].mem
      tx:query("SET work_mem = '77MB'; SELECT set_config('search_path', 'nowhere', false)")
      return false
    end }), { name = 'next', migration = [[CREATE TABLE seen AS SELECT
      current_setting('work_mem') AS mem, current_setting('search_path') AS path]] } })
    assert.equal(5, #seen)
    for _, mem in ipairs(seen) do assert.not_equal('77MB', mem) end
    local row = store:query('SELECT * FROM seen')[1]
    assert.not_equal('77MB', row.mem)
    assert.is_nil(row.path:find('nowhere', 1, true))
  end)

  it('names the row that is no document', function()
    store:query("INSERT INTO parts VALUES (12345, '[1]')")
    local err = support.refused('migration_failed', 'the row 12345 is not an object', run,
      { double() })
    assert.equal('20', err.after)
  end)

  it('goes on behind the last batch where it failed, and names the document', function()
    local broken = true
    local function entry()
      return double({ fn = function(document)
        if broken and document.n == 17 then error('no such part') end
        document.seen = (document.seen or 0) + 1
      end })
    end
    local err = support.refused('migration_failed', 'no such part', run, { entry() })
    assert.equal('double', err.migration)
    assert.equal('17', err.document)
    assert.equal('10', err.after)
    assert.equal(10, err.rows)
    assert.matches('behind the id 10', err.hint)
    assert.equal(10, count("value->>'seen' = '1'"))
    local state = migrations.status({ entry() }, db)[1]
    assert.same({ 'unfinished', '10', 10 }, { state.state, state.after, state.rows })
    local item = migrations.plan({ entry() }, db)[1]
    assert.same({ 'resume', '10', 10 }, { item.action, item.after, item.rows })
    broken = false
    local _, seen = batches(entry())
    assert.equal(20, seen[1])
    assert.equal(25, count("value->>'seen' = '1'"))
  end)

  it('stops between two batches where it is told to, and goes on', function()
    local result = run({ double(), { name = 'next', migration = 'SELECT 1' } },
      { stopping = function() return count("value ? 'twice'") >= 10 end })
    assert.equal('double', result.stopped)
    assert.same({}, result.ran)
    assert.equal(10, count("value ? 'twice'"))
    assert.same({ 'double', 'next' }, run({ double(), { name = 'next', migration = 'SELECT 1' } })
      .ran)
    assert.equal(25, count("value ? 'twice'"))
  end)

  it('is heard by the cache, row by row and as a statement', function()
    local other = stores.Store.new(db, support.redis())
    for n, entry in ipairs({ double({ name = 'a' }), statement({ name = 'b', migration = [[
        UPDATE parts SET value = value || '{"twice": 5}' WHERE id IN
          (SELECT id FROM parts WHERE id > $after ORDER BY id LIMIT $limit) RETURNING id]] }) }) do
      support.eventually(function()
        local hits = other:stats().hits
        other:find('parts', '2')
        return other:stats().hits > hits
      end)
      run({ entry })
      assert.equal(n == 1 and 4 or 5, other:find('parts', '2').twice)
    end
    -- a run that knows no cache says so, of all batches together
    local result = migrations.runMigrations({ double({ name = 'c', fn = function(document)
      document.c = true
    end }) }, db, { redis = { path = '/nowhere/redis.sock' } })
    assert.same({ 'public.parts' }, { unpack(result.untold) })
    other:close()
  end)

  it("loses nobody's change, and no cached row is stale behind it", function()
    local writers = {}
    for n = 1, 2 do
      writers[n] = process.lua(([[
        local stores = require('stores')
        local store = stores.Store.new({ host = %q, port = %d, user = %q, database = %q },
          { path = %q, opts = { timeout = 2 } })
        for turn = 1, 150 do
          local id = tostring((turn * 7 + %d) %% 25 + 1)
          store:updateObject('parts', id, function(part) part.changes = (part.changes or 0) + 1 end)
          store:find('parts', tostring(turn %% 25 + 1))
        end
        store:close()
        print('done')
      ]]):format(db.host, db.port, db.user, db.database, support.redis().path, n))
    end
    local turn = 0
    repeat
      turn = turn + 1
      run({ double({ name = 'turn ' .. turn, batch = 5, fn = function(document)
        document.turn = turn
      end }), statement({ name = 'sql ' .. turn, batch = 5, migration = ([[
        UPDATE parts SET value = value || '{"sql": %d}' WHERE id IN
          (SELECT id FROM parts WHERE id > $after ORDER BY id LIMIT $limit) RETURNING id]]):format(
        turn) }) })
      local sum = store:query("SELECT sum((value->>'changes')::int)::int AS n FROM parts")[1].n
    until sum == 300 or turn > 200
    for _, one in ipairs(writers) do assert.equal('done\n', one:wait()) end
    assert.equal(300, store:query("SELECT sum((value->>'changes')::int)::int AS n FROM parts")[1].n)
    run({ double({ name = 'last', fn = function(document) document.last = true end }) })
    for id = 1, 25 do
      local part = store:find('parts', tostring(id))
      assert.is_true(part.last)
      assert.same(store:find('parts', tostring(id), { cache = false }), part)
      assert.equal(turn, part.turn)
      assert.equal(turn, part.sql)
    end
  end)

  it('runs on each shard by itself', function()
    local other, other_db = support.store({ 'parts' })
    store:query('DELETE FROM parts')
    local shards = stores.Shards.new({ { id = 0, db = db, redis = support.redis() },
                                       { id = 1, db = other_db, redis = support.redis() } })
    for n = 1, 30 do
      local id = shards:generateId()
      shards:mod(id):insert('parts', { id = id, n = n })
    end
    local seen, here = {}, count('true')
    local result = migrations.runMigrations({ double() }, shards, { on = function(event)
      if event.event == 'progress' then seen[event.shard] = event.rows end
    end })
    assert.same({ 'double' }, result.ran)
    assert.same({ [0] = here, 30 - here }, seen)
    assert.equal(here, count("(value->>'twice')::int = 2 * (value->>'n')::int"))
    assert.equal(30 - here, other:count('parts'))
    for _, part in ipairs(other:findAll('parts')) do assert.equal(2 * part.n, part.twice) end
    shards:close()
    support.close(other, other_db)
  end)

  it('brings documents of older versions up, and has them checked', function()
    local parts = stores.define('parts', { version = 2, upgrade = {
      [2] = function(document) document.label = 'part ' .. document.n end,
    }, validate = function(document) return document.n ~= 7, 'seven is out' end })
    local declared = stores.Store.new(db, nil, { tables = { parts } })
    local err = support.refused('migration_failed', 'seven is out', declared.migrate, declared,
      { double() })
    assert.equal('7', err.document)
    store:query('DELETE FROM parts WHERE id = 7')
    assert.same({ 'double' }, declared:migrate({ double() }).ran)
    assert.equal(24, count("value->>'label' = 'part ' || id AND value->>'_version' = '2'"))
    declared:close()
    stores.define('parts', {})
  end)

  it('is not at its end where the rows of a batch were deleted meanwhile', function()
    local deleted = false
    local entry = statement({ migration = SQL:gsub('RETURNING', 'AND pause(id) RETURNING') })
    store:query([[CREATE TABLE gate (open boolean); INSERT INTO gate VALUES (true);
      CREATE FUNCTION pause(bigint) RETURNS boolean LANGUAGE sql AS 'SELECT open FROM gate']])
    -- the first look finds rows and takes none
    store:query('UPDATE gate SET open = false')
    local result = run({ entry }, { on = function(event)
      if event.event ~= 'progress' or deleted then return end
      deleted = true
      store:query('UPDATE gate SET open = true')
    end })
    assert.same({ 'double' }, result.ran)
    assert.equal(25, count("value ? 'twice'"))
  end)

  it('runs again where it is repeatable and has another version, from the beginning', function()
    local function entry(version)
      return double({ version = version, repeatable = true, fn = function(document)
        document.version = version
      end })
    end
    run({ entry('1') })
    assert.same({ 'double' }, run({ entry('2') }).ran)
    assert.equal(25, count("value->>'version' = '2'"))
    support.refused('migration_changed', 'version is 3, the ledger holds 2', run,
      { double({ version = '3' }) })
  end)

  it('begins anew where it is repeatable and its version changed half way', function()
    local function entry(version, broken)
      return double({ version = version, repeatable = true, fn = function(document)
        if broken and document.n == 17 then error('broken') end
        document.version = version
      end })
    end
    support.refused('migration_failed', 'broken', run, { entry('1', true) })
    assert.equal('resume', migrations.plan({ entry('1') }, db)[1].action)
    assert.equal('rerun', migrations.plan({ entry('2') }, db)[1].action)
    assert.same({ 'double' }, run({ entry('2') }).ran)
    assert.equal(25, count("value->>'version' = '2'"))
  end)

  it('keeps its lock though the server ends sessions that say nothing', function()
    store:query(('ALTER DATABASE %s SET idle_session_timeout = 200'):format(db.database))
    local result = migrations.runMigrations({ double({ pause = 0.5 }) }, db, { redis = false })
    assert.same({ 'double' }, result.ran)
    assert.equal(25, count("value ? 'twice'"))
  end)

  it('takes turns with another runner that believes to be alone', function()
    local function entry()
      return double({ batch = 3, pause = 0.001, fn = function(document)
        document.seen = (document.seen or 0) + 1
      end })
    end
    local target = require('stores.migrate.lock')
    local hold = target.hold
    target.hold = function(one, _, _, fn) -- a lock that excludes nobody
      return one:session(function(session)
        return fn({ session = session, pid = 0, limits = {}, check = function() end })
      end)
    end
    local worker = require('stores.migrate.worker')
    local wait = worker.wait_for_others
    worker.wait_for_others = function() return true end
    local function one() run({ entry() }) end
    local ok, err = pcall(stores.all, { one, one })
    target.hold, worker.wait_for_others = hold, wait
    assert.is_true(ok, tostring(err))
    assert.equal(25, count("value->>'seen' = '1'"))
  end)

  it('is refused where its entry says too little, or too much', function()
    local function refused(text, more)
      local entry = { name = 'x', type = 'backfill' }
      for key, value in pairs(more) do entry[key] = value end
      support.refused('invalid_argument', text, run, { entry })
    end
    local fn = function() end
    refused("needs a 'fn'", {})
    refused("no 'table'", { fn = fn })
    refused('both', { fn = fn, migration = 'SELECT 1', table = 'parts' })
    refused('names no table', { fn = fn, table = 'a b' })
    refused('$limit rows', { migration = 'UPDATE parts SET value = value RETURNING id' })
    refused('$limit rows', { migration = "SELECT '$after', '$limit'" })
    refused('RETURNING', { migration = 'DELETE FROM parts WHERE id > $after AND id < $limit' })
    refused('one statement', { migration = SQL:gsub('%-%-.*$', '') .. '; SELECT 1' })
    refused("'transaction'", { fn = fn, table = 'parts', transaction = false })
    support.refused('invalid_argument', "'batch', which is not for type = 'db'", run,
      { { name = 'x', migration = 'SELECT 1', batch = 7 } })
    support.refused('invalid_option', 'batch', run, { double({ batch = 0 }) })
  end)

  it('is refused at the batch whose statement would not end', function()
    local again = statement({ migration = SQL:gsub('id > %$after AND NOT value %? \'twice\'',
      'id >= $after') })
    local err = support.refused('migration_failed', nil, run, { again })
    assert.matches('took a row again that a batch had before', err.message)
    local state = migrations.status({ again }, db)[1]
    assert.same({ 'unfinished', '25' }, { state.state, state.after })
    assert.same({ 'double' }, run({ statement() }).ran)
  end)

  it('is refused where its ids are no integers, and leaves nothing', function()
    store:query("CREATE TABLE texts (id text PRIMARY KEY, n int); INSERT INTO texts VALUES ('a')")
    local err = support.refused('migration_failed', nil, run, { statement({ migration = [[
      UPDATE texts SET n = 1 WHERE id IN
      (SELECT id FROM texts WHERE id > $after::text ORDER BY id LIMIT $limit) RETURNING id]] }) })
    assert.matches('of the type text', err.message)
    assert.equal(0, store:query('SELECT count(n)::int AS n FROM texts')[1].n)
  end)

  it('says which statement it was that gives no ids', function()
    local err = support.refused('migration_failed', '42703', run, { statement({ migration =
      'UPDATE parts SET value = value WHERE id > $after AND id < $limit RETURNING value' }) })
    assert.equal('double', err.migration)
  end)
end)
