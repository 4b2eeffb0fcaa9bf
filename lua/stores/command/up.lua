-- Private servers from the shell:
--   luajit tools/servers.lua up DIR [--keep]   starts the servers of DIR, and prints where they are
--   luajit tools/servers.lua down DIR          stops them where nobody uses them
-- Without --keep they stop as soon as nobody holds a shared lock on DIR/users.lock; a shell script
-- holds one so:  exec 9>>DIR/users.lock; flock -s 9
local local_servers = require('stores.local')

local command, dir, option = arg[1], arg[2], arg[3]
if not dir or not (command == 'up' or command == 'down') or (option and option ~= '--keep') then
  io.stderr:write('usage: luajit tools/servers.lua up|down DIR [--keep]\n')
  os.exit(2)
end

local ok, result = pcall(local_servers[command], dir,
  command == 'up' and { keep = option == '--keep' } or nil)
if not ok then
  io.stderr:write(tostring(result), '\n')
  os.exit(1)
end

if command == 'down' then
  print(result)
else
  local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end
  print('PGHOST=' .. quoted(result.pg.host))
  print('PGPORT=' .. result.pg.port)
  print('PGUSER=' .. quoted(result.pg.user))
  print('PGDATABASE=' .. quoted(result.pg.database))
  print('REDIS_SOCKET=' .. quoted(result.redis.path))
  result.close()
end
