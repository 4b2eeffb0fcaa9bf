--- Reads on replicas: who answers what, and that no caller ever goes back in time, over a primary
--- and two standbys whose replay is paused at will.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null

describe('with a primary and two replicas, #slow', function()
  local primary, one, other, open

  setup(function()
    primary = postgres.primary()
    one, other = postgres.standby(primary), postgres.standby(primary)
    primary:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);'
      .. ' CREATE VIEW seen AS SELECT id, value FROM docs;'
      .. ' CREATE UNIQUE INDEX ON docs ((value->\'mark\'))')
  end)

  teardown(function()
    for _, server in ipairs({ one, other, primary }) do server:remove() end
  end)

  local function catch_up()
    one:catch_up()
    other:catch_up()
  end

  before_each(function()
    open = {}
    primary:psql("TRUNCATE docs; INSERT INTO docs SELECT i, jsonb_build_object('id', i::text, "
      .. "'n', 0, 'mark', i) FROM generate_series(1, 20) i")
    catch_up()
  end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
    for _, server in ipairs({ one, other }) do
      server:ensure()
      support.eventually(function()
        return pcall(server.psql, server, 'SELECT pg_wal_replay_resume()')
      end, 20, 'a standby that answers')
    end
  end)

  -- A store whose reads replicas may answer: both of them, or those that are given.
  local function reader(replicas, opts, redis)
    local all = { cache = redis and true or false, read = 'replica', log = function() end }
    for key, value in pairs(opts or {}) do all[key] = value end
    local list = {}
    for i, server in ipairs(replicas or { one, other }) do list[i] = server:config() end
    local store = stores.Store.new(primary:config({ replicas = list }), redis or nil, all)
    open[#open + 1] = store
    return store
  end

  -- One that knows of no replicas.
  local function plain(server)
    local store = stores.Store.new(server:config(), nil, { cache = false })
    open[#open + 1] = store
    return store
  end

  local function figure(store, name) return store:stats()['replica_' .. name] end

  -- Whether a call was answered by a replica.
  local function by_replica(store, call)
    local before = figure(store, 'reads')
    call()
    return figure(store, 'reads') > before
  end

  local function again_by_replica(store)
    support.eventually(function()
      return by_replica(store, function() store:count('docs') end)
    end, 30, 'a replica to be asked again')
  end

  -- The first of all reads asks the primary, for nobody knows of it yet.
  local function met(store)
    store:query('SELECT 1', nil, { readonly = true, read = 'primary' })
    return store
  end

  it('criteria, each, count, readonly queries and uncached finds are theirs', function()
    local store = met(reader())
    local reads = {
      findAll = function() assert.equal(20, #store:findAll('docs')) end,
      findByJSON = function() assert.equal('3', store:findByJSON('docs', { mark = 3 })[1].id) end,
      findOne = function() assert.equal('4', store:findOne('docs', { mark = 4 }).id) end,
      where = function()
        assert.equal(5, #store:findByJSON('docs', {}, { where = { { 'mark', '>', 15 } } }))
      end,
      count = function() assert.equal(20, store:count('docs')) end,
      findBy = function()
        assert.equal('5', store:findBy('docs', 'mark', 5, { unique = true }).id)
      end,
      find = function() assert.equal('6', store:find('docs', '6').id) end,
      exists = function() assert.is_false(store:exists('docs', '600')) end,
      findAllByIds = function()
        assert.equal(2, #store:findAllByIds('docs', { '7', '8', '80' }))
      end,
      each = function()
        local count = 0
        for _ in store:each('docs', { batch = 6 }) do count = count + 1 end
        assert.equal(20, count)
      end,
      query = function()
        local rows = store:query('SELECT pg_is_in_recovery() AS r', nil, { readonly = true })
        assert.is_true(rows[1].r)
      end,
    }
    for name, call in pairs(reads) do assert.is_true(by_replica(store, call), name) end
    assert.is_false(by_replica(store, function()
      store:transaction(function(tx)
        assert.equal(1, #tx:findByJSON('docs', { mark = 3 }, { read = 'replica' }))
        tx:find('docs', '1')
        tx:query('SELECT 1', nil, { readonly = true })
      end)
      store:updateObject('docs', '9', function(document) document.n = 1 end)
      store:query('SELECT 1')
      store:findAll('docs', { read = 'primary' })
      store:findAll('docs', { explain = true })
    end))
    local ok, err = store.try:query('SELECT 1', nil, { read = 'replica' })
    assert.is_false(ok)
    assert.equal('invalid_option', err.code)
  end)

  it('share what is read', function()
    local store = met(reader())
    for _ = 1, 20 do store:find('docs', '1') end
    stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() store:findAll('docs') end)
    for _, replica in ipairs(store:stats().replicas) do
      assert.is_true(replica.reads >= 8, replica.name .. ' ' .. replica.reads)
      assert.is_nil(replica.left_alone)
    end
  end)

  it('what a store has written it reads', function()
    local store = reader()
    for i = 1, 60 do
      store:update('docs', { id = '1', n = i, mark = 1 })
      assert.equal(i, store:find('docs', '1').n)
      store:patch('docs', '2', { set = { n = i } })
      assert.equal(i, store:findByJSON('docs', { mark = 2 })[1].n)
      store:transaction(function(tx) tx:patch('docs', '3', { set = { n = i } }) end)
      assert.equal(i, store:findOne('docs', { mark = 3 }).n)
      store:query("UPDATE docs SET value = value || jsonb_build_object('n', $1::int) WHERE id = 4",
        { i })
      assert.equal(i, store:query("SELECT (value->>'n')::int AS n FROM docs WHERE id = 4", nil,
        { readonly = true })[1].n)
    end
    assert.equal(0, figure(store, 'failed'))
  end)

  it('one that has not replayed what the caller wrote is not asked for it', function()
    local store, writer = met(reader({ one })), reader({ one })
    one:psql('SELECT pg_wal_replay_pause()')
    writer:update('docs', { id = '1', n = 5, mark = 1 })
    assert.equal(0, store:find('docs', '1').n) -- nobody has told it of anything newer
    assert.equal(5, writer:find('docs', '1').n)
    store:update('docs', { id = '2', n = 6, mark = 2 })
    for _ = 1, 5 do
      assert.equal(5, store:find('docs', '1').n)
      assert.equal(6, store:findByJSON('docs', { mark = 2 })[1].n)
    end
    assert.is_true(figure(store, 'behind') >= 5)
    one:psql('SELECT pg_wal_replay_resume()')
    support.eventually(function()
      return by_replica(store, function() assert.equal(6, store:find('docs', '2').n) end)
    end, 20, 'it to be asked again')
  end)

  it('reads never go back in time for their caller, at whatever pace they replay', function()
    local store, writer, stop = reader(), reader({}), false
    local tasks = { function()
      for n = 1, 300 do
        writer:update('docs', { id = '1', n = n, mark = 1 })
        stores.sleep(0.001)
      end
      stop = true
    end, function()
      local there = { plain(one), plain(other) }
      while not stop do
        there[math.random(2)]:query(('SELECT pg_wal_replay_%s()'):format(math.random(2) == 1
          and 'pause' or 'resume'), nil, { readonly = true, transaction = false })
        stores.sleep(0.002)
      end
    end }
    -- each of these begins its next read when the one before has ended
    for way = 1, 3 do
      tasks[#tasks + 1] = function()
        local mine = 0
        while not stop do
          local n = way == 1 and store:find('docs', '1').n
            or way == 2 and store:findByJSON('docs', { mark = 1 })[1].n
            or store:query("SELECT (value->>'n')::int AS n FROM docs WHERE id = 1", nil,
              { readonly = true })[1].n
          assert.is_true(n >= mine, ('%d after %d'):format(n, mine))
          mine = n
        end
      end
    end
    stores.all(tasks)
    assert.is_true(figure(store, 'reads') > 0)
    for _, server in ipairs({ one, other }) do server:psql('SELECT pg_wal_replay_resume()') end
    catch_up()
    assert.equal(300, store:find('docs', '1').n)
  end)

  it('a token is what another process has to see', function()
    local writer, store = reader({ one }), met(reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    writer:update('docs', { id = '1', n = 7, mark = 1 })
    local token = writer:token()
    assert.matches('^%d+%.%x+%.%x+$', token)
    assert.equal(0, store:find('docs', '1').n)
    assert.equal(0, store:count('docs', { n = 7 }))
    assert.equal(7, store:find('docs', '1', { after_token = token }).n)
    assert.equal(1, store:count('docs', { n = 7 }, { after_token = token }))
    -- what the primary said then is not taken back
    assert.equal(7, store:find('docs', '1').n)
    local began = met(reader({ one }, { after_token = token }))
    assert.equal(7, began:find('docs', '1').n)
    -- several of them, of which one is of this server, as shards give them
    local later = met(reader({ one }))
    assert.equal(7, later:find('docs', '1', { after_token = '12.00000001.00000000000000FF,'
      .. token }).n)
    one:psql('SELECT pg_wal_replay_resume()')
    one:catch_up()
    local fresh = met(reader({ one }))
    assert.is_true(by_replica(fresh, function()
      assert.equal(7, fresh:find('docs', '1', { after_token = token }).n)
    end))
  end)

  it('a token of another server has the primary asked, one that is none is refused', function()
    local store = met(reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    primary:psql("UPDATE docs SET value = value || '{\"n\": 8}' WHERE id = 1")
    local foreign = '12345.00000001.0000000000000001'
    assert.equal(0, store:find('docs', '1').n)
    assert.equal(8, store:find('docs', '1', { after_token = foreign }).n)
    assert.equal(1, figure(store, 'foreign'))
    for _, text in ipairs({ 'yesterday', foreign .. ',', '1.2.3', foreign:lower() .. 'x' }) do
      local ok, err = store.try:find('docs', '1', { after_token = text })
      assert.is_false(ok)
      assert.equal('invalid_argument', err.code)
    end
    assert.has_error(function() reader({ one }, { after_token = 'yesterday' }) end)
  end)

  it('a store without replicas has tokens as well', function()
    local writer, store = plain(primary), met(reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    writer:update('docs', { id = '1', n = 9, mark = 1 })
    assert.equal(9, store:find('docs', '1', { after_token = writer:token() }).n)
    -- whom all of this is nothing to
    assert.equal(9, writer:find('docs', '1', { read = 'replica',
      after_token = writer:token() }).n)
  end)

  it('nothing that they say goes into the cache, nor are they asked for what is there', function()
    local store = met(reader({ one }, nil, support.redis()))
    one:psql('SELECT pg_wal_replay_pause()')
    primary:psql("UPDATE docs SET value = value || '{\"n\": 3}' WHERE id IN (1, 2)")
    assert.equal(0, store:findByJSON('docs', { mark = 1 })[1].n)
    assert.equal(0, store:find('docs', '2', { cache = false }).n)
    assert.equal(0, store:find('seen', '2').n) -- a view is not cached
    assert.equal(0, store:stats().fills)
    assert.equal(3, store:find('docs', '1').n) -- through the cache: as fresh as ever
    assert.equal(3, store:find('docs', '2').n)
    assert.equal(3, store:findBy('docs', 'mark', 2, { unique = true }).n)
    support.eventually(function()
      store:find('docs', '1')
      return store:stats().hits > 0
    end)
  end)

  it('one that lags for longer than it may is left alone', function()
    local list = { one:config() }
    local store = stores.Store.new(primary:config({ replicas = list, max_lag = 0.3 }), nil,
      { cache = false, read = 'replica', log = function() end })
    open[#open + 1] = met(store)
    primary:psql("UPDATE docs SET value = value || '{\"n\": 1}' WHERE id = 1")
    one:catch_up()
    again_by_replica(store)
    one:psql('SELECT pg_wal_replay_pause()')
    primary:psql("UPDATE docs SET value = value || '{\"n\": 2}' WHERE id = 1")
    support.eventually(function() return store:find('docs', '1').n == 2 end, 20, 'the primary')
    assert.equal('lagging', store:stats().replicas[1].left_alone)
    one:psql('SELECT pg_wal_replay_resume()')
    again_by_replica(store)
  end)

  it('one that is down is left alone until it is back', function()
    local store = met(reader({ one }))
    assert.equal(20, store:count('docs'))
    one:stop('immediate')
    for _ = 1, 10 do
      assert.equal(20, store:count('docs'))
      assert.equal(null, store:find('docs', '1').none or null)
    end
    assert.equal('down', store:stats().replicas[1].left_alone)
    one:start()
    again_by_replica(store)
  end)

  it('one that is frozen costs a moment, also in the middle of a read', function()
    local store = met(reader({ one }))
    assert.equal(20, store:count('docs'))
    local slept
    stores.all({ function()
      slept = store:query('SELECT pg_is_in_recovery() AS r FROM pg_sleep(1.5)', nil,
        { readonly = true, timeout = 25 })[1].r
    end, function()
      support.eventually(function()
        return one:psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1%'"
          .. " AND pid <> pg_backend_pid() AND state = 'active'") == '1'
      end)
      one:freeze()
    end })
    assert.is_false(slept) -- the primary did
    for _ = 1, 20 do
      assert.equal(20, store:count('docs', nil, { timeout = 20 }))
      assert.equal('1', store:find('docs', '1', { timeout = 20 }).id)
    end
    assert.is_string(store:stats().replicas[1].left_alone)
    one:thaw()
    again_by_replica(store)
  end)

  it('what a migration made, and what invalidate tells of, is there for the next read', function()
    local store = met(reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    assert.equal(20, store:count('docs'))
    store:migrate({ { name = 'more', migration = "INSERT INTO docs VALUES (21, '{}')" } })
    assert.equal(21, store:count('docs'))
    primary:psql("INSERT INTO docs VALUES (22, '{}')")
    store:invalidate('docs')
    assert.equal(22, store:count('docs'))
    primary:psql('DROP TABLE migrations')
  end)

  it('shards have replicas each, and one token of all', function()
    local databases = { 'postgres', 'beside' }
    primary:psql('CREATE DATABASE beside')
    primary:psql('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)', 'beside')
    catch_up()
    local function shards(opts)
      local list = {}
      for i, database in ipairs(databases) do
        list[i] = { id = i - 1, db = primary:config({ database = database,
          replicas = { { host = one.socket, port = one.port } } }),
          opts = { cache = false, read = 'replica', log = function() end, after_token = opts } }
      end
      local made = stores.Shards.new(list)
      open[#open + 1] = made
      return made
    end
    local writer, cold = shards(), shards()
    for i = 100, 109 do writer:upsert('docs', { id = tostring(i), n = i }) end
    assert.equal(10, writer:count('docs', nil, { where = { { 'n', '>=', 100 } } }))
    assert.equal(30, #cold:findAll('docs'))
    one:catch_up()
    one:psql('SELECT pg_wal_replay_pause()')
    assert.equal(30, #cold:findAll('docs')) -- by the replica
    for i = 110, 119 do writer:upsert('docs', { id = tostring(i), n = i }) end
    local token = writer:token()
    assert.equal(30, #cold:findAll('docs'))
    assert.equal(40, #cold:findAll('docs', { after_token = token }))
    assert.equal(119, cold:find('docs', '119', { after_token = token }).n)
    assert.is_true(cold:stats().replica_reads > 0)
    assert.equal(40, #shards(token):findAll('docs'))
    for _, store in ipairs(open) do
      if store.shards then store:close() end
    end
    open = {}
    one:psql('SELECT pg_wal_replay_resume()')
    primary:psql('DROP DATABASE beside WITH (FORCE)')
  end)

  it('one whose system may not be asked for is nobody to whom that is known', function()
    primary:psql('CREATE ROLE clerk LOGIN; GRANT SELECT ON docs TO clerk;'
      .. ' REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public')
    finally(function()
      primary:psql('GRANT EXECUTE ON FUNCTION pg_control_system() TO public; DROP OWNED BY clerk;'
        .. ' DROP ROLE clerk')
    end)
    catch_up()
    local replica = one:config()
    replica.user = 'clerk'
    local store = stores.Store.new(primary:config({ user = 'clerk', replicas = { replica } }), nil,
      { cache = false, read = 'replica', log = function() end })
    open[#open + 1] = store
    for _ = 1, 5 do assert.equal(20, met(store):count('docs')) end
    assert.equal(0, figure(store, 'reads'))
    assert.equal('foreign', store:stats().replicas[1].left_alone)
  end)

  it('a read whose caller leaves is canceled there', function()
    local store = met(reader({ one }))
    local ok, err = store.try:query('SELECT 1 FROM pg_sleep(20)', nil,
      { readonly = true, timeout = 0.2 })
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    support.eventually(function()
      return one:psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(20%'"
        .. " AND pid <> pg_backend_pid() AND state = 'active'") == '0'
    end)
  end)

  it('what fails there is asked of the primary, whose word it is', function()
    local store = met(reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    primary:psql('CREATE TABLE late (id bigint PRIMARY KEY, value jsonb);'
      .. " INSERT INTO late VALUES (1, '{}')")
    assert.equal(1, store:count('late'))
    assert.equal('1', store:find('late', '1').id)
    local ok, err = store.try:query('SELECT 1 / 0', nil, { readonly = true })
    assert.is_false(ok)
    assert.equal('22012', err.sqlstate)
    primary:psql('DROP TABLE late')
  end)
end)
