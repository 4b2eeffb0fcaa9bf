-- The script of lua_host.c: its coroutines run on the program's own loop.
local host, user, database, redis = ...
local stores = require 'stores'

stores.use('uv', { loop = loop }) -- luacheck: globals loop

stores.spawn(function()
  local db = { host = host, user = user, database = database }
  local store = stores.Store.new(db, { path = redis })
  store:query('CREATE TABLE IF NOT EXISTS visits (id bigint PRIMARY KEY, value jsonb)')
  local visit = store:insert('visits', { count = 0 })
  stores.map({ 1, 2, 3, 4, 5 }, function()
    store:updateObject('visits', visit.id, function(document)
      document.count = document.count + 1
    end)
  end)
  stores.sleep(0.02)
  print('visits: ' .. store:find('visits', visit.id).count)
  store:delete('visits', visit.id)
  store:close()
end)
