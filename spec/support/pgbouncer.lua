--- A PgBouncer of a spec in front of the servers of the run.

local support = require('spec.support')

local pgbouncer = {}

---@class spec.PgBouncer
---@field host string the folder of its socket
---@field port integer
local PgBouncer = {}
PgBouncer.__index = PgBouncer

local function launch(folder)
  -- like PostgreSQL, it refuses to run as root
  local as = io.popen('id -u'):read('*l') == '0'
    and 'setpriv --reuid=postgres --regid=postgres --clear-groups '
    .. '--inh-caps=+dac_override --ambient-caps=+dac_override ' or ''
  -- neither it nor a psql ends where it is preloaded with AddressSanitizer
  as = 'LD_PRELOAD= ' .. as
  assert(os.execute(as .. '/usr/sbin/pgbouncer -q -d ' .. folder .. '/pgbouncer.ini') == 0)
  support.eventually(function()
    return os.execute(('LD_PRELOAD= psql -XAtq -h %s -p 6432 -U postgres postgres'
      .. " -c 'SELECT 1' >%s/try 2>&1"):format(folder, folder)) == 0
  end, 20)
end

--- Starts one, as its package ships it but for what is given.
---@param mode 'session'|'transaction'
---@param settings? string more lines of its section [pgbouncer]
---@param server? {host: string, port: integer} another PostgreSQL than that of the run
---@return spec.PgBouncer
function pgbouncer.start(mode, settings, server)
  server = server or { host = support.config().host, port = 5432 }
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute('mkdir -m 777 ' .. folder) == 0)
  local out = assert(io.open(folder .. '/pgbouncer.ini', 'w'))
  out:write(([[
[databases]
* = host=%s port=%d user=postgres
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = any
pool_mode = %s
max_client_conn = 500
default_pool_size = 8
max_db_connections = 8
server_idle_timeout = 1
admin_users = postgres
logfile = %s/log
pidfile = %s/pid
%s
]]):format(server.host, server.port, folder, mode, folder, folder, settings or ''))
  out:close()
  launch(folder)
  return setmetatable({ host = folder, port = 6432 }, PgBouncer)
end

--- The config of a database behind it.
---@param fields? table more keys
---@return table
function PgBouncer:config(fields)
  local db = { host = self.host, port = self.port, user = 'postgres', database = 'postgres' }
  for key, value in pairs(fields or {}) do db[key] = value end
  return db
end

--- Has it go on with another PostgreSQL, as is done in a switchover: clients keep their
--- connections, and what was under way is over before that.
---@param server {host: string, port: integer}
function PgBouncer:switch(server)
  local path = self.host .. '/pgbouncer.ini'
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  file = assert(io.open(path, 'w'))
  file:write((text:gsub('%* = host=%S+ port=%d+', ('* = host=%s port=%d'):format(server.host,
    server.port))))
  file:close()
  for _, command in ipairs({ 'PAUSE', 'RELOAD', 'RESUME' }) do
    support.psql(self:config({ database = 'pgbouncer' }), command)
  end
end

--- Ends it as a crash would, and waits until it is gone.
function PgBouncer:kill()
  local file = assert(io.open(self.host .. '/pid'))
  local pid = file:read('*l')
  file:close()
  os.execute('kill -9 ' .. pid)
  support.eventually(function() return os.execute('kill -0 ' .. pid .. ' 2>/dev/null') ~= 0 end)
  os.execute(('rm -f %s/pid %s/.s.PGSQL.6432'):format(self.host, self.host))
end

--- Starts it again, as it was.
function PgBouncer:start()
  launch(self.host)
end

--- Starts it again where it was killed.
function PgBouncer:ensure()
  if not io.open(self.host .. '/pid') then self:start() end
end

--- Ends it.
function PgBouncer:stop()
  os.execute(('kill $(cat %s/pid); rm -rf %s'):format(self.host, self.host))
end

return pgbouncer
