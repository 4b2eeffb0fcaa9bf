--- A Redis cluster of a spec's own on ports of the loopback address, whose slots move when the spec
--- says so, whose nodes are killed, frozen and failed over.

local ports = require('spec.support.ports')
local redis = require('spec.support.redis')
local redis_cli = require('spec.support.redis_cli')
local support = require('spec.support')

local clusters = {}

local HOST, SLOTS = '127.0.0.1', 16384
local TRIES = 5

---@class spec.ClusterNode: spec.Redis
---@field port string
---@field place string "host:port"
---@field id string

---@class spec.Cluster
---@field nodes spec.ClusterNode[] the masters at first, then their replicas
---@field masters integer how many those are
local Cluster = {}
Cluster.__index = Cluster

---@param text string
local function ok(text)
  assert(text == 'OK', text)
end

local function start_node(options)
  local own = { ['cluster-enabled'] = 'yes', ['cluster-node-timeout'] = '1500', bind = HOST,
    ['repl-diskless-sync-delay'] = '0', ['cluster-replica-validity-factor'] = '0' }
  for key, value in pairs(options or {}) do own[key] = value end
  for _ = 1, TRIES do
    local port = tostring(ports.free())
    own[own['tls-cluster'] == 'yes' and 'tls-port' or 'port'] = port
    local node = redis.new(own)
    if pcall(node.start, node) then
      node.port, node.place = port, HOST .. ':' .. port
      node.id = node:cli('CLUSTER', 'MYID')
      return node
    end
    node:remove() -- somebody took the port meanwhile
  end
  error('no node of a cluster starts')
end

--- Starts a cluster, whose slots are dealt out evenly.
---@param options? {masters: integer?, replicas: integer?, config: table<string, string>?} replicas
--- in all: the first one is the first master's
---@return spec.Cluster
function clusters.start(options)
  options = options or {}
  local self = setmetatable({ nodes = {}, masters = options.masters or 3 }, Cluster)
  for i = 1, self.masters + (options.replicas or 0) do
    self.nodes[i] = start_node(options.config)
    ok(self.nodes[i]:cli('CLUSTER', 'SET-CONFIG-EPOCH', i))
  end
  for i = 1, self.masters do
    local first = math.floor(SLOTS * (i - 1) / self.masters)
    local last = math.floor(SLOTS * i / self.masters) - 1
    ok(self.nodes[i]:cli('CLUSTER', 'ADDSLOTSRANGE', first, last))
  end
  for i = 2, #self.nodes do
    ok(self.nodes[1]:cli('CLUSTER', 'MEET', HOST, self.nodes[i].port))
  end
  self:settle()
  for i = self.masters + 1, #self.nodes do
    ok(self.nodes[i]:cli('CLUSTER', 'REPLICATE', self.nodes[i - self.masters].id))
  end
  for i = self.masters + 1, #self.nodes do
    support.eventually(function()
      return self.nodes[i]:info('master_link_status') == 'up'
    end, 60, 'a replica in the cluster')
  end
  return self
end

local function lives(node) return node.process ~= nil end

--- Waits until all nodes that run know of each other, and say that the cluster is well.
function Cluster:settle()
  support.eventually(function()
    for _, node in ipairs(self.nodes) do
      local info = lives(node) and node:cli('CLUSTER', 'INFO')
      if info and not (info:find('cluster_state:ok', 1, true)
        and tonumber(info:match('cluster_known_nodes:(%d+)')) >= #self.nodes) then
        return false
      end
    end
    return true
  end, 60, 'the cluster')
end

--- Sends a command to whichever node has its keys.
---@param ... string|number
---@return string
function Cluster:cli(...)
  for _, node in ipairs(self.nodes) do
    if lives(node) then return redis_cli.follow({ port = node.port }, ...) end
  end
  error('no node runs')
end

---@param key string
---@return string slot
function Cluster:slot(key)
  return self:cli('CLUSTER', 'KEYSLOT', key)
end

--- The master that has a slot, as it says itself.
---@param slot string
---@return spec.ClusterNode
function Cluster:owner(slot)
  return support.eventually(function()
    for _, node in ipairs(self.nodes) do
      local line = lives(node) and node:cli('CLUSTER', 'NODES'):match('[^\n]*myself[^\n]*')
      for first, last in (line and line:find('master') and line .. ' ' or '')
        :gmatch(' (%d+)%-?(%d*)%f[ ]') do
        local low, high = tonumber(first), tonumber(last ~= '' and last or first)
        if low <= tonumber(slot) and tonumber(slot) <= high then return node end
      end
    end
  end, 60, 'an owner of slot ' .. slot)
end

--- Some other master.
---@param node spec.ClusterNode
---@return spec.ClusterNode
function Cluster:other(node)
  for i = 1, self.masters do
    if self.nodes[i] ~= node and lives(self.nodes[i]) then return self.nodes[i] end
  end
  error('there is no other master')
end

--- From now on a slot moves; its keys are where they were.
---@param slot string
---@param from spec.ClusterNode
---@param to spec.ClusterNode
function Cluster.begin_move(_, slot, from, to)
  ok(to:cli('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id))
  ok(from:cli('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id))
end

--- Some keys go over.
---@param from spec.ClusterNode
---@param to spec.ClusterNode
---@param ... string
function Cluster.carry(_, from, to, ...)
  local answer = from:cli('MIGRATE', HOST, to.port, '', 0, 5000, 'REPLACE', 'KEYS', ...)
  assert(answer == 'OK' or answer == 'NOKEY', answer)
end

--- All keys that are there go over, and the slot is the other node's.
---@param slot string
---@param from spec.ClusterNode
---@param to spec.ClusterNode
function Cluster:end_move(slot, from, to)
  for _ = 1, 1000 do
    local answer
    for key in from:cli('CLUSTER', 'GETKEYSINSLOT', slot, 100):gmatch('[^\n]+') do
      self:carry(from, to, key)
    end
    ok(to:cli('CLUSTER', 'SETSLOT', slot, 'NODE', to.id))
    answer = from:cli('CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
    if answer == 'OK' then break end
    assert(answer:find('hold keys', 1, true), answer)
  end
  for _, node in ipairs(self.nodes) do
    if lives(node) then node:cli('CLUSTER', 'SETSLOT', slot, 'NODE', to.id) end
  end
end

--- The move is over, and nothing has moved.
---@param slot string
---@param from spec.ClusterNode
---@param to spec.ClusterNode
function Cluster:abandon_move(slot, from, to)
  ok(from:cli('CLUSTER', 'SETSLOT', slot, 'STABLE'))
  for key in to:cli('CLUSTER', 'GETKEYSINSLOT', slot, 1000):gmatch('[^\n]+') do
    self:carry(to, from, key)
  end
  ok(to:cli('CLUSTER', 'SETSLOT', slot, 'STABLE'))
end

---@param slot string
---@param from spec.ClusterNode
---@param to spec.ClusterNode
function Cluster:move(slot, from, to)
  self:begin_move(slot, from, to)
  self:end_move(slot, from, to)
end

--- What Store.new takes: one address, by which the cluster is recognised.
---@param opts? table
---@return table
function Cluster:config(opts)
  return { host = HOST, port = tonumber(self.nodes[1].port), opts = opts }
end

--- Ends all and removes their files.
function Cluster:remove()
  for _, node in ipairs(self.nodes) do node:remove() end
end

return clusters
