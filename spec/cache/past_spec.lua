--- Which past of which database the cache is of: a server that goes on from an older state, or
--- another database of the same name, is not answered for by what Redis kept.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local pgbouncer = require('spec.support.pgbouncer')
local postgres = require('spec.support.postgres')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local TABLE = 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)'

describe('rows that Redis kept, #slow', function()
  local pg, rd, said

  local function open(fields, opts)
    local all = { log = function(text) said[#said + 1] = text end }
    for key, value in pairs(opts or {}) do all[key] = value end
    return stores.Store.new(pg:config(fields), rd:config({ timeout = 2 }), all)
  end

  -- Reads a row until it comes from the cache.
  local function warm(store, id)
    support.eventually(function()
      local before = store:stats()
      store:find('docs', id)
      local now = store:stats()
      return now.hits + now.negative_hits > before.hits + before.negative_hits
    end, 30, 'row ' .. id .. ' to be cached')
  end

  -- What the server has, and nothing else, from the first read on.
  local function is_right(store, ...)
    for _, id in ipairs({ ... }) do
      for _ = 1, 3 do
        assert.same(store:find('docs', id, { cache = false }), store:find('docs', id))
      end
    end
  end

  local function shell(command, ...)
    local line = command:format(...)
    assert(os.execute(line) == 0, 'failed: ' .. line)
  end

  local function copy_server()
    pg:stop('fast')
    shell("rm -rf '%s/copy' && cp -a '%s/server/pgdata' '%s/copy'", pg.home, pg.home, pg.home)
    pg:start()
  end

  local function go_back(how)
    pg:stop(how or 'fast')
    shell("rm -rf '%s/server/pgdata' && cp -a '%s/copy' '%s/server/pgdata'", pg.home, pg.home,
      pg.home)
    pg:start()
  end

  local function drop_all()
    pg:psql('DROP TABLE IF EXISTS docs')
  end

  setup(function()
    said = {}
    pg, rd = postgres.start({ wal_writer_delay = '10s' }), redis.start()
  end)

  teardown(function()
    rd:remove()
    pg:remove()
  end)

  before_each(function()
    said = {}
    pg:ensure()
    for _, name in ipairs({ 'shop', 'live', 'next', 'before' }) do -- of an example that failed
      pg:psql(('DROP DATABASE IF EXISTS %s WITH (FORCE)'):format(name))
    end
    drop_all()
    pg:psql(TABLE)
  end)

  for _, prefix in ipairs({ false, 'mine/' }) do
    local title = prefix and ', also under a prefix that was given' or ''

    it('of a database that was dropped are not those of its namesake' .. title, function()
      pg:psql('CREATE DATABASE shop')
      pg:psql(TABLE, 'shop')
      local opts = { prefix = prefix or nil }
      local store = open({ database = 'shop' }, opts)
      store:insert('docs', { id = '1', of = 'the first' })
      warm(store, '1')
      support.close(store)
      pg:psql('DROP DATABASE shop')
      pg:psql('CREATE DATABASE shop')
      pg:psql(TABLE, 'shop')
      store = open({ database = 'shop' }, opts)
      assert.is_nil(store:find('docs', '1'))
      assert.is_false(store:update('docs', { id = '1', of = 'the second' }))
      store:insert('docs', { id = '2', of = 'the second' })
      is_right(store, '1', '2')
      support.close(store)
      pg:psql('DROP DATABASE shop')
    end)

    it('of databases that changed their names go with them' .. title, function()
      local opts = { prefix = prefix or nil }
      for _, name in ipairs({ 'live', 'next' }) do
        pg:psql('CREATE DATABASE ' .. name)
        pg:psql(TABLE .. ("; INSERT INTO docs VALUES (1, '{\"of\": \"%s\"}')"):format(name), name)
      end
      local store = open({ database = 'live' }, opts)
      warm(store, '1')
      warm(store, '3')
      support.close(store)
      pg:psql("INSERT INTO docs VALUES (3, '{}')", 'next')
      pg:psql('ALTER DATABASE live RENAME TO before; ALTER DATABASE next RENAME TO live')
      local live, before = open({ database = 'live' }, opts), open({ database = 'before' }, opts)
      assert.equal('next', live:find('docs', '1').of)
      assert.is_table(live:find('docs', '3'))
      before:update('docs', { id = '1', of = 'changed' })
      is_right(live, '1', '3')
      is_right(before, '1', '3')
      support.close(live)
      support.close(before)
      pg:psql('DROP DATABASE live; DROP DATABASE before')
    end)
  end

  it('of a future that was lost with an older copy of the server are nobody\'s', function()
    pg:psql("INSERT INTO docs VALUES (1, '{\"n\": 1}')")
    copy_server()
    -- one store goes on through it all, and is quiet; others are opened afterwards
    local store, quiet = open(), open()
    store:update('docs', { id = '1', n = 2 })
    store:insert('docs', { id = '2', n = 2 })
    warm(store, '1')
    warm(store, '2')
    warm(quiet, '1')
    warm(quiet, '2')
    go_back()
    assert.equal(1, quiet:find('docs', '1').n)
    assert.is_nil(quiet:find('docs', '2'))
    local other = open()
    is_right(other, '1', '2')
    is_right(store, '1', '2')
    other:update('docs', { id = '1', n = 3 })
    for _, one in ipairs({ store, quiet, other }) do assert.equal(3, one:find('docs', '1').n) end
    support.eventually(function() return quiet:stats().pool_idle > 0 end)
    for _, one in ipairs({ store, quiet, other }) do
      warm(one, '1')
      support.close(one)
    end
  end)

  it('are not read after the last connection was closed, before the server was asked', function()
    pg:psql("INSERT INTO docs VALUES (1, '{\"n\": 1}')")
    copy_server()
    local store = open({ idle_timeout = 0.2 })
    store:update('docs', { id = '1', n = 2 })
    warm(store, '1')
    stores.run(function()
      support.eventually(function() return store:stats().pool_size == 10
        and store:stats().pool_idle == 0 end, 30, 'the connections to be closed')
    end)
    go_back()
    assert.equal(1, store:find('docs', '1').n)
    support.close(store)
  end)

  for how, crash in pairs({
    ['of the server'] = function()
      pg:stop('kill')
      pg:start()
    end,
    ['of one of its backends'] = function()
      local pid = pg:psql('SELECT pid FROM pg_stat_activity '
        .. "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() LIMIT 1")
      -- until the postmaster has seen it the server answers as before; its next life has another
      local life = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
      local before = pg:psql(life)
      shell('kill -KILL %s', pid)
      support.eventually(function()
        local answers, now = pcall(pg.psql, pg, life)
        return answers and now ~= before
      end, 40, 'the server to recover')
    end,
  }) do
    it('that a crash ' .. how .. ' lost, after synchronous_commit = off, are nobody\'s', function()
      local lost
      for attempt = 1, 5 do
        local id = tostring(attempt)
        pg:psql(("INSERT INTO docs VALUES (%s, '{\"n\": 1}'); CHECKPOINT"):format(id))
        local store = open({ params = { options = '-c synchronous_commit=off' } })
        local quiet = open()
        warm(store, id)
        warm(quiet, id)
        store:update('docs', { id = id, n = 2 })
        support.eventually(function() return quiet:find('docs', id).n == 2 end)
        crash()
        local truth = tonumber((pg:psql(("SELECT value->>'n' FROM docs WHERE id = %s"):format(id))))
        assert.equal(truth, quiet:find('docs', id).n)
        local other = open()
        is_right(other, id)
        is_right(store, id)
        for _, one in ipairs({ store, quiet, other }) do support.close(one) end
        lost = truth == 1
        if lost then break end
      end
      assert.is_true(lost, 'no commit was lost in five crashes')
    end)
  end

  it('are read on where the server was only slow, or one connection was ended', function()
    local store = open({ poolsize = 2 })
    store:insert('docs', { id = '1', n = 1 })
    warm(store, '1')
    pg:psql("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE "
      .. "pid <> pg_backend_pid() AND application_name = 'stores'")
    local epoch = cache.of(pg:config(), rd.socket):epoch('public.docs')
    assert.equal(1, store:find('docs', '1').n)
    warm(store, '1')
    assert.equal(epoch, cache.of(pg:config(), rd.socket):epoch('public.docs'))
    support.close(store)
  end)

  it('of an older past are turned by a process that meets them, without new connections', function()
    local store = open()
    store:insert('docs', { id = '1', n = 1 })
    warm(store, '1')
    support.close(store)
    local epoch = cache.of(pg:config(), rd.socket):epoch('public.docs')
    -- which of two starts within one second is the older one an epoch does not tell
    support.eventually(function()
      return pg:psql("SELECT date_trunc('second', clock_timestamp())"
        .. " > date_trunc('second', pg_postmaster_start_time())") == 't'
    end)
    pg:restart('fast')
    store = open({ poolsize = 1 }) -- a busy machine has a pool grow
    warm(store, '1')
    assert.not_equal(epoch, cache.of(pg:config(), rd.socket):epoch('public.docs'))
    assert.equal(1, store:stats().pg_connects)
    support.close(store)
  end)

  it('of a newer past than a process knows of make it ask', function()
    local store = open()
    store:insert('docs', { id = '1', n = 1 })
    warm(store, '1')
    local keys = cache.of(pg:config(), rd.socket)
    local epoch = keys:epoch('public.docs')
    local later = epoch:sub(1, -30) .. 'FFFFFFFF' .. epoch:sub(-21)
    rd:cli('SET', keys:key_under('public.docs', '1', later), 'V{"n": 666}')
    rd:cli('SET', keys:epoch_key('public.docs'), later)
    for _ = 1, 5 do assert.equal(1, store:find('docs', '1').n) end
    -- it is nobody's: the server says what it said before
    keys:turned('public.docs', later)
    warm(store, '1')
    assert.equal(1, store:find('docs', '1').n)
    support.close(store)
  end)

  describe('behind a transaction pooler', function()
    local bouncer

    before_each(function() bouncer = pgbouncer.start('transaction', 'server_login_retry = 0',
        { host = pg.socket, port = pg.port }) end)
    after_each(function() bouncer:stop() end)

    it('are not read for longer than a second after the server behind it went back', function()
      pg:psql("INSERT INTO docs VALUES (1, '{\"n\": 1}')")
      copy_server()
      local store = stores.Store.new(bouncer:config({ pooler = 'transaction' }),
        rd:config({ timeout = 2 }))
      store:update('docs', { id = '1', n = 2 })
      warm(store, '1')
      go_back()
      stores.sleep(1.1)
      -- the first read asks, and the next ones know
      support.eventually(function() return store:find('docs', '1').n == 1 end, 30)
      for _ = 1, 5 do assert.equal(1, store:find('docs', '1').n) end
      assert.equal(1, store:find('docs', '1', { cache = false }).n)
      warm(store, '1')
      support.close(store)
    end)
  end)

  describe('where functions of the server are not for everybody', function()
    local ROLE = 'app_of_past_spec'

    setup(function()
      pg:psql(('CREATE ROLE %s LOGIN; GRANT ALL ON SCHEMA public TO %s'):format(ROLE, ROLE))
    end)

    local function revoke(name, fn)
      pg:psql(('GRANT ALL ON docs TO %s; REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC'):format(ROLE,
        name))
      local ok, err = pcall(fn)
      pg:psql(('GRANT EXECUTE ON FUNCTION %s TO PUBLIC'):format(name))
      if not ok then error(err, 0) end
    end

    local function works(store)
      store:insert('docs', { id = '1', n = 1 })
      assert.equal(1, store:find('docs', '1').n)
      store:query("UPDATE docs SET value = value || '{\"n\": 2}'")
      assert.equal(2, store:find('docs', '1').n)
      assert.is_true(store:delete('docs', '1'))
    end

    it('are none, without pg_control_system() and a prefix, and that is said', function()
      revoke('pg_control_system()', function()
        local store = open({ user = ROLE })
        works(store)
        works(store)
        assert.equal(0, store:stats().hits + store:stats().settles_published)
        assert.equal(1, #said, table.concat(said, '\n'))
        assert.matches('pg_control_system', said[1], 1, true)
        support.close(store)
        local strict = open({ user = ROLE }, { on_cache_failure = 'error' })
        local err = support.refused('cache_failure', nil, works, strict)
        assert.equal('none', err.outcome)
        support.close(strict)
      end)
    end)

    it('are under the prefix that was given', function()
      revoke('pg_control_system()', function()
        local store = open({ user = ROLE }, { prefix = 'ours/' })
        works(store)
        store:insert('docs', { id = '7', n = 1 })
        warm(store, '7')
        assert.equal(0, #said, table.concat(said, '\n'))
        support.close(store)
      end)
      -- one that may ask everything is of the same past as far as the rows are concerned
      local store = open(nil, { prefix = 'ours/' })
      store:update('docs', { id = '7', n = 2 })
      warm(store, '7')
      assert.equal(2, store:find('docs', '7').n)
      support.close(store)
    end)

    it('are cached without the functions of the WAL, and not without the start time', function()
      revoke('pg_current_wal_insert_lsn()', function()
        local store = open({ user = ROLE })
        works(store)
        store:insert('docs', { id = '8', n = 1 })
        warm(store, '8')
        support.close(store)
      end)
      revoke('pg_postmaster_start_time()', function()
        local store = open({ user = ROLE })
        works(store)
        assert.equal(0, store:stats().hits)
        support.close(store)
      end)
    end)

    it('are no matter to a store without a cache', function()
      revoke('pg_control_system()', function()
        local store = stores.Store.new(pg:config({ user = ROLE }), nil, { cache = false })
        works(store)
        support.close(store)
      end)
    end)
  end)
end)

describe('the past of a server', function()
  it('is asked in a way that no setting of the session changes', function()
    local db = support.db()
    local keys = cache.of(db)
    local epochs = {}
    for i, options in ipairs({ '-c extra_float_digits=-15', '-c extra_float_digits=3',
      '-c datestyle=German -c timezone=Asia/Tokyo' }) do
      local fields = { params = { options = options } }
      local store = stores.Store.new(support.config(db.database, fields), support.redis())
      if i == 1 then store:query(TABLE) end
      epochs[i] = keys:ready(store, 'public.docs')
      support.close(store)
    end
    assert.equal(epochs[1], epochs[2])
    assert.equal(epochs[1], epochs[3])
    support.drop(db)
  end)
end)
