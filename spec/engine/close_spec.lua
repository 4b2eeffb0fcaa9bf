--- Closing a store leaves nothing in Redis that others would wait for.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local ROWS = 500

describe('a store that is closed', function()
  local store, db, keys

  setup(function()
    store, db = support.store({ 'docs' })
    keys = cache.of(db)
    keys:ready(store, 'public.docs')
    support.psql(db, ([[INSERT INTO docs SELECT n, jsonb_build_object('id', n::text,
      'text', repeat('x', 9000)) FROM generate_series(1, %d) n]]):format(ROWS))
  end)

  teardown(function() support.close(store, db) end)

  -- How many rows of the table stand in the cache as something that begins with this letter.
  local function count(letter)
    return tonumber((keys.cli('EVAL', [[
      local count, at = 0, '0'
      repeat
        local page = redis.call('SCAN', at, 'MATCH', KEYS[1], 'COUNT', 1000)
        at = page[1]
        for _, key in ipairs(page[2]) do
          if redis.call('GETRANGE', key, 0, 0) == ARGV[1] then count = count + 1 end
        end
      until at == '0'
      return count]], 1, keys.rows_prefix .. keys:epoch_key('public.docs'):match('{%d+}$') .. '~*',
      letter)))
  end

  it('has put into the cache what it has read', function()
    local ids = {}
    for i = 1, ROWS do ids[i] = tostring(i) end
    local own = stores.Store.new(db, support.redis())
    keys:ready(own, 'public.docs')
    assert.equal(ROWS, #own:findAllByIds('docs', ids)) -- a megabyte: more than a socket takes
    own:close()
    assert.equal(0, count('L'), 'leases that nobody fills')
    assert.equal(ROWS, count('V'))
  end)

  it('does not wait long for a Redis that is silent', function()
    local silent = redis.start()
    local own = stores.Store.new(db, silent:config({ timeout = 10 }))
    cache.of(db, silent.socket):ready(own, 'public.docs')
    silent:pause()
    local hub = require('stores.wait').host.hub()
    stores.run(function()
      stores.spawn(function() support.refused('closed', nil, own.find, own, 'docs', '1') end)
      support.eventually(function() return own:stats().redis_pending > 0 end)
      local began = hub:now()
      own:close()
      assert.is_true(hub:now() - began < 8)
    end)
    silent:resume()
    silent:remove()
  end)
end)
