--- A process that holds a table in its memory, for the workloads that write to one:
---
---     luajit bench/holder.lua ROWS
---
--- It reads a few hundred rows a second, as a process of a service does, until its parent ends.
local ffi = require('ffi')
local stores = require('stores')

ffi.cdef('int getppid(void);')

local rows, parent = tonumber(arg[1]), ffi.C.getppid()
local opts = { timeout = 5 }
local store = stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
  user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE'), poolsize = 1 },
  { path = os.getenv('REDIS_SOCKET'), opts = opts }, { hold = { 'bench_held' } })

stores.run(function()
  while ffi.C.getppid() == parent do
    for _ = 1, 8 do store:find('bench_held', ('%d'):format(math.random(rows))) end
    stores.sleep(0.02)
  end
end)
store:close()
