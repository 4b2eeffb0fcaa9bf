--- Specs of a store over shards: with STORES_TEST_SHARDS in its environment a spec's store is so
--- many of them, over a database each. What a spec does in SQL is done in all of them, but for an
--- INSERT of one row, which goes where its id belongs.

local stores = require('stores')

local over_shards = {}

--- How many there are; nil: specs have a store.
over_shards.count = tonumber(os.getenv('STORES_TEST_SHARDS'))

--- Shards in place of a store.
---@param databases table[]
---@param redis table|nil
---@param opts table?
---@return stores.Shards
---@return table db what stands for the config of the database
function over_shards.open(databases, redis, opts)
  local list = {}
  for place, db in ipairs(databases) do
    list[place] = { id = place - 1, db = db, redis = redis, opts = opts }
  end
  local shards = stores.Shards.new(list)
  function shards:query(sql, params, given)
    local all = { on = 'all' }
    for key, value in pairs(given or {}) do all[key] = value end
    return stores.Shards.query(self, sql, params, all)
  end
  -- where a spec only makes its rows in one transaction, it need be none
  function shards:transaction(id, fn, given)
    if type(id) == 'function' then return id(self) end
    return stores.Shards.transaction(self, id, fn, given)
  end
  return shards, { shards = databases }
end

--- Where a statement of psql goes.
---@param db table
---@param sql string
---@return table[] databases
function over_shards.of(db, sql)
  local id = sql:match('^%s*INSERT INTO %S+ VALUES %((%-?%d+),')
  if not id then return db.shards end
  return { db.shards[tonumber(id) % #db.shards + 1] }
end

return over_shards
