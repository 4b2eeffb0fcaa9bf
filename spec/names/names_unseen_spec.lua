--- What names mean in a transaction behind code that runs unseen, as that of a trigger: what its
--- own SQL means by them, and what everybody means by them stays what it was.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

-- The database, for a store of one connection.
local function alone(db)
  local fields = {}
  for key, value in pairs(db) do fields[key] = value end
  fields.poolsize = 1
  return fields
end

describe('The name of a table, behind code that runs unseen', function()
  for _, cached in ipairs({ true, false }) do
    describe((cached and 'with' or 'without') .. ' a cache', function()
      local store, db

      before_each(function()
        store, db = support.store({ 'docs', 'others' }, not cached and { no_redis = true } or nil)
        store:query([[CREATE SCHEMA b; CREATE TABLE b.docs (id bigint PRIMARY KEY, value jsonb);
          INSERT INTO docs VALUES (1, '{"of": "public"}');
          INSERT INTO b.docs VALUES (1, '{"of": "b"}'); INSERT INTO others VALUES (1, '{}');
          CREATE FUNCTION sets() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('search_path', 'b, public', true); RETURN true; END $$;
          CREATE FUNCTION sets_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM sets(); RETURN NEW; END $$;
          CREATE FUNCTION makes_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF to_regclass('pg_temp.docs') IS NOT NULL THEN RETURN NEW; END IF;
            CREATE TEMP TABLE docs (id bigint PRIMARY KEY, value jsonb) ON COMMIT DROP;
            INSERT INTO docs VALUES (1, '{"of": "temporary"}'); RETURN NEW; END $$;
          CREATE FUNCTION resets_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('search_path', 'public', true); RETURN NEW; END $$]])
      end)

      after_each(function() support.close(store, db) end)

      local function of(target) return target:find('docs', '1').of end

      local function trigger(fn)
        return ('CREATE TRIGGER t BEFORE INSERT OR UPDATE ON others FOR EACH ROW'
          .. ' EXECUTE FUNCTION %s()'):format(fn)
      end

      -- The verbs of a transaction mean what its own SQL means.
      local function means(tx, whose)
        assert.equal(whose, tx:query("SELECT value->>'of' AS of FROM docs")[1].of)
        assert.equal(whose, of(tx))
        tx:update('docs', { id = '1', of = whose, by = 'verb' })
        assert.equal('verb', tx:query("SELECT value->>'by' AS by FROM docs")[1].by)
      end

      local function everybody_sees_public()
        assert.equal('public', of(store))
        assert.equal('public', store:transaction(of))
      end

      local many = {}
      for i = 1, 300 do many[i] = { id = tostring(100 + i) } end

      for what, run in pairs({
        ['a verb'] = function(tx) tx:update('others', { id = '1', n = 1 }) end,
        ['a verb for many'] = function(tx)
          tx:upsertMany('others', { { id = '1' }, { id = '2' } })
        end,
        ['very many inserts'] = function(tx) tx:insertMany('others', many) end,
        ['a text that writes'] = function(tx) tx:query("UPDATE others SET value = '{}'") end,
      }) do
        for whose, fn in pairs({ b = 'sets_it', temporary = 'makes_it' }) do
          it(('is what the trigger of %s made of it: %s'):format(what, whose), function()
            store:query(trigger(fn))
            everybody_sees_public()
            store:transaction(function(tx)
              means(tx, 'public')
              run(tx)
              means(tx, whose)
            end)
            everybody_sees_public()
          end)
        end
      end

      -- without a cache nobody asks behind a write what its table is
      if cached then
        it('is what a trigger made of it that came meanwhile', function()
          store:update('others', { id = '1' })
          everybody_sees_public()
          support.psql(db, trigger('sets_it'))
          store:transaction(function(tx)
            assert.equal('public', of(tx))
            tx:update('others', { id = '1', n = 1 })
            means(tx, 'b')
          end)
          everybody_sees_public()
        end)
      end

      it('is what a view made of it that was found', function()
        store:query('CREATE VIEW seen AS SELECT * FROM others WHERE sets()')
        store:transaction(function(tx)
          means(tx, 'public')
          assert.is_truthy(tx:find('seen', '1'))
          means(tx, 'b')
        end)
        everybody_sees_public()
      end)

      it('is what a view made of it that was selected from', function()
        store:query('CREATE VIEW seen AS SELECT * FROM others WHERE sets()')
        store:transaction(function(tx)
          means(tx, 'public')
          assert.equal(1, #tx:findAll('seen'))
          means(tx, 'b')
        end)
        everybody_sees_public()
      end)

      it('is what a trigger made of it on a connection that has had temporary tables', function()
        local small = stores.Store.new(alone(db), cached and support.redis() or nil)
        small:query(trigger('makes_it'))
        for _ = 1, 3 do
          small:transaction(function(tx)
            means(tx, 'public')
            tx:update('others', { id = '1', n = 1 })
            means(tx, 'temporary')
          end)
        end
        support.close(small)
        everybody_sees_public()
      end)

      it('is for nobody else what a view made of it for the session', function()
        local small = stores.Store.new(alone(db), cached and support.redis() or nil)
        small:query([[CREATE FUNCTION stays() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('search_path', 'b, public', false); RETURN true; END $$;
          CREATE VIEW seen AS SELECT * FROM others WHERE stays()]])
        for _, look in ipairs({ 'find', 'findAll' }) do
          small:transaction(function(tx)
            tx[look](tx, 'seen', look == 'find' and '1' or nil)
            means(tx, 'b')
          end)
          assert.equal('"$user", public', small:query('SHOW search_path')[1].search_path)
        end
        for look, what in pairs({ findAll = {}, find = '1', findAllByIds = { '1' } }) do
          small[look](small, 'seen', what)
          assert.equal('"$user", public', small:query('SHOW search_path')[1].search_path)
        end
        stores.all({ -- on one lane
          function() small:find('seen', '1') end, function() small:find('docs', '1') end,
          function() small:find('b.docs', '1') end, function() small:exists('docs', '1') end,
        })
        everybody_sees_public()
        assert.equal('public', of(small))
        support.close(small)
        everybody_sees_public()
      end)

      it('is what it was where a savepoint undid it', function()
        store:query(trigger('sets_it'))
        store:transaction(function(tx)
          for _ = 1, 2 do
            pcall(tx.transaction, tx, function(inner)
              inner:update('others', { id = '1', n = 1 })
              means(inner, 'b')
              error('undone')
            end)
            means(tx, 'public')
          end
        end)
        everybody_sees_public()
      end)

      it('is what a trigger made of it behind a text that said otherwise', function()
        store:query(trigger('resets_it'))
        store:transaction(function(tx)
          tx:update('others', { id = '1', n = 1 })
          tx:query('SET LOCAL search_path = b, public')
          means(tx, 'b')
          tx:update('others', { id = '1', n = 2 })
          means(tx, 'public')
        end)
        everybody_sees_public()
      end)
    end)
  end

  it('is not asked for where a trigger leaves it as it was', function()
    local store, db = support.store({ 'docs' })
    store:query([[CREATE FUNCTION marks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.value = NEW.value || '{"seen": true}'; RETURN NEW; END $$;
      CREATE TRIGGER t BEFORE INSERT OR UPDATE ON docs FOR EACH ROW EXECUTE FUNCTION marks()]])
    store:insert('docs', { id = '1' })
    local function trips(count)
      local before = store:stats().pg_round_trips
      store:transaction(function(tx)
        for n = 1, count do tx:update('docs', { id = '1', n = n }) end
      end)
      return store:stats().pg_round_trips - before
    end
    assert.equal(trips(1) + 5, trips(6))
    support.close(store, db)
  end)
end)
