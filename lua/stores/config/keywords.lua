--- The words of others: libpq's keywords, and what other clients call the options of Stores.

local keywords = {}

local function set(words)
  local names = {}
  for word in words:gmatch('%S+') do names[word] = true end
  return names
end

keywords.sslmodes = { 'disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full' }

keywords.session_attrs = {
  'any', 'read-write', 'read-only', 'primary', 'standby', 'prefer-standby',
}

--- Keywords of libpq that db.params may hold.
keywords.libpq = set([[
  channel_binding client_encoding fallback_application_name gssdelegation gssencmode gsslib hostaddr
  keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
  max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer
  oauth_scope options passfile require_auth requirepeer scram_client_key scram_server_key service
  servicefile ssl_max_protocol_version ssl_min_protocol_version sslcertmode sslcompression sslcrl
  sslcrldir sslkeylogfile sslnegotiation sslpassword sslsni tcp_user_timeout
]])

--- Keywords that db has a key of its own for.
keywords.elsewhere = {
  application_name = 'application_name', connect_timeout = 'connect_timeout', dbname = 'database',
  host = 'host', password = 'password', port = 'port', sslcert = 'sslcert', sslkey = 'sslkey',
  sslmode = 'sslmode', sslrootcert = 'sslrootcert',
  target_session_attrs = 'target_session_attrs', user = 'user',
}

--- Makes `did you mean` sentences from `alias = key`; other texts stay as they are. Aliases are
--- looked up as they were written, and again in lower case without underscores.
local function aliases(names, texts)
  local all = texts or {}
  for alias, key in pairs(names) do all[alias] = ("did you mean '%s'?"):format(key) end
  return all
end

keywords.db_aliases = aliases({
  authpass = 'password', pass = 'password', passwd = 'password', pwd = 'password',
  pgpassword = 'password',
  db = 'database', dbname = 'database', databasename = 'database', name = 'database',
  pgdatabase = 'database',
  username = 'user', login = 'user', uid = 'user', role = 'user', pguser = 'user',
  hostname = 'host', server = 'host', address = 'host', addr = 'host', socket = 'host',
  socketpath = 'host', path = 'host', hosts = 'host', pghost = 'host',
  hostaddr = 'params.hostaddr',
  ports = 'port', pgport = 'port',
  poolsize = 'poolsize', max = 'poolsize', maxconnections = 'poolsize', maxpoolsize = 'poolsize',
  pool = 'poolsize',
  connections = 'poolsize', connectionlimit = 'poolsize', size = 'poolsize', min = 'poolsize',
  connectionstring = 'url', dsn = 'url', uri = 'url', conninfo = 'url', databaseurl = 'url',
  ssl = 'sslmode', tls = 'sslmode', sslverify = 'sslmode', rejectunauthorized = 'sslmode',
  sslrequired = 'sslmode', ca = 'sslrootcert', sslca = 'sslrootcert', cafile = 'sslrootcert',
  cert = 'sslcert', key = 'sslkey',
  connectiontimeoutmillis = 'connect_timeout', connectiontimeout = 'connect_timeout',
  connectiontimeoutms = 'connect_timeout',
  querytimeout = 'statement_timeout', acquiretimeoutmillis = 'acquire_timeout',
  pooltimeout = 'acquire_timeout', maxqueue = 'max_waiters', queuelimit = 'max_waiters',
  backlog = 'max_waiters', pgbouncer = 'pooler', appname = 'application_name',
  options = 'params.options', keepalives = 'params.keepalives',
}, {
  timeout = "did you mean 'connect_timeout', 'statement_timeout' or 'acquire_timeout'? "
    .. "'timeout' of a whole call goes in opts",
  schema = "say on_connect = 'SET search_path TO name', or name.users as the table",
  searchpath = "say on_connect = 'SET search_path TO name', or name.users as the table",
  idletimeoutmillis = 'the pool closes idle connections by itself',
  idletimeout = 'the pool closes idle connections by itself',
  keepalivetimeout = 'the pool closes idle connections by itself',
  socketkeepalive = "did you mean 'params.keepalives'?",
})

local REDIS_PLACES = {
  hostname = 'host', server = 'host', address = 'host', socket = 'path', unixsocket = 'path',
  unix = 'path', sock = 'path', uri = 'url', dsn = 'url', connectionstring = 'url',
  authpass = 'opts.password', auth = 'opts.password', pass = 'opts.password',
  passwd = 'opts.password', pwd = 'opts.password', password = 'opts.password',
  user = 'opts.username', username = 'opts.username', db = 'opts.db', database = 'opts.db',
  dbindex = 'opts.db', index = 'opts.db', select = 'opts.db', dbname = 'opts.db',
  timeout = 'opts.timeout', sockettimeout = 'opts.timeout', commandtimeout = 'opts.timeout',
  connecttimeout = 'opts.connect_timeout', tls = 'opts.tls', ssl = 'opts.tls', options = 'opts',
  clusters = 'cluster', nodes = 'cluster', startupnodes = 'cluster', seeds = 'cluster',
  clusternodes = 'cluster',
  sentinel = 'sentinels', mastername = 'master', mastergroup = 'master', mymaster = 'master',
  sentinelpassword = 'sentinel_opts.password', sentinelusername = 'sentinel_opts.username',
  sentineloptions = 'sentinel_opts', sentinelkwargs = 'sentinel_opts',
}

