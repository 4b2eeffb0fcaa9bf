--- A Store: documents in PostgreSQL behind a cache in Redis. The verbs that a transaction has, too,
--- are in verbs/; what each verb takes and gives is in verbs/list.lua.

local arguments = require('stores.verbs.arguments')
local backfill = require('stores.updates.backfill')
local call = require('stores.config.call')
local config = require('stores.config.tables')
local configs = require('stores.config.made')
local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local held = require('stores.verbs.held')
local holds = require('stores.updates.holds')
local ids = require('stores.ids')
local kept = require('stores.verbs.kept')
local listener = require('stores.listener')
local met = require('stores.verbs.met')
local notice = require('stores.sql.notice')
local query = require('stores.sql.query')
local registry = require('stores.tables.registry')
local row = require('stores.updates.row')
local session = require('stores.updates.session')
local shared = require('stores.verbs.shared')
local statements = require('stores.sql.statements')
local taken = require('stores.verbs.list').taken.store
local traced = require('stores.verbs.traced')
local transaction = require('stores.updates.transaction')
local updates = require('stores.updates.object')
local wait = require('stores.wait')
local wraps = require('stores.hosts.wraps')

---@class stores.Store
local Store = { is_stores_target = true, takes = taken }
for name, verb in pairs(shared) do Store[name] = verb end

---@type table<stores.Store, integer> every store that is open, by the order of opening
Store.open_stores = setmetatable({}, { __mode = 'k' })
---@type table metrics.lua sets it: told of stores whose figures are shared
Store.watched = nil

local find_here, APART = core.find_here, core.APART
local TIMEOUT, POOLSIZE = 30, 10
local opened = 0

local check, check_self = arguments.check, arguments.check_self
local check_table, raw_of = arguments.check_table, arguments.raw_of

local function tried(verb, proxy, store)
  return function(self, ...)
    if self == proxy then self = store end
    return pcall(verb, self, ...)
  end
end

local function finder(proxy, store)
  return function(_, name)
    local verb = getmetatable(store)[name]
    if type(verb) ~= 'function' then return verb end
    return tried(verb, proxy, store)
  end
end

-- or a store that is dropped would stay, and its connections
wraps.unpin(tried)
wraps.unpin(finder)

local function try(store)
  local proxy = {}
  return setmetatable(proxy, { __index = finder(proxy, store) })
end

Store.__index = Store -- a table, for every call looks up several methods
local Traced -- of those with traceback = true; made for the first of them

-- No document of a declared table stays in the cache for longer than it is there.
local function tell_expiry(store, definition)
  store.engine:expires(definition.name, definition.expires or {})
end

function registry.added(definition)
  for store in pairs(Store.open_stores) do
    if not configs[store].tables then
      tell_expiry(store, definition)
      held.forget(store)
    end
  end
end

--- Makes a store; nothing is connected before the first call needs it.
---@param db stores.DbConfig where PostgreSQL is
---@param redis? stores.RedisConfig|false where Redis is; nil or false: no cache
---@param opts? stores.StoreOptions
---@return stores.Store
---Raises invalid_option.
function Store.new(db, redis, opts)
  if db == Store then
    errors.raise('invalid_argument', 'call it with a dot: Store.new(db, redis, opts)')
  end
  return Store.from_config(config.resolve(db, redis, opts))
end

--- A store of a configuration that config.resolve made.
---@param flat table
---@return stores.Store
function Store.from_config(flat)
  if flat.metrics then Store.watched.check(flat.metrics) end
  local hub = wait.host.hub()
  if wait.watch then wait.watch(hub) end
  local store = setmetatable({
    hub = hub,
    engine = core.engine(hub, flat),
    closed = false,
    raw = flat.raw,
    transactional = flat.transaction,
    timeout = flat.timeout or TIMEOUT,
    retries = flat.retries,
    flake = flat.flake,
    combine = flat.combine,
    poolsize = flat.poolsize or POOLSIZE,
    shard = flat.shard_id,
    cached = flat.cache,
    read = flat.read == 'replica' and flat.read, -- a member of each store: every find asks for it
    traceback = flat.traceback,
    tables = registry.view(flat.tables), -- of those that are declared, by name
    pooler = flat.pooler,
    migrate_url = flat.migrate_url,
    listeners = setmetatable({}, { __mode = 'k' }),
    updating = row.list(), -- rows that updateObject changes, with who waits for them
    conflicts = {}, -- rows that somebody else changed under a function, and when
    conflict_count = 0,
  }, Store)
  if not wait.host.waits_here then store.find_here = false end
  store.holding = held.begin(store, flat)
  if flat.traceback then
    Traced = Traced or traced.class(Store, 'store')
    setmetatable(store, Traced)
  end
  configs[store] = flat
  store.try = try(store)
  opened = opened + 1
  Store.open_stores[store] = opened
  registry.each(flat.tables, function(definition) tell_expiry(store, definition) end)
  if flat.metrics then Store.watched.begin(store) end
  return store
