-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local environment = require('spec.support.environment')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local server, services

setup(function()
  server = postgres.start(nil, 'local all all trust\nhost all all all trust\n')
  services = server:write('services', (([[
# of the spec
[plain]
host=127.0.0.1
port=PORT
user=postgres
dbname=postgres

[bare]
host=127.0.0.1
port=PORT
[strict]
host=127.0.0.1
port=PORT
user=postgres
sslmode=require
[app]
host=SOCKET
port=PORT
user=postgres
application_name=of_the_service
options=-c search_path=app -c statement_timeout=7s
connect_timeout=3
[remote]
host=db.example
hostaddr=127.0.0.1
port=PORT
user=postgres
sslmode=verify-full
sslrootcert=/nonexistent.crt
[lax]
host=127.1.example,127.2.example
hostaddr=127.0.0.1,10.255.255.1
port=PORT
user=postgres
sslmode=prefer
[far]
host=127.1.example,127.2.example
hostaddr=127.0.0.1,10.255.255.1
port=PORT
user=postgres
]]):gsub('PORT', server.port):gsub('SOCKET', server.socket)))
end)

teardown(function() server:remove() end)

local SESSION = [[SELECT inet_server_port() AS port, current_user AS user, current_database() AS db,
  current_setting('application_name') AS app, current_setting('search_path') AS path,
  current_setting('statement_timeout') AS statement_timeout,
  current_setting('client_encoding') AS encoding,
  current_setting('default_transaction_read_only') AS read_only]]

-- What a session of such a store says of itself. Nothing listens on port 1.
local function session(variables, db, opts)
  local all = { PGSERVICEFILE = services, PGPORT = '1' }
  for name, value in pairs(variables) do all[name] = value end
  return environment.with(all, function()
    local store = stores.Store.new(db, nil, opts or { timeout = 5 })
    local ok, rows = pcall(store.query, store, SESSION)
    store:close()
    if not ok then error(rows, 0) end
    return rows[1]
  end)
end

local function tcp(more)
  local db = server:config({ host = '127.0.0.1' })
  for key, value in pairs(more or {}) do db[key] = value end
  return db
end

describe('a service of libpq', function()
  it('gives host, port, user and database, wherever it is named', function()
    local by_key = session({}, { service = 'plain' })
    assert.same({ server.port, 'postgres', 'postgres' }, { by_key.port, by_key.user, by_key.db })
    assert.equal(server.port, session({}, { params = { service = 'plain' } }).port)
    assert.equal(server.port, session({ PGSERVICE = 'plain' }, {}).port)
    assert.equal(server.port, session({}, { url = 'postgresql:///?service=plain' }).port)
    assert.equal(server.port, session({ PGSERVICE = 'plain' }, { database = 'postgres' }).port)
  end)

  it('gives way to what is said in db', function()
    assert.equal('template1', session({}, { service = 'plain', database = 'template1' }).db)
    support.refused('connect_failed', 'port 1 ', session, {},
      { service = 'plain', port = 1 })
  end)

  it('is asked for TLS as it says, whatever else is given', function()
    for _, db in ipairs({ { service = 'strict' }, { service = 'strict', port = server.port },
      { service = 'strict', host = '127.0.0.1' } }) do
      db.database = 'postgres'
      support.refused('connect_failed', 'SSL', session, {}, db)
    end
    support.refused('connect_failed', nil, session, {},
      { service = 'remote', database = 'postgres', port = server.port })
  end)

  it('may be as lax as it says, which no default of ours makes strict', function()
    assert.equal(server.port, session({}, { service = 'lax', database = 'postgres' }).port)
    local err = support.refused('connect_failed', nil, session, {},
      { service = 'far', database = 'postgres' })
    assert.truthy(err.hint:find('sslrootcert', 1, true), err.hint)
  end)

  it('gives the name of the application and the options of the session', function()
    local seen = session({}, { service = 'app', database = 'postgres' })
    assert.same({ 'of_the_service', 'app', '7s' }, { seen.app, seen.path, seen.statement_timeout })
    seen = session({}, { service = 'app', database = 'postgres', statement_timeout = 9,
      application_name = 'mine' })
    assert.same({ 'mine', 'app', '9s' }, { seen.app, seen.path, seen.statement_timeout })
  end)

  it('that is not there is refused when the store is made', function()
    for _, db in ipairs({ { service = 'nope', database = 'x' },
                          { url = 'postgres:///x?service=nope' } }) do
      support.refused('invalid_option', '"nope" not found', session, {}, db)
    end
    support.refused('invalid_option', 'not found', session, { PGSERVICE = 'nope' },
      { database = 'x' })
    support.refused('invalid_option', 'both', session, {},
      { service = 'plain', url = 'postgres:///x', host = 'h' })
    support.refused('invalid_option', 'as well', session, {},
      { service = 'plain', params = { service = 'app' }, database = 'x' })
  end)

  it('that names no database leaves it to be named', function()
    support.refused('invalid_option', 'no database', session, {}, { service = 'bare' })
    assert.equal('postgres', session({ PGUSER = 'postgres', PGDATABASE = 'postgres' },
      { service = 'bare' }).db)
  end)
end)

