--- What a program does to a schema of chance, each an operation (random, store, schema) that gives
--- a function and a text. The function does it and may raise (a row is there or not, a trigger
--- refuses), the text tells it. What was done or not is PostgreSQL's to say.

local stores = require('stores')

local operations = {}

local ROWS = 6

local function an_id(random)
  return tostring(random:below(ROWS))
end

local function a_name(random, schema)
  return random:of(schema:names())
end

-- ---- Verbs ------------------------------------------------------------------------------------

local verbs = {}

function verbs.insert(on, name, id, n) on:insert(name, { id = id, n = n }) end

function verbs.update(on, name, id, n) on:update(name, { id = id, n = n }) end

function verbs.upsert(on, name, id, n) on:upsert(name, { id = id, n = n }) end

function verbs.delete(on, name, id) on:delete(name, id) end

function verbs.patch(on, name, id, n) on:patch(name, id, { set = { n = n }, inc = { i = 1 } }) end

function verbs.updateProperty(on, name, id, n) on:updateProperty(name, id, 'n', n) end

function verbs.updateObject(on, name, id, n)
  on:updateObject(name, id, function(doc) doc.n = n end)
end

function verbs.insertMany(on, name, id, n)
  on:insertMany(name, { { id = id, n = n }, { id = tostring(ROWS + 1), n = n } },
    { conflict = n % 2 == 0 and 'ignore' or nil })
end

function verbs.upsertMany(on, name, id, n)
  on:upsertMany(name, { { id = id, n = n }, { id = tostring(ROWS + 1), n = n } })
end

function verbs.deleteMany(on, name, id) on:deleteMany(name, { id, tostring(ROWS + 1) }) end

function verbs.patchWhere(on, name, id, n)
  on:patchWhere(name, { id = id }, { set = { many = n } })
end

function verbs.deleteWhere(on, name, id) on:deleteWhere(name, { id = id }) end

local VERBS = { 'insert', 'update', 'update', 'upsert', 'upsert', 'delete', 'patch',
  'updateProperty', 'updateObject', 'insertMany', 'upsertMany',
  'deleteMany', 'patchWhere', 'deleteWhere' }

-- One verb with its arguments drawn: a function of the store or transaction, and its text.
local function a_verb(random, schema)
  local verb, name, id, n = random:of(VERBS), a_name(random, schema), an_id(random),
    random:below(1000)
  return function(on) verbs[verb](on, name, id, n) end, ('%s(%s, %s)'):format(verb, name, id)
end

function operations.verb(random, store, schema)
  local run, text = a_verb(random, schema)
  return function() run(store) end, text
end

--- Callers who know nothing of each other, in one tick, and so in one segment.
function operations.tick(random, store, schema)
  local list, texts = {}, {}
  for i = 1, random:below(5) + 1 do list[i], texts[i] = a_verb(random, schema) end
  return function()
    stores.run(function()
      for _, run in ipairs(list) do stores.spawn(function() pcall(run, store) end) end
    end)
  end, 'a tick of ' .. table.concat(texts, ', ')
end

-- ---- Statements -------------------------------------------------------------------------------

local STATEMENTS = {
  "UPDATE %s SET value = value || '{\"q\": %d}' WHERE id = %s",
  "UPDATE %s SET value = value || '{\"q\": %d}' WHERE id > %s",
  "INSERT INTO %s (value, id) SELECT '{\"q\": %d}', %s",
  "WITH gone AS (DELETE FROM %s WHERE %d > 0 AND id = %s RETURNING id) SELECT * FROM gone",
  "DO $$ BEGIN UPDATE %s SET value = value || '{\"q\": %d}' WHERE id = %s; END $$",
}

local function a_statement(random, schema)
  return random:of(STATEMENTS):format(a_name(random, schema), random:below(1000), an_id(random))
end

function operations.query(random, store, schema)
  local sql = a_statement(random, schema)
  if random:chance(30) then sql = sql .. '; ' .. a_statement(random, schema) end
  return function() store:query(sql) end, 'query ' .. sql
end

