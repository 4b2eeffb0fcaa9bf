--- The files of a backup: one for a database, or a folder with one for each shard.

local clients = require('stores.command.clients')
local documents = require('stores.command.documents')
local errors = require('stores.errors')
local programs = require('stores.command.programs')
local system = require('stores.local.system')

local dumps = {}

---@class stores.Dump
---@field store stores.Store
---@field shard integer? nil: there are no shards
---@field path string
---@field database string as pg_dump takes it
---@field variables table<string, string>
---@field tables integer
---@field major integer

--- Whether there is something at a path.
---@param path string
---@return boolean
function dumps.exists(path)
  return system.stat(path) ~= nil
end

local function path_of(path, shard)
  return shard and ('%s/shard-%d.dump'):format(path, shard) or path
end

--- What there is to dump, or to restore: of each shard.
---@param context stores.CommandContext
---@param path string
---@return stores.Dump[]
function dumps.list(context, path)
  local at, list = context.config(), {}
  local stores = context.stores()
  local shards = at.shards and {} or nil
  for _, shard in ipairs(at.shards or {}) do shards[shard.id] = shard.db end
  for place, store in ipairs(stores) do
    local shard = shards and place - 1 or nil
    local database, variables = clients.postgres(at, clients.direct(shards and shards[shard]
      or at.db))
    -- what these programs say is read
    variables.LC_ALL = 'C'
    list[place] = { store = store, shard = shard, path = path_of(path, shard),
      database = database, variables = variables, tables = documents.count(store),
      major = programs.server_major(store) }
  end
  return list
end

--- The name of a dump in front of a message.
---@param dump stores.Dump
---@return string
function dumps.name(dump)
  return dump.shard and ('shard %d: '):format(dump.shard) or ''
end

--- Raises that a program failed, with what it said.
---@param dump stores.Dump
---@param name string of the program
---@param status integer
---@param said string
function dumps.failed(dump, name, status, said)
  local lines = {}
  for line in said:gmatch('[^\n]+') do
    if line:find('error:', 1, true) or line:find('detail:', 1, true)
      or line:find('FATAL', 1, true) then
      lines[#lines + 1] = line
    end
  end
  errors.raise('query_failed', ('%s%s ended with exit code %d: %s'):format(dumps.name(dump), name,
    status, lines[1] and table.concat(lines, '; ') or said))
end

return dumps
