--- Reads on replicas: who answers what, and that no caller ever goes back in time, over a primary
--- and two standbys whose replay is paused at will. Those that fail: replicas_left_alone_spec.

local standbys = require('spec.support.standbys')
local stores = require('stores')
local support = require('spec.support')

local figure, by_replica, met = standbys.figure, standbys.by_replica, standbys.met

describe('with a primary and two replicas, #slow', function()
  local at, primary, one, other

  setup(function()
    at = standbys.start()
    primary, one, other = at.primary, at.one, at.other
  end)
  teardown(function() at:remove() end)
  before_each(function() at:fill() end)
  after_each(function() at:settle() end)

  it('criteria, each, count, readonly queries and uncached finds are theirs', function()
    local store = met(at:reader())
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

  it('what a view made of their sessions is taken back', function()
    local small = at.one:config()
    small.poolsize = 1
    at.primary:psql([[CREATE FUNCTION stays() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        PERFORM set_config('search_path', 'nowhere', false); RETURN true; END $$;
      CREATE VIEW staying AS SELECT * FROM docs WHERE stays()]])
    at:catch_up()
    local store = met(stores.Store.new(at.primary:config({ replicas = { small } }), nil,
      { cache = false, read = 'replica', log = function() end }))
    at.open[#at.open + 1] = store
    local reads = { find = '1', findAllByIds = { '1', '2' }, findAll = {} }
    for name, what in pairs(reads) do
      store[name](store, 'staying', what) -- the first of it learns what it is
      assert.is_true(by_replica(store, function() store[name](store, 'staying', what) end), name)
      local shown = store:query('SHOW search_path', nil, { readonly = true, read = 'replica' })
      assert.equal('"$user", public', shown[1].search_path, name)
    end
  end)

  it('share what is read', function()
    local store = met(at:reader())
    for _ = 1, 20 do store:find('docs', '1') end
    stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function() store:findAll('docs') end)
    for _, replica in ipairs(store:stats().replicas) do
      assert.is_true(replica.reads >= 8, replica.name .. ' ' .. replica.reads)
      assert.is_nil(replica.left_alone)
    end
  end)

  it('what a store has written it reads', function()
    local store = at:reader()
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
    local store, writer = met(at:reader({ one })), at:reader({ one })
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
    end, 60, 'it to be asked again') -- it may have been left alone for as long as 16 s
  end)

  it('reads never go back in time for their caller, at whatever pace they replay', function()
    local store, writer, stop = at:reader(), at:reader({}), false
    local tasks = { function()
      for n = 1, 300 do
        writer:update('docs', { id = '1', n = n, mark = 1 })
        stores.sleep(0.001)
      end
      stop = true
    end, function()
      local there = { at:plain(one), at:plain(other) }
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
    at:catch_up()
    assert.equal(300, store:find('docs', '1').n)
  end)

  it('a token is what another process has to see', function()
    local writer, store = at:reader({ one }), met(at:reader({ one }))
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
    local began = met(at:reader({ one }, { after_token = token }))
    assert.equal(7, began:find('docs', '1').n)
    -- several of them, of which one is of this server, as shards give them
    local later = met(at:reader({ one }))
    assert.equal(7, later:find('docs', '1', { after_token = '12.00000001.00000000000000FF,'
      .. token }).n)
    one:psql('SELECT pg_wal_replay_resume()')
    one:catch_up()
    local fresh = met(at:reader({ one }))
    support.eventually(function()
      return by_replica(fresh, function()
        assert.equal(7, fresh:find('docs', '1', { after_token = token }).n)
      end)
    end, 30, 'the replica to be asked')
  end)

  it('a token of another server has the primary asked, one that is none is refused', function()
    local store = met(at:reader({ one }))
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
    assert.has_error(function() at:reader({ one }, { after_token = 'yesterday' }) end)
  end)

  it('a store without replicas has tokens as well', function()
    local writer, store = at:plain(primary), met(at:reader({ one }))
    one:psql('SELECT pg_wal_replay_pause()')
    writer:update('docs', { id = '1', n = 9, mark = 1 })
    assert.equal(9, store:find('docs', '1', { after_token = writer:token() }).n)
    -- whom all of this is nothing to
    assert.equal(9, writer:find('docs', '1', { read = 'replica',
      after_token = writer:token() }).n)
  end)

  it('nothing that they say goes into the cache, nor are they asked for what is there', function()
    local store = met(at:reader({ one }, nil, support.redis()))
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

  it('what a migration made, and what invalidate tells of, is there for the next read', function()
    local store = met(at:reader({ one }))
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
    at:catch_up()
    local function shards(opts)
      local list = {}
      for i, database in ipairs(databases) do
        list[i] = { id = i - 1, db = primary:config({ database = database,
          replicas = { { host = one.socket, port = one.port } } }),
          opts = { cache = false, read = 'replica', log = function() end, after_token = opts } }
      end
      local made = stores.Shards.new(list)
      at.open[#at.open + 1] = made
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
    for _, store in ipairs(at.open) do
      if store.shards then store:close() end
    end
    at.open = {}
    one:psql('SELECT pg_wal_replay_resume()')
    primary:psql('DROP DATABASE beside WITH (FORCE)')
  end)
end)
