--- No number that a sequence of the old side has given is given again by the new one, whoever owns
--- the sequence, up to the moment at which the copy switches.
-- Plain pass alone: the C that it runs is that of copy_spec.lua, which the others run.

local sides = require('spec.support.sides')
local stores = require('stores')
local support = require('spec.support')

local refused = support.refused
local TABLES = 'CREATE TABLE things (id bigint PRIMARY KEY, value jsonb NOT NULL, n serial);'
local COUNTERS = [[CREATE SEQUENCE "Bills"; CREATE SEQUENCE down INCREMENT -1;
  CREATE SCHEMA more; CREATE SEQUENCE more.others]]
local old, new

after_each(function()
  for _, side in ipairs({ old, new }) do
    side:psql('DROP SCHEMA IF EXISTS more CASCADE; DROP SCHEMA IF EXISTS stores_moved_more CASCADE')
    side:close()
  end
end)
teardown(sides.drop)

local function next_of(side, name)
  return (side:psql(("SELECT nextval('%s')"):format(name))[1]:gsub('\n', ''))
end

describe('a copy', function()
  it('carries sequences that nobody owns, also what they give while it goes on', function()
    old, new = sides.open(2, TABLES .. COUNTERS), sides.open(1, TABLES .. COUNTERS)
    support.psql(old.databases[1], "SELECT setval('\"Bills\"', 20), setval('down', -7)")
    support.psql(old.databases[2], "SELECT setval('\"Bills\"', 30), setval('down', -3)")
    new:psql("SELECT setval('more.others', 100)")
    stores.copy(old.place, new.place, { say = function(step)
      if step ~= 'switches' then return end
      support.psql(old.databases[2], "SELECT nextval('\"Bills\"'), nextval('things_n_seq')")
      support.psql(old.databases[2], "SELECT nextval('things_n_seq')")
    end })
    assert.equal('32', next_of(new, '"Bills"'))
    assert.equal('-8', next_of(new, 'down'))
    assert.equal('101', next_of(new, 'more.others'))
    assert.equal('3', next_of(new, 'things_n_seq'))
    assert.matches('does not exist', old:refusal("SELECT nextval('\"Bills\"')"))
    assert.equal('20\n', old:psql('SELECT last_value FROM stores_moved_public."Bills"')[1])
  end)

  it('goes on behind the switch with what they had given', function()
    old, new = sides.open(0, TABLES .. COUNTERS), sides.open(1, TABLES .. COUNTERS)
    old:psql("SELECT setval('\"Bills\"', 20)")
    -- the new side cannot be told, and the old side has moved
    local deaf = { shards = { { id = 0, db = new.databases[1],
      redis = { path = '/nowhere/redis.sock' } } } }
    refused('cache_failure', nil, stores.copy, old.place, deaf, { say = function(step)
      if step == 'switches' then old:psql("SELECT nextval('\"Bills\"')") end
    end })
    refused('moved', 'went to other databases', old.target.find, old.target, 'things', '1')
    assert.is_true(stores.copy(old.place, new.place).finished)
    assert.equal('22', next_of(new, '"Bills"'))
  end)

  it('names those that the new side does not have', function()
    old, new = sides.open(0, TABLES .. COUNTERS), sides.open(2, TABLES)
    local err = refused('not_migrated', 'shard 0 of the new side has no sequence "Bills"',
      stores.copy, old.place, new.place)
    assert.matches('no sequence more%.others', err.message)
    local said = {}
    assert.is_true(stores.copy(old.place, new.place, { tables = { 'things' },
      say = function(text) said[#said + 1] = text end }).finished)
    assert.matches('leaves sequences behind: shard %d of the new side has no sequence "Bills"',
      table.concat(said, '\n'))
  end)
end)
