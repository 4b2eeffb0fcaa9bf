--- find with etag, and with if_none_match: one etag for a document, wherever it comes from.

local stores = require('stores')
local support = require('spec.support')

describe('the etag of a document', function()
  local store, db
  setup(function() store, db = support.store({ 'docs', 'other' }) end)
  teardown(function() support.close(store, db) end)

  local function stored(id)
    return '"' .. store:query('SELECT md5(value::text) AS m FROM docs WHERE id = $1', { id })[1].m
      .. '"'
  end

  -- Its document is in the cache, and an answer of it has come.
  local function cached(id)
    support.eventually(function()
      local before = store:stats().hits
      store:find('docs', id)
      return store:stats().hits > before
    end)
  end

  it('is that of the stored text, from PostgreSQL and from the cache alike', function()
    local id = store:insert('docs', { name = 'Ada', n = 1.5, list = { 1, 'zwei', { x = 'ü' } } }).id
    local document, cold = store:find('docs', id, { etag = true, cache = false })
    assert.equal('Ada', document.name)
    assert.equal(stored(id), cold)
    cached(id)
    local hits = store:stats().hits
    local again, hot = store:find('docs', id, { etag = true })
    assert.equal(hits + 1, store:stats().hits)
    assert.same(document, again)
    assert.equal(cold, hot)
  end)

  it('comes with the text of a document, too', function()
    local id = store:insert('docs', { name = 'Bob' }).id
    local text, etag = store:find('docs', id, { etag = true, raw = true })
    assert.equal('Bob', stores.json.decode(text).name)
    assert.equal(stored(id), etag)
  end)

  it('is asked for: nothing is given beside a document otherwise', function()
    local id = store:insert('docs', {}).id
    assert.equal(1, select('#', store:find('docs', id)))
    assert.equal(1, select('#', store:insert('docs', {})))
    assert.equal(1, select('#', store:update('docs', { id = id })))
    assert.equal(2, select('#', store:upsert('docs', { id = id })))
    assert.equal(1, select('#', store:patch('docs', id, { set = { a = 1 } })))
  end)

  it('of a document that is still the one that the caller has leaves that out', function()
    local id = store:insert('docs', { name = 'Cid' }).id
    local _, etag = store:find('docs', id, { etag = true })
    for _, opts in ipairs({ {}, { cache = false }, { raw = true }, { etag = true } }) do
      opts.if_none_match = etag
      local document, same = store:find('docs', id, opts)
      assert.equal(stores.unchanged, document)
      assert.equal(etag, same)
    end
    cached(id)
    assert.equal(stores.unchanged, (store:find('docs', id, { if_none_match = etag })))
    store:update('docs', { id = id, name = 'Dan' })
    local document, newer = store:find('docs', id, { if_none_match = etag })
    assert.equal('Dan', document.name)
    assert.equal(stored(id), newer)
  end)

  it('is not decoded where it is the one that the caller has', function()
    store:query([[INSERT INTO docs VALUES (77, '{"n": 1e400}')]])
    local _, etag = store:find('docs', '77', { etag = true, raw = true })
    assert.equal(stores.unchanged, (store:find('docs', '77', { if_none_match = etag })))
    store:query([[UPDATE docs SET value = '[1]' WHERE id = 77]])
    support.refused('not_a_document', nil, store.find, store, 'docs', '77',
      { if_none_match = etag })
    local _, of_array = store:find('docs', '77', { etag = true, raw = true })
    assert.equal(stores.unchanged, (store:find('docs', '77', { if_none_match = of_array })))
  end)

  it('is nil with the document of a row that is not there', function()
    local none = '"' .. ('0'):rep(32) .. '"'
    for _, cache in ipairs({ true, false, true }) do
      local document, etag = store:find('docs', '404', { etag = true, cache = cache })
      assert.is_nil(document)
      assert.is_nil(etag)
      assert.is_nil((store:find('docs', '404', { if_none_match = none, cache = cache })))
    end
    support.refused('not_found', nil, store.find, store, 'docs', '404',
      { if_none_match = none, must = true })
  end)

  it('is taken without its quotes, and as compression leaves it', function()
    local id = store:insert('docs', { name = 'Eve' }).id
    local _, etag = store:find('docs', id, { etag = true })
    for _, form in ipairs({ etag, etag:sub(2, -2), 'W/' .. etag }) do
      assert.equal(stores.unchanged, (store:find('docs', id, { if_none_match = form })))
    end
  end)

  it('is refused where it is none', function()
    local wrong = { '', '*', '"x"', ('A'):rep(32), ('a'):rep(31), '"' .. ('a'):rep(32),
      ('a'):rep(32) .. '"', ('a'):rep(33), 7, false, {}, ('a'):rep(31) .. '\0' }
    for _, etag in ipairs(wrong) do
      support.refused('invalid_argument', 'if_none_match', store.find, store, 'docs', '1',
        { if_none_match = etag })
    end
    support.refused('invalid_option', 'lock', store.find, store, 'docs', '1', { lock = true })
  end)

  it('tells 1.0 from 1, for it is of the text', function()
    store:query([[INSERT INTO docs VALUES (78, '{"n": 1.0}')]])
    local _, etag = store:find('docs', '78', { etag = true })
    store:query([[UPDATE docs SET value = '{"n": 1}' WHERE id = 78]])
    local _, newer = store:find('docs', '78', { etag = true })
    assert.not_equal(etag, newer)
  end)

  it('is the same in a transaction, of what that has written', function()
    local id = store:insert('docs', { n = 1 }).id
    local _, before = store:find('docs', id, { etag = true })
    store:transaction(function(tx)
      local document, etag = tx:find('docs', id, { etag = true })
      assert.equal(1, document.n)
      assert.equal(before, etag)
      assert.equal(stores.unchanged, (tx:find('docs', id, { if_none_match = etag })))
      tx:update('docs', { id = id, n = 2 })
      document, etag = tx:find('docs', id, { if_none_match = before })
      assert.equal(2, document.n)
      assert.not_equal(before, etag)
    end)
    assert.not_equal(before, (select(2, store:find('docs', id, { etag = true }))))
  end)

  it('of what was written is given by the write', function()
    local record, first = store:insert('docs', { n = 1 }, { etag = true })
    assert.equal(stored(record.id), first)
    local found, second = store:update('docs', { id = record.id, n = 2 }, { etag = true })
    assert.is_true(found)
    assert.equal(stored(record.id), second)
    local _, inserted, third = store:upsert('docs', { id = record.id, n = 3 }, { etag = true })
    assert.is_false(inserted)
    assert.equal(stored(record.id), third)
    local document, fourth = store:patch('docs', record.id, { inc = { n = 1 } }, { etag = true })
    assert.equal(4, document.n)
    assert.equal(stored(record.id), fourth)
    document, first = store:updateProperty('docs', record.id, 'n', 1, { etag = true })
    assert.equal(1, document.n)
    assert.equal(stored(record.id), first)
    local other, fresh, etag = store:upsert('docs', { n = 9 }, { etag = true })
    assert.is_true(fresh)
    assert.equal(stored(other.id), etag)
    found, etag = store:update('docs', { id = '404', n = 2 }, { etag = true })
    assert.is_false(found)
    assert.is_nil(etag)
    document, etag = store:patch('docs', '404', { inc = { n = 1 } }, { etag = true })
    assert.is_nil(document)
    assert.is_nil(etag)
    store:transaction(function(tx)
      local within, tag = tx:insert('docs', { n = 1 }, { etag = true })
      assert.equal(tag, (select(2, tx:find('docs', within.id, { etag = true }))))
      found, tag = tx:update('docs', { id = within.id, n = 2 }, { etag = true })
      assert.is_true(found)
      assert.equal(tag, (select(2, tx:find('docs', within.id, { etag = true }))))
    end)
  end)

  it('is given of each call of a tick', function()
    local ids, etags = {}, {}
    for i = 1, 50 do ids[i] = store:insert('docs', { n = i }).id end
    stores.map(ids, function(id)
      local document, etag = store:find('docs', id, { etag = true })
      etags[id] = etag
      assert.equal(id, document.id)
    end)
    for _, id in ipairs(ids) do assert.equal(stored(id), etags[id]) end
  end)

  it('is no document: it cannot be stored, and has no members', function()
    assert.equal('stores.unchanged', tostring(stores.unchanged))
    assert.is_false(pcall(function() return stores.unchanged.name end))
    assert.is_false(pcall(stores.json.encode, stores.unchanged))
    support.refused('invalid_document', nil, store.insert, store, 'docs', stores.unchanged)
  end)
end)
