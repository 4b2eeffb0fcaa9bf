-- Writes what is said once, in the code, into where people and editors read it: the error codes of
-- the core (core/stores.h), the verbs (lua/stores/verbs/list.lua) and their options
-- (lua/stores/config/call.lua) into docs/api.md, the rules of the lint of migrations into
-- docs/migrations.md, the definitions in lua/stores/types/, and the commands (lua/stores/command/)
-- into docs/commands.md.
--   . tools/env.sh; luajit tools/docs.lua           writes it
--   . tools/env.sh; luajit tools/docs.lua --check   status 1 where it is not current
local call = require('stores.config.call')
local commands = require('tools.commands')
local core = require('stores.core')
local heads = require('tools.heads')
local rules = require('stores.migrate.lint.rules')
local types = require('tools.types')

local ROOT = (os.getenv('STORES_ROOT') or '.') .. '/'
local PAGE = 'docs/api.md'
local MIGRATIONS = 'docs/migrations.md'

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

local function option_table()
  local lines = { '| key | meaning |', '|---|---|' }
  for _, option in ipairs(call.options) do
    if option.text then
      lines[#lines + 1] = ('| `%s` | %s |'):format(option.name, option.text)
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

-- The rules of the lint, with the safe form of each.
local function rule_table()
  local lines = { '| rule | what it finds | the safe form |', '|---|---|---|' }
  for _, rule in ipairs(rules) do
    lines[#lines + 1] = ('| `%s` | %s | %s |'):format(rule.name, rule.text, rule.safe)
  end
  return table.concat(lines, '\n') .. '\n'
end

local function contents(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read('*a')
  file:close()
  return text
end

-- A page with a text between the two lines that name it.
local function between(page, what, text)
  local _, first = page:find(('<!-- %s: written by tools/docs.lua -->\n'):format(what), 1, true)
  local last = first and page:find(('<!-- end of %s -->\n'):format(what), first, true)
  if not last then error(('a page lacks the lines that the %s stand between'):format(what), 0) end
  return page:sub(1, first) .. text .. page:sub(last)
end

local function wanted()
  local page = assert(contents(ROOT .. PAGE))
  page = between(page, 'errors', error_table())
  page = between(page, 'options', option_table())
  local files = types.files(page)
  files[PAGE] = heads.written(page)
  files['docs/commands.md'] = commands.page()
  files[MIGRATIONS] = between(assert(contents(ROOT .. MIGRATIONS)), 'rules', rule_table())
  return files
end

local option = arg[1]
if option and option ~= '--check' then
  io.stderr:write('usage: luajit tools/docs.lua [--check]\n')
  os.exit(2)
end

local status = 0
local ok, files = pcall(wanted)
if not ok then
  io.stderr:write(tostring(files), '\n')
  os.exit(1)
end
for path, text in pairs(files) do
  if contents(ROOT .. path) ~= text then
    if option == '--check' then
      io.stderr:write(path, ' is not current: run luajit tools/docs.lua\n')
      status = 1
    else
      local file = assert(io.open(ROOT .. path, 'w'))
      assert(file:write(text))
      assert(file:close())
    end
  end
end
os.exit(status)
