--- The least of HTTP: a GET of a page of a server near by, over TCP or a unix socket. It blocks,
--- and not for long.

local ffi = require('ffi')

local errors = require('stores.errors')
require('stores.local.system') -- which declares the calls that are not declared here

ffi.cdef [[
struct stores_timeval { long seconds, microseconds; };
struct stores_addrinfo {
  int flags, family, kind, protocol;
  unsigned int length;
  void *address;
  char *name;
  struct stores_addrinfo *next;
};
int getaddrinfo(const char *host, const char *port, const struct stores_addrinfo *hints,
                struct stores_addrinfo **found);
void freeaddrinfo(struct stores_addrinfo *found);
const char *gai_strerror(int code);
int setsockopt(int fd, int level, int name, const void *value, unsigned int size);
ssize_t send(int fd, const void *data, size_t size, int flags);
]]

local C = ffi.C
local http = {}

local AF_UNIX, SOCK_STREAM, SOCK_CLOEXEC = 1, 1, 524288
local SOL_SOCKET, SO_RCVTIMEO, SO_SNDTIMEO, MSG_NOSIGNAL = 1, 20, 21, 0x4000
local SECONDS, BYTES_MOST = 5, 16 * 1024 * 1024

local function fail(message, ...)
  errors.raise('connect_failed', message:format(...))
end

local function reason() return ffi.string(C.strerror(ffi.errno())) end

-- A socket whose every wait ends.
local function new_socket(family)
  local fd = C.socket(family, SOCK_STREAM + SOCK_CLOEXEC, 0)
  if fd < 0 then fail('no socket: %s', reason()) end
  local time = ffi.new('struct stores_timeval', { SECONDS, 0 })
  for _, name in ipairs({ SO_RCVTIMEO, SO_SNDTIMEO }) do
    C.setsockopt(fd, SOL_SOCKET, name, time, ffi.sizeof(time))
  end
  return fd
end

local function connect_unix(path)
  if #path > 107 then fail('the path of the socket is too long: %s', path) end
  local fd = new_socket(AF_UNIX)
  local address = ffi.new('struct stores_sockaddr_un')
  address.family = AF_UNIX
  ffi.copy(address.path, path, #path)
  if C.connect(fd, address, ffi.sizeof(address)) == 0 then return fd end
  local why = reason()
  C.close(fd)
  fail('%s: %s', path, why)
end

local function connect_tcp(host, port)
  local hints = ffi.new('struct stores_addrinfo')
  hints.kind = SOCK_STREAM
  local found = ffi.new('struct stores_addrinfo *[1]')
  local code = C.getaddrinfo(host, tostring(port), hints, found)
  if code ~= 0 then fail('%s: %s', host, ffi.string(C.gai_strerror(code))) end
  local at, why = found[0], 'no address'
  while at ~= nil do
    local fd = new_socket(at.family)
    if C.connect(fd, at.address, at.length) == 0 then
      C.freeaddrinfo(found[0])
      return fd
    end
    why = reason()
    C.close(fd)
    at = at.next
  end
  C.freeaddrinfo(found[0])
  fail('%s:%s: %s', host, port, why)
end

local function send_all(fd, text)
  local at = 0
  while at < #text do
    local sent = tonumber(C.send(fd, ffi.cast('const char *', text) + at, #text - at, MSG_NOSIGNAL))
    if sent <= 0 then return false end
    at = at + sent
  end
  return true
end

local function read_all(fd)
  local buffer, parts, size = ffi.new('char[65536]'), {}, 0
  while true do
    local got = tonumber(C.read(fd, buffer, 65536))
    if got == 0 then return table.concat(parts) end
    if got < 0 then return nil end
    size = size + got
    if size > BYTES_MOST then return nil end
    parts[#parts + 1] = ffi.string(buffer, got)
  end
end

---@class stores.HttpPlace
---@field socket string? of a unix socket
---@field host string?
---@field port integer?
---@field path string

--- Reads 'http://host:port/path' or 'unix:/path/of/socket', behind which ':/path' may stand.
---@param url string
---@param path string where the url names none
---@return stores.HttpPlace? nil: it is neither
function http.place(url, path)
  local socket, page = url:match('^unix:(/[^:]*):?(.*)$')
  if socket then
    return { socket = socket, host = 'localhost', path = page ~= '' and page or path }
  end
  local host, rest = url:match('^http://([^/]+)(.*)$')
  if not host then return nil end
  local name, port = host:match('^%[(.*)%]:?(%d*)$')
  if not name then name, port = host:match('^([^:]+):?(%d*)$') end
  if not name then return nil end
  return { host = name, port = tonumber(port) or 80, path = rest ~= '' and rest or path }
end

--- Gets a page.
---@param place stores.HttpPlace
---@return string body
---Raises connect_failed.
function http.get(place)
  local fd = place.socket and connect_unix(place.socket) or connect_tcp(place.host, place.port)
  local ok = send_all(fd, ('GET %s HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n'):format(
    place.path, place.host))
  local text = ok and read_all(fd)
  C.close(fd)
  local status, body = (text or ''):match('^HTTP/1%.%d (%d%d%d).-\r\n\r\n(.*)$')
  local from = place.socket or place.host
  if not status then fail('%s gave no answer of HTTP', from) end
  if status ~= '200' then fail('%s answered %s for %s', from, status, place.path) end
  return body
end

return http
