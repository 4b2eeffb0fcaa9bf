--- Explicit transactions: one connection from the first call to COMMIT or ROLLBACK.

local arguments = require('stores.verbs.arguments')
local call = require('stores.config.call')
local core = require('stores.core')
local deadline = require('stores.updates.deadline')
local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local holds = require('stores.updates.holds')
local ids = require('stores.ids')
local json = require('stores.json')
local kept = require('stores.verbs.kept')
local locked = require('stores.updates.locked')
local notice = require('stores.sql.notice')
local query = require('stores.sql.query')
local random = require('stores.random')
local savepoint = require('stores.updates.savepoint')
local seen = require('stores.verbs.seen')
local shared = require('stores.verbs.shared')
local statements = require('stores.sql.statements')
local taken = require('stores.verbs.list').taken.tx
local traced = require('stores.verbs.traced')
local wait = require('stores.wait')

local transaction = {}

---@class stores.Transaction : stores.Hold
---@field attempt integer which run of its function this is: 1, and one more after each conflict
---@field strict boolean no verb of the store may be called by its function
--- The commonest of both are said here once: each transaction's own table is the smaller for it.
local Transaction = { is_stores_target = true, takes = taken, attempt = 1, strict = false }
for name, verb in pairs(shared) do Transaction[name] = verb end
Transaction.__index = Transaction
local Traced -- those of stores with traceback = true; made for the first of them

-- What another attempt may mend, where nothing was done. A table that is gone may have left its
-- name to the one of the next schema; where there is none, that is not retryable.
transaction.RETRIED = { serialization = true, deadlock = true, table_not_found = true }
local RETRIES = 5
local BACKOFF_FIRST, BACKOFF_MOST = 0.01, 0.5

-- What is left of the transaction's time for one call, which may ask for less. The first one takes
-- the connection.
local function left(tx, timeout)
  local rest = deadline.left(tx.hub, tx.deadline, 'the transaction')
  if not tx.taken then holds.tell_connection(tx.store) end
  tx.taken, tx.idle = true, 0
  return timeout and math.min(timeout, rest) or rest
end

-- ---- The primitives of the verbs ----------------------------------------------------------------

Transaction.wait_for_row = locked.wait_for
Transaction.hold_rows = locked.hold
Transaction.free_rows = locked.free

function Transaction:check_usable()
  if self.over then errors.raise('tx_ended', 'the transaction is over') end
  wait.host.check()
end

function Transaction:start_find(name, id, timeout, _, raw, etag, unless, lock)
  if lock then locked.look_around(self, name, id) end
  local slot = self.tx:find(name, id, left(self, timeout), lock, raw, etag, unless)
  if lock then return locked.note(self, name, id, slot) end
  return slot
end

function Transaction:start_find_many(name, list, timeout, _, raw)
  return self.tx:find_many(name, list, left(self, timeout), raw)
end

function Transaction:start_write(kind, name, id, doc, timeout, cache, raw, expr, params, if_match,
    etag)
  locked.look_around(self, name, id)
  return locked.note(self, name, id, self.tx:write(kind, name, id, doc, left(self, timeout), cache,
    raw, expr, params, false, false, if_match, etag))
end

function Transaction:start_select(name, sql, params, timeout, raw, rows, most)
  return self.tx:select(name, sql, params, left(self, timeout), raw, rows, most)
end

function Transaction:start_bulk(kind, name, sql, params, timeout, data, list)
  return self.tx:bulk(kind, name, sql, params, left(self, timeout), data, list)
end

function Transaction:generateId()
  return self.store:generateId()
end

--- The statements of a text, one by one; gives what the last one gives.
---@param parts {text: string}[]
---@param opts table
---@return stores.Rows rows
---@return integer affected
function Transaction:query_parts(parts, opts)
  local rows, affected
  for _, part in ipairs(parts) do
    rows, affected = wait.slot(self.hub, self.tx:query(part.text, {}, opts,
      left(self, opts.timeout), arguments.raw_of(self, opts)))
  end
  return rows, affected
end

function Transaction:query(text, params, opts)
  self:check_usable()
  local checked, several = statements.check(text, params, opts, taken.query, 'tx')
  local engine = self.store.engine
  if statements.go_apart(several) and engine and core.is_citus(engine) then
    return self:query_parts(several, checked)
  end
  checked.simple = #several > 1
  return wait.slot(self.hub, self.tx:query(text, query.params(params), checked,
    left(self, checked.timeout), arguments.raw_of(self, checked)))
