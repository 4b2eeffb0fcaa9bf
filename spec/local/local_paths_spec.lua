--- Private servers, wherever their folder lies: under any name, moved, copied, on a full disk.
-- Plain pass alone: servers and shells in processes of their own.

local ffi = require('ffi')
local local_servers = require('stores.local')
local ports = require('spec.support.ports')
local servers = require('spec.support.servers')
local stores = require('stores')
local system = require('stores.local.system')

local quoted = require('spec.support.shell').quoted

local function shell(command)
  local pipe = assert(io.popen(command .. ' 2>&1'))
  local text = pipe:read('*a')
  pipe:close()
  return (text:gsub('%s+$', ''))
end

-- The inodes of all sockets that listen on a port.
local function listening()
  local inodes = {}
  for _, file in ipairs({ '/proc/net/tcp', '/proc/net/tcp6' }) do
    for line in (io.open(file) and io.lines(file) or function() end) do
      local state, inode = line:match('^%s*%d+: %S+ %S+ (%S+) %S+ %S+ %S+%s+%d+%s+%d+ (%d+)')
      if state == '0A' then inodes[inode] = true end
    end
  end
  return inodes
end

-- The processes that work in a folder or below it, by pid.
local function workers(path)
  local found = {}
  for line in shell('ls -l /proc/[0-9]*/cwd 2>/dev/null'):gmatch('[^\n]+') do
    local pid, cwd = line:match('/proc/(%d+)/cwd %-> (.*)$')
    if pid and (cwd == path or cwd:sub(1, #path + 1) == path .. '/') then found[pid] = true end
  end
  return found
end

local function pids_of(path)
  local list = {}
  for pid in pairs(workers(path)) do list[#list + 1] = pid end
  return list
end

-- Whether one of these processes listens on a port.
local function any_listens(pids)
  local inodes = listening()
  for pid in pairs(pids) do
    for inode in shell('ls -l /proc/' .. pid .. '/fd 2>/dev/null'):gmatch('socket:%[(%d+)%]') do
      if inodes[inode] then return true end
    end
  end
  return false
end

local function within(seconds, condition)
  for _ = 1, seconds * 50 do
    if condition() then return true end
    system.sleep(0.02)
  end
  return condition()
end

describe('private servers #slow', function()
  local base

  before_each(function() base = require('spec.support.shell').folder() end)

  after_each(function()
    local ended = within(30, function() return next(workers(base)) == nil end)
    assert.is_true(ended, 'left are ' .. shell('ps -o pid,ppid,args -p '
      .. table.concat(pids_of(base), ',')))
    shell('rm -rf ' .. quoted(base))
  end)

  local function refused(code, pattern, fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok, 'nothing was raised')
    assert.equal(code, err.code)
    assert.matches(pattern, err.message)
    return err
  end

  local function write(path, where)
    servers.make(path)
    local store = stores.open(path)
    store:query('CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY, value jsonb)')
    store:upsert('t', { id = '1', where = where })
    return store
  end

  local function where(path)
    local store = stores.open(path)
    local found = store:find('t', '1')
    store:close()
    return found and found.where
  end

  it('live under any name, also one that is a pattern, and under no port', function()
    local before = base .. '/data'
    write(before, 'here'):close()
    local names = { 'data [old]', '[a-z]*', 'what? {a,b}', '$HOME `id` $(id)', [["it's"]],
      [[back\slash \x41]], ' leading', '-dash #hash; & | < >', 'tab\tname',
      ('ж'):rep(60) .. ' [1]', '%s ünï 日本 ' }
    for _, name in ipairs(names) do
      local folder = base .. '/' .. name
      assert(os.rename(before, folder))
      before = folder
      local handle = local_servers.up(folder)
      local ask = 'redis-cli -s ' .. quoted(handle.redis.path) .. ' '
      assert.equal('PONG', shell(ask .. 'ping'), name)
      assert.equal('port\n0', shell(ask .. 'config get port'), name)
      assert.equal('save', shell(ask .. 'config get save'), name)
      assert.is_false(any_listens(workers(folder)), name)
      assert.equal('here', where(folder), name)
      assert.is_true(handle.close(), name)
    end
  end)

  it('stop a Redis that listens on a port all the same', function()
    -- A program in its place that does not heed its arguments.
    local bin = base .. '/bin'
    shell('mkdir -m 755 ' .. quoted(bin) .. ' && chmod 755 ' .. quoted(base))
    local real = shell('command -v redis-server')
    local file = assert(io.open(bin .. '/redis-server', 'w'))
    file:write(('#!/bin/sh\nexec %s --bind 127.0.0.1 --port %d --save ""\n'):format(quoted(real),
      ports.free()))
    file:close()
    shell('chmod 755 ' .. quoted(bin .. '/redis-server'))
    pcall(ffi.cdef, 'int setenv(const char *name, const char *value, int overwrite);')
    local path = os.getenv('PATH')
    finally(function() ffi.C.setenv('PATH', path, 1) end)
    ffi.C.setenv('PATH', bin .. ':' .. path, 1)
    servers.make(base .. '/data')
    local began = os.time()
    local err = refused('connect_failed', 'Redis listens on a port', local_servers.up,
      base .. '/data')
    assert.is_true(os.time() - began < 30, tostring(err))
    assert.is_true(within(10, function() return next(workers(base .. '/data')) == nil end))
  end)

  it('leave settings alone by which a folder finds them', function()
    for _, opts in ipairs({ { redis = { unixsocket = '/tmp/x' } },
                            { redis = { daemonize = 'yes' } },
                            { postgres = { data_directory = '/tmp' } } }) do
      refused('invalid_option', "the folder's own", local_servers.up, base .. '/data', opts)
    end
    refused('invalid_argument', 'on one line', local_servers.up, base .. '/a\nb')
  end)

  it('go with their folder when it is moved or copied', function()
    write(base .. '/a', 'a'):close()
    assert(os.rename(base .. '/a', base .. '/b'))
    assert.equal('a', where(base .. '/b'))
    shell(('cp -a %s/b %s/c'):format(base, base))
    local one, two = write(base .. '/b', 'in b'), write(base .. '/c', 'in c')
    assert.equal('in b', one:find('t', '1').where)
    assert.equal('in c', two:find('t', '1').where)
    two:close()
    -- A copy of one in use is another folder, whatever processes the files in it name.
    shell(('cp -a %s/b %s/d'):format(base, base))
    assert.equal('in b', where(base .. '/d'))
    one:update('t', { id = '1', where = 'still b' })
    assert.equal('still b', one:find('t', '1').where)
    one:close()
  end)

  it('say that their folder was moved while they are in use, and end all the same', function()
    local store = write(base .. '/a', 'a')
    assert(os.rename(base .. '/a', base .. '/b'))
    store:update('t', { id = '1', where = 'moved' })
    refused('connect_failed', 'moved', stores.open, base .. '/b')
    store:close()
    assert.is_true(within(10, function() return next(workers(base .. '/b')) == nil end))
    assert.equal('moved', where(base .. '/b'))
    write(base .. '/a', 'new'):close() -- and the old name is free
    assert.equal('moved', where(base .. '/b'))
  end)

  it('are the same pair by a name and by a link', function()
    local store = write(base .. '/a', 'one')
    shell(('ln -s %s/a %s/link'):format(base, base))
    assert.equal('one', where(base .. '/link'))
    store:close()
  end)

  describe('on a disk that is full', function()
    local disk

    before_each(function() disk = base .. '/disk' end)

    after_each(function() if disk then shell('umount ' .. quoted(disk)) end end)

    local function mount(size)
      shell('mkdir -m 755 ' .. quoted(disk) .. ' && chmod 755 ' .. quoted(base))
      local said = shell(('mount -t tmpfs -o size=%s,mode=755 tmpfs %s'):format(size, quoted(disk)))
      if said == '' then return true end
      disk = nil
      return false
    end

    it('say so, and start when there is room', function()
      if system.euid() ~= 0 or not mount('20m') then return pending('needs root, to mount one') end
      refused('connect_failed', 'No space left', local_servers.up, disk .. '/data')
      shell(('mount -o remount,size=120m %s'):format(quoted(disk)))
      write(disk .. '/data', 'here'):close()
      -- No byte is left, not even for what the servers say of it.
      shell(('dd if=/dev/zero of=%s bs=64k'):format(quoted(disk .. '/data/.filler')))
      refused('connect_failed', 'No space left', local_servers.up, disk .. '/data')
      shell('rm ' .. quoted(disk .. '/data/.filler'))
      assert.equal('here', where(disk .. '/data'))
    end)
  end)

  it('live under a path with spaces and quotes', function()
    local folder = base .. [[/it's a "good" $folder \ `x` ; ü]]
    local handle = local_servers.up(folder)
    assert.equal(folder, handle.pg.host)
    assert.equal('1', shell('psql -h ' .. quoted(folder) .. ' -U postgres -Atc "select 1"'))
    assert.is_true(handle.close())
  end)

  it('put their sockets elsewhere where the path is too long, or has a comma', function()
    for _, name in ipairs { ('long'):rep(30), 'a,b' } do
      local folder = base .. '/' .. name
      servers.make(folder)
      local handle = local_servers.up(folder)
      assert.is_true(#handle.pg.host < 80)
      assert.equal(tonumber('700', 8), system.stat(handle.pg.host).mode)
      assert.equal('1', shell('psql -h ' .. handle.pg.host .. ' -U postgres -Atc "select 1"'))
      local again = local_servers.up(folder)
      assert.equal(handle.pg.host, again.pg.host)
      again.close()
      assert.is_true(handle.close())
      assert.is_nil(system.stat(handle.pg.host))
    end
  end)

  it('refuse a socket folder in /tmp that is somebody else\'s', function()
    if system.euid() ~= 0 then return pending('needs root, to make one') end
    local folder = base .. '/' .. ('long'):rep(30)
    servers.make(folder)
    local place = local_servers.up(folder)
    place.close()
    shell('mkdir -m 777 ' .. place.pg.host)
    shell('chown 12345 ' .. place.pg.host)
    refused('connect_failed', 'somebody else', function() local_servers.up(folder) end)
    shell('rmdir ' .. place.pg.host)
  end)
end)
