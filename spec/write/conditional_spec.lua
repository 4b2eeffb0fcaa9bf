--- if_match: a write of a row that is the one that was read, or none.

local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local NEVER = '"' .. ('0'):rep(32) .. '"'

describe('a write with if_match', function()
  local store, db
  setup(function() store, db = support.store({ 'docs' }) end)
  teardown(function() support.close(store, db) end)

  local function new(document)
    local record, etag = store:insert('docs', document or { n = 1 }, { etag = true })
    return record.id, etag
  end

  local function n_of(id)
    local document = store:find('docs', id, { cache = false })
    return document and document.n
  end

  -- name -> the write, of a row that becomes n = 2, or goes
  local writes = {
    update = function(on, id, etag)
      return on:update('docs', { id = id, n = 2 }, { if_match = etag })
    end,
    upsert = function(on, id, etag)
      return on:upsert('docs', { id = id, n = 2 }, { if_match = etag })
    end,
    patch = function(on, id, etag)
      return on:patch('docs', id, { set = { n = 2 } }, { if_match = etag })
    end,
    updateProperty = function(on, id, etag)
      return on:updateProperty('docs', id, 'n', 2, { if_match = etag })
    end,
    delete = function(on, id, etag) return on:delete('docs', id, { if_match = etag }) end,
  }

  local function each_write(fn)
    for name, write in pairs(writes) do fn(write, name ~= 'delete' and 2 or nil, name) end
  end

  local function refused(write, on, id, etag, gone)
    local err = support.refused('conflict', nil, write, on, id, etag)
    assert.equal(412, err.http)
    assert.equal('none', err.outcome)
    assert.is_false(err.retryable)
    assert.equal(gone, err.gone)
    assert.equal(id, err.row)
    assert.equal('docs', err.table)
    return err
  end

  it('is made where the row is still that one', function()
    each_write(function(write, becomes)
      local id, etag = new()
      assert.is_truthy(write(store, id, etag))
      assert.equal(becomes, n_of(id))
    end)
  end)

  it('raises conflict where it is another one by now, and says which', function()
    each_write(function(write)
      local id, etag = new()
      local _, newer = store:update('docs', { id = id, n = 7 }, { etag = true })
      assert.equal(newer, refused(write, store, id, etag, false).etag)
      assert.equal(7, n_of(id))
      assert.is_truthy(write(store, id, newer))
    end)
  end)

  it('raises conflict where it is gone, and says so; an upsert makes none', function()
    each_write(function(write)
      local id, etag = new()
      store:delete('docs', id)
      assert.is_nil(refused(write, store, id, etag, true).etag)
      assert.is_nil(n_of(id))
    end)
    refused(writes.update, store, '404', NEVER, true)
  end)

  it('does the same in a transaction, which goes on', function()
    each_write(function(write, becomes)
      local id, etag = new()
      local other, stale = new()
      store:update('docs', { id = other, n = 7 })
      store:transaction(function(tx)
        refused(write, tx, other, stale, false)
        assert.is_truthy(write(tx, id, etag))
        refused(write, tx, id, etag, becomes == nil)
        local fresh, tag = tx:insert('docs', { n = 1 }, { etag = true })
        assert.is_truthy(write(tx, fresh.id, tag))
      end)
      assert.equal(becomes, n_of(id))
      assert.equal(7, n_of(other))
    end)
  end)

  it('takes a transaction back where it is not caught', function()
    local id, etag = new()
    support.refused('conflict', nil, store.transaction, store, function(tx)
      tx:update('docs', { id = id, n = 5 })
      tx:update('docs', { id = id, n = 6 }, { if_match = etag })
    end)
    assert.equal(1, n_of(id))
  end)

  it('goes with the other writes of its tick, and each has its own answer', function()
    local ids, etags, conflicts = {}, {}, 0
    for i = 1, 60 do ids[i], etags[i] = new({ n = i }) end
    for i = 1, 60, 3 do store:patch('docs', ids[i], { inc = { n = 1000 } }) end
    local before = store:stats()
    local places = {}
    for i = 1, 60 do places[i] = i end
    stores.map(places, function(i)
      local ok, err = pcall(store.update, store, 'docs', { id = ids[i], n = -i },
        { if_match = etags[i] })
      if ok then return end
      assert.equal('conflict', err.code)
      conflicts = conflicts + 1
    end)
    local after = store:stats()
    assert.equal(20, conflicts)
    assert.is_true(after.segments - before.segments < 20, after.segments - before.segments)
    for i = 1, 60 do assert.equal(i % 3 == 1 and i + 1000 or -i, n_of(ids[i])) end
  end)

  it('of several in one tick for one row is made once', function()
    local id, etag = new({ n = 0 })
    local made = 0
    stores.map({ 1, 2, 3, 4, 5, 6, 7, 8 }, function(n)
      local ok, err = pcall(store.update, store, 'docs', { id = id, n = n }, { if_match = etag })
      if ok then made = made + 1 else assert.equal('conflict', err.code) end
    end)
    assert.equal(1, made)
  end)

  it('gives the new etag, by which the next one is made', function()
    local id, etag = new()
    for n = 2, 5 do
      local found, newer = store:update('docs', { id = id, n = n },
        { if_match = etag, etag = true })
      assert.is_true(found)
      etag = newer
    end
    local document, inserted, newer = store:upsert('docs', { id = id, n = 6 },
      { if_match = etag, etag = true })
    assert.equal(6, document.n)
    assert.is_false(inserted)
    document, etag = store:patch('docs', id, { inc = { n = 1 } }, { if_match = newer, etag = true })
    assert.equal(7, document.n)
    assert.is_true(store:delete('docs', id, { if_match = etag, must = true }))
  end)

  it('takes an etag as a header has it', function()
    local id, etag = new()
    for _, form in ipairs({ '%s', 'W/%s' }) do
      local _, newer = store:patch('docs', id, { inc = { n = 1 } },
        { if_match = form:format(etag), etag = true })
      etag = newer
    end
    assert.is_true(store:update('docs', { id = id, n = 9 }, { if_match = etag:sub(2, -2) }))
  end)

  it('is refused before anything is sent where the etag is none, or no row can have it', function()
    local id = new()
    each_write(function(write)
      for _, wrong in ipairs({ '', '*', '"x"', 7, false, NEVER:upper():gsub('0', 'A') }) do
        support.refused('invalid_argument', 'if_match', write, store, id, wrong)
      end
    end)
    support.refused('invalid_id', 'if_match', store.upsert, store, 'docs', { n = 1 },
      { if_match = NEVER })
    support.refused('invalid_option', 'if_match', store.insert, store, 'docs', { n = 1 },
      { if_match = NEVER })
    assert.equal(1, n_of(id))
  end)

  it('reports what is in the way of a path as ever', function()
    local id, etag = new({ a = 1 })
    support.refused('path_blocked', nil, store.updateProperty, store, 'docs', id, { 'a', 'b' }, 1,
      { if_match = etag })
    refused(function(on, row, tag)
      return on:updateProperty('docs', row, { 'a', 'b' }, 1, { if_match = tag })
    end, store, id, NEVER, false)
  end)

  it('is not misled by a cache that was told nothing of a write', function()
    local id, etag = new()
    support.eventually(function()
      local hits = store:stats().hits
      store:find('docs', id)
      return store:stats().hits > hits
    end)
    support.psql(db, ("UPDATE docs SET value = value || '{\"n\": 8}' WHERE id = %s"):format(id))
    assert.equal(etag, (select(2, store:find('docs', id, { etag = true }))))
    local err = refused(writes.update, store, id, etag, false)
    assert.not_equal(etag, err.etag)
    local document, newer = store:find('docs', id, { etag = true })
    assert.equal(8, document.n)
    assert.equal(err.etag, newer)
    assert.is_true(store:update('docs', { id = id, n = 9 }, { if_match = newer }))
  end)

  it('asks what an index may be made of, and so what Citus takes', function()
    store:query('CREATE TABLE indexed (id bigint PRIMARY KEY, value jsonb)')
    store:query('CREATE INDEX ON indexed (pg_catalog.md5(value::text))')
  end)

  it('is made, and refused, without a cache', function()
    local plain = stores.Store.new(db, nil)
    each_write(function(write, becomes)
      local id, etag = new()
      refused(write, plain, id, NEVER, false)
      assert.is_truthy(write(plain, id, etag))
      assert.equal(becomes, n_of(id))
      local other, tag = new()
      plain:patch('docs', other, { inc = { n = 1 } }, { cache = false })
      refused(write, plain, other, tag, false)
    end)
    support.close(plain)
  end)
end)

