--- stores why: each reason for which a table is not cached, made for real, and gone where its
--- advice is followed.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local cache = require('spec.support.cache')
local command = require('spec.support.command')
local json = require('stores.json')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local server, store, db, served

setup(function()
  server = redis.start()
  db = support.db()
  store = stores.Store.new(db, server:config({ timeout = 2 }))
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  served = { db = db, redis = server:config({ timeout = 2 }) }
end)

teardown(function()
  support.close(store, db)
  server:remove()
end)

-- What a spec that fails leaves behind is none of the others'.
after_each(function()
  server:cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
  server:cli('CONFIG', 'SET', 'min-replicas-to-write', '0')
end)

local function why(name, opts)
  local result = command.run({ 'why', name }, opts or served)
  return result.out, result.code, result.err
end

local function report_of(name, opts)
  return json.decode((command.run({ 'why', name, '--json' }, opts or served)).out)
end

-- Whether a table is not cached for a reason, in these words.
local function is_refused(name, words, opts)
  local out, status, err = why(name, opts)
  assert.equal(1, status, err)
  assert.truthy(out:find(' is not cached just now:\n', 1, true), out)
  assert.truthy(out:find(words, 1, true), out)
  return out
end

local function is_cached(name, opts)
  local out, status, err = why(name, opts)
  assert.equal(0, status, out .. err)
  assert.matches('^public%.' .. name .. ' is cached\n', out)
  return out
end

