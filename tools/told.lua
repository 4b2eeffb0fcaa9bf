--- What docs/api.md tells of the keys of tables, for the definitions that editors read.
local told = {}

local function cells(line)
  local list = {}
  for cell in line:sub(2):gmatch('%s*(.-)%s*|') do list[#list + 1] = cell end
  return list
end

--- The meaning of each key, by the name of its table: the heading above it, or the table whose keys
--- its first line says that they are.
---@param page string
---@return table<string, table<string, string>>
function told.keys(page)
  local all, heading, keys = {}, nil, nil
  for line in page:gmatch('([^\n]*)\n') do
    heading = line:match('^#+ (.*)') or heading
    local of = line:match('^| key of `([%w_.]+)` |') or line:match('^| %a+ | meaning |') and heading
    if of then
      all[of] = all[of] or {}
      keys = all[of]
    elseif line:sub(1, 1) ~= '|' then
      keys = nil
    elseif keys and not line:find('^|%-') then
      local row = cells(line)
      local text = row[2]
      if (row[3] or '') ~= '' then
        text = ('%s%sleft out: %s'):format(text, text == '' and '' or '; ', row[3])
      end
      for name in row[1]:gmatch('`([%w_]+)`') do keys[name] = text end
    end
  end
  return all
end

return told
