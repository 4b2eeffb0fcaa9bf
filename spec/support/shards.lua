--- Shards for specs: over fresh databases of the servers of the run.

local stores = require('stores')
local support = require('spec.support')

local shards = {}

--- Shards over so many fresh databases, each of which has the tables.
---@param count integer
---@param tables? string[]
---@param opts? table of Shards.new
---@param store_opts? table of each store
---@return stores.Shards
---@return table[] databases for shards.close
---@return stores.ShardConfig[] list
function shards.open(count, tables, opts, store_opts)
  local list, databases = {}, {}
  for id = 0, count - 1 do
    local store, db = support.store(tables, { no_redis = true })
    store:close()
    databases[id + 1] = db
    list[id + 1] = { id = id, db = db, redis = support.redis(), opts = store_opts }
  end
  return stores.Shards.new(list, opts), databases, list
end

--- Closes them, after the look of support.close, and drops their databases.
---@param opened stores.Shards
---@param databases table[]
function shards.close(opened, databases)
  for place, store in ipairs(opened.shards) do
    support.close(store, databases and databases[place])
  end
end

return shards
