--- A copy that was begun is gone on with, or given up, by who means that one: with its tables
--- however they are named, and with no other databases than its own.
-- Plain pass alone: the C that it runs is that of copy_spec.lua, which the others run.

local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local TABLES = [[
  CREATE TABLE a_child (id bigint PRIMARY KEY, value jsonb, parent bigint);
  CREATE TABLE parent (id bigint PRIMARY KEY, value jsonb);
  ALTER TABLE a_child ADD FOREIGN KEY (parent) REFERENCES parent]]
local open = {}

local function side(count, sql, opts)
  local one = sides.open(count, sql or TABLES, opts)
  open[#open + 1] = one
  return one
end

after_each(function()
  for _, one in ipairs(open) do one:close() end
  open = {}
end)
teardown(sides.drop)

local function begin(old, new, names)
  assert.is_false(stores.copy(old.place, new.place, { tables = names,
    stopping = function() return true end }).finished)
end

local function abort(old, new, say)
  assert.is_true(stores.copy(old.place, new.place, { abort = true, say = say }).aborted)
end

describe('a copy that was begun', function()
  it('is gone on with by the same call, however its tables are named', function()
    local old, new = side(0), side(1)
    old:psql("INSERT INTO parent VALUES (1, '{}'); INSERT INTO a_child VALUES (1, '{}', 1)")
    local names = { 'a_child', 'public.parent' }
    begin(old, new, names)
    refused('invalid_argument', 'is of the tables parent a_child', stores.copy, old.place,
      new.place, { tables = { 'parent' } })
    assert.equal(2, stores.copy(old.place, new.place, { tables = names }).rows)
  end)

  it('is not given up by who names another new side', function()
    local old, new, third, fourth = side(0), side(1), side(0), side(1)
    begin(old, new)
    begin(third, fourth)
    local said = {}
    abort(old, fourth, function(text) said[#said + 1] = text end)
    assert.matches('shard 0 of the new side is being filled by another copy',
      table.concat(said, '\n'))
    assert.is_true(stores.copy(third.place, fourth.place).finished)
    -- and what that one left is ended later on
    refused('conflict', 'is being filled by another copy', stores.copy, old.place, new.place)
    abort(old, new)
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)

  it('is neither given up nor gone on with by a list that is not that of its databases', function()
    local old, new = side(3), side(1)
    begin(old, new)
    local place = { shards = {} }
    for id = 0, 1 do
      place.shards[id + 1] = { id = id, db = old.databases[id + 2], redis = support.redis() }
    end
    for _, opts in ipairs({ { abort = true }, {} }) do
      refused('shard_mismatch', 'of the old side is shard ', stores.copy, place,
        new.place, opts)
    end
    refused('read_only', 'takes no writes', old.target.insert, old.target, 'parent', { id = '1' })
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)

  it('leaves a new side that was given up to migrations, and to nobody else', function()
    local old, new = side(2), side(3)
    local list = { { name = 'more', migration = [[
      CREATE TABLE more (id bigint PRIMARY KEY, value jsonb);
      UPDATE parent SET value = '{}']] } }
    begin(old, new)
    refused('moved', 'being copied into it', new.target.migrate, new.target, list)
    abort(old, new)
    old.target:migrate(list)
    old.target:insert('more', { id = '1' })
    refused('not_migrated', 'has no table more', stores.copy, old.place, new.place)
    new.target:migrate(list)
    refused('moved', 'was given up', new.target.insert, new.target, 'more', { id = '1' })
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.is_truthy(new.target:find('more', '1'))
  end)

  it('is given up where that was stopped half way', function()
    local old, new = side(2), side(2)
    begin(old, new)
    -- the second database cannot be freed
    support.psql(old.databases[2], 'ALTER TABLE stores_shard ADD CHECK (state IS NOT NULL)')
    refused('constraint', nil, stores.copy, old.place, new.place, { abort = true })
    refused('conflict', '--abort ends that', stores.copy, old.place, new.place)
    support.psql(old.databases[2],
      'ALTER TABLE stores_shard DROP CONSTRAINT stores_shard_state_check')
    abort(old, new)
    assert.is_true(stores.copy(old.place, new.place).finished)
  end)
end)

describe('an old side', function()
  it('whose rows are not where they belong is refused before anything is begun', function()
    local old, new = side(2), side(1)
    support.psql(old.databases[2], "INSERT INTO parent VALUES (2, '{}')")
    refused('conflict', '1 rows of parent are in shard 1 of the old side and belong to another',
      stores.copy, old.place, new.place)
    assert.is_truthy(old.target:insert('parent', { id = '1' }))
    support.psql(old.databases[2], 'DELETE FROM parent WHERE id = 2')
    assert.equal(1, stores.copy(old.place, new.place).rows)
  end)

  it('is asked about each row by a function of its own', function()
    local strategy = { name = 'tens', owner = function(id, count)
      return math.floor(tonumber(id) / 10) % count
    end }
    local old, new = side(2, TABLES, { strategy = strategy }), side(1)
    for id = 1, 25 do old.target:insert('parent', { id = tostring(id) }) end
    support.psql(old.databases[1], "INSERT INTO parent VALUES (12, '{}'), (14, '{}')")
    refused('conflict', '2 rows of parent are in shard 0 of the old side and belong to another',
      stores.copy, old.place, new.place)
    support.psql(old.databases[1], 'DELETE FROM parent WHERE id IN (12, 14)')
    assert.equal(25, stores.copy(old.place, new.place).rows)
  end)
end)

describe('a new side', function()
  it('keeps rows that no copy into it has put there', function()
    -- what was restored from a dump of an old side, and told to be nothing of it
    local old, new = side(0), side(0)
    old:psql("INSERT INTO parent VALUES (1, '{}')")
    begin(old, new)
    old:psql('DROP TABLE stores_shard')
    local third = side(0)
    refused('conflict', 'parent of the new side has rows already', stores.copy, third.place,
      old.place)
    assert.equal('1\n', old:psql('SELECT count(*) FROM parent')[1])
  end)
end)
