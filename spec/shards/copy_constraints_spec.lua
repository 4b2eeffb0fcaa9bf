--- Rows come one after the other, and constraints of the new side may hold of all of them alone:
--- foreign keys of a table to itself, and of tables to each other in a circle; what is NOT VALID
--- they need not keep at all. Such tables are copied like others, whatever ends the copy on its
--- way, and the new side has the same schema in the end.
-- Plain pass alone: the C that it runs is that of copy_spec.lua, which the others run.

local command = require('spec.support.command')
local process = require('spec.support.process')
local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local open = {}

local function side(count, sql)
  local one = sides.open(count, sql)
  open[#open + 1] = one
  return one
end

after_each(function()
  for _, one in ipairs(open) do
    one:psql('DROP SCHEMA IF EXISTS "Odd ""one" CASCADE')
    one:close()
  end
  open = {}
end)
teardown(sides.drop)

-- All that there is to be known of constraints, and of the triggers that check them.
local SCHEMA = [[
SELECT conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated, conislocal,
  coninhcount, obj_description(oid, 'pg_constraint'),
  (SELECT string_agg(concat(tgfoid::regproc, tgenabled, tgdeferrable, tginitdeferred), ' '
    ORDER BY tgfoid::regproc::text) FROM pg_trigger g WHERE g.tgconstraint = k.oid)
FROM pg_constraint k
WHERE connamespace::regnamespace::text IN ('public', '"Odd ""one"') AND conrelid <> 0
  AND conrelid::regclass::text NOT LIKE '%stores_%'
ORDER BY conrelid::regclass::text, conname]]

local TREE = [[
CREATE TABLE tree (id bigint PRIMARY KEY, value jsonb, up bigint REFERENCES tree);
COMMENT ON CONSTRAINT tree_up_fkey ON tree IS 'what "is" above, 100% ''of'' it']]
-- each row is below the next one but the last
local FILL = [[INSERT INTO tree SELECT i, '{}', CASE WHEN i < %d THEN i + %d END
  FROM generate_series(%d, %d, %d) AS i ORDER BY i DESC]]

local function fill(one, last, step, first)
  one:psql(FILL:format(last, step or 1, first or 1, last, step or 1))
end

local function count(one, name)
  local sum = 0
  for _, text in ipairs(one:psql('SELECT count(*) FROM ' .. name)) do sum = sum + tonumber(text) end
  return sum
end

describe('a copy', function()
  it('takes rows that refer to later ones of their own table', function()
    local old, new = side(0, TREE), side(0, TREE)
    fill(old, 50)
    local before = new:psql(SCHEMA)
    assert.equal(50, stores.copy(old.place, new.place, { batch = 7 }).rows)
    assert.same(before, new:psql(SCHEMA))
    assert.matches('violates foreign key constraint "tree_up_fkey"',
      new:refusal("INSERT INTO tree VALUES (99, '{}', 100)"))
  end)

  it('takes tables that refer to each other, in whatever schema and by whatever key', function()
    local sql = [[CREATE SCHEMA "Odd ""one";
      CREATE TABLE "Odd ""one"."b c" (id bigint PRIMARY KEY, value jsonb, a bigint, x bigint);
      CREATE TABLE a (id bigint PRIMARY KEY, value jsonb, b bigint, "of ""it" bigint,
        FOREIGN KEY (b) REFERENCES "Odd ""one"."b c" ON DELETE SET NULL (b) ON UPDATE CASCADE);
      CREATE TABLE leaf (id bigint PRIMARY KEY, value jsonb, a bigint REFERENCES a,
        CONSTRAINT fine CHECK (id > 0));
      ALTER TABLE "Odd ""one"."b c" ADD CONSTRAINT "The ""key" FOREIGN KEY (a) REFERENCES a
        DEFERRABLE INITIALLY DEFERRED, ADD CONSTRAINT later FOREIGN KEY (x)
        REFERENCES "Odd ""one"."b c" NOT VALID;
      ALTER TABLE a ADD FOREIGN KEY ("of ""it") REFERENCES a MATCH FULL DEFERRABLE]]
    local old, new = side(0, sql), side(0, sql)
    old:psql([[BEGIN; INSERT INTO "Odd ""one"."b c" SELECT i, '{}', 21 - i, i
        FROM generate_series(1, 20) i;
      INSERT INTO a SELECT i, '{}', 21 - i, i % 20 + 1 FROM generate_series(1, 20) i; COMMIT;
      INSERT INTO leaf SELECT i, '{}', i FROM generate_series(1, 20) i]])
    local before = new:psql(SCHEMA)
    assert.matches('INITIALLY DEFERRED', before[1])
    local taken
    assert.equal(60, stores.copy(old.place, new.place, { batch = 3, say = function(step)
      if step == 'copies rows' then taken = new:psql(SCHEMA)[1] end
    end }).rows)
    assert.same(before, new:psql(SCHEMA))
    -- what no circle needs is checked as the rows come
    assert.matches('leaf_a_fkey', taken)
    assert.not_matches('a_b_fkey', taken)
  end)

  it('leaves NOT VALID what was, and takes rows that do not keep it', function()
    local sql = [[CREATE TABLE parent (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE things (id bigint PRIMARY KEY, value jsonb, parent bigint, n int)]]
    local late = [[ALTER TABLE things ADD CONSTRAINT of_parent FOREIGN KEY (parent)
        REFERENCES parent NOT VALID, ADD CONSTRAINT small CHECK (n < 10) NOT VALID,
      ADD CONSTRAINT "its own" FOREIGN KEY (n) REFERENCES things NOT VALID]]
    local old, new = side(0, sql), side(0, sql .. ';' .. late)
    old:psql("INSERT INTO things VALUES (1, '{}', 77, 88), (2, '{}', NULL, NULL);" .. late)
    local before = new:psql(SCHEMA)
    assert.equal(2, stores.copy(old.place, new.place).rows)
    assert.same(before, new:psql(SCHEMA))
    for _, wrong in ipairs({ '78, NULL', 'NULL, 12', 'NULL, 5' }) do
      assert.matches('violates', new:refusal(("INSERT INTO things VALUES (3, '{}', %s)")
        :format(wrong)))
    end
  end)

  it('leaves keys alone whose triggers somebody has switched off', function()
    local sql = TREE .. '; ALTER TABLE tree DISABLE TRIGGER ALL'
    local old, new = side(0, sql), side(0, sql)
    old:psql("INSERT INTO tree VALUES (1, '{}', 7)")
    local before = new:psql(SCHEMA)
    assert.equal(1, stores.copy(old.place, new.place).rows)
    assert.same(before, new:psql(SCHEMA))
  end)

  it('takes shards that are schemas of one database, each with its own', function()
    local function schemas(size)
      local list, db = {}, support.db()
      for id = 0, size - 1 do
        support.psql(db, ('CREATE SCHEMA own%d; SET search_path = own%d; '):format(id, id) .. TREE)
        local own = { params = { options = '-c search_path=own' .. id } }
        for key, value in pairs(db) do own[key] = value end
        list[id + 1] = { id = id, db = own, redis = false }
      end
      return { shards = list }, db
    end
    local from, old = schemas(2)
    local to, new = schemas(3)
    local shards = stores.Shards.new(from.shards)
    shards:init()
    for id = 0, 1 do
      shards:query(([[INSERT INTO tree SELECT i, '{}', CASE WHEN i < 24 THEN i + 6 END
        FROM generate_series(%d, 29, 2) AS i]]):format(id), {}, { on = tostring(id) })
    end
    local ALL = SCHEMA:gsub("IN %('public', '.-'%)", "LIKE 'own_'")
    local before = support.psql(new, ALL)
    assert.matches('own2.tree|tree_up_fkey', before, 1, true)
    local looks = 0
    assert.is_false(stores.copy(from, to, { batch = 4, stopping = function()
      looks = looks + 1
      return looks > 4
    end }).finished)
    assert.is_true(stores.copy(from, to, { abort = true }).aborted)
    assert.equal(before, support.psql(new, ALL))
    assert.equal(30, stores.copy(from, to, { batch = 4 }).rows)
    assert.equal(before, support.psql(new, ALL))
    shards:close()
    support.drop(old)
    support.drop(new)
  end)

  it('knows what a partition refers to, and puts that first', function()
    local sql = [[CREATE TABLE a_list (id bigint PRIMARY KEY, value jsonb, z bigint, up bigint)
        PARTITION BY RANGE (id);
      CREATE TABLE low PARTITION OF a_list FOR VALUES FROM (MINVALUE) TO (10);
      CREATE TABLE high PARTITION OF a_list FOR VALUES FROM (10) TO (MAXVALUE);
      CREATE TABLE z (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE low ADD FOREIGN KEY (z) REFERENCES z;
      ALTER TABLE a_list ADD FOREIGN KEY (up) REFERENCES a_list]]
    local old, new = side(0, sql), side(0, sql)
    old:psql([[INSERT INTO z SELECT i, '{}' FROM generate_series(1, 20) i;
      INSERT INTO a_list SELECT i, '{}', i, 21 - i FROM generate_series(1, 20) i]])
    local before = new:psql(SCHEMA)
    assert.equal(40, stores.copy(old.place, new.place, { batch = 3 }).rows)
    assert.same(before, new:psql(SCHEMA))
    assert.matches('violates foreign key', new:refusal("INSERT INTO a_list VALUES (0, '{}', 99)"))
  end)

  it('puts rows in an order that the new side asks for', function()
    local sql = [[CREATE TABLE a_child (id bigint PRIMARY KEY, value jsonb, parent bigint);
      CREATE TABLE parent (id bigint PRIMARY KEY, value jsonb)]]
    local old = side(0, sql)
    local new = side(0, sql .. '; ALTER TABLE a_child ADD FOREIGN KEY (parent) REFERENCES parent')
    old:psql("INSERT INTO parent VALUES (1, '{}'); INSERT INTO a_child VALUES (1, '{}', 1)")
    assert.equal(2, stores.copy(old.place, new.place).rows)
  end)

  it('does not switch where rows that refer to each other come to several shards', function()
    local old, new = side(0, TREE), side(2, TREE)
    fill(old, 5) -- each to one of the other shard
    local before = new:psql(SCHEMA)
    local err = refused('constraint', ' of the new side: ', stores.copy, old.place, new.place)
    assert.equal('tree_up_fkey', err.constraint)
    assert.matches('^shard ' .. err.shard .. ' of the new side', err.message)
    assert.matches('nothing was switched: rows that refer to each other', err.hint)
    assert.equal(5, old.target:count('tree'))
    refused('constraint', ' of the new side: ', stores.copy, old.place, new.place)
    assert.is_true(stores.copy(old.place, new.place, { abort = true }).aborted)
    assert.same(before, new:psql(SCHEMA))
    old:psql('UPDATE tree SET up = CASE WHEN id < 4 THEN id + 2 END')
    assert.equal(5, stores.copy(old.place, new.place).rows)
    assert.same(before, new:psql(SCHEMA))
  end)
end)

-- A copy in a process of its own that stays where it says that word, until it is killed.
local PROGRAM = [[
  local stores = require('stores')
  local function stay(step)
    if step ~= %q then return end
    print(step)
    while true do stores.sleep(1) end
  end
  stores.copy(%s, %s, { batch = 5, say = stay, progress = function(count)
    if count >= 20 then stay('rows') end
  end })]]

local STEPS = { 'marks both sides', 'copies rows', 'rows', 'puts constraints back',
  'compares both sides', 'switches' }

local function kill_at(step, old, new)
  local copying = process.lua(PROGRAM:format(step, command.source(old.place),
    command.source(new.place)))
  assert.equal(step, copying:line())
  copying:signal('KILL')
  copying:wait()
  -- its sessions hear of that a moment later, and the next copy does not wait for its lock
  support.eventually(function()
    return support.psql(old.databases[1], "SELECT count(*) FROM pg_locks WHERE locktype ="
      .. " 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname ="
      .. ' current_database())') == '0\n'
  end, 20, 'the lock of the copy that was killed')
end

describe('a copy of tables that refer to themselves', function()
  local old, new, before

  before_each(function()
    old, new = side(2, TREE), side(3, TREE)
    for at, db in ipairs(old.databases) do
      support.psql(db, FILL:format(119 + at - 6, 6, at - 1, 119, 2))
    end
    old:psql('UPDATE tree SET up = NULL WHERE up > 119')
    before = new:psql(SCHEMA)
  end)

  it('goes on by the same call, wherever it was killed', function()
    for _, step in ipairs(STEPS) do kill_at(step, old, new) end
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.same(before, new:psql(SCHEMA))
    assert.equal(120, count(new, 'tree'))
    assert.equal('\n', new:psql('SELECT keys FROM stores_shard')[1])
  end)

  it('is given up wherever it was killed, and leaves an empty new side as it was', function()
    for _, step in ipairs(STEPS) do
      kill_at(step, old, new)
      assert.is_true(stores.copy(old.place, new.place, { abort = true }).aborted)
      assert.same(before, new:psql(SCHEMA))
      assert.equal(0, count(new, 'tree'))
      assert.equal('0\n', new:psql(
        "SELECT count(*) FROM pg_trigger WHERE tgname = 'stores_refuse'")[1])
      assert.is_truthy(old.target:upsert('tree', { id = '7', step = step }))
    end
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.same(before, new:psql(SCHEMA))
    assert.equal('switches', new.target:find('tree', '7').step)
  end)

  it('goes on where the version before began it, which took nothing off', function()
    assert.is_false(stores.copy(old.place, new.place, { stopping = function() return true end })
      .finished)
    new:psql([[ALTER TABLE tree ADD CONSTRAINT tree_up_fkey FOREIGN KEY (up) REFERENCES tree;
      ALTER TABLE stores_shard DROP keys]])
    assert.equal(120, stores.copy(old.place, new.place, { batch = 5 }).rows)
    assert.equal(before[1]:match('.-FOREIGN KEY'), new:psql(SCHEMA)[1]:match('.-FOREIGN KEY'))
  end)
end)

describe('a new side', function()
  it('makes room also where tables that are not copied refer to those that are', function()
    local sql = TREE .. [[; CREATE TABLE other (id bigint PRIMARY KEY, value jsonb,
      tree bigint CONSTRAINT to_tree REFERENCES tree ON DELETE CASCADE)]]
    local old, new = side(0, sql), side(0, sql)
    fill(old, 9)
    new:psql("INSERT INTO other VALUES (1, '{}')")
    local before, stops = new:psql(SCHEMA), 0
    assert.is_false(stores.copy(old.place, new.place, { tables = { 'tree' }, batch = 2,
      stopping = function()
        stops = stops + 1
        return stops > 3
      end }).finished)
    assert.is_true(count(new, 'tree') > 0)
    assert.is_true(stores.copy(old.place, new.place, { abort = true }).aborted)
    assert.same(before, new:psql(SCHEMA))
    assert.equal(9, stores.copy(old.place, new.place, { tables = { 'tree' } }).rows)
    assert.equal(1, count(new, 'other'))
  end)
end)
