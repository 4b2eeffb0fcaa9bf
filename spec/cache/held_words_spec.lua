--- Writers of a held table are told when all have let go of the row, and do not have to ask.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('a writer of a held table', function()
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

  local function hold() cache.hold(store, 'routes', id) end

  it('has a channel from its first wait on, which it waits on the next time', function()
    hold()
    other:update('routes', { id = id, n = 1 })
    support.eventually(function()
      return keys.cli('pubsub', 'channels', keys.prefix .. 'writer/*') ~= ''
    end, 30)
    cache.evicts_nobody(other, function()
      for n = 2, 6 do
        hold()
        other:update('routes', { id = id, n = n })
        assert.equal(n, store:find('routes', id).n)
      end
    end)
    -- the last one who let go says so, and takes the channel out of the hash
    support.eventually(function()
      return keys.cli('hexists', keys:epoch_key('public.routes') .. '/held', '!') == '0'
    end, 30)
  end)

  -- Writes until the writer has its channel, and it is taken out of the hash when all let go.
  local function has_channel(prefix)
    local hash = keys.epoch_key({ db = db, oids = {}, prefix = prefix }, 'public.routes') .. '/held'
    local n = 0
    repeat
      n = n + 1
      hold()
      other:update('routes', { id = id, n = n })
      assert.is_true(n < 2000, 'a channel of the writer')
    until keys.cli('pubsub', 'channels', prefix .. 'writer/*') ~= ''
    hold()
    other:update('routes', { id = id, n = 0 })
    support.eventually(function() return keys.cli('hexists', hash, '!') == '0' end, 30)
    return hash
  end

  it('has it taken out of the hash under a prefix that looks like what is counted there', function()
    support.close(store)
    support.close(other)
    local prefix = db.database .. '#1 2:'
    store = stores.Store.new(db, support.redis(), { hold = { 'routes' }, prefix = prefix })
    other = stores.Store.new(db, support.redis(), { prefix = prefix })
    has_channel(prefix)
  end)

  it('waits for many messages, of which the hash counts a few', function()
    local hash = has_channel(keys.prefix)
    local counted, ended = 0, 0
    keys.cli('hset', hash, 'somewhere:1:asleep', keys.cli('hget', hash, 'seq'))
    stores.run(function()
      for n = 1, 100 do
        stores.spawn(function()
          other:invalidate('routes', tostring(n))
          ended = ended + 1
        end)
      end
      support.eventually(function()
        local _, lines = keys.cli('hget', hash, '!'):gsub('#%d+ %d+', '')
        counted = math.max(counted, lines)
        stores.sleep(0.01)
        return ended == 100
      end, 20)
    end)
    assert.is_true(counted >= 1 and counted <= 8)
  end)

  it('hears of it although it does something else meanwhile', function()
    hold()
    stores.run(function()
      local tasks = {}
      for n = 1, 8 do
        tasks[n] = stores.spawn(function()
          for _ = 1, 5 do other:updateObject('routes', id, function(row) row.n = row.n + 1 end) end
        end)
      end
      for _, task in ipairs(tasks) do task:join() end
    end)
    assert.equal(40, store:find('routes', id).n)
    assert.equal(40, other:find('routes', id).n)
  end)
end)
