--- An nginx of a spec: in a folder of its own, on a unix socket, ended with this process.

local http = require('spec.support.http')
local process = require('spec.support.process')
local shell = require('spec.support.shell')
local system = require('stores.local.system')
local uv = require('luv')

local nginx = {}

---@class spec.Nginx
---@field folder string
---@field socket string
local Nginx = {}
Nginx.__index = Nginx

-- What a file holds; '' where there is none.
local function text_of(path)
  return shell.exists(path) and shell.read(path) or ''
end

local function wait_for(condition, what)
  for _ = 1, 3000 do
    local value = condition()
    if value then return value end
    system.sleep(0.01)
  end
  error('it did not happen: ' .. what, 3)
end

local MAIN = [[
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
user %s;
daemon off;
worker_processes %d;
pid %s/nginx.pid;
env STORES_TEST_PASS;
env STORES_TEST_COLLECTS;
%s
error_log %s/error.log notice;
events { worker_connections %d; }
http {
  access_log off;
  client_body_temp_path %s/body;
  proxy_temp_path %s/proxy;
  fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi;
  scgi_temp_path %s/scgi;
  lua_package_path '%s;;';
  lua_package_cpath '%s';
  server { listen unix:%s/ready.sock; return 204; }
  %s
}
]]

--- Starts nginx with what stands in http {}; @SOCKET@ in it is the socket, @FOLDER@ its folder,
--- where ready.sock answers 204.
---@param text string
---@param workers? integer 1 where it is left out
---@param main? string what stands outside of http {}
---@param connections? integer of a worker, 4096 where it is left out
---@return spec.Nginx
function nginx.start(text, workers, main, connections)
  local folder = shell.folder()
  local self = setmetatable({ folder = folder, socket = folder .. '/http.sock' }, Nginx)
  text = text:gsub('@SOCKET@', 'unix:' .. self.socket):gsub('@FOLDER@', folder)
  shell.write(folder .. '/nginx.conf', MAIN:format(uv.os_get_passwd().username, workers or 1,
    folder, main or '', folder, connections or 4096, folder, folder, folder, folder, folder,
    package.path, package.cpath, folder, text))
  -- its workers end with the master, which KILL would not let it tell them
  self.process = process.start({ 'nginx', '-p', folder, '-c', folder .. '/nginx.conf' },
    folder .. '/stderr', 'TERM')
  local ok, err = pcall(wait_for, function()
    return http.request(folder .. '/ready.sock', 'GET', '/')
  end, 'nginx answers')
  if not ok then
    err = err .. '\n' .. self:log()
    self:stop()
    error(err, 2)
  end
  return self
end

local STORE = [[
init_by_lua_block {
  stores = require('stores')
  local made
  function S()
    made = made or stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s'%s }, nil,
      { cache = false, timeout = 10 })
    return made
  end
}
%s
server { listen @SOCKET@; %s }
]]

--- Starts nginx with a store without a cache, S() in its Lua.
---@param db table
---@param locations table<string, string> path -> what content_by_lua_block runs
---@param opts? {main: string, http: string, db: string, connections: integer} main: outside of
--- http {}; http: in it; db: more keys of the database's configuration
---@return spec.Nginx
function nginx.over(db, locations, opts)
  local list = {}
  for name, lua in pairs(locations) do
    list[#list + 1] = ('location = %s { content_by_lua_block { %s } }'):format(name, lua)
  end
  opts = opts or {}
  return nginx.start(STORE:format(db.host, db.port, db.user, db.database, opts.db or '',
    opts.http or '', table.concat(list, '\n')), 1, opts.main, opts.connections)
end

--- Sends a request, which must be answered with 200, and gives the text of the answer.
---@param target string
---@return string
function Nginx:get(target)
  local status, text = self:request('GET', target)
  if status ~= 200 then
    error(('%s: %s %s\n%s'):format(target, tostring(status), tostring(text), self:log()), 2)
  end
  return (text:gsub('%s+$', ''))
end

--- What it logged.
---@return string
function Nginx:log()
  return text_of(self.folder .. '/error.log') .. text_of(self.folder .. '/stderr')
end

--- Sends a request and gives its status, body and headers.
function Nginx:request(method, target, body, headers)
  return http.request(self.socket, method, target, body, headers)
end

--- The process ids of its workers, those that are about to end too.
---@return string[]
function Nginx:workers()
  local list = {}
  local text = text_of(('/proc/%d/task/%d/children'):format(self.process.pid, self.process.pid))
  for pid in text:gmatch('%d+') do list[#list + 1] = pid end
  return list
end

--- Sends a signal to the master: 'HUP' or 'QUIT'.
function Nginx:signal(name)
  self.process:signal(name)
end

--- Ends it gracefully, and raises where it does not end; gives its log.
---@return string
function Nginx:quit()
  self:signal('QUIT')
  wait_for(function()
    local status = text_of(('/proc/%d/stat'):format(self.process.pid))
    return status == '' or status:find(') Z ', 1, true)
  end, 'nginx ends')
  local log = self:log()
  self:stop()
  return log
end

--- Ends it at once, and removes its folder.
function Nginx:stop()
  if not self.process then return end
  self.process:signal('TERM')
  self.process:wait()
  self.process = nil
  shell.remove(self.folder)
end

return nginx
