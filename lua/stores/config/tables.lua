--- The three tables of Store.new: checked, with defaults left to the core, and brought into the
--- flat table that core.engine reads. No message ever quotes a password or a url.

local errors = require('stores.errors')
local keywords = require('stores.config.keywords')
local metrics = require('stores.config.metrics')
local options = require('stores.config.options')
local places = require('stores.config.places')
local wait = require('stores.wait')

local config = {}

local seconds, integer, one_of = options.seconds, options.integer, options.one_of
local typed = options.typed

-- The longest times that are believed. An hour for a call; Redis answers in milliseconds or not.
local HOUR, MINUTE, MONTH, DAY = 3600, 60, 30 * 86400, 86400

local function one_host(value)
  local text, expected = options.text(value)
  if not text then return nil, expected end
  if text:find('://', 1, true) then return nil, 'a host name; a url goes in url' end
  return text
end

-- One host, or several in the order of preference.
local function list_of_hosts(value)
  if type(value) == 'table' then
    local names, expected = options.names(value)
    if not names or #names == 0 then return nil, expected or 'a host name or an array of them' end
    for _, name in ipairs(names) do
      if name:find(',', 1, true) then return nil, 'an array of host names without commas' end
    end
    value = table.concat(names, ',')
  end
  return one_host(value)
end

local port_number = integer(1, 65535, true)

