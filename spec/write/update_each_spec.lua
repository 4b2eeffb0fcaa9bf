--- updateEach: which documents the function gets, what it may do, how it goes on after an error.

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

describe('updateEach', function()
  local store, other, db

  setup(function()
    store, db = support.store({ 'tasks' })
    other = stores.Store.new(db, support.redis())
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)
  before_each(function()
    store:query('DELETE FROM tasks')
    local list = {}
    for n = 1, 20 do
      list[n] = { id = tostring(n), n = n, state = n % 2 == 0 and 'open' or 'done' }
    end
    store:insertMany('tasks', list)
  end)

  it('changes what contains a document and meets conditions, in a store and a transaction',
    function()
      local function both(target)
        local count, last = target:updateEach('tasks', { state = 'open' }, function(task)
          task.n = task.n + 100
        end, { where = { { 'n', '<=', 10 } }, batch = 2 })
        assert.equal(5, count)
        assert.equal('10', last)
        assert.equal(110, target:find('tasks', '10').n)
        assert.equal(12, target:find('tasks', '12').n)
      end
      both(store)
      store:updateEach('tasks', {}, function(task) task.n = task.n % 100 end, { all = true })
      store:transaction(both)
      pcall(store.transaction, store, function(tx)
        tx:updateEach('tasks', {}, function(task) return { n = task.n % 100 } end, { all = true })
        assert.same({ id = '3', n = 3 }, tx:find('tasks', '3'))
        error('undone')
      end)
    end)

  it('leaves rows for which the function gives false', function()
    local seen = {}
    local count = store:updateEach('tasks', {}, function(task)
      seen[#seen + 1] = tonumber(task.id)
      if task.n % 5 ~= 0 then return false end
      return { id = task.id, five = true }
    end, { all = true, batch = 7 })
    assert.equal(4, count)
    assert.equal(20, #seen)
    for i = 1, 20 do assert.equal(i, seen[i]) end
    assert.same({ id = '5', five = true }, other:find('tasks', '5'))
    assert.equal('open', other:find('tasks', '4').state)
  end)

  it('is seen at once, by every cache', function()
    for n = 1, 20 do other:find('tasks', tostring(n)) end
    store:updateEach('tasks', {}, function(task) task.seen = true end, { all = true, batch = 3 })
    for n = 1, 20 do assert.is_true(other:find('tasks', tostring(n)).seen) end
  end)

  -- What the cache does not keep, each made of %s.
  local SHAPES = {
    ['an unlogged table'] = 'CREATE UNLOGGED TABLE %s (id bigint PRIMARY KEY, value jsonb)',
    ['one with a rule'] = [[CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);
      CREATE RULE log AS ON DELETE TO %s DO ALSO UPDATE tasks SET value = '{}' WHERE false]],
    ['one with row security'] = [[CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);
      ALTER TABLE %s ENABLE ROW LEVEL SECURITY]],
    ['one that others inherit from'] = [[CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE %s_child (PRIMARY KEY (id)) INHERITS (%s)]],
    ['a child'] = [[CREATE TABLE %s_parent (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE %s (PRIMARY KEY (id)) INHERITS (%s_parent)]],
    ['a partition'] = [[CREATE TABLE %s_all (id bigint PRIMARY KEY, value jsonb)
      PARTITION BY RANGE (id); CREATE TABLE %s PARTITION OF %s_all DEFAULT]],
    ['a view'] = [[CREATE TABLE %s_base (id bigint PRIMARY KEY, value jsonb);
      CREATE VIEW %s AS SELECT * FROM %s_base]],
  }
  local shapes = 0
  for what, sql in pairs(SHAPES) do
    it('changes what is not cached, and what is beside it: ' .. what, function()
      shapes = shapes + 1
      local name = 'shape' .. shapes
      store:query((sql:gsub('%%s', name)))
      for id = 1, 3 do store:insert(name, { id = tostring(id), n = id }) end
      other:find('tasks', '1')
      store:transaction(function(tx)
        tx:updateProperty('tasks', '1', 'beside', name)
        assert.equal(3, tx:updateEach(name, {}, function(doc) doc.n = doc.n + 1 end,
          { all = true, batch = 2 }))
      end)
      assert.equal(2, store:updateEach(name, {}, function(doc) doc.n = doc.n * 10 end,
        { where = { { 'n', '>', 2 } }, batch = 1 }))
      assert.same({ 2, 30, 40 }, { other:find(name, '1').n, other:find(name, '2').n,
        other:find(name, '3').n })
      assert.equal(name, other:find('tasks', '1').beside)
    end)
  end

  it('changes documents whatever the other columns of their table are called', function()
    store:query([[CREATE TABLE columns (e text, t int, value jsonb, given jsonb,
      id bigint PRIMARY KEY, row_id text, etag text, count text, n int)]])
    store:insertMany('columns', { { id = '1', n = 1 }, { id = '2', n = 2 } })
    assert.equal(2, store:updateEach('columns', {}, function(doc) doc.n = doc.n + 5 end,
      { all = true }))
    store:upsertMany('columns', { { id = '2', n = 8 }, { id = '3', n = 9 } }, { etag = true })
    store:patchWhere('columns', { n = 9 }, { inc = { n = 1 } })
    assert.same({ 6, 8, 10 }, { store:find('columns', '1').n, store:find('columns', '2').n,
      store:find('columns', '3').n })
    store:deleteMany('columns', { '1' })
    assert.equal(2, store:count('columns'))
  end)

  it('keeps the batches before an error, and goes on behind them', function()
    local told = {}
    local err = refused('invalid_document', 'returns a document', store.updateEach, store, 'tasks',
      { state = 'done' }, function(task)
        if task.id == '11' then return 'no' end
        task.tried = (task.tried or 0) + 1
      end, { batch = 2, progress = function(count, after) told[#told + 1] = count .. '/' .. after
      end })
    assert.same({ '2/3', '4/7' }, told)
    assert.equal('7', err.after)
    assert.equal(4, err.count)
    assert.equal(1, store:find('tasks', '7').tried)
    assert.is_nil(store:find('tasks', '9').tried)
    local count = store:updateEach('tasks', { state = 'done' }, function(task)
      task.tried = (task.tried or 0) + 1
    end, { after = err.after })
    assert.equal(6, count)
    for n = 1, 19, 2 do assert.equal(1, store:find('tasks', tostring(n)).tried) end
  end)

  it('loses no change of somebody else', function()
    stores.run(function()
      stores.all({
        function()
          store:updateEach('tasks', {}, function(task) task.a = (task.a or 0) + 1 end,
            { all = true, batch = 3 })
        end,
        function()
          other:updateEach('tasks', {}, function(task) task.a = (task.a or 0) + 1 end,
            { all = true, batch = 4 })
        end,
        function()
          for n = 1, 20 do store:patch('tasks', tostring(n), { inc = { b = 1 } }) end
        end,
      })
    end)
    for n = 1, 20 do
      local task = other:find('tasks', tostring(n))
      assert.equal(2, task.a)
      assert.equal(1, task.b)
    end
  end)

  it('refuses criteria that are empty, a changed id, and a call for a row that it holds', function()
    refused('empty_criteria', '{all = true}', store.updateEach, store, 'tasks', {}, print)
    refused('invalid_argument', 'function', store.updateEach, store, 'tasks', { a = 1 })
    refused('invalid_argument', '{all = true}', store.updateEach, store, 'tasks', nil, print)
    assert.equal(20, (store:updateEach('tasks', nil, function() end, { all = true })))
    refused('id_mismatch', nil, store.updateEach, store, 'tasks', { n = 1 }, function(task)
      task.id = '99'
    end)
    refused('self_deadlock', 'row 2', store.updateEach, store, 'tasks', { n = 2 }, function()
      store:delete('tasks', '2')
    end)
    assert.equal(20, store:count('tasks'))
  end)

  it('waits between batches, where it is told to', function()
    local hub = store.hub
    local began = hub:now()
    store:updateEach('tasks', {}, function() return false end, { all = true, batch = 10,
      pause = 0.05 })
    assert.is_true(hub:now() - began >= 0.1)
  end)
end)
