--- The program that spec/engine/memory_spec.lua measures: walks over a table by `each`, and prints
--- the rows that it met, the sum of a member of theirs, and the most memory that the process ever
--- had, in kilobytes.
---
---     luajit spec/cost/walk.lua HOST USER DATABASE REDIS_SOCKET
local stores = require('stores')

local host, user, database, redis = unpack(arg)
local store = stores.Store.new({ host = host, port = 5432, user = user, database = database },
  { path = redis, opts = { timeout = 2 } })

local rows, sum = 0, 0
for document in store:each('docs') do
  rows = rows + 1
  sum = sum + document.n
end
store:close()

local file = assert(io.open('/proc/self/status'))
local most = file:read('*a'):match('VmHWM:%s*(%d+) kB')
file:close()
print(('%d %d %s'):format(rows, sum, most))
