--- An nginx whose Lua has stores, a database of its own, and who is connected to the servers.

local nginx = require('spec.support.nginx')
local shell = require('spec.support.shell')
local support = require('spec.support')

local openresty = {}

---@class spec.Openresty
---@field db table
---@field server spec.Nginx? that was started last
local Openresty = {}
Openresty.__index = Openresty

--- Makes the database.
---@return spec.Openresty
function openresty.new()
  return setmetatable({ db = support.db() }, Openresty)
end

--- How many sessions PostgreSQL has of the database, but for the one that asks.
---@return integer
function Openresty:backends()
  return tonumber(support.psql(self.db, 'SELECT count(*) FROM pg_stat_activity WHERE datname = '
    .. 'current_database() AND pid <> pg_backend_pid()'):match('%d+'))
end

--- How many clients Redis has.
---@return integer
function openresty.redis_clients()
  return tonumber(shell.output(("redis-cli -s '%s' CLIENT LIST | grep -c ."):format(
    support.redis().path)))
end

--- Starts nginx; open() in its Lua makes a store, and S() has one for all of a VM.
---@param text string of its server
---@param opts? {init: string?, main: string?, workers: integer?, outside: string?} init: more Lua
--- of init_by_lua; main: more of the http block
---@return spec.Nginx
function Openresty:start(text, opts)
  opts = opts or {}
  local db = self.db
  local init = ([[
    init_by_lua_block {
      stores = require('stores')
      function open(more)
        local db = { host = '%s', port = %s, user = '%s', database = '%s' }
        for key, value in pairs(more or {}) do db[key] = value end
        return stores.Store.new(db, { path = '%s', opts = { timeout = 2 } })
      end
      local made
      function S(more) made = made or open(more) return made end
      %s
    }]]):format(db.host, db.port, db.user, db.database, support.redis().path, opts.init or '')
  self.server = nginx.start((opts.main or '') .. init .. 'server { listen @SOCKET@; ' .. text
    .. '}', opts.workers, opts.outside)
  return self.server
end

--- A location that runs Lua.
---@param name string
---@param lua string
---@return string
function openresty.at(name, lua)
  return ('location = /%s { content_by_lua_block { %s } }'):format(name, lua)
end

--- What a location says, which has to be well.
---@param target string
---@return string
function Openresty:get(target)
  local status, text = self.server:request('GET', target)
  assert(status == 200, text .. '\n' .. self.server:log())
  return (text:gsub('%s+$', ''))
end

--- Ends nginx gracefully.
---@return string log
function Openresty:quit()
  local log = self.server:quit()
  self.server = nil
  return log
end

--- Ends it where it runs.
function Openresty:stop()
  if self.server then self.server:stop() end
  self.server = nil
end

return openresty
