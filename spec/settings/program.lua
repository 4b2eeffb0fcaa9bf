-- Calls every verb once and checks what it gives, under whatever settings the session has: prints
-- "fine", or what went wrong. spec/settings/generator.lua runs it.
--   luajit spec/settings/program.lua HOST PORT DATABASE USER REDIS TABLE SHARED-NUMBER
-- REDIS is the path of a socket, or a url.
io.stdout:setvbuf('line')
local stores = require('stores')
local migrations = require('migrations')
local json = stores.json

local host, port, database, user, socket, name, shared = unpack(arg)
local redis = socket:find('://', 1, true) and { url = socket } or { path = socket }
redis.opts = { timeout = 2 }
local db = { host = host, port = port, database = database, user = user }
local store

local function text(value)
  if type(value) == 'number' then return ('%.17g'):format(value) end
  if type(value) ~= 'table' or json.is_null and value == json.null then return tostring(value) end
  local ok, encoded = pcall(json.encode, value)
  return ok and encoded or tostring(value)
end

local function same(what, expected, got)
  if text(expected) ~= text(got) then
    error(('%s: expected %s, got %s'):format(what, text(expected), text(got)), 0)
  end
end

local function code(what, expected, fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error(what .. ': nothing was raised', 0) end
  if not stores.errors.is(err, expected) then error(what .. ': ' .. tostring(err), 0) end
  return err
end

-- Texts that settings might read otherwise: quotes, backslashes, what looks like NULL or an array.
local ODD = "it's a \\ back\\\\slash, \"quoted\", $$x$$ E'\\n' {NULL,\"a\"} é日\240\159\146\150\n\t"

local function migrate()
  migrations.runMigrations({
    { name = name, migration = ([[
        CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);
        CREATE INDEX ON %s USING gin (value jsonb_path_ops);
        INSERT INTO %s VALUES (1, '{"backslash": "\\"}'); -- it's a comment
        DO $do$ BEGIN PERFORM 'it''s'; END $do$]]):format(name, name, name) },
    { name = name .. ' data', type = 'lua', version = '1', migration = function(tx)
        tx:insert(name, { id = '2', by = 'migration' })
      end },
    { name = name .. ' concurrently', migration =
        ('CREATE INDEX CONCURRENTLY ON %s ((value->>\'day\'))'):format(name) },
  }, db, { ledger = name .. '_ledger' })
  same('migration', '\\', store:find(name, '1').backslash)
  same('migration of data', 'migration', store:find(name, '2').by)
  same('delete', true, store:delete(name, '1'))
  same('delete again', false, store:delete(name, '1'))
  same('deleted', nil, store:find(name, '1'))
  store:delete(name, '2')
end

