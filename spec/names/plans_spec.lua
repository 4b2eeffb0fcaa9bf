-- What the engine asks of the catalog is planned at once: a plan that the server takes for costly
-- is compiled (jit_above_cost, 100,000 unless somebody says otherwise), which takes each new
-- connection seconds.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

local CHEAP = 50000
local PLANNED = { SELECT = true, INSERT = true, UPDATE = true, DELETE = true, WITH = true }

describe('the statements of the engine itself', function()
  local store, db

  setup(function()
    store, db = support.store({ 'plain' })
    store:query([[
      CREATE FUNCTION is_fine(jsonb) RETURNS boolean IMMUTABLE LANGUAGE sql
        AS 'SELECT $1 IS DISTINCT FROM ''[]''';
      CREATE DOMAIN doc AS jsonb CHECK (is_fine(VALUE));
      CREATE TABLE checked (id bigint PRIMARY KEY, value doc CHECK (is_fine(value)));
      CREATE TABLE child (id bigint PRIMARY KEY REFERENCES checked ON DELETE CASCADE, value jsonb);
      CREATE TABLE parted (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
      CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
    ]])
    for i = 1, 200 do
      store:query(('CREATE FUNCTION f%d() RETURNS int LANGUAGE sql AS $$SELECT %d$$')
        :format(i, i))
    end
  end)

  teardown(function() support.close(store, db) end)

  -- What a fresh store sends for each verb of a table.
  local function statements_of(name)
    local list = {}
    local own = stores.Store.new(db, support.redis())
    local off = stores.on('statement', function(event)
      if PLANNED[event.sql:match('%u+')] then list[event.sql] = true end
    end)
    own:upsert(name, { id = '1', n = 1 })
    own:find(name, '1')
    own:find(name, '1', { cache = false })
    own:update(name, { id = '1', n = 2 })
    own:updateObject(name, '1', function(doc) doc.n = 3 end)
    own:query(('UPDATE %s SET value = value WHERE id = 1'):format(name))
    own:transaction(function(tx)
      tx:find(name, '1')
      tx:patch(name, '1', { set = { n = 4 } })
    end)
    own:delete(name, '1')
    off()
    own:close()
    return list
  end

  for _, name in ipairs({ 'plain', 'checked', 'child', 'parted' }) do
    it('are planned as cheap ones, for a table that is ' .. name, function()
      if name == 'child' then store:upsert('checked', { id = '1' }) end
      local seen, dearest = 0, 0
      for sql in pairs(statements_of(name)) do
        local most = 0
        for n in sql:gmatch('%$(%d+)') do most = math.max(most, tonumber(n)) end
        local nulls = most > 0 and '(' .. ('NULL, '):rep(most - 1) .. 'NULL)' or ''
        local text = support.psql(db, 'PREPARE one AS ' .. sql .. '; EXPLAIN EXECUTE one' .. nulls)
        for cost in text:gmatch('%.%.(%d+)%.%d+ rows') do
          seen = seen + 1
          dearest = math.max(dearest, tonumber(cost))
          assert.is_true(tonumber(cost) < CHEAP, cost .. ': ' .. sql)
        end
      end
      assert.is_true(seen > 20)
      assert.is_true(dearest > 100, 'the catalog was not asked')
    end)
  end
end)
