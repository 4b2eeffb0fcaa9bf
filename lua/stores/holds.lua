--- What a coroutine holds while it runs a transaction: locks of rows, and connections. A call that
--- would wait for its own coroutine raises self_deadlock at once; nobody else could end that wait.

local errors = require('stores.errors')

local holds = {}

local running = coroutine.running

---@class stores.Holds
---@field rows table<string, integer> how many times each row is locked
---@field connections integer of transactions that are open
---@field taken integer how many of these have their connection already
local held = setmetatable({}, { __mode = 'k' }) -- coroutine (or 'main') -> store -> stores.Holds
local count = 0 -- transactions that are open; 0: nothing has to be looked up

local function current()
  return running() or 'main'
end

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

local function of_coroutine(store)
  local co = current()
  local stores = held[co]
  if not stores then
    stores = setmetatable({}, { __mode = 'k' })
    held[co] = stores
  end
  local mine = stores[store]
  if not mine then
    mine = { rows = {}, connections = 0, taken = 0 }
    stores[store] = mine
  end
  return mine
end

--- A transaction of this coroutine begins; raises where it would wait for a connection that only
--- this coroutine could give back.
---@param store table
---@return stores.Holds
function holds.open(store)
  local mine = of_coroutine(store)
  if mine.connections >= store.poolsize then refuse(store, mine.connections) end
  mine.connections = mine.connections + 1
  count = count + 1
  return mine
end

--- The transaction makes its first call, for which it takes its connection.
---@param mine stores.Holds
function holds.take(mine)
  mine.taken = mine.taken + 1
end

--- Raises where a call that needs a connection of the store would wait for this coroutine.
---@param store table
function holds.check_connection(store)
  if count == 0 then return end
  local stores = held[current()]
  local mine = stores and stores[store]
  if mine and mine.taken >= store.poolsize then refuse(store, mine.taken) end
end

--- The transaction is over.
---@param mine stores.Holds
---@param rows string[] what holds.lock gave
---@param taken boolean? whether holds.take was called
function holds.close(mine, rows, taken)
  mine.connections = mine.connections - 1
  if taken then mine.taken = mine.taken - 1 end
  count = count - 1
  for _, key in ipairs(rows) do
    mine.rows[key] = mine.rows[key] > 1 and mine.rows[key] - 1 or nil
  end
end

--- The transaction locks a row, until holds.close.
---@param mine stores.Holds
---@param rows string[] of the transaction
---@param name string
---@param id string
function holds.lock(mine, rows, name, id)
  local key = row_key(name, id)
  mine.rows[key] = (mine.rows[key] or 0) + 1
  rows[#rows + 1] = key
end

--- Somebody else's transaction holds a row for this coroutine, until holds.let_go.
---@param store table
---@param name string
---@param id string
---@return stores.Holds mine
---@return string key
function holds.hold(store, name, id)
  local mine, key = of_coroutine(store), row_key(name, id)
  mine.rows[key] = (mine.rows[key] or 0) + 1
  count = count + 1
  return mine, key
end

---@param mine stores.Holds
---@param key string
function holds.let_go(mine, key)
  count = count - 1
  mine.rows[key] = mine.rows[key] > 1 and mine.rows[key] - 1 or nil
end

--- Raises where this coroutine holds the row in a transaction of its own.
---@param store table
---@param name string
---@param id string?
function holds.check(store, name, id)
  if count == 0 or id == nil then return end
  local stores = held[current()]
  local mine = stores and stores[store]
  if mine and mine.rows[row_key(name, id)] then
    errors.raise('self_deadlock', ('this coroutine holds the row %s of %s in a transaction: '
      .. 'use tx, or the document that the function was given'):format(id, name))
  end
end

return holds
