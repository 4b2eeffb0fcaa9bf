--- Specs of a store over a cluster of Citus: with STORES_TEST_CITUS in its environment a spec's
--- tables are distributed by their ids ('distributed'), or copied to every server ('reference').
--- STORES_CITUS_URL says where that is.

local over_citus = {}

--- What becomes of tables; nil: they are plain ones.
---@type 'distributed'|'reference'|nil
over_citus.kind = os.getenv('STORES_TEST_CITUS')

local opened = {} -- config -> the database that it is of

--- A fresh database on all servers of the cluster.
---@param fields table?
---@return table db the config of it
function over_citus.db(fields)
  local cluster = require('spec.support.citus').start()
  local db = {}
  for key, value in pairs(cluster.db) do db[key] = value end
  for key, value in pairs(fields or {}) do db[key] = value end
  opened[db] = cluster
  return db
end

--- The config of such a database by its name; nil: it is none.
---@param database string?
---@param fields table?
---@return table?
function over_citus.config(database, fields)
  for db in pairs(opened) do
    if db.database == database then
      local config = {}
      for key, value in pairs(db) do config[key] = value end
      for key, value in pairs(fields or {}) do config[key] = value end
      return config
    end
  end
end

--- Spreads a table.
---@param store stores.Store
---@param name string
function over_citus.spread(store, name)
  if over_citus.kind == 'reference' then
    store:query('SELECT create_reference_table($1)', { name })
  else
    store:query("SELECT create_distributed_table($1, 'id')", { name })
  end
end

--- Drops such a database. False: it is none.
---@param db table
---@return boolean
function over_citus.drop(db)
  local cluster = opened[db]
  if not cluster then return false end
  opened[db] = nil
  cluster:close()
  return true
end

return over_citus