end

function Transaction:notify(channel, payload)
  self:check_usable()
  local text, params = notice.statement(channel, payload)
  wait.slot(self.hub, self.tx:query(text, params, { readonly = true }, left(self)))
end

--- What a function of updateObject made of the document of a row, checked.
---@param result any
---@param id string of the row
---@return table document
---Raises invalid_document, id_mismatch.
function transaction.check_changed(result, id)
  if type(result) ~= 'table' or json.is_array(result) then
    errors.raise('invalid_document',
      'the function of updateObject returns a document, false, or nothing; got '
      .. errors.kind(result))
  end
  if result.id == nil then result.id = id end
  if result.id ~= id then
    result.id = ids.parse(result.id)
    if result.id ~= id then
      errors.raise('id_mismatch', 'the function changed the id of the document')
    end
  end
  return result
end

-- What has to hold a row's lock, which this transaction keeps.
function Transaction:in_lock(fn, work)
  return fn(self, work)
end

-- The row is there, for it is locked: where nothing was stored, a trigger kept it.
local function store_changed(tx, name, id, row, changed, opts)
  local kind = row == nil and 'insert' or 'update'
  local slot, key = locked.note(tx, name, id, tx.tx:write(kind, name, id, changed,
    left(tx, opts.timeout), opts.cache, arguments.raw_of(tx, opts), nil, nil, false, true))
  local _, _, stored = tx:wait_for_row(name, slot, key)
  if stored == nil and row ~= nil and opts.must then kept.refuse(tx, name, id) end
  return stored
end

function Transaction:updateObject(name, id, fn, opts)
  self:check_usable()
  arguments.check_table(name)
  arguments.check_function(fn, 'updateObject')
  opts = call.check(opts, taken.updateObject)
  id = ids.parse(id)
  local definition = self.tables[name]
  local row = self:lock_row(name, id, opts.timeout)
  local document, old, result = row, nil, nil
  if definition then document, old = documents.to_change(definition, row, seen.now(self)) end
  if document ~= nil or opts.create then
    result = fn(document)
    if result == nil then result = document end
  else
    arguments.must_find(document, opts, name, id)
  end
  if not result then return result end
  local changed = transaction.check_changed(result, id)
  if not definition then return store_changed(self, name, id, row, changed, opts) end
  documents.check(definition, changed, old)
  local ok, stored = pcall(store_changed, self, name, id, row, changed, opts)
  if ok then return stored end
  definition:explain(stored)
  errors.throw(stored)
end

-- No closures: what LuaJIT has compiled keeps those that it calls, with all that they know, and so
-- would keep a store that its program has dropped, and its connections.
local function roll_back(tx)
  wait.slot(tx.hub, tx.tx:rollback(5))
end

local function commit(tx)
  wait.slot(tx.hub, tx.tx:commit(left(tx)))
end

function Transaction:transaction(fn)
  self:check_usable()
  arguments.check_function(fn, 'transaction')
  return savepoint.run(self, fn, left)
end

--- The time that is left of the transaction's, for what is not to fail before it is sent.
---@return number
function Transaction:rest_of_it()
  local rest = self.deadline - self.hub:now()
  return rest == math.huge and 1e9 or math.max(rest, 0.001)
end

-- ---- One attempt, and the attempts -------------------------------------------------------------

-- Its coroutine was dropped: nobody will end it.
local function dropped(tx)
  tx.over, tx.ended = true, true
  tx.tx:free()
end

--- A transaction, which takes its connection at its first call. Whoever begins one runs in it, and
--- ends its use.
---@param store stores.Store
---@param options table?
---@param ends number its deadline
---@return stores.Transaction
function transaction.begin(store, options, ends)
  if store.closed then errors.closed() end
  holds.check_begin(store)
  if store.traceback and not Traced then Traced = traced.class(Transaction, 'tx') end
  -- all of its fields at once: a table that grows is made again each time
  return setmetatable({
    store = store,
    hub = store.hub,
    raw = store.raw,
    tables = store.tables,
    deadline = ends,
    tx = store.engine:tx(options, ends - store.hub:now()),
    over = false,
    ended = false,
    rows = {},
    connects = true,
    taken = false,
    dropped = dropped,
    outer = nil,
    idle = 0,
    is_over = false,
    is_anchored = false,
  }, store.traceback and Traced or Transaction)
end

