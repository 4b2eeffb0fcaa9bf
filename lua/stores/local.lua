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
local options = require('stores.config.options')
local places = require('stores.local.place')
local script = require('stores.local.script')
local sorted = require('stores.sorted')
local system = require('stores.local.system')

local local_servers = {}

local PORT = places.PORT
local SETTING = '^[%a_][%w_.-]*$'

---@class stores.local.Options
---@field keep? boolean the servers stay when the last user has gone, until `down`
---@field timeout? number seconds that starting each server may take (60)
---@field postgres? table<string, string|number> settings, used by the call that starts the server
---@field redis? table<string, string|number> likewise, as in redis.conf

---@class stores.local.Handle
---@field pg {host: string, port: integer, database: string, user: string}
---@field redis {path: string}
---@field folder string absolute
---@field close fun(): boolean ends the use; true where the servers were stopped

-- ---- Options ----------------------------------------------------------------------------------

-- The check of settings; `own` are those by which the folder finds its servers again.
local function settings(own)
  return function(value)
    if type(value) ~= 'table' then return nil, 'a table, got ' .. errors.kind(value) end
    for name, setting in pairs(value) do
      if type(name) ~= 'string' or not name:match(SETTING) then
        return nil, 'a table of settings by name'
      elseif own[name:lower()] then
        return nil, ('a table without %s, which is the folder\'s own'):format(name)
      end
      if type(setting) ~= 'number' and (type(setting) ~= 'string'
        or setting:find('[%z\r\n]')) then
        return nil, ('a table of strings and numbers on one line (%s is none)'):format(name)
      end
    end
    return value
  end
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
    postgres = settings({ data_directory = true }),
    redis = settings({ unixsocket = true, daemonize = true, supervised = true }),
  },
}

-- ---- Running the script -----------------------------------------------------------------------

