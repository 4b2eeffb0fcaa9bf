--- What an error says beside its code: the statement that the server refused and the place in it,
--- what a table of another shape lacks, and its hint. The same of a store, of a transaction and of
--- shards. The stack of who called: error_stacks_spec.

local migrations = require('stores.migrations')
local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

describe('an error of', function()
  local store, shards, db, other

  setup(function()
    store, db = support.store({ 'docs' })
    other = support.db()
    local opts = { traceback = true }
    shards = stores.Shards.new({ { id = 0, db = db, opts = opts },
      { id = 1, db = other, opts = opts } })
    for _, of in ipairs({ store, shards:mod('1') }) do
      of:query([[CREATE TABLE IF NOT EXISTS docs (id bigint PRIMARY KEY, value jsonb);
        CREATE TABLE bare (name text); CREATE TABLE almost (id integer, value json);
        CREATE TABLE keyless (id bigint, value jsonb);
        CREATE TABLE texts (id text PRIMARY KEY, value jsonb);
        CREATE TABLE checked (id bigint PRIMARY KEY, value jsonb CHECK (value ? 'n'))]])
    end
  end)
  teardown(function()
    shards:close()
    support.close(store, db)
    support.drop(other)
  end)

  -- Calls fn with each kind of target.
  local function each_target(fn)
    fn(store, 'a store')
    store.try:transaction(function(tx)
      fn(tx, 'a transaction')
      error('undone', 0)
    end)
    fn(shards:mod('1'), 'a shard')
  end

  -- The error of a call; what it undoes in a transaction is a savepoint's.
  local function error_of(target, fn)
    local ok, err
    if target.attempt then
      ok, err = pcall(target.transaction, target, fn)
    else
      ok, err = pcall(fn, target)
    end
    assert.is_false(ok)
    assert.is_true(stores.errors.is(err), tostring(err))
    return err
  end

  it('a query has its statement, and the place in it', function()
    each_target(function(target, what)
      local text = "SELECT 'ä' AS a, nothing FROM docs"
      local err = error_of(target, function(on) on:query(text) end)
      assert.equal(text, err.statement, what)
      assert.equal(18, err.position, what) -- in characters
      err = error_of(target, function(on) on:query('SELECT 1 / $1::int', { 0 }) end)
      assert.same({ 'SELECT 1 / $1::int', '22012' }, { err.statement, err.sqlstate })
      assert.is_nil(err.position) -- the server names none
      err = error_of(target, function(on) on:query('SELECT 1; SELECT nowhere') end)
      assert.equal('nowhere', err.statement:sub(err.position))
    end)
    local err = refused('query_failed', nil, store.query, store, 'SELECT 1; SELECT nowhere', nil,
      { transaction = false, readonly = true })
    assert.equal('nowhere', err.statement:sub(err.position))
  end)

  it('a long query has what stands around the place', function()
    local list = {}
    for i = 1, 800 do list[i] = ("'ä%d'"):format(i) end
    local before, after = table.concat(list, ', ', 1, 400), table.concat(list, ', ', 401)
    local text = ('SELECT %s, nothing, %s'):format(before, after)
    local err = refused('query_failed', nil, store.query, store, text)
    assert.is_true(#err.statement < 1024 and #err.statement > 900)
    assert.truthy(text:find(err.statement, 1, true))
    local characters = {}
    for character in err.statement:gmatch('[%z\1-\127\194-\244][\128-\191]*') do
      characters[#characters + 1] = character
    end
    assert.equal('nothing', table.concat(characters, '', err.position, err.position + 6))
    err = refused('query_failed', nil, store.query, store,
      'SELECT nothing, ' .. text:sub(8))
    assert.equal(8, err.position)
    assert.equal("SELECT nothing, 'ä1'", err.statement:sub(1, 21))
  end)

  it('a verb has the statement that it sent', function()
    each_target(function(target, what)
      local verbs = {
        insert = function(on) on:insert('checked', { id = '1' }) end,
        upsert = function(on) on:upsert('checked', { id = '1' }) end,
        findByPath = function(on) on:findByPath('docs', '$.a[') end,
        insertTaken = function(on)
          on:upsert('docs', { id = '3' })
          on:query("INSERT INTO docs VALUES (3, '{}')")
        end,
      }
      for name, verb in pairs(verbs) do
        local err = error_of(target, verb)
        assert.truthy(err.sqlstate, name)
        assert.truthy(err.statement and err.statement:find('docs') or err.statement:find('checked'),
          what .. ' ' .. name .. ' ' .. tostring(err.statement))
      end
    end)
    local err = refused('constraint', nil, store.updateObject, store, 'checked', '1',
      function() return {} end, { create = true })
    assert.matches('^INSERT INTO "?public"?', err.statement)
  end)

  it('what failed at COMMIT says so', function()
    store:query([[CREATE TABLE late (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE late ADD FOREIGN KEY (id) REFERENCES docs DEFERRABLE INITIALLY DEFERRED]])
    local err = refused('constraint', nil, store.transaction, store, function(tx)
      tx:insert('late', { id = '404' })
    end)
    assert.equal('COMMIT', err.statement)
  end)

  it('a call that sent nothing, or found nothing, has none', function()
    each_target(function(target)
      local err = error_of(target, function(on) on:find('docs', '405', { must = true }) end)
      assert.same({ 'not_found' }, { err.code, err.statement, err.position })
      err = error_of(target, function(on) on:find('docs', 'x') end)
      assert.same({ 'invalid_id' }, { err.code, err.statement, err.position })
    end)
  end)

  it('a migration has the place, and its cause the statement', function()
    local err = refused('migration_failed', nil, migrations.runMigrations, { { name = 'bad',
      migration = 'CREATE TABLE one (id bigint);\nSELECT nothing FROM one' } }, store)
    assert.same({ 2, 8 }, { err.statement, err.position })
    assert.equal('SELECT nothing FROM one', err.cause.statement)
    assert.equal(8, err.cause.position)
  end)

  it('a table of another shape names all that it lacks, once', function()
    local lacks = {
      bare = 'no column id, no column value, no primary key on id;',
      almost = 'id is integer and not bigint, value is json and not jsonb, no primary key on id;',
      texts = 'id is text and not bigint;',
    }
    local shown = { bare = 'find', almost = 'findByJSON', texts = 'find' }
    each_target(function(target, what)
      for name, text in pairs(lacks) do
        local err = error_of(target, function(on)
          if shown[name] == 'find' then on:find(name, '1') else on:findByJSON(name, { a = 1 }) end
        end)
        assert.truthy(err.message:find(text, 1, true), what .. ': ' .. err.message)
        assert.equal('public.' .. name, err.table)
        assert.truthy(err.message:find('(id bigint PRIMARY KEY, value jsonb)', 1, true))
      end
      local err = error_of(target, function(on) on:upsert('keyless', { id = '1' }) end)
      assert.truthy(err.message:find(': no primary key on id;', 1, true), err.message)
      err = error_of(target, function(on) on:insert('bare', { id = '1' }) end)
      assert.truthy(err.message:find(lacks.bare, 1, true), err.message)
    end)
    store:query('ALTER TABLE bare ADD COLUMN id bigint PRIMARY KEY, ADD COLUMN value jsonb')
    support.eventually(function() return (store.try:find('bare', '1')) end)
  end)

  it('a table that is not there is 500, for it is the program\'s', function()
    each_target(function(target)
      local err = error_of(target, function(on) on:find('nowhere', '1') end)
      assert.same({ 'table_not_found', 500 }, { err.code, err.http })
      err = error_of(target, function(on) on:query('SELECT FROM nowhere') end)
      assert.same({ 'table_not_found', 500 }, { err.code, err.http })
      assert.equal('SELECT FROM nowhere', err.statement)
    end)
  end)

  it('says its hint where it is made a text of', function()
    each_target(function(target)
      local err = error_of(target, function(on) on:query('SELECT $1::int', { {} }) end)
      assert.truthy(err.hint)
      assert.truthy(tostring(err):find('; hint: ' .. err.hint, 1, true))
      assert.truthy(('failed: ' .. err):find(err.hint, 1, true))
    end)
  end)
end)

describe('what PostgreSQL says of transactions', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  it('has a hint of what to do', function()
    local err = refused('query_failed', nil, store.query, store, 'VACUUM docs')
    assert.truthy(err.hint:find('transaction = false', 1, true))
    for _, verb in ipairs({ 'query', 'count' }) do -- asked by the server, and known before
      err = refused('query_failed', nil, store.transaction, store, function(tx)
        pcall(tx.query, tx, 'SELECT 1 / 0')
        tx[verb](tx, verb == 'query' and 'SELECT 1' or 'docs')
      end)
      assert.truthy(err.hint:find('tx:transaction(fn)', 1, true))
    end
  end)

  it('spoils one whose failure was caught, and nothing else does', function()
    store:upsert('docs', { id = '1', n = 1 })
    local _, etag = store:find('docs', '1', { etag = true })
    local function swallow(...) return select(2, pcall(...)).code end
    refused('query_failed', nil, store.transaction, store, function(tx)
      tx:patch('docs', '1', { set = { n = 2 } })
      assert.equal('path_blocked', swallow(tx.patch, tx, 'docs', '1',
        { set = { { { 'n', 'm' }, 1 } } }))
    end)
    assert.equal(1, store:find('docs', '1').n)
    store:transaction(function(tx)
      tx:patch('docs', '1', { set = { n = 3 } })
      assert.equal('duplicate', swallow(tx.insert, tx, 'docs', { id = '1' }))
      assert.equal('not_found', swallow(tx.update, tx, 'docs', { id = '404' }, { must = true }))
      assert.equal('conflict', swallow(tx.delete, tx, 'docs', '1', { if_match = etag }))
      assert.equal('invalid_id', swallow(tx.find, tx, 'docs', 1))
    end)
    assert.equal(3, store:find('docs', '1').n)
  end)
end)

describe('an error of a hook', function()
  it('never reaches who called, whatever it is', function()
    local db = support.db()
    support.psql(db, 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    local errors = os.tmpname()
    local child = process.lua(([[
      local stores = require('stores')
      local function broken(name)
        return function()
          error(setmetatable({}, { __tostring = function() error(name, 0) end }), 0)
        end
      end
      local function raising(name) return function() error('hook ' .. name, 0) end end
      local db = { host = %q, port = %q, database = %q, user = %q }
      local store = stores.Store.new(db, { host = '127.0.0.1', port = 1 }, { log = raising('log') })
      for _, make in ipairs({ raising, broken }) do
        for _, what in ipairs({ 'call', 'statement' }) do stores.on(what, make(what)) end
        stores.on('slow', make('slow'), { seconds = 0 })
      end
      print(store:insert('docs', { id = '1', n = 1 }).n, store:find('docs', '1').n)
      print(store:transaction(function(tx) return tx:find('docs', '1').n end))
      print(pcall(store.find, store, 'docs', 'x'))
      print(pcall(store.query, store, 'SELECT nothing'))
      local shards = stores.Shards.new({ { id = 0, db = db } })
      print(shards:mod('1'):find('docs', '1').n)
      stores.run(function()
        local listener = store:listen('news', raising('listener'))
        store:notify('news', 'one')
        store:notify('news', 'two')
        listener:stop()
      end)
      store:close()
      print('over')
    ]]):format(db.host, tostring(db.port), db.database, db.user), errors)
    local said = child:wait()
    local file = assert(io.open(errors))
    local reported = file:read('*a')
    file:close()
    os.remove(errors)
    assert.matches('^1\t1\n1\nfalse\tinvalid_id[^\n]*\nfalse\tquery_failed[^\n]*\n1\nover\n$',
      said, nil, reported)
    for _, name in ipairs({ 'call', 'slow', 'statement', 'log' }) do
      assert.truthy(reported:find('hook ' .. name, 1, true), name .. '\n' .. reported)
    end
    assert.truthy(reported:find('an error without a text', 1, true), reported)
    support.drop(db)
  end)
end)