end

function Store:check_usable()
  if self.closed then errors.closed() end
  wait.host.check()
  if frames.count > 0 then holds.check_strict(self) end
end

-- Where no function runs in a frame, nothing is held: what every call asks is asked in place.
local function look_around(self, cache)
  if cache == false or not self.cached then
    holds.check_connection(self)
  else
    holds.tell_connection(self)
  end
end

function Store:start_find(name, id, timeout, cache, raw, etag, unless, _, replica, token)
  if frames.count > 0 then look_around(self, cache) end
  return self.engine:find(name, id, timeout, cache, raw, etag, unless, replica, token)
end

-- A find without options, and the wait for it, as one call; see wait.here. What is out of the
-- ordinary is left to start_find, and to who refuses it.
function Store:find_here(name, id)
  if frames.count > 0 then return nil, APART end
  return find_here(self.engine, name, id, self.raw)
end

-- Of findBy: the row that the hint of a key leads to.
function Store:start_find_hinted(name, key, timeout, raw)
  if frames.count > 0 then look_around(self) end
  return self.engine:find_hinted(name, key, timeout, raw)
end

function Store:start_find_many(name, list, timeout, cache, raw, replica, token)
  if frames.count > 0 then look_around(self, cache) end
  return self.engine:find_many(name, list, timeout, cache, raw, replica, token)
end

function Store:start_write(kind, name, id, doc, timeout, cache, raw, expr, params, if_match, etag,
  condition)
  if frames.count > 0 then
    holds.check(self, name, id)
    holds.check_connection(self)
  end
  return self.engine:write(kind, name, id, doc, timeout, cache, raw, expr, params, if_match, etag,
    condition)
end

function Store:start_select(name, text, params, timeout, raw, rows, most, places, replica, token)
  if frames.count > 0 then
    holds.check_strict(self) -- what iterates was called before
    holds.check_connection(self)
  end
  return self.engine:select(name, text, params, timeout, raw, rows, most, places, replica, token)
end

local function run_text(self, text, params, checked, raw)
  local list = query.params(params)
  if frames.count > 0 then holds.check_connection(self) end
  return wait.slot(self.hub, self.engine:query(text, list, checked, checked.timeout, raw))
end

-- Several statements, which are one transaction.
local function run_several(self, text, parts, checked, raw)
  local apart = statements.go_apart(parts)
  if not (apart and core.is_citus(self.engine)) then
    local ok, rows, affected = pcall(run_text, self, text, {}, checked, raw)
    if ok then return rows, affected end
    -- before its first connection a store does not know what it speaks to
    if not (apart and statements.were_refused(rows)) then errors.throw(rows) end
  end
  local inside = { readonly = checked.readonly, raw = raw }
  return transaction.run(self, function(tx) return tx:query_parts(parts, inside) end,
    { timeout = checked.timeout, isolation = checked.isolation, retries = 0 })
end

function Store:query(text, params, opts)
  check(self, 'query')
  local checked, parts = statements.check(text, params, opts, taken.query, 'store')
  if checked.transaction == nil then checked.transaction = self.transactional end
  if checked.readonly then
    if self.read and not checked.read then checked.read = self.read end
  elseif checked.read == 'replica' then
    errors.raise('invalid_option', "read = 'replica' is for a query that says readonly = true")
  end
  local raw = raw_of(self, checked)
  if #parts > 1 and checked.transaction then checked.simple = true end
  if #parts <= 1 then return run_text(self, text, params, checked, raw) end
  if checked.simple then return run_several(self, text, parts, checked, raw) end
  -- PostgreSQL makes one transaction of several statements in one text: so they go one by one
  local rows, affected
  for i, part in ipairs(parts) do
    local ok, result, count = pcall(run_text, self, part.text, params, checked, raw)
    if not ok then
      -- what came before it stays, unless it only read
      if i > 1 and not checked.readonly then errors.was_begun(result) end
      errors.throw(result)
    end
    rows, affected = result, count
  end
  return rows, affected
end

function Store:updateObject(name, id, fn, opts)
  check(self, 'updateObject')
  check_table(name)
  opts = call.check(opts, taken.updateObject)
  id = ids.parse(id)
  if frames.count > 0 then holds.check(self, name, id) end
  local document = updates.run(self, name, id, fn, opts)
  if document == nil and opts.must then kept.check(self, name, id, opts.timeout) end
  return arguments.must_find(document, opts, name, id)
