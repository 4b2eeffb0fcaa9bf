--- What specs of the pool share: a database with rows, stores over it, their sessions as the server
--- sees them, and who keeps connections to himself.

local stores = require('stores')
local support = require('spec.support')

local pools = {}

---@class spec.Pools
---@field db table its config; docs has the rows 1 to 20, and late none
---@field open stores.Store[] those that `close` closes
local Pools = {}
Pools.__index = Pools

---@return spec.Pools
function pools.fresh()
  local store, db = support.store({ 'docs', 'late' }, { no_redis = true },
    { application_name = 'pool_spec' })
  support.close(store)
  return setmetatable({ db = db, open = {} }, Pools)
end

--- Before each example: the rows are as they were.
function Pools:fill()
  support.psql(self.db, [[
    TRUNCATE docs, late;
    INSERT INTO docs SELECT i, jsonb_build_object('id', i::text, 'n', i)
      FROM generate_series(1, 20) i;]])
end

--- After each example. Sessions may take their time to end, and the next one counts its own.
function Pools:close()
  for _, store in ipairs(self.open) do support.close(store) end
  self.open = {}
  support.eventually(function() return self:sessions() == 0 end, 20, 'the sessions to end')
end

function Pools:drop() support.drop(self.db) end

---@param fields? table more keys of the config
---@param redis? table
---@param opts? table
---@return stores.Store
function Pools:store_of(fields, redis, opts)
  local config = {}
  for key, value in pairs(self.db) do config[key] = value end
  for key, value in pairs(fields or {}) do config[key] = value end
  local store = stores.Store.new(config, redis, opts)
  self.open[#self.open + 1] = store
  return store
end

--- How many sessions there are on the server, as psql sees them.
---@param where? string SQL
---@return integer
function Pools:sessions(where)
  return tonumber((support.psql(self.db, "SELECT count(*) FROM pg_stat_activity"
    .. " WHERE application_name = 'pool_spec'" .. (where and ' AND ' .. where or ''))))
end

--- Keeps `count` connections of a store in transactions; returns what ends them.
---@param store stores.Store
---@param count integer
---@return fun()
function pools.hold(store, count)
  local held, over = 0, false
  for _ = 1, count do
    stores.spawn(function()
      store:transaction(function(tx)
        tx:query('SELECT 1')
        held = held + 1
        support.eventually(function() return over end, 20)
      end)
    end)
  end
  support.eventually(function() return held == count end)
  return function() over = true end
end

--- The numbers from 1 on.
---@param count integer
---@return integer[]
function pools.list(count)
  local numbers = {}
  for i = 1, count do numbers[i] = i end
  return numbers
end

return pools
