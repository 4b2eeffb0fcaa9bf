--- Private servers: a PostgreSQL and a Redis that live under one folder and belong to those who
--- use it. The first user starts them, the last one out stops them; unix sockets only, mode 0700.
---
--- A user is a process that holds a shared lock on the folder's `users.lock`, so a process that is
--- killed counts as gone from that moment. A shell script in the background (local/script.lua)
--- waits for the last user and stops the servers when nobody closed properly; where it was killed
--- too, the next user's close does it.
---
--- After a fork the folder stays in use until parent and child have both closed it or ended, but
--- only the process that opened it stops servers: in a child, close() lets go of the file, no more.

local errors = require('stores.errors')
local options = require('stores.options')
local script = require('stores.local.script')
local system = require('stores.local.system')

local local_servers = {}

local PORT = 5432 -- only the name of a socket: nothing listens on TCP
local SETTING = '^[%a_][%w_.-]*$'

---@class stores.local.Options
---@field keep boolean? the servers stay when the last user has gone, until `down`
---@field timeout number? seconds that starting each server may take (60)
---@field postgres table<string, string|number>? settings, used by the call that starts the server
---@field redis table<string, string|number>? likewise, as in redis.conf

---@class stores.local.Handle
---@field pg {host: string, port: integer, database: string, user: string}
---@field redis {path: string}
---@field folder string absolute
---@field close fun(): boolean ends the use; true where the servers were stopped

---@class stores.local.Place where a folder and its sockets are, and whose they are
---@field folder string
---@field sockets string the folder itself, or one in /tmp where its path is too long for a socket
---@field owner integer uid of the servers
---@field group integer

-- ---- Options ----------------------------------------------------------------------------------

local function settings(value)
  if type(value) ~= 'table' then return nil, 'a table, got ' .. errors.kind(value) end
  for name, setting in pairs(value) do
    if type(name) ~= 'string' or not name:match(SETTING) then
      return nil, 'a table of settings by name'
    end
    if type(setting) ~= 'number' and (type(setting) ~= 'string' or setting:find('[%z\r\n]')) then
      return nil, ('a table of strings and numbers on one line (%s is none)'):format(name)
    end
  end
  return value
end

local function seconds(value)
  if type(value) == 'number' and value > 0 and value <= 3600 then return value end
  return nil, 'a number of seconds up to 3600'
end

local UP = {
  where = 'options of private servers',
  keys = {
    keep = options.boolean,
    timeout = seconds,
    postgres = settings,
    redis = settings,
  },
}

-- ---- Places -----------------------------------------------------------------------------------

--- Our own files; a folder that holds others is not one to move into.
local OURS = {
  ['users.lock'] = true, ['start.lock'] = true, ['supervisor.lock'] = true, keep = true,
  pgdata = true, ['pgdata.new'] = true, ['initdb.log'] = true,
}

local function check_contents(folder)
  local names, failure = system.list(folder)
  if not names then
    errors.raise('invalid_argument', ('cannot use the folder %s: %s'):format(folder, failure))
  end
  local stranger
  for _, name in ipairs(names) do
    if name == 'users.lock' or name == 'pgdata' then return end
    if not OURS[name] and name:sub(1, 1) ~= '.' then stranger = name end
  end
  if stranger then
    errors.raise('invalid_argument', ('%s is not a folder of private servers (it holds %s): '
      .. 'name a new or an empty one'):format(folder, stranger))
  end
end

--- Whose the servers are: PostgreSQL refuses to run as root, so then they are the folder's owner's,
--- or the user's that PostgreSQL's package made.
local function server_user(stat)
  if system.euid() ~= 0 then return system.euid(), stat.gid end
  if stat.uid ~= 0 then return stat.uid, stat.gid end
  local uid, gid = system.user('postgres')
  if not uid then
    errors.raise('unsupported', 'PostgreSQL does not run as root, and there is no user postgres '
      .. 'to run it as (Debian package: postgresql-15)')
  end
  return uid, gid
end

--- Unix sockets have short paths, and libpq reads a comma in a host as the next host.
local function sockets_of(folder, stat)
  local longest = folder .. '/.s.PGSQL.' .. PORT
  if #longest <= system.SOCKET_PATH_MAX and not folder:find(',', 1, true) then return folder end
  return ('/tmp/stores-%d-%s'):format(stat.uid, stat.identity)
end

---@param path string
---@return stores.local.Place
local function place_of(path)
  local folder, failure = system.real_path(path)
  local stat = folder and system.stat(folder)
  if not stat or stat.kind ~= 'directory' then
    errors.raise('invalid_argument',
      ('cannot use the folder %s: %s'):format(path, failure or 'it is not a folder'))
  end
  local owner, group = server_user(stat)
  return { folder = folder, sockets = sockets_of(folder, stat), owner = owner, group = group,
    mode = stat.mode }
