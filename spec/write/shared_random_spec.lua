-- A chance of writes, called in one tick, where they share statements and transactions, and one by
-- one: the rows, what each caller is given, and each one's error are the same.

local stores = require('stores')
local support = require('spec.support')

local ROUNDS = 3

local SHAPES = [[
CREATE TABLE plain_% (id bigint PRIMARY KEY, value jsonb);
CREATE TABLE "Odd ""%""; table" (id bigint PRIMARY KEY, value jsonb, at timestamptz DEFAULT now(),
  n text GENERATED ALWAYS AS (value->>'n') STORED);
CREATE TABLE limited_% (id bigint PRIMARY KEY, value jsonb
  CONSTRAINT small CHECK ((value->>'n')::int < 60));
CREATE TABLE named_% (id bigint PRIMARY KEY, value jsonb);
CREATE UNIQUE INDEX named_name_% ON named_% ((value->>'name'));
INSERT INTO named_% VALUES (1, '{"name": "taken"}');
CREATE TABLE refers_% (id bigint PRIMARY KEY, value jsonb, ref bigint
  GENERATED ALWAYS AS ((value->>'n')::bigint) STORED REFERENCES parents DEFERRABLE
  INITIALLY DEFERRED);
CREATE TABLE skips_% (id bigint PRIMARY KEY, value jsonb);
CREATE TRIGGER skips BEFORE INSERT OR UPDATE OR DELETE ON skips_%
  FOR EACH ROW EXECUTE FUNCTION skips();
CREATE TABLE later_% (id bigint PRIMARY KEY, value jsonb);
]]

local HELP = [[
CREATE TABLE parents (id bigint PRIMARY KEY);
INSERT INTO parents SELECT generate_series(0, 49);
CREATE FUNCTION skips() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN RETURN CASE WHEN OLD.id % 5 = 0 THEN NULL ELSE OLD END; END IF;
  IF (NEW.value->>'n')::int % 7 = 0 THEN RETURN NULL; END IF;
  NEW.value := NEW.value || jsonb_build_object('seen', TG_OP);
  RETURN NEW;
END $$;
]]

local TABLES = { 'plain_%s', '"Odd ""%s""; table"', 'limited_%s', 'named_%s', 'refers_%s',
  'skips_%s', 'later_%s' }

