--- stores status

local errors = require('stores.errors')
local json = require('stores.json')

local SERVER = "SELECT current_setting('server_version') AS version, current_database() AS name, "
  .. "pg_postmaster_start_time()::text AS started, pg_is_in_recovery() AS standby, "
  .. "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS sessions, "
  .. "current_setting('max_connections')::int AS room, "
  .. 'pg_database_size(current_database()) AS size'

local READ = { readonly = true, timeout = 10 }

-- The link to Redis is made when it is first used, and what is not there is no use to wait for.
local function wait_for_redis(store)
  local deadline = store.hub:now() + 2
  local stats = store:stats()
  while store.cached and stats.redis_up == 0 and store.hub:now() < deadline do
    require('stores.tasks').sleep(0.01)
    stats = store:stats()
  end
  return stats
end

local function postgres_of(store)
  local ok, rows = pcall(store.query, store, SERVER, nil, READ)
  if not ok then
    if not errors.is(rows) then error(rows, 0) end
    return { up = false, error = tostring(rows) }
  end
  local row = rows[1]
  return { up = true, version = row.version, database = row.name, started = row.started,
    standby = row.standby, sessions = row.sessions, max_connections = row.room,
    bytes = row.size }
end

local function redis_of(store)
  if not store.cached then return { up = json.null, cached = false } end
  local stats = wait_for_redis(store)
  return { up = stats.redis_up == 1, cached = true, trouble = stats.redis_trouble or json.null }
end

local function one(store, shard)
  return { shard = shard or json.null, postgres = postgres_of(store), redis = redis_of(store) }
end

local function size(bytes)
  local number, unit = tonumber(tostring(bytes)), 1
  local units = { 'B', 'kB', 'MB', 'GB', 'TB' }
  while number >= 1024 and unit < #units do number, unit = number / 1024, unit + 1 end
  return ('%.4g %s'):format(number, units[unit])
end

local function row_of(found)
  local pg, redis = found.postgres, found.redis
  local cells = { found.shard, pg.up and 'up' or 'DOWN', pg.version, pg.database,
    pg.up and ('%d of %d'):format(pg.sessions, pg.max_connections) or nil,
    pg.up and size(pg.bytes) or nil }
  cells[7] = not redis.cached and 'none' or redis.up and 'up' or 'DOWN'
  return cells
end

local HEADINGS = { 'shard', 'PostgreSQL', 'version', 'database', 'sessions', 'size', 'Redis' }

-- What is wrong, in the servers' own words.
local function complaints(context, list)
  local all_up = true
  for _, found in ipairs(list) do
    if not found.postgres.up then
      all_up = false
      if not context.json then context.say(found.postgres.error) end
    end
    if found.redis.cached and not found.redis.up then all_up = false end
    local trouble = found.redis.trouble
    if trouble and trouble ~= json.null and trouble ~= '' and not context.json then
      context.say('Redis: ' .. tostring(trouble))
    end
  end
  return all_up
end

return {
  name = 'status',
  any_shard = true,
  summary = 'tells whether the servers are there, and which they are',
  text = [[
Asks PostgreSQL, and Redis where there is a cache, of every shard. Exit code 1 where one of them
does not answer. Private servers that do not run are not started for it.]],
  example = { 'stores status', 'stores status --json | jq .servers[0].postgres.version' },
  run = function(_, context)
    local folder = context.place().folder
    if folder and not require('stores.local').is_running(folder) then
      context.result({ up = false, servers = json.array() }, { folder .. ': not running' })
      return 1
    end
    local list = json.array()
    local stores = context.stores()
    for at, store in ipairs(stores) do list[at] = one(store, stores[2] and at - 1) end
    local all_up = complaints(context, list)
    context.result({ up = all_up, servers = list }, function()
      local rows = {}
      for at, found in ipairs(list) do rows[at] = row_of(found) end
      context.table(HEADINGS, rows)
    end)
    return all_up and 0 or 1
  end,
}
