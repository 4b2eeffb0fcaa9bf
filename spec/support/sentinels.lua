--- A master, a replica of it and the sentinels that watch them, all real and of a spec's own, on
--- ports of the loopback address. To be killed, frozen, failed over and brought back.

local ports = require('spec.support.ports')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local redis_cli = require('spec.support.redis_cli')
local shell = require('spec.support.shell')
local support = require('spec.support')

local sentinels = {}

---@class spec.Sentinels
---@field servers spec.Redis[] the first one is the master at first
---@field watchers spec.Sentinel[]
---@field name string
local Sentinels = {}
Sentinels.__index = Sentinels

---@class spec.Sentinel
---@field port string
---@field place string
---@field process spec.Process?
local Sentinel = {}
Sentinel.__index = Sentinel

local HOST = '127.0.0.1'

-- A sentinel asks servers every ten seconds what they are, looks on for eight where one is not what
-- it should be, and does nothing for thirty after two in which it was not run, as happens where all
-- cores are busy. A master that it has just followed it pings first when a period is over, which is
-- not to be the time after which it calls it down, or there are two failovers for one.
local IMPATIENT = { 'PING-PERIOD', 200, 'INFO-PERIOD', 1000, 'PUBLISH-PERIOD', 500,
  'TILT-TRIGGER', 30000, 'TILT-PERIOD', 1000, 'MIN-LINK-RECONNECT-PERIOD', 2000 }

-- ---- Sentinels ----------------------------------------------------------------------------------

---@param ... string|number the command
---@return string
function Sentinel:cli(...)
  return redis_cli.ask({ port = self.port, password = self.password, tls = self.tls }, ...)
end

--- Starts it where it does not run; it knows what it knew.
function Sentinel:start()
  if self.process then return end
  self.process = process.start({ 'redis-server', self.file, '--sentinel' })
  support.eventually(function() return self:cli('PING') == 'PONG' end, 30, 'a sentinel')
  self:cli('SENTINEL', 'DEBUG', unpack(IMPATIENT)) -- Redis 6 has no such word, and takes its time
end

function Sentinel:kill()
  if self.process then self.process:kill() end
  self.process = nil
end

function Sentinel:pause() self.process:signal('STOP') end

function Sentinel:resume() self.process:signal('CONT') end

-- ---- All of it ----------------------------------------------------------------------------------

