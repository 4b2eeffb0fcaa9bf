--- A PostgreSQL and a Redis of the harness, to be killed, frozen, restarted and failed over.

local certificates = require('spec.support.certificates')
local ports = require('spec.support.ports')
local private = require('spec.support.servers')
local process = require('spec.consistency.process')
local redis_cli = require('spec.support.redis_cli')
local sentinels = require('spec.support.sentinels')
local clusters = require('spec.support.redis_cluster')
local support = require('spec.support')
local system = require('stores.local.system')
local template = require('spec.support.template')
local uv = require('luv')

local servers = {}

---@class consistency.Servers
---@field home string the folder of everything
---@field port integer of the PostgreSQL in use
---@field postgres consistency.Process
---@field redis consistency.Process
---@field tls {port: integer, ca: string}? by which Redis is reached, where it is
---@field group spec.Sentinels? in place of the one Redis
---@field crew consistency.Crew? whom the last run of the harness has left, at rest
local Servers = {}
Servers.__index = Servers

local USER = system.euid() == 0 and 'postgres' or nil
local PRIMARY, STANDBY = 5432, 5433

local SETTINGS = [[
listen_addresses = ''
unix_socket_directories = '%s'
max_connections = 120
shared_buffers = 32MB
wal_level = replica
max_wal_senders = 4
fsync = off
full_page_writes = off
autovacuum = off
log_min_messages = fatal
jit = off
plan_cache_mode = force_generic_plan
]]

local function sh(command, ...)
  local line = command:format(...)
  assert(os.execute(line) == 0, 'failed: ' .. line)
end

local function write(path, text)
  local file = assert(io.open(path, 'w'))
  file:write(text)
  file:close()
end

local function read(path)
  local file = io.open(path)
  local text = file and file:read('*a')
  if file then file:close() end
  return text
end

local function bin()
  local pipe = assert(io.popen('ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1'))
  local folder = pipe:read('*l')
  pipe:close()
  return folder and folder .. '/' or ''
end

local function as_user(command)
  return USER and ('setpriv --reuid %s --regid %s --clear-groups '):format(USER, USER) .. command
    or command
end

local function folder_of(self, port) return ('%s/pg%d'):format(self.home, port) end

local function start_postgres(self, port)
  local data = folder_of(self, port)
  local server = process.start({ self.bin .. 'postgres', '-D', data, '-p', tostring(port) },
    { user = USER, dies_by = 'QUIT', log = self.home .. '/postgres.log' })
  process.wait(function()
    assert(not server.exited, 'PostgreSQL did not start: ' .. self.home .. '/postgres.log')
    local text = read(data .. '/postmaster.pid') or ''
    return text:match('\nready *\n') or text:match('\nstandby *\n')
  end, 30, 'PostgreSQL is ready')
  return server
end

--- Starts Redis, with what its dump holds, where there is one.
function Servers:start_redis()
  self.redis = process.start({ 'redis-server', self.home .. '/redis.conf' },
    { user = USER, log = self.home .. '/redis.log' })
  process.wait(function() return system.answers(self.home .. '/redis.sock') end, 30, 'Redis is up')
end

-- The lines of redis.conf for a port of 127.0.0.1 that speaks TLS.
local function tls_lines(self)
  local folder = self.home .. '/tls'
  sh("mkdir '%s'", folder)
  local ca = certificates.authority(folder, 'ca')
  local path = ca:issue('server', 'IP:127.0.0.1')
  if USER then sh("chown -R %s '%s'", USER, folder) end
  self.tls = { port = ports.free(), ca = ca.file }
  return ('bind 127.0.0.1\ntls-port %d\ntls-cert-file "%s.crt"\ntls-key-file "%s.key"\n'
    .. 'tls-ca-cert-file "%s"\ntls-auth-clients no\n'):format(self.tls.port, path, path, ca.file)
end

--- Makes and starts both.
---@param options? {tls: boolean} tls: Redis is reached by TCP and TLS
---@return consistency.Servers
function servers.start(options)
  local home = private.folder()
  local self = setmetatable({ home = home, bin = bin(), port = PRIMARY }, Servers)
  sh("mkdir -m 700 '%s'", home)
  if USER then sh("chown %s '%s'", USER, home) end
  local data = folder_of(self, PRIMARY)
  if not template.copy(data) then
    sh("cd '%s' && %s -D '%s' -U postgres -E UTF8 --locale=C.UTF-8 --auth=trust --no-sync "
      .. '>/dev/null', home, as_user(self.bin .. 'initdb'), data)
  end
  local conf = io.open(data .. '/postgresql.conf', 'a')
  conf:write(SETTINGS:format(home))
  conf:close()
  write(home .. '/redis.conf', ('daemonize no\nport 0\nunixsocket "%s/redis.sock"\ndir "%s"\n'
    .. 'save ""\nappendonly no\ndbfilename dump.rdb\n'):format(home, home)
    .. (options and options.tls and tls_lines(self) or ''))
  self:start_redis()
  self.postgres = start_postgres(self, PRIMARY)
  return self
end

--- The config of the database; where there is a standby, of both hosts.
---@param fields? table more keys of the config
---@return table
function Servers:config(fields)
  local db = { host = self.home, port = self.port, database = 'postgres', user = 'postgres' }
  if self.standby then
    db.host, db.port = { self.home, self.home }, { PRIMARY, STANDBY }
    db.target_session_attrs = 'read-write'
  end
  for key, value in pairs(fields or {}) do db[key] = value end
  return db
