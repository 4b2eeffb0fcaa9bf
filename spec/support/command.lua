--- The command `stores`, run as a process of its own.

local process = require('spec.support.process')
local shell = require('spec.support.shell')
local support = require('spec.support')

local command = {}

local root = os.getenv('STORES_ROOT') or '.'

---@class spec.CommandOptions
---@field db? table a database of the servers (support.db): where the command finds its servers
---@field redis? table|false with db: support.redis() where it is left out
---@field env? table<string, string> more variables
---@field stdin? string what it reads; nothing where it is left out
---@field folder? string where it runs
---@field terminal? string on a terminal of its own, whose output goes to this file as it comes

-- A value as Lua's source has it.
local function source(value)
  if type(value) ~= 'table' then
    return type(value) == 'string' and ('%q'):format(value) or tostring(value)
  end
  local parts = {}
  for key, item in pairs(value) do
    parts[#parts + 1] = ('[%s] = %s'):format(source(key), source(item))
  end
  return '{ ' .. table.concat(parts, ', ') .. ' }'
end

--- A value as Lua's source has it.
---@param value any
---@return string
command.source = source

--- The text of a file for --config.
---@param db table
---@param redis? table|false
---@param opts? table
---@return string
function command.config(db, redis, opts)
  if redis == nil then redis = support.redis() end
  return ('return %s, %s, %s'):format(source(db), source(redis), source(opts))
end

-- The words of a shell that run it, and the files that are removed afterwards.
local function line_of(words, opts)
  local files = {}
  local function file(text)
    local path = os.tmpname()
    shell.write(path, text)
    files[#files + 1] = path
    return path
  end
  local parts = { 'env -u STORES_CONFIG' }
  if opts.db then
    parts[#parts + 1] = 'STORES_CONFIG=' .. file(command.config(opts.db, opts.redis))
  end
  for name, value in pairs(opts.env or {}) do
    parts[#parts + 1] = name .. '=' .. shell.quoted(value)
  end
  parts[#parts + 1] = shell.quoted(root .. '/tools/stores')
  for _, word in ipairs(words) do parts[#parts + 1] = shell.quoted(tostring(word)) end
  local line = table.concat(parts, ' ')
  if opts.folder then line = ('cd %s && %s'):format(shell.quoted(opts.folder), line) end
  if opts.terminal then
    line = ('script -qefc %s %s'):format(shell.quoted(line), shell.quoted(opts.terminal))
  end
  return line, files, opts.stdin and file(opts.stdin) or '/dev/null'
end

--- Runs it to its end.
---@param words string[]
---@param opts? spec.CommandOptions
---@return {code: integer, out: string, err: string}
function command.run(words, opts)
  local line, files, stdin = line_of(words, opts or {})
  local errors = os.tmpname()
  local pipe = assert(io.popen(("{ %s; } <%s 2>%s; printf '\\nstatus %%d' $?"):format(line, stdin,
    errors)))
  local out, code = pipe:read('*a'):match('^(.*)\nstatus (%d+)$')
  pipe:close()
  local result = { code = tonumber(code), out = out, err = shell.read(errors) }
  os.remove(errors)
  for _, path in ipairs(files) do os.remove(path) end
  return result
end

--- Runs it to its end, and raises with what it said where its exit code is not 0.
---@param words string[]
---@param opts? spec.CommandOptions
---@return string out
---@return string err
function command.must(words, opts)
  local result = command.run(words, opts)
  if result.code ~= 0 then
    error(('stores %s: exit code %d\n%s%s'):format(table.concat(words, ' '), result.code,
      result.out, result.err), 2)
  end
  return result.out, result.err
end

--- Starts it, to be sent signals; its config and stdin files stay until the machine forgets them.
---@param words string[]
---@param opts? spec.CommandOptions
---@param errors? string a file for what it writes to stderr
---@return spec.Process
function command.start(words, opts, errors)
  local line, _, stdin = line_of(words, opts or {})
  return process.start({ 'sh', '-c', ('exec %s <%s'):format(line, stdin) }, errors)
end

return command
