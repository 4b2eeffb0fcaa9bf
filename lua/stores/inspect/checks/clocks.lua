--- doctor: whether the clocks of this machine, of PostgreSQL and of Redis agree. Ids have the
--- time of PostgreSQL's clock, what expires goes by it, and logs of several machines are read
--- side by side.

local ffi = require('ffi')

local catalog = require('stores.inspect.catalog')
local core = require('stores.core')
local redis = require('stores.inspect.redis')

ffi.cdef [[
struct stores_inspect_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct stores_inspect_time *time);
]]

local REALTIME = 0
local MUCH, FAR = 1, 60 -- seconds

local function now()
  local time = ffi.new('struct stores_inspect_time')
  ffi.C.clock_gettime(REALTIME, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

local function apart(seconds)
  return ('%.1f s %s'):format(math.abs(seconds), seconds > 0 and 'ahead of' or 'behind')
end

-- What a server's clock is ahead of ours, at least: it was read at some time of the question.
local function ahead(read)
  local before = now()
  local time = read()
  local after = now()
  if not time then return nil end
  if time > after then return time - after end
  if time < before then return time - before end
  return 0
end

local function check(work, what, seconds)
  if not seconds or math.abs(seconds) < MUCH then return end
  work.add({ severity = math.abs(seconds) < FAR and 'warning' or 'error', code = 'clock',
    text = ("%s's clock is %s this machine's"):format(what, apart(seconds)),
    advice = 'keep the clocks of all machines by NTP (chrony, systemd-timesyncd)' })
end

--- Adds what it finds.
---@param work stores.DoctorWork
return function(work)
  local store = work.store
  check(work, 'PostgreSQL', ahead(function()
    return catalog.ask(store, 'SELECT extract(epoch FROM clock_timestamp())::float8 AS now')[1].now
  end))
  if not work.has_redis then return end
  for node = 0, core.cache_nodes(store.engine) - 1 do
    check(work, 'Redis', ahead(function()
      local time = tonumber(redis.info(store, node, 'server').server_time_usec)
      return time and time / 1e6
    end))
  end
end
