--- What a worker did, in a file that it shares with the driver by mmap: what was written is there
--- also when the worker is killed in the middle. A call that has begun and not ended is open.

local ffi = require('ffi')

ffi.cdef [[
struct consistency_call {
  double began, ended;              /* seconds of CLOCK_MONOTONIC; ended 0: it is open */
  int32_t row, version;             /* version -1: there is no such row */
  uint8_t kind, outcome;
  uint16_t verb;
  uint32_t writer;
};
struct consistency_history {
  uint32_t capacity, used;
  uint32_t stop, unused;
  struct consistency_call calls[];
};
struct consistency_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct consistency_time *at);
int open(const char *path, int flags, ...);
int close(int fd);
int ftruncate(int fd, long size);
void *mmap(void *at, size_t size, int protection, int flags, int fd, long offset);
int munmap(void *at, size_t size);
]]

local C = ffi.C
local history = {}

history.READ, history.WRITE = 1, 2
--- How a call ended. OPEN: not yet, or nobody knows how; NONE: it did nothing; TORN: what it read
--- is no document that was ever written.
history.OPEN, history.DONE, history.NONE, history.TORN = 0, 1, 2, 3
history.ABSENT = -1
--- What `stop` is where a worker that rests has another run, or an end, on its stdin.
history.AGAIN = 2
history.VERBS = { 'find', 'findAllByIds', 'patch', 'updateObject', 'transaction', 'locked update',
  'query', 'insert', 'upsert', 'delete', 'tenant read', 'tenant write', 'undone', 'findBy',
  'move', 'moving query',
  'updateEach', 'insertMany', 'upsertMany', 'deleteMany' }

local time = ffi.new('struct consistency_time')
local MONOTONIC = 1

--- Seconds of the clock that all processes share.
---@return number
function history.now()
  C.clock_gettime(MONOTONIC, time)
  return tonumber(time.seconds) + tonumber(time.nanoseconds) / 1e9
end

--- Opens the file of a worker, or makes it where capacity is given.
---@param path string
---@param capacity? integer calls
---@return ffi.cdata* map struct consistency_history *
function history.open(path, capacity)
  local READ_WRITE, CREATE, SHARED = 2, 64, 1
  local fd = C.open(path, READ_WRITE + CREATE, ffi.new('int', tonumber('600', 8)))
  assert(fd >= 0, 'cannot open ' .. path)
  local header = ffi.sizeof('struct consistency_history')
  local each = ffi.sizeof('struct consistency_call')
  if not capacity then
    local file = assert(io.open(path))
    capacity = (file:seek('end') - header) / each
    file:close()
  end
  local size = header + capacity * each
  assert(C.ftruncate(fd, size) == 0)
  local map = ffi.cast('struct consistency_history *', C.mmap(nil, size, 3, SHARED, fd, 0))
  assert(ffi.cast('intptr_t', map) ~= -1, 'cannot map ' .. path)
  C.close(fd)
  map.capacity = capacity
  return map
end

--- Lets go of a file.
---@param map ffi.cdata*
function history.close(map)
  C.munmap(map, ffi.sizeof('struct consistency_history')
    + map.capacity * ffi.sizeof('struct consistency_call'))
end

return history
