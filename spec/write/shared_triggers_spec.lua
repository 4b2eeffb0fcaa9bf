-- Writes by id of one tick to one table share a statement (shared_statements_spec), but for those
-- of which a trigger could tell that they do.

local calls = require('spec.support.calls')
local support = require('spec.support')

local all_ok = calls.all_ok
local MANY = 40

local SCHEMA = [[
CREATE TABLE fired (what text, at bigserial);
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO fired VALUES (TG_OP || ' ' || TG_LEVEL); RETURN NULL; END $$;
CREATE TABLE fires (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER fires AFTER INSERT OR UPDATE OR DELETE ON fires
  FOR EACH STATEMENT EXECUTE FUNCTION fired();
CREATE TABLE planned (how text);
CREATE FUNCTION planned() RETURNS trigger LANGUAGE plpgsql AS $$
  BEGIN INSERT INTO planned VALUES (current_setting('enable_seqscan') || ' '
    || current_setting('plan_cache_mode')); RETURN NULL; END $$;
CREATE TABLE plans (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER plans AFTER UPDATE ON plans FOR EACH ROW EXECUTE FUNCTION planned();
CREATE TABLE fires_later (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE moves_later (id bigint PRIMARY KEY, value jsonb);
]]

for _, how in ipairs({ 'with Redis', 'without Redis' }) do
  describe('writes of one tick to one table, ' .. how .. ',', function()
    local store, db

    setup(function()
      store, db = support.store({ 'docs' }, { no_redis = how == 'without Redis' or nil })
      support.psql(db, SCHEMA)
    end)

    teardown(function() support.close(store, db) end)

    local function together(fn)
      return calls.together(MANY, fn)
    end

    local function fill(name)
      store:query(('DELETE FROM %s'):format(name)) -- TRUNCATE makes another table of it
      store:query(([[INSERT INTO %s SELECT i, jsonb_build_object('id', i::text, 'n', 0)
        FROM generate_series(1, %d) i]]):format(name, MANY))
    end

    it('have statements of their own where a trigger could tell', function()
      fill('fires')
      store:query('DELETE FROM fired')
      all_ok(together(function(i) return store:update('fires', { id = tostring(i), n = i }) end))
      assert.equal(MANY, tonumber(store:query('SELECT count(*) AS n FROM fired')[1].n))
    end)

    it('have triggers of other tables plan as they do elsewhere', function()
      fill('docs')
      fill('plans')
      for _ = 1, 3 do -- in one transaction, once both tables are known
        all_ok(together(function(i)
          return store:update(i % 10 == 0 and 'plans' or 'docs', { id = tostring(i), n = i })
        end))
      end
      assert.same({ { how = 'on auto' } }, store:query('SELECT DISTINCT how FROM planned'))
    end)

    it('have statements of their own once there is a trigger that was not there before', function()
      fill('fires_later')
      all_ok(together(function(i)
        return store:update('fires_later', { id = tostring(i), n = 1 })
      end))
      support.psql(db, [[DELETE FROM fired;
        CREATE TRIGGER fires AFTER UPDATE ON fires_later
        FOR EACH STATEMENT EXECUTE FUNCTION fired()]])
      all_ok(together(function(i)
        return store:update('fires_later', { id = tostring(i), n = 2 })
      end))
      assert.equal(MANY, tonumber(store:query('SELECT count(*) AS n FROM fired')[1].n))
      support.psql(db, 'DROP TRIGGER fires ON fires_later')

      fill('moves_later')
      all_ok(together(function(i)
        return store:update('moves_later', { id = tostring(i), n = 1 })
      end))
      support.psql(db, [[
        CREATE FUNCTION moves() RETURNS trigger LANGUAGE plpgsql AS $$
          BEGIN NEW.id := NEW.id + 1000; RETURN NEW; END $$;
        CREATE TRIGGER moves BEFORE UPDATE ON moves_later FOR EACH ROW EXECUTE FUNCTION moves()]])
      local moved = together(function(i)
        local record = { id = tostring(i), n = 2 }
        store:update('moves_later', record)
        return record.id
      end)
      for i = 1, MANY do assert.equal(tostring(i + 1000), moved[i].value) end
      support.psql(db, 'DROP TRIGGER moves ON moves_later; DROP FUNCTION moves()')
    end)
  end)
end
