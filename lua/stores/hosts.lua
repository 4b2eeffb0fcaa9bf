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

--- Raises invalid_argument for what is no name of a host.
---@param name any
function hosts.check(name)
  if not NAMES[name] then
    errors.raise('invalid_argument', ("there is no host '%s': it is standalone, luv, cqueues, "
      .. 'openresty or uv'):format(tostring(name)))
  end
end

--- The host of a name.
---@param name string
---@param opts table? for those that take any
---@return table
function hosts.load(name, opts)
  local host = require('stores.hosts.' .. name)
  return host.configure and host.configure(opts) or host
end

return hosts
