--- Explicit transactions, and updateObject: a Lua function that changes a document inside one.

local errors = require('stores.errors')
local json = require('stores.json')
local query = require('stores.query')
local statements = require('stores.statements')
local Verbs = require('stores.verbs')
local wait = require('stores.wait')

local transaction = {}

---@class stores.Transaction : stores.Verbs
---@field hub userdata
local Transaction = { is_stores_target = true }
for name, verb in pairs(Verbs) do Transaction[name] = verb end
Transaction.__index = Transaction

local RETRIED = { serialization = true, deadlock = true }
local RETRIES = 5
local BACKOFF_FIRST, BACKOFF_MOST = 0.01, 0.5

-- ---- Deadlines -----------------------------------------------------------------------------------

local function deadline_of(store, timeout)
  local seconds = timeout or store.timeout
  return seconds < 1e8 and store.hub:now() + seconds or math.huge
end

-- What is left of the transaction's time for one call, which may ask for less.
local function left(tx, timeout)
  local rest = tx.deadline - tx.hub:now()
  if rest <= 0 then
    errors.raise('timeout', 'the transaction did not end within its deadline')
  end
  if rest == math.huge then return timeout or 1e9 end
  return timeout and math.min(timeout, rest) or rest
end

-- ---- The four primitives of Verbs ----------------------------------------------------------------

function Transaction:check_usable()
  if self.over then errors.raise('tx_ended', 'the transaction is over') end
  wait.host.check()
end

function Transaction:start_find(name, id, timeout, _, raw)
  return self.tx:find(name, id, left(self, timeout), false, raw)
end

function Transaction:start_find_many(name, list, timeout, _, raw)
  return self.tx:find_many(name, list, left(self, timeout), raw)
end

function Transaction:start_write(kind, name, id, doc, timeout, cache, raw, expr, params)
  return self.tx:write(kind, name, id, doc, left(self, timeout), cache, raw, expr, params)
end

function Transaction:start_select(name, sql, params, timeout, raw, rows)
  return self.tx:select(name, sql, params, left(self, timeout), raw, rows)
end

--- A new id, as Store:generateId.
---@return string
function Transaction:generateId()
  return self.store:generateId()
end

--- Runs SQL in the transaction, as Store:query.
---@param text string
---@param params? any[]
---@param opts? {timeout: number, raw: boolean, readonly: boolean}
---@return table[] rows
function Transaction:query(text, params, opts)
  self:check_usable()
  local call, several = statements.check(text, params, opts, 'tx')
  call.simple = #several > 1
  local raw = call.raw == nil and self.raw or call.raw
  return wait.slot(self.hub,
    self.tx:query(text, query.params(params), call, left(self, call.timeout), raw))
end

--- Runs fn in a savepoint: what it wrote is undone where it raises.
---@param fn fun(tx: stores.Transaction): any
---@return any ...
function Transaction:transaction(fn)
  self:check_usable()
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', 'transaction takes a function, got ' .. errors.kind(fn))
  end
  wait.slot(self.hub, self.tx:savepoint(left(self)))
  local results = { pcall(fn, self) }
  if results[1] then
    wait.slot(self.hub, self.tx:release(left(self)))
    return unpack(results, 2, table.maxn(results))
  end
  -- a transaction that is lost has no savepoints any more; its own error says why
  if not self.over then pcall(wait.slot, self.hub, self.tx:rollback_to(left(self))) end
  error(results[2], 0)
end

-- ---- One attempt, and the attempts ---------------------------------------------------------------

local function begin(store, options, deadline)
  return setmetatable({
    store = store,
    hub = store.hub,
    raw = store.raw,
    deadline = deadline,
    tx = store.engine:tx(options),
  }, Transaction)
end

-- Ends a transaction that is not to be committed; what the server says to it changes nothing.
local function abandon(tx)
  if tx.over then return end
  tx.over = true
  pcall(function() wait.slot(tx.hub, tx.tx:rollback(5)) end)
  tx.tx:free()
end

local function finish(tx, ok, ...)
  if not ok then
    abandon(tx)
    return false, ...
  end
  tx.over = true
  local committed, err = pcall(function() wait.slot(tx.hub, tx.tx:commit(left(tx))) end)
  tx.tx:free()
  if not committed then return false, err end
  return true, ...
end

local function may_retry(err, codes)
  return errors.is(err) and codes[err.code] and err.outcome == 'none'
end

local function back_off(store, try, deadline)
  local seconds = math.min(BACKOFF_FIRST * 2 ^ (try - 1), BACKOFF_MOST) * (0.5 + math.random())
  if store.hub:now() + seconds >= deadline then return false end
  wait.slot(store.hub, store.hub:sleep(seconds))
  return true
