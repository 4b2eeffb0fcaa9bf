--- stores shell

local ffi = require('ffi')

local catalog = require('stores.inspect.catalog')
local complete = require('stores.inspect.complete')
local json = require('stores.json')
local prompt = require('stores.inspect.prompt')
local session = require('stores.inspect.session')
local show = require('stores.inspect.show')

ffi.cdef 'void (*signal(int number, void (*handler)(int)))(int);'

local SIGINT = 2

local function history_file()
  local path = os.getenv('STORES_HISTORY')
  if path then return path ~= '' and path or nil end
  local home = os.getenv('HOME')
  return home and home ~= '' and home .. '/.stores_history' or nil
end

-- What LuaJIT does at Ctrl-C, it does once: then the next one would end the process.
local function interrupts()
  local handler = ffi.C.signal(SIGINT, nil)
  ffi.C.signal(SIGINT, handler)
  return function() ffi.C.signal(SIGINT, handler) end
end

-- The names of tables, asked for once.
local function table_names(context)
  local list
  return function()
    if list then return list end
    list = {}
    for _, store in ipairs(context.stores()) do
      for _, found in ipairs(catalog.tables(store)) do
        list[#list + 1] = complete.table_name(found.name)
      end
    end
    return list
  end
end

local function environment(context)
  local store = context.store()
  local env = { stores = require('stores'), json = json }
  if store.shards then env.shards = store else env.store = store end
  env.print = function(...)
    local parts = {}
    for at = 1, select('#', ...) do parts[at] = tostring((select(at, ...))) end
    context.print(table.concat(parts, '\t'))
  end
  env.show = function(value) for _, line in ipairs(show.lines(value)) do context.print(line) end end
  return env
end

local function tell(context, results)
  for at = 1, results.n do
    local value = results[at]
    if context.json then
      context.print(json.encode(value == nil and json.null or value))
    elseif value ~= nil or results.n == 1 then
      for _, line in ipairs(show.lines(value)) do context.print(line) end
    end
  end
end

-- Takes a line; false: it failed.
local function run_line(context, lines, line)
  local state, results = lines:take(line)
  if state == 'failed' then
    context.stdout:flush()
    io.stderr:write('error: ', session.words(results), '\n')
    return false
  elseif state == 'done' then
    local ok, err = pcall(tell, context, results)
    if not ok then
      io.stderr:write('error: ', session.words(err), '\n')
      return false
    end
  end
  return true
end

local function once(context, lines, code)
  local ok = run_line(context, lines, code)
  if ok and lines.pending then
    context.usage('what --execute is given is not complete')
  end
  return ok and 0 or 1
end

local function greet(context)
  local name = context.store().shards and 'shards' or 'store'
  context.print(('`%s` is ready. Tab completes verbs and tables; Ctrl-C clears the line; Ctrl-D '
    .. 'leaves.'):format(name))
end

local function talk(context, lines, reader, is_typed)
  local again = interrupts()
  if is_typed then greet(context) end
  while true do
    local line = reader:read(lines.pending and '     >> ' or 'stores> ')
    if line == nil then
      if lines.pending then
        io.stderr:write('error: the last lines are not complete\n')
        return is_typed and 0 or 1
      end
      return 0
    end
    if is_typed and lines.pending and line == '' then
      lines:drop()
    elseif not run_line(context, lines, line) then
      if not is_typed then return 1 end
      again()
    end
  end
end

return {
  name = 'shell',
  summary = 'a prompt of Lua, with `store` ready',
  text = [[
Runs lines of Lua, in which `store` is the store (or `shards`, where the configuration is that of
shards), `stores` and `json` the modules. What a line gives is printed readably: documents with
their members in order, lists of rows in columns. A chunk that is not complete goes on with the
next line; an empty one drops it. `local` holds for its line alone: say `user =
store:find('users', '1')`.

On a terminal, Tab completes verbs behind `store:`, tables inside of quotes and names; lines are
kept in ~/.stores_history, or in the file that STORES_HISTORY names (nowhere, where that is
empty). That takes libreadline or libedit, which is there wherever psql is; without one lines are
read as they are.

From a pipe, lines run until one fails: exit code 1.]],
  example = {
    'stores shell',
    [[stores shell --execute "store:count('users')"]],
    'stores shell --json < lines.lua',
  },
  describe = function(parser)
    parser:option('-e --execute', 'Runs this, and ends.'):argname('LUA')
    parser:flag('--plain', 'Reads lines as they are, without readline.')
  end,
  run = function(args, context)
    local env = environment(context)
    local lines = session.new(env)
    if args.execute then return once(context, lines, args.execute) end
    local is_typed = require('stores.local.system').is_terminal(0)
    local reader = prompt.new({ plain = args.plain, history = history_file(),
      complete = complete.new(env, table_names(context)) })
    local ok, code = pcall(talk, context, lines, reader, is_typed)
    reader:close()
    if not ok then error(code, 0) end
    return code
  end,
}
