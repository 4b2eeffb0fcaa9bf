--- docs/commands.md, from the definitions of the commands (lua/stores/command/).
local definitions = require('stores.command.definitions')
local manual = require('stores.command.manual')

local commands = {}

local HEAD = [[
# Commands

<!-- Written by tools/docs.lua, from lua/stores/command/: not to be edited. -->

What `stores COMMAND --help` says of each, and `man stores` of all of them.
[operations.md](operations.md) tells how they are used, where the servers are, and what exit codes
mean.

]]

local function code(lines, language, text)
  lines[#lines + 1] = '```' .. language
  for _, line in ipairs(text) do lines[#lines + 1] = line end
  lines[#lines + 1] = '```'
  lines[#lines + 1] = ''
end

local function add_text(lines, text)
  for _, paragraph in ipairs(manual.paragraphs(text)) do
    if paragraph.text then
      lines[#lines + 1] = paragraph.text
      lines[#lines + 1] = ''
    else
      code(lines, 'text', paragraph.lines)
    end
  end
end

local function cell(text)
  return (text:gsub('%s+', ' '):gsub('|', '\\|'):gsub('<', '&lt;'))
end

local function add_items(lines, items)
  local rows = {}
  for _, item in ipairs(items) do
    if not item.label:find('--help', 1, true) then
      rows[#rows + 1] = ('| `%s` | %s |'):format(item.label:gsub('|', '\\|'), cell(item.text))
    end
  end
  if #rows == 0 then return end
  lines[#lines + 1] = '| | |'
  lines[#lines + 1] = '|---|---|'
  for _, row in ipairs(rows) do lines[#lines + 1] = row end
  lines[#lines + 1] = ''
end

local function add_command(lines, parser)
  local definition = parser.definition
  lines[#lines + 1] = '## ' .. definition.name
  lines[#lines + 1] = ''
  for _, section in ipairs(manual.sections(parser)) do
    if section.title == 'SYNOPSIS' then
      code(lines, 'text', section.lines)
    elseif section.title == 'DESCRIPTION' then
      add_text(lines, section.text)
    elseif section.title == 'ARGUMENTS' or section.title == 'OPTIONS' then
      add_items(lines, section.items)
    elseif section.title == 'EXAMPLES' then
      code(lines, 'text', section.lines)
    end
  end
end

--- The page.
---@return string
function commands.page()
  local parser = definitions.parser()
  local lines = { '| command | what it does |', '|---|---|' }
  for _, command in ipairs(parser._commands) do
    lines[#lines + 1] = ('| [`%s`](#%s) | %s |'):format(command._name, command._name,
      cell(command.definition.summary))
  end
  lines[#lines + 1] = ''
  lines[#lines + 1] = '## Options of every command'
  lines[#lines + 1] = ''
  add_items(lines, manual.options(parser))
  for _, command in ipairs(parser._commands) do add_command(lines, command) end
  return HEAD .. table.concat(lines, '\n'):gsub('\n+$', '') .. '\n'
end

return commands
