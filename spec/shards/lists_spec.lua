--- Lists of shards are those of one store that has all the rows: their documents, their order,
--- their cursors. So each is asked of both.
-- Plain pass alone: plain Lua over several stores; verbs_spec and health_spec have these passes.

local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local json, refused = stores.json, support.refused
local COUNT, ROWS = 3, 60
local shards, databases, whole, whole_db

-- Values of all types, equals among them, nulls, and rows without a value.
local function value_of(i)
  local kinds = { i % 7, 'word ' .. i % 11, ('Wort %d'):format(i % 5), i % 2 == 0, json.null,
    json.array({ i % 3 }), { a = i % 4 }, json.number('123456789012345678901.' .. i % 3), i / 8,
    nil }
  return kinds[i % 10 + 1]
end

setup(function()
  shards, databases = three.open(COUNT, { 'things' })
  whole, whole_db = support.store({ 'things' })
  for i = 1, ROWS do
    local id = tostring(i * 37 % 211 - 60)
    for _, target in ipairs({ whole, shards }) do
      target:upsert('things', { id = id, mixed = value_of(i), n = i % 13, word = 'w' .. i % 9,
        big = ('9007199254740993%d'):format(i % 4) })
    end
  end
end)
teardown(function()
  three.close(shards, databases)
  support.close(whole, whole_db)
end)

local ORDERS = { 'asc', 'desc', { 'n' }, { '-n' }, { 'word', '-n' }, { '-word', 'n', '-id' },
  { 'mixed' }, { '-mixed' }, { 'mixed', '-n' }, { 'nothing' }, { 'n', 'id' } }

local function name_of(order)
  return type(order) == 'table' and table.concat(order, ', ') or order
end

describe('a list of shards', function()
  it('is that of one store, in every order', function()
    for _, order in ipairs(ORDERS) do
      local opts = { order = order }
      assert.same(whole:findAll('things', opts), (shards:findAll('things', opts)), name_of(order))
    end
    for _, opts in ipairs({ { where = { { 'n', '>', 4 } } }, { contains = { word = 'w3' } },
      { fields = { 'word' } }, { raw = true } }) do
      opts.order = { 'mixed', '-n' }
      assert.same(whole:findAll('things', opts), (shards:findAll('things', opts)))
    end
    assert.same(whole:findByJSON('things', { n = 3 }), (shards:findByJSON('things', { n = 3 })))
    assert.same(whole:findByJsonArrayContains('things', 'mixed', 2),
      (shards:findByJsonArrayContains('things', 'mixed', 2)))
    assert.same(whole:findByJsonSubContains('things', 'mixed', { a = 1 }),
      (shards:findByJsonSubContains('things', 'mixed', { a = 1 })))
    assert.same(whole:findByPath('things', '$ ? (@.n == $n)', { n = 3 }),
      (shards:findByPath('things', '$ ? (@.n == $n)', { n = 3 })))
  end)

  it('goes on and back by the cursors that one store would give', function()
    for _, order in ipairs(ORDERS) do
      local after
      repeat
        local opts = { order = order, limit = 17, after = after }
        local expected = { whole:findAll('things', opts) }
        assert.same(expected, { shards:findAll('things', opts) }, name_of(order))
        local back = { order = order, limit = 7, before = expected[3] }
        if expected[3] then
          assert.same({ whole:findAll('things', back) }, { shards:findAll('things', back) },
            name_of(order))
        end
        after = expected[2]
      until not after
    end
    assert.same({ whole:findAll('things', { limit = 0 }) },
      { shards:findAll('things', { limit = 0 }) })
    assert.same({ whole:findAll('things', { limit = 5, after = '12' }) },
      { shards:findAll('things', { limit = 5, after = '12' }) })
    assert.same({ whole:findAll('things', { before = '12' }) },
      { shards:findAll('things', { before = '12' }) })
  end)

  it('goes on by its cursors as one store does where rows move between two pages', function()
    for _, order in ipairs({ { 'n' }, { '-mixed', 'n' }, { 'word', '-n' } }) do
      local after, page = nil, 0
      repeat
        local opts = { order = order, limit = 13, after = after }
        local expected = { whole:findAll('things', opts) }
        assert.same(expected, { shards:findAll('things', opts) }, name_of(order))
        after, page = expected[2], page + 1
        -- some come again, some are passed by: the first two go behind all, the last ones before
        local documents = expected[1]
        for place, document in ipairs({ documents[1], documents[2], documents[#documents] }) do
          document.n, document.word = place < 3 and 50 + page or -page, 'w' .. page * place
          for _, target in ipairs({ whole, shards }) do target:update('things', document) end
        end
      until not after
      assert.is_true(page > 4)
    end
  end)

  it('has its first document, and plans', function()
    for _, order in ipairs(ORDERS) do
      assert.same(whole:findOne('things', { n = 3 }, { order = order }),
        (shards:findOne('things', { n = 3 }, { order = order })), name_of(order))
    end
    assert.is_nil(shards:findOne('things', { n = 99 }))
    refused('not_found', nil, shards.findOne, shards, 'things', { n = 99 }, { must = true })
    local plan = shards:findAll('things', { explain = true })
    assert.equal(COUNT, #plan.shards)
    assert.equal(whole:findAll('things', { explain = true }).sql, plan.sql)
    assert.is_string(shards:findOne('things', { n = 1 }, { explain = true }).sql)
  end)

  it('is read batch by batch', function()
    for _, order in ipairs(ORDERS) do
      for _, batch in ipairs({ 7, 500 }) do
        local expected, given = {}, {}
        for document in whole:each('things', { order = order, batch = batch }) do
          expected[#expected + 1] = document
        end
        for document in shards:each('things', { order = order, batch = batch }) do
          given[#given + 1] = document
        end
        assert.same(expected, given, name_of(order) .. ' by ' .. batch)
      end
    end
    refused('invalid_argument', nil, shards.each, shards, 'things', { order = {} })
    assert.is_nil(shards:each('things', { where = { { 'n', '>', 99 } } })())
  end)

  it('raises the error of a document that cannot be read in its turn', function()
    for _, target in ipairs({ whole, shards:mod('2000') }) do
      target:query("INSERT INTO things VALUES (2000, '[1]')")
    end
    for _, target in ipairs({ whole, shards }) do
      target:insert('things', { id = '2001' })
      target:insert('things', { id = '1999' })
    end
    refused('not_a_document', nil, shards.findAll, shards, 'things')
    local heard = { {}, {} }
    for place, target in ipairs({ whole, shards }) do
      local iterator = target:each('things', { batch = 2, after = '1000' })
      repeat
        local ok, document = pcall(iterator)
        table.insert(heard[place], ok and (document and document.id or 'end') or document.code)
      until ok and not document
    end
    assert.same({ '1999', 'not_a_document', '2001', 'end' }, heard[1])
    assert.same(heard[1], heard[2])
    for _, target in ipairs({ whole, shards }) do
      target:delete('things', '2000')
      target:delete('things', '2001')
      target:delete('things', '1999')
    end
  end)
end)
