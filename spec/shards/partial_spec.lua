--- partial = true: the answer of the shards that do answer, and behind all else that the verb gives
--- those that failed, of every verb that asks all of them. What is not known for their sake is
--- nowhere said to be so.
-- Plain pass alone: plain Lua over several stores; verbs_spec has these passes.

local list = require('stores.verbs.list')
local stores = require('stores')
local support = require('spec.support')
local three = require('spec.support.shards')

local refused = support.refused
local shards, databases

setup(function()
  shards, databases = three.open(3, { 'docs', 'old', 'mortal', 'spare' }, nil, { tables = {
    stores.define('old', { version = 2, upgrade = { [2] = function(doc) return doc end } }),
    stores.define('mortal', { expires = 'till' }) } })
  for id = 1, 30 do
    local doc = { id = tostring(id), n = id, mark = id, tags = { 'a' }, of = { b = 1 } }
    shards:insert('docs', doc)
    shards:insert('spare', { id = doc.id, n = id })
    shards:query('INSERT INTO old VALUES ($1, $2)', { id, '{}' }, { on = doc.id })
    shards:query('INSERT INTO mortal VALUES ($1, $2)', { id, '{"till": 1}' }, { on = doc.id })
  end
  shards:query("CREATE UNIQUE INDEX ON docs ((value -> 'mark'))", {}, { on = 'all' })
  local gone = shards.shards[2] -- that of 1, 4, 7 ...
  for _, name in ipairs({ 'docs', 'old', 'mortal', 'spare' }) do
    gone:query(('ALTER TABLE %s RENAME TO gone_%s'):format(name, name))
  end
end)
teardown(function() three.close(shards, databases) end)

-- How many values a verb gives before those that failed; its call, with the options.
local CALLS = {
  findAll = { 3, function(opts) return shards:findAll('docs', opts) end, 20 },
  findByJSON = { 3, function(opts) return shards:findByJSON('docs', { of = { b = 1 } }, opts) end,
    20 },
  findByJsonArrayContains = { 3, function(opts)
    return shards:findByJsonArrayContains('docs', 'tags', 'a', opts)
  end, 20 },
  findByJsonSubContains = { 3, function(opts)
    return shards:findByJsonSubContains('docs', 'of', { b = 1 }, opts)
  end, 20 },
  findByPath = { 3, function(opts) return shards:findByPath('docs', '$.n ? (@ > 3)', {}, opts) end,
    18 },
  findOne = { 1, function(opts) return shards:findOne('docs', { n = 3 }, opts) end },
  findBy = { 1, function(opts)
    opts.unique = true
    return shards:findBy('docs', 'mark', 3, opts)
  end },
  findAllByIds = { 2, function(opts)
    return shards:findAllByIds('docs', { '1', '2', '3', '4' }, opts)
  end, 2 },
  count = { 1, function(opts) return shards:count('docs', nil, opts) end, 20 },
  query = { 2, function(opts)
    opts.on = 'all'
    return shards:query('SELECT id FROM docs', {}, opts)
  end, 20 },
  patchWhere = { 1, function(opts)
    return shards:patchWhere('docs', { of = { b = 1 } }, { set = { x = 1 } }, opts)
  end, 20 },
  deleteWhere = { 1, function(opts) return shards:deleteWhere('spare', { n = 30 }, opts) end, 1 },
  upgrade = { 2, function(opts) return shards:upgrade('old', opts) end, 20 },
  expire = { 1, function(opts) return shards:expire('mortal', opts) end, 20 },
}

-- Those that ask all shards, and cannot fail where a table of one of them is missing.
local ELSEWHERE = { 'sweep', 'token', 'invalidate' }

describe('partial', function()
  for name, one in pairs(CALLS) do
    it('has ' .. name .. ' answer, and name the shard that failed behind that', function()
      local given, call, wanted = unpack(one)
      local values = { call({ partial = true }) }
      local failed = values[given + 1]
      assert.equal(1, #failed)
      assert.same({ 1, 'table_not_found' }, { failed[1].shard, failed[1].code })
      assert.matches('^shard 1: ', failed[1].message)
      local first = values[1]
      if wanted and type(first) == 'number' then assert.equal(wanted, first)
      elseif wanted then assert.equal(wanted, #first)
      else assert.equal('3', first.id) end
      local err = refused('table_not_found', 'shard 1: ', call, {})
      assert.equal(1, err.shard)
    end)
  end

  it('is an option of no verb but these', function()
    local known = { each = true, insertMany = true, upsertMany = true, deleteMany = true,
      updateEach = true } -- they refuse it by name (many_rows_spec.lua)
    for _, name in ipairs(ELSEWHERE) do known[name] = true end
    for _, row in ipairs(list.verbs) do
      local of_rows = row.takes[2] and (row.takes[2].name == 'id' or row.takes[2].name == 'record')
      if row.on ~= 'transaction' and row.options and not of_rows and not known[row.name] then
        local is_known = CALLS[row.name] or row.name == 'transaction' or row.name == 'session'
          or row.name == 'in_transaction' or row.name == 'migrate'
        assert.is_truthy(is_known, row.name)
      end
    end
    refused('invalid_option', "'partial'", shards.find, shards, 'docs', '3', { partial = true })
    refused('invalid_option', "'partial'", shards.query, shards, 'SELECT 1', {},
      { on = '3', partial = true })
  end)

  it('does not say that there is no row which a shard that failed may have', function()
    local failed = select(2, shards:findOne('docs', { n = 1 }, { partial = true }))
    assert.equal(1, failed[1].shard)
    local must = { partial = true, must = true }
    refused('table_not_found', 'shard 1: ', shards.findOne, shards, 'docs', { n = 1 }, must)
    refused('table_not_found', 'shard 1: ', shards.findBy, shards, 'docs', 'mark', 1,
      { partial = true, must = true, unique = true })
    assert.equal('3', shards:findOne('docs', { n = 3 }, must).id)
  end)

  it('names the shard that was not told', function()
    refused('table_not_found', 'shard 1: ', shards.invalidate, shards, 'docs')
    local failed = shards:invalidate('docs', nil, { partial = true })
    assert.same({ 1, 1 }, { #failed, failed[1].shard })
  end)

  it('goes with no plan', function()
    for _, call in ipairs({
      function(opts) shards:findAll('docs', opts) end,
      function(opts) shards:findOne('docs', { n = 1 }, opts) end,
      function(opts) shards:count('docs', nil, opts) end,
      function(opts) shards:patchWhere('docs', { n = 1 }, { set = { n = 2 } }, opts) end,
    }) do
      refused('invalid_option', 'partial does not go with explain', call,
        { partial = true, explain = true })
    end
  end)

  it('leads on behind rows that were not seen', function()
    local page, onward = shards:findAll('docs', { partial = true, limit = 6 })
    assert.equal('2 3 5 6 8 9', support.ids_of(page))
    shards.shards[2]:query('ALTER TABLE gone_docs RENAME TO docs')
    assert.equal('10 11 12', support.ids_of((shards:findAll('docs', { after = onward,
      limit = 3 }))))
    assert.is_nil(select(4, shards:findAll('docs', { partial = true })))
    shards.shards[2]:query('ALTER TABLE docs RENAME TO gone_docs')
  end)
end)
