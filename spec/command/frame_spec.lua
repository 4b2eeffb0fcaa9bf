--- The command `stores`: how it is called, what it says, and how it ends.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local support = require('spec.support')

describe('the command stores', function()
  local store, db

  lazy_setup(function()
    store, db = support.store({ 'users' })
    store:insert('users', { id = '1', name = 'Ada' })
  end)
  lazy_teardown(function() support.close(store, db) end)

  describe('where it is called wrongly', function()
    local function misused(words, text, opts)
      local result = command.run(words, opts)
      assert.equal(2, result.code, result.err)
      assert.equal('', result.out)
      assert.truthy(result.err:find(text, 1, true), result.err)
      return result.err
    end

    it('says how the command is called', function()
      local text = misused({ 'get', 'users' }, "stores: missing argument 'id'")
      assert.matches('usage: stores get [^\n]*<table> <id>', text)
      assert.truthy(text:find('`stores get --help` tells more', 1, true))
      misused({}, 'a command is required')
      misused({ 'gte', 'users', '1' }, "Did you mean 'get'?")
      misused({ 'get', 'users', '1', '--nocache' }, "unknown option '--nocache'")
      misused({ 'get', 'users', 'one' }, "'one' is no id")
      misused({ 'find', 'users', '{' }, 'JSON is no JSON', { db = db })
      misused({ 'find', 'users', '[1]' }, 'has to be a JSON object', { db = db })
    end)

    it('says so as JSON where a program reads it', function()
      local result = command.run({ 'get', 'users', '--json' })
      assert.equal(2, result.code)
      assert.equal('usage', json.decode(result.err).error.code)
    end)
  end)

  describe('where the servers are', function()
    local folder
    before_each(function() folder = shell.folder() end)
    after_each(function() shell.run('rm -rf ' .. shell.quoted(folder)) end)

    local function file(text)
      shell.write(folder .. '/config.lua', text)
      return folder .. '/config.lua'
    end

    local function found(words, opts)
      local all = { 'get', 'users', '1', '--json' }
      for _, word in ipairs(words) do all[#all + 1] = word end
      return json.decode((command.must(all, opts))).name
    end

    local function url()
      return ('postgresql://%s@/%s?host=%s&port=%s'):format(db.user, db.database, db.host, db.port)
    end

    it('is said by a file that returns what Store.new takes', function()
      local path = file(command.config(db))
      assert.equal('Ada', found({ '--config', path }))
      assert.equal('Ada', found({}, { env = { STORES_CONFIG = path } }))
      local named = command.config(db):gsub('^return (%b{}), (%b{}), nil$',
        'return { db = %1, redis = %2, opts = { ttl = 60 } }')
      assert.equal('Ada', found({ '--config', file(named) }))
    end)

    it('is said by a file that returns what Shards.new takes', function()
      local shard = command.config(db):gsub('^return (%b{}), (%b{}), nil$',
        'return { { id = 0, db = %1, redis = %2 } }')
      assert.equal('Ada', found({ '--config', file(shard) }))
    end)

    it('is said by urls', function()
      assert.equal('Ada', found({ '--url', url() }))
      assert.equal('Ada', found({ '--url', url(), '--redis', 'unix://' .. support.redis().path }))
    end)

    it('is what the flags say, whatever the environment does', function()
      local wrong = file('error("not this one")')
      assert.equal('Ada', found({ '--url', url() }, { env = { STORES_CONFIG = wrong } }))
      local result = command.run({ 'get', 'users', '1' }, { env = { STORES_CONFIG = wrong } })
      assert.equal(2, result.code)
      assert.truthy(result.err:find('STORES_CONFIG ' .. wrong .. ' fails', 1, true), result.err)
    end)

    it('has to be said, once, and rightly', function()
      local function refused(words, text)
        local all = { 'get', 'users', '1' }
        for _, word in ipairs(words) do all[#all + 1] = word end
        local result = command.run(all)
        assert.equal(2, result.code, result.err)
        assert.truthy(result.err:find(text, 1, true), result.err)
      end
      refused({}, 'where are the servers?')
      refused({ '--config', folder .. '/none.lua' }, '--config ' .. folder .. '/none.lua cannot be')
      refused({ '--config', file('return 1') }, 'has to return what Store.new or Shards.new take')
      refused({ '--config', file("return { databse = 'x' }") }, "did you mean 'database'?")
      refused({ '--config', file('return {}'), '--url', url() }, '--config and --url both say')
      refused({ '--redis', 'redis://host' }, '--redis goes with --url')
      refused({ '--url', 'mysql://host/x' }, '--url: ')
      refused({ '--url', url(), '--redis', 'http://host' }, '--url and --redis: redis.url')
      refused({ '--data', folder }, 'there are no private servers')
      assert.equal('', (shell.output('ls ' .. shell.quoted(folder .. '/pgdata') .. ' 2>/dev/null')))
    end)
  end)

  it('fails where the server is not there, or refuses', function()
    local result = command.run({ 'get', 'users', '1', '--url', 'postgresql://x@/y?host=/none' })
    assert.equal(1, result.code)
    assert.matches('^stores: connect_failed: ', result.err)
    result = command.run({ 'get', 'nobody', '1', '--json' }, { db = db })
    assert.equal(1, result.code)
    assert.equal('table_not_found', json.decode(result.err).error.code)
  end)

  it('tells of itself, and of each command, as a manual page does', function()
    local text = command.must({ '--help' })
    for _, title in ipairs({ 'NAME', 'SYNOPSIS', 'DESCRIPTION', 'COMMANDS', 'OPTIONS',
      'ENVIRONMENT', 'EXIT STATUS' }) do
      assert.matches('%f[^\n%z]' .. title .. '\n', text)
    end
    for _, module in ipairs(require('stores.command.list')) do
      local one = require(module)
      assert.truthy(text:find('\n    ' .. one.name, 1, true), one.name)
      local page = command.must({ one.name, '--help' })
      assert.truthy(page:find(('NAME\n    stores %s - %s'):format(one.name, one.summary:sub(1, 20)),
        1, true), page)
      assert.truthy(page:find('\nEXAMPLES\n', 1, true), one.name .. ' has no example')
      for line in page:gmatch('[^\n]+') do
        assert.is_true(#line <= 100, line)
      end
      -- every argument, option and flag says what it does
      assert.is_nil(page:match('\n    %-%-[^\n]*\n    %-%-[^\n ]*\n    %-%-'), page)
    end
    assert.matches('^stores %d+%.%d+%.%d+\n$', (command.must({ '--version' })))
    assert.equal(text, (command.must({ 'help' })))
    assert.equal(command.must({ 'get', '--help' }), (command.must({ 'help', 'get' })))
  end)

  it('shows examples that it takes', function()
    local folder = shell.folder()
    local parser = require('stores.command.definitions').parser()
    -- in one write, for the two of a pipeline run at once
    shell.write(folder .. '/stores', '#!/bin/sh\nwords=$(printf "%s\\001" "$@")\n'
      .. 'printf "%s\\n" "$words" >>"$OUT"\n')
    shell.run('chmod +x ' .. shell.quoted(folder .. '/stores'))
    for _, module in ipairs(require('stores.command.list')) do
      for _, line in ipairs(require(module).example or {}) do
        for name in line:gmatch('< ?(%S+)') do shell.write(folder .. '/' .. name, '') end
        local _, said = shell.run(("cd '%s' && >out && OUT='%s/out' PATH='%s':\"$PATH\" sh -c %s "
          .. '</dev/null'):format(folder, folder, folder, shell.quoted(line)))
        local seen = shell.read(folder .. '/out')
        assert.is_not.equal('', seen, line .. ': ' .. said)
        for words in seen:gmatch('([^\n]*)\n') do
          local argv = {}
          for word in words:gmatch('([^\001]*)\001') do argv[#argv + 1] = word end
          local ok, problem = pcall(parser.parse, parser, argv)
          assert.is_true(ok or require('stores.command.manual').is_asked(problem),
            ('%s: %s'):format(line, tostring(problem)))
        end
      end
    end
    shell.run('rm -rf ' .. shell.quoted(folder))
  end)

  it('ends at a signal, and leaves no statement behind', function()
    for _, signal in ipairs({ 'INT', 'TERM' }) do
      store:transaction(function(tx)
        tx:query('LOCK TABLE users')
        local errors = os.tmpname()
        local child = command.start({ 'find', 'users' }, { db = db }, errors)
        local function waiting(count)
          return function()
            return support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = "
              .. "'Lock' AND datname = current_database()"):find('^' .. count)
          end
        end
        support.eventually(waiting(1), 30, 'it waits')
        child:signal(signal)
        child:wait()
        support.eventually(waiting(0), 30, 'nothing runs on')
        assert.equal(signal == 'INT' and 'stores: interrupted\n' or '', shell.read(errors))
        os.remove(errors)
      end, { timeout = 120 })
    end
  end)

  it('works through a link to it, from anywhere', function()
    local folder = shell.folder()
    local root = os.getenv('STORES_ROOT') or shell.output('pwd'):gsub('\n', '')
    local status, text = shell.run(('cd %s && ln -s %s/tools/stores s && env -u LUA_PATH '
      .. '-u LUA_CPATH ./s --version'):format(shell.quoted(folder), shell.quoted(root)))
    shell.run('rm -rf ' .. shell.quoted(folder))
    assert.equal(0, status, text)
  end)

  it('says that it could not write', function()
    local root = os.getenv('STORES_ROOT') or '.'
    local status, text = shell.run(shell.quoted(root .. '/tools/stores')
      .. ' --help >/dev/full')
    assert.equal(1, status)
    assert.truthy(text:find('cannot write', 1, true), text)
  end)
end)