-- The script and its longer arguments are in the environment, so that `ps` stays readable.
---@param redis {conf: string, port: string}?
local function environment(redis)
  local path = os.getenv('PATH')
  local env = {
    'PATH=' .. (path and path .. ':' or '') .. '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin',
    'LC_ALL=C',
    'HOME=/',
    'STORES_SCRIPT=' .. script,
    'STORES_REDIS_CONF=' .. (redis and redis.conf or ''),
    'STORES_REDIS_PORT=' .. (redis and redis.port or '0'),
  }
  local libraries = os.getenv('LD_LIBRARY_PATH')
  if libraries then env[#env + 1] = 'LD_LIBRARY_PATH=' .. libraries end
  return env
end

local SCRIPT = { '/bin/sh', '-c', 'eval "$STORES_SCRIPT"', 'stores-servers' }

-- Becomes the servers' user but keeps the right to reach a folder that is closed to that user, as
-- a clone under root's home is; where the system does not grant that, without.
local reach = { '--inh-caps=+dac_override', '--ambient-caps=+dac_override' }

---@param place stores.local.Place
---@return string[]
local function as_user(place)
  return { '/bin/sh', '-c', 'exec setpriv "$@"', 'stores-servers', '--reuid=' .. place.owner,
    '--regid=' .. place.group, '--clear-groups', unpack(reach) }
end

---@param place stores.local.Place
---@param arguments string[] of the script
---@param redis {conf: string, port: string}? to start it with
---@return integer? status
---@return string text
local function run_script(place, arguments, redis)
  local argv = system.euid() == 0 and as_user(place) or {}
  for _, word in ipairs(SCRIPT) do argv[#argv + 1] = word end
  for _, argument in ipairs(arguments) do argv[#argv + 1] = argument end
  local status, text = system.run(argv, environment(redis))
  if reach[1] and text:find('^setpriv: ') then -- it has not come to the script
    reach = {}
    return run_script(place, arguments, redis)
  end
  return status, text
end

local function sorted_pairs(map)
  local names, i = sorted(map or {}), 0
  return function()
    i = i + 1
    return names[i], names[i] and map[names[i]]
  end
end

-- The port and the socket are arguments of the program: see the script.
local function redis_of(overrides)
  local function quoted(value)
    return '"' .. tostring(value):gsub('[\\"]', '\\%0') .. '"'
  end
  local lines = { 'bind 127.0.0.1', 'unixsocketperm 700', 'save ""', 'appendonly no' }
  for name, value in sorted_pairs(overrides) do lines[#lines + 1] = name .. ' ' .. quoted(value) end
  return { conf = table.concat(lines, '\n'), port = tostring(overrides and overrides.port or 0) }
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
  local status, text = run_script(place, arguments, redis_of(opts.redis))
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
  local text = file:read('*a')
  file:close()
  -- Where it believes to be: another place where the folder was moved, or is a copy.
  local data = system.stat(text:match('\n([^\n]*)') or '')
  local here = system.stat(place.folder .. '/pgdata')
  return text:find('\nready *\n') ~= nil
    and data ~= nil and here ~= nil and data.identity == here.identity
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

-- Where the folder is now: it may have been moved since it was opened.
local function moved_place(place, lock)
  local file = system.path_of_lock(lock)
  local folder = file and file:match('^(.*)/users%.lock$')
  if not folder or folder == place.folder then return place end
  local ok, now = pcall(places.of, folder)
  return ok and now or place
end

--- Ends the use of a folder, and stops the servers where this was the last. The last thing that
--- every user does is to ask for the exclusive lock after its last shared one, so the last of them
--- all gets it.
---@return boolean stopped
local function leave(place, lock)
  local granted = exclusive(lock)
  place = moved_place(place, lock)
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
---@param opts? stores.local.Options
---@return stores.local.Handle
---Raises invalid_argument (the path), connect_failed (with the servers' own words), timeout.
function local_servers.up(path, opts)
  places.check_path(path)
  opts = options.check(opts, UP)
  opts.timeout = opts.timeout or 60
  local place = places.prepare(path)
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
      errors.throw(failure)
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

--- Whether the servers of a folder run; false where there is no such folder. Starts nothing.
---@param path string
---@return boolean
function local_servers.is_running(path)
  places.check_path(path)
  local ok, place = pcall(places.of, path)
  return ok and running(place)
end

--- The database of private servers as Store.new takes it.
---@param handle stores.local.Handle
---@return stores.DbConfig
function local_servers.config(handle)
  local db = {}
  for key, value in pairs(handle.pg) do db[key] = value end
  -- what an environment demands of other servers does not hold for a socket in an own folder
  db.sslmode, db.target_session_attrs = 'disable', 'any'
  db.params = { gssencmode = 'disable', channel_binding = 'disable' }
  return db
end

--- Stops the servers of a folder where nobody uses them, and ends `keep`, so that otherwise the
--- last user stops them.
---@param path string
---@return 'stopped'|'in use'|'not running'
function local_servers.down(path)
  places.check_path(path)
  local place = places.of(path)
  places.check_contents(place.folder)
  os.remove(place.folder .. '/keep')
  local lock = open_lock(place)
  local was_running = running(place)
  -- A user may be on its way out.
  local granted = lock_within(lock, 'exclusive', 0.2) or exclusive(lock)
  release(place, lock, granted and stop(place))
  if not granted then return was_running and 'in use' or 'not running' end
  return was_running and 'stopped' or 'not running'
end

--- Calls fn while nobody uses the servers of a folder, and nobody can begin to; they do not run
--- then, also where they were to stay.
---@param path string
---@param fn fun(place: stores.local.Place): any
---@return any result what fn returned
---Raises what fn raises, and invalid_argument (the path, or the servers are in use).
function local_servers.alone(path, fn)
  places.check_path(path)
  local place = places.of(path)
  places.check_contents(place.folder)
  local lock = open_lock(place)
  if not (lock_within(lock, 'exclusive', 0.2) or exclusive(lock)) then
    system.close_lock(lock)
    errors.raise('invalid_argument', ('the servers of %s are in use'):format(place.folder))
  end
  run_script(place, { 'stop', place.folder, place.sockets, '0' })
  local ok, result = pcall(fn, place)
  release(place, lock, true)
  if not ok then errors.throw(result) end
  return result
end

--- Whether the servers of a folder are to stay when nobody uses them.
---@param path string
---@return boolean
function local_servers.is_kept(path)
  return kept(places.of(path))
end

return local_servers
