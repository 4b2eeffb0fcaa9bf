--- stores migrate: migrations from a shell.
-- Plain pass alone: programs of their own; what migrations do is in the passes of spec/migrate.

local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local support = require('spec.support')

local store, db, folder, file

before_each(function()
  store, db = support.store({})
  folder = shell.folder()
  file = folder .. '/list.lua'
  shell.write(file, [[return {
    { name = 'things', migration = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)' },
    { name = 'first', migration = "INSERT INTO things VALUES (1, '{}')" },
  }]])
end)

after_each(function()
  support.close(store, db)
  shell.run('rm -rf ' .. shell.quoted(folder))
end)

local function run(...) return command.run({ 'migrate', ... }, { db = db }) end

describe('stores migrate', function()
  it('tells what it would do, does it, and does it once', function()
    local result = run(file, 'plan')
    assert.equal(0, result.code, result.err)
    assert.equal('action  migration\nrun     things\nrun     first\n', result.out)
    assert.equal(2, json.decode(run('plan', file, '--json').out).pending)
    result = run(file)
    assert.equal('2 ran, 0 had run before\n', result.out, result.err)
    assert.matches('things: done %(%d', result.err)
    assert.equal('0 ran, 2 had run before\n', run(file).out)
    assert.same({ ran = {}, skipped = { 'things', 'first' }, untold = {}, later = {},
      covered = {} },
      json.decode(run(file, 'run', '--json').out))
    assert.matches('\ndone  +%d%d%d%d%-[^\n]*  things\n', run(file, 'status').out)
    assert.equal('done', json.decode(run(file, 'status', '--json').out)[1].state)
  end)

  it('tells programs, too, of which tables no cache was told', function()
    run(file)
    shell.write(file, [[return {
      { name = 'second', migration = "INSERT INTO things VALUES (2, '{}')" } }]])
    local result = command.run({ 'migrate', file, '--json', '--url',
      ('postgresql://%s@/%s?host=%s&port=%d'):format(db.user, db.database, db.host, db.port) })
    assert.equal(0, result.code, result.err)
    assert.same({ 'public.things' }, json.decode(result.out).untold)
  end)

  it('compares, and fails where something differs', function()
    local result = run(file, 'verify', '--no-schema')
    assert.equal(1, result.code)
    assert.equal('pending: things\npending: first\n', result.out)
    run(file)
    assert.same({ code = 0, out = 'as the list says\n', err = '' },
      run(file, 'verify', '--no-schema'))
    shell.write(file, "return { { name = 'things', migration = 'SELECT 1' } }")
    result = run(file, 'verify', '--no-schema', '--json')
    assert.equal(1, result.code)
    assert.same({ 'first' }, json.decode(result.out).reports.unknown)
    assert.same({ 'things' }, json.decode(result.out).reports.changed)
    result = run(file, 'plan')
    assert.equal(1, result.code)
    assert.matches('\nchanged  things', result.out)
    result = run(file)
    assert.equal(1, result.code)
    assert.matches("^stores: migration_changed: migration 'things' ran on", result.err)
  end)

  it('writes down what a database has already', function()
    store:query('CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)')
    local result = run(file, 'baseline', '--upto', 'things')
    assert.equal('written down: things\n', result.out, result.err)
    assert.equal('1 ran, 1 had run before\n', run(file).out)
  end)

  it('tells the cache, or says that it cannot', function()
    run(file)
    assert.is_nil(store:find('things', '1').n)
    local text = shell.read(file):gsub('}$', [[
      { name = 'n', migration = "UPDATE things SET value = '{\"n\": 1}'" } }]])
    shell.write(file, text)
    assert.equal(0, run(file).code)
    assert.equal(1, store:find('things', '1').n)

    store:query("DELETE FROM migrations WHERE name = 'n'")
    local url = ('postgresql://%s@/%s?host=%s&port=%s'):format(db.user, db.database, db.host,
      db.port)
    local result = command.run({ 'migrate', file, '--url', url })
    assert.equal(0, result.code, result.err)
    assert.matches('changed rows of public.things, and no cache was told', result.err)
    store:query("DELETE FROM migrations WHERE name = 'n'")
    result = command.run({ 'migrate', file, '--url', url, '--redis', 'none', '--json' })
    assert.is_nil(result.err:find('no cache was told', 1, true), result.err)
  end)

  it('runs in one of ten processes that begin at once, and in all of them it is done', function()
    local children, ran = {}, 0
    for at = 1, 10 do
      children[at] = command.start({ 'migrate', file, '--json' }, { db = db }, folder .. '/errors')
    end
    for _, child in ipairs(children) do
      local told = json.decode(child:wait())
      assert.equal(2, #told.ran + #told.skipped)
      if #told.ran > 0 then ran = ran + 1 end
    end
    assert.equal(1, ran)
    assert.equal('1', store:find('things', '1').id)
  end)

  it('is called with a list, and an action that is one', function()
    assert.equal(2, run(folder .. '/none.lua').code)
    assert.equal(2, run(file, 'plam').code)
    shell.write(file, 'return 1')
    local result = run(file)
    assert.equal(2, result.code)
    assert.matches('must return an array of migrations', result.err)
  end)

  it('stops at a signal where it is safe, and goes on from there', function()
    shell.write(file, [[return {
      { name = 'one', migration = 'CREATE TABLE one (id int)' },
      { name = 'two', transaction = false,
        migration = 'SELECT pg_sleep(4); CREATE TABLE two (id int)' },
      { name = 'three', migration = 'CREATE TABLE three (id int)' },
    }]])
    local errors = folder .. '/errors'
    local child = command.start({ 'migrate', file }, { db = db }, errors)
    support.eventually(function()
      return support.psql(db, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4)%' "
        .. "AND state = 'active' AND pid <> pg_backend_pid()"):find('1')
    end, 20, 'it is in the second one')
    child:signal('TERM')
    child:wait()
    local text = shell.read(errors)
    assert.matches('migrate stops at the next safe place', text)
    assert.matches("stopped before 'two' was done, after 1 that were; the same command", text)
    assert.equal('2 ran, 1 had run before\n', run(file).out)
  end)
end)
