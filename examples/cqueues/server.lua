-- A small TCP service on cqueues: notes in PostgreSQL, read through the cache.
--   luajit examples/cqueues/server.lua [FOLDER [SOCKET]]
-- FOLDER: where its PostgreSQL and Redis live (./data); SOCKET: a port of 127.0.0.1, or the path of
-- a unix socket (7379). One command a line, one answer a line:
--   PUT {"any": "document"}   ->  the new id
--   GET ID                    ->  the document, or null
--   DEL ID                    ->  true or false
-- Try it:  nc 127.0.0.1 7379
local cqueues = require 'cqueues'
local signal = require 'cqueues.signal'
local socket = require 'cqueues.socket'
local stores = require 'stores'

local folder, where = arg[1] or './data', arg[2] or '7379'
stores.use 'cqueues'

local store = stores.open(folder)
store:query('CREATE TABLE IF NOT EXISTS notes (id bigint PRIMARY KEY, value jsonb)')

local commands = {}

function commands.PUT(text)
  return store:insert('notes', stores.json.decode(text)).id
end

function commands.GET(id)
  return store:find('notes', id, { raw = true }) or 'null'
end

function commands.DEL(id)
  return tostring(store:delete('notes', id))
end

local function answer(line)
  local name, rest = line:match('^(%u+) *(.-)\r?$')
  if not commands[name] then return 'error: PUT, GET or DEL' end
  local ok, result = pcall(commands[name], rest)
  return ok and result or 'error: ' .. tostring(result):gsub('%s+', ' ')
end

local controller = cqueues.new()
local at = { path = where, unlink = true }
if not where:find('/') then at = { host = '127.0.0.1', port = where } end
local server = assert(socket.listen(at))
assert(server:listen())

controller:wrap(function()
  for client in server:clients() do
    -- any coroutine of a controller may call a store
    controller:wrap(function()
      client:onerror(function(_, _, why) return why end)
      for line in client:lines('*l') do
        if not client:write(answer(line) .. '\n') or not client:flush() then break end
      end
      client:close()
    end)
  end
end)

-- Ends on Ctrl-C or kill: the store is closed, and its servers stop with their last user.
signal.block(signal.SIGINT, signal.SIGTERM)
local signals = signal.listen(signal.SIGINT, signal.SIGTERM)
controller:wrap(function()
  signals:wait()
  server:close()
  store:close()
  os.exit(0)
end)

print('ready')
io.stdout:flush()
assert(controller:loop())
