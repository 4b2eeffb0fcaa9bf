--- Shards: several databases, and for each id the one that it belongs to. They have the verbs of a
--- store (shards/routes.lua).

local arguments = require('stores.verbs.arguments')
local errors = require('stores.errors')
local health = require('stores.shards.health')
local lists_of = require('stores.shards.config')
local metrics = require('stores.metrics')
local place = require('stores.shards.place')
local random = require('stores.random')
local routes = require('stores.shards.routes')
local Store = require('stores.store')
local strategy = require('stores.config.strategy')
local traced = require('stores.verbs.traced')

---@class stores.Shards
---@field shards stores.Store[] their stores, in the order of the shards, from shard 0 on
---@field size integer how many
---@field timeout number seconds: the longest of those of its stores
---@field concurrency integer how many shards one call asks at a time
---@field breaker number seconds
---@field strategy stores.shards.Strategy
---@field cluster string?
---@field health stores.shards.Health[]
---@field places (stores.shards.Place|false)[] what their databases have said; false: nothing
---@field where table<integer, string> where those are that say nothing
---@field unmet table<integer, number> seconds that calls to others waited for those not reached
---@field collations table<integer, string> how their databases sort strings, where it mattered
local Shards = { is_stores_target = true }
Shards.__index = Shards
for name, verb in pairs(routes.verbs()) do Shards[name] = verb end
local Traced -- those of which a store has traceback = true

-- Gives fn(..), or raises its error with the shard's name, and leaves no store of the list open.
local function of_shard(id, stores, fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  for _, store in ipairs(stores) do store:close() end
  if errors.is(value) then value.message = ('shard %d: %s'):format(id, value.message) end
  errors.throw(value)
end

local function finder(shards)
  return function(_, name)
    local verb = getmetatable(shards)[name]
    if type(verb) ~= 'function' then return verb end
    return function(_, ...) return pcall(verb, shards, ...) end
  end
end

--- Makes the stores of a list of shards: {{db =, redis =, opts =, id = 0}, ...}, ids from 0 on.
---@param list stores.ShardConfig[]
---@param opts? stores.ShardsOptions
---@return stores.Shards
---Raises invalid_option.
function Shards.new(list, opts)
  if list == Shards then
    errors.raise('invalid_argument', 'call it with a dot: Shards.new(list)')
  end
  local by_id = lists_of.check(list)
  local checked = lists_of.check_options(opts)
  local flats, stores, states, timeout, traces = {}, {}, {}, 0, false
  for id = 0, #list - 1 do
    flats[id] = of_shard(id, stores, lists_of.resolve, by_id[id], #list, checked)
  end
  for id = 0, #list - 1 do
    local store = of_shard(id, stores, Store.from_config, flats[id])
    stores[id + 1], states[id + 1] = store, health.new()
    timeout = math.max(timeout, store.timeout)
    traces = traces or store.traceback
  end
  local shards = setmetatable({ shards = stores, size = #list, timeout = timeout,
    concurrency = checked.concurrency, breaker = checked.breaker, health = states,
    strategy = checked.strategy, cluster = checked.cluster, places = {}, where = {},
    unmet = {}, collations = {}, require_migrated = checked.require_migrated,
    turn = random.one_of(#list) }, Shards)
  if traces then
    Traced = Traced or traced.class(Shards, 'store')
    setmetatable(shards, Traced)
  end
  shards.try = setmetatable({}, { __index = finder(shards) })
  return shards
end

function Shards:check_usable()
  self.shards[1]:check_usable()
end

--- The place of the shard that an id belongs to: its number, and one more.
---@param id stores.Id
---@return integer
function Shards:place_of(id)
  return strategy.owner(self.strategy, id, self.size) + 1
end

-- Whose turn it is to be given a row that is new.
local function next_turn(self)
  self.turn = self.turn % self.size + 1
  return self.turn
end

-- An id of which nobody has asked whose it is.
local function any_id(self)
  return self.shards[1].engine:id(true)
end

--- Where a record without an id goes; its store makes the id. By a strategy of one's own not every
--- shard may get ids that are new.
---@return integer
function Shards:next_place()
  if self.strategy.owner then return self:place_of(any_id(self)) end
  return next_turn(self)
end

--- A new id, of any shard.
---@return string
function Shards:new_id()
  if self.strategy.owner then return any_id(self) end
  return self.shards[next_turn(self)]:generateId()
end

-- Whether its database has all migrations of a list.
local function check_migrated(self, at)
  local store = self.shards[at]
  for _, one in ipairs(require('stores.migrations').status(self.require_migrated, store)) do
    if one.state ~= 'done' and one.state ~= 'unknown' then
      errors.raise('not_migrated', ("shard %d: the migration '%s' is %s there"):format(at - 1,
        one.name, one.state), { shard = at - 1 })
    end
  end
end

-- Whichever database takes its place later is to be of the same cluster.
local function expect_cluster(self, at)
  local place_of = self.places[at]
  if place_of then self.shards[at].engine:expect_cluster(place_of.cluster) end
end

--- Before the first call of a shard: whether it is the one that the list says, and has what is
--- required.
---@param at integer its place
---@param timeout number
---Raises shard_mismatch, not_migrated.
function Shards:check_shard(at, timeout)
  place.check(self, at, timeout)
  if self.require_migrated then check_migrated(self, at) end
  expect_cluster(self, at)
  self.health[at].ready = true
end

--- Writes into each database which shard it is, where it does not say so yet. All have to be there;
--- nothing is written where one of them is another shard, or of another cluster.
---@return string cluster the id of the cluster
---Raises shard_mismatch.
function Shards:init()
  arguments.check(self, 'init')
  local found, where = {}, {}
  for at, store in ipairs(self.shards) do
    found[at], where[at] = place.read(store), place.where(store)
  end
  place.apart(where, self.size)
  local cluster = place.cluster(self, found)
  for _, store in ipairs(self.shards) do cluster:settle(store) end
  for at, store in ipairs(self.shards) do
    self.places[at] = place.read(store)
    expect_cluster(self, at)
  end
  return cluster.id
end

--- The figures of all its stores, each with its shard as a label, as stores.metrics gives them.
---@param opts? {as: 'text'|'table'?}
---@return string|table
function Shards:metrics(opts)
  arguments.check_self(self, 'metrics')
  if self.shards[1].closed then errors.closed() end
  local as = opts and opts.as
  if as ~= nil and as ~= 'text' and as ~= 'table' then
    errors.raise('invalid_option', "as is 'text' or 'table'")
  end
  return metrics.of(self.shards, as)
end

--- The store that an id belongs to.
---@param id stores.Id
---@return stores.Store
function Shards:mod(id)
  if type(self) ~= 'table' or not self.is_stores_target then
    errors.raise('invalid_argument', 'call it with a colon: shards:mod(...)')
  end
  return self.shards[self:place_of(id)]
end

return setmetatable(Shards, { __call = function(_, list, opts) return Shards.new(list, opts) end })
