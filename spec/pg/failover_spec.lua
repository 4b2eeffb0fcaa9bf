--- Several hosts and target_session_attrs, with a real standby: a store finds the primary in
--- whichever order the hosts stand, and follows it when the standby is promoted.
-- Plain pass alone: servers come and go, and what is read does not depend on the collector.

local cjson = require('cjson')
local process = require('spec.support.process')
local servers = require('spec.consistency.servers')
local stores = require('stores')
local support = require('spec.support')

local COROUTINES = 12

-- Writes and reads until it is told to stop; tells of every call that failed and of all the rest.
local LOAD = [==[
  local cjson = require('cjson')
  local stores = require('stores')
  local config = cjson.decode(%q)
  local store = stores.Store.new(config.db, config.redis, { timeout = 5 })
  local hub = require('stores.wait').host.hub()
  local failed, done, counters, longest = {}, {}, {}, 0

  local function stopped()
    local file = io.open(config.stop)
    if file then file:close() end
    return file ~= nil
  end

  local next_id = 1000
  local function new_ids(count)
    local ids = {}
    for i = 1, count do
      next_id = next_id + 1
      ids[i] = tostring(next_id)
    end
    return ids
  end

  local calls = {}

  function calls.insert(ids) store:insert('docs', { id = ids[1], at = hub:now() }) end

  function calls.transaction(ids)
    store:transaction(function(tx)
      for _, id in ipairs(ids) do tx:insert('docs', { id = id, at = hub:now() }) end
    end)
  end

  -- Its rows are written, or not, together; what became of them is compared at the end.
  local function write(verb, count)
    local ids = new_ids(count)
    local began = hub:now()
    local ok, err = pcall(calls[verb], ids)
    longest = math.max(longest, hub:now() - began)
    if ok then
      for _, id in ipairs(ids) do done[#done + 1] = id end
    else
      failed[#failed + 1] = { verb = verb, ids = ids, code = err.code or tostring(err),
        outcome = err.outcome, at = hub:now() }
    end
  end

  local function count(id, state)
    local began = hub:now()
    local ok, err = pcall(store.updateObject, store, "docs", id,
      function(doc) doc.n = doc.n + 1 end)
    longest = math.max(longest, hub:now() - began)
    if ok then
      state.least, state.most = state.least + 1, state.most + 1
    else
      if err.outcome == 'unknown' then state.most = state.most + 1 end
      failed[#failed + 1] = { verb = 'updateObject', ids = {}, code = err.code or tostring(err),
        outcome = err.outcome, at = hub:now() }
    end
    local read, doc = pcall(store.find, store, 'docs', id)
    if not read then
      failed[#failed + 1] = { verb = 'find', ids = {}, code = doc.code or tostring(doc),
        outcome = doc.outcome, at = hub:now() }
    elseif doc.n < state.least or doc.n > state.most then
      failed[#failed + 1] = { verb = 'find', ids = {}, code = 'stale', at = hub:now() }
    end
  end

  local list = {}
  for i = 1, config.coroutines do list[i] = i end
  stores.map(list, function(i)
    local state = { id = tostring(i), least = 0, most = 0 }
    counters[i] = state
    while not stopped() do
      write('insert', 1)
      write('transaction', 2)
      count(state.id, state)
      stores.sleep(0.002)
    end
  end)
  store:close()
  print(cjson.encode({ failed = failed, done = done, counters = counters, longest = longest }))
]==]

describe('#slow Two hosts, a primary and its standby,', function()
  randomize(false) -- the last one changes their roles

  local own, open

  setup(function()
    own = servers.start()
    own:psql("CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);"
      .. " INSERT INTO docs SELECT i, '{\"n\": 0}' FROM generate_series(1, " .. COROUTINES .. ') i')
    own:add_standby()
  end)

  teardown(function() own:remove() end)

  before_each(function() open = {} end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(fields, opts)
    local store = stores.Store.new(own:config(fields),
      own:redis_config({ opts = { timeout = 2 } }), opts)
    open[#open + 1] = store
    return store
  end

  local function server_of(store)
    local row = store:query("SELECT current_setting('port') AS port,"
      .. ' pg_is_in_recovery() AS standby')[1]
    return row.port .. (row.standby and ' standby' or ' primary')
  end

  it('are told apart in whichever order they stand', function()
    for _, ports in ipairs({ { 5432, 5433 }, { 5433, 5432 } }) do
      local function with(attrs)
        return server_of(store_of({ port = ports, target_session_attrs = attrs }))
      end
      assert.equal('5432 primary', with('read-write'))
      assert.equal('5432 primary', with('primary'))
      assert.equal('5433 standby', with('standby'))
      -- a standby is late: a store with a cache takes it where it is told to, and not by preference
      assert.equal('5432 primary', with('prefer-standby'))
      local plain = stores.Store.new(own:config({ port = ports,
        target_session_attrs = 'prefer-standby' }), nil, { cache = false })
      open[#open + 1] = plain
      assert.equal('5433 standby', server_of(plain))
    end
  end)

  it('are both reached where any will do, and the standby takes no writes', function()
    local store = store_of({ port = { 5433, 5432 }, target_session_attrs = 'any' })
    assert.equal('5433 standby', server_of(store))
    for _ = 1, 3 do assert.equal(0, store:find('docs', '1').n) end
    assert.equal(0, store:stats().fills) -- what a standby says may be old
    assert.equal(0, store:stats().hits)
    for _, write in ipairs({
      function() store:update('docs', { id = '1', n = 5 }) end,
      function() store:updateObject('docs', '1', function(doc) doc.n = 5 end) end,
      function() store:transaction(function(tx) tx:delete('docs', '1') end) end,
      function() store:query('DELETE FROM docs') end,
    }) do
      local ok, err = pcall(write)
      assert.is_false(ok)
      assert.equal('read_only', err.code)
      assert.equal('none', err.outcome)
    end
    assert.equal('0', own:psql("SELECT value->>'n' FROM docs WHERE id = 1"))
  end)

  it('change their roles under load: calls fail honestly for seconds, and then go on', function()
    local stop = own.home .. '/stop'
    local store = store_of()
    assert.equal('5432 primary', server_of(store))
    local errors = os.tmpname()
    local load = process.lua(LOAD:format(cjson.encode({ db = own:config({ poolsize = 6 }),
      redis = own:redis_config({ opts = { timeout = 2 } }), stop = stop,
      coroutines = COROUTINES })), errors)
    finally(function()
      load:kill()
      os.remove(errors)
    end)
    local function written(since)
      local ok, rows = store.try:query("SELECT count(*) AS n FROM docs WHERE id > 1000"
        .. " AND (value->>'at')::float8 > $1", { ('%.6f'):format(since) }, { readonly = true })
      return ok and rows[1].n or 0
    end
    support.eventually(function() return written(0) > 200 end, 30)
    local fault = store.hub:now()
    own:fail_over()
    local promoted = store.hub:now()
    -- the same store, which nobody told
    support.eventually(function()
      local ok, server = pcall(server_of, store)
      return ok and server == '5433 primary'
    end, 20)
    support.eventually(function() return written(promoted) > 200 end, 30)
    assert(os.execute("touch '" .. stop .. "'") == 0)
    local text = load:wait()
    local told = text ~= '' and cjson.decode(text)
    assert(told, 'the load failed: ' .. io.open(errors):read('*a'))

    local there = {}
    for _, row in ipairs(store:query('SELECT id::text AS id FROM docs')) do there[row.id] = true end
    for _, id in ipairs(told.done) do assert.is_true(there[id], 'acknowledged and lost: ' .. id) end
    assert.is_true(#told.failed > 0)
    for _, call in ipairs(told.failed) do
      local what = cjson.encode(call)
      assert.truthy(call.outcome == 'none' or call.outcome == 'unknown'
        or call.outcome == 'committed', what)
      assert.truthy(({ connection_lost = true, connect_failed = true, acquire_timeout = true,
        read_only = true, timeout = true })[call.code], what)
      assert.is_true(call.at >= fault and call.at < promoted + 10, what)
      local known = call.outcome ~= 'unknown'
      for _, id in ipairs(call.ids) do
        assert.equal(there[call.ids[1]], there[id], what) -- all or nothing
        if known then assert.equal(call.outcome == 'committed' or nil, there[id], what) end
      end
    end
    assert.is_true(told.longest < 10, tostring(told.longest)) -- the deadline is 5 s
    for _, counter in ipairs(told.counters) do
      for _, cache in ipairs({ true, false }) do
        local n = store:find('docs', counter.id, { cache = cache }).n
        assert.is_true(n >= counter.least and n <= counter.most, cjson.encode(counter) .. ' ' .. n)
      end
    end
  end)
end)
