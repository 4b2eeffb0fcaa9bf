-- Stored values that Lua cannot hold as a document: what their error says, what became of the work,
-- and that the rows beside them are given.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local support = require('spec.support')

local refused = support.refused

local SCHEMA = [[
CREATE TABLE texts (id bigint PRIMARY KEY, value json);
INSERT INTO texts SELECT i, '{"n": 1}' FROM generate_series(1, 9) i;
INSERT INTO texts VALUES (42, '{"a": "\u0000"}'), (43, '{"a": "\ud800"}'), (50, '{"n": 2}'),
  (51, '5');
CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
INSERT INTO docs VALUES (1, '{"n": 1}'), (2, '5'), (3, '{"n": 3}');
CREATE TABLE marks (id bigint PRIMARY KEY, value jsonb)]]

describe('a value that cannot be read', function()
  local store, db

  setup(function()
    store, db = support.store({})
    store:query(SCHEMA)
  end)

  teardown(function() support.close(store, db) end)

  it('is an error that names its row, and says how its text is had', function()
    for _, call in ipairs({
      function() return store:find('texts', '42') end,
      function() return store:findAllByIds('texts', { '1', '42', '50' }) end,
      function() return store:findAll('texts', { after = '9' }) end,
    }) do
      for _ = 1, 2 do
        local err = refused('unreadable', 'row 42', call)
        assert.same({ '42', 'none', 409, false }, { err.row, err.outcome, err.http, err.retryable })
        assert.truthy(err.hint:find('raw', 1, true))
      end
    end
    assert.equal('{"a": "\\u0000"}', store:find('texts', '42', { raw = true }))
    assert.equal(13, #store:findAll('texts', { raw = true }))
    assert.equal(9, #store:findAll('texts', { limit = 9 }))
  end)

  it('names its column and line in a query', function()
    local err = refused('unreadable', '"line"', store.query, store,
      'SELECT id, value AS line FROM texts ORDER BY id')
    assert.truthy(err.message:find('row 10', 1, true))
    assert.equal(10, err.index)
    refused('unreadable', '"j"', store.query, store, [[SELECT '{"\u0000": 1}'::json AS j]])
    assert.equal('{"\\u0000": 1}',
      store:query([[SELECT '{"\u0000": 1}'::json AS j]], nil, { raw = true })[1].j)
  end)

  it('is met by each in its turn, and what lies behind it can be had', function()
    for _, batch in ipairs({ 1, 2, 3, 10, 11, 500 }) do
      local given, failed = {}, {}
      local next_one = store:each('texts', { batch = batch })
      for _ = 1, 20 do
        local ok, document = pcall(next_one)
        if ok and document == nil then break end
        if ok then given[#given + 1] = document.id else failed[#failed + 1] = document.row end
      end
      assert.same({ '1', '2', '3', '4', '5', '6', '7', '8', '9', '50' }, given, batch)
      assert.same({ '42', '43', '51' }, failed, batch)
      assert.is_nil(next_one())
    end
  end)

  it('does not undo a change whose answer it is: the error says committed', function()
    -- by a trigger, for no verb of Stores could write it
    store:query([[CREATE TABLE odd (id bigint PRIMARY KEY, value json);
      CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.value := '{"a": "\u0000"}'; RETURN NEW; END $$;
      INSERT INTO odd VALUES (1, '{}'), (2, '{}'), (3, '{}');
      CREATE TRIGGER spoil BEFORE UPDATE ON odd FOR EACH ROW EXECUTE FUNCTION spoil()]])
    local function spoiled(id)
      local text = support.psql(db, 'SELECT value::text FROM odd WHERE id = ' .. id)
      return text == '{"a": "\\u0000"}\n'
    end
    local err = refused('unreadable', 'row 1', store.updateObject, store, 'odd', '1',
      function(document) document.n = 1 end)
    assert.same({ 'committed', false }, { err.outcome, err.retryable })
    assert.is_true(spoiled(1))
    err = refused('unreadable', '"value"', store.query, store,
      [[UPDATE odd SET value = '{}' WHERE id = 2 RETURNING id, value]])
    assert.same({ 'committed', false }, { err.outcome, err.retryable })
    assert.is_true(spoiled(2))
    -- inside a transaction nothing is committed, and all of it is undone
    err = refused('unreadable', nil, store.transaction, store, function(tx)
      tx:insert('marks', { id = '1' })
      tx:query([[UPDATE odd SET value = '{}' WHERE id = 3 RETURNING value]])
    end)
    assert.equal('none', err.outcome)
    assert.is_false(spoiled(3))
    assert.is_false(store:exists('marks', '1'))
    -- what only reads has done nothing
    err = refused('unreadable', nil, store.query, store, 'SELECT value FROM odd ORDER BY id', nil,
      { readonly = true })
    assert.equal('none', err.outcome)
  end)

  it('that is no object does not undo a change either', function()
    store:query([[CREATE TABLE flat (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION flatten() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.value := '5'; RETURN NEW; END $$;
      INSERT INTO flat VALUES (1, '{}'), (2, '{}'), (3, '{}');
      CREATE TRIGGER flatten BEFORE UPDATE ON flat FOR EACH ROW EXECUTE FUNCTION flatten()]])
    for id, call in ipairs({
      function() store:patch('flat', '1', { set = { n = 1 } }) end,
      function() store:updateProperty('flat', '2', 'n', 1) end,
      function() store:updateObject('flat', '3', function(document) document.n = 1 end) end,
    }) do
      local err = refused('not_a_document', 'row ' .. id, call)
      assert.same({ 'committed', false }, { err.outcome, err.retryable })
      assert.equal('5\n', support.psql(db, 'SELECT value::text FROM flat WHERE id = ' .. id))
    end
    assert.equal('{"n": 1}', store:find('docs', '1', { raw = true }))
    refused('not_a_document', 'row 2', store.findAll, store, 'docs')
  end)

  it('that a trigger took away is not told as a row that is not there', function()
    store:query([[CREATE TABLE gone (id bigint PRIMARY KEY, value jsonb);
      CREATE FUNCTION take_away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.value := NULL; RETURN NEW; END $$;
      INSERT INTO gone SELECT i, '{}' FROM generate_series(1, 9) i;
      CREATE TRIGGER take_away BEFORE UPDATE ON gone FOR EACH ROW EXECUTE FUNCTION take_away()]])
    local change = function(document) document.n = 1 end
    for id, call in ipairs({
      function() store:patch('gone', '1', { set = { n = 1 } }) end,
      function() store:updateProperty('gone', '2', 'n', 1, { must = true }) end,
      function() store:updateObject('gone', '3', change) end,
      function() store:patch('gone', '4', { set = { n = 1 } }, { etag = true }) end,
    }) do
      local err = refused('not_a_document', 'row ' .. id, call)
      assert.equal('committed', err.outcome)
      assert.equal('t\n', support.psql(db, 'SELECT value IS NULL FROM gone WHERE id = ' .. id))
    end
    assert.equal('null', store:patch('gone', '5', { set = { n = 1 } }, { raw = true }))
    store:transaction(function(tx)
      refused('not_a_document', 'row 6', tx.patch, tx, 'gone', '6', { set = { n = 1 } })
      refused('not_a_document', 'row 7', tx.updateObject, tx, 'gone', '7', change)
    end)
    assert.equal('2\n', support.psql(db,
      'SELECT count(*) FROM gone WHERE value IS NULL AND id IN (6, 7)'))
  end)
end)

describe('several statements outside of a transaction', function()
  it('of which a later one fails have an outcome that nobody calls "none"', function()
    local store, db = support.store({ 'docs' }, { no_redis = true })
    local err = refused('query_failed', nil, store.query, store,
      "INSERT INTO docs VALUES (1, '{}'); SELECT nonsense()", nil, { transaction = false })
    assert.same({ 'unknown', false }, { err.outcome, err.retryable })
    assert.is_true(store:exists('docs', '1'))
    err = refused('query_failed', nil, store.query, store,
      "SELECT nonsense(); INSERT INTO docs VALUES (2, '{}')", nil, { transaction = false })
    assert.equal('none', err.outcome)
    assert.is_false(store:exists('docs', '2'))
    support.close(store, db)
  end)
end)
