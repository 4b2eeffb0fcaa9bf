--- Specs of a store over shards: with STORES_TEST_SHARDS in its environment a spec's store is so
--- many of them, over a database each, and so is every other store that it opens over the same
--- database. What a spec does in SQL is done in all of them, but for an INSERT of one row, which
--- goes where its id belongs. STORES_TEST_SHARD_PAIRS has the servers of each, one a line: the
--- folder of PostgreSQL's socket, its port, and the socket of Redis; without it they share those of
--- the run.

local stores = require('stores')

local over_shards = {}

--- How many there are; nil: specs have a store.
over_shards.count = tonumber(os.getenv('STORES_TEST_SHARDS'))

-- The servers of each shard.
local pairs_of = {}
for host, port, redis in (os.getenv('STORES_TEST_SHARD_PAIRS') or '')
  :gmatch('(%S+) (%d+) (%S+)') do
  pairs_of[#pairs_of + 1] = { host = host, port = tonumber(port), redis = redis }
end

--- What the config of a shard's database says of its server; nothing: it is that of the run.
---@param place integer
---@return table
function over_shards.server(place)
  local own = pairs_of[place]
  return own and { host = own.host, port = own.port } or {}
end

local function redis_of(place, redis)
  if not redis or not pairs_of[place] then return redis end
  local own = {}
  for key, value in pairs(redis) do own[key] = value end
  own.path = pairs_of[place].redis
  return own
end

--- Shards in place of a store.
---@param databases table[]
---@param redis table|nil
---@param opts table?
---@return stores.Shards
---@return table db what stands for the config of the database
function over_shards.open(databases, redis, opts)
  local list = {}
  for place, db in ipairs(databases) do
    list[place] = { id = place - 1, db = db, redis = redis_of(place, redis), opts = opts }
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

if over_shards.count then
  local new = stores.Store.new
  function stores.Store.new(db, redis, opts)
    if type(db) == 'table' and db.shards then
      return (over_shards.open(db.shards, redis or nil, opts))
    end
    return new(db, redis, opts)
  end
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
