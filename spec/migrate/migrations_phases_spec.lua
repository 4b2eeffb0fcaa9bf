-- Contracts, which wait for a run that finishes, and checkpoints, from which a new database starts.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

describe('a list of migrations', function()
  local db, store, log

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
    log = {}
  end)

  after_each(function() support.close(store, db) end)

  local function run(list, opts) return store:migrate(list, opts) end

  local function there(relation)
    return store:query('SELECT to_regclass($1) IS NOT NULL AS there', { relation })[1].there
  end

  local function states(list)
    local words = {}
    for place, row in ipairs(migrations.status(list, db)) do
      words[place] = row.name .. ' ' .. row.state
    end
    return table.concat(words, ', ')
  end

  local function actions(list, opts)
    local words = {}
    for place, item in ipairs(migrations.plan(list, db, opts)) do
      words[place] = item.name .. ' ' .. item.action
    end
    return table.concat(words, ', ')
  end

  local function creates(name)
    return { name = name, migration = 'CREATE TABLE ' .. name .. ' ()' }
  end

  describe('with contracts', function()
    local LIST = {
      creates('old'), { name = 'drop old', phase = 'contract', migration = 'DROP TABLE old' },
      creates('new'),
    }

    it('leaves them out until a run finishes', function()
      local events = {}
      local result = run(LIST, { on = function(event)
        if event.event == 'later' then events[#events + 1] = event.name end
      end })
      assert.same({ 'old', 'new' }, result.ran)
      assert.same({ 'drop old' }, result.later)
      assert.same({ 'drop old' }, events)
      assert.is_true(there('old'))
      assert.equal('old done, drop old later, new done', states(LIST))
      assert.equal('old skip, drop old later, new skip', actions(LIST))
      assert.equal('old skip, drop old run, new skip', actions(LIST, { finish = true }))
      local report = migrations.verify(LIST, db)
      assert.is_true(report.ok)
      assert.same({ 'drop old' }, report.later)
      assert.same({ 'drop old' }, run(LIST).later)

      result = run(LIST, { finish = true })
      assert.same({ 'drop old' }, result.ran)
      assert.is_nil(result.later)
      assert.is_false(there('old'))
      assert.equal('old done, drop old done, new done', states(LIST))
    end)

    it('counts each once over shards, as what became of it', function()
      local other = support.db()
      local shards = stores.Shards.new({ { db = db, id = 0, opts = { cache = false } },
                                         { db = other, id = 1, opts = { cache = false } } })
      assert.same({ 'old', 'new' }, migrations.runMigrations(LIST, shards,
        { dry_run = true }).pending)
      local result = migrations.runMigrations(LIST, shards)
      assert.same({ 'old', 'new' }, result.ran)
      assert.same({ 'drop old' }, result.later)
      assert.same({}, result.skipped)
      assert.same({ 'old', 'new' }, migrations.runMigrations(LIST, shards).skipped)
      result = migrations.runMigrations({ LIST[1], { name = 'late', migration = 'SELECT 1' } },
        shards, { stopping = function() return true end })
      assert.same({ 'late', 'old' }, { result.stopped, unpack(result.skipped) })
      support.close(shards)
      support.drop(other)
    end)

    it('finishes one that failed in part with the next run that finishes', function()
      local list = { LIST[1], { name = 'drop', phase = 'contract', transaction = false,
        migration = 'CREATE TABLE one (); DROP TABLE old, nowhere' } }
      support.refused('migration_failed', 'nowhere', run, list, { finish = true })
      assert.same({ 'drop' }, run(list).later)
      list[2].migration = 'CREATE TABLE one (); DROP TABLE old'
      assert.same({ 'drop' }, run(list, { finish = true }).ran)
    end)

    it('does not let an edited one pass', function()
      run(LIST, { finish = true })
      support.refused('migration_changed', "'drop old'", run, { LIST[1],
        { name = 'drop old', phase = 'contract', migration = 'DROP TABLE elsewhere' } })
    end)
  end)

  describe('with checkpoints', function()
    local function lua(name)
      return { name = name, type = 'lua', migration = function() log[#log + 1] = name end }
    end

    local function list_of(more)
      local list = {
        creates('a'), lua('data of a'),
        { name = 'not a', phase = 'contract', migration = 'SELECT 1' },
        { name = 'first', type = 'checkpoint', migration = 'CREATE TABLE a ()' },
        creates('b'),
        { name = 'second', type = 'checkpoint',
          migration = 'CREATE TABLE a ();\nCREATE TABLE b ()' },
        creates('c'),
      }
      for _, entry in ipairs(more or {}) do list[#list + 1] = entry end
      return list
    end

    it('starts a new database from the last one', function()
      local list = list_of()
      assert.equal('a covered, data of a covered, not a covered, first covered, b covered,'
        .. ' second run, c run', actions(list))
      local result = run(list)
      assert.same({ 'second', 'c' }, result.ran)
      assert.same({ 'a', 'data of a', 'not a', 'first', 'b' }, result.covered)
      assert.same({}, log)
      assert.is_true(there('a') and there('b') and there('c'))
      assert.equal('a done, data of a done, not a done, first done, b done, second done, c done',
        states(list))
      assert.equal(7, #run(list_of({ { name = 'd', migration = 'SELECT 1' } })).skipped)
    end)

    it('lets an old one go on with its migrations, and pass it by', function()
      local list = list_of()
      run({ list[1] })
      assert.equal('a skip, data of a run, not a later, first later, b run, second later, c run',
        actions(list))
      local result = run(list)
      assert.same({ 'data of a', 'b', 'c' }, result.ran)
      assert.same({ 'not a', 'first', 'second' }, result.later)
      assert.same({ 'data of a' }, log)
      assert.same({ 'not a', 'first', 'second' }, run(list, { finish = true }).ran)
      assert.is_true(migrations.verify(list, db).ok)
      -- its text is of no matter to this one any more
      list[4].migration = 'CREATE TABLE a (id int)'
      assert.equal(7, #run(list).skipped)
    end)

    it('is whole or not there', function()
      local list = list_of()
      list[6].migration = 'CREATE TABLE a ();\nCREATE TABLE b ();\nSELECT 1/0'
      local err = support.refused('migration_failed', 'second', run, list)
      assert.equal(3, err.line)
      assert.is_false(there('a'))
      assert.same({}, store:query('SELECT FROM migrations'))
    end)

    it('takes the place of those that are gone from the list', function()
      local old = { creates('a'), creates('b') }
      local list = { { name = 'now', type = 'checkpoint', replaces = { 'a', 'b' },
                       migration = 'CREATE TABLE a (); CREATE TABLE b ()' }, creates('c') }
      run({ old[1] })
      local err = support.refused('migration_failed', "takes the place of 'b'", run, list)
      assert.equal('now', err.migration)
      assert.is_false(there('c'))
      run(old)
      assert.same({ 'now', 'c' }, run(list).ran)
      assert.equal('now done, c done, a replaced, b replaced', states(list))
      assert.is_true(migrations.verify(list, db).ok)
    end)

    it('is written down by baseline like the others', function()
      local list = list_of()
      assert.equal(7, #migrations.baseline(list, db).ran)
      assert.is_false(there('a'))
      assert.equal(7, #run(list).skipped)
    end)

    it('reads its schema from a file beside the list, as pg_dump writes it', function()
      local folder = os.tmpname()
      os.remove(folder)
      assert(os.execute('mkdir ' .. folder) == 0)
      local function write(name, text)
        local file = assert(io.open(folder .. '/' .. name, 'w'))
        file:write(text)
        file:close()
      end
      write('schema.sql', "SELECT pg_catalog.set_config('search_path', '', false);\n"
        .. 'CREATE TABLE public.a (id bigint);\n')
      write('list.lua', [[return { { name = 'old', migration = 'SELECT 1' },
        { { name = 'now', type = 'checkpoint', file = 'schema.sql' } },
        { name = 'b', migration = 'CREATE TABLE b ()' } }]])
      local list = migrations.load(folder .. '/list.lua')
      assert.same({ 'now', 'b' }, run(list).ran)
      assert.is_true(there('public.a') and there('public.b'))
      write('list.lua', "return { { name = 'x', file = 'nowhere.sql' } }")
      support.refused('invalid_argument', 'nowhere.sql', migrations.load, folder .. '/list.lua')
      os.execute('rm -rf ' .. folder)
    end)

    it('is refused where it stands for nothing, or cannot be whole', function()
      local function refused(text, entry, before)
        support.refused('invalid_argument', text, run, { before or entry, before and entry })
      end
      local entry = { name = 'x', type = 'checkpoint', migration = 'SELECT 1' }
      refused('stands for none', entry)
      entry.phase = 'contract'
      refused("'phase'", entry, creates('a'))
      entry.phase, entry.migration = nil, 'CREATE INDEX CONCURRENTLY i ON a (b)'
      refused('cannot be in a checkpoint', entry, creates('a'))
      support.refused('invalid_argument', "a 'file' and a 'migration'", run,
        { { name = 'x', file = 'x.sql', migration = 'SELECT 1' } })
    end)
  end)
end)
