-- Writes by id of one tick to one table share a statement over arrays, and nobody can tell: each
-- caller hears what happened to its own row, and where one fails the others are not concerned.

local calls = require('spec.support.calls')
local stores = require('stores')
local support = require('spec.support')

local all_ok = calls.all_ok
local MANY = 40

local SCHEMA = [[
CREATE TABLE limited (id bigint PRIMARY KEY, value jsonb
  CONSTRAINT small CHECK ((value->>'n')::int < 100));
CREATE TABLE meets (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE named (id bigint PRIMARY KEY, value jsonb);
CREATE UNIQUE INDEX named_name ON named ((value->>'name'));
CREATE TABLE behind (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE grows (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE parted (id bigint PRIMARY KEY, value jsonb) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (20);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (20) TO (1000);
CREATE VIEW seen AS SELECT id, value FROM behind;
CREATE TABLE made (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, value jsonb,
  n int GENERATED ALWAYS AS ((value->>'n')::int) STORED, at timestamptz DEFAULT now());
]]

for _, how in ipairs({ 'with Redis', 'without Redis' }) do
  describe('writes of one tick to one table, ' .. how .. ',', function()
    local store, db

    setup(function()
      store, db = support.store({ 'docs' }, { no_redis = how == 'without Redis' or nil })
      support.psql(db, SCHEMA)
    end)

    teardown(function() support.close(store, db) end)

    local function together(fn, count)
      return calls.together(count or MANY, fn)
    end

    --- Those of the statements that fn has sent which change the table.
    local function sent(name, fn)
      local list = {}
      local off = stores.on('statement', function(event)
        local verb = event.sql:match('^%u+')
        if (verb == 'INSERT' or verb == 'UPDATE' or verb == 'DELETE')
          and event.sql:find('public.' .. name, 1, true) then
          list[#list + 1] = event
        end
      end)
      local ok, err = pcall(fn)
      off()
      if not ok then error(err, 0) end
      return list
    end

    --- A slow program starts its calls in more than one tick. Gives the rows of all of them.
    local function shared(statements)
      local rows = 0
      for _, event in ipairs(statements) do rows = rows + event.rows end
      assert.is_true(#statements < MANY / 4, #statements)
      return rows
    end

    local function fill(name, count)
      store:query(('DELETE FROM %s'):format(name)) -- TRUNCATE makes another table of it
      store:query(([[INSERT INTO %s SELECT i, jsonb_build_object('id', i::text, 'n', 0)
        FROM generate_series(1, %d) i]]):format(name, count or MANY))
    end

    it('are one statement, and each caller gets what is its own', function()
      fill('docs')
      local updated
      -- every third one has no row
      local statements = sent('docs', function()
        updated = together(function(i)
          return store:update('docs', { id = tostring(i % 3 == 0 and i + 1000 or i), n = i })
        end)
      end)
      assert.equal(MANY - math.floor(MANY / 3), shared(statements))
      all_ok(updated)
      for i = 1, MANY do
        assert.equal(i % 3 ~= 0, updated[i].value)
        assert.equal(i % 3 ~= 0 and i or 0, store:find('docs', tostring(i)).n)
      end

      local upserted
      statements = sent('docs', function()
        upserted = together(function(i)
          return store:upsert('docs', { id = tostring(i + MANY / 2), n = -i })
        end)
      end)
      shared(statements)
      all_ok(upserted)
      for i = 1, MANY do assert.equal(i > MANY / 2, upserted[i].more, i) end

      local deleted
      statements = sent('docs', function()
        deleted = together(function(i) return store:delete('docs', tostring(2 * i)) end)
      end)
      shared(statements)
      all_ok(deleted)
      for i = 1, MANY do assert.equal(2 * i <= 1.5 * MANY, deleted[i].value, i) end
      for i = 1, 1.5 * MANY do assert.equal(i % 2 == 1, store:exists('docs', tostring(i)), i) end
    end)

    it('give rows and etags as they are stored', function()
      fill('docs')
      local given = together(function(i)
        local _, etag = store:update('docs', { id = tostring(i), n = i, text = '"\\{},\né' .. i },
          { etag = true })
        return etag
      end)
      all_ok(given)
      local statements = sent('docs', function()
        given = together(function(i)
          -- every fourth one knows an older one
          local etag = i % 4 == 0 and given[i % MANY + 1].value or given[i].value
          return store:update('docs', { id = tostring(i), n = -i }, { if_match = etag })
        end)
      end)
      shared(statements)
      for i, one in ipairs(given) do
        assert.equal(i % 4 ~= 0, one.ok, tostring(one.value))
        if not one.ok then assert.equal('conflict', one.value.code) end
        local doc = store:find('docs', tostring(i), { cache = false })
        assert.equal(i % 4 == 0 and i or -i, doc.n)
        if i % 4 == 0 then assert.equal('"\\{},\né' .. i, doc.text) end
      end
    end)

    it('fail each by itself', function()
      fill('limited')
      local given = together(function(i)
        return store:update('limited', { id = tostring(i), n = i == 7 and 100 or i })
      end)
      for i, one in ipairs(given) do
        assert.equal(i ~= 7, one.ok, tostring(one.value))
        assert.equal(i == 7 and 0 or i, store:find('limited', tostring(i)).n)
      end
      local err = given[7].value
      assert.equal('small', err.constraint)
      assert.equal('none', err.outcome)
      assert.matches('WHERE id = %$1::bigint', err.statement)

      store:query('DELETE FROM named')
      given = together(function(i)
        return store:insert('named', { id = tostring(i), name = 'name ' .. (i == 9 and 3 or i) })
      end)
      local failed = {}
      for i, one in ipairs(given) do
        if not one.ok then failed[#failed + 1] = i end
      end
      assert.equal(1, #failed)
      assert.is_true(failed[1] == 3 or failed[1] == 9)
      assert.equal('named_name', given[failed[1]].value.constraint)
      assert.equal(MANY - 1, store:count('named'))
    end)

    it('hear which ids are taken, and store the others', function()
      fill('docs', 5)
      local given
      local statements = sent('docs', function()
        given = together(function(i) return store:insert('docs', { id = tostring(i), n = i }) end)
      end)
      shared(statements)
      for i, one in ipairs(given) do
        assert.equal(i > 5, one.ok)
        if i <= 5 then assert.equal('duplicate', one.value.code) end
        assert.equal(i > 5 and i or 0, store:find('docs', tostring(i)).n)
      end
    end)

    it('look for ids that are taken only once one was, and then run together again', function()
      local function insert(from)
        local given
        local statements = sent('meets', function()
          given = together(function(i)
            return store:insert('meets', { id = tostring(from + i), n = i })
          end)
        end)
        local looked, single = 0, 0
        for _, event in ipairs(statements) do
          if event.sql:find('ON CONFLICT', 1, true) then looked = looked + 1 end
          if not event.sql:find('unnest', 1, true) then single = single + 1 end
        end
        assert.is_true(single < MANY / 4, single)
        return given, looked
      end

      insert(1000) -- the table is known from now on
      local given, looked = insert(2000)
      all_ok(given)
      assert.equal(0, looked)
      given, looked = insert(2000 + MANY - 3)
      assert.is_true(looked > 0)
      for i, one in ipairs(given) do
        assert.equal(i > 3, one.ok)
        if i <= 3 then assert.equal('duplicate', one.value.code) end
      end
      given, looked = insert(3000)
      all_ok(given)
      assert.is_true(looked > 0)
      assert.equal(4 * MANY - 3, store:count('meets'))
    end)

    it('to one row are done in the order in which they came', function()
      fill('docs')
      local given = together(function(i)
        local id = tostring(math.ceil(i / 4)) -- four of each row
        if i % 4 == 1 then return store:delete('docs', id) end
        if i % 4 == 2 then return store:insert('docs', { id = id, n = i }) end
        return store:update('docs', { id = id, n = i })
      end, 64)
      all_ok(given)
      for id = 1, 16 do assert.equal(4 * id, store:find('docs', tostring(id)).n) end
    end)

    it('of updateObject are replaced together, and lose nothing', function()
      fill('docs')
      local function inc(doc) doc.n = doc.n + 1 end
      store:updateObject('docs', '1', inc) -- known not to wait from now on
      local statements = sent('docs', function()
        all_ok(together(function(i) return store:updateObject('docs', tostring(i), inc) end))
      end)
      assert.is_true(#statements < MANY / 2, #statements)
      for i = 1, MANY do assert.equal(i == 1 and 2 or 1, store:find('docs', tostring(i)).n) end
      -- somebody else changes rows meanwhile
      all_ok(together(function(i)
        if i % 2 == 0 then return store:updateObject('docs', tostring(i), inc) end
        return store:patch('docs', tostring(i + 1), { inc = { n = 1 } })
      end))
      for i = 1, MANY do
        assert.equal(i % 2 == 0 and 3 or i == 1 and 2 or 1, store:find('docs', tostring(i)).n)
      end
    end)

    it('of many bytes are all stored', function()
      fill('docs')
      local sizes = { 10, 20000, 40000, 100, 300000 }
      all_ok(together(function(i)
        return store:update('docs', { id = tostring(i), n = i, text = ('x'):rep(sizes[i % 5 + 1]) })
      end))
      for i = 1, MANY do
        local doc = store:find('docs', tostring(i))
        assert.equal(sizes[i % 5 + 1], #doc.text)
        assert.equal(i, doc.n)
      end
    end)

    it('leave columns of their own to the table', function()
      store:query('DELETE FROM made')
      local statements = sent('made', function()
        all_ok(together(function(i) return store:insert('made', { id = tostring(i), n = i }) end))
      end)
      shared(statements)
      assert.equal(MANY, tonumber(store:query(
        'SELECT count(*) AS n FROM made WHERE n = id AND at IS NOT NULL')[1].n))
    end)

    it('reach partitions and what stands behind a view', function()
      all_ok(together(function(i) return store:insert('parted', { id = tostring(i), n = i }) end))
      all_ok(together(function(i) return store:upsert('parted', { id = tostring(i), n = -i }) end))
      assert.equal(MANY - 19, tonumber(store:query('SELECT count(*) AS n FROM parted_high '
        .. "WHERE (value->>'n')::int = -id")[1].n))
      store:query('DELETE FROM parted')
      fill('behind')
      all_ok(together(function(i) return store:update('seen', { id = tostring(i), n = 5 }) end))
      assert.equal(5, store:find('behind', tostring(MANY)).n)
    end)

    it('do not wait for a row that somebody holds, but the one that is of it', function()
      fill('docs')
      stores.run(function()
        local holder = stores.Store.new(db, nil, { cache = false })
        local done, held, over, late = 0, false, false, false
        local task = stores.spawn(function()
          holder:transaction(function(tx)
            tx:query('SELECT FROM docs WHERE id = 5 FOR UPDATE')
            held = true
            support.eventually(function() return over end, 60)
          end)
        end)
        support.eventually(function() return held end, 60)
        for i = 1, MANY do
          stores.spawn(function()
            store:update('docs', { id = tostring(i), n = i }, { timeout = 120 })
            if i == 5 then late = over else done = done + 1 end
          end)
        end
        support.eventually(function() return done == MANY - 1 end, 60)
        over = true
        task:join()
        support.eventually(function() return late end, 60)
        holder:close()
      end)
      for i = 1, MANY do assert.equal(i, store:find('docs', tostring(i)).n) end
    end)

    it('find the rows by their index, also where the table was tiny before', function()
      support.psql(db, [[TRUNCATE grows; ALTER TABLE grows SET (autovacuum_enabled = off);
        INSERT INTO grows SELECT i * 100, '{"n": 0}' FROM generate_series(1, 5) i; ANALYZE grows]])
      local other = stores.Store.new(support.config(db.database, { poolsize = 1 }),
        how == 'with Redis' and support.redis() or nil)
      local function update()
        all_ok(together(function(i)
          return other:update('grows', { id = tostring(i * 100), n = i })
        end))
        all_ok(together(function(i) return other:delete('grows', tostring(i * 100 + 1)) end))
      end
      for _ = 1, 8 do update() end -- what is planned is kept
      support.psql(db, [[INSERT INTO grows SELECT i, '{"n": 0}' FROM generate_series(1, 20000) i
        ON CONFLICT DO NOTHING]])
      update()
      other:close() -- its session tells of itself when it ends
      local function figure(name)
        return tonumber((support.psql(db,
          'SELECT ' .. name .. " FROM pg_stat_user_tables WHERE relname = 'grows'")))
      end
      support.eventually(function() return figure('n_tup_del') == MANY end, 60)
      assert.equal(0, figure('seq_tup_read'))
      support.psql(db, 'TRUNCATE grows')
    end)
  end)
end
