--- One process that writes, or reads, documents which others write meanwhile, and knows how old is
--- what it reads. For bench/stale.lua:
---
---     luajit bench/stale_process.lua read|write KIND SECONDS BOARD
---
--- The board is a file that both have in memory: of each row the number of the last write that was
--- acknowledged, and when each was. A read is stale where it gives less than what was acknowledged
--- before it began; it is as old as the next write's word is then.
local ffi = require('ffi')

ffi.cdef([[
  typedef struct { double last, at[1024]; } stale_row;
  typedef struct { long sec, nsec; } stale_time;
  int clock_gettime(int, stale_time *);
  int open(const char *, int, ...);
  void *mmap(void *, size_t, int, int, int, long);
]])

local role, kind, seconds, path = arg[1], arg[2], tonumber(arg[3]), arg[4]

local ROWS, KEPT = 64, 1024
local POLL = 1 -- seconds between two looks of the memory that polls
local PAUSE = 0.002 -- seconds between two writes
local O_RDWR, READ_WRITE, SHARED, MONOTONIC = 2, 3, 1, 1

local time = ffi.new('stale_time[1]')
local function now()
  ffi.C.clock_gettime(MONOTONIC, time)
  return tonumber(time[0].sec) + tonumber(time[0].nsec) * 1e-9
end

local fd = ffi.C.open(path, O_RDWR)
assert(fd >= 0, 'the board cannot be opened')
local memory = ffi.C.mmap(nil, ffi.sizeof('stale_row') * ROWS, READ_WRITE, SHARED, fd, 0)
assert(ffi.cast('intptr_t', memory) ~= -1, 'the board cannot be mapped')
local board = ffi.cast('volatile stale_row *', memory)

-- ---- Who is measured: each gives read(id) and write(id, n) -----------------------------------

local function of_stores(opts)
  local stores = require('stores')
  local store = stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
    user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE') },
    { path = os.getenv('REDIS_SOCKET') })
  return {
    read = function(id) return store:find('bench_stale', id, opts).n end,
    write = function(id, n) store:update('bench_stale', { id = id, n = n }) end,
  }
end

-- The cache beside the database, as people write it.
local function by_hand()
  local cjson = require('cjson')
  local db = assert(require('luasql.postgres').postgres():connect(''))
  local redis = require('redis').connect('unix://' .. os.getenv('REDIS_SOCKET'))
  return {
    redis = redis,
    read = function(id)
      local text = redis:get('stale:' .. id)
      if not text then
        local cursor = assert(db:execute('SELECT value FROM bench_stale WHERE id = ' .. id))
        text = cursor:fetch()
        cursor:close()
        redis:setex('stale:' .. id, 3600, text)
      end
      return cjson.decode(text).n
    end,
    write = function(id, n)
      assert(db:execute(("UPDATE bench_stale SET value = '{\"n\": %d}' WHERE id = %s")
        :format(n, id)))
      redis:del('stale:' .. id)
    end,
  }
end

-- Before that a memory in the process, which asks from time to time what was written.
local function with_memory()
  local below = by_hand()
  ngx = { now = now } -- luacheck: ignore (what lua-resty-lrucache wants of its host)
  local cache = require('resty.lrucache').new(1024)
  local seen, looked = below.redis:llen('stale:events'), now()
  local function look()
    if now() - looked < POLL then return end
    for _, id in ipairs(below.redis:lrange('stale:events', seen, -1)) do
      seen = seen + 1
      cache:delete(id)
    end
    looked = now()
  end
  return {
    read = function(id)
      look()
      local n = cache:get(id)
      if not n then
        n = below.read(id)
        cache:set(id, n, 3600)
      end
      return n
    end,
    write = function(id, n)
      below.write(id, n)
      below.redis:rpush('stale:events', id)
    end,
  }
end

local KINDS = {
  stores = function() return of_stores() end,
  held = function() return of_stores({ hold = true }) end,
  by_hand = by_hand,
  memory = with_memory,
}

-- ---- What they do --------------------------------------------------------------------------

local who = assert(KINDS[kind], 'there is no kind ' .. kind)()
local random = math.random

local function write_some(ends)
  local socket = require('socket')
  while now() < ends do
    local id = random(ROWS)
    local row = board + (id - 1)
    local n = row.last + 1
    who.write(('%d'):format(id), n)
    row.at[n % KEPT] = now()
    row.last = n
    socket.sleep(PAUSE)
  end
end

local function read_some(ends)
  local reads, stale, worst = 0, 0, 0
  local began = now()
  while now() < ends do
    for _ = 1, 16 do
      local id = random(ROWS)
      local row = board + (id - 1)
      local before, at = row.last, now()
      local n = who.read(('%d'):format(id))
      reads = reads + 1
      if n < before then
        stale = stale + 1
        worst = math.max(worst, at - row.at[(n + 1) % KEPT])
      end
    end
  end
  print(('%.1f %.6f %.6f'):format(reads / (now() - began), stale / reads, worst))
end

math.randomseed(role == 'read' and 1 or 2)
if role == 'read' then read_some(now() + seconds) else write_some(now() + seconds) end
