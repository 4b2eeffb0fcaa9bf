--- Private servers: who starts them, who stops them, and what happens to those who are killed.
--- Users are processes of their own here. Most tests take turns on one folder, for making one costs
--- a second: each leaves it with its servers stopped.
-- Plain pass alone: servers and shells in processes of their own.

local local_servers = require('stores.local')
local servers = require('spec.support.servers')
local system = require('stores.local.system')

local shared -- the folder of most tests is below it
local base -- a folder for the folders of a test
local folder
local users -- processes that the test started: {pid, folder of its files}

local files = require('spec.support.shell')
local quoted = files.quoted

local function read(path)
  local file = io.open(path)
  if not file then return nil end
  local text = file:read('*a')
  file:close()
  return text
end

local function shell(command)
  local pipe = assert(io.popen(command .. ' 2>&1'))
  local text = pipe:read('*a')
  pipe:close()
  return (text:gsub('%s+$', ''))
end

local function within(seconds, condition)
  for _ = 1, seconds * 50 do
    if condition() then return true end
    system.sleep(0.02)
  end
  return condition()
end

--- The processes that work in the folder, the servers and the script that waits for the end.
local function processes(path)
  local found = {}
  for line in shell('ls -l /proc/[0-9]*/cwd 2>/dev/null'):gmatch('[^\n]+') do
    local pid, cwd = line:match('/proc/(%d+)/cwd %-> (.*)$')
    if pid and (cwd == path or cwd:sub(1, #path + 1) == path .. '/') then
      local name = (read('/proc/' .. pid .. '/comm') or 'gone'):gsub('%s+$', '')
      found[name] = found[name] or {}
      table.insert(found[name], tonumber(pid))
    end
  end
  return found
end

local function all_gone(path)
  return next(processes(path)) == nil
end

local function count(list) return list and #list or 0 end

--- Starts a process that uses the folder until it is told to close; `code` runs before that.
local function user(path, code)
  local home = shell('mktemp -d ' .. quoted(base .. '/user.XXXXXX'))
  local program = home .. '/user.lua'
  local file = assert(io.open(program, 'w'))
  file:write(([[
    local servers, system = require('stores.local'), require('stores.local.system')
    local home = %q
    local function note(name, text)
      local f = io.open(home .. '/.' .. name, 'w') f:write(text or '') f:close()
      os.rename(home .. '/.' .. name, home .. '/' .. name)
    end
    local ok, handle = pcall(servers.up, %q)
    note('up', ok and 'ok' or tostring(handle))
    %s -- may open files, or end
    while not io.open(home .. '/go') do system.sleep(0.01) end
    note('closed', tostring(ok and handle.close()))
  ]]):format(home, path, code or ''))
  file:close()
  local pid = shell(('luajit %s >%s 2>&1 & echo $!'):format(quoted(program),
    quoted(home .. '/output')))
  local one = { pid = tonumber(pid), home = home }
  users[#users + 1] = one
  return one
end

local function wait_up(one)
  assert.is_true(within(60, function() return read(one.home .. '/up') end),
    read(one.home .. '/output'))
  assert.equal('ok', read(one.home .. '/up'))
end

--- Tells a user to close, and gives what close() gave.
local function close(one)
  assert(io.open(one.home .. '/go', 'w')):close()
  assert.is_true(within(60, function() return read(one.home .. '/closed') end))
  return read(one.home .. '/closed')
end

local function kill(signal, pid) shell(('kill -%s %d'):format(signal, pid)) end

--- Kills it, and waits until it is gone: it dies when it has a processor.
local function end_at_once(pid)
  kill('KILL', pid)
  assert.is_true(within(20, function()
    return shell(('readlink /proc/%d/cwd || echo gone'):format(pid)) == 'gone'
  end))
end

local function raises(code, pattern, fn)
  local ok, failure = pcall(fn)
  assert.is_false(ok)
  assert.equal(code, failure.code)
  assert.matches(pattern, failure.message)
end

describe('private servers #slow', function()
  setup(function()
    shared = files.folder()
    servers.make(shared .. '/data')
  end)

  teardown(function() files.remove(shared) end)

  before_each(function()
    base = files.folder()
    folder = shared .. '/data'
    users = {}
  end)

  after_each(function()
    for _, one in ipairs(users) do kill('KILL', one.pid) end
    if system.stat(folder) then pcall(local_servers.down, folder) end
    assert.is_true(within(30, function() return all_gone(folder) end), 'a server is left')
    shell('rm -rf ' .. quoted(base))
  end)

  it('start, answer, and stop with their only user', function()
    folder = base .. '/new'
    local handle = local_servers.up(folder)
    assert.equal('PONG', shell('redis-cli -s ' .. quoted(handle.redis.path) .. ' ping'))
    local psql = ('psql -h %s -p %d -U %s -d %s -Atc '):format(quoted(handle.pg.host),
      handle.pg.port, handle.pg.user, handle.pg.database)
    assert.equal('on||UTF8', shell(psql .. quoted([[select current_setting('fsync'), ]]
      .. [[current_setting('listen_addresses'), current_setting('server_encoding')]])))
    assert.equal(tonumber('700', 8), system.stat(folder).mode)
    assert.is_true(handle.close())
    assert.is_false(handle.close())
    assert.is_true(within(10, function() return all_gone(folder) end))
  end)

  it('keep what was stored, and start again quickly', function()
    local first = local_servers.up(folder)
    local psql = 'psql -h ' .. quoted(first.pg.host) .. ' -U postgres -Atc '
    shell(psql .. quoted('create table kept as select 1 as n'))
    first.close()
    local second = local_servers.up(folder)
    assert.equal('1', shell(psql .. quoted('select n from kept')))
    second.close()
  end)

  it('take settings, and refuse unknown options', function()
    local handle = local_servers.up(folder,
      { postgres = { work_mem = '7MB' }, redis = { maxmemory = '50mb' } })
    assert.equal('7MB', shell('psql -h ' .. quoted(folder) .. ' -U postgres -Atc "show work_mem"'))
    assert.matches('52428800', shell('redis-cli -s ' .. quoted(handle.redis.path)
      .. ' config get maxmemory'))
    handle.close()
    raises('invalid_option', 'keep', function() local_servers.up(folder, { kep = true }) end)
  end)

  it('are one pair for processes that open a new folder at once', function()
    folder = base .. '/new'
    local all = {}
    for i = 1, 4 do all[i] = user(folder) end
    for i = 1, 4 do wait_up(all[i]) end
    local found = processes(folder)
    assert.equal(1, count(found['redis-server']))
    assert.equal(1, #shell('cat ' .. quoted(folder .. '/pgdata/postmaster.pid')
      .. ' | head -n 1 | wc -l'))
    for i = 1, 3 do assert.equal('false', close(all[i])) end
    assert.is_true(system.answers(folder .. '/redis.sock'))
    assert.equal('true', close(all[4]))
    assert.is_true(within(10, function() return all_gone(folder) end))
  end)

  it('stop once when all close at the same time', function()
    for _ = 1, 3 do
      local all = {}
      for i = 1, 4 do all[i] = user(folder) end
      for i = 1, 4 do wait_up(all[i]) end
      for i = 1, 4 do assert(io.open(all[i].home .. '/go', 'w')):close() end
      for i = 1, 4 do
        assert.is_true(within(30, function() return read(all[i].home .. '/closed') end))
      end
      assert.is_true(within(10, function() return all_gone(folder) end))
    end
  end)

  it('stop after the last user was killed', function()
    local one = user(folder)
    wait_up(one)
    kill('KILL', one.pid)
    assert.is_true(within(20, function() return all_gone(folder) end))
  end)

  it('stop after a user that ended without closing', function()
    local one = user(folder, 'os.exit(0)')
    wait_up(one)
    assert.is_true(within(20, function() return all_gone(folder) end))
  end)

  it('stop when their folder was removed under them', function()
    folder = base .. '/removed'
    servers.make(folder)
    local one = user(folder)
    wait_up(one)
    local pids = processes(folder)
    shell('rm -rf ' .. quoted(folder))
    close(one)
    for _, name in ipairs { 'redis-server', 'postgres' } do
      for _, pid in ipairs(pids[name]) do
        assert.is_true(within(20, function() return not read('/proc/' .. pid .. '/comm') end), name)
      end
    end
  end)

  it('are not stopped by a child of their user', function()
    local one = user(folder, [[
      local ffi = require('ffi')
      ffi.cdef 'int fork(void); void _exit(int); int waitpid(int, int *, int);'
      local child = ffi.C.fork()
      if child == 0 then
        note('child', tostring(handle.close()))
        ffi.C._exit(0)
      end
      ffi.C.waitpid(child, nil, 0)]])
    wait_up(one)
    assert.is_true(within(20, function() return read(one.home .. '/child') end))
    assert.equal('false', read(one.home .. '/child'))
    system.sleep(0.2)
    assert.is_true(system.answers(folder .. '/redis.sock'))
    assert.equal('true', close(one))
  end)

  it('are used and stopped by the next one where the user and the script were killed', function()
    local one = user(folder)
    wait_up(one)
    local before = processes(folder)['redis-server'][1]
    for name, pids in pairs(processes(folder)) do
      if name ~= 'redis-server' and name ~= 'postgres' then
        for _, pid in ipairs(pids) do end_at_once(pid) end
      end
    end
    end_at_once(one.pid)
    local handle = local_servers.up(folder)
    assert.equal(before, processes(folder)['redis-server'][1])
    assert.is_true(handle.close())
    assert.is_true(within(10, function() return all_gone(folder) end))
  end)

  it('recover when everything was killed', function()
    local one = user(folder)
    wait_up(one)
    local found = processes(folder)
    local script = table.concat(found.sh, ' ') -- first, or it would stop them properly
    local rest = table.concat(found.postgres, ' ') .. ' ' .. found['redis-server'][1]
    shell(('kill -KILL %s; kill -KILL %d %s'):format(script, one.pid, rest))
    assert.is_true(within(20, function() return not system.answers(folder .. '/redis.sock') end))
    assert.is_truthy(read(folder .. '/pgdata/postmaster.pid'))
    local handle = local_servers.up(folder)
    assert.equal('1', shell('psql -h ' .. quoted(folder) .. ' -U postgres -Atc "select 1"'))
    assert.is_true(handle.close())
  end)

  it('come back for a new user when one of them was killed under an old one', function()
    local one = user(folder)
    wait_up(one)
    end_at_once(tonumber(read(folder .. '/pgdata/postmaster.pid'):match('%d+')))
    end_at_once(processes(folder)['redis-server'][1])
    local handle = local_servers.up(folder)
    assert.equal('1', shell('psql -h ' .. quoted(folder) .. ' -U postgres -Atc "select 1"'))
    assert.is_false(handle.close())
    assert.equal('true', close(one))
  end)

  it('do not believe a number that is another process by now', function()
    local_servers.up(folder).close()
    local file = assert(io.open(folder .. '/redis.pid', 'w'))
    file:write(system.pid(), '\n')
    file:close()
    file = assert(io.open(folder .. '/pgdata/postmaster.pid', 'w'))
    file:write(system.pid(), '\n', folder, '/pgdata\n0\n5432\n\n\n0 0\nready   \n')
    file:close()
    assert.is_true(local_servers.up(folder).close())
  end)

  it('start where the file of the number was left empty, by a power cut or a full disk', function()
    local_servers.up(folder).close()
    assert(io.open(folder .. '/pgdata/postmaster.pid', 'w')):close()
    assert(io.open(folder .. '/redis.pid', 'w')):close()
    assert.is_true(local_servers.up(folder).close())
  end)

  it('stay with keep until down', function()
    local_servers.up(folder, { keep = true }).close()
    system.sleep(0.3)
    assert.is_true(system.answers(folder .. '/redis.sock'))
    local handle = local_servers.up(folder)
    assert.equal('in use', local_servers.down(folder))
    assert.is_true(handle.close())
    assert.equal('not running', local_servers.down(folder))
    local_servers.up(folder, { keep = true }).close()
    assert.equal('stopped', local_servers.down(folder))
  end)

  it('leave the files of their user alone', function()
    local one = user(folder, "note('held') local held = io.open(home .. '/held')")
    wait_up(one)
    local names = {}
    for _, pids in pairs(processes(folder)) do
      for _, pid in ipairs(pids) do names[#names + 1] = shell('ls -l /proc/' .. pid .. '/fd') end
    end
    names = table.concat(names)
    assert.matches('redis', names)
    assert.is_nil(names:find(one.home, 1, true))
    close(one)
  end)

  it('name the version that made the folder', function()
    folder = base .. '/old'
    servers.make(folder)
    local_servers.up(folder).close()
    local file = assert(io.open(folder .. '/pgdata/PG_VERSION', 'w'))
    file:write('9.6\n')
    file:close()
    raises('connect_failed', 'was made by PostgreSQL 9%.6; installed is PostgreSQL %d+',
      function() local_servers.up(folder) end)
    assert.is_true(within(10, function() return all_gone(folder) end))
  end)

  it('say what PostgreSQL said when it does not start', function()
    raises('connect_failed', 'no_such_setting', function()
      local_servers.up(folder, { postgres = { no_such_setting = 1 } })
    end)
    assert.is_true(within(10, function() return all_gone(folder) end))
    assert.is_true(local_servers.up(folder).close())
  end)

  it('refuse a folder that holds other things, and one that cannot be made', function()
    folder = base .. '/letters'
    shell(('mkdir %s && touch %s/letter.txt'):format(quoted(folder), quoted(folder)))
    raises('invalid_argument', 'letter.txt', function() local_servers.up(folder) end)
    assert.not_equal(tonumber('700', 8), system.stat(folder).mode)
    raises('invalid_argument', 'No such file', function() local_servers.up(base .. '/no/data') end)
    raises('invalid_argument', 'not empty', function() local_servers.up('') end)
    raises('invalid_argument', 'a number', function() local_servers.up(1) end)
  end)

  it('run under a folder that only root can enter', function()
    if system.euid() ~= 0 then return pending('needs root') end
    local closed = base .. '/closed'
    shell('mkdir -m 700 ' .. quoted(closed))
    folder = closed .. '/data'
    local handle = local_servers.up(folder)
    assert.equal('1', shell('psql -h ' .. quoted(folder) .. ' -U postgres -Atc "select 1"'))
    local pid = read(folder .. '/pgdata/postmaster.pid'):match('%d+')
    assert.equal('postgres', shell('stat -c %U /proc/' .. pid))
    assert.is_true(handle.close())
  end)

  it('do not end with the terminal of their user', function()
    local one = user(folder)
    wait_up(one)
    local own = shell(('ps -o sid= -p %d 2>/dev/null || cut -d" " -f6 /proc/%d/stat')
      :format(one.pid, one.pid))
    local redis = processes(folder)['redis-server'][1]
    local theirs = shell(('cut -d" " -f6 /proc/%d/stat'):format(redis))
    assert.not_equal(own:match('%d+'), theirs)
    close(one)
  end)
end)
