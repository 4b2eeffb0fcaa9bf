-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local errors = require('stores.errors')
local sql = require('stores.sql.text')

local function texts(text)
  local all = {}
  for i, statement in ipairs(sql.split(text)) do all[i] = statement.text end
  return all
end

-- These are each one statement, whatever they hold.
local function whole(text)
  assert.same({ text, 'SELECT 2' }, texts(text .. ' ;\nSELECT 2'))
end

describe('splitting SQL', function()
  it('ends statements at semicolons', function()
    assert.same({ 'SELECT 1', 'SELECT 2' }, texts('SELECT 1; SELECT 2'))
    assert.same({ 'SELECT 1' }, texts('  SELECT 1 ; ; \n;'))
    assert.same({}, texts(''))
    assert.same({}, texts(' -- nothing\n /* at all */ ;'))
  end)

  it('leaves strings whole', function()
    whole("SELECT 'a;b'")
    whole("SELECT 'it''s; so'")
    whole([[SELECT 'a\', ';']])
    whole([[SELECT E'it\'s; so\\']])
    whole([[SELECT e'\\', ';']])
    whole("SELECT E'a''b;'")
    whole([[SELECT U&'d\0061t;a']])
    whole("SELECT B'01', X'1F;', N';'")
    whole("SELECT 1E';'")
  end)

  it('leaves quoted names whole', function()
    whole('SELECT "a;b", "we""ird;"')
    whole([[SELECT U&"d\0061t;a"]])
  end)

  it('leaves dollar quotes whole', function()
    whole('DO $$ BEGIN PERFORM 1; END $$')
    whole('DO $a$ BEGIN; $b$ ; $$ ; $b$ $a$')
    whole('DO $é1$ ; $é1$')
    whole("SELECT $1, 'x;', $2")
    whole('SELECT a$b$c, 1')
    assert.same({ 'SELECT a$b$c', 'SELECT d$b$e' }, texts('SELECT a$b$c; SELECT d$b$e'))
  end)

  it('passes over comments', function()
    whole('SELECT 1 -- a; b\n+ 1')
    whole('SELECT 1 /* a; /* nested; */ still; */ + 1')
    whole("SELECT 1 /* it's */ + 1")
    whole("SELECT 1 -- it's\n + 1")
    assert.same({ 'SELECT 1', 'SELECT 2' },
      texts('/* first */ -- and\n SELECT 1 -- end\n; /**/ SELECT 2 /*/ */'))
  end)

  it('leaves semicolons in parentheses alone', function()
    whole('CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM a; DELETE FROM b)')
  end)

  it('leaves the SQL bodies of functions whole', function()
    whole('CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END')
    whole('CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC\n'
      .. 'SELECT CASE WHEN true THEN 1 END; DELETE FROM t; END')
    assert.same({ 'BEGIN', 'SELECT 1', 'END' }, texts('BEGIN; SELECT 1; END'))
    assert.same({ 'CREATE TABLE atomic (a int)', 'SELECT 1' },
      texts('CREATE TABLE atomic (a int); SELECT 1'))
  end)

  it('knows the line on which each begins', function()
    local statements = sql.split("-- head\n\nSELECT 'a\nb';\n\n-- on\n  SELECT 2; SELECT 3")
    assert.same({ 3, 7, 7 }, { statements[1].line, statements[2].line, statements[3].line })
  end)

  it('refuses a text that ends inside something, with its line', function()
    for text, line in pairs({ ["SELECT 1;\nSELECT 'a"] = 2, ['SELECT "a'] = 1,
      ['\n\n/* a /* */'] = 3,
      ['SELECT $$ a'] = 1, ['DO $x$ a $y$'] = 1, [ [[SELECT E'a\']] ] = 1 }) do
      local ok, err = pcall(sql.split, text)
      assert.is_false(ok)
      assert.is_true(errors.is(err, 'invalid_argument'))
      assert.truthy(err.message:find('begins on line ' .. line, 1, true), err.message)
    end
  end)
end)

describe('the words of a statement', function()
  it('are those outside quotes and comments', function()
    assert.equal('SELECT', sql.first_word('/* x */ ( select 1)'))
    assert.is_nil(sql.first_word(" 'x' "))
    assert.same({ 'CREATE', 'INDEX', 'ON', 'T' },
      sql.keywords('create index "CONCURRENTLY" /* concurrently */ on t'))
  end)

  it('tell transaction control', function()
    for text, what in pairs({ begin = 'BEGIN',
      ['START TRANSACTION READ ONLY'] = 'START TRANSACTION',
      ['commit work'] = 'COMMIT', END = 'END', ['ROLLBACK TO x'] = 'ROLLBACK', abort = 'ABORT',
      ['/* */ savepoint x'] = 'SAVEPOINT', ['RELEASE x'] = 'RELEASE',
      ["PREPARE TRANSACTION 'x'"] = 'PREPARE TRANSACTION',
      ["COMMIT PREPARED 'x'"] = 'COMMIT PREPARED',
      ["ROLLBACK PREPARED 'x'"] = 'ROLLBACK PREPARED' }) do
      assert.equal(what, sql.transaction_control(text))
    end
    for _, text in ipairs({ 'PREPARE p AS SELECT 1', 'SELECT 1', 'DO $$ BEGIN COMMIT; END $$',
      'CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END', '', "'COMMIT'" }) do
      assert.is_nil(sql.transaction_control(text))
    end
  end)

  it('tell what refuses transactions', function()
    for _, text in ipairs({ 'VACUUM t', 'vacuum (full) t', 'CREATE INDEX CONCURRENTLY i ON t(a)',
      'CREATE UNIQUE INDEX concurrently IF NOT EXISTS i ON t(a)', 'DROP INDEX CONCURRENTLY i',
      'REINDEX TABLE CONCURRENTLY t', 'REINDEX (CONCURRENTLY) INDEX i', 'REINDEX DATABASE d',
      'ALTER TABLE t DETACH PARTITION p CONCURRENTLY', 'CREATE DATABASE d', 'DROP DATABASE d',
      'CREATE TABLESPACE s LOCATION \'/x\'', 'ALTER SYSTEM SET a = 1', 'CLUSTER', 'CLUSTER VERBOSE',
      'DISCARD ALL', 'ALTER DATABASE d SET TABLESPACE s' }) do
      assert.truthy(sql.refuses_transaction(text), text)
    end
    for _, text in ipairs({ 'SELECT 1', 'CREATE INDEX i ON t(a)', 'CLUSTER t', 'CLUSTER "t"',
      'CREATE INDEX "CONCURRENTLY" ON t(a)', 'CREATE TABLE t (a int)',
      'REFRESH MATERIALIZED VIEW CONCURRENTLY v',
      "COMMENT ON TABLE t IS 'CREATE INDEX CONCURRENTLY'", 'REINDEX TABLE t', 'DISCARD PLANS',
      'CREATE INDEX i ON t(a) -- CONCURRENTLY' }) do
      assert.is_nil(sql.refuses_transaction(text), text)
    end
  end)
end)

describe('two texts are the same', function()
  it('where only white space outside quotes differs', function()
    assert.is_true(sql.same('CREATE TABLE t (id int);', '\n  CREATE   TABLE t(\n\tid int\n);\n'))
    assert.is_true(sql.same('SELECT 1', 'SELECT 1\n'))
    assert.is_true(sql.same("SELECT 1 -- a  note\nFROM t", 'SELECT 1    -- a note\n\nFROM t'))
  end)

  it('but not where anything else does', function()
    assert.is_false(sql.same("SELECT 'a b'", "SELECT 'a  b'"))
    assert.is_false(sql.same('SELECT "a b"', 'SELECT "ab"'))
    assert.is_false(sql.same('DO $$ a  b $$', 'DO $$ a b $$'))
    assert.is_false(sql.same('SELECT n + 1', 'SELECT n + 2'))
    assert.is_false(sql.same("SELECT 'a' 'b'", "SELECT 'a''b'"))
    assert.is_false(sql.same('SELECT 1 - -1', 'SELECT 1 --1'))
  end)

  it('but not where the end of a comment moved', function()
    assert.is_false(sql.same('-- a\nDROP TABLE t;\nSELECT 1', '-- a DROP TABLE t;\nSELECT 1'))
  end)

  it('where a ledger lost its newlines, also inside quotes and behind comments', function()
    local file = "-- it's the first\nCREATE TABLE t (\n  id int -- key\n);\nDO $$\nBEGIN\nEND $$;\n"
      .. "INSERT INTO t VALUES ('a\nb');\n"
    assert.is_true(sql.same((file:gsub('\n', '')), file))
    assert.is_true(sql.same((file:gsub('\n', ' ')), file))
    assert.is_true(sql.same(file, (file:gsub('\n', ''))))
    assert.is_true(sql.same((file:gsub('\n', '')), (file:gsub('\n', '\r\n'))))
    assert.is_false(sql.same((file:gsub('\n', '')), (file:gsub('id int', 'id bigint'))))
    assert.is_false(sql.same((file:gsub('\n', '')), (file:gsub("'a\n", "'c\n"))))
  end)

  it('also where they cannot be read to the end', function()
    assert.is_true(sql.same("SELECT 'a", "SELECT  'a"))
    assert.is_false(sql.same("SELECT 'a", "SELECT 'b"))
  end)
end)
