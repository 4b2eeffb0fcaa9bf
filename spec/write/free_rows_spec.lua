--- Rows that a transaction was to lock, and has not: its function may have the store write them.

local stores = require('stores')
local support = require('spec.support')

describe('a transaction does not hold', function()
  local store, db
  local last = 0

  setup(function() store, db = support.store({ 'accounts' }) end)
  teardown(function() support.close(store, db) end)

  local function new_id()
    last = last + 1
    return tostring(last)
  end

  local function insert(id) store:insert('accounts', { id = id, n = 1 }, { timeout = 5 }) end

  local function patch(id, on)
    return (on or store):patch('accounts', id, { inc = { n = 1 } }, { timeout = 5 })
  end

  local function refused(fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    assert.equal('self_deadlock', err.code)
  end

  local missing = {
    update = function(tx, id) assert.is_false(tx:update('accounts', { id = id })) end,
    patch = function(tx, id) assert.is_nil(patch(id, tx)) end,
    delete = function(tx, id) assert.is_false(tx:delete('accounts', id)) end,
    deleteMany = function(tx, id) tx:deleteMany('accounts', { id }) end,
    find = function(tx, id) assert.is_nil(tx:find('accounts', id, { lock = true })) end,
    updateObject = function(tx, id) tx:updateObject('accounts', id, function() end) end,
    ['update with if_match'] = function(tx, id)
      local etag = '"' .. ('0'):rep(32) .. '"'
      local ok, err = pcall(tx.update, tx, 'accounts', { id = id }, { if_match = etag })
      assert.is_false(ok)
      assert.is_true(err.gone)
    end,
  }
  for verb, look in pairs(missing) do
    it('a row that is not there, by ' .. verb, function()
      local id = new_id()
      store:transaction(function(tx)
        look(tx, id)
        insert(id)
        look(tx, new_id())
        patch(id, tx)
        refused(patch, id)
      end)
      assert.equal(2, store:find('accounts', id).n)
    end)
  end

  it('a row whose id an insert found taken', function()
    local one, two = new_id(), new_id()
    insert(one)
    insert(two)
    store:transaction(function(tx)
      assert.is_false(pcall(tx.insert, tx, 'accounts', { id = one }))
      patch(one)
      assert.is_false(pcall(tx.updateObject, tx, 'accounts', new_id(), function(doc)
        assert.is_nil(doc)
        return { id = one }
      end, { create = true }))
      tx:insertMany('accounts', { { id = one }, { id = two }, { id = new_id() } },
        { conflict = 'ignore' })
      patch(one)
      patch(two)
      refused(patch, tostring(last))
      patch(one, tx)
      assert.is_false(pcall(tx.insert, tx, 'accounts', { id = one }))
      refused(patch, one) -- it was locked before
    end)
    assert.equal(4, store:find('accounts', one).n)
  end)

  it('what was locked since the last savepoint when a statement failed', function()
    local before, since = new_id(), new_id()
    insert(before)
    insert(since)
    local ok, err = pcall(store.transaction, store, function(tx)
      patch(before, tx)
      assert.is_false(pcall(tx.transaction, tx, function()
        patch(since, tx)
        refused(patch, since)
        assert.is_false(pcall(tx.query, tx, 'SELECT 1 / 0'))
        patch(since)
        refused(patch, before)
      end))
      refused(patch, before)
      assert.is_false(pcall(tx.query, tx, 'SELECT 1 / 0'))
      patch(before)
    end)
    assert.is_false(ok)
    assert.equal('query_failed', err.code)
    assert.equal(2, store:find('accounts', before).n)
    assert.equal(2, store:find('accounts', since).n)
  end)

  it('what failed by itself, in a savepoint of its own: but all of before it', function()
    store:query('CREATE VIEW broken AS SELECT id, value || (1 / (id - id))::text::jsonb AS value'
      .. ' FROM accounts')
    local readonly = { readonly = true }
    local failures = {
      function(tx) tx:query('SELECT 1 / 0', nil, readonly) end,
      function(tx, id) tx:find('broken', id) end,
      function(tx)
        tx:query('SAVEPOINT own')
        tx:query('SELECT 1 / 0')
      end,
    }
    for _, fail in ipairs(failures) do
      local id = new_id()
      insert(id)
      local _, err = pcall(store.transaction, store, function(tx)
        patch(id, tx)
        assert.is_false(pcall(fail, tx, id))
        refused(patch, id)
        assert.is_false(pcall(tx.query, tx, 'SELECT 1'))
        refused(patch, id)
      end)
      assert.equal('query_failed', err.code)
      assert.equal(1, store:find('accounts', id).n)
      _, err = pcall(store.transaction, store, function(tx)
        assert.is_false(pcall(tx.transaction, tx, function() fail(tx, id) end))
        patch(id, tx)
        assert.is_false(pcall(tx.query, tx, 'SELECT 1 / 0'))
        if fail ~= failures[3] then patch(id) end
      end)
      assert.equal('query_failed', err.code)
    end
  end)

  it('a savepoint that was undone: the next one, and what comes after it, is not in it', function()
    store:transaction(function(tx)
      for _ = 1, 3 do
        assert.is_false(pcall(tx.transaction, tx, function()
          tx:query('CREATE TABLE IF NOT EXISTS undone (id bigint)')
          error('undo it')
        end))
      end
      local function subtransactions()
        return tx:query("SELECT count(*)::int AS n FROM pg_locks WHERE pid = pg_backend_pid()"
          .. " AND locktype = 'transactionid'")[1].n
      end
      tx:query('CREATE TABLE made (id bigint)')
      assert.equal(1, subtransactions())
    end)
  end)

  it('anything, once it is lost', function()
    local small, other = support.store({ 'accounts' }, nil, { poolsize = 1 })
    local id = new_id()
    small:insert('accounts', { id = id, n = 1 })
    local ok, err = pcall(small.transaction, small, function(tx)
      patch(id, tx)
      refused(patch, id, small)
      assert.is_false(pcall(tx.query, tx, 'SELECT pg_sleep(60)', nil, { timeout = 0.2 }))
      patch(id, small)
      small:transaction(function(inner) patch(id, inner) end)
    end)
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    assert.equal(3, small:find('accounts', id).n)
    support.close(small, other)
  end)

  it('the row of a call that it refused because another one was under way', function()
    local id = new_id()
    insert(id)
    local function sleep(tx) return pcall(tx.query, tx, 'SELECT pg_sleep(0.05)') end
    local function patch_it(tx) return pcall(patch, id, tx) end
    stores.run(function()
      store:transaction(function(tx)
        local results = stores.map({ sleep, patch_it }, function(call) return { call(tx) } end)
        assert.is_true(results[1][1])
        assert.is_false(results[2][1])
        assert.equal('tx_busy', results[2][2].code)
        patch(id)
      end)
    end)
    assert.equal(2, store:find('accounts', id).n)
  end)

  it('less than the server: rows that a trigger keeps, and the id that it gives', function()
    store:query([[
      CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF TG_OP = 'UPDATE' THEN RETURN NULL; END IF;
        NEW.id := NEW.id + 1000000;
        NEW.value := jsonb_set(NEW.value, '{id}', to_jsonb(NEW.id::text));
        RETURN NEW;
      END $$;
      CREATE TABLE kept (id bigint PRIMARY KEY, value jsonb NOT NULL);
      INSERT INTO kept VALUES (1, '{}');
      CREATE TRIGGER keep BEFORE INSERT OR UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep()]])
    store:transaction(function(tx)
      assert.is_false(tx:update('kept', { id = '1' }))
      refused(function() store:delete('kept', '1') end)
      local record = tx:insert('kept', { id = '2' })
      assert.equal('1000002', record.id)
      refused(function() store:delete('kept', '1000002') end)
    end)
  end)
end)
