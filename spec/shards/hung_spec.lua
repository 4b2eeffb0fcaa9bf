--- A shard whose server hangs while calls are under way: those that wait for it end soon, and say
--- what may have become of their work; those of others do not notice. One that takes long, and is
--- there, ends nobody's call.
-- Not in the gc pass: it is about servers that hang; what hangs on values of Lua is in verbs_spec.

local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

local BREAKER, PATIENCE = 1, 60
local SQL = [[
  CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb NOT NULL);
  CREATE TABLE slow (id bigint PRIMARY KEY, value jsonb NOT NULL);
  CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN PERFORM pg_sleep(100); RETURN NULL; END $$;
  CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION dawdle()]]
local servers, shards = {}, nil

setup(function()
  local list = {}
  for id = 0, 1 do
    servers[id + 1] = postgres.start()
    list[id + 1] = { id = id, db = servers[id + 1]:config({ poolsize = 6,
      acquire_timeout = PATIENCE }), redis = false, opts = { timeout = PATIENCE } }
  end
  shards = stores.Shards.new(list, { breaker = BREAKER })
  shards:migrate({ { name = 'docs', migration = SQL } })
  for id = 1, 40 do shards:insert('docs', { id = tostring(id), n = id }) end
end)

teardown(function()
  for _, store in ipairs(shards.shards) do support.close(store) end
  for _, server in ipairs(servers) do server:remove() end
end)

local now = postgres.now

-- Both as they are without a pool of a size of their own.
local function list_of_both()
  local list = {}
  for id, server in ipairs(servers) do
    list[id] = { id = id - 1, db = server:config(), redis = false, opts = { timeout = PATIENCE } }
  end
  return list
end

-- A shard, 1 where none is named, hangs while fn runs, and answers again behind it; in stores.run.
local function while_hung(fn, shard)
  local server = servers[(shard or 1) + 1]
  server:freeze()
  local ok, err = pcall(fn)
  server:thaw()
  support.eventually(function()
    return shards.try:find('docs', '1') and shards.try:find('docs', '2')
  end, PATIENCE)
  if not ok then error(err, 0) end
end

local function lost(outcome, what, ok, err)
  assert.is_false(ok, what)
  assert.equal('connection_lost', err.code, what)
  assert.equal(outcome, err.outcome, what)
  assert.equal(1, err.shard, what)
  assert.matches('nor does it greet a new connection', err.message)
end

