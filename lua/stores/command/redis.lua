--- stores redis

local clients = require('stores.command.clients')
local input = require('stores.command.input')
local shell = require('stores.command.shell')

return {
  name = 'redis',
  summary = 'opens redis-cli on the cache',
  text = [[
Runs redis-cli on the Redis of the cache, with this terminal: a command of Redis that stands
behind it, or a prompt. Options of redis-cli's own stand behind `--`. The exit code is that of
redis-cli.

Single keys of Stores are not to be changed by hand; FLUSHDB is safe at any time.]],
  example = {
    'stores redis --data ./data',
    'stores redis INFO memory',
    'stores redis -- --bigkeys',
  },
  describe = function(parser)
    parser:option('--shard', 'Which of several shards.'):convert(input.count(0)):argname('N')
    parser:argument('args', 'A command of Redis, or arguments of redis-cli.'):args('*')
      :argname('ARGUMENT')
  end,
  run = function(args, context)
    local db, redis = clients.shard(args, context)
    if not redis then
      context.usage('there is no Redis: ' .. context.place().from .. ' names none')
    end
    local words, variables = clients.redis(context.config(), db, redis)
    for _, word in ipairs(args.args) do words[#words + 1] = word end
    return shell.run(words, variables)
  end,
}
