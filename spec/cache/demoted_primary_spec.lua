--- A client that still talks to a demoted primary: that is cut off from its replica and from the
--- sentinels, who make the replica one, but not from this client. How long it reads what it read,
--- and others do not hear of what it writes: where a sentinel tells it, where only the primary can
--- know, and where nobody tells it.
-- Plain pass alone: what is waited for are failovers of other processes.

local sentinels = require('spec.support.sentinels')
local stores = require('stores')
local support = require('spec.support')

local MEASURED = os.getenv('STORES_TEST_MEASURED') -- prints how long each took

describe('#slow a client that still talks to a demoted primary', function()
  local group, db, far, near
  local LAG = 2 -- min-replicas-max-lag, in seconds

  setup(function()
    group = sentinels.start({ count = 4, quorum = 2,
      redis = { ['min-replicas-max-lag'] = LAG } })
    db = support.db()
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  end)

  teardown(function()
    support.drop(db)
    group:remove()
  end)

  after_each(function()
    for _, store in pairs({ far, near }) do support.close(store) end
    far, near = nil, nil
    for _, watcher in ipairs(group.watchers) do
      if watcher.deaf then watcher:resume() end
      watcher.deaf = nil
    end
    for _, server in ipairs(group.servers) do
      server:cli('CONFIG', 'SET', 'min-replicas-to-write', '0')
      server:cli('CONFIG', 'SET', 'port', server.port)
    end
    group:settle()
  end)

  local function open(config)
    return stores.Store.new(db, config, { log = function() end, ttl = 600 })
  end

  -- The sentinel that is silent later on, and what hears it alone.
  local function deaf()
    local watcher = group.watchers[#group.watchers]
    local config = group:config()
    config.sentinels = { watcher.place }
    return config, watcher
  end

  local function hit(store, id, n)
    support.eventually(function()
      local hits = store:stats().hits
      local document = store:find('docs', id)
      return document and document.n == n and store:stats().hits > hits
    end, 60, 'a row of the cache')
  end

  -- Nobody reaches the server any more but who did before, sentinels and replicas excepted.
  local function cut_off(server)
    assert.equal('OK', server:cli('CONFIG', 'SET', 'port', '0'))
    server:cli('CLIENT', 'KILL', 'TYPE', 'replica')
    for line in server:cli('CLIENT', 'LIST'):gmatch('[^\n]+') do
      if line:find(' name=sentinel', 1, true) then
        server:cli('CLIENT', 'KILL', 'ID', line:match('^id=(%d+)'))
      end
    end
  end

  -- A store at a primary that is cut off; gives when that was.
  local function isolate(id, min_replicas, config, silent)
    local master, other = group:roles()
    for _, server in ipairs(group.servers) do
      server:cli('CONFIG', 'SET', 'min-replicas-to-write', min_replicas)
    end
    far = open(config)
    far:insert('docs', { id = id, n = 1 })
    hit(far, id, 1)
    if silent then
      silent:pause()
      silent.deaf = true
    end
    cut_off(master)
    return master, other, far.hub:now()
  end

  -- A write by a store at the new primary; gives when it was.
  local function write(other, id)
    group:named(other)
    near = open(group:config())
    near:update('docs', { id = id, n = 2 })
    return far.hub:now()
  end

  -- How long the far one reads something else, in seconds after it was written.
  local function stale_for(id, since, at_most)
    support.eventually(function() return far:find('docs', id).n == 2 end, at_most,
      'the new version is read')
    return far.hub:now() - since
  end

  local function measured(what, seconds)
    if MEASURED then print(('\n%s: %.2f s'):format(what, seconds)) end
  end

  it('and to a sentinel leaves it when the other one is there', function()
    local _, other = isolate('1', 0, group:config())
    measured('a sentinel tells', stale_for('1', write(other, '1'), 20))
    hit(far, '1', 2)
  end)

  it('reads from PostgreSQL when that wants replicas, and none follows', function()
    local _, other, began = isolate('2', 1, deaf())
    support.eventually(function()
      far:find('docs', '2')
      return (far:stats().redis_trouble or ''):find('no replica follows Redis', 1, true)
    end, 60, 'a look at Redis')
    local seconds = far.hub:now() - began
    measured('min-replicas-to-write is 1', seconds)
    -- it is asked every five seconds, and knows by then
    assert.is_true(seconds < LAG + 1 + 5 + 10, seconds .. ' s')
    local hits = far:stats().hits
    write(other, '2')
    for n = 3, 5 do
      near:update('docs', { id = '2', n = n })
      assert.equal(n, far:find('docs', '2').n)
    end
    assert.equal(hits, far:stats().hits)
  end)

  it('reads on what it read where nobody tells it, until the two meet again', function()
    local config, silent = deaf()
    local master, other, began = isolate('3', 0, config, silent)
    write(other, '3')
    far:insert('docs', { id = '4', n = 1 })
    hit(near, '4', 1)
    far:update('docs', { id = '4', n = 2 })
    assert.equal(1, near:find('docs', '4').n) -- it was told to the other one
    local again = far.hub:now() + 8 -- longer than it takes in either other case
    support.eventually(function()
      assert.equal(1, far:find('docs', '3').n)
      return far.hub:now() > again
    end, 60)
    assert.equal('OK', master:cli('CONFIG', 'SET', 'port', master.port))
    silent:resume()
    local healed = far.hub:now()
    measured('nobody tells, and it was cut off for', healed - began)
    -- the sentinels make it a replica, and end its connections; then it is one by its own word
    measured('and then', stale_for('3', healed, 120))
    -- what was told to the old one is made good at the new one
    support.eventually(function() return near:find('docs', '4').n == 2 end, 20,
      'what was written meanwhile')
    measured('and others heard', far.hub:now() - healed)
  end)
end)
