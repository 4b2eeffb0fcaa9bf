--- patchWhere and deleteWhere: which rows they change, what they give, that it is one statement,
--- and that no cache shows what was before.

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

local function sorted(list)
  table.sort(list, function(a, b) return tonumber(a) < tonumber(b) end)
  return table.concat(list, ' ')
end

describe('a change of all rows that meet criteria', function()
  local store, other, db

  setup(function()
    store, db = support.store({ 'tasks', '"Odd ""name"' })
    store:query([[
      CREATE SCHEMA app;
      CREATE TABLE app.users (id bigint PRIMARY KEY, value jsonb);
      CREATE TABLE app.posts (id bigint PRIMARY KEY, value jsonb,
        author bigint REFERENCES app.users ON DELETE CASCADE);
    ]])
    other = stores.Store.new(db, support.redis())
  end)
  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  before_each(function()
    store:query('DELETE FROM tasks')
    for n = 1, 6 do
      store:insert('tasks', { id = tostring(n), state = n % 2 == 0 and 'open' or 'done', rank = n,
        tags = { 't' .. n } })
    end
  end)

  -- Calls fn with the store, and with a transaction of it.
  local function in_both(fn)
    fn(store)
    store:transaction(fn)
  end

  it('patches what contains a document, and what meets conditions', function()
    in_both(function(target)
      assert.equal('2 4 6', sorted(target:patchWhere('tasks', { state = 'open' },
        { inc = { count = 1 }, set = { seen = true } })))
      assert.equal('5 6', sorted(target:patchWhere('tasks', nil, { inc = { count = 10 } },
        { where = { { 'rank', '>', 4 } } })))
      assert.equal('6', sorted(target:patchWhere('tasks', { state = 'open' },
        { append = { tags = 'x' }, remove = { 'seen' } }, { where = { { 'rank', '>', 4 } } })))
      assert.same({}, target:patchWhere('tasks', { state = 'gone' }, { inc = { count = 1 } }))
    end)
    assert.same({ id = '6', state = 'open', rank = 6, count = 22, tags = { 't6', 'x', 'x' } },
      store:find('tasks', '6'))
    assert.equal(2, store:find('tasks', '2').count)
    assert.equal(20, store:find('tasks', '5').count)
    assert.is_nil(store:find('tasks', '1').count)
  end)

  it('deletes', function()
    assert.equal('1 3 5', sorted(store:deleteWhere('tasks', { state = 'done' })))
    store:transaction(function(tx)
      assert.equal('4', sorted(tx:deleteWhere('tasks', {},
        { where = { { 'tags', 'has', 't4' } } })))
      assert.is_nil(tx:find('tasks', '4'))
    end)
    assert.equal(2, store:count('tasks'))
    assert.equal('2 6', sorted(store:deleteWhere('tasks', {}, { all = true })))
  end)

  it('is seen at once, by every cache', function()
    local function warm()
      for n = 1, 6 do
        store:find('tasks', tostring(n))
        other:find('tasks', tostring(n))
      end
    end
    warm()
    store:patchWhere('tasks', { state = 'open' }, { set = { state = 'shut' } })
    assert.equal('shut', other:find('tasks', '2').state)
    assert.equal('shut', store:find('tasks', '2').state)
    warm()
    store:transaction(function(tx)
      tx:patchWhere('tasks', { state = 'shut' }, { set = { state = 'open' } })
      assert.equal('open', tx:find('tasks', '4').state)
    end)
    assert.equal('open', other:find('tasks', '4').state)
    warm()
    other:deleteWhere('tasks', nil, { where = { { 'rank', '<=', 3 } } })
    for n = 1, 3 do assert.is_false(store:exists('tasks', tostring(n))) end
    assert.equal(6, store:find('tasks', '6').rank)
  end)

  it('takes along what cascades, also in the cache', function()
    store:insert('app.users', { id = '1', name = 'Ann' })
    store:query([[INSERT INTO app.posts VALUES (10, '{"id": "10"}', 1)]])
    assert.is_true(store:exists('app.posts', '10'))
    assert.is_true(other:exists('app.posts', '10'))
    assert.same({ '1' }, store:deleteWhere('app.users', { name = 'Ann' }))
    assert.is_false(other:exists('app.posts', '10'))
    assert.is_false(store:exists('app.posts', '10'))
  end)

  it('is all or nothing', function()
    store:insert('tasks', { id = '7', state = 'open', rank = 'high' })
    local err = refused('path_blocked', '.rank', store.patchWhere, store, 'tasks',
      { state = 'open' }, { inc = { rank = 1 } })
    assert.equal('none', err.outcome)
    assert.equal(2, store:find('tasks', '2').rank)
    pcall(store.transaction, store, function(tx)
      tx:deleteWhere('tasks', {}, { all = true })
      error('no')
    end)
    assert.equal(7, store:count('tasks'))
    store:transaction(function(tx)
      pcall(tx.transaction, tx, function()
        tx:patchWhere('tasks', {}, { set = { state = 'lost' } }, { all = true })
        error('no')
      end)
      assert.same({}, tx:findByJSON('tasks', { state = 'lost' }))
    end)
  end)

  it('keeps who holds a row from waiting for himself', function()
    store:transaction(function(tx)
      tx:patchWhere('tasks', nil, { inc = { rank = 1 } }, { where = { { 'id', '=', '3' } } })
      refused('self_deadlock', 'row 3', store.delete, store, 'tasks', '3')
      store:delete('tasks', '4')
    end)
  end)

  it('must have criteria, and something to change', function()
    in_both(function(target)
      refused('empty_criteria', '{all = true}', target.patchWhere, target, 'tasks', {},
        { set = { a = 1 } })
      refused('empty_criteria', nil, target.deleteWhere, target, 'tasks', { state = nil })
      refused('empty_criteria', nil, target.deleteWhere, target, 'tasks', nil, { where = {} })
      refused('invalid_argument', 'got nil; without one say {where = ..}, or {all = true}',
        target.deleteWhere, target, 'tasks')
      refused('invalid_argument', 'the patch is empty', target.patchWhere, target, 'tasks',
        { a = 1 }, {})
      refused('invalid_argument', "is 'id'", target.patchWhere, target, 'tasks', { a = 1 },
        { set = { id = '5' } })
      refused('id_mismatch', nil, target.patchWhere, target, 'tasks', { a = 1 },
        { merge = { id = '5' } })
      refused('invalid_option', 'limit', target.deleteWhere, target, 'tasks', { a = 1 },
        { limit = 5 })
    end)
    assert.equal(6, store:count('tasks'))
  end)

  it('reads the name of its table as all verbs do', function()
    store:insert('"Odd ""name"', { id = '1', a = 1 })
    assert.same({ '1' }, store:patchWhere('"Odd ""name"', { a = 1 }, { inc = { a = 1 } }))
    assert.equal(2, store:find('"Odd ""name"', '1').a)
    assert.same({ '1' }, store:patchWhere('TASKS', { rank = 1 }, { set = { b = 1 } }))
    assert.same({ '1' }, store:patchWhere('public.Tasks', { b = 1 }, { set = { b = 2 } }))
    for _, wrong in ipairs({ '', 'a b', 'a.', '.a', 'a.b.c', '"a', 'tasks; DROP TABLE tasks',
      'tasks"', '"a""', '""', 'a..b', '1a', '"a"b' }) do
      refused('invalid_table', nil, store.deleteWhere, store, wrong, { a = 1 })
    end
    refused('table_not_found', 'nowhere', store.deleteWhere, store, 'nowhere', { a = 1 })
  end)

  it('is explained, and then not made', function()
    in_both(function(target)
      local plan = target:deleteWhere('tasks', nil, { where = { { 'rank', '=', 1 } },
        explain = true })
      assert.is_truthy(plan.sql:find('^DELETE FROM tasks WHERE'))
      assert.is_truthy(plan.missing:find('{rank}', 1, true))
      plan = target:patchWhere('tasks', { state = 'open' }, { set = { a = 1 } }, { explain = true })
      assert.is_truthy(plan.missing:find('USING gin', 1, true))
      assert.is_true(plan.cost > 0)
    end)
    assert.equal(6, store:count('tasks'))
    assert.is_nil(store:find('tasks', '2').a)
  end)
end)
