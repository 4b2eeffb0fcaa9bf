--- Replicas that lag, are down or frozen, or fail: they are left alone until they are back, and the
--- primary answers.

local standbys = require('spec.support.standbys')
local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null
local figure, again_by_replica, met = standbys.figure, standbys.again_by_replica, standbys.met

describe('with a primary and two replicas, #slow', function()
  local at, primary, one

  setup(function()
    at = standbys.start()
    primary, one = at.primary, at.one
  end)
  teardown(function() at:remove() end)
  before_each(function() at:fill() end)
  after_each(function() at:settle() end)

  it('one that lags for longer than it may is left alone', function()
    local list = { one:config() }
    local store = stores.Store.new(primary:config({ replicas = list, max_lag = 0.3 }), nil,
      { cache = false, read = 'replica', log = function() end })
    at.open[#at.open + 1] = met(store)
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
    local store = met(at:reader({ one }))
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
    local store = met(at:reader({ one }))
    assert.equal(20, store:count('docs'))
    local slept
    stores.all({ function()
      slept = store:query('SELECT pg_is_in_recovery() AS r FROM pg_sleep(4)', nil,
        { readonly = true, timeout = 25 })[1].r
    end, function()
      support.eventually(function()
        return one:psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(4%'"
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

  it('one whose system may not be asked for is nobody to whom that is known', function()
    primary:psql('CREATE ROLE clerk LOGIN; GRANT SELECT ON docs TO clerk;'
      .. ' REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public')
    finally(function()
      primary:psql('GRANT EXECUTE ON FUNCTION pg_control_system() TO public; DROP OWNED BY clerk;'
        .. ' DROP ROLE clerk')
    end)
    at:catch_up()
    local replica = one:config()
    replica.user = 'clerk'
    local store = stores.Store.new(primary:config({ user = 'clerk', replicas = { replica } }), nil,
      { cache = false, read = 'replica', log = function() end })
    at.open[#at.open + 1] = store
    for _ = 1, 5 do assert.equal(20, met(store):count('docs')) end
    assert.equal(0, figure(store, 'reads'))
    assert.equal('foreign', store:stats().replicas[1].left_alone)
  end)

  it('a read whose caller leaves is canceled there', function()
    local store = met(at:reader({ one }))
    local ok, err = store.try:query('SELECT 1 FROM pg_sleep(60)', nil,
      { readonly = true, timeout = 0.2 })
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    support.eventually(function()
      return one:psql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60%'"
        .. " AND pid <> pg_backend_pid() AND state = 'active'") == '0'
    end)
  end)

  it('what fails there is asked of the primary, whose word it is', function()
    local store = met(at:reader({ one }))
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
