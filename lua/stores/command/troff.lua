--- The man page stores.1, of the same sections as --help.

local manual = require('stores.command.manual')

local troff = {}

local function escaped(text)
  return (text:gsub('\\', '\\e'):gsub('%-', '\\-'):gsub('^[.\']', '\\&%0'))
end

-- One line of text, whatever its own lines are.
local function flowing(text)
  return escaped((text:gsub('%s+', ' ')))
end

local function as_they_are(out, lines)
  out[#out + 1] = '.nf'
  for _, line in ipairs(lines) do out[#out + 1] = escaped(line) end
  out[#out + 1] = '.fi'
end

local function add_text(out, text)
  for at, paragraph in ipairs(manual.paragraphs(text)) do
    if at > 1 then out[#out + 1] = '.PP' end
    if paragraph.text then
      out[#out + 1] = flowing(paragraph.text)
    else
      out[#out + 1] = '.RS 4'
      as_they_are(out, paragraph.lines)
      out[#out + 1] = '.RE'
    end
  end
end

local function add_section(out, macro, section)
  if macro then out[#out + 1] = ('.%s "%s"'):format(macro, section.title) end
  if section.text then add_text(out, section.text) end
  for _, item in ipairs(section.items or {}) do
    out[#out + 1] = '.TP'
    out[#out + 1] = '.B ' .. escaped(item.label)
    if item.text ~= '' then out[#out + 1] = flowing(item.text) end
  end
  if section.lines then as_they_are(out, section.lines) end
end

-- What stands once on the page, and not with each command.
local COMMON = { NAME = true, ['OPTIONS OF EVERY COMMAND'] = true, ENVIRONMENT = true,
  ['EXIT STATUS'] = true }

-- Every command has --help.
local function is_own(section)
  return not section.items or #section.items > 1 or section.title ~= 'OPTIONS'
end

local function add_command(out, parser)
  out[#out + 1] = ('.SS "stores %s"'):format(parser._name)
  for _, section in ipairs(manual.sections(parser)) do
    if section.title == 'SYNOPSIS' then
      as_they_are(out, section.lines)
    elseif not COMMON[section.title] and is_own(section) then
      if section.title ~= 'DESCRIPTION' then
        out[#out + 1] = '.PP'
        out[#out + 1] = '.I ' .. section.title:sub(1, 1) .. section.title:sub(2):lower()
      end
      out[#out + 1] = '.PP'
      local items = {}
      for _, item in ipairs(section.items or {}) do
        if not item.label:find('--help', 1, true) then items[#items + 1] = item end
      end
      add_section(out, nil, { text = section.text, lines = section.lines, items = items })
    end
  end
end

--- The page.
---@param parser table of all commands
---@param version string
---@return string
function troff.page(parser, version)
  local out = { ('.TH STORES 1 "" "Stores %s" "User Commands"'):format(version), '.nh' }
  for _, section in ipairs(manual.sections(parser)) do
    if section.title == 'EXIT STATUS' then
      out[#out + 1] = '.SH "THE COMMANDS"'
      for _, command in ipairs(parser._commands) do add_command(out, command) end
    end
    add_section(out, 'SH', section)
  end
  return table.concat(out, '\n') .. '\n'
end

return troff
