--- Which host Stores lives in: openresty in nginx, standalone elsewhere, others by stores.use.

local errors = require('stores.errors')

local hosts = {}

local NAMES = { standalone = true, luv = true, cqueues = true, openresty = true, uv = true }

local function in_nginx()
  local ngx = rawget(_G, 'ngx')
  return type(ngx) == 'table' and type(ngx.config) == 'table' and ngx.config.subsystem ~= nil
end

--- The host that fits where nobody chose one.
---@return table
function hosts.default()
  return require(in_nginx() and 'stores.hosts.openresty' or 'stores.hosts.standalone')
end

--- Chooses the host, before the first store is made and the first coroutine is started.
---@param name 'standalone'|'luv'|'cqueues'|'openresty'|'uv'
---@param opts? {loop: lightuserdata} for uv
function hosts.use(name, opts)
  local wait = require('stores.wait')
  if not NAMES[name] then
    errors.raise('invalid_argument', ("there is no host '%s': it is standalone, luv, cqueues, "
      .. 'openresty or uv'):format(tostring(name)))
  end
  if wait.host.name == name and name ~= 'uv' then return end
  if wait.host.in_use() then
    errors.raise('unsupported', ("the host is '%s' already: call stores.use before the first store "
      .. 'is made'):format(wait.host.name))
  end
  local host = require('stores.hosts.' .. name)
  wait.host = host.configure and host.configure(opts) or host
end

return hosts
