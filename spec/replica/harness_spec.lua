--- Reads on replicas under all faults in any order: of a store no read is older than what the store
--- has committed, than the read before it, or than what the giver of its token had seen. For
--- longer: STORES_REPLICA_CHAOS=600, in seconds; a run that failed names its seed, and
--- STORES_REPLICA_SEED takes it.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local cjson = require('cjson')
local postgres = require('spec.support.postgres')
local pgbouncer = require('spec.support.pgbouncer')
local process = require('spec.consistency.process')
local support = require('spec.support')
local uv = require('luv')

local SECONDS = tonumber(os.getenv('STORES_REPLICA_CHAOS') or 8)
local SEED = tonumber(os.getenv('STORES_REPLICA_SEED') or os.time())
local WORKERS, ROUND = 3, 30

describe('#slow replicas in chaos', function()
  local primary, standbys, folder, workers
  local poolers = {} -- of servers, of every other round
  local frozen_at = 0

  setup(function()
    primary = postgres.primary()
    standbys = { postgres.standby(primary), postgres.standby(primary) }
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute('mkdir ' .. folder) == 0)
  end)

  teardown(function()
    for _, server in ipairs({ standbys[1], standbys[2], primary }) do server:remove() end
    os.execute('rm -rf ' .. folder)
  end)

  local function without_poolers()
    for server, pooler in pairs(poolers) do
      pooler:stop()
      poolers[server] = nil
    end
  end

  after_each(function()
    for _, worker in ipairs(workers) do worker:kill('sigkill') end
    without_poolers()
    for _, server in ipairs({ primary, standbys[1], standbys[2] }) do server:ensure() end
  end)

  -- ---- Faults ----------------------------------------------------------------------------------

  local function some_standby() return standbys[math.random(2)] end

  -- A server that is down, or comes up, says no.
  local function say(server, sql)
    local ok, said = pcall(server.psql, server, sql)
    return ok and said or ''
  end

  local function pass(most) process.pass(math.random() * most) end

  local function replay(what, server)
    say(server, ('SELECT pg_wal_replay_%s()'):format(what))
  end

  local function end_sessions(server, share)
    say(server, ('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE random() < %g '
      .. "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"):format(share))
  end

  local function freeze(server, most)
    server:freeze()
    pass(most)
    server:thaw()
  end

  local function stop(server)
    server:stop('immediate')
    pass(0.4)
    server:start()
  end

  -- Who commits has a second to end (core/replica/doubt.c): it is not frozen for as long.
  local function rarely(body)
    if process.now() < frozen_at + 0.7 then return end
    body()
    frozen_at = process.now()
  end

  local function freeze_backends()
    local pids = {}
    for pid in say(primary, "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
      .. " AND backend_type = 'client backend' AND random() < 0.4"):gmatch('%d+') do
      pids[#pids + 1] = tonumber(pid)
    end
    for _, pid in ipairs(pids) do uv.kill(pid, 'sigstop') end
    pass(0.3)
    for _, pid in ipairs(pids) do uv.kill(pid, 'sigcont') end
  end

  local function waits_for(who)
    say(primary, ("ALTER SYSTEM SET synchronous_standby_names = '%s'"):format(who))
    say(primary, 'SELECT pg_reload_conf()')
  end

  local function harm_standby()
    local dice = math.random(5)
    if dice == 1 then return replay('pause', some_standby()) end
    if dice == 2 then return stop(some_standby()) end
    if dice == 3 then return freeze(some_standby(), 0.4) end
    for _, server in ipairs(standbys) do end_sessions(server, math.random()) end
  end

  -- What is committed meanwhile standbys show, and the primary does not.
  local function have_nobody_answer()
    waits_for('nobody')
    pass(0.3)
    for _ = 1, math.random(3) do
      harm_standby()
      pass(0.1)
    end
    waits_for('')
  end

  -- Of a hundred: how often, and what.
  local FAULTS = {
    { 14, function() replay('pause', some_standby()) end },
    { 14, function() for _, server in ipairs(standbys) do replay('resume', server) end end },
    { 4, function() stop(some_standby()) end },
    { 8, function() freeze(some_standby(), 0.4) end },
    { 10, function() end_sessions(some_standby(), math.random()) end },
    { 5, function() end_sessions(primary, 0.3) end },
    { 10, function() rarely(freeze_backends) end },
    { 5, function() rarely(function() freeze(primary, 0.25) end) end },
    { 20, have_nobody_answer },
    { 8, function()
      waits_for('walreceiver') -- as standbys are called
      pass(0.5)
      waits_for('')
    end },
    { 2, function()
      primary:stop('immediate')
      primary:start()
    end },
  }

  local function harm_something()
    local dice = math.random(100)
    for _, fault in ipairs(FAULTS) do
      dice = dice - fault[1]
      if dice <= 0 then return fault[2]() end
    end
  end

  local function heal()
    for _, server in ipairs({ primary, standbys[1], standbys[2] }) do server:ensure() end
    support.eventually(function()
      waits_for('')
      return say(primary, 'SHOW synchronous_standby_names') == ''
    end, 60, 'the primary')
    for _, server in ipairs(standbys) do
      support.eventually(function()
        return pcall(server.psql, server, 'SELECT pg_wal_replay_resume()')
      end, 60, 'a standby that answers')
    end
  end

  -- ---- Workers ---------------------------------------------------------------------------------

  local function put_poolers_between()
    for _, server in ipairs({ primary, standbys[1], standbys[2] }) do
      poolers[server] = pgbouncer.start('transaction', 'max_db_connections = 40\n'
        .. 'default_pool_size = 40\nserver_login_retry = 0.2', { host = server.socket,
          port = server.port })
    end
  end

  local function db_of(server)
    local pooler = poolers[server]
    return pooler and pooler:config({ pooler = server == primary and 'transaction' or nil })
      or server:config()
  end

  local function start_workers(seed)
    os.execute(('rm -f %s/*'):format(folder))
    primary:psql('DROP TABLE IF EXISTS docs, events, rest;'
      .. ' CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL);'
      .. ' CREATE TABLE events (id bigint PRIMARY KEY, value jsonb NOT NULL);'
      .. ' CREATE TABLE rest (id bigint);'
      .. " INSERT INTO docs SELECT i, jsonb_build_object('id', i::text, 'k', 1, 'n', 0)"
      .. (' FROM generate_series(1, %d) i'):format(WORKERS))
    for _, server in ipairs(standbys) do server:catch_up() end
    local either = { host = {}, port = {} }
    for i, server in ipairs(standbys) do
      local db = db_of(server)
      either.host[i], either.port[i] = db.host, db.port
    end
    for worker = 1, WORKERS do
      workers[worker] = process.start({ 'luajit', 'spec/replica/harness_worker.lua',
        cjson.encode({ worker = worker, workers = WORKERS, seed = seed + worker, folder = folder,
          primary = db_of(primary), standbys = { db_of(standbys[1]), db_of(standbys[2]) },
          either = either }) })
    end
  end

  -- What they saw that must not be, and their figures.
  local function finish()
    assert(io.open(folder .. '/stop', 'w')):close()
    local seen, figures = {}, {}
    for i, worker in ipairs(workers) do
      worker:join(200)
      for _, line in ipairs(worker.lines) do
        local text = line:match('^figures (.*)')
        if text then
          figures[i] = cjson.decode(text)
        else
          seen[#seen + 1] = line
        end
      end
      if not figures[i] then seen[#seen + 1] = 'no figures: ' .. worker.errors end
    end
    return seen, figures
  end

  local function round(seed, seconds)
    math.randomseed(seed)
    if seed % 2 == 1 then put_poolers_between() end
    start_workers(seed)
    local at_end = process.now() + seconds
    while process.now() < at_end do
      harm_something()
      pass(0.1)
    end
    heal()
    local seen, figures = finish()
    if os.getenv('STORES_REPLICA_CHAOS') then
      for _, each in ipairs(figures) do print(seed, cjson.encode(each)) end
    end
    assert.equal(0, #seen, ('seed %d:\n%s'):format(seed, table.concat(seen, '\n', 1,
      math.min(#seen, 20))))
    local reads, of_replicas = 0, 0
    for _, each in ipairs(figures) do
      reads, of_replicas = reads + each.reads, of_replicas + each.of_replicas
    end
    assert.is_true(reads > 0 and of_replicas > 0)
  end

  it('no store goes back in time', function()
    local rounds = math.ceil(SECONDS / ROUND)
    for i = 1, rounds do
      workers = {}
      round(SEED + i - 1, SECONDS / rounds)
      without_poolers()
    end
  end)
end)
