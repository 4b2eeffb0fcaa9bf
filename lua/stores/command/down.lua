--- stores down DIR

local folder = require('stores.command.folder')
local private = require('stores.local')

return {
  name = 'down',
  is_local = true,
  summary = 'stops private servers that nobody uses',
  text = [[
Stops the servers of a folder. Where programs still use them they go on, and stop with the last of
those; the exit code is 1 then. What is in the folder stays.]],
  example = { 'stores down ./data' },
  describe = folder.describe,
  run = function(args, context)
    local state = private.down(folder.of(args, context))
    context.result({ state = state }, { state })
    return state == 'in use' and 1 or 0
  end,
}
