--- stores why TABLE

local json = require('stores.json')
local made = require('stores.config.made')
local shards = require('stores.command.shards')
local why = require('stores.inspect.why')

-- What a program reads: empty lists are lists.
local function marked(report)
  for _, name in ipairs({ 'reasons', 'turns', 'lacks', 'indexes' }) do json.array(report[name]) end
  if report.waits_for then json.array(report.waits_for) end
  if report.rows then
    json.array(report.rows.no_object_ids)
    json.array(report.rows.other_id_ids)
  end
  return report
end

return {
  name = 'why',
  summary = 'tells why a table is cached or not, and what its indexes serve',
  text = [[
Tells in words why a table is cached, or why it is not just now: what it is (a view, row security,
unlogged ..), what Redis refuses, or that it turns, since when, and which processes are waited for,
by pid and application_name. Then which writes turn all of it (triggers that may change other rows,
keys that cascade), which criteria its indexes serve, and whether its rows are what they should be:
objects, with the id of their row.

Of a large table a part is looked at, unless --all says otherwise. Exit code 1 where it is not
cached.]],
  example = { 'stores why users', 'stores why users --json | jq .reasons' },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:flag('--all', 'Looks at every row, however long that takes.')
  end,
  run = function(args, context)
    local list = shards.tell(context, function(store)
      local metrics = made[store].metrics
      return marked(why.look(store, args.table, { all = args.all,
        metrics = metrics and metrics.folder }))
    end, why.lines)
    for _, report in ipairs(list) do
      if not report.is_cached then return 1 end
    end
    return 0
  end,
}
