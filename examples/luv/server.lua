-- A small TCP service on luv: notes in PostgreSQL, read through the cache.
--   luajit examples/luv/server.lua [FOLDER [SOCKET]]
-- FOLDER: where its PostgreSQL and Redis live (./data); SOCKET: a port of 127.0.0.1, or the path of
-- a unix socket (7379). One command a line, one answer a line:
--   PUT {"any": "document"}   ->  the new id
--   GET ID                    ->  the document, or null
--   DEL ID                    ->  true or false
-- Try it:  nc 127.0.0.1 7379
local stores = require 'stores'
local uv = require 'luv'

local folder, where = arg[1] or './data', arg[2] or '7379'
stores.use 'luv'

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

-- A coroutine for each client: a client's commands run one after the other, clients side by side.
local function serve(client)
  local lines, sleeper, is_over = {}, nil, false
  local function wake()
    local co = sleeper
    sleeper = nil
    if co then assert(coroutine.resume(co)) end
  end
  stores.spawn(function()
    while true do
      while lines[1] do client:write(answer(table.remove(lines, 1)) .. '\n') end
      if is_over then return client:close() end
      sleeper = coroutine.running()
      coroutine.yield()
    end
  end)
  local partial = ''
  client:read_start(function(why, chunk)
    if why or not chunk then
      is_over = true
    else
      partial = (partial .. chunk):gsub('([^\n]*)\n', function(line)
        lines[#lines + 1] = line
        return ''
      end)
      if #partial > 1e6 then is_over = true end
    end
    wake()
  end)
end

local server
if where:find('/') then
  server = uv.new_pipe(false)
  assert(server:bind(where))
else
  server = uv.new_tcp()
  assert(server:bind('127.0.0.1', tonumber(where)))
end
assert(server:listen(128, function(why)
  assert(not why, why)
  local client = where:find('/') and uv.new_pipe(false) or uv.new_tcp()
  server:accept(client)
  serve(client)
end))

-- Ends on Ctrl-C or kill: the store is closed, and its servers stop with their last user.
local signals = {}
for _, name in ipairs({ 'sigint', 'sigterm' }) do
  local signal = uv.new_signal()
  signals[#signals + 1] = signal
  signal:start(name, function()
    for _, one in ipairs(signals) do one:close() end
    server:close()
    stores.spawn(function()
      store:close()
      os.exit(0)
    end)
  end)
end

print('ready')
io.stdout:flush()
uv.run()
