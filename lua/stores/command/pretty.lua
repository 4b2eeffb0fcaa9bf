--- JSON for people: a member a line, in the order of their names.

local json = require('stores.json')

local pretty = {}

local ROOM = 78

local function sorted(object)
  local names = {}
  for name in pairs(object) do names[#names + 1] = tostring(name) end
  table.sort(names)
  return names
end

-- One that is marked, or that a program would take for one.
local function is_array(value)
  return json.is_array(value) or #value > 0
end

local write

local function one_line(value)
  if type(value) ~= 'table' or json.is_number(value) then return json.encode(value) end
  local parts = {}
  if is_array(value) then
    for at, item in ipairs(value) do parts[at] = one_line(item) end
    return '[' .. table.concat(parts, ', ') .. ']'
  end
  for at, name in ipairs(sorted(value)) do
    parts[at] = json.encode(name) .. ': ' .. one_line(value[name])
  end
  return '{' .. table.concat(parts, ', ') .. '}'
end

local function items(lines, value, indent)
  local margin = (' '):rep(indent)
  if is_array(value) then
    for at, item in ipairs(value) do
      write(lines, item, indent, margin, at < #value and ',' or '')
    end
    return
  end
  local names = sorted(value)
  for at, name in ipairs(names) do
    local before = margin .. json.encode(name) .. ': '
    write(lines, value[name], indent, before, at < #names and ',' or '')
  end
end

function write(lines, value, indent, before, after)
  local line = one_line(value)
  if type(value) ~= 'table' or json.is_number(value) or #before + #line + #after <= ROOM then
    lines[#lines + 1] = before .. line .. after
    return
  end
  local open, close = '{', '}'
  if is_array(value) then open, close = '[', ']' end
  lines[#lines + 1] = before .. open
  items(lines, value, indent + 2)
  lines[#lines + 1] = (' '):rep(indent) .. close .. after
end

--- A value of JSON as lines.
---@param value any
---@return string[]
function pretty.lines(value)
  local lines = {}
  if type(value) ~= 'table' or json.is_number(value) or next(value) == nil then
    return { one_line(value) }
  end
  lines[1] = is_array(value) and '[' or '{'
  items(lines, value, 2)
  lines[#lines + 1] = is_array(value) and ']' or '}'
  return lines
end

--- A value of JSON as one line, its members in order.
---@param value any
---@return string
function pretty.line(value)
  return one_line(value)
end

return pretty