describe('writes with if_match of several processes, #slow', function()
  local PROGRAM = [[
    local stores = require('stores')
    local store = stores.Store.new(%s, %s)
    local conflicts, tries = 0, 0
    for _ = 1, %d do
      repeat
        local document, etag = store:find('docs', '1', { etag = true })
        document.n = document.n + 1
        tries = tries + 1
        local ok, err = pcall(store.update, store, 'docs', document, { if_match = etag })
        if not ok then
          assert(stores.errors.is(err, 'conflict'), tostring(err))
          conflicts = conflicts + 1
        end
      until ok
    end
    store:close()
    io.write(conflicts, ' of ', tries, '\n')
  ]]

  local function written(config)
    local parts = {}
    for key, value in pairs(config) do
      if type(value) == 'table' then value = written(value)
      elseif type(value) == 'string' then value = ('%q'):format(value) end
      parts[#parts + 1] = ('[%q] = %s'):format(key, tostring(value))
    end
    return '{ ' .. table.concat(parts, ', ') .. ' }'
  end

  -- So many raise one counter, each so often; gives what the counter is then.
  local function raise(db, at, processes, times)
    local running, sum = {}, 0
    for i = 1, processes do
      running[i] = process.lua(PROGRAM:format(written(db), at and written(at) or 'nil', times))
    end
    for _, one in ipairs(running) do
      local line = one:line()
      local conflicts, tries = line:match('^(%d+) of (%d+)$')
      assert(conflicts, line)
      sum = sum + conflicts
      assert.equal(times, tries - conflicts)
    end
    return sum
  end

  -- STORES_TEST_TRIES: so many writes in all, 100000 say
  local tries = tonumber(os.getenv('STORES_TEST_TRIES')) or 2000

  it('loses none of two that raise one counter', function()
    local store, db = support.store({ 'docs' })
    store:insert('docs', { id = '1', n = 0 })
    local conflicts = raise(db, support.redis(), 2, math.floor(tries / 2))
    assert.equal(2 * math.floor(tries / 2), store:find('docs', '1').n)
    assert.is_true(conflicts > 0)
    support.close(store, db)
  end)

  it('loses none while Redis is frozen', function()
    local own = redis.start()
    local db = support.db()
    local at = own:config({ timeout = 0.05 })
    local store = stores.Store.new(db, at)
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    store:insert('docs', { id = '1', n = 0 })
    own:pause()
    raise(db, at, 2, 100)
    assert.equal(200, store:find('docs', '1').n)
    own:resume()
    support.close(store, db)
    own:remove()
  end)
end)
