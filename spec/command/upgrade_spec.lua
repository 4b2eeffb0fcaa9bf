--- stores upgrade: the data of private servers brought to a newer PostgreSQL, or loaded anew.
-- Plain pass alone: programs of their own.

local command = require('spec.support.command')
local json = require('stores.json')
local servers = require('spec.support.servers')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local folder

local function fill()
  local handle = servers.up(folder)
  local store = stores.Store.new(require('stores.local').config(handle), handle.redis)
  store:query('CREATE TABLE users (id bigint PRIMARY KEY, value jsonb)')
  store:query("INSERT INTO users SELECT i, jsonb_build_object('n', i) "
    .. 'FROM generate_series(1, 1000) i')
  store:query("CREATE ROLE secretive LOGIN PASSWORD 'x'")
  store:query('GRANT SELECT ON users TO secretive')
  store:close()
  handle.close()
end

local function remove()
  command.run({ 'down', folder })
  shell.remove(folder)
end

local function exists(name)
  return shell.exists(folder .. '/' .. name)
end

local function is_as_it_was()
  local result = command.run({ 'count', 'users', '--data', folder })
  return result.out == '1000\n' and not exists('pgdata.old-15')
end

describe('data that is loaded anew', function()
  lazy_setup(function()
    folder = servers.folder()
    fill()
  end)
  lazy_teardown(remove)

  it('is where it was until all of it is there, and stays', function()
    local handle = servers.up(folder)
    local result = command.run({ 'upgrade', folder, '--rebuild' })
    assert.equal(1, result.code)
    assert.matches('are in use', result.err)
    handle.close()
    assert.is_false(json.decode((command.must({ 'upgrade', folder, '--json' }))).upgraded)

    for _, signal in ipairs({ 'TERM', 'KILL' }) do
      local errors = folder .. '/errors'
      local child = command.start({ 'upgrade', folder, '--rebuild' }, {}, errors)
      support.eventually(function() return exists('upgrade.new/pgdata') end, 60, 'it has begun')
      child:signal(signal)
      child:wait()
      if signal == 'TERM' then
        assert.matches('stopped; the folder is as it was', shell.read(errors))
      end
      -- servers of one that was killed end by themselves
      support.eventually(is_as_it_was, 60, 'it is as it was')
    end

    local told = json.decode((command.must({ 'upgrade', folder, '--rebuild', '--json' })))
    assert.is_true(told.upgraded)
    assert.equal(told.version, told.from)
    assert.is_true(exists('pgdata.old-' .. told.from))
    assert.is_false(exists('upgrade.new') or exists('upgrade.old'))
    assert.equal('1000\n', (command.must({ 'count', 'users', '--data', folder })))
    local rights = command.must({ 'psql', '--data', folder, '-c',
      "SELECT has_table_privilege('secretive', 'users', 'SELECT')", '--', '-XAtq' })
    assert.equal('t\n', rights)
  end)
end)

describe('data of an older server', function()
  before_each(function() folder = servers.folder() end)
  after_each(remove)

  it('goes from the oldest version that is installed to the newest one', function()
    local programs, seen = {}, {}
    local text = shell.output('ls -d /usr/lib/postgresql/*/bin/initdb; command -v initdb')
    for path in text:gmatch('[^\n]+') do
      local major = tonumber(shell.output(path .. ' --version'):match('%d+'))
      if not seen[major] then programs[#programs + 1] = { path = path, major = major } end
      seen[major] = true
    end
    table.sort(programs, function(one, other) return one.major < other.major end)
    if #programs < 2 then
      pending('one PostgreSQL alone is installed')
      return
    end
    local as = shell.output('id -u'):find('^0')
      and 'setpriv --reuid=postgres --regid=postgres --clear-groups ' or ''
    shell.run(('mkdir -m 700 %s; [ "$(id -u)" != 0 ] || chown postgres %s'):format(folder, folder))
    local status, said = shell.run(('%s%s -D %s/pgdata -U postgres -E UTF8 --locale=C.UTF-8 '
      .. '--auth-local=trust --auth-host=reject'):format(as, programs[1].path, folder))
    assert.equal(0, status, said)
    fill()
    if programs[1].major < 15 then
      -- what the new version does not know is said, and nothing has changed
      local function run(sql) command.must({ 'psql', '--data', folder, '-c', sql }) end
      run('CREATE VIEW gone AS SELECT pg_is_in_backup()')
      local result = command.run({ 'upgrade', folder })
      assert.equal(1, result.code)
      assert.matches('pg_is_in_backup%(%) does not exist', result.err)
      assert.is_false(exists('upgrade.new') or exists('upgrade.old'))
      run('DROP VIEW gone')
    end
    local told = json.decode((command.must({ 'upgrade', folder, '--json' })))
    assert.equal(programs[1].major, told.from)
    assert.is_true(told.from < told.version)
    assert.equal('1000\n', (command.must({ 'count', 'users', '--data', folder })))
  end)
end)
