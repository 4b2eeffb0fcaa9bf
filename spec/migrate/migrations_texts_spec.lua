-- The texts of migrations: how files are checked out, what pg_dump writes, what a text leaves in
-- its session; and the names of ledgers.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

describe('the text of a migration', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() support.close(store, db) end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  local function refused(pattern, text, more)
    local entry = { name = 'x', migration = text }
    for key, value in pairs(more or {}) do entry[key] = value end
    local ok, err = pcall(run, { entry })
    assert.is_false(ok, 'nothing was raised')
    assert.equal('invalid_argument', err.code)
    assert.matches(pattern, err.message)
    return err
  end

  local BOM = '\239\187\191'
  local TEXT = [[
CREATE TABLE crates (id bigint PRIMARY KEY, value jsonb);
-- a comment
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.value = NEW.value || '{"seen": true}';
  RETURN NEW;
END $$;
INSERT INTO crates VALUES (1, jsonb_build_object('note', 'two
lines'));
]]

  it('is the same with other ends of lines, and with a byte order mark', function()
    local crlf = TEXT:gsub('\n', '\r\n')
    for index, pair in ipairs({ { TEXT, crlf }, { crlf, TEXT }, { TEXT, BOM .. TEXT },
                                { BOM .. crlf, TEXT }, { TEXT, BOM .. crlf } }) do
      store:query('DROP TABLE IF EXISTS crates, migrations; DROP FUNCTION IF EXISTS touch')
      assert.same({ 'one' }, run({ { name = 'one', migration = pair[1] } }).ran, index)
      assert.same({ 'one' }, run({ { name = 'one', migration = pair[2] } }).skipped, index)
      assert.same({ 'one' }, run({ { name = 'one', repeatable = true,
                                     migration = pair[2] } }).skipped, index)
    end
  end)

  it('that takes away the ledger is undone, and says so', function()
    run({ { name = 'first', migration = 'CREATE TABLE kept (a int)' } })
    for _, text in ipairs({ 'DROP TABLE migrations', 'ALTER TABLE migrations RENAME TO others',
                            'DROP SCHEMA public CASCADE; CREATE SCHEMA public',
                            'CREATE SCHEMA other; ALTER TABLE migrations SET SCHEMA other' }) do
      local err = support.refused('migration_failed', 'takes away the ledger, public.migrations',
        run, { { name = 'first', migration = 'CREATE TABLE kept (a int)' },
               { name = 'x', migration = text } })
      assert.equal('none', err.outcome)
      assert.equal(1, store:query('SELECT count(*) AS n FROM migrations')[1].n)
      assert.equal(0, store:query('SELECT count(*) AS n FROM kept')[1].n)
    end
    -- nor is the ledger asked for by a path, or a role, that the text has set
    local role = 'owner_' .. db.database
    run({ { name = 'roles', migration = ('CREATE ROLE %s; GRANT ALL ON SCHEMA public TO %s;'
      .. " SET ROLE %s; SET search_path = ''; CREATE TABLE public.owned (a int)"):gsub('%%s',
        role) } })
    store:query(('DROP OWNED BY %s; DROP ROLE %s'):format(role, role))
  end)

  it('that takes its row from the ledger is undone, or stops where it is, and says so', function()
    local first = { name = 'first', migration = 'CREATE TABLE kept (a int)' }
    run({ first })
    local function stops(entry, statement)
      local err = support.refused('migration_failed', 'its row of the ledger, public.migrations',
        run, { first, entry })
      assert.equal(statement, err.statement)
      assert.is_true(store:query("SELECT to_regclass('late') IS NULL AS missing")[1].missing)
      assert.equal(1, store:query("SELECT count(*) AS n FROM migrations WHERE ran")[1].n)
    end
    for _, text in ipairs({ 'TRUNCATE migrations', 'DELETE FROM migrations',
                            'DO $$ BEGIN DELETE FROM migrations; END $$' }) do
      stops({ name = 'x', migration = text .. '; CREATE TABLE late (a int)' })
    end
    stops({ name = 'y', migration = 'TRUNCATE migrations; CREATE TABLE late (a int)',
            transaction = false }, 1)
    store:query('CREATE TABLE emptied (id bigint PRIMARY KEY, value jsonb);'
      .. " INSERT INTO emptied VALUES (1, '{}')")
    stops({ name = 'z', type = 'backfill', table = 'emptied', fn = function(_, tx)
      tx:query('DELETE FROM migrations')
    end })
    -- what runs on its own is committed: it says so, and the next statement does not run
    local err = support.refused('migration_failed', 'its row of the ledger', run, { first,
      { name = 'w', transaction = false, migration = 'CREATE PROCEDURE empties() LANGUAGE sql AS'
        .. ' $$ DELETE FROM migrations $$; CALL empties(); CREATE TABLE late (a int)',
        invalidates = {} } })
    assert.equal('w', err.migration)
    assert.is_true(store:query("SELECT to_regclass('late') IS NULL AS missing")[1].missing)
  end)

  it('is another one where a quoted line is', function()
    run({ { name = 'one', migration = TEXT } })
    local edited = TEXT:gsub('two\nlines', 'two \nlines')
    support.refused('migration_changed', "'one'", run, { { name = 'one', migration = edited } })
  end)

  it('is the same for a ledger that holds a byte order mark, and for what ran in part', function()
    run({ { name = 'one', migration = TEXT } })
    store:query("UPDATE migrations SET migration = $1 || migration", { BOM })
    assert.same({ 'one' }, run({ { name = 'one', migration = TEXT } }).skipped)
    local parts = { name = 'parts', transaction = false,
                    migration = "CREATE TABLE parts (a text DEFAULT 'p\nq');\nSELECT 1/0" }
    support.refused('migration_failed', '22012', run, { parts })
    parts.migration = "CREATE TABLE parts (a text DEFAULT 'p\r\nq');\r\nSELECT 1"
    assert.same({ 'parts' }, run({ parts }).ran)
  end)

  it('may begin with a byte order mark, as may files that were put together', function()
    run({ { name = 'bom', migration = BOM .. 'CREATE TABLE a (id int);\n' .. BOM
      .. '-- b\nCREATE TABLE b (id int);' .. BOM .. 'CREATE TABLE c (id int)' } })
    assert.is_true(store:query("SELECT to_regclass('c') IS NOT NULL AS there")[1].there)
  end)

  describe('of a dump', function()
    local HEAD = 'CREATE TABLE public.casks (id bigint NOT NULL, value jsonb);\n\n'
    local COPY = 'COPY public.casks (id, value) FROM stdin;\n'

    it('names the COPY, whatever its data look like', function()
      for _, data in ipairs({ '1\t{"n": 1}\n\\.\n\nSELECT 1;\n', "1\tO'Brien\n\\.\n\nSELECT 1;\n",
                              "1\tO'Brien\n2\tO'Hara\n\\.\n", '1\ta;b c\n\\.\n', '1\ta $$ b\n\\.\n',
                              '1\t/* \n\\.\n', '1\t"x\n\\.\n', '1\t\\N\n\\.\n' }) do
        local err = refused('COPY from or to the client', HEAD .. COPY .. data)
        assert.equal(3, err.line)
        assert.equal(2, err.statement)
        assert.equal('x', err.migration)
      end
      refused('COPY from or to the client',
        HEAD .. 'COPY casks FROM STDIN WITH (FORMAT csv);\n1,"O\'B"\n\\.\n')
      refused('COPY from or to the client', 'COPY (SELECT 1) TO STDOUT')
      -- a table may have the name, and a COPY of the server's own file is its own matter
      store:query('CREATE TABLE stdin (a int)')
      local _, err = pcall(run, { { name = 'x', migration = "COPY stdin FROM '/no/such/file'" } })
      assert.equal('58P01', err.sqlstate)
    end)

    it('names the commands of psql, with their line', function()
      local cases = {
        { '--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n' .. HEAD, '\\restrict', 5 },
        { '\\connect shop\n' .. HEAD, '\\connect', 1 },
        { HEAD .. "\\echo 'it''s", '\\echo', 3 },
        { 'SELECT 1;\r\n\\unrestrict abc\r\n', '\\unrestrict', 2 },
        { 'SELECT 1\n  \\gset\n', '\\gset', 2 },
      }
      for _, case in ipairs(cases) do
        local err = refused('is a command of psql', case[1])
        assert.truthy(err.message:find(case[2] .. ' is a command', 1, true), err.message)
        assert.equal(case[3], err.line)
      end
      assert.equal(2, refused('ends inside a string', 'SELECT 1;\n\'open').line)
      -- inside of quotes it is none
      run({ { name = 'fine', migration = [[SELECT '\restrict', E'\\', $$ \connect $$]] } })
    end)

    it('runs where it is SQL, and the migrations after it, and the store', function()
      local baseline = [[
SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET default_tablespace = '';
CREATE TABLE public.a (id bigint PRIMARY KEY, value jsonb);
SET row_security = off;
RESET ALL;
SELECT pg_catalog.set_config('search_path', '', false);
INSERT INTO public.a VALUES (1, '{}');
]]
      store:close()
      for _, poolsize in ipairs({ 1, 4 }) do
        support.drop(db)
        local admin = stores.Store.new(support.config(), nil, { cache = false })
        admin:query('CREATE DATABASE ' .. db.database, nil, { transaction = false })
        admin:close()
        db.poolsize = poolsize
        store = stores.Store.new(db, support.redis())
        local list = { { name = 'baseline', migration = baseline },
          { name = 'next', migration = 'CREATE TABLE b (id bigint PRIMARY KEY, value jsonb)' },
          { name = 'outside', transaction = false, migration = 'CREATE TABLE c (id int)' } }
        local before = store:query("SELECT current_setting('search_path') AS p")[1].p
        assert.same({ 'baseline', 'next', 'outside' }, store:migrate(list).ran)
        for _ = 1, 3 do
          assert.equal(before, store:query("SELECT current_setting('search_path') AS p")[1].p)
        end
        assert.equal('1', store:find('a', '1') and '1')
        store:insert('b', { id = '1' })
        assert.same({}, migrations.runMigrations(list, db).ran)
        store:close()
      end
      store = stores.Store.new(db, nil, { cache = false })
    end)
  end)

  it('leaves nothing in the sessions of the store, nor in that of the next migration', function()
    local list = {
      { name = 'leaves', migration = [[
        SELECT set_config('search_path', 'nowhere', false), set_config('work_mem', '77MB', false),
          pg_advisory_lock(4711);
        CREATE TEMP TABLE temporary (a int); PREPARE prepared AS SELECT 1; LISTEN something;
        SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY]] },
      { name = 'sees', migration = [[CREATE TABLE seen AS
        SELECT current_setting('search_path') AS path, current_setting('work_mem') AS mem,
          to_regclass('temporary') IS NULL AS gone,
          (SELECT count(*)::int FROM pg_prepared_statements WHERE name = 'prepared') AS known]] },
    }
    assert.same({ 'leaves', 'sees' }, run(list).ran)
    local row = store:query('SELECT * FROM seen')[1]
    assert.is_nil(row.path:find('nowhere', 1, true))
    assert.not_equal('77MB', row.mem)
    assert.is_true(row.gone)
    assert.equal(0, row.known)
    support.eventually(function()
      return #store:query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711") == 0
    end)
  end)

  it('uses new values of an enum in the next migration, and says so where it does not', function()
    store:query("CREATE TYPE mood AS ENUM ('calm'); CREATE TABLE moods (m mood)")
    run({ { name = 'a', migration = "ALTER TYPE mood ADD VALUE 'two'" },
          { name = 'b', migration = "INSERT INTO moods VALUES ('two')" } })
    local one = { name = 'c', migration = "ALTER TYPE mood ADD VALUE 'one';\n"
      .. "INSERT INTO moods VALUES ('one')" }
    local err = support.refused('migration_failed', '55P04', run, { one })
    assert.equal(2, err.line)
    assert.truthy(err.hint)
    one.transaction = false
    assert.same({ 'c' }, run({ one }).ran)
  end)

  describe('is written down in a ledger', function()
    local LIST = { { name = 'x', migration = 'SELECT 1' },
                   { name = 'y', transaction = false, migration = 'SELECT 1; SELECT 2' } }

    it('of any name that PostgreSQL takes', function()
      for _, name in ipairs({ '"Mig Rations"', '"a""b"', 'public.plain',
                              '"' .. ('m'):rep(63) .. '"', '"' .. ('日'):rep(21) .. '"',
                              '"' .. ('é'):rep(31) .. '"',
                              '"' .. ('x'):rep(55) .. '"', '"' .. ('y'):rep(56) .. '"',
                              '"' .. ('n'):rep(70) .. '"' }) do
        assert.same({ 'x', 'y' }, run(LIST, { ledger = name }).ran, name)
        assert.same({ 'x', 'y' }, run(LIST, { ledger = name }).skipped, name)
      end
    end)

    it('which has a journal of its own, though another one begins alike', function()
      local Ledger = require('stores.migrate.ledger')
      local seen = {}
      for _, name in ipairs({ ('m'):rep(60) .. 'a', ('m'):rep(60) .. 'b', ('日'):rep(20) .. 'a',
                              ('日'):rep(20) .. 'b', ('x'):rep(55), ('x'):rep(56) }) do
        local journal = Ledger.find(store, '"' .. name .. '"').journal
        assert.is_nil(seen[journal], journal)
        assert.is_true(#journal <= 63 + #'public.""')
        seen[journal] = name
      end
      -- what PostgreSQL cuts is the same name
      assert.equal(Ledger.find(store, '"' .. ('n'):rep(70) .. '"').key,
        Ledger.find(store, '"' .. ('n'):rep(63) .. '"').key)
    end)

    it('whose journal is not a table of somebody else', function()
      store:query('CREATE TABLE migrations_journal (id bigint PRIMARY KEY, value jsonb)')
      support.refused('invalid_option', 'is another table', run, LIST)
    end)

    it('whose journal may be of an older version', function()
      store:query('CREATE TABLE migrations_journal (name varchar(1024) NOT NULL, statement integer'
        .. ' NOT NULL, text text NOT NULL, started_on timestamptz NOT NULL DEFAULT now(),'
        .. ' done_on timestamptz, PRIMARY KEY (name, statement))')
      assert.same({ 'x', 'y' }, run(LIST).ran)
    end)
  end)

  it('says what it needs where the server has no room for it', function()
    local role = 'few_' .. db.database
    store:query(('CREATE ROLE %s LOGIN CONNECTION LIMIT 2'):format(role))
    store:query(('GRANT ALL ON SCHEMA public TO %s'):format(role))
    local own = {}
    for key, value in pairs(db) do own[key] = value end
    own.user, own.acquire_timeout = role, 1
    local few = stores.Store.new(own, nil, { cache = false })
    few:query('SELECT 1')
    local ok, err = pcall(few.migrate, few, { { name = 'a', migration = 'SELECT 1' } })
    assert.is_false(ok)
    assert.matches('needs two connections', err.hint)
    few:close()
    support.eventually(function()
      return pcall(migrations.runMigrations, { { name = 'a', migration = 'SELECT 1' } }, own)
    end, 30)
    store:query(('DROP OWNED BY %s; DROP ROLE %s'):format(role, role))
  end)

  it('runs through a store whose pool has one connection, busy or not', function()
    store:close()
    db.poolsize = 1
    store = stores.Store.new(db, nil, { cache = false })
    assert.same({ 'a' }, run({ { name = 'a', migration = 'CREATE TABLE a (id int)' } }).ran)
    store:transaction(function(tx)
      tx:query('SELECT 1')
      assert.same({ 'b' }, run({ { name = 'b', migration = 'CREATE TABLE b (id int)' } }).ran)
    end)
  end)
end)
