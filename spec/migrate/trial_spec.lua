-- Migrations that are tried in every way, schemas that are compared, and new entries of a file.
-- Plain pass alone: Lua over the verbs, whose C other files of these passes run.

local migrations = require('migrations')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local function creates(name)
  return { name = name, migration = ('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)')
    :format(name) }
end

local function databases()
  return support.psql(support.config(), "SELECT count(*) FROM pg_database WHERE datname LIKE"
    .. " 'stores_scratch_%'")
end

describe('a list that is tried', function()
  local function try(entries)
    return migrations.test(entries, { scratch = support.config() })
  end

  local function list_of(whole)
    return { creates('a'),
      { name = 'a has n', migration = 'ALTER TABLE a ADD n int DEFAULT 7' },
      { name = 'no n', phase = 'contract', migration = 'ALTER TABLE a DROP n' },
      { name = 'first', type = 'checkpoint', migration = whole
        or 'CREATE TABLE a (id bigint PRIMARY KEY, value jsonb)' },
      creates('b'),
      { name = 'filled', type = 'backfill', table = 'b', fn = function() end },
      { name = 'index', migration = 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON b (id)' },
      { name = 'second', type = 'checkpoint', migration = [[
        CREATE TABLE b (id bigint PRIMARY KEY, value jsonb); CREATE INDEX i ON b (id);
        CREATE TABLE a (id bigint PRIMARY KEY, value jsonb)]] },
      creates('c') }
  end

  it('runs from empty, from each checkpoint, and in two phases', function()
    assert.same({ 'from empty', "from the checkpoint 'first'", "from the checkpoint 'second'",
      'in two phases' }, try(list_of()).ways)
    assert.equal('0\n', databases())
  end)

  it('says which database it cannot take back', function()
    local err = support.refused('query_failed', 'template database', try, { { name = 'template',
      migration = 'UPDATE pg_database SET datistemplate = true WHERE datname = current_database()'
    } })
    local name = err.hint:match('the database (stores_scratch_[%w_]+) is left')
    assert.is_string(name, err.hint)
    support.psql(support.config(), ('ALTER DATABASE %s IS_TEMPLATE false'):format(name))
    support.psql(support.config(), ('DROP DATABASE %s'):format(name))
    assert.equal('0\n', databases())
  end)

  it('is refused where a checkpoint makes another schema', function()
    local err = support.refused('migration_failed', "from the checkpoint 'first' than it is from"
      .. ' empty', try, list_of('CREATE TABLE a (id bigint PRIMARY KEY, value json, m int)'))
    assert.truthy(err.message:find('public.a.value is json, not jsonb', 1, true), err.message)
    assert.truthy(err.message:find('column public.a.m is of no migration', 1, true), err.message)
    assert.equal(2, #err.differences)
    assert.equal("from the checkpoint 'first'", err.way)
    assert.equal('0\n', databases())
  end)

  it('is refused where a contract leaves another schema behind than in the order of the list',
    function()
      local list = { creates('a'), { name = 'x', phase = 'contract', migration = 'DROP TABLE a' },
        { name = 'y', migration = 'CREATE TABLE IF NOT EXISTS a (id int)' } }
      local err = support.refused('migration_failed', 'in two phases', try, list)
      assert.truthy(err.message:find('table public.a is missing', 1, true), err.message)
    end)

  it('names the way in which one of it fails', function()
    local err = support.refused('migration_failed', "the checkpoint 'first': migration 'first'",
      try, list_of('SELECT 1/0'))
    assert.equal('22012', err.sqlstate)
  end)

  it('begins with a checkpoint where nothing is before it', function()
    assert.same({ "from the checkpoint 'now'" }, try({ { name = 'now', type = 'checkpoint',
      replaces = { 'old' }, migration = 'CREATE TABLE a ()' }, creates('c') }).ways)
  end)

  it('takes what pg_dump writes for a checkpoint, and notes what is done to it', function()
    local list = list_of()
    local store, db = support.store({}, { no_redis = true })
    store:migrate({ list[1], list[2], list[3], list[5], list[7],
      { name = 'more', migration = [[CREATE VIEW v AS SELECT id FROM b;
        CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;
        COMMENT ON TABLE a IS 'it''s; a "comment"']] } }, { finish = true })
    local pipe = assert(io.popen(("pg_dump -h '%s' -p %s -U %s --schema-only --no-owner"
      .. " --exclude-table='migrations*' %s | grep -v '^\\\\'"):format(db.host, tostring(db.port),
      db.user, db.database)))
    local dump = pipe:read('*a')
    pipe:close()
    support.close(store, db)
    assert.matches('set_config', dump)
    local entries = { list[1], list[2], list[3], list[5], list[7],
      { name = 'more', migration = [[CREATE VIEW v AS SELECT id FROM b;
        CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END]] },
      { name = 'dump', type = 'checkpoint', migration = dump } }
    assert.same({ 'from empty', "from the checkpoint 'dump'", 'in two phases' }, try(entries).ways)
    entries[7].migration = dump:gsub('jsonb', 'json', 1)
    support.refused('migration_failed', 'is json, not jsonb', try, entries)
  end)

  it('has a private server where none is named, with the roles that it names', function()
    local result = migrations.test({ creates('a'),
      { name = 'rights', migration = 'GRANT SELECT ON a TO "the app", boss' } })
    assert.same({ 'from empty' }, result.ways)
    -- a server of others gets no roles
    support.refused('migration_failed', '42704', try, { creates('a'),
      { name = 'rights', migration = 'GRANT SELECT ON a TO "the app"' } })
  end)
end)

describe('the schema of a live database', function()
  local store, db

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() support.close(store, db) end)

  local LIST = { { name = 'all', migration = [[
    CREATE TYPE mood AS ENUM ('calm', 'wild');
    CREATE DOMAIN small AS int CHECK (VALUE < 10);
    CREATE TYPE pair AS (a int, b text);
    CREATE SEQUENCE numbers;
    CREATE TABLE people (id bigint PRIMARY KEY, value jsonb NOT NULL, n small DEFAULT 3, m mood);
    CREATE TABLE orders (id bigint PRIMARY KEY, value jsonb, who bigint REFERENCES people,
      CONSTRAINT positive CHECK (id > 0)) PARTITION BY RANGE (id);
    CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (1) TO (100);
    CREATE INDEX people_m ON people (m);
    CREATE VIEW calm AS SELECT id FROM people WHERE m = 'calm';
    CREATE MATERIALIZED VIEW wild AS SELECT id FROM people WHERE m = 'wild';
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TRIGGER touched BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE POLICY own ON people USING (id > 0);
    CREATE RULE nothing AS ON DELETE TO people DO INSTEAD NOTHING;
    CREATE SCHEMA app; CREATE TABLE app."Other Table" (a int GENERATED ALWAYS AS IDENTITY)]] },
    { name = 'later', phase = 'contract', migration = 'DROP VIEW calm' },
    { name = 'not yet', migration = 'CREATE TABLE notyet ()' } }

  local function verify(opts)
    opts = opts or {}
    opts.scratch = support.config()
    return migrations.verify({ LIST[1], LIST[2] }, db, opts)
  end

  local function told()
    local lines = {}
    for place, one in ipairs(verify().differences) do
      lines[place] = migrations.describe(one)
    end
    return table.concat(lines, '\n')
  end

  it('is put into words only where it is a difference', function()
    for _, value in ipairs({ 'x', 5, {} }) do
      local ok, err = pcall(migrations.describe, value)
      assert.same({ false, 'invalid_argument' }, { ok, err.code })
    end
    assert.equal('invalid_argument', select(2, pcall(migrations.describe)).code)
  end)

  it('is what its migrations make, also of a list that it has run in part', function()
    migrations.runMigrations({ LIST[1], LIST[2] }, db)
    local report = verify()
    assert.same({}, report.differences)
    assert.is_true(report.ok)
    report = migrations.verify(LIST, db, { scratch = support.config() })
    assert.same({}, report.differences)
    assert.same({ 'not yet' }, report.pending)
    assert.is_nil(migrations.verify(LIST, db).differences)
  end)

  it('is told apart in all that a migration may make', function()
    migrations.runMigrations({ LIST[1] }, db)
    local cases = {
      { 'DROP INDEX people_m', 'index public.people_m of public.people is missing: CREATE INDEX' },
      { 'ALTER TABLE people ADD extra int', 'column public.people.extra is of no migration' },
      { 'ALTER TABLE people ALTER n SET DEFAULT 4',
        'column public.people.n is public.small default 4, not public.small default 3' },
      { 'ALTER TABLE people ALTER value DROP NOT NULL',
        'column public.people.value is jsonb, not jsonb not null' },
      { 'ALTER TABLE orders DROP CONSTRAINT positive',
        'constraint positive of public.orders is missing' },
      { "ALTER TYPE mood ADD VALUE 'sad'", "enum public.mood is 'calm', 'wild', 'sad', not" },
      { 'ALTER DOMAIN small ADD CHECK (VALUE > 0)', 'domain public.small is' },
      { 'ALTER TYPE pair ADD ATTRIBUTE c int', 'column public.pair.c is of no migration' },
      { 'ALTER SEQUENCE numbers INCREMENT 5', 'sequence public.numbers is bigint 1 5' },
      { 'CREATE OR REPLACE VIEW calm AS SELECT id FROM people', 'view public.calm is' },
      { 'DROP MATERIALIZED VIEW wild', 'materialized view public.wild is missing' },
      { 'ALTER TABLE people DISABLE TRIGGER touched', 'trigger touched of public.people is' },
      { 'CREATE OR REPLACE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS '
        .. "'BEGIN RETURN OLD; END'", 'function public.touch() is' },
      { 'DROP POLICY own ON people', 'policy own of public.people is missing' },
      { 'ALTER TABLE people ENABLE ROW LEVEL SECURITY', 'table public.people is row security' },
      { 'DROP RULE nothing ON people', 'rule nothing of public.people is missing' },
      { 'ALTER TABLE orders_1 SET (fillfactor = 50)', 'table public.orders_1 is' },
      { 'DROP TABLE app."Other Table"', 'table app."Other Table" is missing' },
      { 'CREATE SCHEMA more; CREATE TABLE more.x (a int)', 'table more.x is of no migration' },
    }
    for _, case in ipairs(cases) do store:query(case[1]) end
    local text = told()
    for _, case in ipairs(cases) do
      assert.truthy(text:find(case[2], 1, true), case[1] .. ':\n' .. text)
    end
    -- a table that is missing stands for its columns
    assert.is_nil(text:find('Other Table".a', 1, true))
    assert.is_false(verify().ok)
  end)
end)

describe('a new migration of a file', function()
  local folder, file

  before_each(function()
    folder = shell.folder()
    file = folder .. '/list.lua'
  end)

  after_each(function() shell.run('rm -rf ' .. shell.quoted(folder)) end)

  local function names()
    local words = {}
    for place, entry in ipairs(migrations.load(file)) do words[place] = entry.name end
    return words
  end

  it('makes the file where there is none, and then stands at its end', function()
    local entry = migrations.new(file, "users' e-mail")
    assert.truthy(shell.read(file):find(entry, 1, true))
    migrations.new(file, 'second', { type = 'lua' })
    migrations.new(file, 'third', { type = 'backfill' })
    assert.same({ "users' e-mail", 'second', 'third' }, names())
    support.refused('invalid_argument', "'second' already", migrations.new, file, 'second')
    -- nobody takes it for done before it is written
    assert.equal('empty', migrations.lint(migrations.load(file))[1].rule)
  end)

  it('comes behind the last one, however that ends', function()
    for _, text in ipairs({ "return { { name = 'a', migration = 'SELECT 1' } }",
      "return {\n  { name = 'a', migration = 'SELECT 1' }\n}\n",
      "local list = {\n  { name = 'a', migration = 'SELECT 1' }, -- the {first}\n}\nreturn list\n",
      "return {\n  { name = 'a', migration = 'SELECT 1' } -- the first\n}\n" }) do
      shell.write(file, text)
      migrations.new(file, 'b')
      assert.same({ 'a', 'b' }, names(), text)
    end
  end)

  it('is not written into a file that ends otherwise', function()
    local text = "local list = { { name = 'a', migration = 'SELECT 1' } }\n"
      .. 'for _ = 1, 0 do local x = {} end\nreturn list\n'
    shell.write(file, text)
    local err = support.refused('invalid_argument', 'does not end in the list', migrations.new,
      file, 'b')
    assert.matches("name = 'b'", err.entry)
    assert.equal(text, shell.read(file))
    support.refused('invalid_argument', 'on one line', migrations.new, file, 'a\nb')
  end)
end)
