--- What specs share: the servers of the test run, a fresh database for each spec file, stores over
--- them, and the check that nothing is left behind.

local stores = require('stores')
local over_citus = require('spec.support.over_citus')
local over_shards = require('spec.support.over_shards')
local psql = require('spec.support.psql')
local system = require('stores.local.system')

local support = {}

local servers -- {host, redis}: of the run (tools/test.sh), or of this process

local function start_own()
  local own = require('spec.support.servers')
  local folder = own.folder()
  local handle = own.up(folder)
  support.folder = folder
  -- busted ends by os.exit, which collects nothing: the servers go with the lock of this process
  return { host = handle.pg.host, redis = handle.redis.path, user = handle.pg.user,
    handle = handle }
end

local function get_servers()
  if not servers then
    local host, redis = os.getenv('STORES_TEST_PGHOST'), os.getenv('STORES_TEST_REDIS_SOCKET')
    servers = host and redis and { host = host, redis = redis, user = 'postgres' } or start_own()
  end
  return servers
end

--- The config of a database of the servers.
---@param database? string 'postgres' where it is left out
---@param fields? table more keys of the config
---@return table
function support.config(database, fields)
  if over_citus.kind and database then
    local config = over_citus.config(database, fields)
    if config then return config end
  end
  local at = get_servers()
  -- patient, as below: ten connections are opened one after the other
  local db = { host = at.host, port = 5432, database = database or 'postgres', user = at.user,
    acquire_timeout = 20 }
  -- spec/pg/pgbouncer_spec.lua runs specs once more, through a pooler
  local pooler = os.getenv('STORES_TEST_POOLER')
  if pooler then db.host, db.port, db.pooler = pooler, 6432, 'transaction' end
  for key, value in pairs(fields or {}) do db[key] = value end
  return db
end

--- The config of the Redis of the run.
---@param opts? table its opts
---@return table
function support.redis(opts)
  -- patient, for a machine that runs specs may be silent for longer than the default of 50 ms
  return { path = get_servers().redis, opts = opts or { timeout = 2 } }
end

local count = 0
local strategy -- the cheaper one, where there is a choice

-- What a statement about databases says, at the server of this one. Files make hundreds of them.
local function of_server(fields, sql)
  local own = over_shards.count and fields and { host = fields.host, port = fields.port }
  return psql(support.config(nil, own or nil), sql, true)
end

--- A fresh, empty database.
---@param fields? table more keys of the config
---@return table db the config of it
function support.db(fields)
  count = count + 1
  local name = ('spec_%s_%d_%d'):format(stores.flake.at(os.time()):sub(-9) .. math.random(1e6),
    system.pid(), count)
  if strategy == nil then
    local version = tonumber((of_server(fields, 'SHOW server_version_num')))
    strategy = version >= 150000 and ' STRATEGY file_copy' or ''
  end
  of_server(fields, 'CREATE DATABASE ' .. name .. strategy)
  return support.config(name, fields)
end

--- Drops a database, whoever is still connected to it.
---@param db table
function support.drop(db)
  if db.shards then
    for _, one in ipairs(db.shards) do support.drop(one) end
    return
  end
  if over_citus.drop(db) then return end
  of_server(db, 'DROP DATABASE IF EXISTS ' .. db.database .. ' WITH (FORCE)')
end

--- A store over a fresh database that has the tables, each (id bigint primary key, value jsonb).
---@param tables? string[]
---@param opts? table of Store.new; no_redis = true for none
---@param fields? table more keys of the database's config
---@return stores.Store
---@return table db
function support.store(tables, opts, fields)
  local no_redis = opts and opts.no_redis
  if no_redis then
    local rest = {}
    for key, value in pairs(opts) do if key ~= 'no_redis' then rest[key] = value end end
    opts = rest
  end
  local store, db
  local redis = not no_redis and support.redis() or nil
  if over_shards.count then
    local databases = {}
    for place = 1, over_shards.count do
      local own = over_shards.server(place)
      for key, value in pairs(fields or {}) do own[key] = value end
      databases[place] = support.db(own)
    end
    store, db = over_shards.open(databases, redis, opts)
  else
    db = over_citus.kind and over_citus.db(fields) or support.db(fields)
    store = stores.Store.new(db, redis, opts)
  end
  for _, name in ipairs(tables or {}) do
    store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb)'):format(name))
    if over_citus.kind then over_citus.spread(store, name) end
  end
  return store, db
end

--- Waits until condition() is true, turning the loop meanwhile; raises after some seconds.
---@param condition fun(): any
---@param seconds? number 20 where it is left out
---@param what? string
---@return any
function support.eventually(condition, seconds, what)
  local hub = require('stores.wait').host.hub()
  local deadline = hub:now() + (seconds or 20)
  while true do
    local began = hub:now()
    local value = condition()
    if value then return value end
    local now = hub:now()
    if now > deadline then
      error('it did not happen within ' .. (seconds or 20) .. ' s: '
        .. (type(what) == 'function' and what() or what or ''), 2)
    end
    -- many a look is a process: who waits by them is not to keep the machine busy
    stores.sleep(math.min(math.max(0.005, 4 * (now - began)), 0.25))
  end
end

-- What the calls of a store left behind, as text; nil: nothing.
local function left_behind(store)
  local stats, left = store:stats(), {}
  for _, figure in ipairs({ 'ops', 'transactions', 'pool_checked_out', 'pool_waiters' }) do
    if stats[figure] ~= 0 then left[#left + 1] = figure .. ' = ' .. stats[figure] end
  end
  return left[1] and table.concat(left, ', ')
end

--- Closes a store, after a look whether its calls left something behind, and drops its database.
--- A call that failed has its error before its connection is idle again: that is waited for.
---@param store stores.Store
---@param db? table
function support.close(store, db)
  if store.shards then
    for _, one in ipairs(store.shards) do support.close(one) end
  elseif not store.closed then
    pcall(support.eventually, function() return not left_behind(store) end)
    local left = left_behind(store)
    store:close()
    if left then error('the specs left something behind: ' .. left, 0) end
  end
  if db then support.drop(db) end
end

--- The ids from 1 on.
---@param last integer
---@return string[]
function support.ids(last)
  local list = {}
  for i = 1, last do list[i] = tostring(i) end
  return list
end

--- The ids of documents, as one text.
---@param documents stores.Document[]
---@return string
function support.ids_of(documents)
  local list = {}
  for i, document in ipairs(documents) do list[i] = document.id end
  return table.concat(list, ' ')
end

--- Calls fn, which must raise an error of Stores with this code.
---@param code string
---@param text? string a plain part of its message
---@param fn function
---@param ... any its arguments
---@return stores.Error
function support.refused(code, text, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error('nothing was raised; expected ' .. code, 2) end
  if not stores.errors.is(err, code) then
    error(('expected %s, got %s'):format(code, tostring(err)), 2)
  end
  if text and not err.message:find(text, 1, true) then
    error(("expected '%s' in the message: %s"):format(text, err.message), 2)
  end
  return err
end

--- A psql of the servers, for what must not go through Stores. Raises what the server refuses.
---@param db table
---@param sql string
---@return string
function support.psql(db, sql)
  if db.shards then
    local text = {}
    for _, one in ipairs(over_shards.of(db, sql)) do text[#text + 1] = support.psql(one, sql) end
    return table.concat(text)
  end
  return psql(db, sql)
end

--- The same where it has to be refused; gives what was said.
---@param db table
---@param sql string
---@return string
function support.psql_refused(db, sql)
  local ok, said = pcall(support.psql, db, sql)
  if ok then error('nothing was refused: ' .. sql, 2) end
  return said
end

return support
