-- A program that works until it is ended: it counts the orders now and then, and says so.
local stores = require('stores')

local db, redis, opts = dofile(os.getenv('STORES_CONFIG'))
local store = stores.Store.new(db, redis, opts)
io.stdout:setvbuf('line')
while true do
  print(('%d orders'):format(store:count('orders')))
  stores.sleep(60)
end
