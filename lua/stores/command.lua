--- The command `stores`: what it is given is read, the one command that was meant runs, and what it
--- raises is told. Which commands there are is in command/list.lua.
---
--- Exit codes: 0, 1 where it failed, 2 where it was not called as it can be.

local Context = require('stores.command.context')
local definitions = require('stores.command.definitions')
local errors = require('stores.errors')
local json = require('stores.json')
local manual = require('stores.command.manual')
local usage = require('stores.command.usage')

local command = {}

local FAILED, MISUSED = 1, 2

local function complain(text)
  io.stderr:write('stores: ', text, '\n')
end

-- ---- What was raised --------------------------------------------------------------------------

local INTERRUPTED = 'interrupted!$' -- what LuaJIT raises at Ctrl-C

-- An error of Stores says enough; one of Lua is a defect, and says where it is.
local function with_place(err)
  if type(err) ~= 'string' or err:find(INTERRUPTED) then return err end
  return debug.traceback(err, 2)
end

local FIELDS = { 'code', 'message', 'sqlstate', 'hint', 'detail', 'constraint', 'table', 'shard',
  'row', 'outcome', 'migration', 'statement', 'line' }

local function as_json(err)
  local told = {}
  if errors.is(err) then
    for _, name in ipairs(FIELDS) do
      local value = err[name]
      if type(value) == 'string' or type(value) == 'number' then told[name] = value end
    end
  else
    told.code, told.message = 'internal', tostring(err)
  end
  return json.encode({ error = told })
end

local function tell(err, wants_json)
  if usage.is(err) then
    if wants_json then
      io.stderr:write(json.encode({ error = { code = 'usage', message = err.message } }), '\n')
      return MISUSED
    end
    complain(err.message)
    if err.parser then io.stderr:write(manual.hint(err.parser), '\n') end
    return MISUSED
  end
  if type(err) == 'string' and err:find(INTERRUPTED) then err = 'interrupted' end
  if wants_json then
    io.stderr:write(as_json(err), '\n')
  else
    complain(tostring(err))
  end
  return FAILED
end

-- ---- Running ----------------------------------------------------------------------------------

local function perform(chosen, args)
  local context = Context.new(chosen, args)
  local ok, status = xpcall(function() return chosen.run(args, context) end, with_place)
  local closed, problem = xpcall(context.close, with_place)
  if not ok then return tell(status, args.json) end
  if not closed then return tell(problem, args.json) end
  return status or 0
end

local function given(argv, name)
  for _, word in ipairs(argv) do
    if word == name then return true end
    if word == '--' then return false end
  end
  return false
end

--- Runs a command line.
---@param argv string[]
---@return integer status
function command.run(argv)
  if argv[1] == 'help' then argv = { argv[2] or '--help', argv[2] and '--help' } end
  local parser, by_name = definitions.parser(argv[1])
  local ok, result = pcall(parser.parse, parser, argv)
  if not ok then
    if manual.is_asked(result) then
      local text = manual.text(result.asked)
      if not io.stdout:write(text) then return FAILED end
      return 0
    end
    return tell(result, given(argv, '--json'))
  end
  return perform(by_name[result.command], result)
end

-- What could not be written was not done: a full disk, a reader that went away.
local function flushed()
  local ok, problem = io.stdout:flush()
  if not ok then complain('cannot write: ' .. tostring(problem)) end
  return ok
end

--- Runs a command line, and ends the process with its status.
---@param argv string[]
local function main(_, argv)
  local status = command.run(argv)
  if not flushed() and status == 0 then status = FAILED end
  os.exit(status)
end

return setmetatable(command, { __call = main })