describe('stores why', function()
  it('says that a table is cached', function()
    is_cached('docs')
  end)

  it('names what is no table that could be cached', function()
    store:query([[
      CREATE VIEW a_view AS SELECT * FROM docs;
      CREATE TABLE ruled (id bigint PRIMARY KEY, value jsonb);
      CREATE RULE r AS ON DELETE TO ruled DO INSTEAD NOTHING;
      CREATE TABLE parted (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
      CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
      CREATE TABLE above (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE child () INHERITS (above);
      CREATE FOREIGN DATA WRAPPER nobody;
      CREATE SERVER far FOREIGN DATA WRAPPER nobody;
      CREATE FOREIGN TABLE foreigner (id bigint, value jsonb) SERVER far;]])
    is_refused('a_view', 'it is a view')
    is_refused('ruled', 'it has a rule')
    is_refused('part', 'its rows are cached as those of the table above it')
    is_cached('parted')
    is_refused('child', 'it inherits from another table')
    is_refused('above', 'others inherit from it')
    is_refused('foreigner', 'it is a foreign table')
  end)

  it('says what to do about a table that is unlogged, or has row security', function()
    store:query([[
      CREATE UNLOGGED TABLE quick (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE secured (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE secured ENABLE ROW LEVEL SECURITY]])
    local out = is_refused('quick', 'it is unlogged')
    store:query(out:match('ALTER TABLE public%.quick SET LOGGED'))
    is_cached('quick')
    out = is_refused('secured', 'it has row security')
    store:query(out:match('ALTER TABLE public%.secured DISABLE ROW LEVEL SECURITY'))
    is_cached('secured')
  end)

  it('names what turns all of a table: triggers, keys that cascade, functions', function()
    store:query([[
      CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
      CREATE FUNCTION chance() RETURNS jsonb LANGUAGE plpgsql VOLATILE AS
        $f$ BEGIN RETURN '{}'::jsonb; END $f$;
      CREATE TABLE watched (id bigint PRIMARY KEY, value jsonb);
      CREATE TRIGGER afterwards AFTER UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION nothing();
      CREATE TABLE kept (id bigint PRIMARY KEY REFERENCES watched ON DELETE CASCADE, value jsonb);
      CREATE TABLE lucky (id bigint PRIMARY KEY, value jsonb DEFAULT chance())]])
    local out = is_cached('watched')
    assert.truthy(out:find('the trigger afterwards runs after each write to watched', 1, true), out)
    assert.truthy(out:find('a deletion goes on to kept by the key kept_id_fkey', 1, true), out)
    out = is_cached('lucky')
    assert.matches('a default, a domain or an index that calls a function', out)
    store:query('DROP TRIGGER afterwards ON watched; DROP TABLE kept')
    assert.is_nil(is_cached('watched'):find('what turns it', 1, true))
  end)

  it('tells of a policy by which Redis evicts what it likes', function()
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru')
    local out = is_refused('docs', 'may evict write intents')
    assert.matches('set maxmemory%-policy to noeviction', out)
    server:cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    is_cached('docs')
  end)

  it('tells of a user of Redis that may not run scripts', function()
    server:cli('ACL', 'SETUSER', 'weak', 'on', '>secret', '~*', '+@all', '-eval', '-evalsha')
    local opts = { db = db, redis = { path = server.socket, opts = { timeout = 2,
      username = 'weak', password = 'secret' } } }
    local out = is_refused('docs', 'NOPERM', opts)
    assert.matches('give the user of Redis the rights', out)
    server:cli('ACL', 'SETUSER', 'weak', '+eval', '+evalsha')
    is_cached('docs', opts)
  end)

  it('tells of a Redis that wants a replica and has none', function()
    server:cli('CONFIG', 'SET', 'min-replicas-to-write', '1')
    local out = is_refused('docs', 'no replica follows Redis')
    assert.matches('set min%-replicas%-to%-write to 0', out)
    server:cli('CONFIG', 'SET', 'min-replicas-to-write', '0')
    is_cached('docs')
  end)

  it('tells of a Redis that is away, and of none', function()
    local other = redis.new()
    is_refused('docs', 'Redis: ', { db = db, redis = other:config() })
    other:remove()
    is_refused('docs', 'no Redis is configured', { db = db, redis = false })
  end)

  it('tells of a role that may not ask PostgreSQL who it is', function()
    store:query([[
      DO $$ BEGIN CREATE ROLE modest LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
      REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
      GRANT SELECT ON docs TO modest]])
    local fields = {}
    for key, value in pairs(db) do fields[key] = value end
    fields.user = 'modest'
    local opts = { db = fields, redis = served.redis }
    local out = is_refused('docs', 'may not ask PostgreSQL who it is', opts)
    assert.matches('GRANT EXECUTE ON FUNCTION pg_control_system%(%)', out)
    store:query('GRANT EXECUTE ON FUNCTION pg_control_system() TO modest')
    is_cached('docs', opts)
    store:query('GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC; '
      .. 'REVOKE SELECT ON docs FROM modest')
  end)

  it('names the process that a turn waits for, which may be ended', function()
    local keys = cache.of(db, server.socket)
    keys:ready(store, 'public.docs')
    local other = stores.Store.new(support.config(db.database, { application_name = 'the report' }),
      nil, { cache = false })
    local ok = pcall(other.transaction, other, function(tx)
      tx:query("INSERT INTO docs VALUES (1, '{}')")
      local pid = tx:query('SELECT pg_backend_pid() AS pid', nil, { readonly = true })[1].pid
      store:invalidate('docs')
      local out = is_refused('docs', 'the table turns')
      assert.matches('the table turns: what is cached of it does not count, since [%d.]+ s\n', out)
      assert.truthy(out:find(("it waits for process %d 'the report' of %s, idle in transaction")
        :format(pid, db.user), 1, true), out)
      local report = report_of('docs')
      assert.equal('turning', report.reasons[1].code)
      assert.equal(pid, report.waits_for[1].pid)
      assert.equal('the report', report.waits_for[1].application)
      assert.matches('pg_terminate_backend', report.reasons[1].advice)
      -- and is gone: who hears that a session is ended hears it before that is rolled back
      support.psql(db, ('SELECT pg_terminate_backend(%d, 20000)'):format(pid))
      tx:query('SELECT 1')
    end)
    assert.is_false(ok)
    other:close()
    is_cached('docs')
  end)

  it('tells since when it turns, as running processes have it', function()
    local folder = require('spec.support.shell').folder()
    local opts = { metrics = { folder = folder } }
    local runs = stores.Store.new(db, served.redis, opts)
    runs:find('docs', '1')
    local file = os.tmpname()
    require('spec.support.shell').write(file, command.config(db, served.redis, opts))
    runs:transaction(function(tx)
      tx:query("UPDATE docs SET value = '{}'")
      store:invalidate('docs')
      support.eventually(function()
        store:find('docs', '1')
        return store:stats().turning[1]
      end)
      support.eventually(function()
        runs:exists('docs', '1')
        local turning = runs:stats().turning[1]
        return turning and turning.seconds > 0.3
      end)
      stores.sleep(0.15)
      runs:exists('docs', '1') -- which shares the figures
      local result = command.run({ 'why', 'docs', '--json', '--config', file })
      assert.is_true(json.decode(result.out).reasons[1].seconds >= 0.3, result.out)
    end)
    runs:close()
    os.remove(file)
    os.execute("rm -rf '" .. folder .. "'")
  end)

  it('says which criteria the indexes serve', function()
    store:query([[
      CREATE TABLE many (id bigint PRIMARY KEY, value jsonb);
      CREATE INDEX many_gin ON many USING gin (value jsonb_path_ops);
      CREATE INDEX many_age ON many ((NULLIF(value #> '{age}'::text[], 'null'::jsonb)), id);
      CREATE UNIQUE INDEX many_mail ON many ((NULLIF(value #> '{mail}'::text[], 'null'::jsonb)));
      CREATE INDEX many_name ON many ((value #>> '{name}'::text[]) text_pattern_ops);
      CREATE INDEX many_some ON many (id) WHERE id > 5;
      CREATE INDEX many_odd ON many ((value::text));
      INSERT INTO many VALUES (1, '{"twice": 1}'), (2, '{"twice": 1}')]])
    support.psql_refused(db,
      "CREATE UNIQUE INDEX CONCURRENTLY many_broken ON many ((value -> 'twice'))")
    local out = is_cached('many')
    for name, serves in pairs({ gin = 'documents that contain another', mail = 'findBy, where and '
      .. 'order: (mail)', age = 'where and order: (age)', pkey = 'ids', some = 'some rows alone',
      name = 'prefixes of texts: (name for prefixes)', odd = 'nothing that Stores asks for',
      broken = 'nothing: it is INVALID' }) do
      assert.truthy(out:find(('\n  many_%s: %s'):format(name, serves), 1, true), out)
    end
  end)

  it('says whether the rows are what they should be, and what the table lacks', function()
    store:query([[
      CREATE TABLE odd (id integer, value json);
      CREATE TABLE rows_of (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO rows_of VALUES (1, '{"id": "1"}'), (2, '{"id": 2}'), (3, '{"id": "9"}'),
        (4, '[]'), (5, '{}')]])
    local out = is_refused('odd', 'it is none of Stores: no verb can read its rows')
    for _, lack in ipairs({ 'its id is integer, and should be bigint: ALTER TABLE public.odd',
      'its value is json, and should be jsonb: ALTER', 'no index says that an id is there' }) do
      assert.truthy(out:find(lack, 1, true), out)
    end
    out = is_cached('rows_of')
    assert.truthy(out:find('looked at: 5 rows, all of the table\n  no object: 1 row: 4\n'
      .. '  the id of another row: 1 row: 3\n', 1, true), out)
  end)

  it('does not wait for a table that is locked, and tells how to see who has it', function()
    store:query('CREATE TABLE busy (id bigint PRIMARY KEY, value jsonb)')
    local advice
    store:transaction(function(tx)
      tx:query('LOCK TABLE busy IN ACCESS EXCLUSIVE MODE')
      is_refused('busy', 'somebody has locked it (ACCESS EXCLUSIVE)')
      advice = report_of('busy').reasons[1].advice
      assert.equal(tx:query('SELECT pg_backend_pid() AS pid')[1].pid, store:query(advice)[1].pid)
    end)
    is_cached('busy')
    store:query('DROP TABLE busy')
  end)

  it('tells a role that may not read the rows all the rest', function()
    store:query('CREATE TABLE hidden (id bigint PRIMARY KEY, value jsonb); '
      .. 'DROP ROLE IF EXISTS why_blind; CREATE ROLE why_blind LOGIN')
    finally(function() store:query('DROP TABLE hidden; DROP ROLE why_blind') end)
    local as_blind = {}
    for key, value in pairs(db) do as_blind[key] = value end
    as_blind.user = 'why_blind'
    local out = is_refused('hidden', 'no right to read', { db = as_blind, redis = served.redis })
    assert.matches('GRANT SELECT ON public.hidden', out)
    assert.matches('its indexes serve\n  hidden_pkey: ids\nits rows could not be looked at: '
      .. 'permission denied', out)
  end)

  it('fails for a table that is not there', function()
    local _, code, err = why('nowhere')
    assert.equal(1, code)
    assert.matches('there is no table nowhere', err)
  end)
end)
