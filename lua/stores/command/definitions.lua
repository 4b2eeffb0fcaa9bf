--- The commands as one parser: what --help, the man page and the completion are made of, too.

local list = require('stores.command.list')
local manual = require('stores.command.manual')
local usage = require('stores.command.usage')

local definitions = {}

local TEXT = [[
Looks after documents in PostgreSQL tables (id bigint PRIMARY KEY, value jsonb) and the cache in
Redis before them: looks at rows and changes them, runs migrations, loads and saves, and tells how
the servers are.]]

local EPILOG = [[`stores COMMAND --help` tells of a command.]]

-- Each parser has its own, which tells of itself.
local function add_help(parser)
  parser:flag('-h --help', 'Tells what this is, and how it is called.')
    :action(function() manual.ask(parser) end)
end

local function add_common(parser)
  parser:option('--config', 'A Lua file that says where the servers are: it returns what '
    .. 'Store.new or Shards.new take.'):argname('FILE')
  parser:option('--url', 'The PostgreSQL database: postgresql://user@host/database.')
    :argname('URL')
  parser:option('--redis', 'With --url, the Redis of its cache: redis://host:6379 or '
    .. 'unix:///path. `none` says that nobody caches what is in the database.'):argname('URL')
  parser:option('--data', 'A folder of private servers, which run as long as they are used.')
    :argname('DIR')
  parser:flag('--json', 'Writes what a program reads: one JSON value, and errors on stderr as '
    .. 'JSON, too.')
end

--- Requires lua-argparse, which nothing else in Stores needs.
local function argparse()
  local ok, module = pcall(require, 'argparse')
  if not ok then
    usage.raise('lua-argparse is missing (Debian: apt-get install lua-argparse; '
      .. 'luarocks install argparse)')
  end
  return module
end

-- Who names a command first needs no other: to load all of them takes longer than most of what they
-- do.
local function modules_for(word)
  local module = 'stores.command.' .. tostring(word)
  for _, one in ipairs(list) do
    if one == module and require(one).name == word then return { one } end
  end
  return list
end

--- The parser of all commands, or of the one that a command line begins with.
---@param word? string the first one of a command line
---@return table parser its result has the command's name in `command`
---@return table<string, stores.Command> by_name
function definitions.parser(word)
  local parser = argparse()('stores', TEXT, EPILOG)
  parser:add_help(false):command_target('command')
  add_help(parser)
  add_common(parser)
  parser:flag('--version', 'Tells which version of Stores this is.')
    :action(function() manual.ask({ version = require('stores.core').version }) end)
  local by_name = {}
  for _, module in ipairs(modules_for(word)) do
    local command = require(module)
    by_name[command.name] = command
    -- the target is out of the way of the arguments of commands
    local own = parser:command(command.name, command.text or command.summary)
      :summary(command.summary):target('command ' .. command.name):add_help(false)
    own.definition = command
    add_help(own)
    if command.describe then command.describe(own) end
  end
  function parser.error(at, message)
    usage.raise(message, at)
  end
  return parser, by_name
end

return definitions