describe('the environment of libpq', function()
  it('says what nobody else says', function()
    local seen = session({ PGHOST = server.socket, PGPORT = tostring(server.port),
      PGUSER = 'postgres', PGDATABASE = 'template1', PGAPPNAME = 'of_env',
      PGOPTIONS = '-c search_path=app -c statement_timeout=8s' }, {})
    assert.same({ 'template1', 'of_env', 'app', '8s' },
      { seen.db, seen.app, seen.path, seen.statement_timeout })
    seen = session({}, tcp())
    assert.same({ 'stores', '30s' }, { seen.app, seen.statement_timeout })
  end)

  it('asks for TLS, also of a local server', function()
    support.refused('connect_failed', 'SSL', session, { PGSSLMODE = 'require' }, tcp())
    support.refused('connect_failed', 'SSL', session, { PGREQUIRESSL = '1' }, tcp())
    assert.equal(server.port, session({ PGSSLMODE = 'require' }, tcp({ sslmode = 'disable' })).port)
    support.refused('invalid_option', 'sslmode', session, { PGSSLMODE = 'strict' }, tcp())
  end)

  it('may be as lax as it says', function()
    local far = tcp({ host = 'db.example', params = { hostaddr = '127.0.0.1,10.255.255.1' } })
    far.host = { 'db.example', 'db.example' }
    support.refused('connect_failed', nil, session, {}, far)
    assert.equal(server.port, session({ PGSSLMODE = 'prefer' }, far).port)
  end)

  it('names the address that is connected to', function()
    assert.equal(server.port, session({ PGHOSTADDR = '127.0.0.1' },
      tcp({ host = 'nowhere.invalid' })).port)
    support.refused('connect_failed', '127.0.0.9', session, { PGHOSTADDR = '127.0.0.9' }, tcp())
  end)

  it('does not lead away from a socket that is named', function()
    local odd = server:write('odd', '[odd]\nhostaddr=127.0.0.9\nsslmode=verify-full\n')
    server:psql([[CREATE DATABASE "it's \ odd"]])
    for _, variables in ipairs({ { PGHOSTADDR = '127.0.0.9' },
                                 { PGSERVICE = 'odd', PGSERVICEFILE = odd } }) do
      for _, name in ipairs({ 'postgres', "it's \\ odd" }) do
        local seen = session(variables, server:config({ database = name }))
        assert.equal(name, seen.db)
        assert.equal(stores.json.null, seen.port)
      end
    end
    support.refused('connect_failed', '127.0.0.9', session, {},
      server:config({ params = { hostaddr = '127.0.0.9' } }))
  end)

  it('demands nothing of a private server', function()
    local folder = os.tmpname()
    os.remove(folder)
    local handle = require('stores.local').up(folder)
    for name, value in pairs({ PGHOSTADDR = '127.0.0.9', PGCHANNELBINDING = 'require', PGPORT = '1',
      PGSSLMODE = 'nonsense', PGTARGETSESSIONATTRS = 'standby', PGDATABASE = 'nothing',
      PGGSSENCMODE = 'require', PGUSER = 'nobody', PGCLIENTENCODING = 'LATIN1' }) do
      environment.with({ [name] = value }, function()
        local store = stores.open(folder)
        assert.equal('é', store:query("SELECT 'é' AS it")[1].it, name)
        store:close()
      end)
    end
    handle.close()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  it('is named where a server refuses what it asks for', function()
    for name, wanted in pairs({ PGTZ = 'TimeZone', PGDATESTYLE = 'DateStyle' }) do
      local err = support.refused('connect_failed', wanted, session, { [name] = 'Nowhere' }, tcp())
      assert.is_false(err.retryable)
    end
    support.refused('connect_failed', 'no_such', session, { PGOPTIONS = '-c no_such=1' }, tcp())
  end)

  it('is refused where it is no number and has to be one', function()
    support.refused('invalid_option', 'connect_timeout', session, { PGCONNECT_TIMEOUT = '5s' },
      tcp())
    for _, key in ipairs({ 'keepalives', 'keepalives_idle', 'keepalives_interval',
      'keepalives_count', 'tcp_user_timeout' }) do
      support.refused('invalid_option', key, session, {}, tcp({ params = { [key] = 'yes' } }))
      assert.equal(server.port, session({}, tcp({ params = { [key] = ' 1 ' } })).port)
    end
    support.refused('invalid_option', 'connect_timeout', session, {},
      { url = ('postgresql://postgres@127.0.0.1:%d/postgres?connect_timeout=9999999999'):format(
        server.port) })
  end)

  it('is nothing to try again where it is what this server does not give', function()
    for _, wanted in ipairs({ { params = { channel_binding = 'require' } },
      { params = { gssencmode = 'require' } }, { sslmode = 'require' } }) do
      local err = support.refused('connect_failed', nil, session, {}, tcp(wanted))
      assert.is_false(err.retryable, err.message)
    end
    local err = support.refused('connect_failed', nil, session, {},
      server:config({ params = { requirepeer = 'nobody' } }))
    assert.is_false(err.retryable, err.message)
  end)

  it('says how long a connect may take', function()
    local hub = require('stores.wait').host.hub()
    local function waited(variables, more)
      local since = hub:now()
      -- an address of nobody: its packets are lost, or refused by a router
      local db = { host = '10.255.255.1', database = 'x', user = 'x', sslmode = 'disable' }
      for key, value in pairs(more or {}) do db[key] = value end
      pcall(session, variables, db, { timeout = 20 })
      return hub:now() - since
    end
    assert.is_true(waited({ PGCONNECT_TIMEOUT = '1' }) < 8)
    assert.is_true(waited({ PGCONNECT_TIMEOUT = '600' }, { connect_timeout = 0.5 }) < 8)
  end)

  it('does not change the text of documents', function()
    local store = stores.Store.new(server:config(), nil)
    store:query('CREATE TABLE words (id bigint PRIMARY KEY, value jsonb)')
    for i, encoding in ipairs({ 'LATIN1', 'SQL_ASCII', 'WIN1252', 'EUC_JP' }) do
      environment.with({ PGCLIENTENCODING = encoding }, function()
        local params = i % 2 == 0 and { client_encoding = encoding } or nil
        local other = stores.Store.new(server:config({ params = params }), nil)
        other:insert('words', { id = tostring(i), word = 'é日' })
        assert.equal('é日', other:find('words', tostring(i)).word)
        other:close()
      end)
      assert.equal('é日', store:find('words', tostring(i)).word)
      assert.equal('2', server:psql(("SELECT length(value->>'word') FROM words WHERE id = %d")
        :format(i)))
    end
    store:close()
    server:psql('DROP TABLE words')
  end)

  it('does not make a store one that only reads, which db may', function()
    local read_only = '-c default_transaction_read_only=on'
    assert.equal('off', session({ PGOPTIONS = read_only }, tcp()).read_only)
    assert.equal('on', session({}, tcp({ params = { options = read_only } })).read_only)
    for _, wanted in ipairs({ 'standby', 'read-only', 'prefer-standby', 'primary' }) do
      assert.equal(server.port, session({ PGTARGETSESSIONATTRS = wanted }, tcp()).port)
    end
    support.refused('connect_failed', 'standby', session, {},
      tcp({ target_session_attrs = 'standby' }))
    support.refused('invalid_option', 'target_session_attrs', session,
      { PGTARGETSESSIONATTRS = 'nonsense' }, tcp())
  end)
end)

describe('a host', function()
  it('is local by its address, not by how its name begins', function()
    for _, host in ipairs({ '127.0.0.1.example', '127.example', 'localhost.example' }) do
      local err = support.refused('connect_failed', nil, session, {},
        tcp({ host = { '127.0.0.1', host }, params = { hostaddr = '127.0.0.1,10.255.255.1' } }))
      assert.truthy(err.hint:find('sslrootcert', 1, true), err.hint)
    end
    assert.equal(server.port, session({}, tcp({ host = 'db.example',
      params = { hostaddr = '127.0.0.1' } })).port)
  end)

  it('of several may have an address of its own', function()
    local seen = session({}, tcp({ host = { 'one.example', 'two.example' },
      port = { 1, server.port }, params = { hostaddr = '127.0.0.1,127.0.0.1' } }))
    assert.equal(server.port, seen.port)
    support.refused('invalid_option', 'hostaddr', session, {},
      tcp({ host = { 'a', 'b' }, params = { hostaddr = '127.0.0.1' } }))
  end)

  it('of a socket has a path for which the system has room', function()
    local db = { host = '/' .. ('x'):rep(92), port = 5432, database = 'postgres' }
    support.refused('connect_failed', nil, session, {}, db)
    db.host = db.host .. 'x'
    support.refused('invalid_option', '107', session, {}, db)
  end)

  it('has one port, or as many as there are hosts, each of them a number', function()
    support.refused('invalid_option', '3 port', session, {},
      tcp({ host = { '127.0.0.1', '127.0.0.1' }, port = { 1, 2, 3 } }))
    for _, port in ipairs({ '54x2', '99999', '0' }) do
      support.refused('invalid_option', 'port of PostgreSQL', session, {},
        { url = 'postgresql://postgres@127.0.0.1:' .. port .. '/postgres' })
      support.refused('invalid_option', 'port of PostgreSQL', session, { PGPORT = port },
        { database = 'postgres' })
    end
  end)
end)

describe('the url of PostgreSQL', function()
  local SECRET = 'Zq7topsecret'

  -- Refuses it, with this in the message, and shows nothing of the password.
  local function refused(text, rest, hint)
    local url = ('postgresql://postgres:%s'):format(rest:gsub('SECRET', SECRET))
    local err = support.refused('invalid_option', text, stores.Store.new, { url = url })
    for key, value in pairs(err) do
      assert.is_nil(tostring(value):find(SECRET, 1, true), key .. ': ' .. tostring(value))
    end
    if hint then assert.truthy(err.hint:find(hint, 1, true), err.hint) end
  end

  it('names the parameter that libpq does not know, and what is meant', function()
    refused("'schema' is unknown", 'SECRET@127.0.0.1/postgres?schema=public', 'search_path')
    refused("'pgbouncer' is unknown", 'SECRET@127.0.0.1/postgres?pgbouncer=true', 'pooler')
    refused("'pool_max' is unknown", 'SECRET@127.0.0.1/postgres?sslmode=prefer&pool_max=5',
      'poolsize')
    refused("'nope' is unknown", 'SECRET@127.0.0.1/postgres?nope=1&application_name=x')
    refused('sslmode', 'SECRET@127.0.0.1/postgres?sslmode=no-verify')
    refused("'sslmode' has no value", 'SECRET@127.0.0.1/postgres?sslmode')
    refused('%25', 'SECRET@127.0.0.1/postgres?application_name=50%')
    refused("second '='", 'SECRET@127.0.0.1/postgres?options=-csearch_path=x')
    refused('replication', 'SECRET@127.0.0.1/postgres?replication=database')
  end)

  it('takes those that libpq knows', function()
    local url = ('postgresql://postgres:x@127.0.0.1:%d/postgres?connect_timeout=5'
      .. '&application_name=x&options=-c%%20search_path%%3Dpg_catalog'):format(server.port)
    local seen = session({}, { url = url })
    assert.same({ 'x', 'pg_catalog' }, { seen.app, seen.path })
  end)

  it('shows nothing of a password that is not escaped', function()
    refused('%40', 'x@SECRET@127.0.0.1/postgres')
    refused('%2F', 'SECRET/x@127.0.0.1/postgres')
    refused('%2F', 'x/SECRET@127.0.0.1/postgres')
    refused('%2F', '12/SECRET@127.0.0.1/postgres')
    refused(nil, 'x?SECRET@127.0.0.1/postgres')
    refused(nil, 'x?SECRET=1@127.0.0.1/postgres')
    refused('%25', 'SECRET%zz@127.0.0.1/postgres')
    refused('%25', 'SECRET%00@127.0.0.1/postgres')
    refused('names no database', 'SECRET')
    refused('port of PostgreSQL', 'SECRET/postgres')
  end)
end)

describe('the url of Redis', function()
  it('names a database once', function()
    for _, url in ipairs({ 'redis://:Zq7topsecret@127.0.0.1:6379/1?db=2',
                           'rediss://:Zq7topsecret@127.0.0.1/1?db=1' }) do
      local err = support.refused('invalid_option', 'twice', stores.Store.new, { database = 'x' },
        { url = url })
      assert.is_nil(tostring(err):find('Zq7', 1, true))
    end
  end)
end)
