--- stores sweep

local counted = require('stores.inspect.counted')
local keys = require('stores.inspect.keys')
local shards = require('stores.command.shards')

return {
  name = 'sweep',
  summary = 'takes out of Redis what nobody reads any more',
  text = [[
Takes out of Redis the rows of dead epochs, and what is left of tables that are no more. Nobody
reads them, and values among them expire by themselves; announcements of dead writers do not. It
goes through all keys of the database by SCAN, and does no harm at any time.]],
  example = { 'stores sweep' },
  run = function(_, context)
    local progress, seen, is_whole = context.progress('keys of Redis'), 0, true
    shards.tell(context, function(store)
      local before = seen
      local report = keys.sweep(store, { stopping = context.stopping, progress = function(count)
        seen = before + count
        progress:at(seen)
      end })
      is_whole = is_whole and report.is_whole
      return report
    end, function(report)
      return { ('removed: %s of dead epochs, %s of tables that are no more'):format(
        counted(report.rows, 'row'), counted(report.epochs, 'epoch')) }
    end)
    progress:finish()
    if is_whole then return 0 end
    context.say('stopped before anything was removed: begin again')
    return 1
  end,
}
