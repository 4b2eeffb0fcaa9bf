--- The counter of spec/cost/counter.c, compiled for a spec, and programs that run with it.

local shell = require('spec.support.shell')

local counter = {}

---@class spec.Counter
---@field folder string for files of the spec, too
local Counter = {}
Counter.__index = Counter

local function root()
  return os.getenv('STORES_ROOT') or '.'
end

--- The output of a command; raises with it where the command fails.
---@param command string
---@return string
local function run(command)
  local pipe = assert(io.popen('{ ' .. command .. '; } 2>&1; echo "status $?"'))
  local text = pipe:read('*a')
  pipe:close()
  local output, status = text:match('^(.-)status (%d+)\n$')
  if status ~= '0' then error(command .. '\nfailed:\n' .. (output or text), 0) end
  return output
end

--- Compiles it.
---@return spec.Counter
function counter.new()
  local self = setmetatable({ folder = run('mktemp -d'):match('[^\n]+') }, Counter)
  for name, option in pairs({ counter = '-DCOST_COPIES', callgrind = '' }) do
    run(("cc -std=c11 -O2 -fno-builtin -Wall -Wextra -Werror -shared -fPIC %s -o %s/%s.so '%s'")
      :format(option, self.folder, name, root() .. '/spec/cost/counter.c'))
  end
  return self
end

--- Runs a Lua program with the counter in it, without the compiler, whose work depends on chance,
--- and on one processor, where no wait spins; gives what it printed.
---@param program string a file, from the clone's top folder
---@param arguments string[]
---@param before? string what runs luajit
---@param library? 'counter'|'callgrind' the counter without copies is for callgrind
---@return string
function Counter:run(program, arguments, before, library)
  local words = {}
  for i, word in ipairs(arguments) do words[i] = shell.quoted(word) end
  local processor = run('taskset -cp $$'):match(': (%d+)')
  return run(("taskset -c %s env LD_PRELOAD=%s/%s.so %s luajit -joff '%s/%s' %s"):format(
    processor, self.folder, library or 'counter', before or '', root(), program,
    table.concat(words, ' ')))
end

--- Whether instructions can be counted here.
---@return boolean
function counter.has_valgrind()
  return os.execute('command -v valgrind >/dev/null') == 0
end

--- Runs it under callgrind; gives what it printed, and the instructions by the names that it gave
--- to cost_end, the least where it gave one several times. The dumps stay where STORES_COST_DUMPS
--- names a folder, for callgrind_annotate.
---@param program string
---@param arguments string[]
---@return string
---@return table<string, number>
function Counter:instructions(program, arguments)
  local kept = os.getenv('STORES_COST_DUMPS')
  local folder = kept or self.folder
  -- the same memcpy and strlen on every machine
  local output = self:run(program, arguments,
    'GLIBC_TUNABLES=glibc.cpu.hwcaps=-AVX2,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM '
    .. 'valgrind -q --tool=callgrind --instr-atstart=no --callgrind-out-file=' .. folder
    .. '/callgrind', 'callgrind')
  local found = {}
  for name, total in run("cat '" .. folder .. "'/callgrind.*"):gmatch(
    'desc: Trigger: Client Request: ([^\n]*)\n.-\ntotals: (%d+)') do
    found[name] = math.min(found[name] or math.huge, tonumber(total))
  end
  if not kept then run('rm -f ' .. folder .. '/callgrind*') end
  return output, found
end

function Counter:remove()
  run("rm -rf '" .. self.folder .. "'")
end

return counter
