--- store:sweep(): the rows of dead epochs go, and nothing else, whatever Redis answers.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a sweep', function()
  local server, store, db, keys

  setup(function()
    server = redis.start()
    db = support.db()
    store = stores.Store.new(db, { path = server.socket })
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    keys = cache.of(db, server.socket)
    keys:ready(store, 'public.docs')
  end)

  teardown(function()
    support.close(store, db)
    server:remove()
  end)

  local function row(id)
    keys:ready(store, 'public.docs')
    store:upsert('docs', { id = id, n = 1 })
    keys:becomes('public.docs', id, 'V')
    return keys:key('public.docs', id)
  end

  -- A value and an intent under the epoch that counts, and one of each under one that does not.
  local function four()
    local dead = { row('1'), row('2') }
    server:cli('SET', dead[2], 'T=' .. ('x'):rep(16) .. ('0'):rep(16))
    local lost = keys:epoch('public.docs')
    store:invalidate('docs')
    keys:turned('public.docs', lost)
    local living = { row('1'), keys:key('public.docs', '3') }
    server:cli('SET', living[2], 'T=' .. ('y'):rep(16) .. ('f'):rep(16))
    return living, dead
  end

  it('removes values and intents of dead epochs, and leaves those that count', function()
    local living, dead = four()
    assert.equal('4', server:cli('EXISTS', living[1], living[2], dead[1], dead[2]))
    assert.is_true(store:sweep() >= 2)
    assert.equal('2', server:cli('EXISTS', living[1], living[2]))
    assert.equal('0', server:cli('EXISTS', dead[1], dead[2]))
    assert.equal(0, store:sweep())
    server:cli('DEL', living[2])
  end)

  it('knows the rows of older versions, whose keys have the whole of an epoch', function()
    local epoch = keys:epoch('public.docs')
    local older = epoch:sub(2, -2)
    local key = ('%s/%s/1'):format(keys:epoch_key('public.docs'), older)
    server:cli('SET', key, 'T=' .. ('x'):rep(16) .. ('f'):rep(16))
    assert.equal(1, store:sweep())
    assert.equal('0', server:cli('EXISTS', key))
  end)

  it('leaves what others have, also where their tables have the same number', function()
    local oid = keys:epoch_key('public.docs'):match('{%d+}$')
    local others = {}
    for i, prefix in ipairs({ 'stores1:0123456789', 'stores1:7/5/', keys.rows_prefix .. 'x',
      'x' }) do
      others[i] = ('%s%s~%s/1'):format(prefix, oid, ('x'):rep(16))
    end
    others[#others + 1] = ('%s%s~%s'):format(keys.rows_prefix, oid, ('x'):rep(16))
    others[#others + 1] = ('%s%s=%s'):format(keys.prefix, oid, ('0'):rep(32))
    for _, key in ipairs(others) do server:cli('SET', key, 'T=') end
    assert.equal(0, store:sweep())
    assert.equal(tostring(#others), server:cli('EXISTS', unpack(others)))
    server:cli('DEL', unpack(others))
  end)

  it('goes through the keys of a prefix that was given', function()
    local mine = setmetatable({ prefix = 'mine:', rows_prefix = 'mine:' }, { __index = keys })
    local own = stores.Store.new(db, { path = server.socket }, { prefix = 'mine:' })
    mine:ready(own, 'public.docs')
    own:upsert('docs', { id = '4', n = 1 })
    mine:becomes('public.docs', '4', 'V')
    local dead, lost = mine:key('public.docs', '4'), mine:epoch('public.docs')
    own:invalidate('docs')
    mine:turned('public.docs', lost)
    assert.is_true(own:sweep() >= 1)
    assert.equal('0', server:cli('EXISTS', dead))
    own:close()
  end)

  it('may be the first call of a store', function()
    local living, dead = four()
    local fresh = stores.Store.new(db, { path = server.socket })
    assert.is_true(fresh:sweep() >= 2)
    fresh:close()
    assert.equal('2', server:cli('EXISTS', living[1], living[2], dead[1], dead[2]))
    server:cli('DEL', living[2])
  end)

  it('is refused for good by a store without a cache', function()
    for _, config in ipairs({ { { path = server.socket }, { cache = false } }, { nil, {} } }) do
      local bare = stores.Store.new(db, config[1], config[2])
      local err = support.refused('unsupported', 'no cache', bare.sweep, bare)
      assert.is_false(err.retryable)
      bare:close()
    end
  end)

  for _, command in ipairs({ 'mget', 'scan', 'unlink' }) do
    it('removes nothing where Redis refuses ' .. command:upper() .. ', and says so', function()
      local living, dead = four()
      server:cli('ACL', 'SETUSER', 'default', '-' .. command)
      local ok, err = pcall(store.sweep, store)
      server:cli('ACL', 'SETUSER', 'default', '+' .. command)
      assert.is_false(ok)
      assert.equal('cache_failure', err.code)
      assert.matches('NOPERM', err.message)
      assert.equal('4', server:cli('EXISTS', living[1], living[2], dead[1], dead[2]))
      assert.is_true(store:sweep() >= 2)
      assert.equal('2', server:cli('EXISTS', living[1], living[2]))
      server:cli('DEL', living[2])
    end)
  end
end)
