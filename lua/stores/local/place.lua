--- Where a folder of private servers is, and whose they are.

local errors = require('stores.errors')
local system = require('stores.local.system')

local place = {}

--- Only the name of a socket: nothing listens on TCP.
place.PORT = 5432

---@class stores.local.Place where a folder and its sockets are, and whose they are
---@field folder string
---@field sockets string the folder itself, or one in /tmp where its path is too long for a socket
---@field owner integer uid of the servers
---@field group integer

--- Our own files; a folder that holds others is not one to move into.
local OURS = {
  ['users.lock'] = true, ['start.lock'] = true, ['supervisor.lock'] = true, keep = true,
  pgdata = true, ['pgdata.new'] = true, ['initdb.log'] = true,
}

--- Refuses a folder that holds what is not ours.
---@param folder string
---Raises invalid_argument.
function place.check_contents(folder)
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
  local longest = folder .. '/.s.PGSQL.' .. place.PORT
  if #longest <= system.SOCKET_PATH_MAX and not folder:find(',', 1, true) then return folder end
  return ('/tmp/stores-%d-%s'):format(stat.uid, stat.identity)
end

--- The place of a folder that is there.
---@param path string
---@return stores.local.Place
---Raises invalid_argument.
function place.of(path)
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

--- Checks what a caller gave as the path of a folder.
---@param path any
---Raises invalid_argument.
function place.check_path(path)
  if type(path) ~= 'string' or path == '' then
    errors.raise('invalid_argument', 'the path of a folder must be a string that is not empty, got '
      .. errors.kind(path))
  elseif path:find('[%z\r\n]') then
    errors.raise('invalid_argument', 'the path of a folder must be on one line')
  end
end

--- Makes the folder where it is missing (not its parents), and makes it private.
---@param path string
---@return stores.local.Place
---Raises invalid_argument.
function place.prepare(path)
  local made, failure = system.make_folder(path)
  if made == nil then
    errors.raise('invalid_argument', ('cannot make the folder %s: %s'):format(path, failure))
  end
  local at = place.of(path)
  if not made then place.check_contents(at.folder) end
  if at.mode ~= tonumber('700', 8) and not system.make_private(at.folder) then
    errors.raise('invalid_argument', at.folder .. ' belongs to another user')
  end
  return at
end

return place
