-- Makes the table of the API, where it is not there.
local stores = require 'stores'

local store = stores.Store.new({
  host = os.getenv('PGHOST'), port = os.getenv('PGPORT'), user = os.getenv('PGUSER'),
  database = os.getenv('PGDATABASE'),
}, { path = os.getenv('REDIS_SOCKET') })
store:query('CREATE TABLE IF NOT EXISTS docs (id bigint PRIMARY KEY, value jsonb)')
store:query('CREATE INDEX IF NOT EXISTS docs_value ON docs USING gin (value jsonb_path_ops)')
store:close()
