--- What shards are made of: the list, and the options that are for all of them.

local config = require('stores.config.tables')
local errors = require('stores.errors')
local options = require('stores.config.options')
local strategy = require('stores.config.strategy')

local lists = {}

---@class stores.ShardConfig
---@field id integer from 0 on
---@field db stores.DbConfig
---@field redis? stores.RedisConfig|false
---@field opts? stores.StoreOptions

---@class stores.ShardsOptions
---@field concurrency? integer how many shards one call asks at a time; 16
---@field breaker? number seconds after which a shard that does not answer is taken for down; 2
---@field strategy? 'modulo'|stores.ShardStrategy whose an id is
---@field cluster? string what the databases say of themselves; nil: all of them the same
---@field require_migrated? stores.MigrationList a shard that lacks one of them is refused

local KNOWN = { db = true, redis = true, opts = true, id = true }

local function refuse(message, ...)
  errors.raise('invalid_option', message:format(...))
end

local function check_shard(shard, place)
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
  return id
end

--- Checks a list of shards, and gives them by their ids.
---@param list any
---@return table<integer, stores.ShardConfig>
---Raises invalid_option.
function lists.check(list)
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
    local id = check_shard(list[place], place)
    if by_id[id] then refuse('two shards have the id %d', id) end
    by_id[id] = list[place]
  end
  for id = 0, #list - 1 do
    if not by_id[id] then
      refuse('the ids of %d shards are 0 to %d: %d is missing', #list, #list - 1, id)
    end
  end
  return by_id
end

---@type stores.OptionSpec
local OPTIONS = {
  where = 'the options of the shards', aliases = {},
  keys = { concurrency = options.integer(1, 1000), breaker = options.seconds(60),
    cluster = options.text, strategy = options.any('stores.ShardStrategy'),
    require_migrated = options.any('stores.MigrationList') },
}

--- Checks the options of all shards.
---@param opts any
---@return table
---Raises invalid_option.
function lists.check_options(opts)
  local checked = options.check(opts, OPTIONS)
  checked.concurrency = checked.concurrency or 16
  checked.breaker = checked.breaker or 2
  checked.strategy = strategy.read(checked.strategy)
  if checked.require_migrated ~= nil and type(checked.require_migrated) ~= 'table' then
    refuse('require_migrated is a list of migrations')
  elseif checked.cluster and (#checked.cluster > 100 or checked.cluster == '') then
    refuse('cluster is a name of 100 bytes at most')
  end
  return checked
end

--- The configuration of the store of a shard.
---@param shard stores.ShardConfig
---@param count integer
---@param checked table the options of all
---@return table flat
function lists.resolve(shard, count, checked)
  local flat = config.resolve(shard.db, shard.redis, shard.opts)
  flat.shard_id, flat.shard_count = shard.id, count
  flat.strategy, flat.shard_strategy = checked.strategy, checked.strategy.full_name
  flat.shard_owner, flat.shard_cluster = checked.strategy.owner, checked.cluster
  flat.breaker = checked.breaker
  return flat
end

return lists
