--- Runs the contract of the hosts in one of them, in a process of its own:
---   luajit spec/support/hosts_run.lua standalone|luv|cqueues HOST PORT USER DATABASE REDIS
--- In nginx a location calls what this file returns.

local stores = require('stores')
local contract = require('spec.hosts_contract')

local function run(name, where, ticker, print, turns)
  local function open()
    local db = { host = where.host, port = where.port, user = where.user,
                 database = where.database, poolsize = 4 }
    return stores.Store.new(db, { path = where.redis })
  end
  local store = open()
  store:query('DROP TABLE IF EXISTS docs')
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  contract.run_all({ stores = stores, store = store, open = open, host = name, ticker = ticker,
    turns = turns }, print)
  store:close()
end

if rawget(_G, 'ngx') then return run end

local name = arg[1]
local where = { host = arg[2], port = arg[3], user = arg[4], database = arg[5], redis = arg[6] }
local tickers = {}
io.stdout:setvbuf('line')
stores.use(name)

-- its own timer is the host's
function tickers.standalone(seconds, fn)
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
local function turns(_, fn)
  local methods = debug.getmetatable(require('stores.wait').host.hub()).__index
  local turn = methods.turn
  function methods.turn(...)
    fn()
    return turn(...)
  end
  return function() methods.turn = turn end
end

function tickers.luv(seconds, fn)
  local timer = require('luv').new_timer()
  timer:start(seconds * 1000, seconds * 1000, fn)
  return function() timer:close() end
end

function tickers.cqueues(seconds, fn)
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

local function main()
  run(name, where, tickers[name], print, name == 'standalone' and turns or nil)
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
