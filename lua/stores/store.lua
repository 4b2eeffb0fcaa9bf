--- A Store: documents in PostgreSQL behind a cache in Redis.

local config = require('stores.config.tables')
local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local holds = require('stores.updates.holds')
local ids = require('stores.ids')
local listener = require('stores.listener')
local query = require('stores.sql.query')
local siblings = require('stores.siblings')
local statements = require('stores.sql.statements')
local transaction = require('stores.updates.transaction')
local updates = require('stores.updates.object')
local Verbs = require('stores.verbs.reads')
local wait = require('stores.wait')

---@class stores.Store : stores.Verbs
---@field try stores.Store the same verbs, giving true, value... or false, error instead of raising
local Store = { is_stores_target = true }
for name, verb in pairs(Verbs) do Store[name] = verb end

---@type table<stores.Store, integer> every store that is open, by the order of opening
Store.open_stores = setmetatable({}, { __mode = 'k' })

local TIMEOUT, POOLSIZE = 30, 10
local opened = 0
local TRANSACTION = config.allow('timeout', 'isolation', 'readonly', 'retries')
local UPDATE = config.allow('timeout', 'cache', 'raw', 'must', 'create', 'retries',
  'combine')
local INVALIDATE = config.allow('timeout')

local function try(store)
  local proxy = {}
  return setmetatable(proxy, {
    __index = function(_, name)
      local verb = Store[name]
      if type(verb) ~= 'function' then return verb end
      return function(self, ...)
        if self == proxy then self = store end
        return pcall(verb, self, ...)
      end
    end,
  })
end

Store.__index = Store -- a table, for every call looks up several methods

--- Makes a store; nothing is connected before the first call needs it.
---@param db table where PostgreSQL is: {host, port, database, user, password, ...} or {url}
---@param redis? table where Redis is: {host, port, opts}, {path} or {url}; nil: no cache
---@param opts? table {cache, transaction, ttl, negative_ttl, prefix, timeout, ...}
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
  local hub = wait.host.hub()
  local store = setmetatable({
    hub = hub,
    engine = core.engine(hub, flat),
    raw = flat.raw,
    transactional = flat.transaction,
    timeout = flat.timeout or TIMEOUT,
    retries = flat.retries,
    flake = flat.flake,
    combine = flat.combine,
    poolsize = flat.poolsize or POOLSIZE,
    shard = flat.shard_id,
    cached = flat.cache,
    pooler = flat.pooler,
    migrate_url = flat.migrate_url,
    listeners = setmetatable({}, { __mode = 'k' }),
    updating = {}, -- rows that updateObject changes, with who waits for them
    rows_updating = 0,
    conflicts = {}, -- rows that somebody else changed under a function, and when
    conflict_count = 0,
  }, Store)
  siblings.note(store, flat)
  store.try = try(store)
  opened = opened + 1
  Store.open_stores[store] = opened
  return store
end

function Store:check_usable()
  if not self.engine then errors.raise('closed', 'the store is closed') end
  wait.host.check()
end

local function check_self(self, verb)
  if type(self) ~= 'table' or not self.is_stores_target then
    errors.raise('invalid_argument', ('call it with a colon: store:%s(...)'):format(verb))
  end
end

local function check(self, verb)
  check_self(self, verb)
  self:check_usable()
end

local function check_table(name)
  if type(name) ~= 'string' then
    errors.raise('invalid_table', 'a table name is a string, got ' .. errors.kind(name))
  end
end

-- Where no function runs in a frame, nothing is held: what every call asks is asked in place.
local function look_around(self, cache)
  if cache == false or not self.cached then
    holds.check_connection(self)
  else
    holds.tell_connection(self)
  end
end

function Store:start_find(name, id, timeout, cache, raw)
  if frames.count > 0 then look_around(self, cache) end
  return self.engine:find(name, id, timeout, cache, raw)
end

function Store:start_find_many(name, list, timeout, cache, raw)
  if frames.count > 0 then look_around(self, cache) end
  return self.engine:find_many(name, list, timeout, cache, raw)
end

function Store:start_write(kind, name, id, doc, timeout, cache, raw, expr, params)
  if frames.count > 0 then
    holds.check(self, name, id)
    holds.check_connection(self)
  end
  return self.engine:write(kind, name, id, doc, timeout, cache, raw, expr, params)
end

function Store:start_select(name, text, params, timeout, raw, rows)
  if frames.count > 0 then holds.check_connection(self) end
  return self.engine:select(name, text, params, timeout, raw, rows)
end

--- Runs SQL and returns its rows as an array of tables, with the field affected. Bound parameters
--- are $1 and on; several statements in one text take none. In a transaction of its own, unless
--- transaction = false: then each statement runs as it comes.
---@param text string
---@param params? any[]
---@param opts? table {timeout, transaction, readonly, raw: boolean, invalidates: string[]}
---@return table[] rows
function Store:query(text, params, opts)
  check(self, 'query')
  local call, parts = statements.check(text, params, opts, 'store')
  if call.transaction == nil then call.transaction = self.transactional end
  local raw = call.raw
  if raw == nil then raw = self.raw end
  local function run(one)
    local list = query.params(params)
    if frames.count > 0 then holds.check_connection(self) end
    return wait.slot(self.hub, self.engine:query(one, list, call, call.timeout, raw))
  end
  if #parts <= 1 then return run(text) end
  if call.transaction then
    call.simple = true
    return run(text)
  end
  -- PostgreSQL makes one transaction of several statements in one text: so they go one by one
  local rows
  for i, part in ipairs(parts) do
    local ok, result = pcall(run, part.text)
    if not ok then
      -- what came before it stays, unless it only read
      if i > 1 and not call.readonly then errors.was_begun(result) end
      error(result, 0)
    end
    rows = result
  end
  return rows
