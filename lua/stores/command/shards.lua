--- What a command tells of each shard, or of the one store.

local json = require('stores.json')

local shards = {}

--- Calls look(store) for each store, and writes what it gives: of one store as it is, of several
--- each under the number of its shard.
---@param context stores.CommandContext
---@param look fun(store: stores.Store): any what a program reads
---@param lines fun(report: any): string[]
---@return any[] reports
function shards.tell(context, look, lines)
  local list, stores = json.array(), context.stores()
  for at, store in ipairs(stores) do list[at] = look(store) end
  if not stores[2] then
    context.result(list[1], function() return lines(list[1]) end)
    return list
  end
  if context.json then
    local named = json.array()
    for at, report in ipairs(list) do named[at] = { shard = at - 1, report = report } end
    context.result(named)
    return list
  end
  for at, report in ipairs(list) do
    context.print(('shard %d'):format(at - 1))
    for _, line in ipairs(lines(report)) do context.print('  ' .. line) end
  end
  return list
end

return shards
