--- stores psql

local clients = require('stores.command.clients')
local input = require('stores.command.input')
local shell = require('stores.command.shell')

return {
  name = 'psql',
  summary = 'opens psql on the database',
  text = [[
Runs psql on the database, with this terminal. What it writes the cache does not hear of: say
`stores invalidate` afterwards, or use a program of Stores.

Arguments of psql's own stand behind `--`. The exit code is that of psql.]],
  example = {
    'stores psql --data ./data',
    [[stores psql -c 'SELECT count(*) FROM users']],
    'stores psql -- --csv -f report.sql',
  },
  describe = function(parser)
    parser:option('-c --command', 'Runs this SQL, and ends.'):argname('SQL'):target('sql')
    parser:option('--shard', 'Which of several shards.'):convert(input.count(0)):argname('N')
    parser:argument('args', "psql's own arguments."):args('*'):argname('ARGUMENT')
  end,
  run = function(args, context)
    local db = clients.shard(args, context)
    local database, variables = clients.postgres(context.config(), db)
    local words = { 'psql' }
    if args.sql then words[2], words[3] = '-c', args.sql end
    for _, word in ipairs(args.args) do words[#words + 1] = word end
    words[#words + 1] = '-d'
    words[#words + 1] = database
    return shell.run(words, variables)
  end,
}
