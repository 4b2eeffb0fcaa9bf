--- stores find TABLE [JSON]

local criteria = require('stores.command.criteria')
local input = require('stores.command.input')
local json = require('stores.json')
local pretty = require('stores.command.pretty')

local LIMIT = 100

-- `name`, `-created`, `address.city`: as the verbs take an order.
local function order_of(args)
  if not args.order then return nil end
  if #args.order == 1 and (args.order[1] == 'asc' or args.order[1] == 'desc') then
    return args.order[1]
  end
  return args.order
end

local function options(args, opts)
  opts.limit = args.limit > 0 and args.limit or nil
  opts.order, opts.after, opts.fields = order_of(args), args.after, args.fields
  return opts
end

local function explain(context, args, doc, opts)
  opts.explain = true
  local plan = context.store():findByJSON(args.table, doc, opts)
  context.result(plan, function() return pretty.lines(plan) end)
end

return {
  name = 'find',
  summary = 'lists the documents that match',
  text = [[
Lists documents, one a line, in the order of their ids where --order says no other one. Where there
are more, the cursor of the next page is told on stderr; with --json it is `next` of the one object
that is written, whose `documents` are an array.

Lists are always asked of PostgreSQL; over shards, of all of them, merged into one order.]],
  example = {
    [[stores find users '{"state": "open"}' --limit 20]],
    [=[stores find users --where '[["age", ">=", 18]]' --order=-age,name --fields name,age]=],
    [[stores find users '{"state": "open"}' --explain   # which index serves it]],
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    criteria.describe(parser)
    parser:option('--order', "'asc' or 'desc' (by id), or keys such as --order=-created,name.")
      :convert(input.names):argname('KEYS')
    parser:option('--limit', 'So many at most; 0: all of them.'):default(tostring(LIMIT))
      :convert(input.count(0)):argname('N')
    parser:option('--after', 'The cursor of a list before: what comes behind it.')
      :argname('CURSOR')
    parser:option('--fields', 'Only these members, and the id.'):convert(input.names)
      :argname('NAMES')
    parser:flag('--explain', 'Reads nothing, and shows the plan instead.')
  end,
  run = function(args, context)
    local doc, opts = criteria.read(args, context)
    options(args, opts)
    if args.explain then return explain(context, args, doc, opts) end
    local documents, next_cursor = context.store():findByJSON(args.table, doc, opts)
    context.result({ documents = json.array(documents), next = next_cursor or json.null },
      function()
        for _, document in ipairs(documents) do context.print(pretty.line(document)) end
        if next_cursor then context.say('there are more: --after ' .. next_cursor) end
      end)
  end,
}
