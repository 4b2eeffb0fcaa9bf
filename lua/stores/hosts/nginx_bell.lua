--- The doorbell of the loop in nginx (bindings/hub/doorbell.c), and the light thread that hears it
--- by a cosocket: nginx has no wait for a foreign descriptor.

local core = require('stores.core')

local ngx = ngx

local nginx_bell = {}

local DAY_MS = 86400000

---@class stores.NginxBell
---@field failure string? why it is not heard any more
local Bell = {}
Bell.__index = Bell

local function read(self, heard)
  while not self.is_over do
    local byte, why = self.socket:receive(1)
    if self.is_over then return end
    if not byte then
      self.failure = why
      heard(false)
      return
    end
    heard(true)
    self.bell:arm()
  end
end

--- A doorbell with its reader; or nil, why.
---@param hub userdata
---@param heard fun(rang: boolean) called when it rang; false: when it is not heard any more
---@return stores.NginxBell?
---@return string? why
function nginx_bell.open(hub, heard)
  local bell, why = core.doorbell(hub)
  if not bell then return nil, why end
  local socket = ngx.socket.tcp()
  socket:settimeout(DAY_MS)
  local ok
  ok, why = socket:connect('unix:' .. bell:path())
  if ok then ok, why = bell:accept() end
  if not ok then
    bell:close()
    return nil, why
  end
  local self = setmetatable({ bell = bell, socket = socket, is_over = false }, Bell)
  self.reader = ngx.thread.spawn(read, self, heard)
  bell:arm()
  return self
end

--- Rings at once.
function Bell:ring()
  self.bell:ring()
end

function Bell:close()
  self.is_over = true
  self.bell:ring()
  ngx.thread.wait(self.reader)
  self.socket:close()
  self.bell:close()
end

return nginx_bell
