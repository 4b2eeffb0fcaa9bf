--- A proxy of a spec between its stores and PostgreSQL, or Redis, in a process of its own: it loses
--- what passes without a word, lets nobody in, speaks in the server's name, or leads to another
--- server.

local process = require('spec.support.process')
local shell = require('spec.support.shell')
local system = require('stores.local.system')

local pg_proxy = {}

---@class spec.PgProxy
---@field host string the folder of its socket, for the config of a store
---@field port integer
---@field socket string the path of its socket
local Proxy = {}
Proxy.__index = Proxy

local PROGRAM = [[
local uv = require('luv')
local folder, target = ...
local mode, links, inject, nth, count = 'pass', {}, nil, 0, 0
local refusal

local function close(link)
  links[link] = nil
  for _, pipe in ipairs({ link.client, link.server }) do
    if not pipe:is_closing() then pipe:close() end
  end
end

local function accept(listener)
  local link = { client = uv.new_pipe(false), server = uv.new_pipe(false), seen = '' }
  listener:accept(link.client)
  links[link] = true
  count = count + 1
  if mode == 'mute' then
    link.client:read_start(function(_, data) if not data then close(link) end end)
    return
  end
  local first = true
  link.server:connect(target, function(failure)
    if failure then return close(link) end
    link.client:read_start(function(_, data)
      if link.dead then return end
      if not data then return close(link) end
      if first and mode == 'deaf' and data:find('^%z%z%z\16\4\210\22\46') then
        link.dead = true
        return
      end
      if first and refusal and data:find('options%z', 1) then
        link.client:write(refusal, function() close(link) end)
        return
      end
      first = false
      if data:find('CLIENT\r\n$5\r\nREPLY', 1, true) then link.says = true end
      if link.ready then link.asked = (link.asked or 0) + 1 end
      link.server:write(data)
    end)
    link.server:read_start(function(_, data)
      if link.dead then return end
      if not data then return close(link) end
      if inject and link.asked == nth then
        if not link.injected then link.client:write(inject) end
        link.injected = true
        return
      end
      link.seen = (link.seen .. data):sub(-6)
      if link.seen:find('^Z%z%z%z\5') then link.ready = true end
      link.client:write(data)
    end)
  end)
end

local commands = {}
function commands.pass() mode, inject = 'pass', nil end
function commands.mute() mode = 'mute' end
function commands.deaf() mode = 'deaf' end
function commands.swallow() for link in pairs(links) do link.dead = true end end
function commands.hush() for link in pairs(links) do link.dead = link.dead or link.says end end
function commands.target(path) target = path end
local function bytes(hex)
  return (hex:gsub('%x%x', function(byte) return string.char(tonumber(byte, 16)) end))
end
function commands.inject(text)
  local number, hex = text:match('^(%d+) (.*)$')
  nth = tonumber(number)
  inject = bytes(hex)
end
function commands.refuse(hex) refusal = bytes(hex) end
function commands.count() end

local done = 0
uv.new_timer():start(5, 5, function()
  local file = io.open(folder .. '/command')
  local text = file and file:read('*a')
  if file then file:close() end
  local number, name, rest = (text or ''):match('^(%d+) (%w+) ?(.-)\n')
  if number and tonumber(number) > done then
    done = tonumber(number)
    commands[name](rest)
    print(name .. ' ' .. count)
  end
end)
uv.new_signal():start('sigpipe', function() end)
local listener = uv.new_pipe(false)
assert(listener:bind(folder .. '/.s.PGSQL.5432'))
listener:listen(128, function() accept(listener) end)
print('ready')
uv.run()
]]

--- Starts one.
---@param target string the socket of the server: its folder, .s.PGSQL. and its port
---@return spec.PgProxy
function pg_proxy.start(target)
  local folder = os.tmpname()
  os.remove(folder)
  shell.make(folder)
  local self = setmetatable({ host = folder, port = 5432, sent = 0,
    socket = folder .. '/.s.PGSQL.5432' }, Proxy)
  self.process = process.lua(('local function main(...)\n%s\nend\nmain(%q, %q)'):format(PROGRAM,
    folder, target))
  assert(self.process:line() == 'ready')
  return self
end

local function command(self, text)
  self.sent = self.sent + 1
  local path = self.host .. '/command'
  local file = assert(io.open(path .. '.new', 'w'))
  file:write(self.sent, ' ', text, '\n')
  file:close()
  assert(os.rename(path .. '.new', path))
  return tonumber(self.process:line():match('%d+$'))
end

local function hex(bytes)
  return (bytes:gsub('.', function(byte) return ('%02x'):format(byte:byte()) end))
end

--- What comes from now on passes.
function Proxy:pass() command(self, 'pass') end

--- Who connects from now on is let in, and hears nothing.
function Proxy:mute() command(self, 'mute') end

--- Requests to cancel a statement, from now on, are taken and never answered.
function Proxy:ignore_cancels() command(self, 'deaf') end

--- The links that are open now lose all that is sent, as behind a firewall that forgot them.
function Proxy:swallow() command(self, 'swallow') end

--- From now on nothing passes on the connections to Redis on which it was told not to answer.
function Proxy:hush() command(self, 'hush') end

--- New links lead to this socket.
---@param target string
function Proxy:lead_to(target) command(self, 'target ' .. target) end

--- The answer to the n-th request after the server said that it is ready is this one, on each link.
---@param n integer 1: to the question that a new connection begins with
---@param bytes string
function Proxy:say(n, bytes)
  command(self, ('inject %d '):format(n) .. hex(bytes))
end

--- Who asks for start-up options is refused with this message.
---@param bytes string
function Proxy:refuse_options(bytes) command(self, 'refuse ' .. hex(bytes)) end

--- How many have connected so far.
---@return integer
function Proxy:count() return command(self, 'count') end

--- Ends it, and all of its links.
function Proxy:close()
  self.process:kill()
  shell.remove(self.host)
end

--- The socket of a database's config.
---@param db table
---@return string
function pg_proxy.socket_of(db)
  return ('%s/.s.PGSQL.%s'):format(db.host, tostring(db.port))
end

--- The threads of this process.
---@return integer
function pg_proxy.threads()
  return #system.list('/proc/self/task')
end

return pg_proxy
