--- docs/operations.md: every command that it shows runs, in the order in which they stand; what the
--- files of examples/operations start, starts; and what it says of the log is what is logged.
-- Plain pass alone: programs of their own.

local command = require('spec.support.command')
local process = require('spec.support.process')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or shell.output('pwd'):gsub('\n', '')
local page = shell.read(root .. '/docs/operations.md')
local quoted = shell.quoted

local admin, folder

local function drop()
  for _, name in ipairs({ 'shop', 'shop_look' }) do
    admin:query(('DROP DATABASE IF EXISTS %s WITH (FORCE)'):format(name), nil,
      { transaction = false })
  end
end

before_each(function()
  admin = stores.Store.new(support.config(), nil, { cache = false })
  drop()
  admin:query('CREATE DATABASE shop', nil, { transaction = false })
  folder = shell.folder()
  shell.run(('cp %s/examples/operations/* %s'):format(quoted(root), quoted(folder)))
end)

after_each(function()
  command.run({ 'down', folder .. '/data' })
  drop()
  admin:close()
  shell.run('rm -rf ' .. quoted(folder))
end)

local function url(name)
  local db = support.config()
  return ('postgresql://%s@/%s?host=%s&port=%s'):format(db.user, name, db.host, db.port)
end

-- What the page takes for granted: where the servers are, and that `stores` is installed.
local function environment()
  return {
    DATABASE_URL = url('shop'), LOOK_URL = url('shop_look'),
    REDIS_URL = 'unix://' .. support.redis().path,
    PATH = root .. '/tools:' .. os.getenv('PATH'),
    STORES_CONFIG = folder .. '/shop.lua',
  }
end

local function exports()
  local lines = {}
  for name, value in pairs(environment()) do
    lines[#lines + 1] = ('export %s=%s'):format(name, quoted(value))
  end
  return table.concat(lines, '\n') .. '\n'
end

describe('docs/operations.md', function()
  it('shows commands that run', function()
    local script, count = { exports(), 'cd ' .. quoted(folder), 'set -e', 'unset STORES_CONFIG' }, 0
    for block in page:gmatch('\n```sh\n(.-)\n```\n') do
      for line in block:gmatch('[^\n]+') do
        count = count + 1
        script[#script + 1] = ('echo %s'):format(quoted('$ ' .. line))
        script[#script + 1] = line
      end
    end
    assert.is_true(count > 20)
    shell.write(folder .. '/session.sh', table.concat(script, '\n') .. '\n')
    local status, text = shell.run('LD_PRELOAD= sh ' .. quoted(folder .. '/session.sh'))
    assert.equal(0, status, text)
    -- what was restored is what was saved, and what was written behind the cache's back is seen
    assert.matches('%$ stores restore shop%.dump %-%-replace shop\n2 tables restored[^\n]*\n'
      .. '%$ stores get orders 1\n{[^}]*"state": "open"', text)
    assert.matches('%$ stores invalidate orders\n.-%$ stores get orders 1\n{[^}]*"state": "late"',
      text)
    assert.matches('%$ stores count orders %-%-url "%$LOOK_URL"\n1\n', text)
    assert.matches('%$ timeout 5 sh start.sh[^\n]*\n[^$]*1 orders\n', text)
  end)

  it('says of each line of the log what the core writes', function()
    local table_of = page:match('\n## What the log says\n(.-)\n## ')
    local source = shell.output(('cat %s/core/*/*.c %s/migrations.lua %s/lua/stores/hosts/*.lua')
      :format(quoted(root), quoted(root), quoted(root)))
    source = source:gsub('"%s*"', ''):gsub("'%s*%.%. '", '')
    local told = 0
    for line in table_of:gmatch('\n| `([^`]+)`') do
      for part in (line .. '..'):gmatch('(.-)%.%.') do
        part = part:gsub('^[%s(:)]+', ''):gsub('[%s(:;,)]+$', '')
        if #part > 8 then
          told = told + 1
          assert.truthy(source:find(part, 1, true), 'nobody logs: ' .. part)
        end
      end
    end
    assert.is_true(told >= 8)
    -- and all that the core logs is told of
    for text in source:gmatch('stores__log%([%w_>-]+,%s*"([^%%"]+)') do
      local begins = text:match('^(.-)%s*[:(]?%s*$'):sub(1, 40)
      assert.truthy(table_of:find(begins, 1, true), 'not told of: ' .. text)
    end
  end)

  it('names every alert that there is', function()
    local alerts = shell.read(root .. '/examples/monitoring/alerts.yml')
    for name in alerts:gmatch('alert: (%w+)') do
      assert.truthy(page:find('`' .. name .. '`', 1, true), name)
    end
  end)
end)

describe('the units of examples/operations', function()
  -- The words of a unit's line, with the places of this machine.
  local function words_of(unit, key)
    local line = assert(shell.read(folder .. '/' .. unit):match('\n' .. key .. '=([^\n]+)'))
    line = line:gsub('/usr/local/bin/stores', root .. '/tools/stores')
      :gsub('/opt/shop', folder):gsub('/var/lib/shop/data', folder .. '/data')
    local words = {}
    for word in line:gmatch('%S+') do words[#words + 1] = word end
    return words
  end

  it('are such that systemd takes', function()
    if shell.output('command -v systemd-analyze') == '' then
      pending('systemd is not installed')
      return
    end
    for _, name in ipairs({ 'shop.service', 'shop-servers.service' }) do
      local path = folder .. '/' .. name
      shell.write(path, (shell.read(path):gsub('/usr/local/bin/stores', root .. '/tools/stores')
        :gsub('/opt/shop', folder):gsub('User=shop', 'User=root')))
      local _, text = shell.run('systemd-analyze verify ' .. quoted(path))
      for line in text:gmatch('[^\n]+') do
        -- units of this machine that are wrong, or away, are none of ours
        if line:find(name, 1, true) then
          assert.is_nil(line:lower():find('unknown', 1, true), line)
          assert.is_nil(line:find('not executable', 1, true), line)
        end
      end
    end
  end)

  it('start the program with its migrations, and stop it', function()
    local line = exports() .. 'exec ' .. table.concat(words_of('shop.service', 'ExecStart'), ' ')
    local program = process.start({ 'sh', '-c', line })
    local said
    repeat said = program:line() until not said or said:find('orders', 1, true)
    assert.equal('0 orders', said)
    program:signal('TERM')
    program:wait()
    local result = command.run({ 'migrate', folder .. '/migrations.lua', 'verify' },
      { env = environment() })
    assert.equal(0, result.code, result.err)
  end)

  it('start and stop private servers', function()
    local function run(key)
      local words = words_of('shop-servers.service', key)
      table.remove(words, 1)
      return command.must(words)
    end
    assert.matches('PGHOST=', (run('ExecStart')))
    command.must({ 'status', '--data', folder .. '/data' })
    assert.equal('stopped\n', (run('ExecStop')))
  end)
end)
