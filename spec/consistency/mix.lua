--- Which calls a worker makes of the tables of each kind.

--- Of a hundred calls, by their names in worker.lua; the rest are finds, of keys by their value.
---@param config {tenants: integer?, bulk: boolean?, shape: string?}
---@return table<string, {[1]: string, [2]: integer}[]>
return function(config)
  local all = {
    rows = { { 'findAllByIds', 15 }, { 'findBy', 10 }, { 'patch', 14 },
      { 'updateObject', 12 }, { 'transaction', 5 }, { 'locked update', 4 } },
    mixed = { { 'findAllByIds', 15 }, { 'findBy', 10 }, { 'patch', 12 },
      { 'updateObject', 12 }, { 'query', 3 } },
  }

  if config.tenants then
    for _, mix in pairs(all) do
      mix[#mix + 1] = { 'tenant read', 5 }
      mix[#mix + 1] = { 'tenant write', 5 }
    end
  end
  if config.bulk then
    table.insert(all.rows, 1, { 'updateEach', 15 })
    table.insert(all.mixed, 1, { 'updateEach', 15 })
  end
  if config.shape then
    for _, mix in pairs(all) do mix[#mix + 1] = { 'undone', 4 } end
  end

  all.keys = { { 'move', 25 }, { 'moving query', 2 } }
  return all
end
