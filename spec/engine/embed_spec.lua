--- C programs that use Stores: the examples, built against an installed tree the way a stranger
--- would build them, and run.
-- Plain pass alone: programs of their own, which no pass reaches.

local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local build = os.getenv('STORES_BUILD') or root .. '/build'
local sanitizers = build:find('asan') and ' -fsanitize=address,undefined' or ''

local sh = require('spec.support.shell')
local quoted, shell = sh.quoted, sh.run

describe('a C program', function()
  local base, prefix, db

  lazy_setup(function()
    base = sh.folder()
    prefix = base .. '/usr/local'
    local status, log = shell(('DESTDIR=%s cmake --install %s'):format(quoted(base), quoted(build)))
    assert.equal(0, status, log)
    db = support.db()
  end)

  lazy_teardown(function()
    if db then support.drop(db) end
    shell('rm -rf ' .. quoted(base))
  end)

  --- Builds examples/embed/NAME.c with the flags that pkg-config gives for the packages.
  local function make(name, packages, flags)
    local config = 'pkg-config '
    if packages == 'stores' then
      config = ('PKG_CONFIG_PATH=%s pkg-config --define-variable=prefix=%s '
        .. '--define-variable=libdir=%s --define-variable=includedir=%s '):format(
        quoted(prefix .. '/lib/pkgconfig'), quoted(prefix), quoted(prefix .. '/lib'),
        quoted(prefix .. '/include'))
    end
    local status, text = shell(('cd %s && %s -Wall -Wextra -Werror %s -o %s $(%s) %s %s')
      :format(quoted(base), os.getenv('CC') or 'cc',
        quoted(root .. '/examples/embed/' .. name .. '.c'), name,
        config .. '--cflags --libs ' .. packages, flags or '', sanitizers))
    assert.equal(0, status, text)
  end

  local function run(name, arguments)
    local redis = support.redis()
    local where = {}
    for i, argument in ipairs({ db.host, db.user, db.database, redis.path }) do
      where[i] = quoted(argument)
    end
    -- a program under a sanitizer brings that library itself
    return shell(('cd %s && env -u LD_PRELOAD ASAN_OPTIONS=detect_leaks=%d LD_LIBRARY_PATH=%s '
      .. 'LUA_PATH=%s LUA_CPATH=%s timeout 60 ./%s %s %s'):format(
      quoted(base), arguments and 0 or 1, quoted(prefix .. '/lib'),
      quoted(prefix .. '/share/lua/5.1/?.lua;' .. prefix .. '/share/lua/5.1/?/init.lua;;'),
      quoted(prefix .. '/lib/lua/5.1/?.so;;'), name, arguments or '', table.concat(where, ' ')))
  end

  it('stores documents by stores.h alone', function()
    make('documents', 'stores')
    local status, text = run('documents')
    assert.equal(0, status, text)
    local lines = {}
    for line in text:gmatch('[^\n]+') do lines[#lines + 1] = line end
    assert.equal(5, #lines, text)
    assert.matches('^found {.*"name": ?"Nadir"', lines[1])
    assert.equal('locked 1 row', lines[2])
    assert.matches('^found {.*"name": ?"Rocinante"', lines[3])
    assert.equal('deleted 1 row', lines[4])
    assert.equal('there is no such row', lines[5])
  end)

  it('waits for Stores in a poll loop of its own', function()
    make('poll_loop', 'stores')
    local status, text = run('poll_loop')
    assert.equal('200 changes while a clock ticked\n', text)
    assert.equal(0, status)
    assert.equal('200', support.psql(db, "SELECT sum((value->>'n')::int) FROM counters")
      :match('%d+'))
  end)

  it('runs a Lua script on its own libuv loop, and leaves nothing on it', function()
    make('lua_host', 'luajit libuv', '-rdynamic')
    local status, text = run('lua_host', quoted(root .. '/examples/embed/lua_host.lua'))
    assert.equal('visits: 5\nthe host\'s timer ran all the time\n', text)
    assert.equal(0, status)
  end)

  it('gets its loop back where the script left a store open', function()
    make('lua_host', 'luajit libuv', '-rdynamic')
    local script = base .. '/open.lua'
    local file = assert(io.open(script, 'w'))
    file:write([[
      local host, user, database, redis = ...
      local stores = require 'stores'
      stores.use('uv', { loop = loop })
      local db = { host = host, user = user, database = database }
      store = stores.Store.new(db, { path = redis, opts = { timeout = 2 } })
      stores.spawn(function() print(store:query('SELECT 1 AS one')[1].one) end)
      stores.spawn(function() error('nobody joins this') end)
      print(pcall(store.query, store, 'SELECT 2'))
    ]])
    file:close()
    local status, text = run('lua_host', quoted(script))
    assert.equal(0, status, text)
    assert.matches('\n1\n', text)
    assert.matches('false\tunsupported: [^\n]*stores.spawn\n', text)
    assert.matches('stores: [^\n]*nobody joins this\n', text)
    assert.is_nil(text:find('left on the loop', 1, true))
  end)

  it('shows what a script raises by its text', function()
    make('lua_host', 'luajit libuv', '-rdynamic')
    local script = base .. '/raises.lua'
    for code, text in pairs({
      ["require('stores').json.decode('{')"] = 'invalid_document: invalid JSON',
      ["error('a string')"] = 'a string',
    }) do
      local file = assert(io.open(script, 'w'))
      file:write(code)
      file:close()
      local status, said = run('lua_host', quoted(script))
      assert.equal(1, status)
      assert.truthy(said:find(text, 1, true), said)
    end
  end)
end)
