--- Whose caches hold rows of the database that migrations change.

local json = require('stores.json')
local siblings = require('stores.siblings')
local Store = require('stores.store')
local tasks = require('stores.tasks')

local caches = {}

-- One database of one run of a server: two programs that see the same are at the same place,
-- however each of them names it.
local IDENTITY = "SELECT pg_postmaster_start_time()::text || ' ' || (SELECT oid FROM pg_database"
  .. ' WHERE datname = current_database())::text AS identity'

-- A store whose pool is busy is not waited for.
local PATIENCE = 2

local READ = { readonly = true, transaction = true, timeout = PATIENCE }

local function identity_of(store)
  local ok, rows = pcall(store.query, store, IDENTITY, nil, READ)
  return ok and rows[1].identity or nil
end

--- The stores of this process that cache rows of the same database, one for each cache.
---@param own stores.Store
---@return stores.Store[]
function caches.of_process(own)
  local candidates, found, seen = {}, {}, {}
  for store, order in pairs(Store.open_stores) do
    if store.cached and not store.is_sibling and store.hub == own.hub then
      candidates[#candidates + 1] = { store = store, order = order }
    end
  end
  table.sort(candidates, function(a, b) return a.order < b.order end)
  local identity = candidates[1] and identity_of(own)
  for _, candidate in ipairs(candidates) do
    local theirs = identity_of(candidate.store)
    local same = theirs and theirs == identity
    -- a server that does not answer: what the configurations say
    if not theirs or not identity then same = siblings.same_place(own, candidate.store) end
    local cache = siblings.cache_of(candidate.store)
    if same and not seen[cache] then
      seen[cache] = true
      found[#found + 1] = candidate.store
    end
  end
  return found
end

-- Those whose rows a cache may hold, that are not of this very transaction, as its xid tells.
local WRITTEN = [[
SELECT DISTINCT format('%I.%I', n.nspname, c.relname) AS name
FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute made ON made.attrelid = c.oid AND made.attnum = -1
WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
    'AccessExclusiveLock')
  AND c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
  AND n.nspname <> ALL (ARRAY['pg_catalog', 'information_schema', 'pg_toast'])
  AND made.xmin IS DISTINCT FROM pg_current_xact_id_if_assigned()::xid
  AND 2 = (SELECT count(*) FROM pg_attribute a WHERE a.attrelid = c.oid
    AND a.attname IN ('id', 'value') AND NOT a.attisdropped)
ORDER BY 1]]

--- The tables whose rows the transaction may have changed: what triggers and keys do at its end is
--- done now.
---@param tx table
---@return string[]
function caches.written(tx)
  tx:query('SET CONSTRAINTS ALL IMMEDIATE')
  local names = {}
  for index, row in ipairs(tx:query(WRITTEN, nil, { readonly = true })) do
    names[index] = row.name ~= json.null and row.name or nil
  end
  return names
end

-- A link is made when it is first used, and a COMMIT that finds none goes past the cache.
local CONNECT, STEP = 2, 0.005

--- Waits for the link to Redis, which a Redis that is down does not get.
---@param store stores.Store
function caches.wait_for_redis(store)
  if not store.cached then return end
  local deadline = store.hub:now() + CONNECT
  while store:stats().redis_up == 0 and store.hub:now() < deadline do
    tasks.sleep(STEP)
  end
end

return caches
