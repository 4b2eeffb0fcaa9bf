-- The lint of migrations: each rule with a migration that it must catch and one that it must not.
-- Plain pass alone: it reads texts, and asks for sizes.

local migrations = require('migrations')
local rules = require('stores.migrate.lint.rules')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

local ORDERS = 'CREATE TABLE orders (id bigint PRIMARY KEY, value jsonb);\n'

-- Rule -> what it catches, and what it lets pass: texts, or entries.
local CASES = {
  rewrite = {
    catches = { 'VACUUM (FULL) orders', 'VACUUM FULL orders', 'CLUSTER orders USING i',
      'ALTER TABLE orders ADD COLUMN n bigserial', 'ALTER TABLE ONLY orders SET TABLESPACE fast',
      'ALTER TABLE orders ADD u uuid NOT NULL DEFAULT gen_random_uuid()',
      "ALTER TABLE orders ADD t text GENERATED ALWAYS AS (value->>'t') STORED",
      'ALTER TABLE "orders" ADD a int, ADD b float DEFAULT random()',
      'ALTER TABLE orders SET LOGGED' },
    passes = { 'ALTER TABLE orders ADD n int', 'ALTER TABLE orders ADD t timestamptz DEFAULT now()',
      "ALTER TABLE orders ADD j jsonb NOT NULL DEFAULT '{}'::jsonb",
      'ALTER TABLE orders ADD n numeric(10, 2) DEFAULT 0::numeric(10, 2) CHECK (abs(n) > 0)',
      ORDERS .. 'ALTER TABLE orders ADD n bigserial', 'VACUUM ANALYZE orders' } },
  ['type-change'] = {
    catches = { 'ALTER TABLE orders ALTER COLUMN n TYPE bigint',
      'ALTER TABLE orders ALTER n SET DATA TYPE text USING n::text' },
    passes = { 'ALTER TABLE orders ALTER n SET DEFAULT 7',
      ORDERS .. 'ALTER TABLE orders ALTER n TYPE bigint' } },
  ['not-null'] = {
    catches = { 'ALTER TABLE orders ALTER COLUMN value SET NOT NULL',
      'ALTER TABLE orders ADD CONSTRAINT c CHECK (value IS NOT NULL) NOT VALID;'
        .. ' ALTER TABLE orders ALTER value SET NOT NULL' },
    passes = { 'ALTER TABLE orders ALTER value DROP NOT NULL', { before = {
        'ALTER TABLE orders ADD CONSTRAINT c CHECK (value IS NOT NULL) NOT VALID',
        'ALTER TABLE orders VALIDATE CONSTRAINT c' },
      'ALTER TABLE orders ALTER value SET NOT NULL; ALTER TABLE orders DROP CONSTRAINT c' } } },
  ['no-default'] = {
    catches = { 'ALTER TABLE orders ADD COLUMN IF NOT EXISTS n int NOT NULL' },
    passes = { 'ALTER TABLE orders ADD COLUMN n int NOT NULL DEFAULT 0',
      ORDERS .. 'ALTER TABLE orders ADD n int NOT NULL' } },
  check = {
    catches = { "ALTER TABLE orders ADD CONSTRAINT c CHECK (value ? 'a')",
      "ALTER TABLE public.orders ADD CHECK (value ? 'a')",
      'ALTER TABLE orders ADD COLUMN n int CHECK (n > 0)' },
    passes = { "ALTER TABLE orders ADD CONSTRAINT c CHECK (value ? 'a') NOT VALID" } },
  ['foreign-key'] = {
    catches = { 'ALTER TABLE orders ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES people (id)',
      'ALTER TABLE orders ADD n bigint REFERENCES people' },
    passes = { 'ALTER TABLE orders ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES people (id)'
      .. ' NOT VALID' } },
  validate = {
    catches = { "ALTER TABLE orders ADD CONSTRAINT c CHECK (value ? 'a') NOT VALID;"
      .. ' ALTER TABLE orders VALIDATE CONSTRAINT c' },
    passes = { 'ALTER TABLE orders VALIDATE CONSTRAINT c', { transaction = false,
      "ALTER TABLE orders ADD CONSTRAINT c CHECK (value ? 'a') NOT VALID;"
        .. ' ALTER TABLE orders VALIDATE CONSTRAINT c' } } },
  unique = {
    catches = { 'ALTER TABLE orders ADD CONSTRAINT u UNIQUE (id)',
      'ALTER TABLE orders ADD PRIMARY KEY (id)', 'ALTER TABLE orders ADD n int UNIQUE' },
    passes = { 'ALTER TABLE orders ADD CONSTRAINT u UNIQUE USING INDEX i' } },
  index = {
    catches = { 'CREATE INDEX i ON orders (id)', 'CREATE UNIQUE INDEX ON ONLY "orders" (id)',
      "/* a */ create index if not exists i on public.orders using gin (value)" },
    passes = { 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (id)',
      ORDERS .. 'CREATE INDEX i ON orders (id)' } },
  reindex = {
    catches = { { transaction = false, 'REINDEX TABLE orders' } },
    passes = { { transaction = false, 'REINDEX INDEX CONCURRENTLY i' } } },
  refresh = {
    catches = { 'REFRESH MATERIALIZED VIEW sums' },
    passes = { 'REFRESH MATERIALIZED VIEW CONCURRENTLY sums' } },
  ['several-locks'] = {
    catches = { 'ALTER TABLE orders ADD n int; ALTER TABLE people ADD n int',
      'ALTER TABLE orders ADD CONSTRAINT k FOREIGN KEY (n) REFERENCES people NOT VALID' },
    passes = { 'ALTER TABLE orders ADD n int; ALTER TABLE orders ADD m int',
      'CREATE TABLE a (); CREATE TABLE b (); CREATE INDEX ON a (i); CREATE INDEX ON b (i)',
      { transaction = false, 'ALTER TABLE orders ADD n int; ALTER TABLE people ADD n int' } } },
  ['work-under-lock'] = {
    catches = { 'ALTER TABLE orders ADD n int; UPDATE orders SET n = 1 WHERE id < 10',
      'ALTER TABLE orders ADD n int; INSERT INTO sums SELECT * FROM orders' },
    passes = { 'ALTER TABLE orders ADD n int; INSERT INTO sums VALUES (1)',
      'UPDATE orders SET n = 1 WHERE id < 10; ALTER TABLE orders ADD n int' } },
  ['lock-timeout'] = {
    catches = { { lock_timeout = 0, 'ALTER TABLE orders ADD n int' },
      { lock_timeout = 60, 'DROP TABLE orders' }, 'SET lock_timeout = 0',
      "SELECT set_config('lock_timeout', '1min', true)" },
    passes = { { lock_timeout = 10, 'ALTER TABLE orders ADD n int' },
      { lock_timeout = 0, 'CREATE INDEX CONCURRENTLY i ON orders (id)' },
      { lock_timeout = 0, ORDERS } } },
  ['lock-table'] = {
    catches = { 'LOCK TABLE orders IN SHARE MODE', 'LOCK orders, people' },
    passes = { 'SELECT FROM orders FOR UPDATE', ORDERS .. 'LOCK TABLE orders' } },
  drop = {
    catches = { 'DROP TABLE IF EXISTS orders, people', 'ALTER TABLE orders DROP COLUMN n',
      'ALTER TABLE orders DROP n CASCADE', 'DROP VIEW v', 'DROP MATERIALIZED VIEW v',
      'DROP FUNCTION f(int)', 'DROP TYPE mood' },
    passes = { { phase = 'contract', 'DROP TABLE orders' }, 'DROP INDEX CONCURRENTLY i',
      ORDERS .. 'DROP TABLE orders', 'ALTER TABLE orders DROP CONSTRAINT c',
      'ALTER TABLE orders ALTER n DROP DEFAULT' } },
  rename = {
    catches = { 'ALTER TABLE orders RENAME TO bills', 'ALTER TABLE orders RENAME n TO m',
      'ALTER TABLE orders RENAME COLUMN n TO m', 'ALTER TABLE orders SET SCHEMA old',
      "ALTER TYPE mood RENAME VALUE 'a' TO 'b'", 'ALTER VIEW v RENAME TO w' },
    passes = { { phase = 'contract', 'ALTER TABLE orders RENAME TO bills' },
      'ALTER TABLE orders RENAME CONSTRAINT a TO b', 'ALTER INDEX i RENAME TO j' } },
  truncate = {
    catches = { 'TRUNCATE orders', 'TRUNCATE TABLE ONLY orders CASCADE' },
    passes = { ORDERS .. 'TRUNCATE orders', { phase = 'contract', 'TRUNCATE orders' } } },
  ['mass-change'] = {
    catches = { "UPDATE orders SET value = '{}'", 'DELETE FROM ONLY orders',
      'UPDATE orders SET value = (SELECT value FROM people p WHERE p.id = orders.id)',
      'WITH old AS (SELECT 1 WHERE true) DELETE FROM orders' },
    passes = { "UPDATE orders SET value = '{}' WHERE id = 1", ORDERS .. 'DELETE FROM orders',
      'WITH old AS (SELECT 1) DELETE FROM orders WHERE id IN (SELECT * FROM old)' } },
  uncached = {
    catches = { 'ALTER TABLE orders ENABLE ROW LEVEL SECURITY', 'ALTER TABLE orders SET UNLOGGED',
      'CREATE UNLOGGED TABLE sums (id bigint PRIMARY KEY, value jsonb)',
      'CREATE RULE r AS ON INSERT TO orders DO INSTEAD NOTHING' },
    passes = { 'ALTER TABLE orders DISABLE ROW LEVEL SECURITY', ORDERS } },
  session = {
    catches = { "SET search_path = ''", "SELECT set_config('search_path', '', false)",
      "SELECT pg_catalog.set_config('work_mem', '1GB', FALSE)", 'SET SESSION work_mem = 4',
      'SET ROLE boss', 'SELECT pg_advisory_lock(7)', 'LISTEN news', 'CREATE TEMP TABLE t ()',
      'PREPARE p AS SELECT 1', "ALTER DATABASE shop SET work_mem = '1GB'" },
    passes = { "SET LOCAL work_mem = '1GB'", "SELECT set_config('work_mem', '1GB', true)",
      'SET CONSTRAINTS ALL DEFERRED', 'SELECT pg_advisory_xact_lock(7)',
      { settings = { work_mem = '1GB' }, 'SELECT 1' } } },
  ['unnamed-index'] = {
    catches = { 'CREATE INDEX CONCURRENTLY ON orders (id)' },
    passes = { 'CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON orders (id)' } },
  ['enum-value'] = {
    catches = { "ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO moods VALUES ('calm')" },
    passes = { "ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO moods VALUES ('wild')",
      { transaction = false,
        "ALTER TYPE mood ADD VALUE 'calm'; INSERT INTO moods VALUES ('calm')" } } },
  ['backfill-order'] = {
    catches = { { type = 'backfill', 'UPDATE orders SET n = 1 WHERE id IN (SELECT id FROM orders'
      .. ' WHERE id > $after LIMIT $limit) RETURNING id' } },
    passes = { { type = 'backfill', 'UPDATE orders SET n = 1 WHERE id IN (SELECT id FROM orders'
      .. ' WHERE id > $after ORDER BY id LIMIT $limit) RETURNING id' } } },
}

