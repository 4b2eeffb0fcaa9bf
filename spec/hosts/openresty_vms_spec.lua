--- VMs of nginx that are thrown away: with lua_code_cache off each request has one of its own.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local http = require('spec.support.http')
local openresty = require('spec.support.openresty')
local shell = require('spec.support.shell')
local support = require('spec.support')

describe('nginx without a cache of code #slow', function()
  local own, db, server

  lazy_setup(function()
    own = openresty.new()
    db = own.db
  end)
  lazy_teardown(function() support.drop(db) end)
  after_each(function() own:stop() end)

  local function start(...) server = own:start(...) end
  local function get(target) return own:get(target) end

  it('collects every VM, with all that it had, where lua_code_cache is off', function()
    local before = openresty.redis_clients()
    local count = function(command) return tonumber(shell.output(command)) end
    -- each VM leaves a byte in one file when it is made, and one in another when it is closed
    start('lua_code_cache off; lua_check_client_abort on;' .. openresty.at('open', [[
      mark() local store = open()
      ngx.say(store:query('SELECT 1 AS one')[1].one)]]) .. openresty.at('cached', [[
      mark() local store = open()
      ngx.say(store:exists('vms', '1') and 0 or 1)]]) .. openresty.at('closed', [[
      mark() local store = open()
      store:query('SELECT 1')
      store:close()
      ngx.say(1)]]) .. openresty.at('raises', [[
      mark() local store = open()
      pcall(store.transaction, store, function(tx)
        tx:insert('vms', { n = 1 })
        error('no')
      end)
      ngx.say(1)]]) .. openresty.at('spawns', [[
      mark() local store = open()
      ngx.timer.at(0, function() store:query('SELECT 1') end)
      ngx.say(1)]]) .. openresty.at('listens', [[
      mark() local store = open()
      local listener = store:listen('news', function() end)
      store:query('SELECT 1')
      listener:stop()
      ngx.say(1)]]) .. openresty.at('leaves', [[
      mark() local store = open()
      store:transaction(function(tx)
        tx:insert('vms', { n = 1 })
        tx:query('SELECT pg_sleep(30)')
      end)]]), { init = [[
      local function leave_byte(name)
        local file = io.open(ngx.config.prefix() .. name, 'a')
        file:write('x')
        file:close()
      end
      function mark()
        leave_byte('made')
        local guard = newproxy(true)
        getmetatable(guard).__gc = function() leave_byte('gone') end
        package.loaded.guard = guard
      end]] })
    support.psql(db, 'CREATE TABLE vms (id bigint PRIMARY KEY, value jsonb)')
    local worker = server:workers()[1]
    local function made(name)
      return count(("cat '%s/%s' 2>&- | wc -c"):format(server.folder, name))
    end
    local function round(times)
      for _ = 1, times do
        for _, name in ipairs({ 'open', 'cached', 'closed', 'raises', 'spawns', 'listens' }) do
          assert.equal('1', get('/' .. name))
        end
      end
      local before_it = made('made')
      http.leave(server.socket, '/leaves', function() return made('made') > before_it end)
      support.eventually(function() return made('gone') == made('made') end, 20, 'the VMs go')
    end
    local function used()
      return count(('ls /proc/%s/task | wc -l'):format(worker)),
        count(('ls /proc/%s/fd | wc -l'):format(worker)),
        count(("awk '/VmRSS/ { print $2 }' /proc/%s/status"):format(worker))
    end
    round(2)
    local descriptors, memory
    support.eventually(function() -- a thread that cancels ends when it is heard
      local threads
      threads, descriptors, memory = used()
      return threads == 1
    end, 20, 'no thread is left')
    round(12)
    assert.equal(86, made('gone'))
    local memory_after
    support.eventually(function()
      local threads, now
      threads, now, memory_after = used()
      return threads == 1 and now == descriptors
    end, 20, 'no thread and no descriptor is left')
    -- 73 VMs of half a megabyte and more
    assert.is_true(memory_after - memory < 8192, memory .. ' kB, then ' .. memory_after)
    support.eventually(function()
      return own:backends() == 0 and openresty.redis_clients() <= before
    end, 30, 'no connection is left')
    assert.equal('', shell.output('ls -d ${TMPDIR:-/tmp}/stores-*/bell 2>/dev/null'))
    local log = own:quit()
    assert.is_nil(log:find('exited on signal'))
  end)
end)
