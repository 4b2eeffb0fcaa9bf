--- Private servers for specs: as those of stores.open, but nothing of them outlives the machine.

local local_servers = require('stores.local')
local system = require('stores.local.system')
local template = require('spec.support.template')

local servers = {}

-- What is written is read by nobody, and may be in memory (tools/test.sh): little of it is kept.
local SETTINGS = { fsync = 'off', full_page_writes = 'off', max_wal_size = '64MB' }

-- A dozen of them wait beside each other for most of a run, and by default look around ten times a
-- second.
local REDIS = { hz = 2 }

--- A path at which nothing is yet, for servers of a spec's own: where the run keeps its data
--- (STORES_TEST_ROOM), or in /tmp.
---@return string
function servers.folder()
  local path, room = os.tmpname(), os.getenv('STORES_TEST_ROOM')
  os.remove(path)
  return room and room .. path:match('/[^/]+$') or path
end

--- Makes a folder whose PostgreSQL has its data already, where there is a template of that: what is
--- no matter of initdb needs not wait for it.
---@param folder string
function servers.make(folder)
  if system.stat(folder) or not os.getenv('STORES_TEST_TEMPLATE') then return end
  assert(system.make_folder(folder))
  template.copy(folder .. '/pgdata')
end

--- Uses the servers of a folder, and makes and starts them where there are none.
---@param folder string
---@param settings? table<string, string|number> of postgresql.conf
---@return stores.local.Handle
function servers.up(folder, settings)
  servers.make(folder)
  local all = {}
  for name, value in pairs(SETTINGS) do all[name] = value end
  for name, value in pairs(settings or {}) do all[name] = value end
  return local_servers.up(folder, { postgres = all, redis = REDIS })
end

return servers
