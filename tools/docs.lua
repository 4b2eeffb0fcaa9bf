-- Writes the table of error codes in docs/api.md from the core's own list (core/stores.h):
--   . tools/env.sh; luajit tools/docs.lua           writes it
--   . tools/env.sh; luajit tools/docs.lua --check   status 1 where it is not current
local core = require('stores.core')

local FILE = (os.getenv('STORES_ROOT') or '.') .. '/docs/api.md'
local BEGIN = '<!-- errors: written by tools/docs.lua -->\n'
local END = '<!-- end of errors -->\n'

local function by_status(a, b)
  if core.codes[a].http ~= core.codes[b].http then
    return core.codes[a].http < core.codes[b].http
  end
  return a < b
end

local function error_table()
  local names = {}
  for name in pairs(core.codes) do names[#names + 1] = name end
  table.sort(names, by_status)
  local lines = { '| code | `http` | retryable | what happened |', '|---|---|---|---|' }
  for _, name in ipairs(names) do
    local code = core.codes[name]
    lines[#lines + 1] = ('| `%s` | %d | %s | %s |'):format(name, code.http,
      code.retryable and 'yes' or '', code.text)
  end
  return table.concat(lines, '\n') .. '\n'
end

local function contents(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

local option = arg[1]
if option and option ~= '--check' then
  io.stderr:write('usage: luajit tools/docs.lua [--check]\n')
  os.exit(2)
end

local text = contents(FILE)
local _, first = text:find(BEGIN, 1, true)
local last = first and text:find(END, first, true)
if not last then
  io.stderr:write(FILE, ' lacks the lines that the table stands between\n')
  os.exit(1)
end
local current = text:sub(1, first) .. error_table() .. text:sub(last)
if option == '--check' then
  if current == text then os.exit(0) end
  io.stderr:write('docs/api.md is not current: run luajit tools/docs.lua\n')
  os.exit(1)
end
if current ~= text then
  local file = assert(io.open(FILE, 'w'))
  assert(file:write(current))
  assert(file:close())
end
