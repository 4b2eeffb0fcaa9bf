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
    shards.tell(context, keys.sweep, function(report)
      return { ('removed: %s of dead epochs, %s of tables that are no more'):format(
        counted(report.rows, 'row'), counted(report.epochs, 'epoch')) }
    end)
  end,
}
