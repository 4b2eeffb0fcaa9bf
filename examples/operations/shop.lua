-- Where the servers of a program are, for `stores --config shop.lua` or STORES_CONFIG=shop.lua, and
-- for the program itself: local db, redis, opts = dofile('shop.lua').
local db = {
  url = os.getenv('DATABASE_URL'),           -- postgresql://shop@db/shop
  application_name = 'shop',
}
local redis = { url = os.getenv('REDIS_URL') } -- redis://cache:6379
local opts = { name = 'shop' }

return db, redis, opts
