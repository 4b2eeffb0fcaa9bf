--- What a replica has shown and its primary has not ended yet: a session that has written its
--- commit waits for a synchronous standby, which is away, and so the primary still hides what the
--- other standby shows.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')
local uv = require('luv')

describe('a commit that a replica shows before the primary, #slow', function()
  local primary, one, other, open, lasts

  setup(function()
    primary = postgres.primary()
    one, other = postgres.standby(primary), postgres.standby(primary)
    primary:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. ' CREATE TABLE rest (id bigint)')
  end)

  teardown(function()
    for _, server in ipairs({ one, other, primary }) do server:remove() end
  end)

  local function waits_for(who)
    primary:psql(("ALTER SYSTEM SET synchronous_standby_names = '%s'"):format(who))
    primary:psql('SELECT pg_reload_conf()')
    support.eventually(function()
      return primary:psql('SHOW synchronous_standby_names') == who
    end, 20, 'the setting')
  end

  before_each(function()
    open = {}
    primary:psql("TRUNCATE docs; INSERT INTO docs VALUES (1, '{\"id\": \"1\", \"n\": 0}')")
    one:catch_up()
    other:catch_up()
  end)

  after_each(function()
    for _, server in ipairs({ one, other }) do server:ensure() end
    for _, store in ipairs(open) do support.close(store) end
    for _, server in ipairs({ one, other }) do
      support.eventually(function()
        return pcall(server.psql, server, 'SELECT pg_wal_replay_resume()')
      end, 20, 'a standby that answers')
    end
  end)

  -- An example in a coroutine, beside others, which end with it.
  local function example(name, body)
    it(name, function()
      stores.run(function()
        lasts = true
        local ok, failure = pcall(body)
        lasts = false
        waits_for('')
        if not ok then error(failure, 0) end
      end)
    end)
  end

  local function reader(replicas, opts, fields)
    local all = { cache = false, read = 'replica', log = function() end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local db = { replicas = {} }
    for key, value in pairs(fields or {}) do db[key] = value end
    for i, server in ipairs(replicas) do db.replicas[i] = server:config() end
    local store = stores.Store.new(primary:config(db), nil, all)
    open[#open + 1] = store
    return store
  end

  -- A store that knows how far its primary is.
  local function met(replicas, opts, fields)
    local store = reader(replicas, opts, fields)
    assert.equal(0, store:find('docs', '1').n)
    return store
  end

  local function shown_by(server)
    support.eventually(function()
      return server:psql("SELECT value->>'n' FROM docs") == '1'
    end, 20, 'the commit on a standby')
  end

  -- Sessions see the setting some time before the checkpointer makes commits wait.
  local function commits_wait(writer)
    local probe = stores.spawn(function() writer:query('INSERT INTO rest VALUES (0)') end)
    local waits
    support.eventually(function()
      waits = primary:psql([[SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity
        WHERE wait_event = 'SyncRep']]) ~= '0'
      return waits or probe.done
    end)
    pcall(probe.join, probe) -- its commit is done, and only the wait is canceled
    return waits
  end

  -- A write that is committed on the standbys, and never ends.
  local function write()
    waits_for('nobody')
    local writer = stores.Store.new(primary:config(), nil, { cache = false, timeout = 60 })
    open[#open + 1] = writer
    support.eventually(function() return commits_wait(writer) end, 20, 'commits that wait')
    stores.spawn(function() writer:update('docs', { id = '1', n = 1 }) end)
    shown_by(one)
    assert.equal('0', primary:psql("SELECT value->>'n' FROM docs"))
  end

  local ways = {
    find = function(store, opts) return store:find('docs', '1', opts).n end,
    list = function(store, opts) return store:findAll('docs', opts)[1].n end,
    query = function(store, opts)
      return store:query("SELECT (value->>'n')::int AS n FROM docs", nil,
        { readonly = true, timeout = opts and opts.timeout })[1].n
    end
  }

  -- The standby is asked where it is fit: on a busy machine the primary may answer before that.
  local function has_seen(store, read)
    support.eventually(function() return (read or ways.find)(store) == 1 end, 20, 'it to be shown')
  end

  for name, read in pairs(ways) do
    example('is seen by who has seen it, or nothing is (' .. name .. ')', function()
      local store = met({ one })
      write()
      has_seen(store, read)
      one:stop('immediate')
      local ok, failure = pcall(read, store, { timeout = 1.5 })
      assert.is_false(ok, 'the primary said ' .. tostring(failure))
      assert.equal('timeout', failure.code)
      -- who waits for it has it as soon as the primary has
      local waiting = stores.spawn(function() return read(store, { timeout = 30 }) end)
      waits_for('')
      assert.equal(1, waiting:join())
    end)
  end

  example('is read from the replica that has shown it while another is behind', function()
    local store = met({ one, other })
    other:psql('SELECT pg_wal_replay_pause()')
    write()
    has_seen(store)
    for _ = 1, 20 do assert.equal(1, store:find('docs', '1').n) end
  end)

  example('is known to who has a token of who has seen it', function()
    local store = met({ one })
    write()
    has_seen(store)
    local token = store:token()
    assert.matches('^%d+%.%x+%.%x+%.%x+%.%x+$', token)
    other:psql('SELECT pg_wal_replay_pause()')
    local late, began = reader({ other }), reader({ other }, { after_token = token })
    other:freeze()
    for _, next_one in ipairs({ late, began }) do
      local ok, failure = next_one.try:find('docs', '1', { timeout = 3, after_token = token })
      assert.is_false(ok)
      assert.equal('timeout', failure.code)
    end
    waits_for('')
    assert.equal(1, late:find('docs', '1', { after_token = token }).n)
    assert.equal(1, began:find('docs', '1').n)
  end)

  example('is no matter of who has not seen it', function()
    local store = met({ one })
    one:psql('SELECT pg_wal_replay_pause()')
    waits_for('nobody')
    one:stop('immediate')
    assert.equal(0, store:find('docs', '1').n)
  end)

  example('is waited for where the primary lets it go a moment after it was told to', function()
    local store = met({ one })
    write()
    has_seen(store)
    one:stop('immediate')
    local waiting = stores.spawn(function() return store:find('docs', '1', { timeout = 30 }).n end)
    stores.sleep(1.5) -- longer than those who are about to end are waited for
    -- it wakes who waits for standbys
    local waker = tonumber(primary:psql(
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"))
    uv.kill(waker, 'sigstop')
    local began = postgres.now()
    local ok, failure = pcall(waits_for, '')
    stores.sleep(0.3)
    uv.kill(waker, 'sigcont')
    local moment = postgres.now() - began
    assert(ok, failure)
    local seen = waiting:join()
    -- a machine that is busy for a second leaves them so, and nobody waits for longer
    if moment < 0.8 then assert.equal(1, seen) end
  end)

  example('is not waited for by more calls than may wait', function()
    local store = met({ one }, nil, { poolsize = 1, max_waiters = 1 })
    write()
    has_seen(store)
    one:stop('immediate')
    assert.is_false((store.try:find('docs', '1', { timeout = 1 })))
    support.eventually(function() -- nobody asks any more for the sake of that find
      local trips = store:stats().pg_round_trips
      stores.sleep(0.3)
      local stats = store:stats()
      return stats.pg_round_trips == trips and stats.pool_waiters == 0
    end)
    -- one has the connection, and one waits for it
    local held = {}
    for i = 1, 2 do
      held[i] = stores.spawn(function()
        store:query('SELECT pg_sleep(3)', nil, { timeout = 60, transaction = false })
      end)
      support.eventually(function()
        local stats = store:stats()
        return stats.pool_checked_out == 1 and stats.pool_waiters == i - 1
      end)
    end
    for name, read in pairs(ways) do
      local ok, failure = pcall(read, store)
      assert.is_false(ok, name)
      assert.equal('pool_full', failure.code)
    end
    for i = 1, 2 do held[i]:join() end
    local waiting = stores.spawn(function() return store:find('docs', '1', { timeout = 30 }).n end)
    waits_for('')
    assert.equal(1, waiting:join())
  end)

  example('of another server is no matter to who has its token among others', function()
    local store = met({ one })
    assert.equal(0, store:count('docs', { n = 1 }))
    local token = '123.00000001.0000000000000001.00000000FFFFFFFF.0000000000000000,'
      .. store:token()
    waits_for('nobody')
    -- a query is what nothing is asked before: it begins when nobody knows of which system they are
    for _, given in ipairs({ { opts = { after_token = token } }, { call = token } }) do
      local rows = reader({ one }, given.opts):query('SELECT 1 FROM docs', nil,
        { readonly = true, after_token = given.call })
      assert.equal(1, #rows)
    end
  end)

  describe('where others write for long', function()
    -- Transactions that have written, and do nothing.
    local function busy(count)
      local store, begun = stores.Store.new(primary:config(), nil, { cache = false }), 0
      open[#open + 1] = store
      for _ = 1, count do
        stores.spawn(function()
          store:transaction(function(tx)
            tx:query('INSERT INTO rest VALUES (1)')
            begun = begun + 1
            support.eventually(function() return not lasts end, 60, 'the end')
          end, { timeout = 60 })
        end)
      end
      support.eventually(function() return begun == count end, 20, 'transactions')
    end

    for count = 1, 3 do
      example('the primary answers within a second or so (' .. count .. ')', function()
        busy(count)
        local store = met({ one })
        primary:psql("UPDATE docs SET value = value || '{\"n\": 1}'")
        shown_by(one)
        assert.equal(1, store:find('docs', '1').n)
        one:stop('immediate')
        assert.equal(1, store:find('docs', '1', { timeout = 30 }).n)
        assert.equal(1, store:find('docs', '1').n)
      end)
    end
  end)
end)
