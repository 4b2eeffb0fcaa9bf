--- How the servers' own programs are called: psql, pg_dump, redis-cli. A password is given in the
--- environment, and never in the words, which `ps` shows.

local config = require('stores.config.tables')
local errors = require('stores.errors')
local options = require('stores.config.options')
local place = require('stores.command.place')
local shell = require('stores.command.shell')

local clients = {}

local VARIABLES = {
  host = 'PGHOST', hostaddr = 'PGHOSTADDR', port = 'PGPORT', dbname = 'PGDATABASE',
  user = 'PGUSER', password = 'PGPASSWORD', passfile = 'PGPASSFILE', service = 'PGSERVICE',
  sslmode = 'PGSSLMODE', sslrootcert = 'PGSSLROOTCERT', sslcert = 'PGSSLCERT',
  sslkey = 'PGSSLKEY', sslcrl = 'PGSSLCRL', options = 'PGOPTIONS',
  application_name = 'PGAPPNAME', gssencmode = 'PGGSSENCMODE', channel_binding = 'PGCHANNELBINDING',
  target_session_attrs = 'PGTARGETSESSIONATTRS', krbsrvname = 'PGKRBSRVNAME',
  requirepeer = 'PGREQUIREPEER', client_encoding = 'PGCLIENTENCODING',
}

-- A url without its password, and that.
local function without_password(url)
  local scheme, rest = url:match('^(%w+://)(.*)$')
  local password
  -- it may hold a slash: the host begins behind the last @
  local credentials, host = rest:match('^(.*)@([^@]*)$')
  if credentials then
    local user, secret = credentials:match('^([^:]*):(.*)$')
    if user then password, rest = options.unescape(secret), user .. '@' .. host end
  end
  rest = rest:gsub('([?&])password=([^&]*)&?', function(sign, secret)
    password = options.unescape(secret)
    return sign
  end):gsub('[?&]$', '')
  return scheme .. rest, password
end

--- The shard that a command is about; all of one.
---@param args {shard: integer?}
---@param context stores.CommandContext
---@return table db
---@return table|false redis
---@return table opts
function clients.shard(args, context)
  local at = context.config()
  if not at.shards then
    if args.shard then context.usage('--shard: there are no shards') end
    return at.db, at.redis or false, at.opts or {}
  end
  if not args.shard and at.shards[2] then
    context.usage(('which of the %d shards? Give --shard N'):format(#at.shards))
  end
  for _, shard in ipairs(at.shards) do
    if type(shard) == 'table' and shard.id == (args.shard or 0) then
      return shard.db, shard.redis or false, shard.opts or {}
    end
  end
  return context.usage(('there is no shard %d'):format(args.shard or 0))
end

--- The same database, by the way that leads to the server itself where a pooler is before it.
---@param db table of Store.new
---@return table
function clients.direct(db)
  if not db.migrate_url then return db end
  local own = {}
  for key, value in pairs(db) do own[key] = value end
  own.host, own.port, own.database, own.pooler, own.migrate_url = nil, nil, nil, nil, nil
  own.url = db.migrate_url
  return own
end

--- The last word of a command line of psql and its kin, and its environment.
---@param at stores.CommandPlace
---@param db table of Store.new
---@return string database a name, or a url without a password
---@return table<string, string> variables
function clients.postgres(at, db)
  local pg = place.checked(at, config.resolve, db, nil, nil).pg
  local variables = {}
  for keyword, value in pairs(pg) do
    if VARIABLES[keyword] then variables[VARIABLES[keyword]] = value end
  end
  local database = pg.dbname
  if pg.url then
    local password
    database, password = without_password(pg.url)
    variables.PGPASSWORD = variables.PGPASSWORD or password
  end
  return database or '', variables
end

-- The master, by the first sentinel that knows it.
local function master_of(flat)
  local opts = flat.sentinel_opts or {}
  for _, sentinel in ipairs(flat.sentinels) do
    local host, port = sentinel:match('^%[?(.-)%]?:(%d+)$')
    local words = { 'redis-cli', '-h', host, '-p', port, '--no-auth-warning' }
    if opts.username then
      words[#words + 1], words[#words + 2] = '--user', opts.username
    end
    for _, word in ipairs({ 'SENTINEL', 'get-master-addr-by-name', flat.master }) do
      words[#words + 1] = word
    end
    local text = shell.output(words, { REDISCLI_AUTH = opts.password or '' })
    local found, at = text:match('^(%S+)\n(%d+)')
    if found then return found, at end
  end
  errors.raise('connect_failed', ('no sentinel tells where %s is'):format(flat.master))
end

local function add(words, ...)
  for at = 1, select('#', ...) do words[#words + 1] = select(at, ...) end
end

local function add_tls(words, tls, is_cluster)
  if is_cluster then add(words, '-c') end
  if not tls then return end
  add(words, '--tls')
  if type(tls) ~= 'table' then return end
  if tls.verify == false then add(words, '--insecure') end
  for _, pair in ipairs({ { 'ca', '--cacert' }, { 'cert', '--cert' }, { 'key', '--key' },
    { 'server_name', '--sni' } }) do
    if tls[pair[1]] then add(words, pair[2], tls[pair[1]]) end
  end
end

--- The words of a redis-cli, and its environment.
---@param at stores.CommandPlace
---@param db table of Store.new
---@param redis table of Store.new
---@return string[] words
---@return table<string, string> variables
function clients.redis(at, db, redis)
  local flat = place.checked(at, config.resolve, db, redis, nil).redis
  local words = { 'redis-cli' }
  local host, port = flat.host, flat.port
  if flat.sentinels then host, port = master_of(flat) end
  if flat.cluster then host, port = flat.cluster[1]:match('^%[?(.-)%]?:(%d+)$') end
  if flat.path then
    add(words, '-s', flat.path)
  else
    add(words, '-h', host, '-p', tostring(port or 6379))
  end
  if flat.username then add(words, '--user', flat.username) end
  if flat.db then add(words, '-n', tostring(flat.db)) end
  add_tls(words, flat.tls, flat.cluster)
  return words, { REDISCLI_AUTH = flat.password }
end

return clients
