--- Transactions of others, which keep what they have locked while a spec looks; in stores.run.

local stores = require('stores')
local support = require('spec.support')

local locks = {}

--- Runs a statement in a transaction, which lasts until what is given is called.
---@param store stores.Store
---@param sql string
---@param seconds? number for which it lasts at most; 20 where it is left out
---@return fun() let_go
---@return stores.Task task the transaction
function locks.keep(store, sql, seconds)
  local has_it, over = false, false
  local task = stores.spawn(function()
    store:transaction(function(tx)
      tx:query(sql)
      has_it = true
      support.eventually(function() return over end, seconds)
    end)
  end)
  support.eventually(function() return has_it end)
  return function() over = true end, task
end

--- Calls fn meanwhile, with what ends it.
---@param store stores.Store
---@param sql string
---@param fn fun(let_go: fun())
---@param seconds? number as above
function locks.during(store, sql, fn, seconds)
  local let_go, task = locks.keep(store, sql, seconds)
  local ok, err = pcall(fn, let_go)
  let_go()
  task:join()
  if not ok then error(err, 0) end
end

return locks