local function new_watcher(self, number, master)
  local port = tostring(ports.free())
  local watcher = setmetatable({ port = port, place = HOST .. ':' .. port,
    password = self.password, tls = self.tls,
    file = ('%s/sentinel%d.conf'):format(self.folder, number) }, Sentinel)
  local lines = {
    (self.tls and 'port 0\ntls-port ' or 'port ') .. port, 'bind ' .. HOST, 'dir ' .. self.folder,
    'logfile ' .. watcher.file .. '.log',
    ('sentinel monitor %s %s %s %d'):format(self.name, HOST, master.port, self.quorum),
    ('sentinel down-after-milliseconds %s %d'):format(self.name, self.down_after),
    ('sentinel failover-timeout %s 4000'):format(self.name),
    ('sentinel parallel-syncs %s 1'):format(self.name),
  }
  if self.tls then
    lines[#lines + 1] = ('tls-cert-file %s.crt\ntls-key-file %s.key\ntls-ca-cert-file %s\n'
      .. 'tls-auth-clients no'):format(self.tls.path, self.tls.path, self.tls.ca)
  end
  if self.redis.requirepass then
    lines[#lines + 1] = ('sentinel auth-pass %s %s'):format(self.name, self.redis.requirepass)
  end
  if self.password then
    lines[#lines + 1] = 'requirepass ' .. self.password
    lines[#lines + 1] = 'sentinel sentinel-pass ' .. self.password
  end
  local file = assert(io.open(watcher.file, 'w'))
  file:write(table.concat(lines, '\n'), '\n')
  file:close()
  return watcher
end

local function start_server(self, number, master)
  local port = tostring(ports.free())
  local options = { port = port, bind = HOST, ['repl-diskless-sync-delay'] = 0,
    ['repl-ping-replica-period'] = 1 }
  for key, value in pairs(self.redis) do options[key] = value end
  if master then options.replicaof = HOST .. ' ' .. master.port end
  local server = redis.start(options)
  options.replicaof = nil -- where it is started again, the sentinels say whom it follows
  server.port, server.place = port, HOST .. ':' .. port
  self.servers[number] = server
  return server
end

--- Starts them; returns when every sentinel knows the replica and the others.
---@param options? {count?: integer, quorum?: integer, password?: string, down_after?: integer,
---  tls?: {path: string, ca: string}, redis?: table<string, string|number>} of the sentinels; tls:
---  the certificate without its ending, of one sentinel alone; redis: options of both servers
---@return spec.Sentinels
function sentinels.start(options)
  options = options or {}
  local folder = shell.folder('/tmp')
  local count = options.count or 3
  local self = setmetatable({ name = 'cache', folder = folder, servers = {}, watchers = {},
    quorum = options.quorum or math.floor(count / 2) + 1, password = options.password,
    tls = options.tls, down_after = options.down_after or 1000, redis = options.redis or {} },
    Sentinels)
  local master = start_server(self, 1)
  start_server(self, 2, master)
  for number = 1, count do
    self.watchers[number] = new_watcher(self, number, master)
    self.watchers[number]:start()
  end
  self:settle()
  return self
end

local function field_of(text, name)
  return ('\n' .. text):match('\n' .. name:gsub('%-', '%%-') .. '\n([^\n]*)')
end

--- Waits until each sentinel that runs knows all others, and a replica that follows.
function Sentinels:settle()
  support.eventually(function()
    for _, watcher in ipairs(self.watchers) do
      if watcher.process then
        local about = watcher:cli('SENTINEL', 'MASTER', self.name)
        if field_of(about, 'num-other-sentinels') ~= tostring(#self.watchers - 1)
          or field_of(about, 'num-slaves') == '0' or field_of(about, 'flags') ~= 'master' then
          return false
        end
        local replicas = watcher:cli('SENTINEL', 'REPLICAS', self.name)
        if field_of(replicas, 'master-link-status') ~= 'ok' then return false end
      end
    end
    return true
  end, 60, self:story('sentinels that know each other'))
end

--- The port of the master, as the first sentinel that runs has it.
---@return string
function Sentinels:master()
  for _, watcher in ipairs(self.watchers) do
    if watcher.process then
      return watcher:cli('SENTINEL', 'get-master-addr-by-name', self.name):match('\n(%d+)$')
    end
  end
end

--- The server that is the master now, and the other one.
---@return spec.Redis master
---@return spec.Redis other
function Sentinels:roles()
  local one, other = self.servers[1], self.servers[2]
  if one.port == self:master() then return one, other end
  return other, one
end

--- What the sentinels said last, for who waits for one of them in vain.
---@param what string what is waited for
---@return fun(): string
function Sentinels:story(what)
  return function()
    local lines = { what }
    for _, server in ipairs(self.servers) do
      lines[#lines + 1] = server.port .. ' is a ' .. tostring(server:info('role'))
    end
    for _, watcher in ipairs(self.watchers) do
      lines[#lines + 1] = watcher.place .. ':\n'
        .. shell.output("tail -n 40 '" .. watcher.file .. ".log'")
    end
    return table.concat(lines, '\n')
  end
end

--- Waits until all sentinels that answer name this server.
---@param server spec.Redis
---@param seconds? number
function Sentinels:named(server, seconds)
  support.eventually(function()
    for _, watcher in ipairs(self.watchers) do
      local place = watcher.process and not watcher.deaf
        and watcher:cli('SENTINEL', 'get-master-addr-by-name', self.name)
      if place and place:match('\n(%d+)$') ~= server.port then return false end
    end
    return true
  end, seconds or 60, self:story('a failover'))
end

--- What Store.new takes.
---@param opts? table of Redis
---@param more? table further keys
---@return table
function Sentinels:config(opts, more)
  local places = {}
  for i, watcher in ipairs(self.watchers) do places[i] = watcher.place end
  local config = { sentinels = places, master = self.name, opts = opts or { timeout = 2 },
    sentinel_opts = self.password and { password = self.password } }
  for key, value in pairs(more or {}) do config[key] = value end
  return config
end

-- Answers each question where the master is with the same bytes, for as long as it lives.
local FAKE = [[
local uv = require('luv')
local answer = %q
local replies = { AUTH = '+OK\r\n', SENTINEL = answer }
for _, word in ipairs({ 'SUBSCRIBE', 'UNSUBSCRIBE' }) do
  local kind = word:lower()
  replies[word] = ('*3\r\n$%%d\r\n%%s\r\n$14\r\n+switch-master\r\n:1\r\n'):format(#kind, kind)
end
local server = uv.new_tcp()
server:bind('127.0.0.1', 0)
server:listen(64, function()
  local peer = uv.new_tcp()
  server:accept(peer)
  peer:read_start(function(err, data)
    if err or not data then return peer:close() end
    for word in data:gmatch('%%*%%d+\r\n%%$%%d+\r\n(%%u+)\r\n') do
      if replies[word] then peer:write(replies[word]) end
    end
  end)
end)
print(server:getsockname().port)
uv.run()
]]

--- A sentinel that always says the same, which no real one can be brought to.
---@param answer string as the protocol writes it
---@return string place
---@return spec.Process to be killed
function sentinels.fake(answer)
  local fake = process.lua(FAKE:format(answer))
  return HOST .. ':' .. assert(fake:line(), 'a fake sentinel'), fake
end

--- How the protocol writes an address.
---@param host string
---@param port string
---@return string
function sentinels.address(host, port)
  return ('*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n'):format(#host, host, #port, port)
end

function Sentinels:remove()
  for _, watcher in ipairs(self.watchers) do watcher:kill() end
  for _, server in ipairs(self.servers) do server:remove() end
  shell.remove(self.folder)
end

return sentinels
