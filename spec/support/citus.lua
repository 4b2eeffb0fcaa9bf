--- A database of a spec's own on a Citus cluster: a coordinator and two workers, of which
--- STORES_CITUS_URL names the coordinator. Where it is not set, specs that need one say skipped.
--- Between the coordinator and its workers there may be proxies, which hold or cut what passes at
--- a word that they were told.

local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')
local system = require('stores.local.system')

local citus = {}

--- What a spec says that needs a cluster where there is none.
citus.SKIPPED = 'skipped: STORES_CITUS_URL is not set'

--- What declares a spec that needs a cluster; its function runs in stores.run.
---@param it function busted's
---@param skip fun(why: string) calls pending, which inside of a spec is another one than outside
---@return fun(name: string, fn: function)
function citus.there(it, skip)
  return function(name, fn)
    it(name, function()
      if not citus.is_there() then return skip(citus.SKIPPED) end
      stores.run(fn)
    end)
  end
end

---@class spec.Citus
---@field db table the config of its database, by the coordinator
---@field workers table[] the same by each worker, never by its proxy
---@field proxy? spec.CitusProxy
local Citus = {}
Citus.__index = Citus

-- Both workers by one process. A link is held where the word passes from the coordinator: that and
-- what follows it waits, in both directions.
local PROGRAM = [[
local uv = require('luv')
local folder, targets = arg[1], { tonumber(arg[2]), tonumber(arg[3]) }
local word, what, links = nil, nil, {}

local function close(link)
  links[link] = nil
  for _, pipe in ipairs({ link.client, link.server }) do
    if not pipe:is_closing() then pipe:close() end
  end
end

local function reached(link, data)
  local how = what
  word = nil
  io.open(folder .. '/reached', 'w'):close()
  if how == 'cut' then -- nothing of it arrives
    close(link)
  elseif how == 'answer' then -- it arrives, and its answer is lost
    link.deaf = true
    link.server:write(data, function()
      uv.new_timer():start(100, 0, function() close(link) end)
    end)
  elseif how == 'late' then -- the coordinator loses the link, and the worker hears of it later
    link.client:close()
    link.orphan, link.held = true, { data }
  else
    link.held = { data }
  end
end

local function up(link, data)
  if word and data:find(word, 1, true) then return reached(link, data) end
  if link.held then link.held[#link.held + 1] = data else link.server:write(data) end
end

local function accept(listener, target)
  local link = { client = uv.new_tcp(), server = uv.new_tcp() }
  listener:accept(link.client)
  links[link] = true
  link.server:connect('127.0.0.1', target, function(failure)
    if failure then return close(link) end
    link.client:read_start(function(_, data)
      if data then up(link, data) elseif not link.orphan then close(link) end
    end)
    link.server:read_start(function(_, data)
      if not data then return close(link) end
      if not link.deaf and not link.orphan and not link.client:is_closing() then
        link.client:write(data)
      end
    end)
  end)
end

local commands = {}
function commands.at(rest)
  what, word = rest:match('^(%l+) (.*)$')
  word = word:gsub('%$$', '\0')
end
function commands.pass()
  word = nil
  for link in pairs(links) do
    for _, data in ipairs(link.held or {}) do link.server:write(data) end
    link.held = nil
  end
end
function commands.drop()
  word = nil
  for link in pairs(links) do close(link) end
end

local done = 0
uv.new_timer():start(5, 5, function()
  local file = io.open(folder .. '/command')
  local text = file and file:read('*a')
  if file then file:close() end
  local number, name, rest = (text or ''):match('^(%d+) (%w+) ?(.-)\n')
  if number and tonumber(number) > done then
    done = tonumber(number)
    commands[name](rest)
    io.stdout:write('done\n')
  end
end)
uv.new_signal():start('sigpipe', function() end)
local ports = {}
for i, target in ipairs(targets) do
  local listener = uv.new_tcp()
  assert(listener:bind('127.0.0.1', 0))
  listener:listen(128, function() accept(listener, target) end)
  ports[i] = listener:getsockname().port
end
io.stdout:write(table.concat(ports, ' '), '\n')
uv.run()
]]

---@class spec.CitusProxy
---@field ports integer[]
local Proxy = {}
Proxy.__index = Proxy

local function start_proxy(ports)
  local folder = os.tmpname()
  os.remove(folder)
  assert(os.execute("mkdir '" .. folder .. "'") == 0)
  local self = setmetatable({ folder = folder, sent = 0 }, Proxy)
  self.process = process.lua(("local arg = { %q, %d, %d }\nlocal function main()\n%s\nend\nmain()")
    :format(folder, ports[1], ports[2], PROGRAM))
  self.ports = {}
  for port in self.process:line():gmatch('%d+') do self.ports[#self.ports + 1] = tonumber(port) end
  return self
end

local function command(self, text)
  self.sent = self.sent + 1
  local path = self.folder .. '/command'
  local file = assert(io.open(path .. '.new', 'w'))
  file:write(self.sent, ' ', text, '\n')
  file:close()
  assert(os.rename(path .. '.new', path))
  assert(self.process:line() == 'done')
end

--- The next time that a word passes to a worker: 'hold' keeps that link as it is until pass();
--- 'cut' closes it, and the word does not arrive; 'answer' has it arrive, and closes the link
--- before its answer; 'late' closes it for the coordinator, and the word arrives with pass().
---@param what 'hold'|'cut'|'answer'|'late'
---@param word string with a $ behind it: at the end of a statement
function Proxy:at(what, word)
  os.remove(self.folder .. '/reached')
  command(self, ('at %s %s'):format(what, word))
end

--- Waits, in a task, until it has passed.
function Proxy:reached()
  support.eventually(function() return system.stat(self.folder .. '/reached') end, 60, 'the word')
end

--- What is held goes on, and nothing more is.
function Proxy:pass() command(self, 'pass') end

--- Closes every link that is open.
function Proxy:drop() command(self, 'drop') end

local function config_of(url)
  local user, host, port, database = url:match('^postgres%w*://([^@:]+)@([^:/]+):(%d+)/(.+)$')
  assert(host, 'STORES_CITUS_URL is postgres://user@host:port/database')
  return { host = host, port = tonumber(port), database = database, user = user,
    acquire_timeout = 20 }
end

local function with(db, fields)
  local copy = {}
  for key, value in pairs(db) do copy[key] = value end
  for key, value in pairs(fields) do copy[key] = value end
  return copy
end

--- Whether there is a cluster.
---@return boolean
function citus.is_there() return (os.getenv('STORES_CITUS_URL') or '') ~= '' end

local count = 0

-- Calls it until it raises nothing, for ten seconds.
local function insist(fn, ...)
  local refused
  for _ = 1, 100 do
    local ok, err = pcall(fn, ...)
    if ok then return end
    refused = err
    system.sleep(0.1)
  end
  error(refused, 0)
end

--- A fresh database on all three, whose tables have 8 shards.
---@param opts? { proxies?: boolean }
---@return spec.Citus
function citus.start(opts)
  local main = config_of(os.getenv('STORES_CITUS_URL'))
  local ports = {}
  for port in support.psql(main, 'SELECT nodeport FROM pg_dist_node WHERE groupid <> 0'
    .. " AND noderole = 'primary' ORDER BY nodeport"):gmatch('%d+') do
    ports[#ports + 1] = tonumber(port)
  end
  assert(#ports == 2, 'the cluster of STORES_CITUS_URL has two workers')
  count = count + 1
  local name = ('spec_%s_%d'):format(stores.flake.at(os.time()):sub(-9) .. system.pid(), count)
  local self = setmetatable({ db = with(main, { database = name }), workers = {} }, Citus)
  for i, port in ipairs(ports) do
    self.workers[i] = with(self.db, { port = port, host = '127.0.0.1' })
  end
  for _, db in ipairs({ self.workers[1], self.workers[2], self.db }) do
    support.psql(with(db, { database = 'postgres' }), 'CREATE DATABASE ' .. name)
    support.psql(db, 'SET client_min_messages = error; CREATE EXTENSION citus')
  end
  if opts and opts.proxies then
    assert(self:psql('SHOW citus.node_conninfo'):find('sslmode=disable', 1, true),
      "proxies look into what passes: the cluster needs citus.node_conninfo = 'sslmode=disable'")
    self.proxy = start_proxy(ports)
  end
  self:psql(("SELECT citus_set_coordinator_host('%s', %d)"):format(main.host, main.port))
  for i, port in ipairs(ports) do
    -- it writes roles, which all databases of a cluster share: another file may do so just then
    insist(self.psql, self, ("SELECT citus_add_node('127.0.0.1', %d)"):format(self.proxy
      and self.proxy.ports[i] or port))
  end
  self:psql('ALTER DATABASE ' .. name .. ' SET citus.shard_count = 8')
  return self
end

--- What psql prints for a statement of the coordinator; not what that warns of, as of daemons that
--- it cannot start for all databases of a cluster.
---@param sql string
---@return string text without the last newline
function Citus:psql(sql)
  return (support.psql(self.db, 'SET client_min_messages = error; ' .. sql):gsub('\n$', ''))
end

--- Makes tables of Stores, each distributed by its id.
---@param ... string
function Citus:distributed(...)
  for _, name in ipairs({ ... }) do
    self:psql(("CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);"
      .. " SELECT create_distributed_table('%s', 'id')"):format(name, name))
  end
end

--- Ids that are on different workers.
---@param name string a distributed table
---@return integer[]
function Citus:ids_apart(name)
  local list = {}
  for id in self:psql(('SELECT DISTINCT ON (p.nodeport) i FROM generate_series(1, 200) i'
    .. " JOIN pg_dist_shard_placement p ON p.shardid = get_shard_id_for_distribution_column('%s',"
    .. ' i::bigint) ORDER BY p.nodeport, i'):format(name)):gmatch('%d+') do
    list[#list + 1] = tonumber(id)
  end
  return list
end

--- Two ids of one shard, as text.
---@param name string a distributed table
---@return string[]
function Citus:ids_together(name)
  local shards = {}
  for id, shard in self:psql(('SELECT i, get_shard_id_for_distribution_column('
    .. "'%s', i::bigint) FROM generate_series(1, 200) i"):format(name)):gmatch('(%d+)|(%d+)') do
    if shards[shard] then return { shards[shard], id } end
    shards[shard] = id
  end
  error('no two ids of one shard')
end

local function drop(db)
  local main = with(db, { database = 'postgres' })
  support.psql(main, ("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    .. " WHERE datname = '%s'"):format(db.database))
  support.psql(main, ('DROP DATABASE IF EXISTS %s WITH (FORCE)'):format(db.database))
end

--- Drops the database on all three, whoever is still connected to it.
function Citus:close()
  if self.proxy then self.proxy:drop() end
  for _, db in ipairs({ self.db, self.workers[1], self.workers[2] }) do
    support.psql(with(db, { database = 'postgres' }), "SELECT pg_terminate_backend(pid)"
      .. (" FROM pg_stat_activity WHERE datname = '%s'"):format(self.db.database))
    support.psql(db, "SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts"
      .. ' WHERE database = current_database() \\gexec')
    insist(drop, db) -- a daemon of Citus comes back to a database while that is there
  end
  if not self.proxy then return end
  self.proxy.process:kill()
  os.execute("rm -rf '" .. self.proxy.folder .. "'")
end

return citus
