--- tx:notify: what a transaction tells is heard with its COMMIT, or never.

local stores = require('stores')
local support = require('spec.support')

describe('a notification of a transaction', function()
  local store, db
  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  it('is heard once it is committed', function()
    stores.run(function()
      local heard = {}
      local listener = store:listen('news', function(payload) heard[#heard + 1] = payload end)
      store:transaction(function(tx)
        tx:notify('news', 'one')
        tx:insert('docs', { id = '1' })
        tx:notify('news')
        store:notify('news', 'before')
        support.eventually(function() return heard[1] end)
      end)
      support.eventually(function() return #heard == 3 end)
      assert.same({ 'before', 'one', '' }, heard)
      listener:stop()
    end)
  end)

  it('is heard by nobody where it is rolled back, with its savepoint or as a whole', function()
    stores.run(function()
      local heard = {}
      local listener = store:listen('news', function(payload) heard[#heard + 1] = payload end)
      pcall(store.transaction, store, function(tx)
        tx:notify('news', 'no')
        error('undone')
      end)
      store:transaction(function(tx)
        pcall(tx.transaction, tx, function(inner)
          inner:notify('news', 'neither')
          error('undone')
        end)
        tx:notify('news', 'yes')
      end)
      store:notify('news', 'last')
      support.eventually(function() return #heard >= 2 end)
      assert.same({ 'yes', 'last' }, heard)
      listener:stop()
    end)
  end)

  it('goes with one that only reads, and turns no table', function()
    support.eventually(function()
      local hits = store:stats().hits + store:stats().negative_hits
      store:find('docs', '7')
      return store:stats().hits + store:stats().negative_hits > hits
    end)
    local before = store:stats().turns_started
    store:transaction(function(tx) tx:notify('news', 'x') end, { readonly = true })
    store:transaction(function(tx)
      tx:patch('docs', '7', { set = { a = 1 } })
      tx:notify('news', 'x')
    end)
    assert.equal(before, store:stats().turns_started)
  end)

  it('is checked before it is sent', function()
    store:transaction(function(tx)
      for _, channel in ipairs({ '', ('x'):rep(64), 7, 'a\0b', false }) do
        support.refused('invalid_argument', 'channel', tx.notify, tx, channel, 'x')
      end
      support.refused('invalid_argument', 'payload', tx.notify, tx, 'news', ('x'):rep(8000))
      support.refused('invalid_argument', 'payload', tx.notify, tx, 'news', 7)
      tx:notify('news', ('x'):rep(7999))
    end)
    local kept
    store:transaction(function(tx) kept = tx end)
    support.refused('tx_ended', nil, kept.notify, kept, 'news')
  end)
end)
