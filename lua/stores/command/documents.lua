--- The tables of a database that may hold documents, and how they are kept out of every cache.

local caches = require('stores.migrate.caches')
local errors = require('stores.errors')
local siblings = require('stores.siblings')
local tasks = require('stores.tasks')

local documents = {}

local TABLES = [[
SELECT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
  AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
    AND a.attname IN ('id', 'value') AND NOT a.attisdropped)
ORDER BY 1]]

local READ = { readonly = true }

--- Their names, as SQL has them.
---@param store stores.Store
---@return string[]
function documents.tables(store)
  local names = {}
  for at, row in ipairs(store:query(TABLES, nil, READ)) do names[at] = row.name end
  return names
end

--- How many tables the database has, whatever they hold.
---@param store stores.Store
---@return integer
function documents.count(store)
  return store:query([[SELECT count(*) AS n FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema'
      AND n.nspname NOT LIKE 'pg\_%']], nil, READ)[1].n
end

-- Of the locks of this module; any two numbers will do that nobody else has.
local LOCK = { 1937011570, 1701995891 }

local function is_waited_for(tx)
  return tx:query('SELECT count(*) AS n FROM pg_locks WHERE locktype = \'advisory\' AND classid '
    .. '= $1::bigint::oid AND objid = $2::bigint::oid AND NOT granted AND database = (SELECT oid '
    .. 'FROM pg_database WHERE datname = current_database())', LOCK, READ)[1].n > 0
end

local ENDLESS = 1e9 -- seconds; the core takes what it can of that

-- A statement that says which tables it writes, and waits: while it does, every process reads them
-- from PostgreSQL, by a sign that its session holds. They are turned when it ends, however it does.
local function wait_with_sign(store, names)
  store:query('SELECT pg_advisory_xact_lock($1::int, $2::int)', LOCK,
    { transaction = false, invalidates = names, timeout = math.huge })
end

local function with_sign(store, names, work)
  caches.wait_for_redis(store)
  if store:stats().redis_up == 0 then
    errors.raise('cache_failure', 'Redis cannot be reached: nothing was done, for what programs '
      .. 'have cached would be read afterwards, too')
  end
  local task, result
  store:transaction(function(tx)
    tx:query('SET LOCAL idle_in_transaction_session_timeout = 0')
    tx:query('SELECT pg_advisory_xact_lock($1::int, $2::int)', LOCK)
    task = tasks.spawn(wait_with_sign, store, names)
    while not task.done and not is_waited_for(tx) do tasks.sleep(0.01) end
    if not task.done then result = { pcall(work) } end
  end, { timeout = math.huge, retries = 0 })
  task:join()
  if not result[1] then error(result[2], 0) end
  return result[2]
end

-- Whose sign it is has to have a session of its own, which no pooler of transactions gives.
local function sibling(store)
  if store.pooler == 'transaction' and not store.migrate_url then
    errors.raise('invalid_option', "pooler = 'transaction' cannot hold the sign by which nobody "
      .. 'reads from the cache meanwhile: give db.migrate_url, which goes to the server itself')
  end
  return siblings.of(store, { poolsize = 2, min_idle = 0, timeout = ENDLESS,
    statement_timeout = ENDLESS, pooler = 'session',
    pg = store.migrate_url and { url = store.migrate_url } or nil })
end

--- Calls work() while nobody reads documents from a cache, or puts them into one; at its end, also
--- where this process is killed, all of them are read anew.
---@param store stores.Store
---@param work fun(): any
---@return any result what work returned
---Raises cache_failure, invalid_option.
function documents.turned(store, work)
  local names = store.cached and documents.tables(store) or {}
  if #names == 0 then return work() end
  local own = sibling(store)
  local ok, result = pcall(tasks.run, with_sign, own, names, work)
  own:close()
  if not ok then error(result, 0) end
  return result
end

return documents
