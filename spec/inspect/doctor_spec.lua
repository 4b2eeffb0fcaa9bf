--- stores doctor: each thing that it finds, made for real, seen, and gone where its advice is
--- followed.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local cache = require('spec.support.cache')
local command = require('spec.support.command')
local doctor = require('stores.inspect.doctor')
local gate = require('spec.support.gate')
local json = require('stores.json')
local keys_of_redis = require('stores.inspect.keys')
local postgres = require('spec.support.postgres')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local pg, rd, db, store, keys

local function open()
  store = stores.Store.new(db, rd:config({ timeout = 2 }))
end

setup(function()
  pg = postgres.start({ max_connections = 20, superuser_reserved_connections = 3 })
  rd = redis.start({ maxmemory = '100mb' })
  db = pg:config()
  open()
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  store:query('CREATE INDEX ON docs USING gin (value jsonb_path_ops)')
  keys = cache.of(db, rd.socket)
end)

teardown(function()
  support.close(store)
  rd:remove()
  pg:remove()
end)

-- What an example that fails has stopped, or closed.
before_each(function()
  pg:ensure()
  if store.closed then open() end
end)

local function run(words, opts)
  local all = { 'doctor' }
  for _, word in ipairs(words) do all[#all + 1] = word end
  opts = opts or {}
  opts.db, opts.redis = opts.db or db, opts.redis or rd:config({ timeout = 2 })
  return command.run(all, opts)
end

-- What it finds of a kind, of a table where one is named; nil: nothing.
local function finding(code, words, opts, name)
  local all = { '--json' }
  for _, word in ipairs(words or {}) do all[#all + 1] = word end
  local result = run(all, opts)
  local ok, report = pcall(json.decode, result.out)
  assert(ok, result.out .. result.err)
  local found
  for _, one in ipairs(report.findings) do
    if one.code == code and (not name or one.table == name) then
      assert.is_nil(found, result.out)
      found = one
    end
  end
  return found, result.code
end

-- Who ends the turn of a table that was dropped writes its epoch once more.
local function nothing_turns()
  support.eventually(function() return #store:stats().turning == 0 end)
end

describe('stores doctor', function()
  it('finds nothing where nothing is wrong, and tells which servers these are', function()
    nothing_turns()
    rd:cli('FLUSHALL') -- what other examples left
    local result = run({})
    assert.equal(0, result.code, result.err)
    assert.matches('^PostgreSQL %d+[%d.]* [^\n]*: %d+ of 17 connections in use, room for 1 '
      .. 'process with a pool of 10\nRedis %d+%.%d+[^\n]*, maxmemory%-policy noeviction\n',
      result.out)
    assert.matches('\nnothing is wrong\n$', result.out)
  end)

  it('counts pools against max_connections', function()
    local found, code = finding('pool', { '--processes', '3' })
    assert.equal('error', found.severity)
    assert.equal(1, code)
    assert.equal('3 processes with pools of 10 may ask for 30 connections, and PostgreSQL gives 17',
      found.text)
    local size = tonumber(found.advice:match('or poolsize to (%d+)'))
    local opts = { db = pg:config({ poolsize = size }) }
    assert.is_nil((finding('pool', { '--processes', '3' }, opts)))
    found = finding('pool', {}, { db = pg:config({ poolsize = 18 }) })
    assert.matches('^a pool of 18 connections does not fit into the 17', found.text)
  end)

  it('sees that most connections are in use', function()
    local others = {}
    for at = 1, 14 do
      others[at] = stores.Store.new(db, nil, { cache = false })
      others[at]:query('SELECT 1')
    end
    local found = finding('connections')
    for _, one in ipairs(others) do one:close() end
    assert.equal('warning', found.severity)
    assert.matches('%d+ of 17 connections are in use', found.text)
    support.eventually(function() return not finding('connections') end)
  end)

  it('tells of transactions that stay open, and who has them', function()
    local other = stores.Store.new(pg:config({ application_name = 'the report' }), nil,
      { cache = false })
    local ok = pcall(other.transaction, other, function(tx)
      local pid = tx:query('SELECT pg_backend_pid() AS pid', nil, { readonly = true })[1].pid
      stores.sleep(0.01)
      local found = finding('long_transaction', { '--long', '0' })
      assert.equal('warning', found.severity)
      assert.truthy(found.text:find(("process %d 'the report' of postgres, idle in transaction")
        :format(pid), 1, true), found.text)
      assert.is_nil((finding('long_transaction')))
      pg:psql(found.advice:match('SELECT pg_terminate_backend%(%d+%)'))
      tx:query('SELECT 1')
    end)
    assert.is_false(ok)
    other:close()
    -- who hears that his session is ended hears it before that is gone
    support.eventually(function() return not finding('long_transaction', { '--long', '0' }) end)
  end)

  it('finds a policy of eviction that is wrong, and a Redis that is full or without a bound',
    function()
      rd:cli('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lfu')
      local found, code = finding('eviction')
      assert.equal(1, code)
      assert.matches('maxmemory%-policy allkeys%-lfu', found.text)
      local setting, value = found.advice:match('CONFIG SET (%S+) ([%w-]+)')
      rd:cli('CONFIG', 'SET', setting, value)
      assert.is_nil((finding('eviction')))
      rd:cli('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
      rd:cli('CONFIG', 'SET', 'maxmemory', '0')
      assert.equal('note', finding('maxmemory').severity)
      rd:cli('CONFIG', 'SET', 'maxmemory', rd:info('used_memory'))
      assert.matches('^Redis is full', finding('memory').text)
      rd:cli('CONFIG', 'SET', 'maxmemory', '100mb')
      assert.is_nil((finding('memory')))
      assert.is_nil((finding('maxmemory')))
    end)

  it('finds a Redis that is away, and one that refuses what the cache needs', function()
    local away = redis.new()
    local found, code = finding('redis', {}, { redis = away:config() })
    assert.equal('error', found.severity)
    assert.equal(1, code)
    away:remove()
    rd:cli('ACL', 'SETUSER', 'weak', 'on', '>secret', '~*', '+@all', '-info')
    local opts = { redis = rd:config({ timeout = 2, username = 'weak', password = 'secret' }) }
    assert.equal('error', finding('redis', {}, opts).severity)
    rd:cli('ACL', 'SETUSER', 'weak', '-@all', '+ping', '+info', '+select', '+mget', '+get', '+set',
      '+del', '+unlink', '+scan', '+eval', '+evalsha', '+role')
    assert.matches('\nnothing is wrong\n$', run({}, opts).out)
  end)

  it('finds clocks that differ', function()
    local library = os.tmpname()
    assert.equal(0, (shell.run(('cc -shared -fPIC -o %s %s/spec/support/shifted_clock.c -ldl')
      :format(shell.quoted(library), shell.quoted(root)))))
    local function look(seconds)
      local result = run({ '--json' }, { env = { LD_PRELOAD = library,
        STORES_CLOCK_AHEAD = tostring(seconds) } })
      local texts = {}
      for _, one in ipairs(json.decode(result.out).findings) do
        if one.code == 'clock' then texts[#texts + 1] = one.severity .. ': ' .. one.text end
      end
      return table.concat(texts, '\n'), result.code
    end
    local text, code = look(20)
    assert.equal(0, code)
    assert.matches("^warning: PostgreSQL's clock is [%d.]+ s behind this machine's\n"
      .. "warning: Redis's clock is [%d.]+ s behind this machine's$", text)
    text, code = look(-3600)
    assert.equal(1, code)
    assert.matches("^error: PostgreSQL's clock is [%d.]+ s ahead of this machine's\nerror: Redis",
      text)
    assert.equal('', (look(0)))
    os.remove(library)
  end)

  it('finds tables that are not of the shape, which its advice mends', function()
    store:query('CREATE TABLE odd (id integer, value json)')
    local result = run({})
    for advice in result.out:gmatch('%-> (ALTER TABLE public%.odd [^\n]+)') do
      store:query(advice)
    end
    assert.matches('public%.odd is not of the shape [^\n]*: its id is integer', result.out)
    assert.matches('public%.odd is not of the shape [^\n]*: its value is json,', result.out)
    assert.is_nil((finding('shape')))
    store:query('DROP TABLE odd')
    store:query([[CREATE TABLE odd (id text PRIMARY KEY, value jsonb);
      CREATE TABLE other (id uuid PRIMARY KEY, value jsonb)]])
    result = run({})
    store:query(result.out:match('%-> (ALTER TABLE public%.odd [^\n]+)'))
    -- of which no bigint can be made
    assert.matches('other is not of the shape[^\n]*: its id is uuid[^\n]*\n *%-> copy its rows',
      run({}).out)
    store:query('DROP TABLE odd, other')
  end)

  it('has nothing to say of the table in which imports keep their place', function()
    store:query('CREATE TABLE stores_imports (id bigint PRIMARY KEY, value jsonb)')
    assert.is_nil(run({}).out:find('stores_imports', 1, true))
    store:query('DROP TABLE stores_imports')
  end)

  it('finds rows that are no objects, or have the id of another one', function()
    pg:psql([[INSERT INTO docs VALUES (1, '{"id": "2", "n": 1}'), (2, '{"id": "2"}'), (3, '[1]')]])
    local found = finding('other_id')
    assert.equal('1 row of public.docs with the id of another one in the document, which '
      .. 'readers by SQL see: 1', found.text)
    pg:psql((found.advice:match('^(UPDATE .-);')))
    assert.is_nil((finding('other_id')))
    assert.matches('"id": "1"', pg:psql('SELECT value FROM docs WHERE id = 1'))
    found = finding('no_object')
    assert.equal('error', found.severity)
    assert.matches('^1 row of public%.docs: no object, and so not to be read: 3$', found.text)
    pg:psql("DELETE FROM docs WHERE jsonb_typeof(value) IS DISTINCT FROM 'object'")
    command.must({ 'invalidate', 'docs' }, { db = db, redis = rd:config({ timeout = 2 }) })
    assert.is_nil((finding('no_object')))
  end)

  it('finds an index that is INVALID, and one that is missing', function()
    pg:psql([[CREATE TABLE twins (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO twins VALUES (1, '{"a": 1}'), (2, '{"a": 1}')]])
    support.psql_refused(db, "CREATE UNIQUE INDEX CONCURRENTLY one_a ON twins ((value -> 'a'))")
    local found = finding('invalid_index')
    assert.equal('warning', found.severity)
    assert.matches('^the index one_a of twins is INVALID', found.text)
    pg:psql(found.advice:match('DROP INDEX CONCURRENTLY .*$'))
    assert.is_nil((finding('invalid_index')))
    found = finding('no_gin')
    assert.equal('note', found.severity)
    pg:psql(found.advice)
    assert.is_nil((finding('no_gin')))
    pg:psql("INSERT INTO twins SELECT n, '{}' FROM generate_series(10, 2000) n; ANALYZE twins; "
      .. 'DROP INDEX twins_value_idx')
    assert.equal('warning', finding('no_gin').severity)
    store:query('DROP TABLE twins')
    run({ '--fix' })
  end)

  it('finds announcements of a writer that was killed, and takes them away', function()
    gate.install(store)
    keys:ready(store, 'public.docs')
    store:insert('docs', { id = '7', n = 1 })
    stores.run(function()
      local closed = gate.close(db)
      local writer = process.lua(([[
        local stores = require('stores')
        local store = stores.Store.new(%s)
        store:transaction(function(tx)
          tx:insert('gate', { id = '1' })
          tx:update('docs', { id = '7', n = 2 })
        end)
      ]]):format(command.config(db, rd:config({ timeout = 2 })):gsub('^return ', '')))
      closed:holds_somebody_up()
      assert.is_nil((finding('orphans', {}, nil, 'public.docs'))) -- it lives
      writer:kill()
      closed:release()
    end)
    local found
    support.eventually(function()
      found = finding('orphans', {}, nil, 'public.docs')
      return found
    end)
    assert.equal('warning', found.severity)
    assert.matches('^1 announcement of writers that died, or are busy elsewhere, at rows of '
      .. 'public%.docs %(7%)', found.text)
    assert.is_true(found.is_fixable)
    assert.is_true(finding('orphans', { '--fix' }, nil, 'public.docs').is_fixed)
    assert.is_nil((finding('orphans')))
    assert.not_equal('T', (keys:row('public.docs', '7') or ' '):sub(1, 1))
    store:query('DROP TABLE gate, gate_raw, bars CASCADE; DROP FUNCTION gate_again')
    nothing_turns()
    run({ '--fix' })
  end)

  it('finds what nobody reads in Redis, and takes it away', function()
    run({ '--fix' })
    assert.is_nil((finding('dead_rows')))
    keys:ready(store, 'public.docs')
    store:upsert('docs', { id = '8' })
    keys:becomes('public.docs', '8', 'V')
    store:query('CREATE TABLE going (id bigint PRIMARY KEY, value jsonb)')
    keys:ready(store, 'public.going')
    store:query('DROP TABLE going')
    store:invalidate('docs')
    nothing_turns()
    local found = finding('dead_rows')
    assert.equal('note', found.severity)
    local rows, epochs = found.text:match('^(%d+) cached rows? of dead epochs, (%d+) epoch')
    assert.is_true(tonumber(rows) >= 1)
    assert.equal('1', epochs)
    local result = run({ '--fix' })
    assert.matches('nobody reads them %(mended%)\n', result.out)
    assert.is_nil((finding('dead_rows')))
  end)

  it('finds epochs of another run of the servers, and turns them', function()
    keys:ready(store, 'public.docs')
    store:close()
    pg:restart('fast')
    db = pg:config()
    keys = cache.of(db, rd.socket)
    local found = finding('dead_epoch')
    assert.equal('public.docs', found.table)
    assert.is_true(finding('dead_epoch', { '--fix' }).is_fixed)
    assert.is_nil((finding('dead_epoch')))
    assert.equal('V', keys:epoch('public.docs'):sub(1, 1))
    open()
  end)

  it('says what a role may not look at, and goes on', function()
    pg:psql([[CREATE ROLE blind LOGIN; CREATE TABLE hidden (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE seen (id bigint PRIMARY KEY, value jsonb); INSERT INTO seen VALUES (1, '[]');
      GRANT SELECT ON seen TO blind]])
    local as_blind = { db = pg:config({ user = 'blind' }) }
    local found, code = finding('query_failed', {}, as_blind, 'public.hidden')
    assert.equal(1, code)
    assert.matches('^the rows of public.hidden could not be looked at: permission', found.text)
    assert.matches('^1 row of public.seen: no object', finding('no_object', {}, as_blind).text)
    pg:psql('DROP TABLE hidden, seen; DROP ROLE blind')
  end)

  it('does not wait for a table that somebody has locked', function()
    local report
    store:query('CREATE TABLE busy (id bigint PRIMARY KEY, value jsonb)')
    store:transaction(function(tx)
      tx:query('LOCK TABLE busy IN ACCESS EXCLUSIVE MODE')
      report = finding('locked', {}, nil, 'public.busy')
      assert.equal(tx:query('SELECT pg_backend_pid() AS pid')[1].pid,
        store:query(report.advice)[1].pid)
    end)
    assert.equal('warning', report.severity)
    assert.is_nil((finding('locked')))
    store:query('DROP TABLE busy')
  end)

  it('tells what it has found where it is stopped, and mends nothing', function()
    keys:ready(store, 'public.docs')
    store:upsert('docs', { id = '9' })
    keys:becomes('public.docs', '9', 'V')
    store:invalidate('docs')
    nothing_turns()
    local looks = 0
    local report = doctor.look(store, { fix = true, stopping = function()
      looks = looks + 1
      return looks > 1 -- one check was made
    end })
    assert.is_false(report.is_whole)
    assert.matches('^PostgreSQL', report.facts[1])
    assert.same({ epochs = 0, rows = 0, is_whole = false }, keys_of_redis.sweep(store, {
      stopping = function() return true end }))
    assert.is_truthy(finding('dead_rows'))
    run({ '--fix' })
  end)
end)

describe('of a standby, stores doctor #slow', function()
  it('says that it is one', function()
    local own = require('spec.consistency.servers').start() -- which is for the plain pass
    own:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    own:add_standby()
    local at = { host = own.home, port = 5433, user = 'postgres', database = 'postgres',
      target_session_attrs = 'any' }
    local found, code = finding('standby', {}, { db = at, redis = own:redis_config() })
    assert.equal('warning', found.severity)
    assert.matches('this PostgreSQL is a standby', found.text)
    assert.matches('target_session_attrs', found.advice)
    local result = run({}, { db = at, redis = own:redis_config() })
    own:remove()
    assert.equal(1, code) -- there is no cache behind it
    assert.matches('error    Redis: PostgreSQL does not tell which past it has', result.out)
  end)
end)
