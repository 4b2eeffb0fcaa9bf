--- stores bench

local bench = require('stores.inspect.bench')
local json = require('stores.json')

local function seconds(text)
  local number = tonumber(text)
  if number and number >= 0.05 and number <= 600 then return number end
  return nil, ("'%s' is no number of seconds from 0.05 to 600"):format(text)
end

return {
  name = 'bench',
  summary = 'measures calls on your own servers, beside bare round trips',
  text = [[
Makes a table of its own, of 1,000 rows, measures finds, updates and inserts, one call at a time
and 64 at a time, beside a bare `SELECT 1` and a bare PING, and drops the table. The last column
says how many bare round trips a call takes where nothing else is under way: what the network
costs is in both, what Stores costs in the difference. Of shards the first one is measured.

It writes to the servers that it is given, and keeps them busy for the time that it takes: of a
production server the figures are those of a busy one.]],
  example = { 'stores bench', 'stores bench --seconds 5 --json' },
  describe = function(parser)
    parser:option('--seconds', 'For so long each figure is measured.'):default('1')
      :convert(seconds):argname('SECONDS')
    parser:option('--schema', 'Where the table is made; otherwise the first of search_path.')
      :argname('NAME')
  end,
  run = function(args, context)
    local store = context.stores()[1]
    local progress = context.progress('measuring', bench.FIGURES)
    local report = bench.run(store, { seconds = args.seconds, schema = args.schema,
      stopping = context.stopping, progress = function() progress:step() end })
    progress:finish()
    if context.json then
      json.array(report.figures)
      context.print(json.encode(report))
    else
      context.table(bench.rows(report))
    end
    if context.stopping() then
      context.say('stopped: the table was dropped')
      return 1
    end
  end,
}
