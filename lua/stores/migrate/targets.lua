--- Where migrations run: a config table, a Store or Shards.

local errors = require('stores.errors')

local targets = {}

-- What the runner uses of a store, whatever the store's own options are for calls that say nothing.
---@class stores.MigrationTarget
---@field store table
local Target = {}
Target.__index = Target

-- Every single query of the runner is a read; what it writes goes through the two below.
local READ = { readonly = true, transaction = true }

function Target:query(sql, params) return self.store:query(sql, params, READ) end
function Target:session(fn, opts) return self.store:session(fn, opts) end
function Target:in_transaction(fn, opts) return self.store:in_transaction(fn, opts) end
function Target:invalidate(name) return self.store:invalidate(name) end

local function is_store(db)
  return type(db.in_transaction) == 'function' and type(db.session) == 'function'
end

-- The lock, a transaction and a look at the catalog at the same time.
local CONNECTIONS = 3

local function open(db)
  local Store = require('stores').Store
  if db.migrate_url then
    return Store.new({ url = db.migrate_url, poolsize = CONNECTIONS }, nil, { cache = false })
  elseif db.pooler == 'transaction' then
    errors.raise('invalid_option', "pooler = 'transaction' cannot hold the lock of the migrations:"
      .. ' give db.migrate_url, which goes to the server itself')
  end
  local own = {}
  for key, value in pairs(db) do own[key] = value end
  own.poolSize, own.poolsize = nil, CONNECTIONS
  return Store.new(own, nil, { cache = false })
end

local function over_store(db, fn)
  if is_store(db) then return fn(setmetatable({ store = db }, Target)) end
  local store = open(db)
  local ok, result = pcall(fn, setmetatable({ store = store }, Target))
  pcall(store.close, store)
  if not ok then error(result, 0) end
  return result
end

local function failed_shards(results)
  local lines, first = {}, nil
  for _, item in ipairs(results) do
    if item.error then
      first = first or item
      lines[#lines + 1] = ('  shard %d: %s'):format(item.shard, tostring(item.error))
    end
  end
  if not first then return nil end
  local cause = first.error
  return errors.new(errors.is(cause) and cause.code or 'migration_failed',
    ('%d of %d shards failed, the others are done; run again to go on\n%s'):format(#lines, #results,
      table.concat(lines, '\n')),
    { shard = first.shard, shards = results, cause = cause,
      sqlstate = errors.is(cause) and cause.sqlstate or nil,
      outcome = errors.is(cause) and cause.outcome or nil })
end

-- The first alone, so that a bad migration harms one shard; then the rest side by side.
local function over_shards(stores, concurrency, fn)
  local results = {}
  local function one(place)
    local target = setmetatable({ store = stores[place] }, Target)
    local ok, result = pcall(fn, target, place - 1)
    results[place] = ok and { shard = place - 1, result = result }
      or { shard = place - 1, error = result }
    return ok
  end
  if not one(1) then
    local cause = results[1].error
    if type(cause) == 'table' then cause.shard = cause.shard or 0 end
    error(cause, 0)
  end
  local rest = {}
  for place = 2, #stores do rest[#rest + 1] = place end
  if #rest > 0 then require('stores').map(rest, one, { concurrency = concurrency }) end
  local failed = failed_shards(results)
  if failed then error(failed, 0) end
  return results
end

--- Calls fn(store, shard) for every database that `db` names; closes what it opened.
---@param db table config of one database, a Store, or Shards
---@param concurrency integer how many shards at a time, after the first
---@param fn fun(store: stores.MigrationTarget, shard?: integer): any
---@return any result what fn returned, for one database
---@return {shard: integer, result: any}[]? each for shards: by place; result is nil then
function targets.each(db, concurrency, fn)
  if type(db) ~= 'table' then
    errors.raise('invalid_argument', 'migrations run on a db config, a Store or Shards, got '
      .. errors.kind(db))
  end
  if type(db.shards) == 'table' then
    if #db.shards == 0 then errors.raise('invalid_argument', 'there are no shards') end
    return nil, over_shards(db.shards, concurrency, fn)
  end
  return over_store(db, fn)
end

return targets
