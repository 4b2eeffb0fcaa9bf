--- stores delete TABLE ID

local input = require('stores.command.input')
local told = require('stores.command.told')

return {
  name = 'delete',
  summary = 'deletes one row',
  text = 'Deletes the row that has the id. Exit code 1 where there is none.',
  example = { 'stores delete users 1' },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:argument('id', 'The id of the row; `--` before one that is negative.'):convert(input.id)
  end,
  run = function(args, context)
    told.warn(context, args.table)
    local was_there = context.of(args.id):delete(args.table, args.id)
    if not was_there then context.say(('%s has no row %s'):format(args.table, args.id)) end
    context.result({ id = args.id, deleted = was_there }, was_there
      and { ('%s %s deleted'):format(args.table, args.id) } or {})
    return was_there and 0 or 1
  end,
}
