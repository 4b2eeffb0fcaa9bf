--- Which calls read from the memory of the process, and what holds a table by a call.

local stores = require('stores')
local support = require('spec.support')

describe('a table that is held by a call', function()
  local store, other, db, ids

  before_each(function()
    store, db = support.store({ 'routes' })
    other = stores.Store.new(db, support.redis())
    ids = {}
    for n = 1, 3 do ids[n] = store:insert('routes', { n = n, path = '/' .. n }).id end
  end)

  after_each(function()
    support.close(store)
    support.close(other)
  end)

  local HOLD = { hold = true }
  local calls = {
    find = function(opts) return store:find('routes', ids[1], opts).n end,
    exists = function(opts) return store:exists('routes', ids[1], opts) and 1 end,
    findAllByIds = function(opts) return store:findAllByIds('routes', ids, opts)[1].n end,
  }

  -- How often the memory answered in this call.
  local function hits(fn, opts)
    local before = store:stats().held_hits
    assert.equal(1, fn(opts))
    return store:stats().held_hits - before
  end

  for name, fn in pairs(calls) do
    it('is read from memory by ' .. name .. ' from then on, and passed by where a call wants that',
      function()
        assert.equal(0, hits(fn))
        support.eventually(function() return hits(fn, HOLD) > 0 end, 20)
        assert.is_true(hits(fn) > 0)
        assert.equal(0, hits(fn, { cache = false }))
        other:update('routes', { id = ids[2], n = 20 })
        assert.equal(20, store:find('routes', ids[2]).n)
      end)
  end

  it('is asked of PostgreSQL by what reads by criteria, and inside of transactions', function()
    support.eventually(function() return hits(calls.findAllByIds, HOLD) > 0 end, 20)
    local before = store:stats().held_hits
    assert.equal(1, store:findOne('routes', { path = '/1' }).n)
    assert.equal(3, store:count('routes'))
    store:transaction(function(tx) assert.equal(1, tx:find('routes', ids[1]).n) end)
    assert.equal(before, store:stats().held_hits)
  end)
end)
