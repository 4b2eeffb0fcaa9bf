--- A Redis of a spec's own, on a unix socket: to be stopped, killed, frozen and started again,
--- which nobody may do to the one that all specs share.

local ports = require('spec.support.ports')
local process = require('spec.support.process')
local redis_cli = require('spec.support.redis_cli')
local shell = require('spec.support.shell')
local system = require('stores.local.system')

local redis = {}

---@class spec.Redis
---@field socket string
---@field options table<string, string|number|string[]>
---@field user string? as whom its cli asks, where that is not the default user
---@field password string?
local Redis = {}
Redis.__index = Redis

--- Makes a server that does not run yet.
---@param options? table<string, string|number|string[]> as in redis.conf; several words in a table
---@return spec.Redis
function redis.new(options)
  local self = setmetatable({ options = options or {}, folder = shell.folder('/tmp') }, Redis)
  self.socket = self.folder .. '/redis.sock'
  return self
end

--- A server that runs.
---@param options? table<string, string|number>
---@return spec.Redis
function redis.start(options)
  local self = redis.new(options)
  self:start()
  return self
end

--- A server that speaks TLS on self.port of 127.0.0.1, besides its unix socket.
---@param certificate string its path without its ending
---@param ca string the authorities of its clients; none of them needs a certificate but where the
---options say `tls-auth-clients yes`
---@param options? table<string, string|number>
---@return spec.Redis
function redis.start_tls(certificate, ca, options)
  local port = ports.free()
  local all = { bind = '127.0.0.1', ['tls-port'] = port, ['tls-cert-file'] = certificate .. '.crt',
    ['tls-key-file'] = certificate .. '.key', ['tls-ca-cert-file'] = ca,
    ['tls-auth-clients'] = 'no' }
  for key, value in pairs(options or {}) do all[key] = value end
  local self = redis.start(all)
  self.port = port
  return self
end

--- Sends a command and gives its answer as redis-cli prints it: text, several values a line each.
---@param ... string|number the command
---@return string
function Redis:cli(...)
  return redis_cli.ask({ path = self.socket, user = self.user,
    password = self.password or self.options.requirepass }, ...)
end

--- The value of a field of INFO.
---@param name string
---@return string?
function Redis:info(name)
  return ('\n' .. self:cli('INFO', 'everything')):match('\n' .. name .. ':([^\r\n]*)')
end

--- Starts the server where it does not run, with these options besides its own. It answers when
--- this returns, unless wait is false.
---@param options? table<string, string|number>
---@param wait? boolean
function Redis:start(options, wait)
  if self.process then return end
  local words = { 'redis-server', '--port', '0', '--save', '', '--appendonly', 'no',
    '--unixsocket', self.socket, '--dir', self.folder, '--logfile', 'redis.log' }
  for _, more in ipairs({ self.options, options or {} }) do
    for key, value in pairs(more) do
      words[#words + 1] = '--' .. key
      for _, word in ipairs(type(value) == 'table' and value or { tostring(value) }) do
        words[#words + 1] = word
      end
    end
  end
  self.process = process.start(words)
  for _ = 1, wait == false and 0 or 3000 do
    if self:cli('PING') == 'PONG' then return end
    if self.process:is_over() then break end
    system.sleep(0.01)
  end
  assert(wait == false, 'Redis did not start in ' .. self.folder)
end

--- Ends it at once: what it held is gone, unless it saved it before.
function Redis:kill()
  if not self.process then return end
  self.process:kill()
  self.process = nil
  os.remove(self.socket)
end

--- Writes what it holds to its folder: what it has again when it is started after a kill.
function Redis:save()
  assert(self:cli('SAVE') == 'OK')
end

--- Forgets what was saved.
function Redis:forget()
  os.remove(self.folder .. '/dump.rdb')
end

--- Freezes it: its socket takes connections, and nobody answers.
function Redis:pause()
  self.process:signal('STOP')
end

function Redis:resume()
  self.process:signal('CONT')
end

--- Ends it and removes its files.
function Redis:remove()
  self:kill()
  shell.remove(self.folder)
end

--- What Store.new takes.
---@param opts? table its opts; patient where they are left out, as those of the Redis of the run
---@return table
function Redis:config(opts)
  return { path = self.socket, opts = opts or { timeout = 2 } }
end

--- What asks the server of another socket, such as the one that all specs share.
---@param socket string
---@return fun(...: string|number): string
function redis.cli(socket)
  return function(...) return redis_cli.ask({ path = socket }, ...) end
end

return redis
