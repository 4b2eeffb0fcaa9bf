--- What a session commits of which neither its words nor the answers tell: nobody goes on reading
--- what was there before.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('what a session committed unseen', function()
  local store, other, db
  local n = 0

  setup(function()
    store, db = support.store({ 'docs', 'others' })
    other = stores.Store.new(db, support.redis())
    store:query([[INSERT INTO docs VALUES (1, '{"n": 0}');
      CREATE FUNCTION adds() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        UPDATE docs SET value = jsonb_build_object('n', (value->>'n')::int + 1); RETURN 1; END $$;
      CREATE FUNCTION opens() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        EXECUTE 'DECLARE later CURSOR WITH HOLD FOR SELECT adds()'; RETURN 1; END $$;
      CREATE FUNCTION watches() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM adds(); END $$;
      CREATE VIEW opening AS SELECT opens();
      CREATE FUNCTION waits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        RAISE NOTICE 'what was answered so far is sent';
        PERFORM pg_advisory_xact_lock(7); RETURN adds(); END $$;
      CREATE FUNCTION is_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM waits(); RETURN NULL; END $$;
      CREATE TABLE late (x int);
      CREATE CONSTRAINT TRIGGER is_late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION is_late()]])
    store:query([[CREATE EVENT TRIGGER watches ON ddl_command_end WHEN TAG IN ('GRANT', 'COMMENT')
      EXECUTE FUNCTION watches()]])
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  local function read(from)
    return from:find('docs', '1').n
  end

  local function is_hit(from)
    local hits = from:stats().hits
    return read(from) == n and from:stats().hits > hits
  end

  local function is_cached()
    for _, from in ipairs({ store, other }) do
      support.eventually(function() return is_hit(from) end)
    end
  end

  local function is_read_by_all()
    n = n + 1
    for _, from in ipairs({ store, other }) do
      support.eventually(function() return read(from) == n end)
    end
  end

  for what, texts in pairs({
    ['by a cursor that it declared'] = { 'DECLARE c CURSOR WITH HOLD FOR SELECT adds()' },
    ['by a cursor among several statements'] = {
      'SET work_mem = 1000; DECLARE c CURSOR WITH HOLD FOR SELECT adds()' },
    ['by a cursor that a function opened'] = { 'SELECT opens()' },
    ['by a cursor that a view opened'] = { 'TABLE opening' },
    ['by what it made a table of'] = { 'CREATE TABLE made AS SELECT adds()' },
    ['by what it prepared, and made a table of'] = { 'PREPARE p AS SELECT adds()',
      'CREATE TABLE made_again AS EXECUTE p' },
    ['by what it made a materialized view of'] = {
      'CREATE MATERIALIZED VIEW kept AS SELECT adds()' },
    ['by a trigger of a GRANT'] = { 'GRANT SELECT ON others TO PUBLIC' },
    ['by a trigger of a COMMENT'] = { "COMMENT ON TABLE others IS 'x'" },
  }) do
    it(what .. ' is soon read by all', function()
      is_cached()
      store:session(function(session)
        for _, text in ipairs(texts) do session:query(text) end
      end)
      is_read_by_all()
    end)
  end

  -- The answer comes before the commit, which has locked nothing of it yet.
  for what, text in pairs({
    ['by a deferred trigger'] = 'INSERT INTO late VALUES (1)',
    ['by a cursor'] = 'DECLARE c CURSOR WITH HOLD FOR SELECT waits()',
    ['by a block'] = 'DO $$ BEGIN INSERT INTO late VALUES (1); END $$',
  }) do
    it(what .. ' that had to wait inside of its commit is soon read by all', function()
      is_cached()
      local is_locked = false
      stores.all({
        function()
          support.eventually(function() return is_locked end)
          store:session(function(session) session:query(text) end)
        end,
        function()
          store:transaction(function(tx)
            tx:query('SELECT pg_advisory_xact_lock(7)')
            is_locked = true
            support.eventually(function()
              return store:query([[SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                ]])[1]
            end)
            for _ = 1, 50 do -- what were told now would be over before that
              store:query('SELECT 1')
              assert.is_true(is_hit(store))
            end
          end)
        end,
      })
      is_read_by_all()
    end)
  end
end)
