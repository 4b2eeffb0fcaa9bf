--- A process that holds a table in its memory, for the workloads that write to one:
---
---     luajit bench/holder.lua TABLE ROWS
---
--- It says `holds` when it does, and reads some hundred rows a second, as a process of a service
--- does, until its parent ends. The servers are those of the environment.
local ffi = require('ffi')
local stores = require('stores')

ffi.cdef('int getppid(void);')

local name, rows, parent = arg[1], tonumber(arg[2]), ffi.C.getppid()
local store = stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
  user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE'), poolsize = 1 },
  { path = os.getenv('REDIS_SOCKET'), opts = { timeout = 5 } }, { hold = { name } })

stores.run(function()
  local settled, leases = 0, 0
  while ffi.C.getppid() == parent do
    for _ = 1, 8 do store:find(name, ('%d'):format(math.random(math.min(rows, 1000)))) end
    local stats = store:stats()
    -- a second of leases: '?' of a new hash, for which a writer would wait, is gone by then
    if stats.held_hits > 0 and stats.held_leases > leases then
      settled, leases = settled + 1, stats.held_leases
      if settled == 5 then
        print('holds')
        io.stdout:flush()
      end
    end
    stores.sleep(0.02)
  end
end)
store:close()
