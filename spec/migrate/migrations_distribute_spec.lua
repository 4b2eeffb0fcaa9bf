-- Migrations whose tables are distributed over the servers of Citus.
-- Plain pass alone: Lua over queries, whose C other files of these passes run.

local migrating = require('spec.support.migrating')
local migrations = require('migrations')
local stores = require('stores')
local support = require('spec.support')

local raises = migrating.raises

describe('migrations', function()
  local db, store

  before_each(function()
    db = support.db()
    store = stores.Store.new(db, nil, { cache = false })
  end)

  after_each(function() store:close() end)

  local function run(list, opts) return migrations.runMigrations(list, store, opts) end

  describe('with distribute', function()
    local function lists()
      return { { name = 'old', migration = [[CREATE TABLE old (id bigint);
            CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text,
              repmodel "char")]] } },
        { { name = 'new', distribute = 'id', migration = [[
            ALTER TABLE old ADD COLUMN n int;
            CREATE TABLE a (id bigint); CREATE TABLE b (other bigint);
            CREATE TEMP TABLE c (id int)]] },
          { name = 'newer', distribute = 'id', transaction = false,
            migration = 'CREATE TABLE "D d" (id bigint)' } }
    end

    it('is nothing on plain PostgreSQL', function()
      local old, new = lists()
      run(old)
      assert.same({ 'new', 'newer' }, run(new).ran)
      assert.equals(0, migrating.count(store, 'pg_dist_partition'))
    end)

    it('distributes the tables that it creates where the function of Citus is', function()
      local old, new = lists()
      run(old)
      store:query([[CREATE FUNCTION create_distributed_table(regclass, text) RETURNS void
        LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''h'', $2)';
        CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text
        LANGUAGE sql AS 'SELECT $2']])
      run(new)
      assert.equals('"D d",a', store:query("SELECT string_agg(logicalrelid::text, ',' ORDER BY"
        .. ' logicalrelid::text COLLATE "C") AS names FROM pg_dist_partition')[1].names)
    end)
  end)

  describe('with distribute where the function of Citus is', function()
    before_each(function()
      run({ { name = 'citus', migration = [[
        CREATE TABLE pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text,
          repmodel "char");
        CREATE FUNCTION create_distributed_table(regclass, text) RETURNS void
          LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''h'', $2, ''s'')';
        CREATE FUNCTION create_reference_table(regclass) RETURNS void
          LANGUAGE sql AS 'INSERT INTO pg_dist_partition VALUES ($1, ''n'', NULL, ''t'')';
        CREATE FUNCTION column_to_column_name(regclass, text) RETURNS text
          LANGUAGE sql AS 'SELECT $2';
        CREATE TABLE there (id bigint); CREATE TABLE "Too" (id bigint)]] } })
    end)

    local function spread()
      return store:query([[SELECT coalesce(string_agg(logicalrelid::text || ' ' || partmethod::text
        || ' ' || coalesce(partkey, ''), ',' ORDER BY logicalrelid::text COLLATE "C"), '') AS names
        FROM pg_dist_partition]])[1].names
    end

    it('copies what it creates to all servers where it says reference', function()
      run({ { name = 'new', distribute = 'reference', migration = 'CREATE TABLE a (n int)' } })
      assert.equals('a n ', spread())
    end)

    it('distributes a table that it would have created, and leaves one that is', function()
      local function step(name, by)
        return { { name = name, distribute = by, migration = [[
          CREATE TABLE IF NOT EXISTS public.there (id bigint, n int);
          create unlogged table if not exists "Too" (id bigint);
          CREATE INDEX IF NOT EXISTS there_id ON there (id)]] } }
      end
      run(step('one', 'id'))
      assert.equals('"Too" h id,there h id', spread())
      run(step('again', 'id'))
      assert.equals('"Too" h id,there h id', spread())
      raises('migration_failed', 'there is spread by Citus already, otherwise: id', run,
        step('other', 'reference'))
    end)

    it('is looked after by verify, which names what is not spread as the list says', function()
      local list = { { name = 'new', distribute = 'id', migration = [[
        CREATE TABLE a (id bigint); CREATE TABLE b (n int); CREATE TABLE c (id bigint)]] } }
      run(list)
      assert.same({}, migrations.verify(list, store).not_distributed)
      store:query("DELETE FROM pg_dist_partition WHERE logicalrelid = 'a'::regclass")
      store:query("UPDATE pg_dist_partition SET partkey = 'n' WHERE logicalrelid = 'c'::regclass")
      local report = migrations.verify(list, store)
      assert.same({ 'a (on the coordinator alone, not id)', 'c (n, not id)' },
        report.not_distributed)
      assert.is_false(report.ok)
    end)

    it('raises where none of its tables has the column, and has done nothing', function()
      raises('migration_failed', 'no table that it creates has this column: a, b', run,
        { { name = 'wrong', distribute = 'nope', migration =
          'CREATE TABLE a (id bigint); CREATE TABLE b (id bigint)' } })
      assert.is_false(migrating.exists(store, 'a'))
      run({ { name = 'index', distribute = 'id', transaction = false, migration =
        'CREATE TABLE c (id bigint); CREATE INDEX c_id ON c (id); ALTER TABLE c ADD n int' } })
      assert.equals('c h id', spread())
    end)
  end)
end)
