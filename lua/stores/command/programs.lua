--- The programs of PostgreSQL, of the version that a server needs: pg_dump does not dump a newer
--- server than itself.

local errors = require('stores.errors')
local shell = require('stores.command.shell')

local programs = {}

local FOLDERS = 'ls -d /usr/lib/postgresql/*/bin /usr/pgsql-*/bin 2>/dev/null'

local function major_of(path)
  local text = shell.output({ path, '--version' })
  return tonumber(text:match('(%d+)'))
end

--- Where a program is that suits a server, the oldest of those: the path, or its name where the one
--- on the PATH will do.
---@param name string
---@param major integer of the server
---@return string path
---Raises unsupported.
function programs.find(name, major)
  local best, best_major
  local function consider(path)
    local own = major_of(path)
    if own and own >= major and (not best or own < best_major) then best, best_major = path, own end
  end
  for folder in shell.output({ 'sh', '-c', FOLDERS }):gmatch('[^\n]+') do
    local path = folder .. '/' .. name
    if shell.has(path) then consider(path) end
  end
  if not best and shell.has(name) then consider(name) end
  if best then return best end
  errors.raise('unsupported', ('%s of PostgreSQL %d, or of a newer one, is not installed (Debian '
    .. 'package: postgresql-client-%d)'):format(name, major, major))
end

--- The newest server that is installed: what makes a new folder of private servers.
---@return integer major
---Raises unsupported.
function programs.newest_server()
  local newest
  local paths = shell.output({ 'sh', '-c', FOLDERS .. '; dirname "$(command -v postgres)" '
    .. '2>/dev/null' })
  for path in paths:gmatch('[^\n]+') do
    if shell.has(path .. '/postgres') and shell.has(path .. '/initdb') then
      newest = math.max(newest or 0, major_of(path .. '/postgres') or 0)
    end
  end
  if newest then return newest end
  errors.raise('unsupported', 'no PostgreSQL server is installed (Debian package: postgresql)')
end

--- The major version of a server.
---@param store stores.Store
---@return integer
function programs.server_major(store)
  return math.floor(store:query("SELECT current_setting('server_version_num')::int AS n", nil,
    { readonly = true })[1].n / 10000)
end

return programs
