--- The option `order`: several keys, each up or down, nulls and missing ones last; and what a page
--- goes on from: cursors, which take any order, and say what they are not for.
-- Plain pass alone: an order is SQL that plain Lua writes; what C does with rows is in
-- spec/read/cursor_spec.lua.

local stores = require('stores')
local support = require('spec.support')

local null = stores.json.null
local ids_of, refused = support.ids_of, support.refused

describe('order', function()
  local store, db

  setup(function()
    store, db = support.store({ 'tasks', '"Tasks"' })
    for _, task in ipairs({
      { id = '1', state = 'open', rank = 2, at = { day = 3 } },
      { id = '2', state = 'done', rank = 1 },
      { id = '3', state = 'open', rank = 1, at = { day = null } },
      { id = '4', state = null, rank = 2, at = { day = 1 } },
      { id = '5', rank = 2 },
      { id = '6', state = 'done', rank = null, at = { day = 3 } },
      { id = '7', state = 'open', at = { day = 2 } },
      { id = '8' },
      { id = '9', state = 'open', rank = 2, at = { day = 3 } },
      { id = '10', state = 'open', rank = '2' },
      { id = '11', state = stores.json.array({}), rank = 2 },
      { id = '12', state = { 'open' }, rank = true },
    }) do
      store:insert('tasks', task)
    end
  end)
  teardown(function() support.close(store, db) end)

  -- All pages of every size, forwards and back, must be the whole.
  local function ordered(order, opts)
    opts = opts or {}
    local all
    local function ask(target)
      local function page(more)
        local given = { order = order }
        for key, value in pairs(opts) do given[key] = value end
        for key, value in pairs(more) do given[key] = value end
        return target:findAll('tasks', given)
      end
      local documents, next, previous = page({})
      local whole = ids_of(documents)
      assert.is_nil(next or previous)
      assert.equal(all or whole, whole)
      all = whole
      for size = 1, 13 do
        local forwards, cursor, back = {}
        repeat
          documents, cursor, back = page({ limit = size, after = cursor })
          assert.equal(#forwards == 0, back == nil)
          assert.is_true(#documents == size or not cursor)
          for _, document in ipairs(documents) do forwards[#forwards + 1] = document.id end
        until not cursor
        assert.equal(all, table.concat(forwards, ' '))
        local backwards = ids_of(documents)
        while back do
          documents, cursor, back = page({ limit = size, before = back })
          assert.is_string(cursor)
          backwards = ids_of(documents) .. ' ' .. backwards
        end
        assert.equal(all, backwards)
      end
      local walked = {}
      local given = { order = order, batch = 5, where = opts.where, contains = opts.contains }
      for document in target:each('tasks', given) do walked[#walked + 1] = document.id end
      assert.equal(all, table.concat(walked, ' '))
      if not opts.contains then
        local first = target:findOne('tasks', {}, { all = true, order = order, where = opts.where })
        assert.equal(walked[1], first and first.id)
      end
    end
    ask(store)
    store:transaction(ask)
    return all
  end

  it('has several keys, each up or down, nulls and missing ones last', function()
    assert.equal('11 2 6 1 3 7 9 10 12 4 5 8', ordered({ 'state' }))
    assert.equal('12 10 9 7 3 1 6 2 11 8 5 4', ordered({ '-state' }))
    assert.equal('11 2 6 10 3 1 9 7 12 4 5 8', ordered({ 'state', 'rank' }))
    assert.equal('11 2 6 9 1 3 10 7 12 5 4 8', ordered({ 'state', '-rank' }))
    assert.equal('12 10 3 1 9 7 2 6 11 4 5 8', ordered({ '-state', 'rank' }))
    assert.equal('12 9 1 3 10 7 2 6 11 5 4 8', ordered({ { 'state', 'desc' }, { 'rank', 'desc' } }))
    assert.equal('4 7 1 6 9 2 3 5 8 10 11 12', ordered({ { 'at', 'day' } }))
    assert.equal('4 7 1 6 9 2 3 5 8 10 11 12', ordered({ 'at.day' }))
    assert.equal('9 6 1 7 4 12 11 10 8 5 3 2', ordered({ { 'at', 'day' }, 'desc' }))
    assert.equal('9 1 6 7 4 10 3 2 11 5 12 8', ordered({ '-at.day', 'rank', '-state' }))
  end)

  it('takes the id as the last key, where equals go another way', function()
    assert.equal('11 6 2 10 9 7 3 1 12 8 5 4', ordered({ 'state', '-id' }))
    assert.equal('12 1 3 7 9 10 2 6 11 4 5 8', ordered({ '-state', 'id' }))
    assert.equal('1 2 3 4 5 6 7 8 9 10 11 12', ordered({ 'id' }))
    assert.equal('12 11 10 9 8 7 6 5 4 3 2 1', ordered({ '-id' }))
    assert.equal('12 11 10 9 8 7 6 5 4 3 2 1', ordered({ 'id', 'desc' }))
    assert.equal('12 11 10 9 8 7 6 5 4 3 2 1', ordered('desc'))
  end)

  it('goes with criteria of any kind', function()
    assert.equal('9 1 3 10 7', ordered({ '-rank' }, { where = { { 'state', '=', 'open' } } }))
    assert.equal('9 1 3 10 7', ordered({ 'state', '-rank' },
      { where = { { 'state', '=', 'open' } } }))
    assert.equal('11 9 5 4 1 3 2', ordered({ '-rank' }, { where = { { 'rank', '>=', 1 } } }))
    assert.equal('9 6 1', ordered({ '-at.day' }, { contains = { at = { day = 3 } } }))
    assert.equal('9 1', ordered({ '-at.day' }, { contains = { at = { day = 3 } },
      where = { { 'rank', '=', 2 } } }))
    assert.equal('8 5', ordered({ '-state' }, { where = { { 'state', 'exists', false },
      { 'id', '>', '4' } } }))
  end)

  it('is refused where it is not understood', function()
    local function wrong(text, order)
      refused('invalid_argument', text, store.findAll, store, 'tasks', { order = order })
    end
    wrong('order must be', 'rank')
    wrong('order names .rank twice', { 'rank', '-rank' })
    wrong('behind the id', { 'id', 'rank' })
    wrong('order must be', { 'rank', 'desc', 'state' })
    wrong('key 2 of order', { 'rank', 5 })
  end)

  describe('has cursors, which', function()
    local function cursor_of(order)
      return select(2, store:findAll('tasks', { order = order, limit = 5 }))
    end

    it('are texts that a URL may hold', function()
      assert.is_truthy(cursor_of({ 'state' }):find('^c1[%w_-]+$'))
    end)

    it('outlive their row', function()
      local cursor = cursor_of({ 'state' })
      local before = ids_of(store:findAll('tasks', { order = { 'state' }, after = cursor }))
      store:delete('tasks', '3')
      store:insert('tasks', { id = '33', state = 'open' })
      assert.equal((before:gsub('10 ', '10 33 ')),
        ids_of(store:findAll('tasks', { order = { 'state' }, after = cursor })))
      store:delete('tasks', '33')
      store:insert('tasks', { id = '3', state = 'open', rank = 1, at = { day = null } })
    end)

    it('are there exactly where a page has one behind it', function()
      assert.is_nil(select(2, store:findAll('tasks', { limit = 12 })))
      assert.is_string((select(2, store:findAll('tasks', { limit = 11 }))))
      assert.same({ n = 1, {} }, { n = select('#', store:findAll('tasks', { limit = 0 })),
        (store:findAll('tasks', { limit = 0 })) })
      assert.is_nil(select(2, store:findByJSON('tasks', { state = 'done' }, { limit = 2 })))
      assert.is_string((select(2, store:findByJSON('tasks', { state = 'done' }, { limit = 1 }))))
    end)

    it('go with an order by id as the ids themselves do', function()
      local _, cursor = store:findAll('tasks', { limit = 3 })
      assert.equal('4 5', ids_of(store:findAll('tasks', { limit = 2, after = cursor })))
      assert.equal('4 5', ids_of(store:findAll('tasks', { limit = 2, after = '3' })))
      assert.equal('1 2', ids_of(store:findAll('tasks', { limit = 2, before = '3' })))
      assert.equal('9 10', ids_of(store:findAll('tasks', { limit = 2, before = 11LL })))
      assert.equal('12 11', ids_of(store:findAll('tasks', { limit = 2, before = '10',
        order = 'desc' })))
      assert.equal('1 2', ids_of(store:findAll('tasks', { before = '3' })))
    end)

    it('are refused by another order, another table, and where they were changed', function()
      local cursor = cursor_of({ 'state' })
      local function wrong(text, name, opts)
        refused('invalid_argument', text, store.findAll, store, name, opts)
      end
      wrong('of the order (state, id), and the order of this call is (-state, -id)', 'tasks',
        { order = { '-state' }, after = cursor })
      wrong('the order of this call is (id)', 'tasks', { after = cursor })
      wrong('of the table tasks, and this one is "Tasks"', '"Tasks"',
        { order = { 'state' }, after = cursor })
      for _, changed in ipairs({ cursor:sub(1, -2), cursor .. 'A', 'c1', 'c1' .. ('A'):rep(40),
        cursor:sub(1, 20) .. (cursor:sub(21, 21) == 'A' and 'B' or 'A') .. cursor:sub(22),
        'c1%%%%' }) do
        wrong("'before' is no cursor", 'tasks', { order = { 'state' }, before = changed })
      end
      wrong('another version', 'tasks', { order = { 'state' }, after = 'c2' .. cursor:sub(3) })
      refused('invalid_id', nil, store.findAll, store, 'tasks', { after = 'x' })
      refused('invalid_argument', "'after' is an id", store.findAll, store, 'tasks',
        { order = { 'state' }, after = '3' })
      refused('invalid_option', 'not both', store.findAll, store, 'tasks',
        { after = '1', before = '3' })
      refused('invalid_id', nil, store.each, store, 'tasks', { after = 'x' })
    end)

    it('take the name of a table however it is written', function()
      assert.equal('4', ids_of(store:findAll('TASKS', { limit = 1,
        after = select(2, store:findAll('tasks', { limit = 3 })) })))
    end)
  end)
end)

describe('a cursor', function()
  it('has a place in every shard', function()
    local databases, list = { support.db(), support.db() }, {}
    for i, db in ipairs(databases) do
      list[i] = { db = db, id = i - 1, opts = { cache = false } }
    end
    local shards = stores.Shards.new(list)
    for _, store in ipairs(shards.shards) do
      store:query('CREATE TABLE tasks (id bigint PRIMARY KEY, value jsonb)')
    end
    for n = 1, 20 do
      shards:mod(tostring(n)):insert('tasks', { id = tostring(n), rank = n % 7 })
    end
    -- the order of both is that of each behind the same place
    local order = { 'rank' }
    local _, cursor = shards.shards[1]:findAll('tasks', { order = order, limit = 4 })
    local behind = {}
    for _, store in ipairs(shards.shards) do
      for _, document in ipairs((store:findAll('tasks', { order = order, after = cursor }))) do
        behind[#behind + 1] = document
      end
    end
    local first = shards.shards[1]:findAll('tasks', { order = order, limit = 4 })
    local last = first[4]
    local expected = 0
    for n = 1, 20 do
      local rank = n % 7
      if rank > last.rank or rank == last.rank and n > tonumber(last.id) then
        expected = expected + 1
      end
    end
    assert.equal(expected, #behind)
    for _, document in ipairs(behind) do
      assert.is_true(document.rank > last.rank
        or document.rank == last.rank and tonumber(document.id) > tonumber(last.id))
    end
    shards:close()
    for _, db in ipairs(databases) do support.drop(db) end
  end)
end)
