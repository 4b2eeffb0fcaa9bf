-- findBy: by a value that one row has at most. It costs what find costs once it is known where the
-- value is, and it is never older than find: what the hint leads to has to have the value still.

local ffi = require('ffi')
local stores = require('stores')
local support = require('spec.support')

local json, refused = stores.json, support.refused
local UNIQUE = { unique = true }
local INDEX = [[CREATE UNIQUE INDEX ON users ((NULLIF(value #> '{email}'::text[], 'null'::jsonb)))]]

describe('findBy', function()
  local store, other, db

  setup(function()
    store, db = support.store({ 'users' })
    other = stores.Store.new(support.config(db.database), support.redis())
    store:query(INDEX)
  end)

  teardown(function()
    support.close(other)
    support.close(store, db)
  end)

  before_each(function()
    store:query('TRUNCATE users')
    store:insert('users', { id = '1', email = 'ada@x', n = 1 })
    store:insert('users', { id = '2', email = 'bob@x', n = 1 })
  end)

  local function by(email, on, opts)
    return (on or store):findBy('users', 'email', email, opts or UNIQUE)
  end

  it('finds the document that has the value, or nobody', function()
    for _ = 1, 3 do
      assert.same({ id = '1', email = 'ada@x', n = 1 }, by('ada@x'))
      assert.equal('2', by('bob@x').id)
      assert.is_nil(by('eve@x'))
    end
    refused('not_found', 'email', by, 'eve@x', store, { unique = true, must = true })
    local text = by('ada@x', store, { unique = true, raw = true })
    assert.equal('1', json.decode(text).id)
    assert.equal(text, by('ada@x', store, { unique = true, raw = true }))
  end)

  it('costs one find through the cache, once it is known where the value is', function()
    by('ada@x')
    support.eventually(function()
      local before = store:stats()
      by('ada@x')
      local after = store:stats()
      return after.hits == before.hits + 1 and after.pg_statements == before.pg_statements
    end, 20, 'it comes from the cache')
  end)

  it('is not led astray by a value that moved, in any process', function()
    for round = 1, 5 do
      assert.equal('1', by('ada@x').id)
      assert.equal('1', by('ada@x', other).id)
      store:updateProperty('users', '1', 'email', 'gone' .. round)
      assert.is_nil(by('ada@x'))
      assert.is_nil(by('ada@x', other))
      other:updateProperty('users', '2', 'email', 'ada@x')
      assert.equal('2', by('ada@x').id)
      assert.equal('2', by('ada@x', other).id)
      store:transaction(function(tx)
        tx:delete('users', '2')
        tx:updateProperty('users', '1', 'email', 'ada@x')
      end)
      assert.equal('1', by('ada@x', other).id)
      assert.equal('1', by('ada@x').id)
      other:insert('users', { id = '2', email = 'bob@x' })
    end
  end)

  it('sees a row that is made after it said that there is none', function()
    assert.is_nil(by('new@x'))
    other:insert('users', { id = '3', email = 'new@x' })
    assert.equal('3', by('new@x').id)
    other:delete('users', '3')
    assert.is_nil(by('new@x'))
    store:insert('users', { id = '4', email = 'new@x' })
    assert.equal('4', by('new@x').id)
  end)

  it('sees what is in the way of reading the row as another value', function()
    by('ada@x')
    store:query("UPDATE users SET value = '[1]' WHERE id = 1")
    assert.is_nil(by('ada@x'))
    assert.is_nil(by('ada@x', store, { unique = true, raw = true }))
  end)

  it('compares as jsonb does', function()
    store:query('DROP INDEX users_nullif_idx')
    local values = { 7, 1.5, true, false, '7', '', 9007199254740993LL, ffi.new('uint64_t', 12345),
      json.number('0.1234567890123456789') }
    for i, value in ipairs(values) do
      store:insert('users', { id = tostring(10 + i), email = value })
    end
    for _ = 1, 2 do
      for i, value in ipairs(values) do assert.equal(tostring(10 + i), by(value).id) end
    end
    assert.equal('11', by(json.number('7.0')).id)
    assert.equal('18', by(12345).id)
    store:query(INDEX)
  end)

  it('goes to a value further down, whose names may be any', function()
    store:update('users', { id = '1', ["o'x"] = { ['a.b'] = 'deep' } })
    for _ = 1, 2 do
      assert.equal('1', store:findBy('users', { "o'x", 'a.b' }, 'deep', UNIQUE).id)
      assert.is_nil(store:findBy('users', { "o'x", 'a.b', 'c' }, 'deep', UNIQUE))
    end
  end)

  it('asks PostgreSQL in a transaction, which sees what it wrote', function()
    by('ada@x')
    store:transaction(function(tx)
      tx:updateProperty('users', '1', 'email', 'mine@x')
      assert.equal('1', tx:findBy('users', 'email', 'mine@x', UNIQUE).id)
      assert.is_nil(tx:findBy('users', 'email', 'ada@x', UNIQUE))
    end)
  end)

  it('refuses what has not one answer', function()
    refused('invalid_argument', 'unique = true', store.findBy, store, 'users', 'email', 'ada@x')
    for _, value in ipairs({ {}, json.null, print }) do
      refused('invalid_argument', 'a string, a number or a boolean', by, value)
    end
    refused('invalid_argument', 'got nil', by, nil)
    refused('invalid_argument', 'find', store.findBy, store, 'users', 'id', '1', UNIQUE)
    refused('invalid_argument', 'path', store.findBy, store, 'users', {}, '1', UNIQUE)
    store:insert('users', { id = '5', n = 5 })
    store:insert('users', { id = '6', n = 5 })
    local err = refused('duplicate', 'not unique', store.findBy, store, 'users', 'n', 5, UNIQUE)
    assert.equal('none', err.outcome)
  end)

  it('is never stale while values move under it', function()
    -- two addresses, which one writer moves between two rows. A reader may see any state between
    -- the writer's two words, before its call and after it.
    local moves, failures = 0, {}
    stores.run(function()
      local over = false
      local readers = {}
      for i = 1, 8 do
        local on = i % 2 == 0 and store or other
        readers[i] = stores.spawn(function()
          while not over do
            local acknowledged = moves
            local document = by('ada@x', on)
            -- the row is 1 after an even number of moves, 2 after an odd one
            local begun = moves + 1
            local is_possible = false
            for state = acknowledged, begun do
              local id = state % 2 == 0 and '1' or '2'
              if document ~= nil and document.id == id then is_possible = true end
            end
            if not is_possible then
              failures[#failures + 1] = ('%s at %d to %d'):format(
                document and document.id or 'nobody', acknowledged, begun)
            end
          end
        end)
      end
      for i = 1, 60 do
        local from, to = i % 2 == 1 and '1' or '2', i % 2 == 1 and '2' or '1'
        other:transaction(function(tx)
          tx:updateProperty('users', from, 'email', 'moving')
          tx:updateProperty('users', to, 'email', 'ada@x')
          tx:updateProperty('users', from, 'email', 'bob@x')
        end)
        moves = i
      end
      over = true
      for i = 1, 8 do readers[i]:join() end
    end)
    assert.same({}, failures)
  end)
end)