describe('calls that are under way when a shard begins to hang', function()
  it('end soon, and tell what may have become of their work', function()
    stores.run(function()
      local committing = stores.spawn(pcall, shards.transaction, shards, '1', function(tx)
        tx:insert('slow', { id = '1' })
      end)
      support.eventually(function()
        return shards:query("SELECT 1 FROM pg_stat_activity WHERE query = 'COMMIT'"
          .. " AND state = 'active'", {}, { on = '1' })[1]
      end, PATIENCE)
      while_hung(function()
        local began = now()
        local calls = {
          find = stores.spawn(pcall, shards.find, shards, 'docs', '3'),
          update = stores.spawn(pcall, shards.update, shards, 'docs', { id = '5' }),
          object = stores.spawn(pcall, shards.updateObject, shards, 'docs', '7', function(doc)
            doc.n = 0
          end),
          query = stores.spawn(pcall, shards.query, shards, 'SELECT 1', {},
            { on = '9', readonly = true }),
        }
        assert.equal(2, shards:find('docs', '2').n)
        assert.is_truthy(shards:update('docs', { id = '2', n = 2 }))
        for what, task in pairs(calls) do lost('none', what, task:join()) end
        lost('unknown', 'commit', committing:join())
        assert.is_true(now() - began < PATIENCE / 2)
      end)
    end)
  end)

  it('are those of lists as well, of which the other shards answer', function()
    stores.run(function()
      local own = shards.shards[1]:count('docs')
      while_hung(function()
        local began = now()
        local count, failed = shards:count('docs', nil, { partial = true })
        assert.equal(own, count)
        assert.equal(1, failed[1].shard)
        local list
        local onward, back
        list, onward, back, failed = shards:findAll('docs', { partial = true, order = { '-n' } })
        assert.same({ own, nil, nil }, { #list, onward, back })
        assert.equal(1, failed[1].shard)
        support.refused(failed[1].code, 'shard 1: ', shards.findAll, shards, 'docs')
        assert.is_true(now() - began < PATIENCE / 2)
      end)
    end)
  end)

  it('are those of a walk, which goes on where it was', function()
    stores.run(function()
      local ids, errs, times = {}, 0, 0
      local walk = shards:each('docs', { batch = 4 })
      for _ = 1, 10 do ids[#ids + 1] = walk().id end
      while_hung(function()
        while errs == 0 do
          local ok, document = pcall(walk)
          if ok then ids[#ids + 1] = document.id else errs = errs + 1 end
          times = times + 1
          assert.is_true(times < 40)
        end
      end)
      for document in walk do ids[#ids + 1] = document.id end
      assert.equal(40, #ids)
      for place, id in ipairs(ids) do assert.equal(tostring(place), id) end
    end)
  end)
end)

describe('who listens to all shards', function()
  it('is heard by those that answer while another one hangs, and is told of that', function()
    stores.run(function()
      while_hung(function()
        local task = stores.spawn(pcall, shards.listen, shards, 'news', function() end)
        support.eventually(function()
          return servers[2]:psql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%LISTEN%'"
            .. " AND query NOT LIKE '%pg_stat%'") == '1'
        end, PATIENCE)
        local ok, err = task:join()
        assert.is_false(ok)
        assert.equal(0, err.shard)
      end, 0)
    end)
  end)
end)

describe('the timeout of a call', function()
  it('is that of what is found out before it, too: at first, and where one asks', function()
    stores.run(function()
      local list = list_of_both()
      local calls = {
        function(some, opts) some:find('docs', '1', opts) end,
        function(some, opts) some:patch('docs', '1', { set = { a = 1 } }, opts) end,
        function(some, opts) some:upsert('docs', { id = '1' }, opts) end,
        function(some, opts) some:updateObject('docs', '1', function() end, opts) end,
        function(some, opts)
          some:transaction('1', function(tx) tx:find('docs', '1') end, opts)
        end,
        function(some, opts) some:query('SELECT 1', {}, { on = '1', timeout = opts.timeout }) end,
        function(some, opts) some:invalidate('docs', '1', opts) end,
      }
      while_hung(function()
        for at = 1, 2 * #calls do
          -- patient enough that a call which waits for it would be seen
          local some = stores.Shards.new(list, { breaker = 20 })
          some.health[2].suspect = at > #calls
          local began = now()
          support.refused('timeout', nil, calls[(at - 1) % #calls + 1], some, { timeout = 0.1 })
          assert.is_true(now() - began < 10, 'call ' .. at)
          some:close()
        end
        local some = stores.Shards.new(list, { breaker = 20 })
        assert.equal(2, some:find('docs', '2', { timeout = 5 }).n) -- of the other one
        some:close()
      end)
    end)
  end)
end)

describe('shards that are closed while one of them is asked whether it is there', function()
  it('end what is under way', function()
    stores.run(function()
      local list = list_of_both()
      local others = stores.Shards.new(list, { breaker = 2 * BREAKER })
      others:find('docs', '1')
      while_hung(function()
        local task = stores.spawn(pcall, others.find, others, 'docs', '1')
        stores.sleep(1.5 * BREAKER)
        others:close()
        local ok, err = task:join()
        assert.is_false(ok)
        assert.equal('closed', err.code)
      end)
    end)
  end)
end)

describe('calls that take long of a shard that is there', function()
  it('go on to their end', function()
    stores.run(function()
      local held, free = false, false
      local holder = stores.spawn(function()
        shards:transaction('1', function(tx)
          tx:query('SELECT 1 FROM docs WHERE id = 1 FOR UPDATE')
          held = true
          while not free do stores.sleep(0.05) end
        end)
      end)
      support.eventually(function() return held end, PATIENCE)
      local waiting = stores.spawn(pcall, shards.update, shards, 'docs', { id = '1', n = 'late' })
      local _, rows = pcall(shards.query, shards, ('SELECT pg_sleep(%d), 1 AS one'):format(
        4 * BREAKER), {}, { on = '3' })
      assert.equal(1, rows[1].one)
      assert.is_false(waiting.done)
      free = true
      holder:join()
      assert.is_true(waiting:join())
    end)
  end)
end)