local function write()
  local doc = store:insert(name, { id = '10', text = ODD, n = 0.1, none = json.null,
    big = json.number('12345678901234567890'), list = { 1, 2.5, 'three' } })
  same('insert', ODD, doc.text)
  for _ = 1, 3 do
    local found = store:find(name, '10')
    same('find', ODD, found.text)
    same('find a fraction', 0.1, found.n)
    same('find digits', '12345678901234567890', tostring(found.big))
    same('find an array', { 1, 2.5, 'three' }, found.list)
  end
  code('insert again', 'duplicate', store.insert, store, name, { id = '10' })
  local ten = { id = '10', text = ODD, n = 1 / 3, tags = { 'a', ODD } }
  same('update', true, store:update(name, ten))
  same('update nobody', false, store:update(name, { id = '11' }))
  local twelve = { id = '12', at = { deep = ODD }, n = 1e300 }
  same('upsert', true, (select(2, store:upsert(name, twelve))))
  twelve.n = 5e-324
  same('upsert again', false, (select(2, store:upsert(name, twelve))))
  same('a small number', 5e-324, store:find(name, '12').n)
  same('updateProperty', ODD, store:updateProperty(name, '12', { 'at', ODD }, ODD).at[ODD])
  same('updateProperty NULL', 'x', store:updateProperty(name, '12', { 'at', 'NULL' }, 'x').at.NULL)
  code('updateProperty blocked', 'path_blocked', store.updateProperty, store, name, '12',
    { 'n', 'x' }, 1)
  local patched = store:patch(name, '12', { set = { s = ODD }, inc = { i = 2.5 },
    append = { l = ODD }, remove = { 'n' }, merge = { m = json.null } })
  same('patch', { ODD, 2.5, ODD }, { patched.s, patched.i, patched.l[1] })
  same('updateObject', 7, store:updateObject(name, '12', function(d) d.i = 7 end).i)
  same('updateObject makes', ODD, store:updateObject(name, '13', function(d)
    return d or { s = ODD }
  end, { create = true }).s)
  local many = stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(i)
    return store:insert(name, { part = i, s = ODD }).id
  end)
  stores.map(many, function(id)
    return store:updateObject(name, id, function(d) d.twice = d.part * 2 end)
  end)
  local found, missing = store:findAllByIds(name, many)
  same('findAllByIds', { 8, 0, 16 }, { #found, #missing, found[8].twice })
  for _, id in ipairs(many) do same('delete', true, store:delete(name, id)) end
end

local function read()
  same('exists', { true, false }, { store:exists(name, '12'), store:exists(name, '1') })
  same('findAll', 3, #store:findAll(name))
  same('findAll after', '13', store:findAll(name, { after = '12' })[1].id)
  same('findAll in order', '12', store:findAll(name, { order = { 'i', 'asc' }, limit = 1 })[1].id)
  local count = 0
  for _ in store:each(name, { batch = 2 }) do count = count + 1 end
  same('each', 3, count)
  same('findByJSON', '12', store:findByJSON(name, { s = ODD, i = 7 })[1].id)
  same('findOne', '13', store:findOne(name, { s = ODD }, { order = { 'id', 'desc' } }).id)
  same('count', { 3, 2 }, { store:count(name), store:count(name, { s = ODD }) })
  same('findByJsonArrayContains', '10', store:findByJsonArrayContains(name, 'tags', ODD)[1].id)
  same('findByJsonSubContains', '12',
    store:findByJsonSubContains(name, 'at', { deep = ODD })[1].id)
  local found = store:findByPath(name, '$ ? (@.s == $s && !exists (@.i))', { s = ODD })
  same('findByPath', '13', found[1].id)
  found = store:findByPath(name, '$.i > 6.5', nil, { predicate = true })
  same('findByPath, a predicate', '12', found[1].id)
  same('where', '12', store:findAll(name,
    { where = { { 's', '=', ODD }, { 'i', '>=', 6.5 } } })[1].id)
  same('where, any', '10', store:findAll(name, { where = {
    any = { { 'text', 'prefix', ODD:sub(1, 9) }, { 'tags', 'has', 'none' } },
    none = { { 's', 'in', { ODD, 'x' } } } } })[1].id)
  same('where, a name', 'x', store:findOne(name, nil,
    { where = { { { 'at', 'NULL' }, 'exists' } } }).at.NULL)
  local lean = store:findOne(name, { i = 7 }, { fields = { { 'at', ODD } } })
  same('fields', { '12', ODD, 'none' }, { lean.id, lean.at[ODD], lean.s or 'none' })
  local page, cursor = store:findAll(name, { order = { '-s', { 'at', ODD } }, limit = 2 })
  same('order', { '12', '13' }, { page[1].id, page[2].id })
  same('a page', '10', store:findAll(name, { order = { '-s', { 'at', ODD } }, limit = 2,
    after = cursor })[1].id)
  same('explain', 'number', type(store:count(name, { i = 7 }, { explain = true }).cost))
end

-- More rows than an index gives where its searches are fuzzy: see generator.start.
local function read_many()
  same('findByJSON of many', 2000, #store:findByJSON('many', { part = 3 }))
  same('count of many', 2000, store:count('many', { part = 4 }))
end

local function query()
  local row = store:query([[SELECT $1::text AS s, $2::float8 AS f, $3::jsonb AS j, $4::int8 AS i,
    $5::text[] AS a, NULL::text AS n, 'a\b' AS literal, 0.1::float8 + 0.2::float8 AS sum]],
    { ODD, 0.1, { deep = ODD }, '9007199254740993', '{a,NULL}', })[1]
  same('query text', ODD, row.s)
  same('query json', ODD, row.j.deep)
  same('query int8', '9007199254740993', tostring(row.i))
  same('query NULL', json.null, row.n)
  same('query a literal', 'a\\b', row.literal)
  same('query double', 0.1 + 0.2, tonumber(row.sum))
  same('query jsonb of a double', 0.1 + 0.2,
    store:query('SELECT to_jsonb(0.1::float8 + 0.2::float8) AS j')[1].j)
  same('statements', 3, store:query('SELECT 1 AS n; SELECT 3 AS n')[1].n)
  code('a statement that fails', 'query_failed', store.query, store, 'SELECT no_such_function()')
  same('after it', 5, store:query('SELECT 5 AS n')[1].n)
  store:query(("UPDATE %s SET value = value || '{\"by\": \"query\"}' WHERE id = 13"):format(name))
  same('a query tells the cache', 'query', store:find(name, '13').by)
  local gone = ("DELETE FROM %s WHERE value @> '{\"none\": 0}'"):format(name)
  same('a query tells how many', 0, store:query(gone).affected)
  store:query('VACUUM ' .. name, nil, { transaction = false, invalidates = { name } })
end

local function transact()
  local before = store:find(name, '13')
  local inner, sum = store:transaction(function(tx)
    tx:patch(name, '13', { inc = { visits = 1 } })
    local ok = pcall(tx.transaction, tx, function(point)
      point:delete(name, '13')
      point:query('SELECT no_such_function()')
    end)
    tx:insert(name, { id = '20', s = ODD })
    return ok, tx:find(name, '13').visits + tx:count(name, { s = ODD })
  end)
  same('savepoint', { false, 4 }, { inner, sum })
  same('committed', ODD, store:find(name, '20').s)
  code('rolled back', 'abandoned', store.transaction, store, function(tx)
    tx:update(name, { id = '13', s = 'never' })
    stores.errors.raise('abandoned', 'on purpose')
  end)
  same('after a rollback', before.s, store:find(name, '13').s)
  -- two statements of one transaction see what was committed in between
  store:transaction(function(tx)
    local n = tx:count(name)
    store:insert(name, { id = '21' })
    same('read committed', n + 1, tx:count(name))
  end)
  store:transaction(function(tx)
    local n = tx:count(name)
    store:insert(name, { id = '22' })
    same('repeatable read', n, tx:count(name))
  end, { isolation = 'repeatable read', readonly = true })
  code('a transaction that reads', 'read_only', store.transaction, store, function(tx)
    tx:delete(name, '22')
  end, { readonly = true })
end

-- A row that a process with no settings of its own has in its cache, too.
local function share()
  for _ = 1, 3 do same('shared', tonumber(shared), store:find('shared', '1').n) end
  store:update('shared', { id = '1', n = shared + 1 })
  local heard
  local listener = store:listen('odd', function(payload) heard = heard or payload end)
  while not heard do
    store:notify('odd', ODD)
    stores.sleep(0.005)
  end
  listener:stop()
  same('notify', ODD, heard)
  store:invalidate(name, '10')
  store:sweep()
  same('cache', true, store:stats().bypassed == 0)
end

local ok, err = pcall(stores.run, function()
  store = stores.Store.new(db, redis, { timeout = 20 })
  for _, part in ipairs({ migrate, write, read, read_many, query, transact, share }) do part() end
end)
if not store then
  print(err)
  return
end
pcall(store.query, store, ('DROP TABLE IF EXISTS %s, %s_ledger'):format(name, name))
store:close()
local hint = not ok and type(err) == 'table' and err.hint or ''
print(ok and 'fine' or ((tostring(err) .. ' ' .. hint):gsub('%s+', ' ')))
