-- The list of migrations: what is refused before anything runs, and how a file gives it.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local TABLE = migrating.TABLE
local raises = migrating.raises

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  describe('the list', function()
    local function refused(list, pattern, code)
      raises(code or 'invalid_argument', pattern, run, list)
      assert.is_false(migrating.exists(store, 'test'))
      assert.is_false(migrating.exists(store, 'migrations'))
    end

    it('is checked before anything runs', function()
      refused('x', 'must be an array')
      refused({ TABLE, name = 'x' }, "have a key 'name'")
      refused({ TABLE, nil, TABLE }, 'without gaps')
      refused({ TABLE, 'x' }, 'migration 2 must be a table')
      refused({ TABLE, { migration = 'SELECT 1' } }, 'migration 2 has no name')
      refused({ TABLE, { name = 7, migration = 'SELECT 1' } }, 'name must be a string',
        'invalid_option')
      refused({ TABLE, { name = '', migration = 'SELECT 1' } }, 'not empty', 'invalid_option')
      refused({ TABLE, { name = ('x'):rep(1025), migration = 'SELECT 1' } }, 'at most 1024 bytes',
        'invalid_option')
      refused({ TABLE, { name = 'x' } }, "'x' has no 'migration'")
      refused({ TABLE, { name = 'x', migration = ' \n' } }, 'holds no statement')
      refused({ TABLE, { name = 'x', migration = 7 } }, 'needs SQL text')
      refused({ TABLE, { name = 'x', migration = print } }, "say type = 'lua'")
      refused({ TABLE, { name = 'x', type = 'lua', migration = 'x' } }, 'needs a function')
      refused({ TABLE, { name = 'x', type = 'sql', migration = 'x' } }, "'db', 'lua'",
        'invalid_option')
      refused({ TABLE, { name = 'x', migration = 'SELECT 1', repeatble = true } },
        "unknown key 'repeatble'.*'repeatable'", 'invalid_option')
      refused({ TABLE, { name = 'x', migration = 'SELECT 1', lock_timeout = '5s' } },
        'lock_timeout must be', 'invalid_option')
      refused({ TABLE, { name = 'table', migration = 'SELECT 1' } }, 'has the name of migration 1')
    end)

    it('is UTF-8, as the ledger is', function()
      local function text(migration, pattern)
        refused({ TABLE, { name = 'x', migration = migration } }, pattern)
        refused({ TABLE, { name = 'x', migration = migration, transaction = false } }, pattern)
      end
      text('SELECT 1;\n-- caf\233\nSELECT 2', "migration 2 'x' is not UTF%-8, on line 2")
      text('-- caf\233', 'is not UTF%-8, on line 1')
      text('\255\254S\0E\0', "'x' is UTF%-16: save it as UTF%-8")
      text('\254\255\0S\0E', 'is UTF%-16')
      text('SELECT 1\0', 'holds a NUL byte')
      refused({ TABLE, { name = 'caf\233', migration = 'SELECT 1' } }, 'a name in UTF%-8',
        'invalid_option')
      refused({ TABLE, { name = 'x', type = 'lua', version = '\233', migration = print } },
        'version must be a text in UTF%-8', 'invalid_option')
    end)

    it('does not contain itself', function()
      local list = { TABLE }
      list[2] = list
      refused(list, 'a list that contains itself')
      local path = os.tmpname()
      local file = assert(io.open(path, 'w'))
      file:write("local list = {} for i = 1, 9 do list[i] = list end return list")
      file:close()
      support.refused('invalid_argument', 'a list that contains itself', migrations.load, path)
      os.remove(path)
    end)

    it('holds no transaction control and no session settings', function()
      local function statement(text, more)
        local entry = { name = 'x', migration = 'SELECT 1;\n' .. text }
        for key, value in pairs(more or {}) do entry[key] = value end
        return { TABLE, entry }
      end
      for _, text in ipairs({ 'BEGIN', 'commit', 'START TRANSACTION', 'ROLLBACK', 'END', 'ABORT',
                              "PREPARE TRANSACTION 'x'", '/* sly */ COMMIT' }) do
        refused(statement(text), "'x', statement 2 %(line 2%): [A-Z ]+ has no place")
      end
      refused(statement('SET search_path = app', { transaction = false }),
        'settings = { name = value }')
      refused(statement("SET client_encoding = 'LATIN1'"), 'is UTF%-8')
      refused(statement("SET NAMES 'WIN1252'"), 'is UTF%-8')
      refused(statement('COPY test FROM STDIN'), 'COPY from or to the client')
      refused(statement('VACUUM'), 'say transaction = false')
      refused(statement('DROP INDEX CONCURRENTLY i', { transaction = true }), 'transaction = true')
      refused(statement("SELECT 'open"), "'x': the SQL ends inside a string")
      refused(statement('CALL p()', { transaction = false }), 'invalidates')
    end)

    it('may hold savepoints, and what only looks like control', function()
      run({ TABLE, { name = 'x', migration = [[
        SAVEPOINT s; INSERT INTO test VALUES (1, '{}'); ROLLBACK TO SAVEPOINT s; RELEASE s;
        SET LOCAL work_mem = '8MB';
        CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END; $$;
        INSERT INTO test VALUES (2, '{"a": "; COMMIT; --"}'); -- ; COMMIT;
      ]] } })
      assert.equals(1, migrating.count(store, 'test'))
    end)

    it('does not look at the statements of what ran before', function()
      migrating.adopt(store, 'old', 'BEGIN; CREATE TABLE z (); COMMIT;', true)
      local list = { { name = 'old', migration = 'BEGIN;\nCREATE TABLE z ();\nCOMMIT;' }, TABLE }
      assert.same({ 'table' }, run(list).ran)
    end)

    it('goes with options that are known', function()
      raises('invalid_option', "did you mean 'ledger'", run, { TABLE }, { leger = 'x' })
      raises('invalid_option', 'seconds are meant', run, { TABLE }, { timeout = 30000 })
      run({ TABLE }, { timeout = math.huge, lock_timeout = 0 })
      for _, verb in ipairs({ 'runMigrations', 'plan', 'status', 'verify', 'baseline' }) do
        local fn = migrations[verb]
        raises('invalid_argument', 'a db config, a Store or Shards, got nil', fn, { TABLE })
        raises('invalid_argument', 'got a number', fn, { TABLE }, 5)
        raises('invalid_argument', 'got true', fn, { TABLE }, true)
        raises('invalid_argument', 'got a string', fn, { TABLE }, 'postgres')
      end
      raises('invalid_option', 'migrate_url', migrations.runMigrations, { TABLE },
        { database = 'x', pooler = 'transaction' })
    end)
  end)

  describe('load', function()
    local function file(text)
      local name = os.tmpname()
      local handle = assert(io.open(name, 'w'))
      handle:write(text)
      handle:close()
      finally(function() os.remove(name) end)
      return name
    end

    it('gives the list of a file', function()
      local list = migrations.load(file("return { { name = 'a', migration = 'SELECT 1' } }"))
      assert.same({ 'a' }, run(list).ran)
    end)

    it('says what is wrong with a file', function()
      raises('invalid_argument', 'cannot be read', migrations.load, '/nowhere/at/all.lua')
      raises('invalid_argument', 'cannot be read', migrations.load, file('return {'))
      raises('invalid_argument', 'fails: .*on purpose', migrations.load,
        file("error('on purpose')"))
      raises('invalid_argument', 'must return an array', migrations.load, file('return 7'))
      raises('invalid_argument', 'has no name', migrations.load, file("return { {} }"))
    end)
  end)
end)
