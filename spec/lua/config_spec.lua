local call = require('stores.config.call')
local config = require('stores.config.tables')
local errors = require('stores.errors')
local options = require('stores.config.options')

local DB = { database = 'app', user = 'me' }
local REDIS = { host = 'localhost', port = 6379 }

local function with(base, more)
  local all = {}
  for key, value in pairs(base) do all[key] = value end
  for key, value in pairs(more) do all[key] = value end
  return all
end

-- Calls fn, which must raise an error of Stores, and gives it.
local function raised(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, 'nothing was raised')
  assert.is_true(errors.is(err), tostring(err))
  return err
end

local function refused(pattern, fn, ...)
  local err = raised(fn, ...)
  assert.equal('invalid_option', err.code)
  assert.truthy(err.message:find(pattern), err.message .. '\n  has no ' .. pattern)
  return err
end

local function db(more) return config.resolve(with(DB, more)) end
local function redis(more) return config.resolve(DB, more).redis end
local function opts(more) return config.resolve(DB, REDIS, more) end

describe('an error', function()
  it('is a table that says what, whether it may be tried again, and the HTTP status', function()
    local err = raised(errors.raise, 'not_found', 'no row 5 in users', { table = 'users' })
    assert.equal('not_found', err.code)
    assert.equal('none', err.outcome)
    assert.equal(404, err.http)
    assert.is_false(err.retryable)
    assert.equal('users', err.table)
    assert.equal('not_found: no row 5 in users', tostring(err))
  end)

  it('shows its SQLSTATE and can be joined to a string', function()
    local err = errors.new('deadlock', 'broken', { sqlstate = '40P01' })
    assert.equal('deadlock: broken (SQLSTATE 40P01)', tostring(err))
    assert.equal('failed: deadlock: broken (SQLSTATE 40P01)', 'failed: ' .. err)
    err.message = 'SQLSTATE 40P01: broken'
    assert.equal('deadlock: SQLSTATE 40P01: broken', tostring(err))
    assert.is_true(err.retryable)
  end)

  it('is never retryable where the work may have been done', function()
    assert.is_false(errors.new('connection_lost', nil, { outcome = 'unknown' }).retryable)
  end)

  it('has the text of its code where none is given', function()
    assert.is_true(#errors.new('closed').message > 0)
  end)

  it('is told from other values', function()
    assert.is_true(errors.is(errors.new('closed')))
    assert.is_true(errors.is(errors.new('closed'), 'closed'))
    assert.is_false(errors.is(errors.new('closed'), 'timeout'))
    for _, other in ipairs({ 'closed', 5, {}, print }) do assert.is_false(errors.is(other)) end
    assert.is_false(errors.is(nil))
  end)

  it('with a code that is not in the list is a defect', function()
    assert.equal('internal', errors.new('no_such_code', 'x').code)
  end)
end)

describe('the configuration of PostgreSQL', function()
  it('becomes keywords of libpq, as text', function()
    local flat = db({ host = '/tmp/pg', port = 5499, password = 'p', sslmode = 'disable' })
    assert.same({ host = '/tmp/pg', port = '5499', dbname = 'app', user = 'me', password = 'p',
      sslmode = 'disable' }, flat.pg)
    assert.is_false(flat.redis)
    assert.is_false(flat.cache)
    assert.is_true(flat.transaction)
  end)

  it('takes a port as a number or as digits', function()
    assert.equal('5432', db({ port = 5432 }).pg.port)
    assert.equal('5432', db({ port = '5432' }).pg.port)
    refused('db%.port must be a whole number from 1 to 65535', db, { port = 0 })
    refused("db%.port must be .*got '54a'", db, { port = '54a' })
    refused('db%.port must be', db, { port = 5432.5 })
    refused('db%.port must be .*got a table', db, { port = { {} } })
  end)

  it('takes several hosts', function()
    local flat = db({ host = { 'a', 'b' }, port = { 1, '2' }, target_session_attrs = 'read-write' })
    assert.equal('a,b', flat.pg.host)
    assert.equal('1,2', flat.pg.port)
    assert.equal('1,2', db({ host = 'a,b', port = '1,2' }).pg.port)
  end)

  it('takes poolsize in both spellings, but not at once', function()
    assert.equal(3, db({ poolsize = 3 }).poolsize)
    assert.equal(4, db({ poolSize = '4' }).poolsize)
    refused('both given', db, { poolsize = 3, poolSize = 3 })
    refused('whole number from 1', db, { poolsize = 0 })
  end)

  it('must name a database', function()
    refused('db%.database is missing', config.resolve, {})
    refused('db must be a table', config.resolve)
    refused('db must be a table .* got a string', config.resolve, 'postgres://x')
  end)

  it('takes a url in place of host, port and database', function()
    local url = 'postgresql://me:se/cret@db.example:5432/app?sslmode=require'
    assert.same({ url = url }, config.resolve({ url = url }).pg)
    assert.equal('x', config.resolve({ url = url, password = 'x' }).pg.password)
    assert.truthy(config.resolve({ url = 'postgres:///app' }))
    assert.truthy(config.resolve({ url = 'postgres://h/?dbname=app' }))
    refused('both given', config.resolve, { url = url, host = 'h' })
    refused("begins with 'postgresql://'", config.resolve, { url = 'mysql://h/app' })
    refused('names no database', config.resolve, { url = 'postgres://me@h' })
    refused('names no database', config.resolve, { url = 'postgres://me@h/' })
    refused('a url goes in url', db, { host = 'postgres://h/app' })
  end)

  it('checks sslmode', function()
    refused("one of 'disable'.*got 'verify'", db, { sslmode = 'verify' })
    refused("one of 'disable'.*got true", db, { sslmode = true })
  end)

  it('hands other keywords of libpq through params', function()
    local pg = db({ params = { keepalives_idle = 7, options = '-c x=y', sslsni = true } }).pg
    assert.equal('7', pg.keepalives_idle)
    assert.equal('-c x=y', pg.options)
    assert.equal('1', pg.sslsni)
    refused('use db%.database', db, { params = { dbname = 'x' } })
    refused("did you mean 'keepalives_idle'", db, { params = { keepalive_idle = 7 } })
    refused('params must be a table', db, { params = 'x' })
  end)
end)

describe('an unknown key', function()
  it('is answered with the nearest known one', function()
    refused("unknown key 'databse' in db: did you mean 'database'%?", db, { databse = 'x' })
    refused("did you mean 'password'", db, { pasword = 'x' })
    refused("did you mean 'host'", db, { hots = 'x' })
    refused('SET search_path TO name', db, { schema = 'x' })
    refused('SET search_path TO name', db, { search_path = 'x' })
    refused("did you mean 'connect_timeout'", db, { connectTimeout = 1 })
    refused("did you mean 'negative_ttl'", opts, { negativeTtl = 1 })
    refused("did you mean 'on_cache_failure'", opts, { on_cache_fail = 'error' })
    refused("did you mean 'port'", redis, { host = 'x', prot = 1 })
  end)

  it('is understood where it is the name of another client', function()
    for alias, key in pairs({ auth_pass = 'password', pass = 'password', passwd = 'password',
      pwd = 'password', dbname = 'database', db = 'database', username = 'user', hostname = 'host',
      pool_size = 'poolsize', max = 'poolsize', connectionString = 'url', ssl = 'sslmode' }) do
      refused("'" .. alias .. "' in db: did you mean '" .. key .. "'", db, { [alias] = 'x' })
    end
    refused('closes idle connections by itself', db, { idleTimeoutMillis = 30000 })
    refused("did you mean 'opts.password'", redis, { host = 'x', auth_pass = 'x' })
    refused("did you mean 'password'", redis, { host = 'x', opts = { auth_pass = 'x' } })
    refused("did you mean 'db'", redis, { host = 'x', opts = { database = 1 } })
    refused("did you mean 'ttl'", opts, { ttl_seconds = 5 })
    refused("'poolsize' goes in db", opts, { poolsize = 5 })
  end)

  it('that is a url is not shown, for it may hold a password', function()
    local url = 'postgresql://me:s3cret@h/app'
    for _, fn in ipairs({ db, opts, function(more) return db({ params = more }) end,
      function(more) return redis(with({ host = 'x' }, more)) end,
      function(more) return call.check(more, call.allow('timeout')) end }) do
      local err = refused('postgresql://%.%.%.', fn, { [url] = true })
      assert.is_nil(tostring(err):find('s3cret', 1, true))
    end
  end)

  it('that is like nothing gets the list of those there are', function()
    refused('known are .*database.*user', db, { xyzzyplugh = 1 })
    refused('keys are names', db, { 'app' })
  end)

  it('is found by edits, a swap of neighbours being one', function()
    assert.equal(1, options.distance('prot', 'port'))
    assert.equal(0, options.distance('', ''))
    assert.equal(3, options.distance('', 'abc'))
    assert.equal(3, options.distance('kitten', 'sitting'))
    assert.is_nil(options.nearest('completely', { host = true, port = true }))
  end)
end)

describe('a time', function()
  it('of 30000 is refused, for seconds are meant', function()
    refused('opts.timeout must be at most 3600 seconds, got 30000: seconds are meant', opts,
      { timeout = 30000 })
    refused('seconds are meant', db, { connect_timeout = 5000 })
    refused('seconds are meant', redis, { host = 'x', opts = { timeout = 50 } })
    refused('seconds are meant', call.check, { timeout = 30000 }, call.allow('timeout'))
  end)

  it('of math.huge is no limit where a call may have none', function()
    assert.is_true(opts({ timeout = math.huge }).timeout >= 1e8)
    assert.is_true(call.check({ timeout = math.huge }, call.allow('timeout')).timeout >= 1e8)
    refused('seconds are meant', opts, { ttl = math.huge })
  end)

  it('must be a positive number', function()
    refused('a number of seconds, got a string', opts, { timeout = '5' })
    refused('at least 0.001', opts, { timeout = 0 })
    refused('at least 0.001', opts, { timeout = -1 })
    refused('at least 0.001', opts, { timeout = 0 / 0 })
    assert.equal(0.25, opts({ timeout = 0.25 }).timeout)
  end)

  it('of 0 means never where that can be meant', function()
    local function keepalive(seconds)
      return redis({ host = 'x', opts = { keepalive = seconds } }).keepalive
    end
    assert.equal(0, keepalive(0))
    assert.equal(30, keepalive(30))
    refused('at least 0.001', keepalive, -1)
    refused('seconds are meant', keepalive, 30000)
  end)
end)

describe('the configuration of Redis', function()
  it('is host and port, a path, or a url', function()
    assert.same({ host = 'localhost', port = 6379 }, redis(REDIS))
    assert.same({ path = '/tmp/r.sock' }, redis({ path = '/tmp/r.sock' }))
    assert.same({ host = 'h', port = 6380, username = 'u', password = 'p@:/ ', db = 3 },
      redis({ url = 'redis://u:p%40:%2F%20@h:6380/3' }))
    assert.same({ host = 'h', password = 'p' }, redis({ url = 'redis://:p@h' }))
    assert.same({ host = 'h', username = 'u' }, redis({ url = 'redis://u@h' }))
    assert.same({ path = '/r', username = 'u', password = '', db = 1 },
      redis({ url = 'unix://u:@/r?db=1' }))
    assert.same({ host = '::1', port = 7, tls = true }, redis({ url = 'rediss://[::1]:7' }))
    assert.same({ path = '/tmp/r s', db = 2 }, redis({ url = 'unix:///tmp/r%20s?db=2' }))
  end)

  it('may be a cluster, of which some nodes are named', function()
    assert.same({ cluster = { 'h:6379', '10.0.0.1:5', '[::1]:7' }, password = 'q' },
      redis({ cluster = { 'h', '10.0.0.1:5', '[::1]:7' }, opts = { password = 'q' } }))
    refused('in one way', redis, { cluster = { 'h' }, host = 'h' })
    refused('in one way', redis, { cluster = { 'h' }, sentinels = { 'h' }, master = 'm' })
    refused('a cluster has the database 0 alone', redis, { cluster = { 'h' }, opts = { db = 1 } })
    for _, wrong in ipairs({ 'h', {}, { 'redis://h' }, { 'h:0' } }) do
      refused('redis%.cluster must be an array of places', redis, { cluster = wrong })
    end
    refused("did you mean 'cluster'", redis, { startup_nodes = { 'h' } })
  end)

  it('may be known to sentinels alone', function()
    local function named(more) return with({ sentinels = { 'h' }, master = 'm' }, more) end
    assert.same({ sentinels = { 'h:26379', '10.0.0.1:5', '[::1]:26379', '[::1]:7' }, master = 'm',
      sentinel_opts = { username = 'u', password = 'p' }, password = 'q' },
      redis(named({ sentinels = { 'h', '10.0.0.1:5', '::1', '[::1]:7' }, opts = { password = 'q' },
        sentinel_opts = { username = 'u', password = 'p' } })))
    refused('redis%.master is missing', redis, { sentinels = { 'h' } })
    refused('redis%.master is given, but no redis%.sentinels', redis, { host = 'h', master = 'm' })
    refused('in one way', redis, named({ host = 'h' }))
    refused('in one way', redis, named({ port = 6379 }))
    for _, wrong in ipairs({ 'h:1', {}, { 'h:0' }, { 'h:65536' }, { 'h:x' }, { ':1' }, { '[::1' },
      { 'redis://h:1' }, { 'a b' }, { 5 }, { '[]:1' }, { 'u@h:1' } }) do
      refused('redis%.sentinels must be an array of places', redis, named({ sentinels = wrong }))
    end
    refused("did you mean 'sentinels'", redis, { sentinel = { 'h' } })
    refused("did you mean 'sentinel_opts.password'", redis, named({ sentinelPassword = 'x' }))
    refused("unknown key 'pasword' in redis.sentinel_opts: did you mean 'password'", redis,
      named({ sentinel_opts = { pasword = 'x' } }))
    assert.same({ tls = { ca = '/ca.pem' } }, redis(named({ sentinel_opts = {
      tls = { ca = '/ca.pem' } } })).sentinel_opts)
    refused('redis.sentinel_opts.tls must be true, false or a table', redis,
      named({ sentinel_opts = { tls = 'yes' } }))
    refused("unknown key 'cafile' in redis.sentinel_opts.tls: did you mean 'ca'", redis,
      named({ sentinel_opts = { tls = { cafile = 'x' } } }))
  end)

  it('takes password, database and the like in opts', function()
    local flat = redis({ host = 'h', port = '6379', opts = { password = 'p', db = '4',
      timeout = 0.1, tls = { ca = '/ca.pem', verify = false } } })
    assert.same({ host = 'h', port = 6379, password = 'p', db = 4, timeout = 0.1,
      tls = { ca = '/ca.pem', verify = false } }, flat)
    refused("unknown key 'cacert' in redis.opts.tls", redis, { host = 'h',
      opts = { tls = { cacert = 'x' } } })
    refused('tls must be true, false or a table', redis, { host = 'h', opts = { tls = 1 } })
    refused("did you mean 'ca'?", redis, { host = 'h', opts = { tls = { cacert = 'x' } } })
    refused("did you mean 'server_name'?", redis, { host = 'h', opts = { tls = { sni = 'x' } } })
    refused('needs the certificate that it is of', redis, { host = 'h',
      opts = { tls = { key = '/key.pem' } } })
    refused('redis.opts.tls is false', redis, { url = 'rediss://h', opts = { tls = false } })
  end)

  it('has no TLS on a unix socket', function()
    refused('no TLS on a unix socket', redis, { path = '/r.sock', opts = { tls = true } })
    refused('no TLS on a unix socket', redis, { url = 'unix:///r.sock', opts = { tls = {} } })
    assert.is_false(redis({ path = '/r.sock', opts = { tls = false } }).tls)
  end)

  it('says where the server is once', function()
    refused('must say where', redis, {})
    refused('in one way', redis, { host = 'h', path = '/p' })
    refused('in one way', redis, { path = '/p', port = 1 })
    refused('give it once', redis, { url = 'redis://:p@h', opts = { password = 'q' } })
    refused('redis must be a table', redis, 'redis://h')
  end)

  it('may be left out, and then there is no cache', function()
    assert.is_false(config.resolve(DB, nil, {}).cache)
    assert.is_true(opts({}).cache)
    assert.is_false(opts({ cache = false }).redis)
    refused('there is no redis', config.resolve, DB, nil, { cache = true })
  end)

  it('with a url that cannot be read is refused', function()
    for _, url in ipairs({ 'http://h', 'redis://', 'redis://h:x', 'redis://h/x', 'unix://r.sock',
      'redis://h?x=1', 'redis://h:99999' }) do
      refused('redis%.url', redis, { url = url })
    end
  end)
end)

describe('a password', function()
  it('is in no message', function()
    local function quiet(fn, ...)
      local err = raised(fn, ...)
      assert.is_nil(tostring(err):find('s3cret', 1, true), tostring(err))
    end
    quiet(config.resolve, { url = 'mysql://me:s3cret@h/app' })
    quiet(config.resolve, { url = 'postgres://me:s3cret@h' })
    quiet(config.resolve, { database = 'x', host = 'postgres://me:s3cret@h/app' })
    quiet(config.resolve, { database = 'x', pass = 's3cret' })
    quiet(config.resolve, { database = 'x', password = { 's3cret' } })
    quiet(config.resolve, { database = 'x', password = 's3cret\0' })
    quiet(redis, { url = 'http://:s3cret@h' })
    quiet(redis, { url = 'redis://:s3cret@h:port' })
    quiet(redis, { url = 'redis://:s3cret@h', opts = { password = 's3cret' } })
    quiet(redis, { host = 'h', auth_pass = 's3cret' })
  end)
end)

describe('the options of a store', function()
  it('are checked by kind', function()
    refused('opts.cache must be true or false, got a string', opts, { cache = 'yes' })
    refused("one of 'bypass', 'error'", opts, { on_cache_failure = 'ignore' })
    refused("one of 'flake', 'simpleflake', got 'snowflake'", opts, { flake = 'snowflake' })
    refused('must be a function', opts, { log = 'stderr' })
    refused('opts must be a table, got a number', opts, 5)
    assert.equal('simpleflake', opts({ flake = 'simpleflake' }).flake)
  end)
end)

describe('the options of a call', function()
  local allowed = call.allow('timeout', 'cache', 'limit', 'as', 'invalidates')

  it('may be left out', function()
    assert.same({}, call.check(nil, allowed))
    assert.is_nil(call.check(nil, allowed).timeout)
  end)

  it('must be a table', function()
    refused('options must be a table, got a number', call.check, 5, allowed)
    refused('options must be a table, got a string', call.check, 'x', allowed)
    refused("unknown option '1'", call.check, { 'x' }, allowed)
  end)

  it('are those of the verb', function()
    assert.same({ limit = 5 }, call.check({ limit = 5 }, allowed))
    refused("'must' does not belong to this call, which takes as, cache, invalidates, limit, t",
      call.check, { must = true }, allowed)
    refused("unknown option 'limt': did you mean 'limit'", call.check, { limt = 1 }, allowed)
    refused("use 'after'", call.check, { offset = 10 }, allowed)
  end)

  it('are checked by kind', function()
    refused('options.limit must be a whole number', call.check, { limit = 1.5 }, allowed)
    refused('options.limit must be a whole number', call.check, { limit = -1 }, allowed)
    refused("one of 'array', 'map'", call.check, { as = 'list' }, allowed)
    refused('an array of names', call.check, { invalidates = 'users' }, allowed)
    refused('an array of names', call.check, { invalidates = { users = true } }, allowed)
  end)

  it('cannot be changed by one call for another', function()
    assert.has_error(function() call.check(nil, allowed).limit = 1 end)
  end)
end)
