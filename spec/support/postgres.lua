--- A private PostgreSQL of one spec, beside the one that all specs share: it has settings of its
--- own, listens on TCP too, and may be stopped, killed, frozen and started again.

local process = require('spec.consistency.process')
local servers = require('spec.support.servers')
local shell = require('spec.support.shell')
local support = require('spec.support')
local system = require('stores.local.system')
local uv = require('luv')

local postgres = {}

---@class spec.Postgres
---@field socket string the folder of its unix socket
---@field port integer of the socket and of 127.0.0.1
---@field home string a folder for files of the spec
---@field primary spec.Postgres? of a standby
local Postgres = {}
Postgres.__index = Postgres

-- Who comes by the socket is trusted, who comes by TCP needs a password, and this one no user has.
local HBA = [[
local all all trust
host all all all scram-sha-256
]]

local STANDBY_HBA = HBA .. 'host replication all 127.0.0.1/32 trust\n'

local USER = system.euid() == 0 and 'postgres' or nil

local function run(command, ...)
  local line = command:format(...)
  assert(os.execute(line) == 0, 'failed: ' .. line)
end

-- Gives a file to the user that the server runs as.
local function hand_over(path, mode)
  if USER then assert(uv.fs_chown(path, system.user(USER), -1)) end
  assert(uv.fs_chmod(path, tonumber(mode, 8)))
end

--- Writes a file that the server can read, and nobody else where it is secret.
---@param name string in the spec's folder
---@param text string
---@param secret? boolean
---@return string path
function Postgres:write(name, text, secret)
  local path = self.home .. '/' .. name
  shell.write(path, text)
  hand_over(path, secret and '600' or '644')
  return path
end

--- Monotonic seconds.
---@return number
function postgres.now()
  return require('stores.wait').host.hub():now()
end

-- A process may go between the opening of its file and the reading, which gives nil then.
local function is_gone(pid)
  local file = io.open('/proc/' .. pid .. '/stat')
  local state = file and (file:read('*a') or ''):match('^%d+ %(.*%) (%a)')
  if file then file:close() end
  return not state or state == 'Z'
end

local folder_of_programs

local function programs()
  folder_of_programs = folder_of_programs or shell.output('pg_config --bindir'):match('%C+')
  return folder_of_programs
end

local function data_of(self) return self.home .. '/server/pgdata' end

local function status_of(self)
  local file = io.open(data_of(self) .. '/postmaster.pid')
  local text = file and file:read('*a') or ''
  if file then file:close() end
  return text:match('\n(%l+) *\n$')
end

