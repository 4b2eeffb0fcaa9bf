--- What has moved is kept in schemas named after those that it was in, one for each, however long
--- their names are and however alike.
-- Plain pass alone: the C that it runs is that of copy_spec.lua, which the others run.

local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
-- Two that begin alike, of 52 bytes; one of 50 and one of 63; one in letters of 4 bytes.
local LIKE = ('tenant_with_a_long_name_'):rep(2) .. 'of_'
local NAMES = { LIKE .. '1', LIKE .. '2', LIKE:sub(1, 49) .. '"', LIKE:sub(1, 49),
  'x' .. LIKE .. 'eleven_more', ('\240\159\144\152'):rep(13), ('\240\159\144\152'):rep(12),
  'Short "' }
local KEPT = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'stores\\_moved\\_%' ORDER BY 1"

local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

local function tables_sql()
  local parts = {}
  for i, name in ipairs(NAMES) do
    parts[i] = ([[CREATE SCHEMA %s; CREATE SEQUENCE %s.numbers START %d;
      CREATE TABLE %s.things (id bigint PRIMARY KEY, value jsonb)]]):format(quoted(name),
      quoted(name), i * 100, quoted(name))
  end
  return table.concat(parts, ';')
end

local function schemas(db)
  local list = {}
  for name in support.psql(db, KEPT):gmatch('[^\n]+') do list[#list + 1] = name end
  return list
end

local old, new

before_each(function() old, new = sides.open(2, tables_sql()), sides.open(0, tables_sql()) end)
after_each(function()
  for _, side in ipairs({ old, new }) do
    for _, db in ipairs(side.databases) do
      for _, name in ipairs(NAMES) do
        support.psql(db, ('DROP SCHEMA IF EXISTS %s CASCADE'):format(quoted(name)))
      end
      for _, name in ipairs(schemas(db)) do
        support.psql(db, ('DROP SCHEMA %s CASCADE'):format(quoted(name)))
      end
    end
    side:close()
  end
end)
teardown(sides.drop)

local function fill()
  for i, name in ipairs(NAMES) do
    old.target:upsert(quoted(name) .. '.things', { id = tostring(i), n = i })
  end
end

describe('a copy', function()
  it('keeps tables of schemas that begin alike apart', function()
    fill()
    assert.is_true(stores.copy(old.place, new.place).finished)
    for _, db in ipairs(old.databases) do
      local kept, is_kept = schemas(db), {}
      assert.equal(#NAMES, #kept)
      for _, name in ipairs(kept) do
        is_kept[name] = true
        assert.is_true(#name <= 63)
        assert.equal('numbers\n', support.psql(db, ([[SELECT relname FROM pg_class
          WHERE relkind = 'S' AND relnamespace = '%s'::regnamespace]]):format(quoted(name))))
      end
      assert.is_true(is_kept['stores_moved_Short "'])
      assert.is_true(is_kept['stores_moved_' .. LIKE:sub(1, 49)])
    end
    for i, name in ipairs(NAMES) do
      assert.equal(i, new.target:find(quoted(name) .. '.things', tostring(i)).n)
      refused('moved', 'went to other databases', old.target.find, old.target,
        quoted(name) .. '.things', tostring(i))
    end
  end)

  it('goes on where the version before has moved a part, by its own names', function()
    for _, side in ipairs({ old, new }) do
      side:psql(('DROP SCHEMA %s CASCADE; DROP SCHEMA %s CASCADE'):format(quoted(NAMES[2]),
        quoted(NAMES[3])))
    end
    old.target:upsert(quoted(LIKE .. '1') .. '.things', { id = '1', n = 1 })
    old.target:upsert(quoted(LIKE .. '1') .. '.things', { id = '2', n = 2 })
    refused('conflict', 'made, which takes writes', stores.copy, old.place, new.place,
      { say = function(step)
        if step ~= 'switches' then return end
        support.psql(old.databases[2], 'CREATE TABLE made (id bigint)')
      end })
    local db = old.databases[1]
    for _, name in ipairs(schemas(db)) do
      if name:find('_%x+$') and #name == 63 and name:find('^stores_moved_tenant') then
        support.psql(db, ('ALTER SCHEMA %s RENAME TO %s'):format(quoted(name),
          ('stores_moved_' .. LIKE):sub(1, 63)))
      end
    end
    support.psql(old.databases[2], 'DROP TABLE made')
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.equal('1\n', support.psql(db, ('SELECT count(*) FROM %s.things'):format(
      ('stores_moved_' .. LIKE):sub(1, 63))))
    assert.equal(2, new.target:find(quoted(LIKE .. '1') .. '.things', '2').n)
    refused('moved', 'went to other databases', old.target.find, old.target,
      quoted(LIKE .. '1') .. '.things', '2')
  end)
end)
