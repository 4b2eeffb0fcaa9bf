--- The private servers that specs have: they stop, and say what they refuse.
-- Plain pass alone: it is about programs that specs start.

local postgres = require('spec.support.postgres')
local process = require('spec.support.process')
local support = require('spec.support')
local uv = require('luv')

describe('a private PostgreSQL', function()
  local server

  setup(function() server = postgres.start() end)
  teardown(function() server:remove() end)
  before_each(function() server:ensure() end)

  -- Connects, and never says who it is.
  local function silent()
    local path = ('%s/.s.PGSQL.%d'):format(server.socket, server.port)
    local child = process.lua(([[
      local uv = require('luv')
      local pipe = uv.new_pipe(false)
      pipe:connect(%q, function(failure) print(failure or 'connected') end)
      uv.new_timer():start(1e9, 0, function() end)
      uv.run()]]):format(path))
    finally(function() child:kill() end)
    assert.equal('connected', child:line())
  end

  for _, how in ipairs({ 'fast', 'immediate' }) do
    it('stops (' .. how .. ') though somebody connects meanwhile who says nothing', function()
      local session = process.start({ 'psql', '-XAtq', '-h', server.socket, '-p',
        tostring(server.port), '-U', 'postgres', '-c', 'SELECT pg_sleep(100)', 'postgres' },
        '/dev/null')
      finally(function() session:kill() end)
      local pid
      support.eventually(function()
        pid = server:psql("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        return pid ~= ''
      end)
      -- a session that hangs has it be about to stop for as long as is needed
      uv.kill(tonumber(pid), 'sigstop')
      uv.kill(server.pid, how == 'fast' and 'sigint' or 'sigquit')
      support.eventually(function() return not pcall(server.psql, server, 'SELECT 1') end)
      silent()
      uv.kill(tonumber(pid), 'sigcont')
      local began = postgres.now()
      server:stop(how)
      assert.is_true(postgres.now() - began < 30) -- and not for authentication_timeout
    end)
  end

  it('is not taken for one that answers while it does not', function()
    server:stop('fast')
    local said = support.psql_refused(server:config(), 'SELECT 1')
    assert.matches('^psql: error: ', said)
  end)

  it('raises what it refuses, and does no more of the text', function()
    for _, sql in ipairs({ 'SELECT 1 / 0; CREATE TABLE behind (id int)',
      'SELECT 1 / 0; -- psql itself\nCREATE TABLE behind (id int)' }) do
      assert.matches('division by zero', support.psql_refused(server:config(), sql))
      assert.equal('t', server:psql("SELECT to_regclass('behind') IS NULL"))
    end
    assert.has_error(function() support.psql_refused(server:config(), 'SELECT 1') end)
  end)
end)
