--- Listeners that live: who is slow, a server that hangs, poolers, and what stats() shows.
-- Not in the gc pass: it waits for servers, and fills a queue with thousands of strings.

local pgbouncer = require('spec.support.pgbouncer')
local stores = require('stores')
local support = require('spec.support')

describe('a listener lives', function()
  local store, db

  setup(function() store, db = support.store({}, { no_redis = true }) end)
  teardown(function() support.close(store, db) end)

  local function own_store(fields)
    return stores.Store.new(support.config(db.database, fields), nil, { cache = false })
  end

  -- The process of the server that listens to the channel.
  local function backend(channel)
    local rows = store:query('SELECT pid FROM pg_stat_activity WHERE datname = $1 AND query = $2',
      { db.database, ('LISTEN "%s"'):format(channel) })
    return rows[1] and tostring(rows[1].pid)
  end

  local MANY = "SELECT pg_notify('flood', repeat($1, $2::int) || i) FROM "
    .. 'generate_series(1, $3::int) i'

  -- What a function that is busy with its first payload has heard when a flood is over.
  local function flooded(fields, letter, length, count)
    local heard, is_held = {}, true
    local listener = store:listen('flood', function(payload, gap)
      heard[#heard + 1] = gap or payload
      while is_held do stores.sleep(0.005) end
    end)
    store:notify('flood', 'hold')
    support.eventually(function() return heard[1] == 'hold' end)
    local before = store:stats()
    store:query(MANY, { letter, length, count })
    support.eventually(function()
      return store:stats().notices - before.notices == count
    end, 60)
    local stats = store:stats()
    assert.equal(fields.kept, stats.notices_waiting)
    assert.equal(count - fields.kept, stats.notices_dropped - before.notices_dropped)
    assert.equal(1, stats.notice_gaps - before.notice_gaps)
    is_held = false
    support.eventually(function() return #heard == fields.kept + 2 end, 60)
    store:notify('flood', 'after')
    support.eventually(function() return heard[#heard] == 'after' end)
    assert.equal(0, store:stats().notices_waiting)
    listener:stop()
    return heard
  end

  it('and keeps 10000 payloads for a function that is slow, and tells one gap', function()
    stores.run(function()
      local heard = flooded({ kept = 10000 }, '', 0, 10100)
      assert.equal('1', heard[2])
      assert.equal('10000', heard[10001])
      assert.equal('gap', heard[10002])
      assert.equal('after', heard[10003])
    end)
  end)

  it('and keeps 16 MiB of them and no more', function()
    stores.run(function()
      -- 1000 to 9999 have four digits: each has 7004 bytes from there on
      local total, kept = 0, 0
      while true do
        local bytes = 7000 + #tostring(kept + 1)
        if total + bytes > 16 * 1024 * 1024 then break end
        total, kept = total + bytes, kept + 1
      end
      local heard = flooded({ kept = kept }, 'x', 7000, kept + 50)
      assert.equal('gap', heard[kept + 2])
    end)
  end)

  it('and hears of a server that hangs, as of one that has gone', function()
    local small = own_store({ ping_after = 0.1 })
    stores.run(function()
      local heard = {}
      local listener = small:listen('hung', function(payload, gap)
        heard[#heard + 1] = gap or payload
      end)
      local pid = assert(backend('hung'))
      finally(function() os.execute('kill -CONT ' .. pid .. ' 2>/dev/null') end)
      assert.equal(0, os.execute('kill -STOP ' .. pid))
      support.eventually(function() return heard[1] == 'gap' end, 30)
      store:notify('hung', 'after')
      support.eventually(function() return heard[2] == 'after' end)
      assert.equal(0, small:stats().listeners_deaf)
      listener:stop()
      os.execute('kill -CONT ' .. pid)
    end)
    small:close()
  end)

  it('and outlives the coroutine that asked for it', function()
    stores.run(function()
      local heard, listener
      stores.spawn(function()
        listener = store:listen('longer', function(payload) heard = payload end)
      end):join()
      store:notify('longer', 'still')
      support.eventually(function() return heard == 'still' end)
      listener:stop()
    end)
  end)

  it('until the store is closed', function()
    local small = own_store()
    stores.run(function()
      local listener = small:listen('closing', function() end)
      assert.is_string(backend('closing'))
      small:close()
      support.eventually(function() return not backend('closing') end)
      listener:stop()
    end)
  end)

  describe('behind a PgBouncer', function()
    local bouncer

    local function start(mode)
      bouncer = pgbouncer.start(mode)
      finally(function() bouncer:stop() end)
    end

    local function behind(fields)
      fields = fields or {}
      fields.database, fields.poolsize = db.database, 2
      return stores.Store.new(bouncer:config(fields), nil, { cache = false })
    end

    local function direct()
      return ('postgresql:///%s?host=%s&user=%s'):format(db.database, support.config().host,
        support.config().user)
    end

    it('of sessions', function()
      start('session')
      local pooled = behind()
      stores.run(function()
        local heard
        local listener = pooled:listen('session', function(payload) heard = payload end)
        store:notify('session', 'x')
        support.eventually(function() return heard == 'x' end)
        listener:stop()
      end)
      pooled:close()
    end)

    it('of transactions, of which nobody has told, raises and says what to give', function()
      start('transaction')
      local pooled = behind()
      stores.run(function()
        local ok, err = pooled.try:listen('transaction', function() end)
        assert.is_false(ok)
        assert.equal('unsupported', err.code)
        assert.matches('listen_url', err.message, 1, true)
        assert.equal(0, pooled:stats().listeners)
      end)
      pooled:close()
    end)

    it('of transactions, goes by listen_url to the server itself, and stats() shows it', function()
      start('transaction')
      local said = {}
      local pooled = stores.Store.new(bouncer:config({ database = db.database,
        pooler = 'transaction', listen_url = direct() }), nil,
        { cache = false, log = function(text) said[#said + 1] = text end })
      stores.run(function()
        local heard
        local listener = pooled:listen('direct', function(payload)
          heard = payload
          error('mine', 0)
        end)
        pooled:notify('direct', 'x')
        support.eventually(function() return heard == 'x' and said[1] end)
        assert.matches('failed: mine', said[1])
        local stats = pooled:stats()
        assert.equal(1, stats.listeners)
        assert.equal(0, stats.listeners_deaf)
        assert.equal(1, stats.notices)
        listener:stop()
        assert.equal(0, pooled:stats().listeners)
        support.eventually(function() return not backend('direct') end)
      end)
      pooled:close()
    end)
  end)
end)