local IDS = { '0', '-1', '7', '9223372036854775807', '-9223372036854775808', '4294967296' }
for i = 10, 50 do IDS[#IDS + 1] = tostring(i) end

local TEXTS = { '', '"\\{},', 'é\n\t', '😀', "it's $1 %T", '\1\31', ('x'):rep(40000), 'NULL' }

local function any(list) return list[math.random(#list)] end

-- Where names are to be unique some are taken by rows that stay.
local function document(id)
  return { id = id, n = math.random(0, 69), text = any(TEXTS),
    name = math.random(8) == 1 and 'taken' or 'name of ' .. id,
    list = math.random(2) == 1 and stores.json.array({}) or { 1.5, stores.json.null } }
end

-- Of rows that are no other's: those of one row are done in the order in which they came, which a
-- busy machine makes more than one tick of.
local function chance()
  local writes, ids = {}, {}
  for i, id in ipairs(IDS) do table.insert(ids, math.random(i), id) end
  for i = 1, math.random(#ids) do
    local doc = document(ids[i])
    writes[i] = { id = ids[i], doc = doc, kind = any({ 'insert', 'insert', 'update', 'update',
      'update', 'upsert', 'upsert', 'delete', 'etag', 'match', 'match_delete', 'patch' }),
      stale = math.random(2) == 1 }
  end
  return writes
end

local function copy(doc)
  local made = {}
  for key, value in pairs(doc) do made[key] = value end
  return made
end

local function etag_of(store, name, write)
  local _, etag = store:find(name, write.id, { etag = true, cache = false })
  if write.stale or not etag then return '"' .. ('0'):rep(32) .. '"' end
  return etag
end

local function spell(value)
  if type(value) ~= 'table' then return tostring(value) end
  local parts = {}
  for key, item in pairs(value) do parts[#parts + 1] = tostring(key) .. '=' .. spell(item) end
  table.sort(parts)
  return '{' .. table.concat(parts, ',') .. '}'
end

-- What a caller hears, as text; the name of the table is not part of it.
local function call(store, name, write, etag)
  local given
  if write.kind == 'insert' then given = { pcall(store.insert, store, name, copy(write.doc)) }
  elseif write.kind == 'update' then given = { pcall(store.update, store, name, copy(write.doc)) }
  elseif write.kind == 'upsert' then given = { pcall(store.upsert, store, name, copy(write.doc)) }
  elseif write.kind == 'delete' then given = { pcall(store.delete, store, name, write.id) }
  elseif write.kind == 'patch' then
    given = { pcall(store.patch, store, name, write.id, { set = { name = write.doc.name } }) }
  elseif write.kind == 'etag' then
    given = { pcall(store.update, store, name, copy(write.doc), { etag = true }) }
  elseif write.kind == 'match' then
    given = { pcall(store.update, store, name, copy(write.doc), { if_match = etag }) }
  else
    given = { pcall(store.delete, store, name, write.id, { if_match = etag }) }
  end
  local ok, value, more = given[1], given[2], given[3]
  if ok then
    return spell(value) .. ' ' .. tostring(more)
  end
  local function plain(text)
    return (tostring(text):gsub('_[ab]%f[^%w]', '_?'):gsub('"[ab]"', '"?"'))
  end
  -- why it conflicts is looked up later, when others have written; what is deferred fails with its
  -- COMMIT, or with the statement that commits itself
  local message = value.code ~= 'conflict' and plain(value.message) or ''
  local statement = value.sqlstate ~= '23503' and plain(value.statement) or ''
  return table.concat({ value.code, message, plain(value.constraint), tostring(value.sqlstate),
    statement, tostring(value.outcome), plain(value.table), plain(value.detail) }, ' | ')
end

local function rows(store, name)
  return spell(store:query(('SELECT id, value::text AS text FROM %s ORDER BY id'):format(name)))
end

for _, how in ipairs({ 'with Redis', 'without Redis' }) do
  describe('a chance of writes, ' .. how .. ',', function()
    local store, db

    setup(function()
      store, db = support.store({}, { no_redis = how == 'without Redis' or nil })
      support.psql(db, HELP .. SHAPES:gsub('%%', 'a') .. SHAPES:gsub('%%', 'b'))
    end)

    teardown(function() support.close(store, db) end)

    it('ends the same in one tick and one by one', function()
      local seed, shared = os.time(), 0
      local off = stores.on('statement', function(event)
        if event.sql:find('int8[]', 1, true) then shared = shared + 1 end
      end)
      finally(off)
      math.randomseed(seed)
      for round = 1, ROUNDS do
        for _, shape in ipairs(TABLES) do
          local a, b = shape:format('a'), shape:format('b')
          local where = ('seed %d, round %d, %s'):format(seed, round, a)
          local writes, etags, given = chance(), {}, {}
          for i, write in ipairs(writes) do
            if write.kind:find('match') then etags[i] = etag_of(store, b, write) end
          end
          stores.run(function()
            for i, write in ipairs(writes) do
              stores.spawn(function() given[i] = call(store, a, write, etags[i]) end)
            end
          end)
          for i, write in ipairs(writes) do
            local what = ('%s, %d: %s of %s'):format(where, i, write.kind, write.id)
            assert.equal(call(store, b, write, etags[i]), given[i], what)
          end
          assert.equal(rows(store, b), rows(store, a), where)
          assert.equal(spell(store:findAllByIds(b, IDS)), spell(store:findAllByIds(a, IDS)), where)
        end
        if round == 1 then
          for _, name in ipairs({ 'later_a', 'later_b' }) do
            support.psql(db, ('CREATE TRIGGER skips BEFORE INSERT OR UPDATE OR DELETE ON %s '
              .. 'FOR EACH ROW EXECUTE FUNCTION skips()'):format(name))
          end
        end
      end
      assert.is_true(shared > ROUNDS, shared)
    end)

    it('waits in no circle, whoever else writes its rows in which order', function()
      store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
      store:query([[INSERT INTO docs SELECT i, '{}' FROM generate_series(1, 40) i]])
      local function another()
        return stores.Store.new(support.config(db.database, { application_name = 'circle' }),
          how == 'with Redis' and support.redis() or nil)
      end
      local writers, wrong = { another(), another() }, {}
      local function spawn(fn)
        stores.spawn(function()
          local ok, err = pcall(fn)
          if not ok then wrong[#wrong + 1] = tostring(err) end
        end)
      end
      stores.run(function()
        for i = 1, 320 do
          local of, id = writers[math.random(2)], math.random(39)
          spawn(function() of:update('docs', { id = tostring(id), n = i }) end)
          if i % 20 == 0 then
            spawn(function()
              of:transaction(function(tx)
                tx:update('docs', { id = tostring(id), n = i })
                tx:update('docs', { id = tostring(math.random(id + 1, 40)), n = i })
              end, { retries = 0 })
            end)
          end
        end
      end)
      for _, of in ipairs(writers) do of:close() end -- their sessions tell when they end
      assert.same({}, wrong)
      support.eventually(function()
        return store:query("SELECT FROM pg_stat_activity WHERE application_name = 'circle'",
          {}, { readonly = true })[1] == nil
      end, 60)
      assert.equal(0, tonumber(store:query('SELECT deadlocks FROM pg_stat_database '
        .. 'WHERE datname = current_database()', {}, { readonly = true })[1].deadlocks))
    end)

    it('tells the truth where sessions are ended and statements canceled under it', function()
      store:query('CREATE TABLE ended (id bigint PRIMARY KEY, value jsonb)')
      local own = stores.Store.new(support.config(db.database, { application_name = 'ended' }),
        how == 'with Redis' and support.redis() or nil)
      local told = {}
      local function write(id)
        local name = math.random(2) == 1 and 'insert' or 'upsert'
        local ok, err = pcall(own[name], own, 'ended', { id = tostring(id), n = id })
        told[id] = ok and 'done' or err.outcome
      end
      for tick = 0, 14 do
        stores.run(function()
          for i = 1, 40 do stores.spawn(write, tick * 40 + i) end
          stores.spawn(function()
            stores.sleep(math.random(0, 20) / 10000)
            store:query(('SELECT pg_%s_backend(pid) FROM pg_stat_activity WHERE application_name '
              .. "= 'ended'"):format(math.random(2) == 1 and 'cancel' or 'terminate'), {},
              { readonly = true })
          end)
        end)
      end
      own:close()
      for id, what in ipairs(told) do
        local there = store:exists('ended', tostring(id), { cache = false })
        if what ~= 'unknown' then assert.equal(what == 'done', there, id .. ' ' .. what) end
        assert.equal(there, store:exists('ended', tostring(id)), id)
      end
    end)
  end)
end
