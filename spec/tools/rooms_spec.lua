--- The rooms of core/: a line in the wrong one does not compile, and a call upwards does not link.
-- Plain pass alone: compilers and linkers in processes of their own.

local root = os.getenv('STORES_ROOT') or '.'

local sh = require('spec.support.shell')
local quoted, shell, read = sh.quoted, sh.run, sh.read

--- The rooms, lowest first, as the build has them.
local function rooms()
  local list = {}
  for name in read(root .. '/CMakeLists.txt'):match('\nset%(rooms ([%l ]+)%)'):gmatch('%l+') do
    list[#list + 1] = name
  end
  return list
end

describe('the build of a room', function()
  local base

  lazy_setup(function()
    base = sh.folder()
    local status, text = shell(('cd %s && tar -c CMakeLists.txt core | tar -x -C %s'):format(
      quoted(root), quoted(base)))
    assert.equal(0, status, text)
    -- a type that CMake knows nothing of: without what takes the compiler's time
    status, text = shell(('cd %s && cmake -G Ninja -S . -B build -DSTORES_TESTS=ON '
      .. '-DSTORES_LUA=OFF -DSTORES_QUICK=OFF -DCMAKE_BUILD_TYPE=Quick'):format(quoted(base)))
    assert.equal(0, status, text)
  end)

  lazy_teardown(function() shell('rm -rf ' .. quoted(base)) end)

  local function build(target)
    return shell(('cd %s && LC_ALL=C cmake --build build --target %s'):format(quoted(base), target))
  end

  --- Builds the target while the file ends with those lines, which may not be.
  local function refused(target, path, lines, why)
    path = base .. '/core/' .. path
    local before = read(path)
    local file = assert(io.open(path, 'w'))
    file:write(before, lines, '\n')
    file:close()
    local status, text = build(target)
    file = assert(io.open(path, 'w'))
    file:write(before)
    file:close()
    text = text:gsub('`', "'") -- linkers differ in it
    assert.is_truthy(status ~= 0, text)
    assert.is_truthy(text:find(why, 1, true), text)
  end

  it('takes it as it is', function()
    local status, text = build('rooms_sql')
    assert.equal(0, status, text)
  end)

  it('fails for an include that runs upwards', function()
    refused('stores_sql', 'sql/known.c', '#include "write/writes.h"',
      'write/writes.h: No such file')
  end)

  it('fails for a call that runs upwards, though its header is not included', function()
    refused('rooms_sql', 'sql/known.c', [[
      void stores__writes_free(void *engine);
      void stores__smuggled(void *engine);
      void stores__smuggled(void *engine) { stores__writes_free(engine); }]],
      "undefined reference to 'stores__writes_free")
  end)

  it('shows libpq to pg alone, and hiredis and OpenSSL to redis', function()
    refused('stores_sql', 'sql/known.c', '#include <libpq-fe.h>', 'only core/pg sees libpq-fe.h')
    refused('stores_sql', 'sql/known.c', '#include <hiredis/hiredis.h>',
      'only core/redis sees hiredis/hiredis.h')
    refused('stores_sql', 'sql/known.c', '#include <openssl/ssl.h>',
      'only core/redis sees openssl/ssl.h')
  end)
end)

describe('a room', function()
  it('is each folder of core, and no other', function()
    local folders, known = {}, rooms()
    local _, listing = shell(('cd %s/core && ls -d */'):format(quoted(root)))
    for name in listing:gmatch('(%l+)/') do
      folders[#folders + 1] = name
    end
    table.sort(known)
    assert.same(known, folders)
  end)

  it('has a page of 40 lines at most, which names files that are there', function()
    for _, room in ipairs(rooms()) do
      local page = read(('%s/core/%s/README.md'):format(root, room))
      assert.is_true(select(2, page:gsub('\n', '\n')) <= 40, room)
      for name in page:gmatch('`([%l_]+%.[ch])`') do
        local file = io.open(('%s/core/%s/%s'):format(root, room, name))
        assert.is_truthy(file, ('the page of %s names %s'):format(room, name))
        file:close()
      end
    end
  end)

  it('has its noun in docs/design.md, in the order of the build', function()
    local listed = {}
    for name in read(root .. '/docs/design.md'):gmatch('\n| %[`core/(%l+)/`%]') do
      listed[#listed + 1] = name
    end
    assert.same(rooms(), listed)
  end)
end)
