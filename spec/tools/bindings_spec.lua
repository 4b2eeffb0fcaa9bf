--- The walls of the bindings: of the core they see stores.h and base/, to include and to call. Uses
--- the build's own commands for one file more.
-- Plain pass alone: compilers and linkers in processes of their own.

local root = os.getenv('STORES_ROOT') or '.'
local build = os.getenv('STORES_BUILD') or root .. '/build'
local folder

local sh = require('spec.support.shell')
local quoted, shell, read = sh.quoted, sh.run, sh.read

before_each(function()
  folder = sh.folder()
end)

after_each(function() shell('rm -rf ' .. quoted(folder)) end)

local directory, flags -- where and how the build compiles bindings/module.c

lazy_setup(function()
  local commands = read(build .. '/compile_commands.json')
  for folder_of, command, path in
    commands:gmatch('"directory": "([^\n]-)",%s*"command": "([^\n]-)",%s*"file": "([^\n]-)"') do
    if path:find('/bindings/module%.c$') then
      -- what is compiled once is of no use to what does not compile
      directory, flags = folder_of, command:gsub('\\"', '"'):gsub(' %-include %S+', '')
        :match('^(.-) %-o ')
    end
  end
  assert(flags, 'the build has no bindings/module.c')
end)

--- Compiles C as if it were bindings/module.c; gives the status, and what the compiler said.
local function compile(source)
  local file = assert(io.open(folder .. '/more.c', 'w'))
  file:write(source)
  file:close()
  return shell(('cd %s && %s -o %s -c %s'):format(quoted(directory), flags,
    quoted(folder .. '/more.o'), quoted(folder .. '/more.c')))
end

--- How the build links the bindings alone: Make has it in a file, and Ninja is asked.
local function link_command()
  local file = io.open(build .. '/CMakeFiles/stores_bindings_alone.dir/link.txt')
  if not file then
    local _, text = shell(('cd %s && ninja -t commands rooms/libstores_bindings_alone.so '
      .. '| tail -n 1'):format(quoted(build)))
    return (text:gsub('\n', ''))
  end
  local command = file:read('*a')
  file:close()
  return command
end

--- Links it with the bindings, base/, and what libstores exports.
local function link()
  local files = quoted(folder .. '/more.so') .. ' ' .. quoted(folder .. '/more.o')
  local command, count = link_command():gsub(' %-o %S+ ',
    function() return ' -o ' .. files .. ' ' end)
  assert.equal(1, count)
  return shell(('cd %s && %s'):format(quoted(build), command))
end

describe('the bindings', function()
  it('include of the core what is exported and what is in base/', function()
    local status, text = compile('#include "stores.h"\n#include "base/base.h"\n')
    assert.equal(0, status, text)
  end)

  it('find no header of another room', function()
    local _, headers = shell('cd ' .. quoted(root .. '/core') .. ' && find . -name "*.h"')
    local tried = 0
    for header in headers:gmatch('%./(%w+/[%w_]+%.h)\n') do
      if not header:find('^base/') then
        local status, text = compile(('#include "%s"\n'):format(header))
        assert.not_equal(0, status, header)
        assert.matches(header .. ': No such file', text, 1, true)
        tried = tried + 1
      end
    end
    assert.is_true(tried > 10)
  end)

  it('link with a call of what is exported', function()
    local status, text = compile('#include "stores.h"\n' ..
      'void more(stores_engine *engine);\n' ..
      'void more(stores_engine *engine) { stores_flush(engine); }\n')
    assert.equal(0, status, text)
    status, text = link()
    assert.equal(0, status, text)
  end)

  it('do not link with a call of what is private, declared by hand', function()
    local private = assert(read(root .. '/core/engine/op.h'):match(
      '\nvoid (stores__[%w_]+)%(stores_op %*op%);'))
    local status, text = compile((
      'void NAME(void *op);\nvoid more(void *op);\nvoid more(void *op) { NAME(op); }\n')
      :gsub('NAME', private))
    assert.equal(0, status, text)
    status, text = link()
    assert.not_equal(0, status)
    assert.matches("undefined reference to [`']" .. private, text)
  end)
end)