end

-- What has to hold a row's lock, in a transaction of its own.
function Store:in_lock(fn, work)
  if frames.count > 0 then holds.check_whole(self, work.name) end
  return transaction.run(self, function(tx) return fn(tx, work) end,
    { timeout = work.opts.timeout, retries = work.retries })
end

function Store:upgrade(name, opts)
  check(self, 'upgrade')
  check_table(name)
  return backfill.upgrade(self, name, call.check(opts, taken.upgrade))
end

function Store:expire(name, opts)
  check(self, 'expire')
  check_table(name)
  return backfill.expire(self, name, call.check(opts, taken.expire))
end

function Store:transaction(fn, opts)
  check(self, 'transaction')
  return transaction.run(self, fn, call.check(opts, taken.transaction))
end

-- The transaction of a migration; with close = true its connection is closed afterwards.
function Store:in_transaction(fn, opts)
  check(self, 'in_transaction')
  return transaction.run(self, fn, { timeout = opts and opts.timeout, retries = 0,
    close = opts and opts.close })
end

function Store:session(fn, opts)
  check(self, 'session')
  return session.run(self, fn, opts or {})
end

function Store:invalidate(name, id, opts)
  check(self, 'invalidate')
  check_table(name)
  opts = call.check(opts, taken.invalidate)
  if id ~= nil then id = ids.check(id) end
  wait.slot(self.hub, self.engine:invalidate(name, id, opts.timeout))
end

function Store:migrate(list, opts)
  check(self, 'migrate')
  return require('stores.migrations').runMigrations(list, self, opts)
end

function Store:generateId()
  check_self(self, 'generateId')
  return self.engine:id()
end

function Store:token(opts)
  check(self, 'token')
  opts = call.check(opts, taken.token)
  return self.engine:token() or wait.slot(self.hub, self.engine:query(statements.TOKEN, {},
    { transaction = false, readonly = true }, opts.timeout))[1].token
end

function Store:stats()
  check_self(self, 'stats')
  local stats = self.engine:stats()
  if self.listening then listener.add_figures(stats, self.listening.store.engine) end
  return stats
end

function Store:listen(channel, fn)
  check(self, 'listen')
  local one = listener.start(self, channel, fn)
  self.listeners[one] = true
  return one
end

function Store:notify(channel, payload)
  check(self, 'notify')
  local text, params = notice.statement(channel, payload)
  holds.check_connection(self)
  -- readonly spares what is asked of a statement that may write; the caller did not say it
  local ok, err = pcall(wait.slot, self.hub,
    self.engine:query(text, params, { transaction = false, readonly = true }))
  if ok then return end
  if errors.is(err, 'read_only') then
    err.hint, err.retryable = 'a standby takes no NOTIFY: the primary has to be asked', true
  end
  errors.throw(err)
end

function Store:sweep(opts)
  check(self, 'sweep')
  opts = call.check(opts, taken.sweep)
  if not self.cached then errors.raise('unsupported', 'the store has no cache to sweep') end
  local deadline = self.hub:now() + (opts.timeout or self.timeout)
  met.must_be_ready(self, opts.timeout or self.timeout) -- it may be the first call of all
  return wait.slot(self.hub, self.engine:sweep(math.max(deadline - self.hub:now(), 0.001)))
end

-- What Redis is still to take, FILLs and SETTLEs for which no call has waited, is taken: a lease
-- that nobody fills keeps those who read the row waiting, and an intent makes them ask the server.
-- A Redis that is silent is not waited for longer than this.
local DRAIN_SECONDS, DRAIN_STEP = 0.25, 0.001

local function drain(engine, hub)
  local deadline = hub:now() + DRAIN_SECONDS
  while (engine:stats().redis_pending or 0) > 0 and hub:now() < deadline do
    wait.slot(hub, hub:sleep(DRAIN_STEP))
  end
end

function Store:close()
  check_self(self, 'close')
  if self.closed then return end
  wait.host.check()
  for one in pairs(self.listeners) do one:stop() end
  local engine, hub, servers = self.engine, self.hub, self.servers
  local watched = configs[self].metrics and Store.watched
  if watched then watched.finish(self) end
  self.closed, self.servers = true, nil -- its engine says so to who goes on with it
  Store.open_stores[self], configs[self] = nil, nil -- the log in there may lead back to the store
  pcall(drain, engine, hub) -- whatever becomes of that, the engine is closed
  wait.slot(hub, engine:close())
  if watched then watched.tell() end
  if servers then servers.close() end
end

return setmetatable(Store, {
  __call = function(_, db, redis, opts) return Store.new(db, redis, opts) end,
})
