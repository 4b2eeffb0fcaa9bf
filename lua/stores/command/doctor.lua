--- stores doctor

local doctor = require('stores.inspect.doctor')
local input = require('stores.command.input')
local shards = require('stores.command.shards')

return {
  name = 'doctor',
  summary = 'tells what is wrong with the servers, the tables and the cache',
  text = [[
Looks at the servers and their versions, max_connections against the pools, maxmemory-policy,
clocks, transactions that stay open, tables that are not of the shape, rows that are no objects or
have the id of another one, indexes that are INVALID or missing, announcements of dead writers,
and what is in Redis and of no use. What it finds comes by how bad it is, each with what to do:

  error     something fails, or is not cached at all
  warning   something is slow, or will fail
  note      good to know

Nothing is changed, but with --fix: announcements of dead writers are taken away, dead epochs are
turned, and what nobody reads is removed.

Exit code 1 where there is an error.]],
  example = {
    'stores doctor',
    'stores doctor --processes 8   # do so many processes fit into max_connections?',
    'stores doctor --fix',
  },
  describe = function(parser)
    parser:flag('--fix', 'Mends what is safe to be mended.')
    parser:option('--processes', 'How many processes there are, each with a pool.')
      :convert(input.count(1)):argname('N')
    parser:option('--long', 'From so many seconds on an open transaction is told of (300).')
      :convert(input.count(0)):argname('SECONDS')
    parser:flag('--all', 'Looks at every row of large tables, too.')
  end,
  run = function(args, context)
    local reports = {}
    local progress = context.progress('keys of Redis')
    local seen = 0
    shards.tell(context, function(store)
      local report = doctor.look(store, { fix = args.fix, processes = args.processes,
        all = args.all, long = args.long, stopping = context.stopping, progress = function(count)
          progress:step(count - seen)
          seen = count
        end })
      seen = 0
      reports[#reports + 1] = report
      return context.json and doctor.plain(report) or report
    end, doctor.lines)
    progress:finish()
    for _, report in ipairs(reports) do
      if not report.is_whole then
        context.say('stopped: not all of it was looked at' .. (args.fix
          and ', and what was not is not mended' or ''))
        return 1
      end
      if doctor.is_ill(report) then return 1 end
    end
    return 0
  end,
}
