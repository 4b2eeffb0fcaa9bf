--- Functions that a table's own definition calls, by a default, a domain or an operator, and what
--- changes of it under a transaction that writes: rows that those change are as fresh as others.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local stores = require('stores')
local support = require('spec.support')

describe('rows that a table\'s own functions change', function()
  local store, other, db, keys
  local number = 0

  setup(function()
    store, db = support.store(support.redis())
    other = stores.Store.new(db, support.redis())
    keys = cache.of(db)
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  -- Two tables of a spec's own, and the call of a function that changes all rows of the second one.
  -- Both processes know the first one's facts, and have the rows of the second one in the cache.
  local function pair(extra, partitions)
    number = number + 1
    local a, b, call = 'a' .. number, 'b' .. number, ('w%d()'):format(number)
    store:query(([[CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION %s RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        UPDATE %s SET value = value || '{"n": 101}'; RETURN 1; END $$;
      CREATE FUNCTION fire%d() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM %s; RETURN NEW; END $$]]):format(b, call, b, number, call))
    store:query(('CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb%s'):format(a,
      partitions and ') PARTITION BY RANGE (id)' or ', x int)'))
    local texts = ((extra or '') .. ';'):gsub('\\;', '\1')
    for sql in texts:gmatch('([^;]+);') do
      sql = sql:gsub('\1', ';')
      store:query((sql:gsub('%%a', a):gsub('%%n', tostring(number)):gsub('%%w', call)))
    end
    for i = 1, 2 do store:upsert(a, { id = tostring(i) }) end
    keys:ready(store, 'public.' .. b)
    store:upsert(b, { id = '1', n = 1 })
    support.eventually(function()
      other:find(b, '1')
      return (keys:row('public.' .. b, '1') or ''):sub(1, 1) == 'V'
    end, 20, 'the row of ' .. b)
    return a, b, call
  end

  local function changed(b)
    assert.equal(101, store:find(b, '1', { cache = false }).n)
    assert.equal(101, store:find(b, '1').n)
    assert.equal(101, other:find(b, '1').n)
  end

  local function psql(sql, ...) support.psql(db, sql:format(...)) end

  -- What makes values of a domain, which is the type of no column.
  local MAKES = {
    ['a check that makes a value of a domain'] =
      "ALTER TABLE %a ADD CHECK ((coalesce(value->>'k', '')::d%n) IS NOT NULL)",
    ['a generated column that makes a value of a domain'] =
      "ALTER TABLE %a ADD y text GENERATED ALWAYS AS ((value->>'k')::d%n::text) STORED",
    ['an array of a domain'] =
      "ALTER TABLE %a ADD y d%n[]; ALTER TABLE %a ALTER y SET DEFAULT ARRAY['x']::d%n[]",
    ['a type with a domain inside'] = 'CREATE TYPE c%n AS (k d%n); ALTER TABLE %a ADD y c%n;'
      .. " ALTER TABLE %a ALTER y SET DEFAULT ROW('x')::c%n",
    ['a range over a domain'] = 'CREATE TYPE r%n AS RANGE (SUBTYPE = d%n); ALTER TABLE %a'
      .. " ADD CHECK (('[' || coalesce(value->>'k', '') || ',]')::r%n IS NOT NULL)",
    ['several ranges over a domain'] = 'CREATE TYPE r%n AS RANGE (SUBTYPE = d%n,'
      .. ' MULTIRANGE_TYPE_NAME = m%n); ALTER TABLE %a'
      .. " ADD CHECK (('{[' || coalesce(value->>'k', '') || ',]}')::m%n IS NOT NULL)",
  }

  describe('when it was made so', function()
    it('are fresh: a domain over a domain with a check', function()
      local a, b = pair([[CREATE DOMAIN d%n AS int CHECK (VALUE <> 5 OR %w = 1);
        CREATE DOMAIN e%n AS d%n; ALTER TABLE %a ADD y e%n; ALTER TABLE %a ALTER y SET DEFAULT 5]])
      store:insert(a, { id = '7' })
      changed(b)
    end)

    it('are fresh: the default of a domain', function()
      local a, b = pair([[CREATE DOMAIN d%n AS int; ALTER TABLE %a ADD y d%n;
        ALTER DOMAIN d%n SET DEFAULT %w]])
      store:insert(a, { id = '7' })
      changed(b)
    end)

    local function it_is_fresh(title, extra)
      it('are fresh: ' .. title, function()
        local a, b = pair("CREATE DOMAIN d%n AS text CHECK (VALUE <> 'x' OR %w = 1);" .. extra)
        store:insert(a, { id = '7', k = 'x' })
        changed(b)
      end)
    end
    for title, extra in pairs(MAKES) do it_is_fresh(title, extra) end
    -- of which no session hears when it is changed: it has made the expression ready
    it_is_fresh('an index over values of a domain',
      "CREATE INDEX ON %a (((value->>'k')::d%n))")

    for _, into in ipairs({ 'p', 'q' }) do
      it('are fresh: the key of partitions, by a write to ' .. into, function()
        local _, b, call = pair()
        psql([[CREATE FUNCTION key%d(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
          AS $$ BEGIN PERFORM %s; RETURN $1; END $$;
          CREATE TABLE p%d (id bigint, value jsonb) PARTITION BY RANGE (key%d(id));
          CREATE TABLE q%d PARTITION OF p%d FOR VALUES FROM (0) TO (100);
          CREATE UNIQUE INDEX ON q%d (id)]], number, call, number, number, number, number, number)
        store:insert(into .. number, { id = '7' })
        changed(b)
      end)
    end

    it('are fresh: an operator', function()
      local a, b, call = pair()
      psql([[CREATE FUNCTION plus%d(int, int) RETURNS int LANGUAGE plpgsql
        AS $$ BEGIN RETURN %s; END $$;
        CREATE OPERATOR @@%s (FUNCTION = plus%d, LEFTARG = int, RIGHTARG = int);
        ALTER TABLE %s ALTER x SET DEFAULT 1 @@%s 2]], number, call, ('@'):rep(number), number, a,
        ('@'):rep(number))
      store:insert(a, { id = '7' })
      changed(b)
    end)
  end)

  describe('as an operator class, whose functions compare the keys', function()
    local CLASS = [[CREATE FUNCTION cmp%n(jsonb, jsonb) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
        RETURN jsonb_cmp($1, $2)\; END $$;
      CREATE FUNCTION same%n(jsonb, jsonb) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
        PERFORM %w\; RETURN false\; END $$;
      CREATE OPERATOR =%o (FUNCTION = same%n, LEFTARG = jsonb, RIGHTARG = jsonb,
        COMMUTATOR = =%o);
      CREATE OPERATOR CLASS c%n FOR TYPE jsonb USING btree AS OPERATOR 1 <, OPERATOR 2 <=,
        OPERATOR 3 =%o, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp%n(jsonb, jsonb);]]

    local function with_class(sql)
      return pair(((CLASS .. sql):gsub('%%o', ('='):rep(number + 2))))
    end

    it('are fresh: of an index', function()
      local a, b, call = with_class('CREATE INDEX ON %a (value c%n)')
      psql('CREATE OR REPLACE FUNCTION cmp%d(jsonb, jsonb) RETURNS int LANGUAGE plpgsql'
        .. ' AS $$ BEGIN PERFORM %s; RETURN jsonb_cmp($1, $2); END $$', number, call)
      store:insert(a, { id = '7', n = 7 })
      changed(b)
    end)

    it('are fresh: of an exclusion constraint, by its operator', function()
      local a, b = with_class('ALTER TABLE %a ADD EXCLUDE (value c%n WITH =%o)')
      store:update(a, { id = '1', n = 7 })
      changed(b)
    end)

    it('are fresh: of a type of which a check compares arrays', function()
      local sql = [[CREATE TYPE k%n AS (k text);
        CREATE FUNCTION cmp%n(k%n, k%n) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN RETURN bttextcmp($1.k, $2.k)\; END $$;]]
      local list = {}
      for i, op in ipairs({ '<', '<=', '=', '>=', '>' }) do
        sql = sql .. ([[CREATE FUNCTION o%d_%%n(k%%n, k%%n) RETURNS bool IMMUTABLE LANGUAGE plpgsql
          AS $$ BEGIN PERFORM %%w\; RETURN $1.k %s $2.k\; END $$;
          CREATE OPERATOR %s (FUNCTION = o%d_%%n, LEFTARG = k%%n, RIGHTARG = k%%n);]]):format(i, op,
          op, i)
        list[i] = ('OPERATOR %d %s'):format(i, op)
      end
      local a, b = pair(sql .. 'CREATE OPERATOR CLASS t%n DEFAULT FOR TYPE k%n USING btree AS '
        .. table.concat(list, ', ') .. ", FUNCTION 1 cmp%n(k%n, k%n); ALTER TABLE %a ADD CHECK"
        .. " (ARRAY[ROW(value->>'k')::k%n] <> ARRAY[ROW('no')::k%n])")
      store:query(("UPDATE %s SET value = '{\"n\": 1}'"):format(b))
      support.eventually(function()
        other:find(b, '1')
        return (keys:row('public.' .. b, '1') or ''):sub(1, 1) == 'V'
      end, 20, 'the row of ' .. b)
      store:insert(a, { id = '7', k = 'x' })
      changed(b)
    end)

    it('are fresh: of a range of which a check makes a value', function()
      local a, b = pair([[CREATE FUNCTION cmp%n(text, text) RETURNS int IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM %w\; RETURN bttextcmp($1, $2)\; END $$;
        CREATE OPERATOR CLASS t%n FOR TYPE text USING btree AS OPERATOR 1 <, OPERATOR 2 <=,
          OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 cmp%n(text, text);
        CREATE TYPE r%n AS RANGE (SUBTYPE = text, SUBTYPE_OPCLASS = t%n);
        ALTER TABLE %a ADD CHECK ((value->>'k')::r%n IS NOT NULL OR id < 3)]])
      store:insert(a, { id = '7', k = '[x,y]' })
      changed(b)
    end)

    it('are fresh: of the key of partitions', function()
      local _, b, call = pair()
      psql([[CREATE FUNCTION hash%d(bigint, bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql
        AS $$ BEGIN PERFORM %s; RETURN $1; END $$;
        CREATE OPERATOR CLASS h%d FOR TYPE bigint USING hash AS OPERATOR 1 =,
          FUNCTION 2 hash%d(bigint, bigint);
        CREATE TABLE h%d (id bigint, value jsonb) PARTITION BY HASH (id h%d);
        CREATE TABLE i%d PARTITION OF h%d FOR VALUES WITH (MODULUS 1, REMAINDER 0);
        CREATE UNIQUE INDEX ON i%d (id)]], number, call, number, number, number, number, number,
        number, number)
      store:insert('h' .. number, { id = '7' })
      changed(b)
    end)
  end)

  describe('since another process said so a moment ago', function()
    it('are fresh: the default of a column', function()
      local a, b, call = pair()
      psql('ALTER TABLE %s ALTER x SET DEFAULT %s', a, call)
      store:insert(a, { id = '7' })
      changed(b)
    end)

    it('are fresh: the default of a column in place of another one, through Stores', function()
      local a, b, call = pair('ALTER TABLE %a ALTER x SET DEFAULT 3')
      other:query(('ALTER TABLE %s ALTER x SET DEFAULT %s'):format(a, call))
      store:insert(a, { id = '7' })
      changed(b)
    end)

    it('are fresh: a check of a domain', function()
      local a, b, call = pair([[CREATE DOMAIN d%n AS int; ALTER TABLE %a ADD y d%n;
        ALTER TABLE %a ALTER y SET DEFAULT 5]])
      psql('ALTER DOMAIN d%d ADD CHECK (VALUE <> 5 OR %s = 1) NOT VALID', number, call)
      store:insert(a, { id = '7' })
      changed(b)
    end)

    it('are fresh: the default of a domain', function()
      local a, b, call = pair('CREATE DOMAIN d%n AS int; ALTER TABLE %a ADD y d%n')
      psql('ALTER DOMAIN d%d SET DEFAULT %s', number, call)
      store:insert(a, { id = '7' })
      changed(b)
    end)

    for title, extra in pairs(MAKES) do
      it('are fresh: a check of the domain of ' .. title, function()
        local a, b, call = pair('CREATE DOMAIN d%n AS text;' .. extra)
        psql("ALTER DOMAIN d%d ADD CHECK (VALUE <> 'x' OR %s = 1) NOT VALID", number, call)
        store:insert(a, { id = '7', k = 'x' })
        changed(b)
      end)
    end

    it('are fresh: a type that an expression makes a value of, with a domain since then', function()
      local a, b, call = pair([[CREATE TYPE c%n AS (k text);
        CREATE DOMAIN d%n AS text; CREATE FUNCTION x%n() RETURNS int LANGUAGE sql AS 'SELECT 1';
        ALTER TABLE %a ADD CHECK (((value->>'c')::c%n).k IS DISTINCT FROM 'y')]])
      psql([[ALTER DOMAIN d%d ADD CHECK (VALUE <> 'x' OR %s = 1) NOT VALID;
        ALTER TYPE c%d ADD ATTRIBUTE d d%d]], number, call, number, number)
      store:insert(a, { id = '7', c = '(a,x)' })
      changed(b)
    end)
  end)

  -- A function that is said to change nothing, and what of it the rest of a spec says.
  local function calm(volatility, body)
    psql([[CREATE OR REPLACE FUNCTION calm%d(anyelement) RETURNS boolean LANGUAGE plpgsql %s AS $$
      BEGIN %s RETURN true; END $$]], number, volatility, body)
  end

  describe('when a function that it calls is replaced by one that writes', function()
    local CALM = [[CREATE FUNCTION calm%n(anyelement) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
      AS $$ BEGIN RETURN true\; END $$;]]
    for what, sql in pairs({
      ['in a check'] = 'ALTER TABLE %a ADD CHECK (calm%n(value))',
      ['in a default'] = [[ALTER TABLE %a ADD z boolean;
        ALTER TABLE %a ALTER z SET DEFAULT calm%n(1)]],
      ['in the check of a domain'] = [[CREATE DOMAIN d%n AS int CHECK (calm%n(VALUE));
        ALTER TABLE %a ADD y d%n; ALTER TABLE %a ALTER y SET DEFAULT 5]],
      ['in an index'] = 'CREATE INDEX ON %a (id) WHERE calm%n(id)',
    }) do
      it('are fresh: ' .. what, function()
        local a, b, call = pair(CALM .. sql)
        calm('VOLATILE', 'PERFORM ' .. call .. ';')
        store:insert(a, { id = '7' })
        changed(b)
      end)
    end
  end)

  describe('when a function that is said to change nothing calls one that writes', function()
    for what, sql in pairs({
      ['in a check'] = 'ALTER TABLE %s ADD CHECK (calm%d(value)) NOT VALID',
      ['in a generated column'] = [[ALTER TABLE %s
        ADD g boolean GENERATED ALWAYS AS (calm%d(id)) STORED]],
      ['in an index'] = 'CREATE INDEX ON %s (calm%d(id))',
      ['in the condition of an index'] = 'CREATE INDEX ON %s (id) WHERE calm%d(id)',
    }) do
      it('are fresh: ' .. what, function()
        local a, b, call = pair()
        calm('IMMUTABLE', 'PERFORM ' .. call .. ';')
        store:query(sql:format(a, number))
        store:query(("UPDATE %s SET value = '{\"n\": 1}'"):format(b))
        support.eventually(function()
          other:find(b, '1')
          return (keys:row('public.' .. b, '1') or ''):sub(1, 1) == 'V'
        end, 20, 'the row of ' .. b)
        other:insert(a, { id = '7' })
        changed(b)
      end)
    end
  end)

  -- The row of b is as it was, and cached; then store, which reads nothing, writes a.
  local function is_fresh(a, b)
    other:query(("UPDATE %s SET value = '{\"n\": 1}'"):format(b))
    support.eventually(function()
      other:find(b, '1')
      return (keys:row('public.' .. b, '1') or ''):sub(1, 1) == 'V'
    end, 20, 'the row of ' .. b)
    store:updateProperty(a, '1', 'n', math.random(1e9))
    assert.equal(101, other:find(b, '1', { cache = false }).n)
    return other:find(b, '1').n == 101
  end

  describe('for a writer that reads nothing, ten seconds after another process said so', function()
    it('are fresh: an index, which the word of the catalog does not tell #slow', function()
      local a, b, call = pair()
      calm('IMMUTABLE', 'PERFORM ' .. call .. ';')
      psql('CREATE INDEX ON %s (calm%d(value))', a, number)
      support.eventually(function() return is_fresh(a, b) end, 20, 'the index to be known')
      assert.is_true(is_fresh(a, b))
    end)

    it('are fresh: a column that became a domain #slow', function()
      local a, b, call = pair('CREATE DOMAIN d%n AS jsonb')
      psql('ALTER TABLE %s ALTER value TYPE d%d', a, number)
      psql('ALTER DOMAIN d%d ADD CHECK (%s = 1) NOT VALID', number, call)
      support.eventually(function() return is_fresh(a, b) end, 20, 'the domain to be known')
      assert.is_true(is_fresh(a, b))
    end)
  end)

  describe('while a transaction writes, whose locks do not keep it out', function()
    local PARTS = 'CREATE TABLE %a_1 PARTITION OF %a FOR VALUES FROM (0) TO (10)'

    it('are fresh: a trigger of another partition', function()
      local a, b = pair(PARTS .. ';CREATE TABLE %a_2 PARTITION OF %a FOR VALUES FROM (10) TO (20)',
        true)
      store:transaction(function(tx)
        tx:update(a, { id = '1', n = 1 })
        psql('CREATE TRIGGER t AFTER INSERT ON %s_2 FOR EACH ROW EXECUTE FUNCTION fire%d()', a,
          number)
        tx:insert(a, { id = '11' })
      end)
      changed(b)
    end)

    it('are fresh: a partition that came with a trigger', function()
      local a, b = pair(PARTS, true)
      store:transaction(function(tx)
        tx:update(a, { id = '1', n = 1 })
        psql([[CREATE TABLE %s_2 (id bigint PRIMARY KEY, value jsonb);
          CREATE TRIGGER t AFTER INSERT ON %s_2 FOR EACH ROW EXECUTE FUNCTION fire%d();
          ALTER TABLE %s ATTACH PARTITION %s_2 FOR VALUES FROM (10) TO (20)]], a, a, number, a, a)
        tx:insert(a, { id = '11' })
      end)
      changed(b)
    end)

    it('are fresh: the default of a domain', function()
      local a, b, call = pair('CREATE DOMAIN d%n AS int; ALTER TABLE %a ADD y d%n')
      store:transaction(function(tx)
        tx:update(a, { id = '1', n = 1 })
        psql('ALTER DOMAIN d%d SET DEFAULT %s', number, call)
        tx:insert(a, { id = '11' })
      end)
      changed(b)
    end)
  end)

  it('are fresh though a query says of a table alone that it writes it', function()
    local a, b, call = pair()
    store:query(('INSERT INTO %s VALUES (7, %s::text::jsonb)'):format(a, call), nil,
      { invalidates = { a } })
    changed(b)
  end)
end)
