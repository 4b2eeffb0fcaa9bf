--- A host that goes on with many coroutines turns no loop meanwhile: what a segment waits for is
--- looked at all the same, after every few writes.

local support = require('spec.support')
local wait = require('stores.wait')

local FEW, BETWEEN = 4, 16

describe('writes whose callers keep the loop from turning', function()
  local db, store, slots, last

  local function begin(opts)
    store, db = support.store(nil, opts)
    support.psql(db, 'CREATE TABLE rows (id bigint PRIMARY KEY, value jsonb)')
    store:insert('rows', { id = '1' }) -- there is a connection, and what the table is, is known
    support.eventually(function() -- what the cache asked behind it is answered, too
      local now = store:stats()
      return now.pool_idle > 0 and now.pool_reading + now.pool_connecting == 0
        and (now.redis_pending or 0) == 0
    end)
    slots, last = {}, 1
  end

  after_each(function() support.close(store, db) end)

  local function start(count)
    for _ = 1, count do
      last = last + 1
      slots[#slots + 1] = store:start_write('insert', 'rows', tostring(last),
        { id = tostring(last) })
    end
  end

  local function ask(sql)
    return tonumber((support.psql(db, sql)))
  end

  --- Looks until it is so, and nobody turns the loop.
  local function without_turning(condition)
    local deadline = wait.host.now() + 20
    repeat
      if condition() then return true end
      support.psql(db, 'SELECT pg_sleep(0.002)')
    until wait.host.now() > deadline
    return false
  end

  local function committed()
    return ask('SELECT count(*) FROM rows') == 1 + FEW
  end

  local function are_committed()
    start(FEW)
    store.hub:flush()
    assert.is_true(without_turning(function()
      return ask("SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
        .. ' AND datname = current_database()') == 1
    end))
    assert.is_false(committed())
    assert.is_true(without_turning(function()
      start(BETWEEN)
      return committed()
    end))
    for _, slot in ipairs(slots) do wait.slot(store.hub, slot) end
    assert.equal(last, ask('SELECT count(*) FROM rows'))
  end

  it('are committed while more of them are begun', function()
    begin({ cache = false })
    are_committed()
  end)

  it('are announced in Redis meanwhile, too, and then committed', function()
    begin()
    are_committed()
    assert.is_true(store:stats().intents >= last)
  end)
end)
