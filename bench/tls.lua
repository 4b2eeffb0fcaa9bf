--- A Redis of its own, reached by TCP: on one port as it is, on another by TLS. Started where a
--- workload asks for it; it ends with this process.

local certificates = require('spec.support.certificates')
local ports = require('spec.support.ports')
local redis = require('spec.support.redis')

local tls = {}

local server, ca

local function start()
  if server then return end
  local folder = assert(os.getenv('STORES_BENCH_DATA'), 'run this by bench/run.sh') .. '/tls'
  assert(os.execute("mkdir '" .. folder .. "'") == 0)
  local authority = certificates.authority(folder, 'ca')
  ca = authority.file
  server = redis.start_tls(authority:issue('server', 'IP:127.0.0.1'), ca,
    { port = ports.free() })
end

--- What leads a workload there without TLS.
---@return string
function tls.without()
  start()
  return ('REDIS_PORT=%s '):format(server.options.port)
end

--- The same with TLS.
---@return string
function tls.with()
  start()
  return ("REDIS_PORT=%s REDIS_CA='%s' "):format(server.port, ca)
end

function tls.stop()
  if server then server:remove() end
end

return tls