end

--- Changes a document by a Lua function, inside a transaction that holds the row's lock:
--- fn(document) may change the table in place or return another one; false abandons; an error rolls
--- back and is raised; it may call the store, and may run more than once.
---@param name string
---@param id string
---@param fn fun(document: table?): table|false|nil
---@param opts? table {timeout, cache, raw, must, create, combine: boolean, retries: integer}
---@return table|false|nil document as it is now; nil: no row has the id; false: fn returned false
function Store:updateObject(name, id, fn, opts)
  check(self, 'updateObject')
  check_table(name)
  opts = config.call(opts, UPDATE)
  id = ids.parse(id)
  holds.check(self, name, id)
  local document = updates.run(self, name, id, fn, opts)
  if document == nil and opts.must then
    errors.raise('not_found', ('%s has no row %s'):format(name, id), { table = name })
  end
  return document
end

--- Runs fn(tx) in one transaction: COMMIT when it returns, ROLLBACK and the same error when it
--- raises.
---@param fn fun(tx: stores.Transaction): any
---@param opts? {timeout: number, isolation: string, readonly: boolean, retries: integer}
---@return any ...
function Store:transaction(fn, opts)
  check(self, 'transaction')
  return transaction.run(self, fn, config.call(opts, TRANSACTION))
end

--- The transaction of the migrations: as transaction, run once.
---@param fn fun(tx: stores.Transaction): any
---@param opts? {timeout: number, close: boolean} close: its connection is closed afterwards
---@return any ...
function Store:in_transaction(fn, opts)
  check(self, 'in_transaction')
  return transaction.run(self, fn, { timeout = opts and opts.timeout, retries = 0,
    close = opts and opts.close })
end

--- Runs fn(session) with a connection of its own that is in no transaction.
---@param fn fun(session: stores.Session): any
---@param opts? {timeout: number}
---@return any ...
function Store:session(fn, opts)
  check(self, 'session')
  return transaction.session(self, fn, opts or {})
end

--- Tells the cache of a write that Stores did not see: of a row, or of a whole table.
---@param name string
---@param id? string nil: the whole table
---@param opts? {timeout: number}
function Store:invalidate(name, id, opts)
  check(self, 'invalidate')
  check_table(name)
  opts = config.call(opts, INVALIDATE)
  if id ~= nil then id = ids.check(id) end
  wait.slot(self.hub, self.engine:invalidate(name, id, opts.timeout))
end

--- Runs what is new in a list of migrations (docs/migrations.md) on this store's database.
---@param list table[]
---@param opts? table
---@return table
function Store:migrate(list, opts)
  check(self, 'migrate')
  return require('stores.migrations').runMigrations(list, self, opts)
end

--- A new id: a flake, strictly increasing in this process, of this store's shard.
---@return string
function Store:generateId()
  check_self(self, 'generateId')
  if not self.engine then errors.raise('closed', 'the store is closed') end
  return self.engine:id()
end

--- Figures of the engine: calls, hits, round trips, the pool.
---@return table<string, number>
function Store:stats()
  check_self(self, 'stats')
  if not self.engine then errors.raise('closed', 'the store is closed') end
  return self.engine:stats()
end

--- Calls fn(payload) for each notification of a channel from now on, until the listener is stopped;
--- fn(nil, 'gap') when the connection was lost and it listens again: what was notified meanwhile is
--- not known. All listeners of a store share one connection, beside its pool. Returns when the
--- server has confirmed that it listens, and raises where it refuses.
---@param channel string
---@param fn fun(payload: string?, gap: 'gap'?)
---@return stores.Listener listener with :stop()
function Store:listen(channel, fn)
  check(self, 'listen')
  local one = listener.start(self, channel, fn)
  self.listeners[one] = true
  return one
end

--- Notifies the listeners of a channel, when its transaction commits.
---@param channel string
---@param payload? string
function Store:notify(channel, payload)
  check(self, 'notify')
  listener.check(channel, payload)
  holds.check_connection(self)
  wait.slot(self.hub, self.engine:query('SELECT pg_notify($1, $2)', { channel, payload or '' },
    { transaction = false, readonly = true }))
end

--- Unlinks the cached rows of dead epochs in Redis, which nobody reads any more.
---@param opts? {timeout: number}
---@return integer unlinked
function Store:sweep(opts)
  check(self, 'sweep')
  opts = config.call(opts, INVALIDATE)
  return wait.slot(self.hub, self.engine:sweep(opts.timeout))
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

--- Ends what is pending, closes every connection; the store is of no use after it. Harmless again.
function Store:close()
  check_self(self, 'close')
  if not self.engine then return end
  wait.host.check()
  for one in pairs(self.listeners) do one:stop() end
  local engine, hub, servers = self.engine, self.hub, self.servers
  self.engine, self.servers = nil, nil
  Store.open_stores[self] = nil
  pcall(drain, engine, hub) -- whatever becomes of that, the engine is closed
  wait.slot(hub, engine:close())
  if servers then servers.close() end
end

return setmetatable(Store, {
  __call = function(_, db, redis, opts) return Store.new(db, redis, opts) end,
})
