--- stores migrate: what takes long, waits for another day, or may hurt.
-- Plain pass alone: programs of their own; what migrations do is in the passes of spec/migrate.

local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local support = require('spec.support')

describe('stores migrate', function()
  local store, db, folder, file

  before_each(function()
    store, db = support.store({ 'things' })
    store:query([[INSERT INTO things SELECT n, jsonb_build_object('id', n::text)
      FROM generate_series(1, 40) AS n]])
    folder = shell.folder()
    file = folder .. '/list.lua'
  end)

  after_each(function()
    support.close(store, db)
    shell.run('rm -rf ' .. shell.quoted(folder))
  end)

  local function run(...) return command.run({ 'migrate', ... }, { db = db }) end

  it('stops a backfill between two batches, and goes on from there', function()
    shell.write(file, [[return { { name = 'seen', type = 'backfill', table = 'things', batch = 10,
      pause = 0.3, fn = function(thing) thing.seen = (thing.seen or 0) + 1 end } }]])
    local errors = folder .. '/errors'
    local child = command.start({ 'migrate', file }, { db = db }, errors)
    support.eventually(function() return store:count('things', { seen = 1 }) > 0 end, 20)
    child:signal('INT')
    child:wait()
    assert.matches("stopped before 'seen' was done, after 0 that were", shell.read(errors))
    local done = store:count('things', { seen = 1 })
    assert.is_true(done < 40, tostring(done))
    local status = run(file, 'status').out
    assert.matches('unfinished +seen +' .. done .. ' rows are done, to id ' .. done, status)
    assert.equal('1 ran, 0 had run before\n', run(file).out)
    assert.equal(40, store:count('things', { seen = 1 }))
  end)

  it('stops while it waits for another runner', function()
    shell.write(file, "return { { name = 'a', migration = 'SELECT pg_sleep(30)' } }")
    local first = command.start({ 'migrate', file }, { db = db }, folder .. '/first')
    support.eventually(function()
      return #store:query("SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%'"
        .. " AND state = 'active' AND pid <> pg_backend_pid()") > 0
    end, 20)
    local errors = folder .. '/errors'
    shell.write(errors, '') -- to be looked at before there is a process
    local second = command.start({ 'migrate', file }, { db = db }, errors)
    support.eventually(function() return shell.read(errors):find('waiting for process') end, 25)
    second:signal('INT')
    second:wait()
    assert.matches("stopped before 'a' was done, after 0 that were", shell.read(errors))
    first:signal('KILL')
    first:wait()
  end)

  it('runs contracts with --finish', function()
    shell.write(file, [[return {
      { name = 'old', migration = 'CREATE TABLE old (id int)' },
      { name = 'no old', phase = 'contract', migration = 'DROP TABLE old' } }]])
    local result = run(file)
    assert.equal('1 ran, 0 had run before, 1 for --finish\n', result.out, result.err)
    assert.matches('no old: waits for %-%-finish', result.err)
    assert.equal(0, run(file, 'verify', '--no-schema').code)
    assert.equal(0, json.decode(run(file, 'plan', '--json').out).pending)
    assert.equal(1, json.decode(run(file, 'plan', '--finish', '--json').out).pending)
    assert.equal('1 ran, 1 had run before\n', run(file, '--finish', '--takeover').out)
  end)

  it('starts a new database from a checkpoint', function()
    shell.write(file, [[return { { name = 'first', migration = 'SELECT 1/0' },
      { name = 'all', type = 'checkpoint', migration = 'CREATE TABLE second (id int)' } }]])
    assert.equal('1 ran, 0 had run before, a checkpoint stands for 1\n', run(file).out)
    assert.same({ 'first', 'all' }, json.decode(run(file, '--json').out).skipped)
  end)

  it('says what may hurt, with the safe form, and fails then', function()
    shell.write(file, [[return {
      { name = 'index', migration = 'SELECT 1;\nCREATE INDEX i ON things (id)' },
      { name = 'no things', migration = 'DROP TABLE things' } }]])
    local result = run(file, 'lint', '--large', '0')
    assert.equal(1, result.code, result.err)
    assert.matches('^index, line 2: index: nobody writes to things %(about %d+ rows, 8.0 kB%)'
      .. '[^\n]*\n  CREATE INDEX CONCURRENTLY IF NOT EXISTS name', result.out)
    assert.matches('\nno things, line 1: drop: ', result.out)
    -- the table is small
    local findings = json.decode(run('lint', file, '--json').out)
    assert.same({ 'drop' }, { findings[1].rule, (findings[2] or {}).rule })
    -- and nobody knows how large it is
    result = command.run({ 'migrate', file, 'lint', '--json' })
    assert.equal(1, result.code, result.err)
    assert.equal(2, #json.decode(result.out))
    shell.write(file, "return { { name = 'fine', migration = 'CREATE TABLE fine (id int)' } }")
    assert.same({ code = 0, out = 'nothing is found\n', err = '' }, run(file, 'lint'))
  end)

  it('tries a list on a server of its own, in every way', function()
    shell.write(file, [[return { { name = 'a', migration = 'CREATE TABLE a (id int)' },
      { name = 'all', type = 'checkpoint', migration = 'CREATE TABLE a (id int)' } }]])
    local result = command.run({ 'migrate', file, 'test' })
    assert.equal("good from empty\ngood from the checkpoint 'all'\n", result.out, result.err)
    shell.write(file, (shell.read(file):gsub('id int', 'id text', 1)))
    local url = ('postgresql://%s@/postgres?host=%s&port=%d'):format(db.user, db.host, db.port)
    result = command.run({ 'migrate', 'test', file, '--scratch', url })
    assert.equal(1, result.code)
    assert.matches('column public%.a%.id is integer, not text', result.err)
  end)

  it('leaves nothing behind where it is stopped while it tries', function()
    shell.write(file, [[return {
      { name = 'a', migration = 'CREATE TABLE a (id int); SELECT pg_sleep(4)' },
      { name = 'b', migration = 'CREATE TABLE b (id int)' } }]])
    local errors = folder .. '/errors'
    local child = command.start({ 'migrate', file, 'test', '--scratch',
      ('postgresql://%s@/postgres?host=%s&port=%d'):format(db.user, db.host, db.port) }, {}, errors)
    support.eventually(function()
      return support.psql(db, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' "
        .. "AND state = 'active' AND pid <> pg_backend_pid()"):find('1')
    end, 20)
    child:signal('INT')
    child:wait()
    assert.matches('stopped from empty; nothing of it is kept', shell.read(errors))
    assert.equal('0\n', support.psql(db, 'SELECT count(*) FROM pg_database'
      .. " WHERE datname LIKE 'stores_scratch_%'"))
  end)

  it('compares the tables of a database with what the list makes', function()
    shell.write(file, [[return { { name = 'a', migration = 'CREATE TABLE a (id int)' } }]])
    store:query('DROP TABLE things')
    run(file)
    local url = ('postgresql://%s@/postgres?host=%s&port=%d'):format(db.user, db.host, db.port)
    local result = run(file, 'verify', '--scratch', url)
    assert.same({ code = 0, out = 'as the list says\n', err = '' }, result)
    store:query('ALTER TABLE a ADD n int')
    result = run(file, 'verify', '--scratch', url)
    assert.equal(1, result.code)
    assert.equal('column public.a.n is of no migration\n', result.out, result.err)
    assert.equal('extra', json.decode(run(file, 'verify', '--json').out).reports
      .differences[1].problem)
    assert.equal(0, run(file, 'verify', '--no-schema').code)
  end)

  it('shows what comes of a declared table, and runs it', function()
    shell.write(file, [[local stores = require('stores')
      return { stores.define('people', { indexes = { 'age' }, unique = { 'email' } }),
        { name = 'seen', type = 'backfill', table = 'people', fn = function() end } }]])
    local plan = run(file, 'plan').out
    assert.matches('run +table people\nrun +table people: index people_age_idx_%x+ +outside of a '
      .. 'transaction\nrun +table people: unique people_email_key_%x+', plan)
    assert.equal('nothing is found\n', run(file, 'lint', '--large', '0').out)
    assert.equal('4 ran, 0 had run before\n', run(file).out)
    assert.matches('done +%d[^\n]+table people: unique', run(file, 'status').out)
  end)

  it('adds a migration to a file', function()
    shell.write(file .. '.new', 'another file')
    local result = command.run({ 'migrate', file, 'new', 'users have a city' })
    assert.equal('another file', shell.read(file .. '.new'))
    assert.equal(0, result.code, result.err)
    assert.matches("has now\n  { name = 'users have a city'", result.out)
    assert.equal(0, command.run({ 'migrate', 'new', file, 'more', '--type', 'backfill' }).code)
    assert.matches('run +users have a city\nrun +more\n', run(file, 'plan').out)
    assert.equal(2, command.run({ 'migrate', file, 'new' }).code)
    assert.equal(2, command.run({ 'migrate', file, 'new', 'more' }).code)
    assert.equal(2, run(file, 'plan', 'more').code)
  end)
end)
