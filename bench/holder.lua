--- A process that holds a table in its memory, for the workloads that write to one:
---
---     luajit bench/holder.lua TABLE ROWS
---
--- It says `holds` when it does, and reads some hundred rows a second from its memory, as a process
--- of a service does, until its parent ends. The servers are those of the environment.
local ffi = require('ffi')
local stores = require('stores')

ffi.cdef('int getppid(void);')

local name, rows, parent = arg[1], tonumber(arg[2]), ffi.C.getppid()
local store = stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
  user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE'), poolsize = 1 },
  { path = os.getenv('REDIS_SOCKET'), opts = { timeout = 5 } }, { hold = { name } })

local hot = {}
for number = 1, math.min(rows, 1000) do hot[number] = ('%d'):format(number) end

local function orphaned() return ffi.C.getppid() ~= parent end

-- Until all that it reads is in its memory, what it reads elsewhere is no cost of a write; and
-- after a second of leases '?' of a new hash is gone, for which a writer would wait.
local function settle()
  local settled, leases = 0, 0
  while settled < 5 and not orphaned() do
    store:findAllByIds(name, hot)
    stores.sleep(0.02)
    local stats = store:stats()
    if stats.held_rows >= #hot and stats.held_leases > leases then
      settled, leases = settled + 1, stats.held_leases
    end
  end
end

stores.run(function()
  settle()
  print('holds')
  io.stdout:flush()
  while not orphaned() do
    for _ = 1, 8 do store:find(name, hot[math.random(#hot)]) end
    stores.sleep(0.02)
  end
end)
store:close()
