--- While rows are copied to other databases those that they come from are read, and written by
--- nobody: every process is told at once, with a word of why, and no write slips behind that. What
--- was begun is given up by one word.
-- Plain pass alone: Lua over queries and transactions, whose C other files of these passes run.

local migrations = require('migrations')
local process = require('spec.support.process')
local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local TABLES = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL)'
local old, new

before_each(function()
  old, new = sides.open(0, TABLES), sides.open(2, TABLES)
  for n = 1, 9 do old.target:insert('things', { id = tostring(n), n = n }) end
end)
after_each(function()
  old:close()
  new:close()
end)
teardown(sides.drop)

-- A copy that is stopped before the first row.
local function begin(opts)
  local result = stores.copy(old.place, new.place, { stopping = function() return true end,
    batch = opts and opts.batch })
  assert.is_false(result.finished)
end

local function abort()
  assert.is_true(stores.copy(old.place, new.place, { abort = true }).aborted)
end

local function count(side)
  return side:psql('SELECT count(*) FROM things')
end

describe('the old side of a copy', function()
  it('refuses every write, and says why, since when and how back', function()
    local store = old.target
    begin()
    for _, call in ipairs({
      function() store:insert('things', { n = 1 }) end,
      function() store:upsert('things', { id = '1' }) end,
      function() store:update('things', { id = '1' }) end,
      function() store:update('things', { id = '1' }, { cache = false }) end,
      function() store:patch('things', '1', { inc = { n = 1 } }) end,
      function() store:updateProperty('things', '1', 'n', 2) end,
      function() store:updateObject('things', '1', function(doc) doc.n = 2 end) end,
      function() store:delete('things', '1') end,
      function() store:deleteWhere('things', { n = 1 }) end,
      function() store:patchWhere('things', { n = 1 }, { set = { n = 2 } }) end,
      function() store:insertMany('things', { { n = 1 } }) end,
      function() store:query("UPDATE things SET value = '{}' WHERE false") end,
      function() store:query('TRUNCATE things') end,
      function() store:transaction(function(tx) tx:delete('things', '1') end) end,
      function()
        local many = {}
        for n = 1, 200 do many[n] = { n = n } end
        store:insertMany('things', many)
      end,
    }) do
      local err = refused('read_only', 'takes no writes since 2', call)
      assert.matches('its rows are being copied to other databases', err.message)
      assert.matches('%-%-abort', err.hint)
      assert.equal('none', err.outcome)
      assert.equal(503, err.http)
      assert.is_true(err.retryable)
    end
    assert.matches('takes no writes', old:refusal("INSERT INTO things VALUES (10, '{}')"))
    assert.matches('takes no writes', old:refusal("SET session_replication_role = replica;"
      .. " INSERT INTO things VALUES (10, '{}')"))
    assert.matches('^read_only|since 2', old:psql('SELECT state, why FROM stores_shard')[1])
    refused('read_only', 'takes no writes', old:open().insert, old.others[2], 'things', {})
    assert.same({ '9\n' }, count(old))
  end)

  it('is read all the while, from PostgreSQL and from the cache', function()
    local store = old.target
    assert.equal(1, store:find('things', '1').n)
    begin()
    assert.equal(1, store:find('things', '1').n)
    assert.equal(2, store:find('things', '2').n)
    assert.equal(9, store:count('things'))
    assert.equal(3, old:open():find('things', '3', { cache = false }).n)
  end)

  it('waits for a write that is under way, which is copied', function()
    local is_over, result = false, nil
    stores.run(function()
      local writer = stores.spawn(function()
        old.target:transaction(function(tx)
          tx:insert('things', { id = '100' })
          while not is_over do stores.sleep(0.01) end
        end)
      end)
      support.eventually(function()
        return old:psql("SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock'"
          .. " AND relation = 'things'::regclass")[1] ~= '0\n'
      end)
      local copying = stores.spawn(function() result = stores.copy(old.place, new.place) end)
      support.eventually(function()
        return old:psql("SELECT count(*) FROM pg_locks WHERE NOT granted"
          .. " AND relation = 'things'::regclass")[1] ~= '0\n'
      end)
      is_over = true
      writer:join()
      copying:join()
    end)
    assert.is_true(result.finished)
    assert.is_true(new.target:exists('things', '100'))
  end)

  it('refuses a transaction whose snapshot is from before, too', function()
    local err
    stores.run(function()
      local _, failed = old.target.try:transaction(function(tx)
        assert.equal(1, tx:find('things', '1').n)
        stores.spawn(begin):join()
        assert.equal(1, tx:find('things', '1').n)
        tx:update('things', { id = '1', n = 2 })
      end, { isolation = 'repeatable read' })
      err = failed
    end)
    assert.equal('read_only', err.code)
  end)

  for _, before in ipairs({ 'that has run some', 'that has run none' }) do
    it('takes no migration, as one ' .. before, function()
      local first = { { name = 'first', migration = 'SELECT 1' } }
      if before == 'that has run some' then
        old.target:migrate(first)
        new.target:migrate(first)
      end
      begin()
      local list = { first[1], { name = 'second', migration =
        'CREATE TABLE more (id bigint PRIMARY KEY, value jsonb)' } }
      local err = refused('read_only', 'takes no migrations: since 2', old.target.migrate,
        old.target, list)
      assert.matches('%-%-abort', err.hint)
      refused('read_only', 'takes no migrations', migrations.runMigrations, list,
        old.place.db)
      assert.equal('t\n', old:psql("SELECT to_regclass('more') IS NULL")[1])
      assert.equal(2, #migrations.plan(list, old.target)) -- looks are taken all the same
      assert.is_true(stores.copy(old.place, new.place).finished)
    end)
  end

  it('does not switch where a table was made meanwhile, which could be written', function()
    begin()
    old:psql("CREATE TABLE made (id bigint); INSERT INTO made VALUES (1)")
    refused('conflict', 'made, which takes writes', function()
      stores.copy(old.place, new.place, { tables = { 'things' } })
    end)
    assert.equal(1, old.target:find('things', '1').n)
    old:psql('DROP TABLE made')
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)
end)

describe('a copy whose old tables are altered meanwhile', function()
  it('does not switch, for the new columns were not read', function()
    local say = function(step)
      if step == 'switches' then old:psql("ALTER TABLE things ADD note text DEFAULT 'x'") end
    end
    local err = refused('conflict', 'things of the old side has other columns than those',
      stores.copy, old.place, new.place, { say = say })
    assert.matches('note text', err.message)
    assert.equal(1, old.target:find('things', '1').n)
    old:psql('ALTER TABLE things DROP note')
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)
end)

describe('a copy that was begun', function()
  it('is given up by abort: the old side is written, the new one stays unfinished', function()
    begin()
    refused('moved', 'does not own its rows yet: they are being copied into it since',
      new.target.find, new.target, 'things', '1')
    abort()
    old.target:insert('things', { id = '10' })
    assert.is_true(old.target:delete('things', '1'))
    assert.same({ '0\n' }, old:psql("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'stores%'"))
    local err = refused('moved', 'a copy into it was given up', new:open().find, new.others[2],
      'things', '1')
    assert.is_true(err.retryable)
    abort() -- there is nothing left to be given up
  end)

  it('is given up also where the new side is gone', function()
    begin()
    local gone = { db = {}, redis = false }
    for key, value in pairs(old.place.db) do gone.db[key] = value end
    gone.db.database = 'nobody_has_this'
    local told = {}
    assert.is_true(stores.copy(old.place, gone, { abort = true, say = function(text)
      told[#told + 1] = text
    end }).aborted)
    assert.matches('the new side was not told, and stays as it is: auth_failed', told[1])
    old.target:insert('things', { id = '10' })
    refused('conflict', 'is being filled by another copy', stores.copy, old.place, new.place)
  end)

  it('leaves nothing in the new side to a copy that begins after it was given up', function()
    local stop = 0
    stores.copy(old.place, new.place, { batch = 2, stopping = function()
      stop = stop + 1
      return stop > 3
    end })
    assert.is_true(count(new)[2] + count(new)[1] > 0)
    abort()
    old.target:delete('things', '1')
    old.target:patch('things', '2', { set = { n = 'new' } })
    assert.equal(8, stores.copy(old.place, new.place).tables[1].count)
    assert.is_nil(new.target:find('things', '1'))
    assert.equal('new', new.target:find('things', '2').n)
  end)

  it('is written by nobody else into the new side', function()
    local before = new:open()
    assert.equal(0, before:count('things'))
    begin()
    for _, id in ipairs({ '1', '2' }) do
      refused('moved', 'does not own its rows yet', before.insert, before, 'things', { id = id })
    end
    assert.same({ '0\n', '0\n' }, count(new))
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.equal(1, before:find('things', '1').n)
  end)

  it('decides nothing before the caches can be told', function()
    local deaf = { db = old.place.db, redis = { path = '/nowhere/redis.sock' } }
    refused('cache_failure', 'Redis is not reachable', stores.copy, deaf, new.place)
    assert.equal(1, old.target:find('things', '1').n)
    refused('read_only', 'takes no writes', old.target.delete, old.target, 'things', '1')
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.equal(9, new.target:count('things'))
  end)

  it('goes on to the databases that it began with alone', function()
    begin()
    local other = sides.open(0, TABLES)
    refused('conflict', 'the new side is not where the old side is being copied to', stores.copy,
      old.place, other.place)
    refused('conflict', 'shard 0 of the new side is being filled by another copy', stores.copy,
      other.place, new.place)
    refused('conflict', 'shard 0 of the old side is itself being filled', stores.copy, new.place,
      other.place)
    refused('invalid_argument', 'the copy that goes on is of the tables things', stores.copy,
      old.place, new.place, { tables = { 'others' } })
    other:close()
  end)

  it('is the only one: a second one beside it is refused, and its process named', function()
    local err
    local result = stores.copy(old.place, new.place, { say = function(text)
      if text:find('copies') then
        err = refused('conflict', 'another copy of the old side is at work (process', stores.copy,
          old.place, new.place)
        refused('conflict', 'is at work', stores.copy, old.place, new.place, { abort = true })
      end
    end })
    assert.is_true(result.finished)
    assert.is_truthy(err)
  end)

  it('ends where another process has taken it over, without a row of its own', function()
    local taken
    local ok, err = pcall(stores.copy, old.place, new.place, { batch = 2, progress = function()
      if taken then return end
      taken = true
      for _, db in ipairs(new.databases) do
        local store = stores.Store.new(db, nil, { any_shard = true })
        store:query("UPDATE stores_shard SET runner = 'another'")
        store:close()
      end
    end })
    assert.is_false(ok)
    assert.equal('conflict', err.code)
    assert.matches('another process goes on with the copy', err.message)
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.equal(9, new.target:count('things'))
  end)
end)

describe('another process', function()
  it('whose connections are open is told at once', function()
    local program = process.lua(([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %d, database = %q, user = %q },
        { path = %q, opts = { timeout = 2 } }, { prefix = %q })
      assert(store:find('things', '1'))
      print('open')
      while true do
        local ok, err = store.try:upsert('things', { id = '1', at = os.time() })
        if not ok then print(err.code) break end
        stores.sleep(0.005)
      end
      print(store.try:find('things', '1') and 'read')
      while true do
        local ok, err = store.try:find('things', '1')
        if not ok then print(err.code) break end
        stores.sleep(0.005)
      end]]):format(old.place.db.host, old.place.db.port, old.place.db.database,
      old.place.db.user, old.place.redis.path, old.place.opts.prefix))
    assert.equal('open', program:line())
    begin()
    assert.equal('read_only', program:line())
    assert.equal('read', program:line())
    stores.copy(old.place, new.place)
    assert.equal('moved', program:line())
    program:wait()
    assert.equal(9, new.target:count('things'))
  end)
end)
