--- stores up DIR: private servers that run on when nobody uses them.

local folder = require('stores.command.folder')
local private = require('stores.local')
local shell = require('stores.command.shell')

-- `name=value` words as a table of settings.
local function settings(words, what, context)
  if not words then return nil end
  local map = {}
  for _, word in ipairs(words) do
    local name, value = word:match('^([^=]+)=(.*)$')
    if not name then context.usage(('%s takes NAME=VALUE, got %s'):format(what, word)) end
    map[name] = value
  end
  return map
end

local function lines_of(servers)
  return {
    'PGHOST=' .. shell.quoted(servers.pg.host),
    'PGPORT=' .. servers.pg.port,
    'PGUSER=' .. shell.quoted(servers.pg.user),
    'PGDATABASE=' .. shell.quoted(servers.pg.database),
    'REDIS_SOCKET=' .. shell.quoted(servers.redis.path),
  }
end

return {
  name = 'up',
  is_local = true,
  summary = 'starts private servers, and says where they are',
  text = [[
Starts the PostgreSQL and the Redis of a folder, and makes them where there are none. What it writes
is for a shell: `eval` of it sets where the servers are, for psql and for programs. They listen on
sockets in the folder alone.

They run until `stores down`, or with --while-used until the last program that uses them has ended.
A shell uses them while it holds a lock:

  exec 9>>DIR/users.lock; flock -s 9]],
  example = {
    'stores up ./data',
    'eval "$(stores up ./data)" && export PGHOST PGPORT PGUSER PGDATABASE',
    'stores up ./data --set max_connections=300 --set-redis maxmemory=1gb',
  },
  describe = function(parser)
    folder.describe(parser)
    parser:flag('--while-used', 'They stop when nobody uses them.')
    parser:option('--timeout', 'Seconds that each may take to start.'):convert(tonumber)
      :argname('SECONDS')
    parser:option('--set', 'A setting of PostgreSQL, used by the call that starts it.')
      :argname('NAME=VALUE'):count('*')
    parser:option('--set-redis', 'A setting of Redis, likewise.'):argname('NAME=VALUE'):count('*')
  end,
  run = function(args, context)
    local servers = private.up(folder.of(args, context), { keep = not args.while_used,
      timeout = args.timeout, postgres = settings(args.set, '--set', context),
      redis = settings(args.set_redis, '--set-redis', context) })
    local told = { folder = servers.folder, pg = servers.pg, redis = servers.redis }
    local ok, problem = pcall(context.result, told, lines_of(servers))
    servers.close()
    if not ok then error(problem, 0) end
  end,
}
