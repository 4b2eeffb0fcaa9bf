--- What the verbs send for a table that Citus spreads, read against what a coordinator refuses.
--- That needs no cluster: the catalog of a plain database is told that the table is distributed.
-- Not in the gc pass: it is about texts of statements.

local list = require('stores.verbs.list')
local sql = require('stores.sql.text')
local stores = require('stores')
local support = require('spec.support')

-- The catalog as Citus has it, and no more: a table of four shards, and a reference table.
local CATALOG = [[
  SET allow_system_table_mods = on;
  INSERT INTO pg_extension VALUES (99999, 'citus', 10, 11, false, '13.2', NULL, NULL);
  CREATE TABLE pg_catalog.pg_dist_local_group AS SELECT 0 AS groupid;
  CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod "char", partkey text,
    colocationid int, repmodel "char");
  CREATE TABLE pg_catalog.pg_dist_shard (logicalrelid regclass, shardid bigint, shardminvalue text,
    shardmaxvalue text);
  CREATE FUNCTION pg_catalog.column_to_column_name(regclass, text) RETURNS text LANGUAGE sql
    AS 'SELECT $2';
  INSERT INTO pg_dist_partition VALUES ('docs', 'h', 'id', 1, 's'), ('timed', 'h', 'id', 1, 's'),
    ('words', 'n', NULL, 2, 't');
  INSERT INTO pg_dist_shard SELECT name, 102008 + i, (i * 1073741824 - 2147483648)::text,
    (i * 1073741824 - 1073741825)::text
    FROM unnest('{docs,timed}'::regclass[]) name, generate_series(0::bigint, 3) i;
  GRANT SELECT ON pg_dist_partition, pg_dist_shard, pg_dist_local_group TO public]]

-- What has another value each time, or for each statement, in what changes rows.
local UNSTABLE = { 'set_config', 'current_setting', 'now%s*%(', 'clock_timestamp', 'random',
  'nextval', 'pg_current_xact_id', 'statement_timestamp', 'current_timestamp' }

-- Why a coordinator refuses a statement over a table that is spread; nil: it does not.
local function refusal(text)
  local words = ' ' .. table.concat(sql.keywords(text), ' ') .. ' '
  if #sql.split(text) > 1 then return 'several statements' end
  if words:find(' SKIP LOCKED ') then return 'skips rows that are locked' end
  if (words:find(' FOR UPDATE ') or words:find(' FOR SHARE ') or words:find(' FOR NO KEY '))
    and not text:find('WHERE id = $1', 1, true) then
    return 'locks several rows'
  end
  if words:find(' AS MATERIALIZED ') then return 'has all rows sent to the coordinator' end
  if words:find(' UPDATE ') or words:find(' DELETE ') then
    for _, name in ipairs(UNSTABLE) do
      if text:lower():find(name) then return 'is not the same on each server: ' .. name end
    end
  end
  if text:find('SET id%W') then return 'moves a row' end
  if words:find(' RETURNING ') and text:find('pg_current_xact_id') then
    return 'tells its number'
  end
end

