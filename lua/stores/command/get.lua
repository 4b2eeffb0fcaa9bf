--- stores get TABLE ID

local input = require('stores.command.input')
local pretty = require('stores.command.pretty')

return {
  name = 'get',
  summary = 'shows the document of a row',
  text = [[
Shows the document of the row that has the id, by the cache first, as a program would read it. Exit
code 1 where there is none; with --json the value is null then.]],
  example = {
    'stores get users 1',
    'stores get users 1 --json --no-cache',
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:argument('id', 'The id of the row; `--` before one that is negative.'):convert(input.id)
    parser:flag('--no-cache', 'Asks PostgreSQL, and leaves the cache alone.')
  end,
  run = function(args, context)
    local document = context.of(args.id):find(args.table, args.id, { cache = not args.no_cache })
    if document == nil then
      if context.json then context.print('null') end
      context.say(('%s has no row %s'):format(args.table, args.id))
      return 1
    end
    context.result(document, function() return pretty.lines(document) end)
  end,
}
