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
      CREATE VIEW opening AS SELECT opens()]])
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
      support.eventually(function()
        read(other)
        local hits = other:stats().hits
        return read(other) == n and other:stats().hits > hits
      end)
      store:session(function(session)
        for _, text in ipairs(texts) do session:query(text) end
      end)
      n = n + 1
      for _, from in ipairs({ store, other }) do
        support.eventually(function() return read(from) == n end)
      end
    end)
  end
end)
