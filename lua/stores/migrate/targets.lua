--- Where migrations run: a config table, a Store or Shards. Always on connections of their own,
--- which are closed at the end: nothing that a migration sets reaches a pool, and a pool of one
--- will do.

local caches = require('stores.migrate.caches')
local config = require('stores.config.tables')
local errors = require('stores.errors')
local places = require('stores.shards.place')
local siblings = require('stores.siblings')
local tasks = require('stores.tasks')

local targets = {}

---@class stores.MigrationTarget
---@field store stores.Store its own: the lock, and looks at the catalog
---@field writer stores.Store what transactions run on, which tells the cache of what they wrote
---@field may_find boolean nobody said whose caches are to be told
local Target = {}
Target.__index = Target

--- Adds those names to a list that are not in it yet.
---@param list string[]
---@param names string[]
---@return string[] list
function targets.joined(list, names)
  local known = {}
  for _, name in ipairs(list) do known[name] = true end
  for _, name in ipairs(names) do
    if not known[name] then list[#list + 1] = name end
    known[name] = true
  end
  return list
end

-- Every single query of the runner is a read; what it writes goes through the two below.
local READ = { readonly = true, transaction = true }

function Target:query(sql, params) return self.store:query(sql, params, READ) end
function Target:session(fn, opts) return self.store:session(fn, opts) end
function Target:in_transaction(fn, opts) return self.writer:in_transaction(fn, opts) end

--- Tells every cache that is known of a table whose rows may have changed.
---@param name string
function Target:invalidate(name)
  if self.writer.cached then self.writer:invalidate(name) end
  for _, store in ipairs(self.others or {}) do store:invalidate(name) end
end

--- Notes which tables a transaction has written, where that has to be told after it. It is the last
--- thing in it.
---@param tx table
function Target:note_written(tx)
  if not self.notes then return end
  self.written = targets.joined(self.written or {}, caches.written(tx))
end

-- The lock, a transaction and a look at the catalog at the same time.
local CONNECTIONS = 3

local function refuse_pooler()
  errors.raise('invalid_option', "pooler = 'transaction' cannot hold the lock of the migrations:"
    .. ' give db.migrate_url, which goes to the server itself')
end

-- What differs from the configuration of the program that the migrations are of.
local function changes(pooler, migrate_url)
  if pooler == 'transaction' and not migrate_url then refuse_pooler() end
  return { pg = migrate_url and { url = migrate_url } or nil, poolsize = CONNECTIONS, min_idle = 0,
           pooler = 'session' }
end

local function sibling(store)
  return siblings.of(store, changes(store.pooler, store.migrate_url))
end

-- One that a copy was to fill which was given up nobody opens, and it is migrated for the next one.
local function sibling_of_any(store)
  local changed = changes(store.pooler, store.migrate_url)
  changed.any_shard = true
  local own = siblings.of(store, changed)
  local ok, is_given_up = pcall(places.is_given_up, own)
  if ok and is_given_up then return own end
  own:close()
end

local function sibling_of_shard(store)
  local own = sibling(store)
  local ok, err = pcall(places.met, own)
  local other = not ok and errors.is(err, 'moved') and sibling_of_any(store)
  if not other then return own end
  own:close()
  return other
end

local function of_config(db, opts)
  local flat = config.resolve(db, opts.redis or nil, { prefix = opts.prefix })
  local changed = changes(flat.pooler, flat.migrate_url)
  changed.any_shard = true -- each of them may be migrated by itself
  return siblings.make(flat, changed)
end

local function is_store(db)
  return type(db.in_transaction) == 'function' and type(db.session) == 'function'
end

--- Whether it was said whose cache is to be told: a store has its own.
---@param db table
---@param opts {redis: table|false|nil}
---@return boolean
function targets.names_cache(db, opts)
  return opts.redis ~= nil or is_store(db) or type(db.shards) == 'table'
end

local function open(db, opts)
  local own
  if is_store(db) then
    if opts.redis ~= nil or opts.prefix then
      errors.raise('invalid_option', 'redis and prefix go with a db config: a store has its own')
    end
    db:check_usable()
    own = sibling_of_shard(db)
  elseif opts.prefix and not opts.redis then
    errors.raise('invalid_option', 'prefix goes with redis, whose keys begin with it')
  else
    own = of_config(db, opts)
  end
  return { store = own, writer = own, may_find = not targets.names_cache(db, opts) }
end

--- Finds out whose caches are to be told, before the first migration of a run: of a store, its own;
--- of a config, the one that the options name, or those of the stores that this process has open on
--- the same database.
function Target:find_caches()
  if self.is_ready then return end
  self.is_ready = true
  if self.may_find then
    local found = caches.of_process(self.store)
    local first = table.remove(found, 1)
    if first then self.writer = sibling(first) end
    self.others = found
  end
  self.notes = self.may_find or self.writer.cached
  self.bypassed = self.writer:stats().bypassed
  caches.wait_for_redis(self.writer)
end

--- What was written since the last time that no cache was told of: the names of tables. Tells those
--- caches that are told afterwards.
---@return string[]
function Target:tell_written()
  local names, before = self.written or {}, self.bypassed
  self.written, self.bypassed = nil, self.writer:stats().bypassed
  for _, name in ipairs(names) do
    for _, store in ipairs(self.others or {}) do store:invalidate(name) end
  end
  -- a Redis that could not be told is no better than one that is not known
  return self.writer.cached and self.bypassed == before and {} or names
end

-- A server that has no room for them lets a run wait, or refuses, and does not say for what.
local function has_no_room(err)
  return errors.is(err) and (err.code == 'acquire_timeout' or err.sqlstate == '53300')
end

local function explain(err)
  if has_no_room(err) or (errors.is(err) and has_no_room(err.cause)) then
    err.hint = 'a run of migrations needs two connections beside those of the pool, and the server'
      .. ' gives no more: see max_connections, and CONNECTION LIMIT of the role and the database'
  end
end

local function over_store(db, opts, fn)
  local target = setmetatable(open(db, opts), Target)
  local ok, result = pcall(fn, target)
  if target.writer ~= target.store then pcall(target.writer.close, target.writer) end
  pcall(target.store.close, target.store)
  if not ok then
    explain(result)
    errors.throw(result)
  end
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
local function over_shards(stores, opts, concurrency, fn)
  local results = {}
  local function one(place)
    local ok, result = pcall(over_store, stores[place], opts, function(target)
      return fn(target, place - 1)
    end)
    results[place] = ok and { shard = place - 1, result = result }
      or { shard = place - 1, error = result }
    return ok
  end
  if not one(1) then
    local cause = results[1].error
    if type(cause) == 'table' then cause.shard = cause.shard or 0 end
    errors.throw(cause)
  end
  local rest = {}
  for place = 2, #stores do rest[#rest + 1] = place end
  if #rest > 0 then tasks.map(rest, one, { concurrency = concurrency }) end
  local failed = failed_shards(results)
  if failed then errors.throw(failed) end
  return results
end

--- The cluster of shards, whose databases are to be told which of them each is; nil for all else. A
--- shard that cannot be reached now says nothing, and is told when it is migrated. A database that
--- two of the list share is migrated once, and told nothing: the first verb is refused there.
---@param db any
---@return stores.shards.Cluster?
---Raises shard_mismatch.
function targets.cluster(db)
  if type(db) ~= 'table' or type(db.shards) ~= 'table' or not db.strategy then return nil end
  local found, where = {}, {}
  tasks.map(db.shards, function(store, at)
    local ok, err = pcall(function()
      found[at] = places.met(store)
      where[at] = places.where(store)
    end)
    if not ok and errors.is(err, 'shard_mismatch') then errors.throw(err) end
  end)
  if places.shared(where, #db.shards) then return nil end
  return places.cluster(db, found)
end

--- Refuses a database that takes no writes, for its rows are being copied; the triggers that say so
--- are those of tables that were there.
---@param target stores.MigrationTarget
---Raises read_only.
function targets.check_writes(target)
  local said = places.state(target.store)
  if not said or said.state ~= 'read_only' then return end
  errors.raise('read_only', 'the database takes no migrations: ' .. tostring(said.why),
    { hint = 'stores copy with --abort takes writes again here' })
end

--- Whether migrations can be run on it.
---@param db any
---Raises invalid_argument.
function targets.check(db)
  if type(db) ~= 'table' then
    errors.raise('invalid_argument', 'migrations run on a db config, a Store or Shards, got '
      .. errors.kind(db))
  end
end

--- Calls fn(store, shard) for every database that `db` names; closes what it opened.
---@param db table config of one database, a Store, or Shards
---@param opts {redis: table|false|nil, prefix: string?} of a config: whose cache is to be told
---@param concurrency integer how many shards at a time, after the first
---@param fn fun(store: stores.MigrationTarget, shard?: integer): any
---@return any result what fn returned, for one database
---@return {shard: integer, result: any}[]? each for shards: by place; result is nil then
function targets.each(db, opts, concurrency, fn)
  targets.check(db)
  if type(db.shards) == 'table' then
    if #db.shards == 0 then errors.raise('invalid_argument', 'there are no shards') end
    return nil, over_shards(db.shards, opts, concurrency, fn)
  end
  return over_store(db, opts, fn)
end

return targets
