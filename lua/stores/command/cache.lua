--- stores cache TABLE ID, stores cache verify TABLE

local input = require('stores.command.input')
local json = require('stores.json')
local row = require('stores.inspect.row')
local shards = require('stores.command.shards')
local verify = require('stores.inspect.verify')

-- A report without the documents that its entry repeats.
local function plain(report)
  local entry = { state = report.redis.state, text = report.redis.text,
    lives = report.lives, intents = report.intents and json.array(report.intents) }
  return { table = report.table, id = report.id, verdict = report.verdict,
    words = row.VERDICTS[report.verdict], uncached = report.uncached, key = report.key,
    epoch = report.epoch, redis = entry, postgres = report.postgres or json.null }
end

local function look_at_row(args, context)
  local id, problem = input.id(args.id)
  if not id then context.usage(problem) end
  local report = row.look(context.of(id), args.table, id)
  context.result(plain(report), function() return row.lines(report) end)
  return report.verdict == 'differ' and 1 or 0
end

local function compare(args, context)
  local differs = false
  local progress = context.progress('comparing ' .. args.id)
  local seen = 0
  shards.tell(context, function(store)
    local report = verify.run(store, args.id, { sample = args.sample, stopping = context.stopping,
      progress = function(looked)
        progress:step(looked - seen)
        seen = looked
      end })
    seen = 0
    if #report.differ > 0 then differs = true end
    if context.json then
      local list = json.array()
      for at, one in ipairs(report.differ) do list[at] = plain(one) end
      report.differ = list
    end
    return report
  end, verify.lines)
  progress:finish()
  if context.stopping() then
    context.say('stopped: not all of it was compared')
    return 1
  end
  return differs and 1 or 0
end

return {
  name = 'cache',
  summary = 'shows what the cache holds of a row, and compares it with PostgreSQL',
  text = [[
`stores cache TABLE ID` shows what Redis holds of a row, and for how long, what PostgreSQL holds,
and whether they agree. Where a change was announced it tells which transaction did, whether that
is in progress, and whose it is, by pid and application_name.

`stores cache verify TABLE` compares everything that Redis holds of a table with PostgreSQL, or so
many rows of it as --sample says. Nothing is locked, and others may write meanwhile: what differs
was read several times.

Exit code 1 where they differ: somebody wrote without Stores, and told nobody. A table that is
called verify is written in double quotes.]],
  example = {
    'stores cache users 1',
    'stores cache verify users --sample 1000',
  },
  describe = function(parser)
    parser:argument('table', 'The table; or `verify`, and behind it the table.')
    parser:argument('id', 'The id of the row; `--` before one that is negative.')
    parser:option('--sample', 'With verify: so many rows at most.'):convert(input.count(1))
      :argname('N')
  end,
  run = function(args, context)
    if args.table == 'verify' then return compare(args, context) end
    if args.sample then context.usage('--sample goes with `stores cache verify TABLE`') end
    return look_at_row(args, context)
  end,
}
