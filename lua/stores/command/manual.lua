--- The pages of the commands, made of their parsers: what --help prints; command/troff.lua makes
--- the man page of the same sections.

local manual = {}

local WIDTH, INDENT = 78, 4

---@class stores.ManualSection
---@field title string
---@field text? string paragraphs; lines that begin with two blanks stay as they are
---@field items? {label: string, text: string}[]
---@field lines? string[] as they are

-- ---- Asking for a page --------------------------------------------------------------------------

local Asked = {}

--- Raises what ends the reading of a command line: a page is wanted.
---@param what table a parser, or {version =}
function manual.ask(what)
  error(setmetatable({ asked = what }, Asked), 0)
end

---@param value any
---@return boolean
function manual.is_asked(value)
  return getmetatable(value) == Asked
end

-- ---- What a page says ---------------------------------------------------------------------------

--- How a command is called, in one line or several.
---@param parser table
---@return string
function manual.usage(parser)
  return (parser:get_usage():gsub('^Usage: ', ''))
end

--- What is said where a command was called wrongly.
---@param parser table
---@return string
function manual.hint(parser)
  return ('usage: %s\n`%s --help` tells more.'):format(manual.usage(parser),
    parser:_get_fullname())
end

local function described(elements)
  local items = {}
  for _, element in ipairs(elements) do
    if not element._hidden then
      local label = table.concat(element:_get_label_lines(), ' '):gsub('%s+', ' '):gsub('^ ', '')
      -- an argument is called what the synopsis calls it
      if not element._aliases then label = element._argname or element._name end
      items[#items + 1] = { label = label, text = element:_get_description() }
    end
  end
  return items
end

--- The options of a parser, with what they do.
---@param parser table
---@return {label: string, text: string}[]
function manual.options(parser)
  return described(parser._options)
end

local function add(sections, title, section)
  local content = section.items or section.lines
  if content and #content == 0 then return end
  section.title = title
  sections[#sections + 1] = section
end

local CODES = { { label = '0', text = 'It was done.' },
  { label = '1', text = 'It failed, or was stopped, or what was asked for is not there.' },
  { label = '2', text = 'It was not called as it can be: the line, or where the servers are.' } }

local ENVIRONMENT = { { label = 'STORES_CONFIG', text = 'A file as for --config, where no flag '
  .. 'says where the servers are.' } }

--- The sections of the page of a command, or of all of them.
---@param parser table
---@return stores.ManualSection[]
function manual.sections(parser)
  local definition, sections = parser.definition, {}
  local name = parser:_get_fullname()
  add(sections, 'NAME', { text = ('%s - %s'):format(name,
    parser._summary or 'documents in PostgreSQL behind a cache in Redis') })
  local synopsis = {}
  for line in manual.usage(parser):gmatch('[^\n]+') do
    synopsis[#synopsis + 1] = line:gsub('^%s+', '    ')
  end
  add(sections, 'SYNOPSIS', { lines = synopsis })
  add(sections, 'DESCRIPTION', { text = parser._description })
  add(sections, 'COMMANDS', { items = described(parser._commands) })
  add(sections, 'ARGUMENTS', { items = described(parser._arguments) })
  add(sections, 'OPTIONS', { items = described(parser._options) })
  if parser._parent then
    local common = described(parser._parent._options)
    for at = #common, 1, -1 do
      local word = common[at].label
      if word:find('--help', 1, true) or word:find('--version', 1, true)
        or (definition and definition.is_local and not word:find('--json', 1, true)) then
        table.remove(common, at)
      end
    end
    add(sections, 'OPTIONS OF EVERY COMMAND', { items = common })
  end
  add(sections, 'EXAMPLES', { lines = definition and definition.example or {} })
  if not (definition and definition.is_local) then
    add(sections, 'ENVIRONMENT', { items = ENVIRONMENT })
  end
  add(sections, 'EXIT STATUS', { items = CODES })
  if parser._epilog then add(sections, 'SEE ALSO', { text = parser._epilog }) end
  return sections
end

-- ---- As text ------------------------------------------------------------------------------------

local function wrap(lines, text, indent)
  local margin = (' '):rep(indent)
  local line = margin
  for word in text:gmatch('%S+') do
    if #line > indent and #line + 1 + #word > WIDTH then
      lines[#lines + 1] = line
      line = margin
    end
    line = #line > indent and line .. ' ' .. word or line .. word
  end
  if #line > indent then lines[#lines + 1] = line end
end

--- The paragraphs of a text: each is one that may be wrapped, or lines that stay as they are.
---@param text string
---@return {text: string?, lines: string[]?}[]
function manual.paragraphs(text)
  local list = {}
  for block in (text .. '\n\n'):gmatch('(.-)\n\n+') do
    if block:find('^  ') then
      local lines = {}
      for line in block:gmatch('[^\n]+') do lines[#lines + 1] = line:gsub('^  ', '') end
      list[#list + 1] = { lines = lines }
    elseif block ~= '' then
      list[#list + 1] = { text = block }
    end
  end
  return list
end

local function add_text(lines, text)
  for at, paragraph in ipairs(manual.paragraphs(text)) do
    if at > 1 then lines[#lines + 1] = '' end
    if paragraph.text then
      wrap(lines, paragraph.text, INDENT)
    else
      for _, line in ipairs(paragraph.lines) do
        lines[#lines + 1] = (' '):rep(INDENT + 4) .. line
      end
    end
  end
end

local LABEL = 14 -- columns; what is longer has a line of its own

local function add_items(lines, items)
  for _, item in ipairs(items) do
    local label = (' '):rep(INDENT) .. item.label
    if #item.label > LABEL - 2 or item.text == '' then
      lines[#lines + 1] = label
      wrap(lines, item.text, INDENT + LABEL)
    else
      local from = #lines + 1
      wrap(lines, item.text, INDENT + LABEL)
      lines[from] = label .. lines[from]:sub(#label + 1)
    end
  end
end

--- A page as it is printed.
---@param asked table what manual.ask was given
---@return string
function manual.text(asked)
  if asked.version then return ('stores %s\n'):format(asked.version) end
  local lines = {}
  for at, section in ipairs(manual.sections(asked)) do
    if at > 1 then lines[#lines + 1] = '' end
    lines[#lines + 1] = section.title
    if section.text then add_text(lines, section.text) end
    if section.items then add_items(lines, section.items) end
    for _, line in ipairs(section.lines or {}) do
      lines[#lines + 1] = (' '):rep(INDENT) .. line
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

return manual
