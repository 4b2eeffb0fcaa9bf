--- The contract of the hosts, in each of them, and what each adds to it.

local contract = require('spec.hosts_contract')
local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'
local db

lazy_setup(function() db = support.db() end)
lazy_teardown(function() support.drop(db) end)

local function parse(text)
  local results = {}
  for line in text:gmatch('[^\n]+') do
    local verdict, rest = line:match('^(n?o?t? ?ok) (.*)$')
    if verdict then
      local name, note = rest:match('^(.-) %-%- (.*)$')
      results[name or rest] = { ok = verdict == 'ok', note = note }
    end
  end
  return results
end

--- A program in Lua, in a process of its own: gives what it printed, and what it said on stderr.
local function run_lua(words)
  local errors = os.tmpname()
  local child = process.start(words, errors)
  local text = child:wait()
  local file = assert(io.open(errors))
  local said = file:read('*a')
  file:close()
  os.remove(errors)
  return text, said
end

local function describe_contract(host, start)
  describe(host .. (host == 'openresty' and ' #slow' or ''), function()
    local results, output

    lazy_setup(function()
      output = start()
      results = parse(output)
    end)

    for _, one in ipairs(contract) do
      it(one.name, function()
        local result = results[one.name]
        if not result then
          local whole = output
          output = '(shown above)'
          error('it was not run: ' .. whole, 0)
        end
        assert.is_true(result.ok, result.note)
        if result.note then print(('%s: %s'):format(host, result.note)) end
      end)
    end
  end)
end

for _, host in ipairs({ 'standalone', 'luv', 'cqueues' }) do
  describe_contract(host, function()
    local text, errors = run_lua({ 'env', 'LUA_PATH=' .. root .. '/?.lua;' .. package.path,
      'luajit', root .. '/spec/support/hosts_run.lua', host, db.host, tostring(db.port), db.user,
      db.database, support.redis().path })
    return text .. errors
  end)
end

describe_contract('openresty', function()
  local server = nginx.start(([[
    server {
      listen @SOCKET@;
      location = /contract {
        content_by_lua_block {
          local run = require('spec.support.hosts_run')
          local function ticker(seconds)
            local times, stopped = {}, false
            ngx.thread.spawn(function()
              while not stopped do
                ngx.update_time()
                times[#times + 1] = ngx.now()
                ngx.sleep(seconds)
              end
            end)
            return function() stopped = true return times end
          end
          run('openresty', { host = '%s', port = %s, user = '%s', database = '%s', redis = '%s' },
            ticker, ngx.say)
        }
      }
    }]]):format(db.host, db.port, db.user, db.database, support.redis().path))
  local _, body = server:request('GET', '/contract')
  return body .. server:quit()
end)
