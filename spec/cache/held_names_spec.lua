--- Rows that are held are held by the oid of their table, and are read by its name: who holds the
-- rows of a table under one name does not read them under another one that it had a moment ago.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('the name of a held table', function()
  local store, other, db

  before_each(function()
    store, db = support.store({ 'a', 'b' }, { hold = { 'a', 'b' } })
    other = stores.Store.new(db, support.redis(), { hold = { 'a', 'b' } })
    for _, name in ipairs({ 'a', 'b' }) do store:insert(name, { id = '1', of = name }) end
    for _, one in ipairs({ store, other }) do
      for _, name in ipairs({ 'a', 'b' }) do cache.hold(one, name, '1') end
    end
  end)

  after_each(function()
    support.close(other)
    support.close(store, db)
  end)

  local SWAP = 'ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b'

  local function both_say(of_a, of_b)
    for _, one in ipairs({ store, other }) do
      for _ = 1, 30 do
        local a, b = one:find('a', '1'), one:find('b', '1')
        assert.same({ of_a, of_b }, { a and a.of, b and b.of })
      end
      local b = one:findAllByIds('b', { '1' })[1]
      assert.equal(of_b, b and b.of)
    end
  end

  it('means the other table where another process swapped the two', function()
    other:query(SWAP)
    both_say('b', 'a')
  end)

  it('means the new table where the old one took the name of another', function()
    other:query('DROP TABLE a; ALTER TABLE b RENAME TO a;'
      .. ' CREATE TABLE b (id bigint PRIMARY KEY, value jsonb)')
    both_say('b', nil)
    store:insert('b', { id = '1', of = 'new' })
    both_say('b', 'new')
  end)

  it('means what it meant where the swap was undone, in which it was used', function()
    for _, fails in ipairs({ true, false }) do
      pcall(store.transaction, store, function(tx)
        pcall(tx.transaction, tx, function(inner)
          inner:query(SWAP)
          assert.equal('b', inner:find('a', '1').of)
          inner:update('a', { id = '1', of = 'b', by = 'swap' })
          error('undone')
        end)
        if fails then error('undone') end
      end)
      both_say('a', 'b')
    end
    store:update('a', { id = '1', of = 'a, still' })
    both_say('a, still', 'b')
  end)

  it('is read from memory again', function()
    other:query(SWAP)
    for _, one in ipairs({ store, other }) do
      for _, name in ipairs({ 'a', 'b' }) do cache.hold(one, name, '1') end
    end
    both_say('b', 'a')
  end)
end)
