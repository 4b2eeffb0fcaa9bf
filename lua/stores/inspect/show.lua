--- Values as people read them: documents with their members in order, rows of tables in columns.

local json = require('stores.json')

local show = {}

local WIDTH = 78
local KEYWORDS = {}
for word in ('and break do else elseif end false for function goto if in local nil not or repeat '
  .. 'return then true until while'):gmatch('%a+') do
  KEYWORDS[word] = true
end

local ESCAPES = { ['\n'] = '\\n', ['\r'] = '\\r', ['\t'] = '\\t', ['\\'] = '\\\\',
  ["'"] = "\\'" }

local function text_of(text)
  return "'" .. text:gsub("[%c\\']", function(char)
    return ESCAPES[char] or ('\\%03d'):format(char:byte())
  end) .. "'"
end

local function key_of(key)
  if type(key) == 'string' then
    if key:find('^[%a_][%w_]*$') and not KEYWORDS[key] then return key end
    return '[' .. text_of(key) .. ']'
  end
  return '[' .. tostring(key) .. ']'
end

-- `id` first, numbers before names, names in the order of the alphabet.
local function sorted_keys(value)
  local keys = {}
  for key in pairs(value) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b)
    if (a == 'id') ~= (b == 'id') then return a == 'id' end
    if type(a) == type(b) and (type(a) == 'number' or type(a) == 'string') then return a < b end
    return type(a) == 'number' and type(b) ~= 'number' or tostring(a) < tostring(b)
  end)
  return keys
end

local plain, spread

local function scalar(value)
  if value == json.null then return 'null' end
  if type(value) == 'string' then return text_of(value) end
  return tostring(value)
end

local function is_list(value)
  local count = 0
  for _ in pairs(value) do count = count + 1 end
  return count == #value and (count > 0 or json.is_array(value))
end

-- Whether it is written as it is, and not looked into: a number of many digits, an object that says
-- itself what it is.
local function is_opaque(value)
  local meta = debug.getmetatable(value)
  return json.is_number(value) or type(meta) == 'table' and meta.__tostring ~= nil
end

-- A table in one line; nil: it does not fit into so many bytes.
function plain(value, room, seen)
  if type(value) ~= 'table' or is_opaque(value) then
    local text = scalar(value)
    return #text <= room and text or nil
  end
  if seen[value] then return '...' end
  seen[value] = true
  local parts, left, list = {}, room - 4, is_list(value)
  for _, key in ipairs(sorted_keys(value)) do
    local name = list and '' or key_of(key) .. ' = '
    local text = plain(value[key], left - #name, seen)
    if not text then
      seen[value] = nil
      return nil
    end
    parts[#parts + 1] = name .. text
    left = left - #name - #text - 2
    if left < 0 then break end
  end
  seen[value] = nil
  if left < 0 then return nil end
  if #parts == 0 then return list and '[]' or '{}' end
  if list then return '[' .. table.concat(parts, ', ') .. ']' end
  return '{ ' .. table.concat(parts, ', ') .. ' }'
end

function spread(lines, value, indent, before, after, seen)
  local margin = ('  '):rep(indent)
  local text = plain(value, WIDTH - #margin - #before - #after, seen)
  if not text and (type(value) ~= 'table' or is_opaque(value)) then text = scalar(value) end
  if text then
    lines[#lines + 1] = margin .. before .. text .. after
    return
  end
  local list = is_list(value)
  seen[value] = true
  lines[#lines + 1] = margin .. before .. (list and '[' or '{')
  for _, key in ipairs(sorted_keys(value)) do
    spread(lines, value[key], indent + 1, list and '' or key_of(key) .. ' = ', ',', seen)
  end
  lines[#lines + 1] = margin .. (list and ']' or '}') .. after
  seen[value] = nil
end

-- ---- Rows in columns ----------------------------------------------------------------------------

local CELL = 40

local function cell_of(value)
  if value == nil then return '' end
  local text
  if type(value) == 'string' then
    text = value:gsub('%c', ' ')
  else
    text = plain(value, math.huge, {})
  end
  if #text <= CELL then return text end
  -- not in the middle of a character
  return text:sub(1, CELL - 3):gsub('[\192-\255][\128-\191]*$', '') .. '...'
end

local function width(text) return #text:gsub('[\128-\191]', '') end

local function columns_of(list)
  local names, seen = {}, {}
  for _, row in ipairs(list) do
    for key in pairs(row) do
      if not seen[key] then
        seen[key] = true
        names[#names + 1] = key
      end
    end
  end
  local is_plain = {}
  for _, name in ipairs(names) do is_plain[name] = true end
  return sorted_keys(is_plain)
end

-- Whether a list is shown in columns: objects, more than one, that fit.
local function is_tabular(list)
  if type(list) ~= 'table' or #list < 2 or not is_list(list) then return false end
  for _, row in ipairs(list) do
    if type(row) ~= 'table' or is_opaque(row) or is_list(row) then return false end
  end
  return true
end

local function in_columns(list)
  local names = columns_of(list)
  local rows, widths, sum = {}, {}, 0
  for at, name in ipairs(names) do
    local cells = { tostring(name) }
    for place, row in ipairs(list) do cells[place + 1] = cell_of(row[name]) end
    widths[at] = 0
    for place, cell in ipairs(cells) do
      rows[place] = rows[place] or {}
      rows[place][at] = cell
      widths[at] = math.max(widths[at], width(cell))
    end
    sum = sum + widths[at] + 2
  end
  if sum > WIDTH + 2 then return nil end
  local lines = {}
  for place, cells in ipairs(rows) do
    for at, cell in ipairs(cells) do
      if at < #cells then cells[at] = cell .. (' '):rep(widths[at] - width(cell)) end
    end
    lines[place] = table.concat(cells, '  '):gsub('%s+$', '')
  end
  return lines
end

--- A value as lines.
---@param value any
---@return string[]
function show.lines(value)
  if is_tabular(value) then
    local lines = in_columns(value)
    if lines then
      lines[#lines + 1] = ('(%d rows)'):format(#value)
      return lines
    end
  end
  local lines = {}
  spread(lines, value, 0, '', '', {})
  return lines
end

return show