-- The list of a case, whose last entry is what it is about.
local function list_of(case)
  if type(case) == 'string' then case = { case } end
  local entries, last = {}, { name = 'last', migration = case[1] }
  for place, text in ipairs(case.before or {}) do
    entries[place] = { name = 'before ' .. place, migration = text }
  end
  for key, value in pairs(case) do
    if type(key) == 'string' and key ~= 'before' then last[key] = value end
  end
  entries[#entries + 1] = last
  return entries
end

local function rules_of(findings)
  local found, names = {}, {}
  for _, finding in ipairs(findings) do
    if finding.migration == 'last' then
      found[finding.rule] = finding
      names[#names + 1] = finding.rule
    end
  end
  return found, table.concat(names, ' ')
end

describe('the lint', function()
  for _, rule in ipairs(rules) do
    it('catches ' .. rule.name .. ', and lets the safe form pass', function()
      local case = assert(CASES[rule.name], 'no migration is tried')
      assert.is_true(#case.catches > 0 and #case.passes > 0)
      for _, one in ipairs(case.catches) do
        local finding = rules_of(migrations.lint(list_of(one)))[rule.name]
        assert.is_truthy(finding, type(one) == 'string' and one or one[1])
        assert.equal(rule.safe, finding.safe)
        assert.is_true(#finding.message > 10 and finding.line > 0 and finding.statement > 0)
      end
      for _, one in ipairs(case.passes) do
        local found, names = rules_of(migrations.lint(list_of(one)))
        assert.is_nil(found[rule.name], names .. ': ' .. (type(one) == 'string' and one or one[1]))
      end
    end)
  end

  it('has a row of docs/migrations.md for each rule, and the page none more', function()
    local page = shell.read(root .. '/docs/migrations.md')
    local rows = page:match('<!%-%- rules: .-\n(.-)<!%-%- end of rules')
    local seen = 0
    for name, text, safe in rows:gmatch('\n| `([%w%-]+)` | ([^\n]-) | ([^\n]-) |') do
      seen = seen + 1
      assert.same({ rules[seen].name, rules[seen].text, rules[seen].safe }, { name, text, safe })
    end
    assert.equal(#rules, seen)
    assert.is_true(seen >= 15)
  end)

  it('says where, and of which statement', function()
    local findings = migrations.lint({ { name = 'last', migration =
      'SELECT 1;\n\n-- a comment\nDROP TABLE orders;\nCREATE INDEX i ON people (id)' } })
    local drop = rules_of(findings).drop
    assert.same({ 2, 4, 'orders' }, { drop.statement, drop.line, drop.table })
    assert.equal(5, rules_of(findings).index.line)
  end)

  it('lets pass what a comment allows, of the statement that it is about', function()
    local function found(text)
      return (select(2, rules_of(migrations.lint({ { name = 'last', migration = text } }))))
    end
    assert.equal('drop', found('DROP TABLE orders'))
    assert.equal('', found('-- lint: allow drop\nDROP TABLE orders'))
    assert.equal('', found('DROP TABLE orders; -- lint: allow drop'))
    assert.equal('', found('DROP TABLE /* no longer: lint: allow drop */ orders'))
    assert.equal('', found('-- lint: allow drop, rename because it is\nDROP TABLE orders'))
    assert.equal('drop', found("DROP TABLE orders; SELECT '-- lint: allow drop'"))
    assert.equal('drop', found('-- lint: allow drop\nDROP TABLE a;\nDROP TABLE a'))
    assert.equal('allow drop', found('-- lint: allow everything\nDROP TABLE orders'))
    assert.equal('drop allow', found('DROP TABLE orders;\n-- lint: allow drop\n'):gsub(
      '^(allow) (drop)$', '%2 %1'))
  end)

  it('names a migration that does nothing', function()
    assert.equal('empty', migrations.lint({ { name = 'x', migration = '-- nothing yet' } })[1].rule)
  end)

  it('says nothing of functions, checkpoints and declared tables', function()
    local parts = stores.define('parts', { indexes = { 'n' }, unique = { 'name' } })
    assert.same({}, migrations.lint({ parts,
      { name = 'f', type = 'lua', migration = function() end },
      { name = 'b', type = 'backfill', table = 'parts', fn = function() end },
      { name = 'c', type = 'checkpoint',
        migration = 'CREATE INDEX ON orders (id); DROP TABLE x' } }))
  end)

  describe('with a database', function()
    local store, db

    before_each(function()
      store, db = support.store({ 'small', 'orders' }, { no_redis = true })
      store:query([[INSERT INTO orders SELECT n, jsonb_build_object('n', n)
        FROM generate_series(1, 2000) AS n; ALTER TABLE orders ADD title varchar(20), ADD n int;
        ALTER TABLE orders ADD CONSTRAINT c CHECK (n IS NOT NULL) NOT VALID; ANALYZE orders]])
    end)

    after_each(function() support.close(store, db) end)

    local function found(text, opts)
      opts = opts or {}
      opts.large = opts.large or 65536
      return rules_of(migrations.lint({ { name = 'last', migration = text } }, store, opts))
    end

    it('knows how large tables are, and says so', function()
      local finding = found('CREATE INDEX i ON orders (id)').index
      assert.matches('orders %(about 2000 rows, %d+%.%d kB%)', finding.message)
      assert.equal(2000, finding.rows)
      assert.is_true(finding.bytes > 65536)
      assert.is_nil(found('CREATE INDEX i ON small (id)').index)
      assert.is_nil(found('CREATE INDEX i ON orders (id)', { large = 2 ^ 30 }).index)
      assert.is_truthy(found('CREATE INDEX i ON orders (id)', { large = 0 }).index)
      assert.is_nil(found('ALTER TABLE small ADD n int NOT NULL')['no-default'])
    end)

    it('adds up the partitions of a table', function()
      store:query([[CREATE TABLE parts (id bigint, value jsonb) PARTITION BY RANGE (id);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (1001);
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (1001) TO (9001);
        INSERT INTO parts SELECT * FROM (SELECT id, value FROM orders) AS o; ANALYZE parts]])
      local finding = found('CREATE INDEX i ON parts (id)').index
      assert.equal(2000, finding.rows)
    end)

    it('knows which columns are checked already, and of which type they are', function()
      assert.is_truthy(found('ALTER TABLE orders ALTER n SET NOT NULL')['not-null'])
      store:query('UPDATE orders SET n = 1; ALTER TABLE orders VALIDATE CONSTRAINT c')
      assert.is_nil(found('ALTER TABLE orders ALTER n SET NOT NULL')['not-null'])
      assert.is_nil(found('ALTER TABLE orders ALTER title TYPE varchar(30)')['type-change'])
      assert.is_nil(found('ALTER TABLE orders ALTER title TYPE text')['type-change'])
      assert.is_truthy(found('ALTER TABLE orders ALTER title TYPE varchar(10)')['type-change'])
    end)

    it('looks at what has not run there, and takes what the list makes for empty', function()
      local list = { { name = 'done', migration = 'DROP TABLE IF EXISTS nowhere' },
                     { name = 'makes', migration = 'CREATE TABLE made (id bigint, value jsonb)' },
                     { name = 'last', migration = 'CREATE INDEX i ON made (id)' } }
      migrations.runMigrations({ list[1] }, store)
      assert.same({}, migrations.lint(list, db))
      assert.equal('drop', migrations.lint(list, db, { all = true })[1].rule)
      assert.equal(2, #migrations.lint(list))
      support.refused('invalid_option', 'large', migrations.lint, list, db, { large = -1 })
    end)

    it('speaks for all shards', function()
      local other, other_db = support.store({ 'orders' }, { no_redis = true })
      local shards = stores.Shards.new({ { id = 0, db = db }, { id = 1, db = other_db } })
      local findings = migrations.lint({ { name = 'last', migration =
        'CREATE INDEX i ON orders (id); DROP TABLE small' } }, shards, { large = 65536 })
      local by_rule, names = rules_of(findings)
      assert.equal('index several-locks drop', names)
      assert.equal(2000, by_rule.index.rows)
      shards:close()
      support.close(other, other_db)
    end)
  end)
end)
