--- stores count TABLE [JSON]

local criteria = require('stores.command.criteria')

return {
  name = 'count',
  summary = 'counts the documents that match',
  text = 'Counts the documents of a table, or those that match; over shards, of all of them.',
  example = { 'stores count users', [[stores count users '{"state": "open"}']] },
  describe = function(parser)
    parser:argument('table', 'The table.')
    criteria.describe(parser)
  end,
  run = function(args, context)
    local doc, opts = criteria.read(args, context)
    local sum = context.store():count(args.table, doc, opts)
    context.result({ count = sum }, { ('%d'):format(sum) })
  end,
}
