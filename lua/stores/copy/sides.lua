--- The two sides of a copy: the databases that rows come from, and those that they go to. Each is a
--- store alone, or shards. Its stores are of the copy's own: they take a database whatever it says
--- of itself, for the copy knows what that means, and have no cache, which is told when all is
--- there.

local config = require('stores.config.tables')
local errors = require('stores.errors')
local lists = require('stores.shards.config')
local place = require('stores.shards.place')
local siblings = require('stores.siblings')
local strategy = require('stores.config.strategy')
local tasks = require('stores.tasks')

local sides = {}

---@class stores.copy.Place what stores.copy takes for a side: as Store.new takes it, or Shards.new
---@field db stores.DbConfig?
---@field redis stores.RedisConfig|false|nil
---@field opts stores.StoreOptions|stores.ShardsOptions|nil
---@field shards stores.ShardConfig[]?

---@class stores.copy.Side
---@field name string 'the old side' or 'the new side'
---@field size integer
---@field stores stores.Store[]
---@field flats table[] the configuration of each
---@field strategy stores.shards.Strategy
---@field cluster string?
---@field is_alone boolean a store that is no shard
---@field is_shared boolean a database of it is that of another store, too, by another schema
local Side = {}
Side.__index = Side

-- A batch, or the hash of a table, may take long; the server's own limit is none of the copy's.
local HOUR = 3600

-- Values are text on their way, and in the hashes of both sides: it has to mean the same to all
-- servers, whatever they, their databases and roles have made the default. A policy that hides rows
-- from the copy fails it.
local SETTINGS = "SET row_security = off; SET DateStyle = 'ISO, YMD'; SET TimeZone = 'UTC';"
  .. " SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; SET lc_monetary = 'C'"

local function resolve(given, name)
  if type(given) ~= 'table' then
    errors.raise('invalid_argument', name .. ' is what Store.new or Shards.new take, got '
      .. errors.kind(given))
  end
  local list = given.shards or (given[1] ~= nil and given)
  if not list then
    local flat = config.resolve(given.db, given.redis, given.opts)
    flat.strategy = strategy.read(nil)
    flat.shard_id, flat.shard_count, flat.shard_strategy = 0, 1, flat.strategy.full_name
    return { flat }, { strategy = flat.strategy }, true
  end
  local by_id, checked = lists.check(list), lists.check_options(given.opts)
  local flats = {}
  for id = 0, #list - 1 do flats[id + 1] = lists.resolve(by_id[id], #list, checked) end
  return flats, checked, false
end

-- Its sessions are nobody's: the lock of a copy would be left in one, and its settings in others.
local function refuse_pooler()
  errors.raise('invalid_option', "pooler = 'transaction' holds neither the lock of a copy nor its"
    .. ' settings: give db.migrate_url, which goes to the server itself')
end

local function changes(flat, connections)
  if flat.pooler == 'transaction' and not flat.migrate_url then refuse_pooler() end
  local own = { any_shard = true, poolsize = connections, min_idle = 0, timeout = HOUR,
    statement_timeout = HOUR, acquire_timeout = HOUR, transaction = true, raw = false,
    metrics = false, replicas = {}, read = 'primary' } -- a replica may lack the last rows
  if flat.migrate_url then own.pg = { url = flat.migrate_url } end
  own.pooler = 'session'
  own.on_connect = (flat.on_connect and flat.on_connect .. ';\n' or '') .. SETTINGS
  return own
end

--- Opens one.
---@param given stores.copy.Place
---@param name string
---@param connections integer of each database at most
---@return stores.copy.Side
---Raises invalid_option, invalid_argument.
function sides.open(given, name, connections)
  local flats, checked, is_alone = resolve(given, name)
  local self = setmetatable({ name = name, size = #flats, flats = flats, stores = {},
    strategy = checked.strategy, cluster = checked.cluster, is_alone = is_alone,
    is_shared = false, connections = connections }, Side)
  for at, flat in ipairs(flats) do
    local own = changes(flat, connections)
    own.redis, own.cache = false, false
    self.stores[at] = siblings.make(flat, own)
  end
  return self
end

--- What a message calls one of its databases.
---@param at integer
---@return string
function Side:called(at)
  return self.is_alone and self.name or ('shard %d of %s'):format(at - 1, self.name)
end

--- Calls fn(store, at) for all of its databases side by side.
---@param fn fun(store: stores.Store, at: integer): any
---@return any[] results
function Side:each(fn)
  return tasks.map(self.stores, fn, {})
end

--- Calls fn(store) with a store that tells the cache of a database; a Redis that cannot be told is
--- an error. Without a cache fn is given nil.
---@param at integer
---@param fn fun(store: stores.Store?): any
---@return any
function Side:with_cache(at, fn)
  local flat = self.flats[at]
  if not flat.redis then return fn(nil) end
  local own = changes(flat, 2)
  own.on_cache_failure = 'error'
  local store = siblings.make(flat, own)
  local ok, result = pcall(fn, store)
  store:close()
  if not ok then errors.throw(result) end
  return result
end

--- Has each of its databases say which shard it is, where it does not yet.
---Raises shard_mismatch.
function Side:settle()
  local cluster = place.cluster({ cluster = self.cluster, size = self.size,
    shards = self.stores }, self:each(function(store) return place.read(store) or false end))
  for _, store in ipairs(self.stores) do cluster:settle(store) end
end

--- Refuses databases that are other shards than the list says: of another list, or of none of it.
---Raises shard_mismatch.
function Side:check()
  self:each(function(store, at)
    local found, flat = place.read(store), self.flats[at]
    if found and (found.shard ~= flat.shard_id or found.count ~= flat.shard_count
      or found.strategy ~= flat.shard_strategy) then
      errors.raise('shard_mismatch', ('%s is shard %d of %d, by %s'):format(self:called(at),
        found.shard, found.count, found.strategy), { shard = at - 1 })
    end
  end)
end

local MAY_CREATE = [[SELECT current_user::text AS role, current_database()::text AS name,
  has_database_privilege(current_database(), 'CREATE') AS may]]

--- Refuses databases in which what has moved could not be put away.
---Raises unsupported.
function Side:check_rights()
  self:each(function(store, at)
    local row = store:query(MAY_CREATE, {}, { transaction = false, readonly = true })[1]
    if row.may then return end
    errors.raise('unsupported', ('the role %s may not make the schema in %s that keeps its rows '
      .. 'afterwards'):format(row.role, self:called(at)), { shard = at - 1,
        hint = ('GRANT CREATE ON DATABASE %s TO %s'):format(row.name, row.role) })
  end)
end

function Side:close()
  for _, store in ipairs(self.stores) do store:close() end
end

-- The database of a place that place.where gave, without the schema.
local function database_of(where)
  return where:match('^(.-/.-)/') or where
end

--- Refuses two sides that have a database in common.
---@param from stores.copy.Side
---@param to stores.copy.Side
---Raises shard_mismatch.
function sides.apart(from, to)
  local seen, databases = {}, {}
  for _, side in ipairs({ from, to }) do
    for at, where in ipairs(side:each(function(store) return place.where(store) end)) do
      local other = seen[where]
      if other then
        errors.raise('shard_mismatch', ('%s is in the database of %s: rows are copied into '
          .. 'databases of their own'):format(side:called(at), other), { shard = at - 1 })
      end
      seen[where] = side:called(at)
      local database = database_of(where)
      local before = databases[database]
      if before then before.is_shared, side.is_shared = true, true end
      databases[database] = side
    end
  end
end

return sides
