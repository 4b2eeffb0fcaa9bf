--- What docs/api.md says of each verb at the head of its section, from lua/stores/verbs/list.lua:
--- how it is called, what it does and gives, its options. It is the quotation under the heading.
local list = require('stores.verbs.list')

local heads = {}

local WIDTH = 100
local CALLED = { both = 'store', store = 'store', tx = 'tx' }

local function options_of(row)
  if not row.options then return '' end
  local names = {}
  for place, name in ipairs(list.options[row.options]) do names[place] = '`' .. name .. '`' end
  return (' Options: %s.'):format(table.concat(names, ', '))
end

local function paragraph(row)
  local names = {}
  for place, argument in ipairs(row.takes) do names[place] = argument.name end
  if row.options then names[#names + 1] = 'opts' end
  return ('**`%s:%s(%s)`** %s%s%s'):format(CALLED[row.on], row.name, table.concat(names, ', '),
    row.text, row.says and (' Gives %s.'):format(row.says) or '', options_of(row))
end

-- Lines of a quotation. What is in backquotes is not broken.
local function wrapped(text)
  local lines, line = {}, '>'
  local whole = text:gsub('`[^`]*`', function(code) return (code:gsub(' ', '\1')) end)
  for word in whole:gmatch('%S+') do
    if #line + 1 + #word > WIDTH then
      lines[#lines + 1] = line
      line = '>'
    end
    line = line .. ' ' .. word
  end
  lines[#lines + 1] = line
  return (table.concat(lines, '\n'):gsub('\1', ' '))
end

--- The sections of the page, in the order of the verbs.
---@return string[]
function heads.sections()
  local names, seen = {}, {}
  for _, row in ipairs(list.verbs) do
    local name = row.section or row.name
    if not row.is_internal and not seen[name] then
      seen[name] = true
      names[#names + 1] = name
    end
  end
  return names
end

--- The head of a section.
---@param section string
---@return string
function heads.of(section)
  local paragraphs = {}
  for _, row in ipairs(list.verbs) do
    if not row.is_internal and (row.section or row.name) == section then
      paragraphs[#paragraphs + 1] = wrapped(paragraph(row))
    end
  end
  return table.concat(paragraphs, '\n>\n') .. '\n'
end

--- A page with the head of every section as it is to be.
---@param page string
---@return string
function heads.written(page)
  for _, section in ipairs(heads.sections()) do
    local _, ends = page:find('\n##+ ' .. section .. '\n\n')
    if not ends then error('docs/api.md has no section ' .. section, 0) end
    local rest = page:sub(ends + 1)
    while rest:find('^>') do rest = rest:gsub('^[^\n]*\n', '', 1) end
    if rest:sub(1, 1) ~= '\n' then rest = '\n' .. rest end
    page = page:sub(1, ends) .. heads.of(section) .. rest
  end
  return page
end

return heads
