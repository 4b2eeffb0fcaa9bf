--- The TCP services of the examples, as their clients see them.
-- Plain pass alone: programs of their own, which no pass reaches.

local condition = require('cqueues.condition')
local cqueues = require('cqueues')
local process = require('spec.support.process')
local socket = require('cqueues.socket')

local root = os.getenv('STORES_ROOT') or '.'

for _, host in ipairs({ 'luv', 'cqueues' }) do
  describe('the service on ' .. host .. ' #slow', function()
    local folder, path, server

    lazy_setup(function()
      folder = os.tmpname()
      os.remove(folder)
      path = folder .. '.sock'
      server = process.start({ 'luajit', root .. '/examples/' .. host .. '/server.lua', folder,
        path }, folder .. '.err')
      if server:line() ~= 'ready' then
        local file = io.open(folder .. '.err')
        error(file and file:read('*a') or 'it did not start', 0)
      end
    end)

    lazy_teardown(function()
      server:signal('TERM')
      server:wait()
      require('stores.local').down(folder)
      os.execute(("rm -rf '%s' '%s' '%s.err'"):format(folder, path, folder))
    end)

    local function connect()
      local conn = socket.connect({ path = path })
      conn:settimeout(20)
      return function(line)
        conn:write(line .. '\n')
        conn:flush()
        return conn:read('*l')
      end, conn
    end

    it('keeps documents', function()
      local ask, conn = connect()
      local id = ask('PUT {"text": "buy milk"}')
      assert.matches('^%d+$', id)
      assert.matches('"text": ?"buy milk"', ask('GET ' .. id))
      assert.equal('true', ask('DEL ' .. id))
      assert.equal('false', ask('DEL ' .. id))
      assert.equal('null', ask('GET ' .. id))
      conn:close()
    end)

    it('says what is wrong, and goes on', function()
      local ask, conn = connect()
      assert.equal('error: PUT, GET or DEL', ask('SELL'))
      assert.matches('^error: .*invalid_id', ask('GET me'))
      assert.matches('^error: ', ask('PUT {'))
      assert.matches('^%d+$', ask('PUT {}'))
      conn:close()
    end)

    it('serves many clients at once, and those that go away', function()
      local controller, done = cqueues.new(), condition.new()
      local right, left = 0, 50
      for i = 1, left do
        controller:wrap(function()
          local ask, conn = connect()
          local id = ask(('PUT {"n": %d}'):format(i))
          if i % 5 == 0 then conn:write('GET ' .. id) end -- gone in the middle of a line
          if i % 5 ~= 0 and ask('GET ' .. id):match('"n": ?' .. i .. '%f[^%d]') then
            right = right + 1
          end
          conn:close()
          left = left - 1
          if left == 0 then done:signal() end
        end)
      end
      assert(controller:loop(30))
      assert.equal(0, left)
      assert.equal(40, right)
    end)
  end)
end