describe('what the verbs send for a table of Citus', function()
  local store, db, off
  local sent

  setup(function()
    store, db = support.store({ 'docs', 'timed', 'words', 'plain' })
    support.psql(db, CATALOG)
    store:close()
    store = stores.Store.new(db, support.redis(), { tables = {
      stores.define('timed', { expires = 'until', version = 1 }) } })
    off = stores.on('statement', function(event)
      for _, name in ipairs({ 'docs', 'timed', 'words', 'plain' }) do
        if event.sql:find('public.' .. name, 1, true) then sent[#sent + 1] = event.sql end
      end
    end)
  end)
  teardown(function()
    off()
    support.close(store, db)
  end)
  before_each(function() sent = {} end)

  -- What of it is refused, as text.
  local function refused()
    local found = {}
    for _, text in ipairs(sent) do
      local why = refusal(text)
      if why then found[#found + 1] = why .. ': ' .. text end
    end
    return table.concat(found, '\n')
  end

  local function id_of(on, name) return on:insert(name, { n = 1, tags = { 'a' } }).id end

  -- Each verb that speaks of a table, of a store and of a transaction.
  local calls = {
    find = function(on, name) on:find(name, '1') end,
    exists = function(on, name) on:exists(name, '1') end,
    findAllByIds = function(on, name) on:findAllByIds(name, { '1', '2', '3' }) end,
    findAll = function(on, name)
      on:findAll(name, { limit = 2, order = { '-n' }, where = { { 'n', '>', 0 } } })
      on:findAll(name, { contains = { n = 1 }, order = { 'n' }, limit = 2 })
    end,
    each = function(on, name)
      for _ in on:each(name, { batch = 2 }) do end
      for _ in on:each(name, { batch = 2, order = { 'n' }, contains = { n = 1 } }) do end
    end,
    findByJSON = function(on, name) on:findByJSON(name, { n = 1 }, { limit = 1 }) end,
    findOne = function(on, name) on:findOne(name, { n = 1 }) end,
    findBy = function(on, name) on:findBy(name, 'unique', 1, { unique = true }) end,
    count = function(on, name) on:count(name, { n = 1 }) end,
    findByJsonArrayContains = function(on, name) on:findByJsonArrayContains(name, 'tags', 'a') end,
    findByJsonSubContains = function(on, name) on:findByJsonSubContains(name, 'sub', { a = 1 }) end,
    findByPath = function(on, name) on:findByPath(name, '$ ? (@.n == 1)') end,
    insert = function(on, name) on:insert(name, { n = 1 }) end,
    update = function(on, name) on:update(name, { id = id_of(on, name), n = 2 }) end,
    upsert = function(on, name) on:upsert(name, { id = '77', n = 2 }) end,
    delete = function(on, name) on:delete(name, id_of(on, name)) end,
    patch = function(on, name)
      on:patch(name, id_of(on, name), { set = { a = 1 }, inc = { n = 1 }, append = { tags = 'b' } })
    end,
    updateProperty = function(on, name) on:updateProperty(name, id_of(on, name), 'n', 3) end,
    updateObject = function(on, name)
      on:updateObject(name, id_of(on, name), function(d) d.n = 9 end)
    end,
    insertMany = function(on, name) on:insertMany(name, { { n = 5 }, { n = 6 } }) end,
    upsertMany = function(on, name) on:upsertMany(name, { { id = '88', n = 5 } }) end,
    deleteMany = function(on, name) on:deleteMany(name, { '88', '89' }) end,
    patchWhere = function(on, name)
      if name == 'timed' then return end -- it looks at each document
      on:patchWhere(name, { n = 5 }, { set = { n = 7 } })
    end,
    deleteWhere = function(on, name) on:deleteWhere(name, { n = 6 }) end,
    updateEach = function(on, name)
      on:updateEach(name, { n = 7 }, function(d) d.n = 8 end, { batch = 2 })
    end,
    upgrade = function(on, name) if name == 'timed' then on:upgrade(name) end end,
    expire = function(on, name)
      if name ~= 'timed' then return end
      for i = 1, 3 do on:insert(name, { id = tostring(600 + i), ['until'] = 5 }) end
      on:query("UPDATE timed SET value = value || '{\"until\": 5}' WHERE id = 602")
      on:expire(name)
    end,
  }

  -- What says nothing of the rows of a table.
  local OTHERS = { query = true, transaction = true, listen = true, notify = true, stats = true,
    sweep = true, migrate = true, invalidate = true, close = true, generateId = true,
    token = true, try = true }

  it('is read of every verb', function()
    for _, verb in ipairs(list.verbs) do
      if not verb.is_internal and (verb.on == 'store' or verb.on == 'tx' or verb.on == 'both') then
        assert.truthy(calls[verb.name] or OTHERS[verb.name], verb.name)
      end
    end
  end)

  for name, call in pairs(calls) do
    it('is taken by a coordinator: ' .. name, function()
      for _, on in ipairs({ 'docs', 'timed', 'words' }) do
        store:find(on, '1')
        call(store, on)
        if type(store[name]) == 'function' and name ~= 'upgrade' and name ~= 'expire' then
          store:transaction(function(tx) call(tx, on) end)
        end
      end
      assert.is_true(#sent > 0)
      assert.equal('', refused())
    end)
  end

  it('asks the shards for what criteria leave, and for no more', function()
    store:find('docs', '1')
    store:findByJSON('docs', { n = 1 }, { limit = 1 })
    local found
    for _, text in ipairs(sent) do found = found or text:find('AS NOT MATERIALIZED', 1, true) end
    assert.truthy(found)
  end)

  it('is otherwise for a plain table, where one server has all rows', function()
    store:findByJSON('plain', { n = 1 }, { limit = 1 })
    assert.truthy(refused():find('has all rows sent to the coordinator', 1, true))
    sent = {}
    store:insert('plain', { id = '5', n = 1 })
    store:updateEach('plain', { n = 1 }, function(d) d.n = 2 end)
    assert.truthy(refused():find('locks several rows', 1, true))
  end)
end)
