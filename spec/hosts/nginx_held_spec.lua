--- Held tables in nginx: each worker holds its own, reads from it without yielding, and gives its
--- lease back when it ends, so that no writer waits for a worker that was reloaded, or has quit.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local cache = require('spec.support.cache')
local nginx = require('spec.support.nginx')
local stores = require('stores')
local support = require('spec.support')

local WORKERS = 2

describe('held tables in nginx #slow', function()
  local db, server, writer, keys

  before_each(function()
    db = support.db()
    support.psql(db, [[CREATE TABLE routes (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO routes VALUES (1, '{"n": 0}')]])
    writer = stores.Store.new(db, support.redis())
    keys = cache.of(db)
  end)

  local function begin(lease)
    server = nginx.start(([[
      init_by_lua_block {
        stores = require('stores')
        local made
        function S()
          made = made or stores.Store.new({ host = '%s', port = %s, user = '%s', database = '%s' },
            { path = '%s', opts = { timeout = 2 } }, { hold = { 'routes' }, hold_lease = %s })
          return made
        end
      }
      server {
        listen @SOCKET@;
        # which worker it is, what it reads, whether from its memory
        location = /read {
          content_by_lua_block {
            local before = S():stats().held_hits
            local n = S():find('routes', '1').n
            ngx.say(ngx.worker.pid(), ' ', n, ' ', S():stats().held_hits - before)
          }
        }
        location = /shared {
          content_by_lua_block {
            local one = S():find('routes', '1', { shared = true })
            ngx.say(ngx.worker.pid(), ' ', one.n, ' ', tostring(pcall(function() one.n = 5 end)))
          }
        }
      }
    ]]):format(db.host, db.port, db.user, db.database, support.redis().path, lease or 1), WORKERS)
  end

  after_each(function()
    server:stop()
    support.close(writer)
    support.drop(db)
  end)

  -- The workers that were met in some requests, and what the last of each said.
  local function ask(path)
    local said = {}
    for _ = 1, 12 do
      local pid, n, word = server:get(path):match('^(%d+) (%-?%d+) (%w+)$')
      said[pid] = { n = tonumber(n), word = word }
    end
    return said
  end

  -- Reads until each worker does so from memory; gives their process ids.
  local function hold()
    local held = {}
    support.eventually(function()
      for pid, said in pairs(ask('/read')) do held[pid] = said.word == '1' or nil end
      local count = 0
      for _ in pairs(held) do count = count + 1 end
      return count == WORKERS
    end, 60, 'each worker to hold its rows')
    return held
  end

  -- The holders in the hash, by their process ids.
  local function holders()
    local list = {}
    local fields = keys.cli('hkeys', keys:epoch_key('public.routes') .. '/held')
    for pid in fields:gmatch(':(%d+):') do list[pid] = true end
    return list
  end

  -- Each worker reads what was written before.
  local function agree(n)
    writer:update('routes', { id = '1', n = n })
    for pid, said in pairs(ask('/read')) do assert.equal(n, said.n, pid) end
    for pid, said in pairs(ask('/shared')) do
      assert.equal(n, said.n, pid)
      assert.equal('false', said.word)
    end
  end

  it('are held by each worker, and older in none than what was written', function()
    begin()
    assert.same(hold(), holders())
    cache.evicts_nobody(writer, function()
      hold()
      for n = 1, 5 do agree(n) end
      hold()
      agree(6)
    end)
  end)

  it('are let go of in time by workers that have nothing to do', function()
    begin()
    hold()
    writer:update('routes', { id = '1', n = 1 }) -- the hash is not new any more
    cache.evicts_nobody(writer, function()
      for n = 2, 4 do
        hold()
        stores.sleep(0.4) -- nobody asks the workers for anything
        writer:update('routes', { id = '1', n = n })
      end
    end)
  end)

  it('are let go of by such workers as long as their leases last', function()
    begin(3)
    support.eventually(function()
      hold()
      local fields = keys.cli('hkeys', keys:epoch_key('public.routes') .. '/held')
      local _, count = fields:gsub('/3000', '')
      return count == WORKERS
    end, 60, 'longer leases')
    writer:update('routes', { id = '1', n = 1 })
    cache.evicts_nobody(writer, function()
      hold()
      stores.sleep(2.5)
      writer:update('routes', { id = '1', n = 2 })
    end)
  end)

  it('are let go of by workers that a reload, or the end, takes away', function()
    begin()
    local old = hold()
    writer:update('routes', { id = '1', n = 1 }) -- the hash is not new any more
    hold()
    server:signal('HUP')
    support.eventually(function()
      for _, pid in ipairs(server:workers()) do if old[pid] then return false end end
      return true
    end, 60, 'the end of the old workers')
    for pid in pairs(holders()) do assert.is_nil(old[pid], 'a lease of a worker that ended') end
    agree(2)
    assert.same(hold(), holders())
    agree(3)
    hold()
    server:signal('QUIT')
    support.eventually(function() return next(holders()) == nil end, 60, 'no holder')
    local evictions = writer:stats().held_evictions
    writer:update('routes', { id = '1', n = 4 })
    assert.equal(evictions, writer:stats().held_evictions)
    assert.is_nil(writer:stats().held_waited_for)
  end)
end)
