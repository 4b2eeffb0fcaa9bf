--- What redis-cli --raw prints, without a process for each question: specs ask thousands.

local ffi = require('ffi')

local process = require('spec.support.process')

ffi.cdef([[
  int socket(int family, int type, int protocol);
  int connect(int fd, const void *address, unsigned int size);
  long send(int fd, const void *data, unsigned long size, int flags);
]])

local C = ffi.C
local AF_UNIX, AF_INET, SOCK_STREAM, CLOSE_ON_EXEC, NO_SIGNAL = 1, 2, 1, 0x80000, 0x4000
local EINTR = 4

local redis_cli = {}

---@class spec.RedisPlace
---@field path string? of its unix socket
---@field port integer|string? of 127.0.0.1
---@field user string? where that is not the default user
---@field password string?
---@field tls {ca: string}?

-- Where it is, for connect(): a family, and what the family calls an address.
local function address_of(place)
  if place.path then
    local address = ffi.new('uint8_t[110]')
    ffi.cast('uint16_t *', address)[0] = AF_UNIX
    assert(#place.path < 108, place.path)
    ffi.copy(address + 2, place.path)
    return AF_UNIX, address, 3 + #place.path
  end
  local port = tonumber(place.port)
  local address = ffi.new('uint8_t[16]', 0, 0, math.floor(port / 256), port % 256, 127, 0, 0, 1)
  ffi.cast('uint16_t *', address)[0] = AF_INET
  return AF_INET, address, 16
end

local function open(place)
  local family, address, size = address_of(place)
  local fd = C.socket(family, SOCK_STREAM + CLOSE_ON_EXEC, 0)
  assert(fd >= 0)
  if C.connect(fd, address, size) == 0 then return fd end
  C.close(fd)
end

local function send(fd, words)
  local parts = { ('*%d\r\n'):format(#words) }
  for _, word in ipairs(words) do
    word = tostring(word)
    parts[#parts + 1] = ('$%d\r\n%s\r\n'):format(#word, word)
  end
  local text = table.concat(parts)
  local data = ffi.cast('const char *', text)
  local at = 0
  while at < #text do
    local count = tonumber(C.send(fd, data + at, #text - at, NO_SIGNAL))
    if count < 0 and ffi.errno() ~= EINTR then return end
    at = at + math.max(0, count)
  end
end

-- What reads lines, and bytes; both raise where the server has closed the connection.
local function reader(fd)
  local buf, text = ffi.new('char[16384]'), ''
  local function more()
    local count
    repeat count = tonumber(C.read(fd, buf, 16384)) until count >= 0 or ffi.errno() ~= EINTR
    if count <= 0 then error('Error: Server closed the connection', 0) end
    text = text .. ffi.string(buf, count)
  end
  local function line()
    local at = text:find('\r\n', 1, true)
    while not at do
      more()
      at = text:find('\r\n', 1, true)
    end
    local found = text:sub(1, at - 1)
    text = text:sub(at + 2)
    return found
  end
  local function bytes(count)
    while #text < count + 2 do more() end
    local found = text:sub(1, count)
    text = text:sub(count + 3)
    return found
  end
  return line, bytes
end

-- An answer as text, several values a line each, and whether it is an error.
local function answer(line, bytes)
  local first = line()
  local kind, rest = first:sub(1, 1), first:sub(2)
  local count = tonumber(rest)
  if kind == '$' then return count < 0 and '' or bytes(count) end
  if kind ~= '*' then return rest, kind == '-' end
  local list = {}
  for i = 1, count do list[i] = answer(line, bytes) end
  return table.concat(list, '\n')
end

-- The commands of a connection: who asks, where to be let in, and the question.
local function ask(place, commands)
  local fd = open(place)
  if not fd then
    return 'Could not connect to Redis at ' .. (place.path or '127.0.0.1:' .. place.port)
  end
  local line, bytes = reader(fd)
  local ok, text, failed
  for _, words in ipairs(commands) do
    send(fd, words)
    ok, text, failed = pcall(answer, line, bytes)
    if not ok then break end
  end
  C.close(fd)
  return text, failed
end

-- TLS is left to the program.
local function by_program(place, words)
  local quoted = {}
  for i, word in ipairs(words) do quoted[i] = process.quoted(tostring(word)) end
  local pipe = assert(io.popen(('LD_PRELOAD= %s redis-cli --raw -h 127.0.0.1 -p %s %s '
    .. '--tls --cacert %s %s 2>&1'):format(
    place.password and 'REDISCLI_AUTH=' .. process.quoted(place.password) or '', place.port,
    place.user and '--user ' .. process.quoted(place.user) or '',
    process.quoted(place.tls.ca), table.concat(quoted, ' '))))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

--- Sends a command and gives its answer as text, several values a line each.
---@param place spec.RedisPlace
---@param ... string|number the command
---@return string
function redis_cli.ask(place, ...)
  local words = { ... }
  local text
  if place.tls then
    text = by_program(place, words)
  else
    local commands = {}
    if place.password then
      commands[1] = place.user and { 'AUTH', place.user, place.password }
        or { 'AUTH', place.password }
    end
    commands[#commands + 1] = words
    text = ask(place, commands)
  end
  return (text:gsub('\n+$', ''))
end

--- The same of a node of a cluster, which may say who else knows.
---@param place spec.RedisPlace
---@param ... string|number the command
---@return string
function redis_cli.follow(place, ...)
  local commands = { { ... } }
  for _ = 1, 16 do
    local text, failed = ask(place, commands)
    local word, port = text:match('^(%u+) %d+ [^ ]*:(%d+)$')
    if not failed or word ~= 'MOVED' and word ~= 'ASK' then return (text:gsub('\n+$', '')) end
    place, commands = { port = port }, { { ... } }
    if word == 'ASK' then table.insert(commands, 1, { 'ASKING' }) end
  end
  error('the nodes of the cluster do not agree')
end

return redis_cli