-- A standby is none of the servers that stores.open knows, whose clients write.
local function start_standby(self, settings)
  local command = { programs() .. '/postgres', '-D', data_of(self) }
  for name, value in pairs(settings) do
    command[#command + 1] = '-c'
    command[#command + 1] = ('%s=%s'):format(name, value)
  end
  os.remove(data_of(self) .. '/postmaster.pid')
  local started = process.start(command, { user = USER, dies_by = 'QUIT',
    log = self.home .. '/server.log' })
  local turns = 0
  while not ({ standby = true, ready = true })[status_of(self) or ''] do
    turns = turns + 1
    assert(turns < 3000 and not is_gone(started.pid), 'no standby: ' .. self.home .. '/server.log')
    system.sleep(0.01)
  end
  return { pg = { host = self.home .. '/server' }, close = function() end }
end

local next_port = 0
-- None that ports.free() gives, nor a bus of a cluster: a server that is stopped for a while finds
-- its port free when it comes back.
local FIRST_PORT, PORTS = 13200, 6800

-- Other programs may have a port already: then the next one.
local function up(self, settings)
  -- where its data is in memory a process that is killed leaves half of the page that it writes
  local all = { listen_addresses = '127.0.0.1', hba_file = self.home .. '/hba.conf',
    full_page_writes = 'on' }
  for name, value in pairs(self.settings) do all[name] = value end
  for name, value in pairs(settings or {}) do all[name] = value end
  for _ = 1, 20 do
    if not self.port then
      next_port = next_port + 1
      self.port = FIRST_PORT + (system.pid() * 13 + next_port) % PORTS
    end
    all.port = self.port
    if self.primary then
      all.unix_socket_directories = self.home .. '/server'
      return start_standby(self, all)
    end
    local ok, handle = pcall(servers.up, self.home .. '/server', all)
    if ok then return handle end
    if self.pid or not tostring(handle):find('could not create any TCP/IP sockets', 1, true) then
      error(handle, 0)
    end
    self.port = nil
  end
  error('no port is free')
end

--- Makes and starts a server.
---@param settings? table<string, string|number> of postgresql.conf
---@param hba? string its pg_hba.conf
---@return spec.Postgres
function postgres.start(settings, hba)
  local home = servers.folder()
  local self = setmetatable({ home = home, settings = settings or {} }, Postgres)
  shell.make(home)
  self:write('hba.conf', hba or HBA)
  local ok, failure = pcall(self.start, self)
  if ok then return self end
  shell.remove(home)
  error(failure, 0)
end

--- A server that may have standbys.
---@param settings? table<string, string|number>
---@return spec.Postgres
function postgres.primary(settings)
  local all = { wal_level = 'replica', max_wal_senders = 8 }
  for name, value in pairs(settings or {}) do all[name] = value end
  return postgres.start(all, STANDBY_HBA)
end

--- A standby of it, which streams.
---@param primary spec.Postgres
---@param settings? table<string, string|number>
---@return spec.Postgres
function postgres.standby(primary, settings)
  local home = servers.folder()
  local all = { fsync = 'off', max_connections = 100, shared_buffers = '32MB', jit = 'off',
    primary_conninfo = ('host=127.0.0.1 port=%d user=postgres'):format(primary.port),
    wal_retrieve_retry_interval = '100ms' }
  for _, more in ipairs({ primary.settings, settings or {} }) do
    for name, value in pairs(more) do all[name] = value end
  end
  local self = setmetatable({ home = home, settings = all, primary = primary }, Postgres)
  for _, path in ipairs({ home, home .. '/server' }) do
    shell.make(path)
    hand_over(path, '755')
  end
  self:write('hba.conf', STANDBY_HBA)
  run("cd '%s' && %s '%s/pg_basebackup' -h 127.0.0.1 -p %d -U postgres -D '%s' -X stream -c fast"
    .. ' --no-sync -R', home, USER and ('setpriv --reuid %s --regid %s --clear-groups'):format(USER,
      USER) or '', programs(), primary.port, data_of(self))
  self:start()
  return self
end

--- Waits until a standby has replayed all that its primary has written.
function Postgres:catch_up()
  local to = self.primary:psql('SELECT pg_current_wal_insert_lsn()')
  support.eventually(function()
    return self:psql(("SELECT pg_last_wal_replay_lsn() >= '%s'"):format(to)) == 't'
  end, 30, 'the standby to catch up')
end

--- Starts it again after a stop, with more settings if need be.
---@param settings? table<string, string|number>
function Postgres:start(settings)
  local before = self.handle
  self.last_settings = settings
  self.handle = up(self, settings)
  self.socket = self.handle.pg.host
  local file = assert(io.open(self.home .. '/server/pgdata/postmaster.pid'))
  self.pid = tonumber(file:read('*l'))
  file:close()
  if before then before.close() end
end

-- The postmaster and its children; frozen children get no word of their parent's end.
local function processes(self)
  local list = { self.pid }
  for _, name in ipairs(system.list('/proc')) do
    local file = name:find('^%d+$') and io.open('/proc/' .. name .. '/stat')
    if file then
      local parent = (file:read('*a') or ''):match('^%d+ %(.*%) %a (%d+)')
      file:close()
      if tonumber(parent) == self.pid then list[#list + 1] = tonumber(name) end
    end
  end
  return list
end

local function signal(name, pids)
  for _, pid in ipairs(pids) do uv.kill(pid, name) end
end

local SIGNALS = { smart = 'sigterm', fast = 'sigint', immediate = 'sigquit', kill = 'sigkill' }

-- What a process calls itself: a backend says what it is about.
local function words_of(pid)
  local file = io.open(('/proc/%d/cmdline'):format(pid))
  local words = file and file:read('*a') or ''
  if file then file:close() end
  return pid .. ' ' .. words:gsub('%z', ' ')
end

-- Who connects while a server stops has a process that is to say so. A postmaster waits for it too,
-- and tells it nothing; it waits for who connected to say who he is: authentication_timeout, a
-- minute. A pool of this process, whose loop does not turn meanwhile, may be just there. Such a
-- process has no title yet.
local function end_greeters(self)
  for _, pid in ipairs(processes(self)) do
    local greets = pid ~= self.pid and not words_of(pid):find('^%d+ postgres: ')
    if greets then uv.kill(pid, 'sigterm') end
  end
end

--- Stops it and waits, without turning the loop, until it and its children are gone.
---@param how 'fast'|'immediate'|'kill' kill: all of its processes at once, as a power cut would
function Postgres:stop(how)
  if how == 'kill' then signal('sigstop', { self.pid }) end -- it begins no more of them meanwhile
  local pids = processes(self)
  signal(SIGNALS[how], how == 'kill' and pids or { self.pid })
  for _, pid in ipairs(pids) do
    local turns = 0
    while not is_gone(pid) do
      turns = turns + 1
      assert(turns < 4000, 'the server does not stop: ' .. words_of(pid))
      if turns % 100 == 0 then end_greeters(self) end
      system.sleep(0.01)
    end
  end
  -- a postmaster that was killed leaves them, and nobody may have collected its process yet
  os.remove(('%s/.s.PGSQL.%d.lock'):format(self.socket, self.port))
end

--- Stops it and starts it again.
---@param how 'fast'|'immediate'|'kill'
---@param settings? table<string, string|number>
function Postgres:restart(how, settings)
  self:stop(how)
  self:start(settings)
end

--- Starts it as it was where it does not run, and waits until it answers: a spec that fails between
--- a stop and a start, or while the server recovers from a crash, leaves it so.
function Postgres:ensure()
  self:thaw()
  if is_gone(self.pid) then self:start(self.last_settings) end
  support.eventually(function() return pcall(self.psql, self, 'SELECT 1') end, 40,
    'a server that answers')
end

--- Freezes it: its sockets stay open, and nothing is answered.
function Postgres:freeze()
  self.frozen = processes(self)
  signal('sigstop', self.frozen)
end

--- Ends the freeze.
function Postgres:thaw()
  if not self.frozen then return end
  signal('sigcont', self.frozen)
  self.frozen = nil
end

--- The config of one of its databases, by its unix socket.
---@param fields? table more keys of the config; host = '127.0.0.1' for TCP
---@return table
function Postgres:config(fields)
  local db = { host = self.socket, port = self.port, database = 'postgres', user = 'postgres' }
  for key, value in pairs(fields or {}) do db[key] = value end
  return db
end

--- What psql prints for a statement, over a connection that is not Stores'.
---@param sql string
---@param database? string
---@return string text without the last newline
function Postgres:psql(sql, database)
  return (support.psql(self:config({ database = database }), sql):gsub('\n$', ''))
end

--- Stops it and removes what is left of it.
function Postgres:remove()
  self:thaw()
  if not is_gone(self.pid) then self:stop('immediate') end
  self.handle.close()
  -- the script that started it may be writing its last file there
  local turns = 0
  while not shell.remove(self.home) do
    turns = turns + 1
    assert(turns < 100, 'the folder of the server cannot be removed')
    system.sleep(0.01)
  end
end

return postgres
