--- What a call asks of all shards they do at the same time: here each of them waits, in the middle
--- of its part of the call, until all the others are there as well.
-- Plain pass alone: whether calls overlap; the C that they run others run.

local stores = require('stores')
local support = require('spec.support')

local COUNT, PATIENCE = 3, 30
-- The shards are schemas of one database, so that a sequence of it counts who has come.
local SHARED = [[
  CREATE SCHEMA meeting;
  CREATE SEQUENCE meeting.came MINVALUE 0 START 0;
  CREATE FUNCTION meeting.wait() RETURNS boolean LANGUAGE plpgsql AS $$
  DECLARE till timestamptz := clock_timestamp() + '%d s'; number bigint;
  BEGIN
    IF current_setting('meeting.of', true) = pg_current_xact_id()::text THEN RETURN true; END IF;
    PERFORM set_config('meeting.of', pg_current_xact_id()::text, true);
    number := nextval('meeting.came');
    WHILE (SELECT last_value + 1 < (number / %d + 1) * %d FROM meeting.came) LOOP
      IF clock_timestamp() > till THEN RAISE 'nobody else came'; END IF;
      PERFORM pg_sleep(0.005);
    END LOOP;
    RETURN true;
  END $$;
  CREATE FUNCTION meeting.meet() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN PERFORM meeting.wait(); RETURN NULL; END $$]]
local OWN = [[
  CREATE SCHEMA shard%d; SET search_path = shard%d;
  CREATE TABLE items (id bigint PRIMARY KEY, value jsonb NOT NULL);
  CREATE TABLE old (LIKE items INCLUDING ALL);
  CREATE TABLE mortal (LIKE items INCLUDING ALL);
  CREATE TRIGGER meet AFTER INSERT OR UPDATE OR DELETE ON items EXECUTE FUNCTION meeting.meet();
  CREATE TRIGGER meet AFTER UPDATE ON old EXECUTE FUNCTION meeting.meet();
  CREATE TRIGGER meet AFTER DELETE ON mortal EXECUTE FUNCTION meeting.meet();
  CREATE VIEW seen AS SELECT id, value FROM items WHERE meeting.wait()]]
local db, shards

setup(function()
  db = support.db()
  support.psql(db, SHARED:format(PATIENCE, COUNT, COUNT))
  local list = {}
  for id = 0, COUNT - 1 do
    support.psql(db, OWN:format(id, id))
    local own = {}
    for key, value in pairs(db) do own[key] = value end
    own.params = { options = '-c search_path=shard' .. id }
    list[id + 1] = { id = id, db = own, redis = false, opts = { timeout = 2 * PATIENCE,
      tables = { stores.define('old', { version = 2, upgrade = {
          [2] = function(item) return item end } }),
        stores.define('mortal', { expires = 'till' }) } } }
  end
  shards = stores.Shards.new(list)
  shards:init()
end)
teardown(function()
  for _, store in ipairs(shards.shards) do support.close(store) end
  support.drop(db)
end)

local function records()
  local list = {}
  for n = 1, 4 * COUNT do list[n] = { id = tostring(n), n = n } end
  return list
end

local function ids()
  local list = {}
  for n = 1, 4 * COUNT do list[n] = tostring(n) end
  return list
end

local FILL = [[
  SET session_replication_role = replica; SET search_path = shard%d;
  TRUNCATE items, old, mortal;
  INSERT INTO items SELECT i, jsonb_build_object('n', i)
    FROM generate_series(1, %d) AS i WHERE i %% %d = %d;
  INSERT INTO old SELECT * FROM items;
  INSERT INTO mortal SELECT id, '{"till": 1}' FROM items]]

local function fill(count)
  support.psql(db, 'ALTER SEQUENCE meeting.came RESTART')
  for id = 0, COUNT - 1 do support.psql(db, FILL:format(id, count, COUNT, id)) end
end

local calls = {
  insertMany = function() shards:insertMany('items', records()) end,
  ['insertMany of a function'] = function()
    local list, at = records(), 0
    shards:insertMany('items', function()
      at = at + 1
      return list[at]
    end)
  end,
  upsertMany = function() shards:upsertMany('items', records()) end,
  deleteMany = function() shards:deleteMany('items', ids()) end,
  updateEach = function()
    shards:updateEach('items', {}, function(item) item.n = 0 end, { all = true })
  end,
  patchWhere = function() shards:patchWhere('items', {}, { set = { n = 0 } }, { all = true }) end,
  deleteWhere = function() shards:deleteWhere('items', {}, { all = true }) end,
  upgrade = function() shards:upgrade('old') end,
  expire = function() shards:expire('mortal') end,
  query = function()
    shards:query('SELECT meeting.wait()', {}, { on = 'all' })
  end,
  count = function() shards:count('seen') end,
  findAll = function() shards:findAll('seen') end,
  findAllByIds = function() shards:findAllByIds('seen', ids(), { cache = false }) end,
  findOne = function() shards:findOne('seen', {}, { all = true }) end,
  findByJSON = function() shards:findByJSON('seen', {}, { all = true, limit = 2 }) end,
  each = function() shards:each('seen', { batch = 2 })() end,
}

for name, call in pairs(calls) do
  describe(name, function()
    it('goes on in all shards at the same time', function()
      fill(name:find('^insert') and 0 or 4 * COUNT)
      call()
    end)
  end)
end
