--- The live harness under faults: no acknowledged write is lost, no read is stale, no call outlives
--- its deadline by a second, and two reads later no intent of a dead writer is left.
-- Plain pass alone: processes of their own, at the speed of a user's program.

local harness = require('spec.consistency.harness')
local process = require('spec.consistency.process')
local servers = require('spec.consistency.servers')

describe('#slow under faults', function()
  local own, run

  setup(function() own = servers.start() end)

  teardown(function() own:remove() end)

  after_each(function()
    if run then run:abandon() end
    run = nil
  end)

  local function start(options)
    -- A fault has to meet calls at all of their steps, not as many as the machine can carry.
    local all = { workers = 3, coroutines = 8, rows = 16, timeout = 5, pause = 0.06, poolsize = 2 }
    for name, value in pairs(options or {}) do all[name] = value end
    run = harness.start(own, all)
    run:go_on(100)
    return run
  end

  -- Life goes on after the fault, and the whole history is as it should be.
  local function judge()
    run:go_on(100)
    local violations, figures = run:finish()
    run = nil
    assert.equal(0, #violations, harness.show(violations))
    return figures
  end

  -- Redis is no condition of a read.
  local function judge_reads()
    assert.equal(0, judge().failed_reads)
  end

  describe('of a writer', function()
    local STEPS = { 'begin', 'dml', 'before intent', 'after intent', 'commit', 'settle' }
    -- Where the writer dies there with its intents placed, readers have to take them away.
    local LEAVES_INTENTS = { ['after intent'] = true, commit = true, settle = true }

    local function kill_at(step, victim)
      start({ proxied = true, victim = victim })
      run:at_step(step, 'sigkill')
      process.pass(0.6)
    end

    local function assert_resolved()
      assert.is_true(judge().stats.settles_resolved > 0, 'nobody resolved its intents')
    end

    for _, step in ipairs(STEPS) do
      it('that is killed at its step: ' .. step, function()
        kill_at(step, 'hot')
        if LEAVES_INTENTS[step] then assert_resolved() else judge() end
      end)

      it('that is stopped for a while at its step: ' .. step, function()
        start({ proxied = true, victim = 'hot' })
        run:at_step(step, 'sigstop')
        process.pass(0.6)
        if step == 'after intent' then
          assert.is_true(own:intents() > 0, 'a live transaction keeps its intents')
        end
        run:continue(1)
        judge()
      end)
    end

    it('that is killed while its COMMIT is on the way, which arrives late', function()
      kill_at('late commit', 'hot')
      assert.is_true(own:intents() > 0, 'a live transaction keeps its intents')
      run:order({ ['do'] = 'release' })
      process.pass(0.4)
      assert_resolved()
    end)

    for victim, what in pairs({ lives = 'rows come and go', mixed = 'epochs turn' }) do
      for _, step in ipairs({ 'after intent', 'commit', 'late commit' }) do
        it(('where %s, that is killed at its step: %s'):format(what, step), function()
          kill_at(step, victim)
          run:order({ ['do'] = 'release' })
          judge()
        end)
      end
    end
  end)

  describe('of the network', function()
    for server, sizes in pairs({ redis = { 0, 1, 4, 30, 200 }, pg = { 0, 1, 5, 60, 300 } }) do
      it(('that cuts replies of %s in the middle'):format(server), function()
        start({ proxied = true })
        for _, size in ipairs(sizes) do
          run:order({ ['do'] = 'cut', server = server, after = size })
          run:event('cut', 10)
          process.pass(0.1)
        end
        judge()
      end)

      it(('that delays replies of %s'):format(server), function()
        start({ proxied = true })
        for _, ms in ipairs({ 30, 130, 60 }) do
          run:order({ ['do'] = 'delay', server = server, ms = ms })
          process.pass(0.4)
        end
        run:order({ ['do'] = 'delay', server = server, ms = 0 })
        judge()
      end)
    end
  end)

  describe('of PostgreSQL', function()
    it('whose backends are terminated', function()
      start()
      for _ = 1, 5 do
        own:psql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity '
          .. "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        process.pass(0.1)
      end
      judge()
    end)

    it('whose statements are cancelled', function()
      start()
      for _ = 1, 20 do
        own:psql('SELECT pg_cancel_backend(pid) FROM pg_stat_activity '
          .. "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        process.pass(0.02)
      end
      judge()
    end)

    for _, how in ipairs({ 'fast', 'immediate' }) do
      it('that is restarted, ' .. how, function()
        start()
        own:restart_postgres(how)
        judge()
      end)
    end

    -- A socket whose peer died with answers unsent is one that libuv stops watching.
    it('that is restarted again and again, and no call waits for a lost connection', function()
      start({ timeout = 10 })
      for _ = 1, 8 do
        own:restart_postgres('immediate')
        process.pass(0.15)
      end
      assert.is_nil(judge().failures.timeout)
    end)

    -- The postmaster stays, and the transactions after it have the numbers of those that it ended.
    it('one of whose backends crashes', function()
      start({ timeout = 10 })
      for _ = 1, 8 do
        own:crash_backend()
        process.pass(0.2)
      end
      judge()
    end)
  end)

  describe('of Redis', function()
    it('that is killed and comes back empty', function()
      start()
      own:kill_redis()
      os.remove(own.home .. '/dump.rdb')
      run:go_on(100)
      own:start_redis()
      judge_reads()
    end)

    it('that is killed and comes back with an old dump', function()
      start()
      assert.equal('OK', own:redis_cli('SAVE'))
      run:go_on(500)
      own:kill_redis()
      own:start_redis()
      judge_reads()
      os.remove(own.home .. '/dump.rdb')
    end)

    it('that is flushed', function()
      start()
      for _ = 1, 5 do
        assert.equal('OK', own:redis_cli('FLUSHALL'))
        process.pass(0.1)
      end
      judge_reads()
    end)

    it('whose scripts are flushed', function()
      start()
      for _ = 1, 5 do
        assert.equal('OK', own:redis_cli('SCRIPT FLUSH'))
        process.pass(0.05)
      end
      judge_reads()
    end)

    it('whose clients are killed', function()
      start()
      for _ = 1, 5 do
        own:redis_cli('CLIENT KILL TYPE normal')
        process.pass(0.1)
      end
      judge_reads()
    end)

    it('that is stopped for two seconds', function()
      start()
      own.redis:kill('sigstop')
      process.pass(2)
      own.redis:kill('sigcont')
      judge_reads()
    end)

    it('that is stopped for a moment shorter than a deadline, again and again', function()
      start()
      for _ = 1, 10 do
        own.redis:kill('sigstop')
        process.pass(0.03)
        own.redis:kill('sigcont')
        process.pass(0.05)
      end
      judge_reads()
    end)

    for name, fault in pairs({
      ['stopped'] = function()
        own.redis:kill('sigstop')
        run:go_on(200)
        own.redis:kill('sigcont')
      end,
      ['killed'] = function()
        own:kill_redis()
        run:go_on(200)
        own:start_redis()
      end,
    }) do
      it(('that is %s, while writes go by it: not stale once it is back'):format(name), function()
        start({ on_cache_failure = 'bypass' })
        local began = process.now()
        fault()
        process.pass(1)
        run.window = { began, process.now() }
        judge_reads()
      end)
    end
  end)
end)

describe('#slow when PostgreSQL fails over', function()
  it('to its standby, nothing acknowledged is lost and nothing stale is read', function()
    local own = servers.start()
    local run
    finally(function()
      if run then run:abandon() end
      own:remove()
    end)
    own:add_standby()
    run = harness.start(own, { workers = 4, coroutines = 8, rows = 16, timeout = 10 })
    run:go_on(300)
    own:fail_over()
    run:go_on(500)
    local violations = run:finish()
    assert.equal(0, #violations, harness.show(violations))
  end)
end)
