--- The table redis of Store.new: where Redis is, or who knows it. No message ever quotes a password
--- or a url.

local errors = require('stores.errors')
local keywords = require('stores.config.keywords')
local options = require('stores.config.options')
local places = require('stores.config.places')

local redis_of = {}

local seconds, integer = options.seconds, options.integer
local typed = options.typed

-- The longest times that are believed. Redis answers in milliseconds or not.
local HOUR, MINUTE = 3600, 60

local port_number = integer(1, 65535, true)

---@type stores.OptionSpec
local REDIS = {
  where = 'redis',
  aliases = keywords.redis_aliases,
  keys = {
    host = typed('string', places.host), port = port_number, path = options.text,
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

redis_of.KEYS, redis_of.OPTS = REDIS, REDIS_OPTS
redis_of.SENTINEL_OPTS, redis_of.TLS = SENTINEL_OPTS, TLS

local refuse = options.refuse

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
    parts.username = user ~= '' and options.unescape(user) or nil
    parts.password = password and options.unescape(password) or nil
  end
  place = place or rest
  local database = query:match('^db=(.*)$')
  if query ~= '' and not database then
    refuse('redis.url: only db= may follow the question mark')
  end
  if scheme == 'unix' then
    if place:sub(1, 1) ~= '/' then refuse('redis.url: unix:// needs an absolute path') end
    parts.path = options.unescape(place)
  else
    local authority, path = place:match('^([^/]*)/?(.*)$')
    local host, port = authority:match('^%[(.-)%]:?(.*)$')
    if not host then host, port = authority:match('^([^:]*):?(.*)$') end
    if host == '' then refuse('redis.url names no host') end
    parts.host = options.unescape(host)
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

--- Checks it, and makes the table that core.engine takes.
---@param redis table
---@return table
---Raises invalid_option.
function redis_of.resolve(redis)
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

return redis_of