end

local function check_path(path)
  if type(path) ~= 'string' or path == '' or path:find('[%z\r\n]') then
    errors.raise('invalid_argument', 'the path of a folder must be a string that is not empty, got '
      .. errors.kind(path))
  end
end

--- Makes the folder where it is missing (not its parents), and makes it private.
local function prepare(path)
  local made, failure = system.make_folder(path)
  if made == nil then
    errors.raise('invalid_argument', ('cannot make the folder %s: %s'):format(path, failure))
  end
  local place = place_of(path)
  if not made then check_contents(place.folder) end
  if place.mode ~= tonumber('700', 8) and not system.make_private(place.folder) then
    errors.raise('invalid_argument', place.folder .. ' belongs to another user')
  end
  return place
end

-- ---- Running the script -----------------------------------------------------------------------

-- The script and its longer arguments are in the environment, so that `ps` stays readable.
local function environment(redis_settings)
  local path = os.getenv('PATH')
  local env = {
    'PATH=' .. (path and path .. ':' or '') .. '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
    'LC_ALL=C',
    'HOME=/',
    'STORES_SCRIPT=' .. script,
    'STORES_REDIS_CONF=' .. (redis_settings or ''),
  }
  local libraries = os.getenv('LD_LIBRARY_PATH')
  if libraries then env[#env + 1] = 'LD_LIBRARY_PATH=' .. libraries end
  return env
end

-- Becomes the servers' user but keeps the right to reach a folder that is closed to that user, as
-- a clone under root's home is; where the system does not grant that, without.
local AS_USER = [[
uid=$1 gid=$2
shift 2
reach='--inh-caps=+dac_override --ambient-caps=+dac_override'
setpriv --reuid="$uid" --regid="$gid" --clear-groups $reach true 2>/dev/null || reach=''
exec setpriv --reuid="$uid" --regid="$gid" --clear-groups $reach "$@"
]]

---@param place stores.local.Place
---@param arguments string[] of the script
---@param redis_settings string?
---@return integer? status
---@return string text
local function run_script(place, arguments, redis_settings)
  local argv = { '/bin/sh', '-c', 'eval "$STORES_SCRIPT"', 'stores-servers' }
  if system.euid() == 0 then
    local uid, gid = tostring(place.owner), tostring(place.group)
    argv = { '/bin/sh', '-c', AS_USER, 'stores-servers', uid, gid, unpack(argv) }
  end
  for _, argument in ipairs(arguments) do argv[#argv + 1] = argument end
  return system.run(argv, environment(redis_settings))
end

local function sorted_pairs(map)
  local names = {}
  for name in pairs(map or {}) do names[#names + 1] = name end
  table.sort(names)
  local i = 0
  return function()
    i = i + 1
    return names[i], names[i] and map[names[i]]
  end
end

local function redis_conf(place, overrides)
  local function quoted(value)
    return '"' .. tostring(value):gsub('[\\"]', '\\%0') .. '"'
  end
  local lines = {
    'daemonize no',
    'port 0',
    'unixsocket ' .. quoted(place.sockets .. '/redis.sock'),
    'unixsocketperm 700',
    'save ""',
    'appendonly no',
  }
  for name, value in sorted_pairs(overrides) do lines[#lines + 1] = name .. ' ' .. quoted(value) end
  return table.concat(lines, '\n')
end

local function postgres_arguments(place, overrides)
  -- A list to PostgreSQL, in which double quotes keep a path whole.
  local sockets = '"' .. place.sockets:gsub('"', '""') .. '"'
  local arguments = {
    '-p', tostring(PORT), '-c', 'listen_addresses=', '-c', 'unix_socket_permissions=0700',
    '-c', 'unix_socket_directories=' .. sockets,
  }
  for name, value in sorted_pairs(overrides) do
    arguments[#arguments + 1] = '-c'
    arguments[#arguments + 1] = name .. '=' .. tostring(value)
  end
  return arguments
end

local function start(place, opts)
  local arguments = { 'start', place.folder, place.sockets, tostring(math.ceil(opts.timeout)),
    unpack(postgres_arguments(place, opts.postgres)) }
  local status, text = run_script(place, arguments, redis_conf(place, opts.redis))
  -- a host that ignores SIGCHLD is not told the status: then what the script says decides
  if status ~= 0 and (status ~= nil or text ~= '') then
    local why = text:gsub('%s+$', '')
    errors.raise('connect_failed', ('cannot start the servers of %s: %s'):format(place.folder,
      why ~= '' and why or 'the script ended with status ' .. status))
  end
end

-- ---- Using and leaving ------------------------------------------------------------------------

--- Whether both servers are there and PostgreSQL is done with recovery.
---@param place stores.local.Place
local function running(place)
  if place.sockets ~= place.folder then
    -- Anybody can make a folder in /tmp.
    local stat = system.stat(place.sockets)
    if not stat or stat.kind ~= 'directory' or stat.uid ~= place.owner
      or stat.mode ~= tonumber('700', 8) then
      return false
    end
  end
  local file = io.open(place.folder .. '/pgdata/postmaster.pid', 'r')
  if not file then return false end
  local ready = file:read('*a'):match('\nready *\n')
  file:close()
  return ready ~= nil
    and system.answers(place.sockets .. '/.s.PGSQL.' .. PORT)
    and system.answers(place.sockets .. '/redis.sock')
end

---@return boolean
local function lock_within(lock, kind, limit)
  local turns = math.ceil(limit / 0.01)
  while not system.lock(lock, kind) do
    if turns <= 0 then return false end
    turns = turns - 1
    system.sleep(0.01)
  end
  return true
end

local function open_lock(place)
  local lock, failure = system.open_lock(place.folder .. '/users.lock', place.owner)
  if not lock then
    errors.raise('invalid_argument',
      ('cannot use the folder %s: %s'):format(place.folder, failure))
  end
  return lock
end

local function kept(place)
  local file = io.open(place.folder .. '/keep', 'r')
  if file then file:close() end
  return file ~= nil
end

--- With the exclusive lock held: nobody uses the servers, and nobody can begin to.
local function stop(place)
  if kept(place) then return false end
  run_script(place, { 'stop', place.folder, place.sockets, '0' })
  return true
end

--- Lets go of the exclusive lock, and gives the script that waits for it the moment to end.
local function release(place, lock, stopped)
  system.lock(lock, 'none')
  system.close_lock(lock)
  if not stopped then return end
  local supervisor = system.open_lock(place.folder .. '/supervisor.lock', place.owner)
  if not supervisor then return end -- the folder was removed
  lock_within(supervisor, 'shared', 0.5)
  system.close_lock(supervisor)
end

--- The exclusive lock, where nobody uses the servers. Who does not get it finds out by a shared
--- lock whether somebody is stopping them just now, and then waits for the end of that.
---@return boolean granted
local function exclusive(lock)
  if system.lock(lock, 'exclusive') then return true end
  lock_within(lock, 'shared', 30)
  return system.lock(lock, 'exclusive')
end

--- Ends the use of a folder, and stops the servers where this was the last. The last thing that
--- every user does is to ask for the exclusive lock after its last shared one, so the last of them
--- all gets it.
---@return boolean stopped
local function leave(place, lock)
  local granted = exclusive(lock)
  local stopped = granted and stop(place)
  release(place, lock, stopped)
  return stopped
end

local function write_keep(place)
  local file = io.open(place.folder .. '/keep', 'w')
  if file then file:close() end
end

--- Uses the servers of a folder, and starts them where they do not run. Blocks: for a millisecond
--- where they run, for a second or two where they start.
---@param path string the folder; it is made where it is missing
---@param opts stores.local.Options?
---@return stores.local.Handle
---Raises invalid_argument (the path), connect_failed (with the servers' own words), timeout.
function local_servers.up(path, opts)
  check_path(path)
  opts = options.check(opts, UP)
  opts.timeout = opts.timeout or 60
  local place = prepare(path)
  local lock = open_lock(place)
  if not lock_within(lock, 'shared', opts.timeout) then
    errors.raise('timeout', ('the servers of %s are being stopped by another process, for more '
      .. 'than %g s'):format(place.folder, opts.timeout))
  end
  if opts.keep then write_keep(place) end
  if not running(place) then
    local ok, failure = pcall(start, place, opts)
    if not ok then
      leave(place, lock)
      error(failure, 0)
    end
  end

  local pid, closed = system.pid(), false
  local handle = {
    folder = place.folder,
    pg = { host = place.sockets, port = PORT, database = 'postgres', user = 'postgres' },
    redis = { path = place.sockets .. '/redis.sock' },
  }
  function handle.close()
    if closed then return false end
    closed = true
    if system.pid() ~= pid then
      system.close_lock(lock)
      return false
    end
    return leave(place, lock)
  end
  return handle
end

--- Stops the servers of a folder where nobody uses them, and ends `keep`, so that otherwise the
--- last user stops them.
---@param path string
---@return 'stopped'|'in use'|'not running'
function local_servers.down(path)
  check_path(path)
  local place = place_of(path)
  check_contents(place.folder)
  os.remove(place.folder .. '/keep')
  local lock = open_lock(place)
  local was_running = running(place)
  -- A user may be on its way out.
  local granted = lock_within(lock, 'exclusive', 0.2) or exclusive(lock)
  release(place, lock, granted and stop(place))
  if not granted then return was_running and 'in use' or 'not running' end
  return was_running and 'stopped' or 'not running'
end

return local_servers