--- Runs fn(...), which catches its errors; where its coroutine is dropped meanwhile, the
--- transaction is rolled back.
---@param fn function
---@param ... any
---@return any ...
function Transaction:around(fn, ...)
  return frames.run(self.hub, self, fn, ...)
end

--- Reads a row and locks it until the end of the transaction.
---@param name string
---@param id string
---@param timeout? number
---@param own boolean? the row is that of the call around, which has looked itself
---@return table? document
function Transaction:lock_row(name, id, timeout, own)
  if not own then locked.look_around(self, name, id) end
  return self:wait_for_row(name, locked.note(self, name, id,
    self.tx:find(name, id, left(self, timeout), true)))
end

--- Stores a document and commits, in one call.
---@param kind 'insert'|'update'
---@param name string
---@param id string
---@param document table
---@param opts {cache: boolean?, raw: boolean?}
---@return table|string document as PostgreSQL returned it
function Transaction:store_and_commit(kind, name, id, document, opts)
  local _, _, stored = wait.slot(self.hub, self.tx:write(kind, name, id, document, left(self),
    opts.cache, arguments.raw_of(self, opts), nil, nil, true))
  self.over = true
  return stored
end

--- Ends the use of a transaction: one that was not committed is rolled back. Harmless again.
function Transaction:end_use()
  if self.ended then return end
  self.ended = true
  if not self.over then
    self.over = true
    -- what the server says to it changes nothing: without its connection it is rolled back as well
    pcall(roll_back, self)
  end
  self.tx:free()
end

local function finish(tx, ok, ...)
  if not ok then
    tx:end_use()
    return false, ...
  end
  tx.over = true
  local committed, err = pcall(commit, tx)
  tx:end_use()
  if not committed then return false, err end
  return true, ...
end

local function run_once(tx, fn)
  return finish(tx, pcall(fn, tx))
end

local function try_once(try, store, fn, opts, ends)
  local tx = transaction.begin(store, opts, ends)
  if try > 1 then tx.attempt = try end
  if opts.strict then tx.strict = true end
  return tx:around(run_once, tx, fn)
end

--- Whether another attempt may succeed, and harms nobody.
---@param err any
---@param codes table<string, boolean>
---@return boolean?
function transaction.may_retry(err, codes)
  return errors.is(err) and codes[err.code] and err.outcome == 'none'
    and (err.code ~= 'table_not_found' or err.retryable)
end

local function back_off(store, try, ends)
  local seconds = math.min(BACKOFF_FIRST * 2 ^ (try - 1), BACKOFF_MOST) * random.between(0.5, 1.5)
  if store.hub:now() + seconds >= ends then return false end
  wait.slot(store.hub, store.hub:sleep(seconds))
  return true
end

--- Waits before another attempt. False: there is none.
---@param store stores.Store
---@param retries integer? nil: the store's
---@param ends number the deadline
---@param codes table<string, boolean>
---@param try integer which attempt failed
---@param err any
---@return boolean
function transaction.goes_on(store, retries, ends, codes, try, err)
  return try <= (retries or store.retries or RETRIES) and transaction.may_retry(err, codes)
    and back_off(store, try, ends)
end

-- The last ones may be nil.
local function counted(...)
  return select('#', ...), { ... }
end

--- Calls attempt(try, ...), try being 1 and then one more each time, until it gives true (and
--- values, which are returned), or false and an error that another attempt cannot mend, which is
--- raised.
---@param store stores.Store
---@param retries integer? nil: the store's
---@param ends number its deadline
---@param codes table<string, boolean>
---@param attempt fun(try: integer, ...): boolean, any
---@param ... any
---@return any ...
function transaction.retry(store, retries, ends, codes, attempt, ...)
  local try = 1
  while true do
    local count, results = counted(attempt(try, ...))
    if results[1] then return unpack(results, 2, count) end
    if not transaction.goes_on(store, retries, ends, codes, try, results[2]) then
      errors.throw(results[2])
    end
    try = try + 1
  end
end

--- Runs fn(tx) in a transaction: COMMIT when it returns, ROLLBACK and the same error when it
--- raises.
---@param store stores.Store
---@param fn fun(tx: stores.Transaction): any
---@param opts table
---@return any ...
function transaction.run(store, fn, opts)
  arguments.check_function(fn, 'transaction')
  local ends = deadline.of(store, opts.timeout)
  return transaction.retry(store, opts.retries, ends, transaction.RETRIED, try_once, store, fn,
    opts, ends)
end

return transaction