keywords.redis_aliases = aliases(REDIS_PLACES, {
  prefix = "'prefix' goes in the third table, opts",
  keyprefix = "'prefix' goes in the third table, opts",
  ttl = "'ttl' goes in the third table, opts",
  poolsize = 'one connection to Redis serves the whole store, and is pipelined',
})

keywords.redis_opts_aliases = aliases({
  authpass = 'password', auth = 'password', pass = 'password', passwd = 'password',
  pwd = 'password', user = 'username', login = 'username', database = 'db', dbindex = 'db',
  index = 'db', select = 'db', dbname = 'db', ssl = 'tls', sockettimeout = 'timeout',
  commandtimeout = 'timeout', readtimeout = 'timeout', connectiontimeout = 'connect_timeout',
  pinginterval = 'keepalive', healthcheckinterval = 'keepalive', socketkeepalive = 'keepalive',
}, {
  host = "'host' goes in redis itself, outside opts", port = "'port' goes in redis itself",
  path = "'path' goes in redis itself", url = "'url' goes in redis itself",
  prefix = "'prefix' goes in the third table, opts",
  keyprefix = "'prefix' goes in the third table, opts",
})

keywords.tls_aliases = aliases({
  cacert = 'ca', cafile = 'ca', cacertfile = 'ca', cacertdir = 'ca', capath = 'ca', cadir = 'ca',
  cacerts = 'ca', sslcacerts = 'ca', rootcert = 'ca', sslrootcert = 'ca', tlscacertfile = 'ca',
  certfile = 'cert', certificate = 'cert', sslcert = 'cert', sslcertfile = 'cert',
  tlscertfile = 'cert', clientcert = 'cert', keyfile = 'key', sslkey = 'key', sslkeyfile = 'key',
  tlskeyfile = 'key', privatekey = 'key', clientkey = 'key', sni = 'server_name',
  servername = 'server_name', hostname = 'server_name', host = 'server_name',
  sslverify = 'verify', rejectunauthorized = 'verify', checkhostname = 'verify',
}, {
  insecure = "did you mean 'verify = false'?", skipverify = "did you mean 'verify = false'?",
})

keywords.opts_aliases = aliases({
  ttlseconds = 'ttl', expire = 'ttl', expiry = 'ttl', expiration = 'ttl', ex = 'ttl', px = 'ttl',
  cachettl = 'ttl', lifetime = 'ttl', maxage = 'ttl', negttl = 'negative_ttl',
  missttl = 'negative_ttl', keyprefix = 'prefix', namespace = 'prefix', usecache = 'cache',
  caching = 'cache', nocache = 'cache', tx = 'transaction', transactions = 'transaction',
  timeoutms = 'timeout', timeoutmillis = 'timeout', deadline = 'timeout', json = 'raw',
  ids = 'flake', logger = 'log',
}, {
  poolsize = "'poolsize' goes in db", acquiretimeout = "'acquire_timeout' goes in db",
  statementtimeout = "'statement_timeout' goes in db",
  connecttimeout = "'connect_timeout' goes in db",
  password = "'password' goes in db, or in redis.opts", migrateurl = "'migrate_url' goes in db",
  listenurl = "'listen_url' goes in db",
})

keywords.call_aliases = aliases({
  timeoutms = 'timeout', timeoutmillis = 'timeout', deadline = 'timeout', nocache = 'cache',
  usecache = 'cache', required = 'must', max = 'limit', count = 'limit',
  top = 'limit', first = 'limit', take = 'limit', pagesize = 'limit', cursor = 'after',
  since = 'after', startafter = 'after', orderby = 'order', sort = 'order', sortby = 'order',
  json = 'raw', format = 'as', filter = 'where', conditions = 'where', criteria = 'where',
  select = 'fields', columns = 'fields', project = 'fields', projection = 'fields',
  endbefore = 'before', tx = 'transaction', isolationlevel = 'isolation',
  readonlytransaction = 'readonly', upsert = 'create', retry = 'retries', attempts = 'retries',
}, {
  offset = "pages go on after an id: use 'after'", skip = "pages go on after an id: use 'after'",
  ttl = "'ttl' belongs to the store, not to a call", prefix = "'prefix' belongs to the store",
})

return keywords
