--- Ports of the loopback address for the servers of specs.

local ffi = require('ffi')
local uv = require('luv')

ffi.cdef([[
  int socket(int family, int type, int protocol);
  int bind(int fd, const void *address, unsigned int size);
  int close(int fd);
]])

local ports = {}

local AF_INET, SOCK_STREAM = 2, 1
local FIRST, COUNT = 10100, 3000 -- those above are of spec/support/postgres.lua
local BUS = 10000 -- nodes of a Redis cluster talk to each other so far above their own ports
local TRIES = 100

local function is_free(port)
  local address = ffi.new('uint8_t[16]', AF_INET, 0, math.floor(port / 256), port % 256,
    127, 0, 0, 1)
  local fd = ffi.C.socket(AF_INET, SOCK_STREAM, 0)
  local bound = ffi.C.bind(fd, address, 16) == 0
  ffi.C.close(fd)
  return bound
end

--- A port that nobody has just now, nor the one of its bus. Both are below those that connections
--- get by themselves, so that a server that is killed finds its port free when it comes back. Not
--- by math.random: specs that run side by side by one seed would draw the same ones at the same
--- moment.
---@return integer
function ports.free()
  for _ = 1, TRIES do
    local high, low = uv.random(2):byte(1, 2)
    local port = FIRST + (high * 256 + low) % COUNT
    if is_free(port) and is_free(port + BUS) then return port end
  end
  error('no port is free')
end

return ports
