--- A primary and two standbys, whose replay is paused at will, and stores that read from them.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local standbys = {}

---@class spec.Standbys
---@field primary spec.Postgres
---@field one spec.Postgres a standby
---@field other spec.Postgres the other one
---@field open stores.Store[] those that `settle` closes
local Standbys = {}
Standbys.__index = Standbys

--- Starts them, over the table docs.
---@return spec.Standbys
function standbys.start()
  local primary = postgres.primary()
  primary:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
    .. ' CREATE VIEW seen AS SELECT id, value FROM docs;'
    .. ' CREATE UNIQUE INDEX ON docs ((value->\'mark\'))')
  return setmetatable({ primary = primary, one = postgres.standby(primary),
    other = postgres.standby(primary), open = {} }, Standbys)
end

function Standbys:remove()
  for _, server in ipairs({ self.one, self.other, self.primary }) do server:remove() end
end

--- Waits until both have replayed all.
function Standbys:catch_up()
  self.one:catch_up()
  self.other:catch_up()
end

--- Before each example: docs has the rows 1 to 20.
function Standbys:fill()
  self.primary:psql("TRUNCATE docs; INSERT INTO docs SELECT i, jsonb_build_object('id', i::text, "
    .. "'n', 0, 'mark', i) FROM generate_series(1, 20) i")
  self:catch_up()
end

--- After each example: no store is open, and both replay.
function Standbys:settle()
  for _, store in ipairs(self.open) do support.close(store) end
  self.open = {}
  for _, server in ipairs({ self.one, self.other }) do
    server:ensure()
    support.eventually(function()
      return pcall(server.psql, server, 'SELECT pg_wal_replay_resume()')
    end, 20, 'a standby that answers')
  end
end

--- A store whose reads replicas may answer: both of them, or those that are given.
---@param replicas? spec.Postgres[]
---@param opts? table
---@param redis? table
---@return stores.Store
function Standbys:reader(replicas, opts, redis)
  local all = { cache = redis and true or false, read = 'replica', log = function() end }
  for key, value in pairs(opts or {}) do all[key] = value end
  local list = {}
  for i, server in ipairs(replicas or { self.one, self.other }) do list[i] = server:config() end
  local store = stores.Store.new(self.primary:config({ replicas = list }), redis or nil, all)
  self.open[#self.open + 1] = store
  return store
end

--- One that knows of no replicas.
---@param server spec.Postgres
---@return stores.Store
function Standbys:plain(server)
  local store = stores.Store.new(server:config(), nil, { cache = false })
  self.open[#self.open + 1] = store
  return store
end

---@param store stores.Store
---@param name string of a figure of replicas
---@return number
function standbys.figure(store, name) return store:stats()['replica_' .. name] end

--- Whether a call was answered by a replica.
---@param store stores.Store
---@param call fun()
---@return boolean
function standbys.by_replica(store, call)
  local before = standbys.figure(store, 'reads')
  call()
  return standbys.figure(store, 'reads') > before
end

---@param store stores.Store
function standbys.again_by_replica(store)
  support.eventually(function()
    return standbys.by_replica(store, function() store:count('docs') end)
  end, 30, 'a replica to be asked again')
end

--- The first of all reads asks the primary, for nobody knows of it yet.
---@param store stores.Store
---@return stores.Store
function standbys.met(store)
  store:query('SELECT 1', nil, { readonly = true, read = 'primary' })
  return store
end

return standbys
