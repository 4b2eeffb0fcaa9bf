--- What specs of coroutines that are dropped share: the rows that they leave locked, for how long
--- that may be, and a heap that keeps the collector busy.

local support = require('spec.support')

local dropped = {}

--- Seconds. PostgreSQL itself ends a transaction that is idle after 15 s; and a busy machine is
--- slow.
dropped.SOON = 8

--- A program that makes a heap through which the collector needs a while by itself.
dropped.BALLAST = [[
  ballast = {}
  for i = 1, 100000 do ballast[i] = { i, { i }, tostring(i) } end
  collectgarbage()
]]

--- A database with the rows 1 to 99.
---@return table db its config
function dropped.database()
  local db = support.db()
  support.psql(db, 'CREATE TABLE rows (id bigint PRIMARY KEY, value jsonb);'
    .. [[INSERT INTO rows SELECT i, '{"n": 0}' FROM generate_series(1, 99) i]])
  return db
end

return dropped
