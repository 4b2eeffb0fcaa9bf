--- stores up, down, status, psql and redis: private servers from a shell, and the servers' own
--- programs.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local json = require('stores.json')
local servers = require('spec.support.servers')
local shell = require('spec.support.shell')
local support = require('spec.support')

describe('private servers from a shell', function()
  local folder
  lazy_setup(function() folder = servers.folder() end)
  lazy_teardown(function()
    command.run({ 'down', folder })
    shell.run('rm -rf ' .. shell.quoted(folder))
  end)

  it('are started, used, told of and stopped', function()
    local out = command.must({ 'up', folder, '--set', 'fsync=off', '--set-redis', 'maxmemory=9mb' })
    local host, port, socket = out:match("^PGHOST='([^']+)'\nPGPORT=(%d+)\nPGUSER='postgres'\n"
      .. "PGDATABASE='postgres'\nREDIS_SOCKET='([^']+)'\n$")
    assert.truthy(host, out)
    assert.equal('off\n', shell.output(("LD_PRELOAD= psql -XAtq -h '%s' -p %s -U postgres "
      .. "-d postgres -c 'SHOW fsync'"):format(host, port)))
    assert.equal('PONG\n', shell.output(("redis-cli -s '%s' PING"):format(socket)))

    local function run(name, ...) return command.run({ name, '--data', folder, ... }) end
    assert.equal('9437184', run('redis', 'CONFIG', 'GET', 'maxmemory').out:match('(%d+)'))
    assert.equal('7\n', run('psql', '-c', 'SELECT 3 + 4', '--', '-XAtq').out)
    assert.matches(' up ', run('status').out)
    local answer = run('psql', '-c', 'SELECT nonsense')
    assert.equal(1, answer.code)
    assert.matches('nonsense', answer.err)

    assert.equal(socket, json.decode((command.must({ 'up', folder, '--json' }))).redis.path)
    assert.equal('stopped\n', (command.must({ 'down', folder })))
    local told = command.run({ 'status', '--data', folder, '--json' })
    assert.equal(1, told.code)
    assert.is_false(json.decode(told.out).up)
    assert.equal('not running\n', (command.must({ 'down', folder })))
  end)

  it('run as long as they are used, where no more is asked for', function()
    shell.output('mkdir -p ' .. shell.quoted(folder)) -- nobody may have made it yet
    local status, text = shell.run(([[exec 9>>%s/users.lock; flock -s 9
      %s up --while-used %s >/dev/null && %s down %s; echo $?
      %s redis --data %s PING]]):gsub('%%s', (function()
        local tool = shell.quoted((os.getenv('STORES_ROOT') or '.') .. '/tools/stores')
        local place, at = shell.quoted(folder), 0
        local words = { place, tool, place, tool, place, tool, place }
        return function()
          at = at + 1
          return words[at]
        end
      end)()))
    assert.equal(0, status, text)
    assert.equal('in use\n1\nPONG\n', text)
    support.eventually(function()
      return command.run({ 'status', '--data', folder }).code == 1
    end, 20, 'they stop')
  end)

  it('are asked for by a folder', function()
    assert.equal(2, command.run({ 'up' }).code)
    assert.equal(2, command.run({ 'up', folder, '--set', 'fsync' }).code)
    assert.equal(2, command.run({ 'down', folder, '--url', 'postgresql://x/y' }).code)
    local result = command.run({ 'down', '/tmp/no-such-folder' })
    assert.equal(1, result.code)
    assert.matches('cannot use the folder', result.err)
  end)
end)

describe('psql and redis-cli', function()
  local store, db, folder
  lazy_setup(function()
    store, db = support.store({})
    store:query("CREATE ROLE secretive LOGIN PASSWORD 'pass /@word'")
    folder = shell.folder()
  end)
  lazy_teardown(function()
    store:query('DROP ROLE secretive')
    support.close(store, db)
    shell.run('rm -rf ' .. shell.quoted(folder))
  end)

  -- A program of this name in front of the real one, which tells how it was called.
  local function spy(name)
    shell.write(folder .. '/' .. name,
      '#!/bin/sh\necho "$*"\nenv | grep "^PGP\\|^PGUSER\\|^REDIS"\n')
    shell.run('chmod +x ' .. shell.quoted(folder .. '/' .. name))
    return { PATH = folder .. ':' .. os.getenv('PATH') }
  end

  it('are never given a password where ps shows it', function()
    local env = spy('psql')
    for _, url in ipairs({ 'postgresql://secretive:pass%20%2F%40word@host/shop',
      'postgresql://secretive@host/shop?password=pass%20%2F%40word&sslmode=disable' }) do
      local out = command.must({ 'psql', '--url', url }, { env = env })
      assert.matches('^%-d postgresql://secretive@host/shop[^\n]*\n', out)
      assert.truthy(out:find('\nPGPASSWORD=pass /@word\n', 1, true), out)
      assert.is_nil(out:match('^[^\n]*pass'), out)
    end
    env = spy('redis-cli')
    local out = command.must({ 'redis', 'PING', '--url', 'postgresql://x/y', '--redis',
      'rediss://ada:pass%40word@cache:7000/3' }, { env = env })
    assert.equal('-h cache -p 7000 --user ada -n 3 --tls PING\nREDISCLI_AUTH=pass@word\n', out)
  end)

  it('go to the shard that is named', function()
    local path = folder .. '/shards.lua'
    shell.write(path, [[return { { id = 0, db = { host = 'a', database = 'x' } },
      { id = 1, db = { host = 'b', database = 'y', user = 'u' }, redis = { host = 'c' } } }]])
    local env = spy('psql')
    env.STORES_CONFIG = path
    assert.matches('^%-d y\nPGUSER=u\n', (command.must({ 'psql', '--shard', '1' }, { env = env })))
    local result = command.run({ 'psql' }, { env = env })
    assert.equal(2, result.code)
    assert.matches('which of the 2 shards', result.err)
    assert.equal(2, command.run({ 'redis', '--shard', '0' }, { env = env }).code)
  end)
end)
