--- Runs the contract of the hosts in one of them, in a process of its own:
---   luajit spec/support/hosts_run.lua standalone|luv|cqueues HOST PORT USER DATABASE REDIS
--- In nginx a location calls what this file returns.

if os.getenv('STORES_TEST_COLLECTS') and not rawget(_G, 'ngx') then
  require('spec.support.gc_helper')
end

local stores = require('stores')
local contract = require('spec.hosts.contract')

local function run(name, where, print, own)
  local function open()
    local db = { host = where.host, port = where.port, user = where.user,
                 database = where.database, poolsize = 4 }
    return stores.Store.new(db, { path = where.redis, opts = { timeout = 2 } })
  end
  local store = open()
  store:query('DROP TABLE IF EXISTS docs')
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  contract.run_all({ stores = stores, store = store, open = open, host = name,
    ticker = own.ticker, turns = own.turns, echo = own.echo }, print)
  store:close()
end

if rawget(_G, 'ngx') then return run end

local name = arg[1]
local where = { host = arg[2], port = arg[3], user = arg[4], database = arg[5], redis = arg[6] }
local own = { standalone = {}, luv = {}, cqueues = {} }
io.stdout:setvbuf('line')
stores.use(name)

function own.standalone.ticker(seconds, fn)
  local stopped = false
  local task = stores.spawn(function()
    while not stopped do
      fn()
      stores.sleep(seconds)
    end
  end)
  return function()
    stopped = true
    task:join()
  end
end

-- Its timers are coroutines, which have their turn after those that wait already; the loop's own
-- turns tell how long its sockets and deadlines waited.
function own.standalone.turns(_, fn)
  local methods = debug.getmetatable(require('stores.wait').host.hub()).__index
  local turn = methods.turn
  function methods.turn(...)
    fn()
    return turn(...)
  end
  return function() methods.turn = turn end
end

function own.luv.ticker(seconds, fn)
  local timer = require('luv').new_timer()
  timer:start(seconds * 1000, seconds * 1000, fn)
  return function() timer:close() end
end

function own.cqueues.ticker(seconds, fn)
  local cqueues = require('cqueues')
  local stopped = false
  cqueues.running():wrap(function()
    while not stopped do
      fn()
      cqueues.sleep(seconds)
    end
  end)
  return function() stopped = true end
end

local pair -- of sockets, the second of which sends back what it gets

function own.luv.echo()
  local uv = require('luv')
  if not pair then
    local fds = uv.socketpair()
    pair = { uv.new_pipe(false), uv.new_pipe(false) }
    pair[1]:open(fds[1])
    pair[2]:open(fds[2])
    pair[2]:read_start(function(_, byte)
      if byte then pair[2]:write(byte) end
    end)
  end
  for _, one in ipairs(pair) do one:ref() end
  local co = coroutine.running()
  pair[1]:read_start(function()
    pair[1]:read_stop()
    assert(coroutine.resume(co))
  end)
  pair[1]:write('!')
  coroutine.yield()
  for _, one in ipairs(pair) do one:unref() end -- the program ends all the same
end

function own.cqueues.echo()
  local cqueues, socket = require('cqueues'), require('cqueues.socket')
  if not pair then
    pair = { socket.pair() }
    for _, one in ipairs(pair) do one:setmode('bn', 'bn') end
  end
  cqueues.running():wrap(function() pair[2]:write(pair[2]:read(1)) end)
  pair[1]:write('!')
  pair[1]:read(1)
end

local function main()
  run(name, where, print, own[name])
end

-- As a program of that host would start it.
if name == 'luv' then
  stores.spawn(main)
  require('luv').run()
elseif name == 'cqueues' then
  local controller = require('cqueues').new()
  controller:wrap(main)
  assert(controller:loop())
else
  stores.run(main)
end
print('end')