end

-- Calls attempt() until it succeeds, or fails in a way that another one cannot mend.
local function retry(store, retries, deadline, codes, attempt)
  for try = 1, retries + 1 do
    local results = { attempt() }
    if results[1] then return unpack(results, 2, table.maxn(results)) end
    local err = results[2]
    if try > retries or not may_retry(err, codes) or not back_off(store, try, deadline) then
      error(err, 0)
    end
  end
end

--- Runs fn(tx) in a transaction: COMMIT when it returns, ROLLBACK and the same error when it raises.
---@param store stores.Store
---@param fn fun(tx: stores.Transaction): any
---@param opts table
---@return any ...
function transaction.run(store, fn, opts)
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', 'transaction takes a function, got ' .. errors.kind(fn))
  end
  local deadline = deadline_of(store, opts.timeout)
  return retry(store, opts.retries or store.retries or RETRIES, deadline, RETRIED, function()
    local tx = begin(store, opts, deadline)
    return finish(tx, pcall(fn, tx))
  end)
end

---@class stores.Session
---@field query fun(self: stores.Session, sql: string, params?: any[], opts?: table): table[]
local Session = {}
Session.__index = Session

function Session:query(text, params, opts)
  local call, several = statements.check(text, params, opts, 'session')
  call.simple = #several > 1
  return wait.slot(self.hub, self.tx:query(text, query.params(params), call,
    call.timeout or self.timeout, call.raw))
end

--- Runs fn(session) with a connection of its own and no transaction, for what belongs to a session:
--- advisory locks, and statements that refuse transactions. The connection is closed afterwards.
---@param store stores.Store
---@param fn fun(session: stores.Session): any
---@param opts table
---@return any ...
function transaction.session(store, fn, opts)
  local tx = store.engine:tx({ session = true })
  local session = setmetatable({ hub = store.hub, tx = tx, timeout = opts.timeout }, Session)
  local results = { pcall(fn, session) }
  pcall(function() wait.slot(store.hub, tx:rollback(5)) end)
  tx:free()
  if not results[1] then error(results[2], 0) end
  return unpack(results, 2, table.maxn(results))
end

-- ---- updateObject --------------------------------------------------------------------------------

-- Another one made the row between our look and our insert: look again.
local CREATE_RETRIED = { serialization = true, deadlock = true, duplicate = true }

-- What the function made of the document: 'keep' nothing, or the document to be stored.
local function apply(fn, document, id)
  local result = fn(document)
  if result == false then return nil, true end
  if result == nil then result = document end
  if result == nil then return nil end
  if type(result) ~= 'table' or json.is_array(result) then
    errors.raise('invalid_document',
      'the function of updateObject returns a document, false, or nothing; got '
      .. errors.kind(result))
  end
  if result.id == nil then result.id = id end
  if result.id ~= id then
    errors.raise('id_mismatch', 'the function changed the id of the document')
  end
  return result
end

local function attempt(store, name, id, fn, opts, deadline)
  local tx = begin(store, nil, deadline)
  local ok, value, abandoned = pcall(function()
    local document = wait.slot(tx.hub, tx.tx:find(name, id, left(tx), true))
    if document == nil and not opts.create then return nil end
    local changed, is_abandoned = apply(fn, document, id)
    if is_abandoned then return nil, true end
    if changed == nil then return nil end
    local kind = document == nil and 'insert' or 'update'
    local raw = opts.raw
    if raw == nil then raw = store.raw end
    local _, _, stored = wait.slot(tx.hub, tx.tx:write(kind, name, id, changed, left(tx),
      opts.cache, raw, nil, nil, true))
    tx.over = true
    return stored
  end)
  if ok and tx.over then
    tx.tx:free()
  else
    abandon(tx)
  end
  if not ok then return false, value end
  if abandoned then return true, false end
  return true, value
end

--- The heart of a store: fn changes the document of a row inside a transaction.
---@param store stores.Store
---@param name string
---@param id string
---@param fn fun(document: table?): table|false|nil
---@param opts table
---@return table|false|nil document as it is now; nil: no row has the id; false: fn returned false
function transaction.update_object(store, name, id, fn, opts)
  if type(fn) ~= 'function' then
    errors.raise('invalid_argument', 'updateObject takes a function, got ' .. errors.kind(fn))
  end
  local deadline = deadline_of(store, opts.timeout)
  local codes = opts.create and CREATE_RETRIED or RETRIED
  return retry(store, opts.retries or store.retries or RETRIES, deadline, codes, function()
    return attempt(store, name, id, fn, opts, deadline)
  end)
end

return transaction