--- Outside of transactions all that may be written has to be named.
function operations.outside(random, store, schema)
  local sql, all = a_statement(random, schema), {}
  for _, one in ipairs(schema.tables) do
    if one.kind ~= 'view' then all[#all + 1] = one.name end
    all[#all + 1] = one.child
  end
  return function() store:query(sql, nil, { transaction = false, invalidates = all }) end,
    'outside of transactions ' .. sql
end

--- What says that it only reads cannot write by a function.
function operations.readonly(random, store, schema)
  local sql = a_statement(random, schema)
  return function() store:query(sql, nil, { readonly = true }) end, 'readonly ' .. sql
end

-- ---- Transactions -----------------------------------------------------------------------------

-- Steps of a transaction: functions of it, and their texts. depth: of savepoints.
local function steps_of(random, schema, depth)
  local list, texts = {}, {}
  local function add(run, text) list[#list + 1], texts[#texts + 1] = run, text end
  for _ = 1, random:below(4) do
    local kind = random:below(10)
    if kind <= 4 then
      add(a_verb(random, schema))
    elseif kind <= 6 then
      local sql = a_statement(random, schema)
      add(function(tx) tx:query(sql) end, sql)
    elseif kind == 7 then
      local before, inside = random:chance(50), { a_verb(random, schema) }
      add(function(tx)
        tx:query('SAVEPOINT by_hand')
        local ok = pcall(inside[1], tx)
        tx:query((ok and before) and 'RELEASE SAVEPOINT by_hand'
          or 'ROLLBACK TO SAVEPOINT by_hand')
      end, 'by hand ' .. (before and 'kept' or 'undone') .. ' ' .. inside[2])
    elseif depth < 3 then
      local fails = random:chance(50)
      local inner, inner_texts = steps_of(random, schema, depth + 1)
      add(function(tx)
        local ok, err = pcall(tx.transaction, tx, function(deeper)
          for _, step in ipairs(inner) do step(deeper) end
          if fails then error('undone', 0) end
        end)
        if not ok and err ~= 'undone' then error(err, 0) end
      end, (fails and 'undone {' or 'savepoint {') .. table.concat(inner_texts, ', ') .. '}')
    end
  end
  return list, texts
end

local ISOLATION = { 'read committed', 'read committed', 'repeatable read', 'serializable' }

function operations.transaction(random, store, schema)
  local steps, texts = steps_of(random, schema, 1)
  local swallows, fails = random:chance(40), random:chance(15)
  local isolation = random:of(ISOLATION)
  return function()
    store:transaction(function(tx)
      for _, step in ipairs(steps) do
        if swallows then pcall(step, tx) else step(tx) end
      end
      if fails then error('undone', 0) end
    end, { isolation = isolation })
  end, ('%s%s%s {%s}'):format(isolation, swallows and ', errors swallowed' or '',
    fails and ', undone' or '', table.concat(texts, '; '))
end

-- ---- DDL --------------------------------------------------------------------------------------

local DDL = {}

function DDL.feature(random, schema)
  return schema:feature(random)
end

function DDL.drop_triggers(random, schema)
  return ('ALTER TABLE %s DISABLE TRIGGER USER'):format(random:of(schema:names()))
end

function DDL.enable_triggers(random, schema)
  return ('ALTER TABLE %s ENABLE ALWAYS TRIGGER ALL'):format(random:of(schema:names()))
end

-- Which rows there are is changed by these, so that only Stores may run them unsaid.
local MOVING = {}

function MOVING.swap(_, schema)
  local a, b = schema.tables[1].name, schema.tables[2].name
  local short = function(name) return name:gsub('.*%.', '') end
  return ('ALTER TABLE %s RENAME TO swapped; ALTER TABLE %s RENAME TO %s;'
    .. ' ALTER TABLE %s.swapped RENAME TO %s'):format(a, b, short(a), schema.name, short(b))
end

function MOVING.truncate(random, schema)
  return ('TRUNCATE %s CASCADE'):format(random:of(schema:names()))
end

function MOVING.again(random, schema)
  local name = random:of(schema.tables).name
  return ('DROP TABLE %s CASCADE; CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);'
    .. " INSERT INTO %s VALUES (1, '{\"new\": 1}')"):format(name, name, name)
end

function MOVING.detach(_, schema)
  for _, one in ipairs(schema.tables) do
    if one.kind == 'partitioned' then
      return ('ALTER TABLE %s DETACH PARTITION %s'):format(one.name, one.child)
    elseif one.kind == 'inherited' then
      return ('ALTER TABLE %s NO INHERIT %s'):format(one.child, one.name)
    end
  end
  return MOVING.swap(nil, schema)
end

local function one_of(random, map)
  local names = {}
  for name in pairs(map) do names[#names + 1] = name end
  table.sort(names)
  return map[random:of(names)]
end

--- Definitions that are changed through Stores.
function operations.ddl(random, store, schema)
  local sql, rows = one_of(random, random:chance(50) and DDL or MOVING)(random, schema)
  sql = sql .. (rows or '')
  return function() store:query(sql) end, 'ddl ' .. sql
end

--- Definitions that are changed by somebody else; elsewhere runs a text without Stores.
function operations.ddl_elsewhere(random, _, schema, elsewhere)
  local sql = (one_of(random, DDL)(random, schema))
  return function() elsewhere(sql) end, 'elsewhere ' .. sql
end

-- How often each comes.
local OFTEN = { verb = 8, tick = 4, query = 3, outside = 1, readonly = 1, transaction = 5, ddl = 2,
  ddl_elsewhere = 2 }

local list = {}
for name, times in pairs(OFTEN) do
  for _ = 1, times do list[#list + 1] = name end
end
table.sort(list)

--- An operation of chance.
---@param random spec.Random
---@param store stores.Store
---@param schema spec.Schema
---@param elsewhere fun(sql: string)
---@return fun() run
---@return string text
function operations.draw(random, store, schema, elsewhere)
  return operations[random:of(list)](random, store, schema, elsewhere)
end

return operations
