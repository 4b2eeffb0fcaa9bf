--- doctor: the servers, their versions, how many connections there are for how many pools.

local catalog = require('stores.inspect.catalog')
local core = require('stores.core')
local counted = require('stores.inspect.counted')
local met = require('stores.verbs.met')
local redis = require('stores.inspect.redis')
local who = require('stores.inspect.who')

local OLDEST_POSTGRES, OLDEST_REDIS, OLDEST_VALKEY = 130000, 7, 7.2
local MUCH = 0.8

local SERVER = [[
SELECT current_setting('server_version') AS version,
  current_setting('server_version_num')::int AS number,
  current_setting('max_connections')::int AS most,
  current_setting('superuser_reserved_connections')::int
    + coalesce(current_setting('reserved_connections', true), '0')::int AS kept,
  (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
  pg_is_in_recovery() AS is_standby]]

local LONGEST = [[
SELECT a.pid, a.application_name AS application, a.usename::text AS "user", a.state,
  host(a.client_addr) AS address,
  extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS seconds
FROM pg_stat_activity a WHERE a.datname = current_database() AND a.state <> 'idle'
  AND a.pid <> pg_backend_pid() AND a.xact_start < clock_timestamp() - $1::float8 * interval '1 s'
ORDER BY a.xact_start LIMIT 5]]

local function check_pools(work, server)
  local room = server.most - server.kept
  local each, count = work.store.poolsize, work.processes
  if each > room then
    work.add({ severity = 'error', code = 'pool', text = ('a pool of %d connections does not fit '
      .. 'into the %d that PostgreSQL gives (max_connections = %d, %d of them reserved)'):format(
      each, room, server.most, server.kept),
      advice = 'set max_connections higher, or poolsize lower' })
  elseif count and each * count > room then
    work.add({ severity = 'error', code = 'pool', text = ('%d processes with pools of %d may ask '
      .. 'for %d connections, and PostgreSQL gives %d'):format(count, each, each * count, room),
      advice = ('set max_connections to %d, or poolsize to %d, or put a pooler before the server')
        :format(each * count + server.kept, math.max(1, math.floor(room / count))) })
  elseif server.used > MUCH * room then
    work.add({ severity = 'warning', code = 'connections', text = ('%d of %d connections are in '
      .. 'use'):format(server.used, room),
      advice = 'see who has them: SELECT application_name, count(*) FROM pg_stat_activity GROUP BY '
        .. '1 ORDER BY 2 DESC' })
  end
end

local function check_postgres(work)
  local server = catalog.ask(work.store, SERVER)[1]
  local room = server.most - server.kept
  work.fact(('PostgreSQL %s: %d of %d connections in use, room for %s with a pool of %d')
    :format(server.version, server.used, room,
    counted(math.floor(room / work.store.poolsize), 'process'), work.store.poolsize))
  if server.number < OLDEST_POSTGRES then
    work.add({ severity = 'error', code = 'version', text = 'PostgreSQL is older than 13',
      advice = 'upgrade it' })
  end
  if server.is_standby then
    work.add({ severity = 'warning', code = 'standby', text = 'this PostgreSQL is a standby: it '
      .. 'takes no writes, and its reads fill no cache',
      advice = 'let the store find the primary: target_session_attrs = "primary"' })
  end
  check_pools(work, server)
  for _, one in ipairs(catalog.ask(work.store, LONGEST, { tostring(work.long) })) do
    for _, key in ipairs({ 'application', 'user', 'state', 'address' }) do
      if type(one[key]) ~= 'string' or one[key] == '' then one[key] = nil end
    end
    work.add({ severity = 'warning', code = 'long_transaction', text = who.words(one)
      .. ': tables that it wrote stay uncached, and VACUUM removes nothing that is newer',
      advice = ('if nobody needs it: SELECT pg_terminate_backend(%d)'):format(one.pid) })
  end
end

local function check_memory(work, memory)
  local most, used = tonumber(memory.maxmemory), tonumber(memory.used_memory)
  local policy = memory.maxmemory_policy
  if policy and policy:find('^allkeys') then
    work.add({ severity = 'error', code = 'eviction', text = ('Redis evicts what it likes '
      .. '(maxmemory-policy %s), announcements of writes, too: nothing is read into the cache')
      :format(policy), advice = 'CONFIG SET maxmemory-policy volatile-lru, and the same in its '
      .. 'configuration' })
  end
  if most == 0 then
    work.add({ severity = 'note', code = 'maxmemory', text = 'Redis has no maxmemory: it grows '
      .. 'until the machine has no memory left', advice = 'CONFIG SET maxmemory to what is there' })
  elseif most and used and used > 0.95 * most and policy == 'noeviction' then
    work.add({ severity = 'warning', code = 'memory', text = ('Redis is full (%d of %d MB), and '
      .. 'evicts nothing: documents are not cached any more'):format(used / 1e6, most / 1e6),
      advice = 'CONFIG SET maxmemory higher, or maxmemory-policy to volatile-lru' })
  end
end

local function check_node(work, node)
  local server = redis.info(work.store, node, 'server')
  local valkey = server.valkey_version
  local version = valkey or server.redis_version or '?'
  local number = tonumber(version:match('^%d+%.%d+')) or 0
  local memory = redis.info(work.store, node, 'memory')
  work.fact(('%s %s: %.1f MB in use%s, maxmemory-policy %s'):format(valkey and 'Valkey' or 'Redis',
    version, (tonumber(memory.used_memory) or 0) / 1e6, memory.maxmemory ~= '0'
    and (' of %.1f MB'):format((tonumber(memory.maxmemory) or 0) / 1e6) or '',
    memory.maxmemory_policy or 'not told'))
  if number < (valkey and OLDEST_VALKEY or OLDEST_REDIS) then
    work.add({ severity = 'error', code = 'version', text = ('%s %s is too old: its scripts cannot '
      .. 'say that they may run where memory is full'):format(valkey and 'Valkey' or 'Redis',
      version), advice = 'upgrade it to Redis 7.0 or Valkey 7.2' })
  end
  check_memory(work, memory)
end

--- Adds what it finds.
---@param work stores.DoctorWork
return function(work)
  check_postgres(work)
  if not work.store.cached then return work.fact('no Redis is configured: nothing is cached') end
  local is_ready, why = met.ready(work.store)
  if not is_ready then
    work.add({ severity = 'error', code = 'redis', text = 'Redis: ' .. why,
      advice = 'see to it that Redis answers; until then all reads ask PostgreSQL' })
    return
  end
  work.has_redis = true
  for node = 0, core.cache_nodes(work.store.engine) - 1 do
    check_node(work, node)
  end
end
