--- The values of rows are text while they are copied, which servers read and write by settings of
--- their own; and a policy may hide rows. None of that changes what arrives, or passes unnoticed.
-- Plain pass alone: the C that it runs is that of copy_spec.lua, which the others run.

local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local old, new

local function set_of_database(db, settings)
  local texts = { ('ALTER DATABASE %s RESET ALL'):format(db.database) }
  for name, value in pairs(settings) do
    texts[#texts + 1] = ("ALTER DATABASE %s SET %s = '%s'"):format(db.database, name, value)
  end
  support.psql(db, table.concat(texts, ';'))
end

after_each(function()
  for _, side in ipairs({ old, new }) do
    for _, db in ipairs(side.databases) do set_of_database(db, {}) end
    side:close()
  end
end)
teardown(sides.drop)

describe('a copy', function()
  it('brings times, spans and bytes to servers that write them in another way', function()
    local sql = [[CREATE TABLE things (id bigint PRIMARY KEY, value jsonb, at timestamptz,
      day timestamp, span interval, bytes bytea, days daterange)]]
    old, new = sides.open(0, sql), sides.open(1, sql)
    old:psql([[INSERT INTO things VALUES (1, '{}', '2024-02-01 03:04:05+01', '2024-02-01 10:00',
      '-1 day 02:03', '\x00415c', '[2024-02-01,2024-03-02)')]])
    set_of_database(old.databases[1], { timezone = 'Asia/Tokyo', datestyle = 'SQL, DMY',
      intervalstyle = 'sql_standard', bytea_output = 'escape' })
    set_of_database(new.databases[1], { timezone = 'America/Lima', datestyle = 'SQL, MDY',
      intervalstyle = 'iso_8601' })
    assert.is_true(stores.copy(old.place, new.place).finished)
    local whole = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres';"
      .. " SET bytea_output = 'hex'; SELECT at, day, span, bytes, days FROM "
    assert.equal(old:psql(whole .. 'stores_moved_public.things')[1], new:psql(whole .. 'things')[1])
  end)

  it('goes to the server itself where there is a pooler, or not at all', function()
    local sql = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb, price money)'
    old, new = sides.open(0, sql), sides.open(1, sql)
    old:psql("INSERT INTO things VALUES (1, '{}', '12.34')")
    local db = {}
    for key, value in pairs(old.databases[1]) do db[key] = value end
    db.pooler = 'transaction'
    local place = { db = db, redis = old.place.redis, opts = old.place.opts }
    support.refused('invalid_option', 'give db.migrate_url', stores.copy, place, new.place)
    db.migrate_url = ('postgresql://%s@/%s?host=%s&port=%d'):format(db.user, db.database,
      db.host:gsub('/', '%%2F'), db.port)
    assert.equal(1, stores.copy(place, new.place).rows)
  end)

  it('says what its role may not do, and takes no rows for none that a policy hides', function()
    old, new = sides.open(0), sides.open(1)
    local owner = 'owner_of_' .. old.databases[1].database
    support.psql(old.databases[1], 'CREATE ROLE ' .. owner .. ' LOGIN')
    for _, side in ipairs({ old, new }) do
      side:psql(([[GRANT ALL ON SCHEMA public TO %s; SET ROLE %s;
        CREATE TABLE things (id bigint PRIMARY KEY, value jsonb)]]):format(owner, owner))
      local db = {}
      for key, value in pairs(side.databases[1]) do db[key] = value end
      db.user = owner
      side.place = { db = db, redis = false }
    end
    old:psql([[INSERT INTO things VALUES (1, '{}'), (2, '{}');
      ALTER TABLE things ENABLE ROW LEVEL SECURITY; ALTER TABLE things FORCE ROW LEVEL SECURITY;
      CREATE POLICY the_first ON things USING (id = 1)]])
    local err = support.refused('unsupported', 'may not make the schema in the old side',
      stores.copy, old.place, new.place)
    assert.matches('GRANT CREATE ON DATABASE', err.hint)
    support.psql(old.databases[1], err.hint)
    support.refused('query_failed', 'row-level security policy for table "things"', stores.copy,
      old.place, new.place)
    old:psql('ALTER TABLE things NO FORCE ROW LEVEL SECURITY')
    assert.equal(2, stores.copy(old.place, new.place).rows)
    for _, side in ipairs({ old, new }) do
      side:psql(('DROP OWNED BY %s CASCADE'):format(owner))
    end
    support.psql(old.databases[1], 'DROP ROLE ' .. owner)
  end)
end)