end

--- In place of the one Redis: a master and its replica, which sentinels watch.
---@return spec.Sentinels
function Servers:use_sentinels()
  self.group = sentinels.start()
  return self.group
end

--- In place of the one Redis: a cluster of three nodes.
---@return spec.Cluster
function Servers:use_cluster()
  self.cluster = clusters.start()
  return self.cluster
end

---@return table
function Servers:redis_config(fields)
  local at = self.group and self.group:config() or { path = self.home .. '/redis.sock' }
  if self.cluster then at = self.cluster:config({ timeout = 5 }) end
  if self.tls then
    at = { host = '127.0.0.1', port = self.tls.port, opts = { tls = { ca = self.tls.ca } } }
  end
  for key, value in pairs(fields or {}) do at[key] = value end
  return at
end

--- What psql prints, from the server in use.
---@param sql string
---@return string
---@param database? string
function Servers:psql(sql, database)
  return (support.psql({ host = self.home, port = self.port, user = 'postgres',
    database = database or 'postgres' }, sql, true):gsub('\n$', ''))
end

-- The sockets of all servers that have keys.
local function sockets(self)
  if self.group then return { self.group:roles().socket } end
  if not self.cluster then return { self.home .. '/redis.sock' } end
  local all = {}
  for i, node in ipairs(self.cluster.nodes) do all[i] = node.socket end
  return all
end

--- What redis-cli prints, from each server a line.
---@param command string of words without blanks
---@return string
function Servers:redis_cli(command)
  local texts, words = {}, {}
  for word in command:gmatch('%S+') do words[#words + 1] = word end
  for i, socket in ipairs(sockets(self)) do
    texts[i] = redis_cli.ask({ path = socket }, unpack(words))
  end
  return table.concat(texts, '\n')
end

local STOPS = { fast = 'sigint', immediate = 'sigquit', kill = 'sigkill' }

---@param how 'fast'|'immediate'
function Servers:stop_postgres(how)
  self.postgres:kill(STOPS[how])
  self.postgres:join(30)
end

---@param how 'fast'|'immediate'
function Servers:restart_postgres(how)
  self:stop_postgres(how)
  self.postgres = start_postgres(self, self.port)
end

--- Kills a backend, a busy one if there is any: the server ends all others, and recovers.
function Servers:crash_backend()
  local ok, pid = pcall(self.psql, self, 'SELECT pid FROM pg_stat_activity '
    .. "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
    .. "ORDER BY state = 'active' DESC, random() LIMIT 1")
  -- while it recovers nobody can ask
  if ok and pid:find('^%d+$') then uv.kill(tonumber(pid), 'sigkill') end
end

--- Adds a standby, which every commit waits for.
function Servers:add_standby()
  local data = folder_of(self, STANDBY)
  sh("cd '%s' && %s -h '%s' -p %d -U postgres -D '%s' -X stream -c fast --no-sync -R", self.home,
    as_user(self.bin .. 'pg_basebackup'), self.home, PRIMARY, data)
  local conf = io.open(data .. '/postgresql.auto.conf', 'a')
  conf:write(("primary_conninfo = 'host=%s port=%d user=postgres application_name=standby'\n")
    :format(self.home, PRIMARY))
  conf:close()
  self.standby = start_postgres(self, STANDBY)
  self:psql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
  self:psql('SELECT pg_reload_conf()')
  process.wait(function()
    return self:psql('SELECT sync_state FROM pg_stat_replication') == 'sync'
  end, 30, 'the standby follows')
end

--- The primary is gone, and the standby takes its place.
function Servers:fail_over()
  self:stop_postgres('immediate')
  self.port, self.postgres = STANDBY, self.standby
  self:psql("ALTER SYSTEM SET synchronous_standby_names = ''")
  self:psql('SELECT pg_reload_conf()')
  assert(self:psql('SELECT pg_promote()') == 't', 'the standby was not promoted')
end

function Servers:kill_redis()
  self.redis:kill('sigkill')
  self.redis:join(30)
  os.remove(self.home .. '/redis.sock')
end

local INTENTS = [[
  local count = 0
  for _, key in ipairs(redis.call('KEYS', '*}')) do
    local epoch = string.sub(redis.call('GET', key), 2, 17)
    for _, row in ipairs(redis.call('KEYS', '*}~' .. epoch .. '/*')) do
      if string.sub(redis.call('GET', row), 1, 1) == 'T' then count = count + 1 end
    end
  end
  return count
]]

--- How many rows hold write intents under the epochs that count.
---@return integer
function Servers:intents()
  local sum = 0
  for _, socket in ipairs(sockets(self)) do
    sum = sum + tonumber((redis_cli.ask({ path = socket }, 'EVAL', INTENTS, 0)))
  end
  return sum
end

--- Ends the processes that made runs of the harness.
function Servers:dismiss()
  if self.crew then self.crew:dismiss() end
  self.crew = nil
end

--- Ends all of them and removes the folder.
function Servers:remove()
  self:dismiss()
  if self.group then self.group:remove() end
  if self.cluster then self.cluster:remove() end
  for _, server in ipairs({ self.postgres, self.redis, self.standby }) do
    if not server.exited then
      server:kill('sigcont')
      server:kill(server == self.redis and 'sigkill' or 'sigquit')
      server:join(30)
    end
  end
  sh("rm -rf '%s'", self.home)
end

return servers
