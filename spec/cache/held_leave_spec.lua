--- A lease is given back by who has it, when it ends, and by nobody else: not by a child that it
--- forked, which does not read from its memory either.

local cache = require('spec.support.cache')
local fork = require('spec.support.fork')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

describe('a process that holds a table', function()
  local store, other, id, db, keys

  before_each(function()
    store, db = support.store({ 'routes' }, { hold = { 'routes' } })
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
    id = store:insert('routes', { n = 0 }).id
  end)

  after_each(function()
    support.close(store)
    support.close(other)
  end)

  local function hold(of) cache.hold(of, 'routes', id) end

  -- The holders in the hash, by the ids of their processes.
  local function holders()
    local list = {}
    local fields = keys.cli('hkeys', keys:epoch_key('public.routes') .. '/held')
    for pid in fields:gmatch(':(%d+):') do list[#list + 1] = tonumber(pid) end
    return list
  end

  for how, exit in pairs(fork.endings) do
    it('keeps its leases and rows to itself where a child of it ends ' .. how, function()
      hold(store)
      local said = fork.run(function()
        local codes = {}
        for i, opts in ipairs({ {}, { shared = true }, { raw = true } }) do
          local ok, err = pcall(store.find, store, 'routes', id, opts)
          codes[i] = ok and 'read' or err.code
        end
        pcall(store.close, store)
        return table.concat(codes, ' ')
      end, exit)
      assert.equal('forked forked forked', said)
      assert.same({ tonumber(require('stores.local.system').pid()) }, holders())
      hold(store)
      for n = 1, 5 do
        other:update('routes', { id = id, n = n })
        assert.equal(n, store:find('routes', id).n)
      end
    end)
  end

  it('gives them back when it closes its store, so that no writer waits for them', function()
    hold(store)
    assert.equal(1, #holders())
    store:close()
    support.eventually(function() return #holders() == 0 end, 20)
    other:update('routes', { id = id, n = 1 })
    assert.equal(0, other:stats().held_evictions)
  end)

  for how, ends in pairs({ ['comes to its end'] = '', ['calls os.exit'] = 'os.exit(0, true)' }) do
    it('gives them back when it ' .. how, function()
      local child = process.lua(([[
        local stores = require('stores')
        local store = stores.Store.new({ host = %q, port = %q, user = %q, database = %q },
          { path = %q, opts = { timeout = 2 } }, { hold = { 'routes' } })
        while store:stats().held_hits == 0 do
          store:find('routes', %q)
          stores.sleep(0.01)
        end
        print('held')
        %s
      ]]):format(db.host, tostring(db.port), db.user, db.database, support.redis().path, id, ends))
      assert.equal('held\n', child:wait())
      support.eventually(function() return #holders() == 0 end, 20)
      other:update('routes', { id = id, n = 1 })
      assert.equal(0, other:stats().held_evictions)
    end)
  end
end)
