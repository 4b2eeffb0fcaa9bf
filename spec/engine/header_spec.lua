--- stores.h, the header: with those that it includes it stands alone in C and in C++, and says
--- what the library exports.
-- Plain pass alone: compilers and linkers in processes of their own.

local root = os.getenv('STORES_ROOT') or '.'
local build = os.getenv('STORES_BUILD') or root .. '/build'

local sh = require('spec.support.shell')
local quoted, shell = sh.quoted, sh.run

-- With those that it includes.
local function read_header()
  local text = ''
  for _, name in ipairs({ 'stores_error', 'stores_replica', 'stores_config', 'stores',
    'stores_inspect', 'stores_tx' }) do
    local file = assert(io.open(('%s/core/%s.h'):format(root, name)))
    text = text .. file:read('*a')
    file:close()
  end
  return text
end

--- The functions that the header declares, by name.
local function declared()
  local names = {}
  for declaration in read_header():gmatch('\nSTORES_API ([^;]*);') do
    names[assert(declaration:match('([%w_]+)%('))] = true
  end
  return names
end

local function exported()
  local names = {}
  local _, text = shell('nm -D --defined-only ' .. quoted(build .. '/libstores.so'))
  for kind, name in text:gmatch('%x+ (%a) (%S+)') do
    -- the sanitizers' constructors are theirs
    if not name:find('^__') and not name:find('san') then names[name] = kind end
  end
  return names
end

describe('stores.h', function()
  local function compile(compiler, suffix, standard)
    local folder = sh.folder()
    local file = assert(io.open(folder .. '/alone.' .. suffix, 'w'))
    file:write('#include "stores.h"\n#include "stores.h"\n',
      'int use(const stores_op *op);\n',
      'int use(const stores_op *op) { return stores_op_done(op) ? STORES_OK : STORES_INTERNAL; }\n',
      'int call(stores_engine *engine);\n',
      'int call(stores_engine *engine) {\n',
      '  stores_call call = STORES_CALL_INIT;\n  call.timeout_ms = 5;\n',
      '  return use(stores_find(engine, &call, "docs", 1));\n}\n')
    file:close()
    local status, text = shell(('%s -std=%s -pedantic -Wall -Wextra -Werror -I %s -c %s -o %s')
      :format(compiler, standard, quoted(root .. '/core'), quoted(folder .. '/alone.' .. suffix),
        quoted(folder .. '/alone.o')))
    shell('rm -rf ' .. quoted(folder))
    assert.equal(0, status, text)
  end

  it('compiles alone as C11', function() compile('cc', 'c', 'c11') end)

  it('compiles alone as C++17', function() compile('c++', 'cpp', 'c++17') end)

  it('declares each function that the library exports, and only those', function()
    local header, library = declared(), exported()
    for name, kind in pairs(library) do
      assert.equal('T', kind, name)
      assert.is_true(header[name] or false, name .. ' is exported and not declared')
    end
    for name in pairs(header) do
      assert.is_truthy(library[name], name .. ' is declared and not exported')
    end
    assert.is_truthy(library.stores_engine_new)
  end)

  --- The fields of each struct of the header, in their order.
  local function structs()
    local all = {}
    for name, body in read_header():gmatch('typedef struct (stores_[%w_]+) (%b{}) %1;') do
      local fields = {}
      body = body:sub(2, -2):gsub('/%*.-%*/', '')
      for declaration in body:gmatch('[^;]+') do
        local pointer = declaration:match('%(%*([%w_]+)%)%(')
        for part in (pointer or declaration):gmatch('[^,]+') do
          fields[#fields + 1] = part:match('([%w_]+)%s*%[?%d*%]?%s*$')
        end
      end
      all[name] = fields
    end
    return all
  end

  it('has structs that begin with their size, and grow at their end alone', function()
    local told, header = {}, structs()
    local file = assert(io.open(root .. '/spec/engine/test_interface.c'))
    for name, field in file:read('*a'):gmatch('FIELD%((stores_[%w_]+), ([%w_]+), %d+%)') do
      told[name] = told[name] or {}
      table.insert(told[name], field)
    end
    file:close()
    assert.same({ 'size', 'timeout_ms', 'no_cache', 'inside', 'cb', 'arg', 'read', 'after_token',
      'no_hold' }, told.stores_call)
    for name, fields in pairs(header) do
      assert.equal('size', fields[1], name)
      assert.is_truthy(told[name], name .. ' is not in spec/engine/test_interface.c')
      for i, field in ipairs(told[name]) do
        assert.equal(field, fields[i], ('field %d of %s'):format(i, name))
      end
    end
  end)

  it('numbers each enum by hand', function()
    local count = 0
    for body, name in read_header():gmatch('typedef enum [%w_]+ (%b{}) ([%w_]+);') do
      for entry in body:sub(2, -2):gsub('/%*.-%*/', ''):gsub('#[^\n]*', ''):gmatch('[^,]+') do
        if entry:find('STORES_[%u_]+%s*$') then error(name .. ': ' .. entry .. ' has no number') end
        count = count + (entry:find('=') and 1 or 0)
      end
    end
    assert.is_true(count >= 13, count)
  end)

  it('says a word about each function, or about the group that it stands in', function()
    local previous_is_documented = false
    for line in read_header():gmatch('([^\n]*)\n') do
      if line:find('^STORES_API') then
        assert.is_true(previous_is_documented, line)
      elseif line:find('%*/') then
        previous_is_documented = true
      elseif line == '' then
        previous_is_documented = false
      end
    end
  end)
end)
