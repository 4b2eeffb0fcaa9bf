--- The three tables of Store.new: checked, with defaults left to the core, and brought into the
--- flat table that core.engine reads. No message ever quotes a password or a url.

local errors = require('stores.errors')
local keywords = require('stores.config.keywords')
local metrics = require('stores.config.metrics')
local options = require('stores.config.options')
local places = require('stores.config.places')
local redis_of = require('stores.config.redis')
local replicas = require('stores.config.replicas')
local wait = require('stores.wait')

local config = {}

local seconds, integer, one_of = options.seconds, options.integer, options.one_of
local typed = options.typed

-- The longest times that are believed.
local HOUR, MONTH, DAY = 3600, 30 * 86400, 86400

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
  return places.host(value)
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
    replicas = options.any('(string|stores.ReplicaConfig)[]'), max_lag = seconds(HOUR),
  },
}

---@type stores.OptionSpec
local REPLICA = { where = 'db.replicas', keys = { url = postgres_url } }
for _, key in ipairs(replicas.KEYS) do REPLICA.keys[key] = DB.keys[key] end

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
    tables = options.definitions, read = one_of({ 'primary', 'replica' }),
    after_token = options.text,
    hold = options.names, hold_bytes = integer(1, 2 ^ 50), hold_lease = seconds(10, false, 0.2),
  },
}

---@type table<string, stores.OptionSpec> what each table is called by editors
config.classes = {
  ['stores.DbConfig'] = DB, ['stores.ReplicaConfig'] = REPLICA,
  ['stores.RedisConfig'] = redis_of.KEYS,
  ['stores.RedisOptions'] = redis_of.OPTS,
  ['stores.SentinelOptions'] = redis_of.SENTINEL_OPTS,
  ['stores.TlsOptions'] = redis_of.TLS,
  ['stores.StoreOptions'] = OPTS, ['stores.MetricsOptions'] = metrics.KEYS,
}

local refuse = options.refuse

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
                         'max_age', 'ping_after', 'on_connect', 'max_lag' }) do
    flat[key] = checked_db[key]
  end
  flat.replicas = replicas.resolve(checked_db.replicas, checked_db, resolve_db)
  if flat.on_connect and flat.pooler == 'transaction' then
    refuse("db.on_connect sets up a session, which pooler = 'transaction' shares with others")
  end
  local server = redis and redis_of.resolve(redis) or false
  if flat.cache and not server then refuse('opts.cache is true, but there is no redis') end
  if flat.cache == nil then flat.cache = server and true or false end
  flat.redis = flat.cache and server or false
  if flat.transaction == nil then flat.transaction = true end
  if flat.raw == nil then flat.raw = false end
  return flat
end

return config
