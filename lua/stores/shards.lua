--- Shards: several databases, and for each id the one that it belongs to.

local config = require('stores.config.tables')
local core = require('stores.core')
local errors = require('stores.errors')
local ids = require('stores.ids')
local options = require('stores.config.options')
local Store = require('stores.store')

---@class stores.ShardConfig
---@field id integer from 0 on
---@field db stores.DbConfig
---@field redis? stores.RedisConfig|false
---@field opts? stores.StoreOptions

---@class stores.Shards
---@field shards stores.Store[] their stores, in the order of the shards, from shard 0 on
local Shards = {}
Shards.__index = Shards

local KNOWN = { db = true, redis = true, opts = true, id = true }

local function refuse(message, ...)
  errors.raise('invalid_option', message:format(...))
end

local function check_list(list)
  if type(list) ~= 'table' or #list == 0 then
    refuse('Shards.new takes a list of {db =, redis =, opts =, id =}')
  end
  for key in pairs(list) do
    if type(key) ~= 'number' or key % 1 ~= 0 or key < 1 or key > #list then
      refuse("the list of the shards has gaps, or names: '%s'", options.shown(tostring(key)))
    end
  end
  local by_id = {}
  for place = 1, #list do
    local shard = list[place]
    if type(shard) ~= 'table' then refuse('entry %d of the shards is no table', place) end
    for key in pairs(shard) do
      if not KNOWN[key] then
        refuse("unknown key '%s' in entry %d of the shards: db, redis, opts and id are known",
          options.shown(tostring(key)), place)
      end
    end
    local id = shard.id
    if type(id) ~= 'number' or id % 1 ~= 0 or id < 0 then
      refuse('entry %d of the shards needs an id: a whole number from 0 on', place)
    end
    if by_id[id] then refuse('two shards have the id %d', id) end
    by_id[id] = shard
  end
  for id = 0, #list - 1 do
    if not by_id[id] then
      refuse('the ids of %d shards are 0 to %d: %d is missing', #list, #list - 1, id)
    end
  end
  return by_id
end

-- Gives fn(..), or raises its error with the shard's name, and leaves no store of the list open.
local function of_shard(id, stores, fn, ...)
  local ok, value = pcall(fn, ...)
  if ok then return value end
  for _, store in ipairs(stores) do store:close() end
  if errors.is(value) then value.message = ('shard %d: %s'):format(id, value.message) end
  error(value, 0)
end

--- Makes the stores of a list of shards: {{db =, redis =, opts =, id = 0}, ...}, ids from 0 on.
---@param list stores.ShardConfig[]
---@return stores.Shards
---Raises invalid_option.
function Shards.new(list)
  if list == Shards then
    errors.raise('invalid_argument', 'call it with a dot: Shards.new(list)')
  end
  local by_id = check_list(list)
  local count = #list
  local flats, stores = {}, {}
  for id = 0, count - 1 do
    local shard = by_id[id]
    flats[id] = of_shard(id, stores, config.resolve, shard.db, shard.redis, shard.opts)
    flats[id].shard_id, flats[id].shard_count = id, count
  end
  for id = 0, count - 1 do
    stores[id + 1] = of_shard(id, stores, Store.from_config, flats[id])
  end
  return setmetatable({ shards = stores, count = count }, Shards)
end

local function check_self(self, verb)
  if getmetatable(self) ~= Shards then
    errors.raise('invalid_argument', ('call it with a colon: shards:%s(...)'):format(verb))
  end
end

--- The store that an id belongs to: by the true modulo of the signed 64-bit id (-1 of 4 is 3).
---@param id stores.Id
---@return stores.Store
function Shards:mod(id)
  check_self(self, 'mod')
  return self.shards[core.shard(ids.check(id), self.count) + 1]
end

--- A new id, of any shard.
---@return string
function Shards:generateId()
  check_self(self, 'generateId')
  return self.shards[math.random(self.count)]:generateId()
end

--- Closes every store.
function Shards:close()
  check_self(self, 'close')
  for _, store in ipairs(self.shards) do store:close() end
end

return setmetatable(Shards, { __call = function(_, list) return Shards.new(list) end })