-- One port, or as many as there are hosts; libpq takes them as text.
local function list_of_ports(value)
  local items = { value }
  if type(value) == 'table' then
    items = value
    if #items == 0 then return nil, 'a port or an array of ports' end
  elseif type(value) == 'string' and value:find(',', 1, true) then
    items = {}
    for item in (value .. ','):gmatch('([^,]*),') do items[#items + 1] = item end
  end
  local ports = {}
  for i, item in ipairs(items) do
    local port, expected = port_number(item)
    if not port then return nil, expected end
    ports[i] = ('%d'):format(port)
  end
  return table.concat(ports, ',')
end

local postgres_url = typed('string', function(value)
  if type(value) ~= 'string' then return nil, 'a string, got ' .. errors.kind(value) end
  if value:find('%z') then return nil, 'a url without NUL bytes' end
  if not value:find('^postgresql://') and not value:find('^postgres://') then
    return nil, "a url that begins with 'postgresql://' or 'postgres://'"
  end
  return value
end)

---@type stores.OptionSpec
local DB = {
  where = 'db',
  aliases = keywords.db_aliases,
  keys = {
    host = typed('string|string[]', list_of_hosts),
    port = typed('integer|string|(integer|string)[]', list_of_ports),
    database = options.text, user = options.text, service = options.text,
    password = options.secret, url = postgres_url, sslmode = one_of(keywords.sslmodes),
    sslrootcert = options.text, sslcert = options.text, sslkey = options.text,
    application_name = options.text,
    target_session_attrs = one_of(keywords.session_attrs),
    poolsize = integer(1, 10000, true), poolSize = integer(1, 10000, true),
    poolsize_total = integer(1, 1e6, true),
    max_waiters = integer(0, 1e9), min_idle = integer(0, 10000),
    idle_timeout = seconds(DAY), max_age = seconds(DAY), ping_after = seconds(DAY),
    on_connect = options.text,
    connect_timeout = seconds(HOUR), statement_timeout = seconds(HOUR, true),
    acquire_timeout = seconds(HOUR, true), pooler = one_of({ 'session', 'transaction' }),
    migrate_url = postgres_url, listen_url = postgres_url,
    params = options.any('table<string, string|number|boolean>'),
  },
}

---@type stores.OptionSpec
local REDIS = {
  where = 'redis',
  aliases = keywords.redis_aliases,
  keys = {
    host = typed('string', one_host), port = port_number, path = options.text,
    url = options.secret, opts = options.any('stores.RedisOptions'),
    sentinels = places.list(26379), master = options.text,
    sentinel_opts = options.any('stores.SentinelOptions'),
    cluster = places.list(6379),
  },
}

---@type stores.OptionSpec
local REDIS_OPTS = {
  where = 'redis.opts',
  aliases = keywords.redis_opts_aliases,
  keys = {
    password = options.secret, username = options.text, db = integer(0, 65535, true),
    timeout = seconds(10), connect_timeout = seconds(MINUTE),
    keepalive = options.seconds_or_zero(HOUR),
    tls = options.any('boolean|stores.TlsOptions'),
  },
}

---@type stores.OptionSpec
local SENTINEL_OPTS = {
  where = 'redis.sentinel_opts',
  aliases = keywords.redis_opts_aliases,
  keys = {
    password = options.secret, username = options.text,
    tls = options.any('boolean|stores.TlsOptions'),
  },
}

---@type stores.OptionSpec
local TLS = {
  where = 'redis.opts.tls',
  aliases = keywords.tls_aliases,
  keys = { ca = options.text, cert = options.text, key = options.text,
           server_name = options.text, verify = options.boolean },
}

---@type stores.OptionSpec
local OPTS = {
  where = 'opts',
  aliases = keywords.opts_aliases,
  keys = {
    cache = options.boolean, transaction = options.boolean, raw = options.boolean,
    ttl = seconds(MONTH), negative_ttl = seconds(DAY), prefix = options.text,
    timeout = seconds(HOUR, true), on_cache_failure = one_of({ 'bypass', 'error' }),
    unsafe_eviction = options.boolean, flake = one_of({ 'flake', 'simpleflake' }),
    segment = options.boolean, combine = options.boolean, retries = integer(0, 1000),
    traceback = options.boolean, log = options.callback('fun(text: string)'), name = options.text,
    metrics = options.any('stores.MetricsOptions'), any_shard = options.boolean,
    tables = options.definitions,
  },
}

---@type table<string, stores.OptionSpec> what each table is called by editors
config.classes = {
  ['stores.DbConfig'] = DB,
  ['stores.RedisConfig'] = REDIS,
  ['stores.RedisOptions'] = REDIS_OPTS,
  ['stores.SentinelOptions'] = SENTINEL_OPTS,
  ['stores.TlsOptions'] = TLS,
  ['stores.StoreOptions'] = OPTS, ['stores.MetricsOptions'] = metrics.KEYS,
}

local function refuse(message, ...)
  errors.raise('invalid_option', message:format(...))
end

--- libpq's own keywords from db.params, as strings.
local function add_params(pg, params)
  if type(params) ~= 'table' then
    refuse('db.params must be a table of libpq keywords, got %s', errors.kind(params))
  end
  for key, value in pairs(params) do
    if key == 'service' and pg.service then refuse('db.service is in db.params as well') end
    if keywords.elsewhere[key] then
      refuse('db.params.%s has a key of its own: use db.%s', key, keywords.elsewhere[key])
    elseif not keywords.libpq[key] then
      refuse("unknown key '%s' in db.params: %s", options.shown(tostring(key)),
        options.suggestion(key, keywords.libpq))
    end
    local kind = type(value)
    if kind == 'boolean' then value = value and '1' or '0' end
    if kind == 'number' then value = ('%.14g'):format(value) end
    if type(value) ~= 'string' or value:find('%z') then
      refuse('db.params.%s must be a string or a number, got %s', key, errors.kind(value))
    end
    pg[key] = value
  end
end

-- What libpq finds a database in by itself: the core knows what a service or its environment says.
local function libpq_may_know(db)
  return db.service or os.getenv('PGSERVICE') or os.getenv('PGDATABASE')
end

--- Whether a url names a database: in its path, or as ?dbname=; or a service, which may name one.
local function names_database(url)
  local rest = url:match('^%w+://(.*)$')
  -- A password may hold an unescaped slash or question mark; the host begins after the last @.
  rest = rest:match('^[^/?]*@(.*)$') or rest
  return rest:find('^[^/?]*/[^?]') ~= nil or rest:find('[?&]dbname=[^&]') ~= nil
    or rest:find('[?&]service=[^&]') ~= nil
end

---@param db table
---@return table pg libpq keyword -> string (and 'url')
---@return table checked
local function resolve_db(db)
  if type(db) ~= 'table' then
    refuse("db must be a table such as {host = 'localhost', database = 'app', user = 'me'}, "
      .. 'got %s', errors.kind(db))
  end
  local checked = options.check(db, DB)
  local pg = { host = checked.host, port = checked.port, dbname = checked.database,
    url = checked.url, user = checked.user, password = checked.password,
    service = checked.service }
  if checked.params ~= nil then add_params(pg, checked.params) end
  if checked.url then
    for _, key in ipairs({ 'host', 'port', 'database' }) do
      if checked[key] then refuse('db.url and db.%s are both given: give one of them', key) end
    end
    if not names_database(checked.url) and not libpq_may_know(pg) then
      refuse('db.url names no database: postgresql://user@host/database')
    end
  elseif not checked.database and not libpq_may_know(pg) then
    refuse("db.database is missing: the name of the database, such as {database = 'app'}")
  end
  if checked.poolsize and checked.poolSize then
    refuse('db.poolsize and db.poolSize are both given: give one of them')
  end
  if checked.poolsize_total and (checked.poolsize or checked.poolSize) then
    refuse('db.poolsize and db.poolsize_total are both given: give one of them')
  end
  for _, key in ipairs({ 'sslmode', 'sslrootcert', 'sslcert', 'sslkey', 'application_name',
                         'target_session_attrs' }) do
    pg[key] = checked[key]
  end
  return pg, checked
end

---@param text string the url's escapes undone
local function unescape(text)
  return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

--- Takes redis://user:password@host:port/db, rediss://.. or unix:///path?db=n apart.
---@param url string
---@return table
local function read_redis_url(url)
  local scheme, rest = url:match('^(%w+)://(.*)$')
  if scheme ~= 'redis' and scheme ~= 'rediss' and scheme ~= 'unix' then
    refuse("redis.url must begin with 'redis://', 'rediss://' or 'unix://'")
  end
  local parts = { tls = scheme == 'rediss' or nil }
  local query
  rest, query = rest:match('^([^?]*)%??(.*)$')
  local credentials, place = rest:match('^(.*)@([^@]*)$')
  if credentials then
    local user, password = credentials:match('^([^:]*):(.*)$')
    user = user or credentials
    parts.username = user ~= '' and unescape(user) or nil
    parts.password = password and unescape(password) or nil
  end
  place = place or rest
  local database = query:match('^db=(.*)$')
  if query ~= '' and not database then
    refuse('redis.url: only db= may follow the question mark')
  end
  if scheme == 'unix' then
    if place:sub(1, 1) ~= '/' then refuse('redis.url: unix:// needs an absolute path') end
    parts.path = unescape(place)
  else
    local authority, path = place:match('^([^/]*)/?(.*)$')
    local host, port = authority:match('^%[(.-)%]:?(.*)$')
    if not host then host, port = authority:match('^([^:]*):?(.*)$') end
    if host == '' then refuse('redis.url names no host') end
    parts.host = unescape(host)
    if port ~= '' then
      parts.port = port_number(port)
      if not parts.port then refuse('redis.url: the port must be a number from 1 to 65535') end
    end
    if path ~= '' and database then refuse('redis.url names the database twice') end
    if path ~= '' then database = path end
  end
  if database then
    parts.db = REDIS_OPTS.keys.db(database)
    if not parts.db then refuse('redis.url: the database must be a number from 0 to 65535') end
  end
  return parts
end

--- What TLS is asked for: true, false or a table.
---@param tls any
---@param where string
local function check_tls(tls, where)
  if type(tls) == 'table' then
    tls = options.check(tls, setmetatable({ where = where }, { __index = TLS }))
    if tls.key and not tls.cert then
      refuse('%s.key needs the certificate that it is of: cert', where)
    end
  elseif tls ~= nil and type(tls) ~= 'boolean' then
    refuse('%s must be true, false or a table, got %s', where, errors.kind(tls))
  end
  return tls
end

--- Who is asked where the server is.
---@param flat table
---@param checked table
local function add_sentinels(flat, checked)
  if not checked.sentinels then
    for _, key in ipairs({ 'master', 'sentinel_opts' }) do
      if checked[key] then refuse('redis.%s is given, but no redis.sentinels', key) end
    end
    return
  elseif not checked.master then
    refuse("redis.master is missing: the name by which the sentinels know the server")
  end
  flat.sentinels, flat.master = checked.sentinels, checked.master
  flat.sentinel_opts = options.check(checked.sentinel_opts, SENTINEL_OPTS)
  flat.sentinel_opts.tls = check_tls(flat.sentinel_opts.tls, 'redis.sentinel_opts.tls')
end

---@param redis table
---@return table
local function resolve_redis(redis)
  if type(redis) ~= 'table' then
    refuse("redis must be a table such as {host = 'localhost', port = 6379}, got %s",
      errors.kind(redis))
  end
  local checked = options.check(redis, REDIS)
  local ways = 0
  for _, key in ipairs({ 'url', 'path', 'host', 'sentinels', 'cluster' }) do
    ways = ways + (checked[key] and 1 or 0)
  end
  if ways == 0 then
    refuse('redis must say where the server is: host and port, path (a unix socket), url, '
      .. 'sentinels or cluster')
  elseif ways > 1 or (checked.port and not checked.host) then
    refuse('redis must say where the server is in one way: host and port, or path, or url, or '
      .. 'sentinels, or cluster')
  end
  local flat = checked.url and read_redis_url(checked.url)
    or { host = checked.host, port = checked.port, path = checked.path,
         cluster = checked.cluster }
  add_sentinels(flat, checked)
  local opts = options.check(checked.opts, REDIS_OPTS)
  opts.tls = check_tls(opts.tls, 'redis.opts.tls')
  for key, value in pairs(opts) do
    if flat[key] ~= nil and key ~= 'tls' then
      refuse('redis.opts.%s is in redis.url as well: give it once', key)
    elseif key == 'tls' and not value and flat.tls then
      refuse('redis.opts.tls is false, but redis.url says rediss://')
    end
    flat[key] = value
  end
  if flat.tls and flat.path then
    refuse('redis.opts.tls: there is no TLS on a unix socket')
  end
  if flat.cluster and (flat.db or 0) ~= 0 then
    refuse('redis.opts.db is %d, but a cluster has the database 0 alone', flat.db)
  end
  return flat
end

--- Checks the three tables of Store.new and makes the table that core.engine takes.
---@param db stores.DbConfig
---@param redis stores.RedisConfig|false|nil nil or false: no Redis, and so no cache
---@param opts stores.StoreOptions?
---@return table flat times in seconds; what is not given is absent, and the core's default holds
---Raises invalid_option.
function config.resolve(db, redis, opts)
  if opts ~= nil and type(opts) ~= 'table' then
    refuse('opts must be a table, got %s', errors.kind(opts))
  end
  local pg, checked_db = resolve_db(db)
  local flat = options.check(opts, OPTS)
  flat.pg, flat.metrics = pg, metrics.check(flat.metrics)
  flat.poolsize = checked_db.poolsize or checked_db.poolSize
  if checked_db.poolsize_total then
    -- of all the workers of nginx; elsewhere a process is alone
    local workers = wait.host.workers and wait.host.workers() or 1
    flat.poolsize = math.max(1, math.floor(checked_db.poolsize_total / workers))
  end
  for _, key in ipairs({ 'max_waiters', 'connect_timeout', 'statement_timeout', 'acquire_timeout',
                         'pooler', 'migrate_url', 'listen_url', 'min_idle', 'idle_timeout',
                         'max_age', 'ping_after', 'on_connect' }) do
    flat[key] = checked_db[key]
  end
  if flat.on_connect and flat.pooler == 'transaction' then
    refuse("db.on_connect sets up a session, which pooler = 'transaction' shares with others")
  end
  local server = redis and resolve_redis(redis) or false
  if flat.cache and not server then refuse('opts.cache is true, but there is no redis') end
  if flat.cache == nil then flat.cache = server and true or false end
  flat.redis = flat.cache and server or false
  if flat.transaction == nil then flat.transaction = true end
  if flat.raw == nil then flat.raw = false end
  return flat
end

return config
