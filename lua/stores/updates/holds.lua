--- What a transaction, or one call, holds while its function runs: locks of rows, and a connection.
--- A call of that function which would wait for what it holds itself raises self_deadlock at once;
--- nobody else could end that wait.

local core = require('stores.core')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')

local holds = {}

---@class stores.Hold : stores.Frame
---@field store table
---@field rows table<string, boolean>? the rows that are locked
---@field name string? of the table whose row `id` is locked, where there are no rows
---@field id string?
---@field connects boolean whether it has, or will have, a connection
---@field taken boolean whether it has its connection already
---@field tx userdata? of a transaction
---@field strict boolean? of a transaction in which no verb of the store may be called

local KEPT = 256
local prefixes, kept = {}, 0 -- of names that came before

-- One name for what PostgreSQL reads as one table, but for the search path.
local function row_prefix(name)
  local plain = name
  if not plain:find('"', 1, true) then plain = plain:lower() end
  if kept >= KEPT then prefixes, kept = {}, 0 end
  kept = kept + 1
  prefixes[name] = plain:gsub('^public%.', '') .. '/'
  return prefixes[name]
end

local function row_key(name, id)
  return (prefixes[name] or row_prefix(name)) .. id
end

local function refuse(store, connections)
  errors.raise('self_deadlock', ('this coroutine holds %d of %d connections in transactions, and '
    .. 'would wait for itself'):format(connections, store.poolsize))
end

-- The rows that a frame holds; nil: it is no hold. Those of a call are named when somebody asks.
local function rows_of(hold)
  if hold.rows or not hold.name then return hold.rows end
  hold.rows = { [row_key(hold.name, hold.id)] = true }
  return hold.rows
end

-- How many connections of the store the functions around hold, or will hold. A transaction that is
-- over before its function, for it was lost, or a call of it was given up, has none.
local function connections(store, what)
  local n = 0
  local hold = frames.mine()
  while hold do
    if hold.store == store and hold[what] and not (hold.tx and not hold.tx:levels()) then
      n = n + 1
    end
    hold = hold.outer
  end
  return n
end

local function below(rows)
  return (getmetatable(rows) or {}).__index
end

-- Those of the rows that the server still holds; nil: none. A statement that failed has given back
-- what was locked since the last savepoint.
local function standing(hold)
  local rows = rows_of(hold)
  if not rows or not hold.tx then return rows end
  local levels, at = -(hold.tx:levels() or 0), rows
  while at do
    levels, at = levels + 1, below(at)
  end
  for _ = 1, levels do rows = below(rows) end
  return rows
end

--- Raises where a transaction that begins here would wait for a connection that only this coroutine
--- could give back.
---@param store table
function holds.check_begin(store)
  local n = connections(store, 'connects')
  if n >= store.poolsize then refuse(store, n) end
end

--- Raises where a function around this call runs in a strict transaction of the store, which is
--- what it meant to call.
---@param store table
function holds.check_strict(store)
  local hold = frames.mine()
  while hold do
    if hold.store == store and hold.strict then
      errors.raise('unsupported', 'a verb of the store, inside of a strict transaction, would be '
        .. 'outside of it: call it on tx')
    end
    hold = hold.outer
  end
end

--- Tells the store that its next call is made by who holds a connection: where all of them are held
--- so, nobody can go on, and one of the calls is refused.
---@param store table
function holds.tell_connection(store)
  local hold = frames.mine()
  while hold do
    if hold.store == store and hold.taken and hold.tx then return hold.tx:inside() end
    hold = hold.outer
  end
end

--- Raises where a call that needs a connection of the store would wait for this coroutine.
---@param store table
function holds.check_connection(store)
  local n = connections(store, 'taken')
  if n == 0 then return end
  if n >= store.poolsize then refuse(store, n) end
  holds.tell_connection(store)
end

--- It locks a row, as long as its function runs.
---@param hold stores.Hold
---@param name string
---@param id string
---@return string|false key of the row, to be freed by; false: it was locked before
function holds.lock(hold, name, id)
  local key = row_key(name, id)
  if hold.rows[key] then return false end
  hold.rows[key] = true
  return key
end

--- What was to lock a row has not.
---@param hold stores.Hold
---@param key string
function holds.free(hold, key)
  hold.rows[key] = nil
end

--- Begins a savepoint: what is locked from now on is given back where it is undone.
---@param hold stores.Hold
---@return table<string, boolean> before
function holds.save(hold)
  local before = hold.rows
  hold.rows = setmetatable({}, { __index = before })
  return before
end

--- Ends the savepoint.
---@param hold stores.Hold
---@param before table<string, boolean>
---@param is_undone boolean the server has given the locks back
function holds.restore(hold, before, is_undone)
  if not is_undone then
    for key in pairs(hold.rows) do before[key] = true end
  end
  hold.rows = before
end

-- Whether one of the rows begins so; those of savepoints lie above those from before them.
local function has_prefix(rows, prefix)
  while rows do
    for key in pairs(rows) do
      if key:sub(1, #prefix) == prefix then return true end
    end
    rows = below(rows)
  end
  return false
end

--- Raises where a function around this call holds a row of a table that Citus copies to every
--- server: who writes one of its rows has locked all of them.
---@param store table
---@param name string
---@param tx stores.Hold? the transaction of the call, which does not wait for itself
function holds.check_whole(store, name, tx)
  local hold = frames.mine()
  if not hold or store.closed or core.spread(store.engine, name) ~= 'reference' then return end
  local prefix = prefixes[name] or row_prefix(name)
  while hold do
    if hold.store == store and hold ~= tx and has_prefix(standing(hold), prefix) then
      errors.raise('self_deadlock', ('this coroutine holds a row of %s, which is a reference '
        .. 'table of Citus, in a transaction, and with it all of them: use tx'):format(name))
    end
    hold = hold.outer
  end
end

--- Whether a function around this call holds, or may hold, rows in another transaction.
---@param tx stores.Transaction that of the call
---@return boolean
function holds.nested(tx)
  local hold = frames.mine()
  while hold do
    if hold ~= tx and hold.store == tx.store then return true end
    hold = hold.outer
  end
  return false
end

--- Raises where a function around this call holds the row, in another transaction than the one that
--- the call is made in.
---@param store table
---@param name string
---@param id string?
---@param tx stores.Hold? the transaction of the call
function holds.check(store, name, id, tx)
  local hold, key = frames.mine(), nil
  if not hold then return end
  holds.check_whole(store, name, tx)
  if id == nil then return end
  while hold do
    local rows = hold.store == store and hold ~= tx and rows_of(hold)
    if rows then
      key = key or row_key(name, id)
      rows = rows[key] and standing(hold)
      if rows and rows[key] then
        errors.raise('self_deadlock', ('this coroutine holds the row %s of %s in %s transaction: '
          .. 'use %s, or the document that the function was given'):format(id, name,
          tx and 'another' or 'a', tx and 'that one' or 'tx'))
      end
    end
    hold = hold.outer
  end
end

return holds
