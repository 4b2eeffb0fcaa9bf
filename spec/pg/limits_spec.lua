-- What a caller got wrong, or asked too much of: each has a code, a status and a hint to act on,
-- and is no failure of the server's. Nothing of it is tried again.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

local refused = support.refused

local function check(err, sqlstate, http)
  assert.same({ sqlstate, http, 'none', false },
    { err.sqlstate, err.http, err.outcome, err.retryable })
end

describe("a caller's mistake", function()
  local store, db

  setup(function()
    store, db = support.store({ 'docs', 'mails' }, { no_redis = true })
    store:query([[CREATE UNIQUE INDEX mails_u ON mails ((value->>'mail'));
      CREATE TABLE counted (id bigint PRIMARY KEY, value jsonb,
        n int GENERATED ALWAYS AS (1) STORED);
      CREATE TABLE small (id int PRIMARY KEY, value jsonb);
      CREATE VIEW adults AS SELECT id, value FROM docs WHERE (value->>'age')::int >= 18
        WITH CHECK OPTION]])
  end)

  teardown(function() support.close(store, db) end)

  it('in a value is an invalid argument', function()
    for _, case in ipairs({
      { '22P02', 'SELECT $1::int', { 'x' } },
      { '22003', 'SELECT $1::smallint', { 70000 } },
      { '22007', 'SELECT $1::date', { 'never' } },
      { '22012', 'SELECT 1 / $1::int', { 0 } },
      { '22021', 'SELECT $1::text', { '\255' } },
      { '2201B', "SELECT 'x' ~ $1", { '(' } },
      { '22023', "SELECT set_config('work_mem', $1, true)", { 'much' } },
      { '08P01', 'SELECT $1::int + $2::int', { 1 } },
      { '08P01', 'SELECT $1::int', { 1, 2 } },
      { '42P18', "SELECT jsonb_build_object('a', $1)", { 'x' } },
      { '42601', "SELECT to_tsquery('english', $1)", { 'two words' } },
      { '42601', "SELECT $1::tsvector", { "'it" } },
      { '42601', 'SELECT $1::jsonpath', { '$.a two' } },
    }) do
      local err = refused('invalid_argument', nil, store.query, store, case[2], case[3])
      check(err, case[1], 400)
      assert.is_nil(err.message:find('two words', 1, true), err.message)
    end
    check(refused('invalid_argument', nil, store.findByPath, store, 'docs', '$.a['), '42601', 400)
    check(refused('invalid_argument', nil, store.insert, store, 'small', { id = '5000000000' }),
      '22003', 400)
  end)

  it('in SQL shows no literal, for it may be a password', function()
    for _, literal in ipairs({ "'s3cret'", "E's3cret'", "U&'s3cret'", '$$s3cret$$',
      '$x$s3cret$x$' }) do
      local err = refused('query_failed', 'syntax error', store.query, store,
        'ALTER ROLE nobody WITH ' .. literal)
      assert.is_nil(tostring(err):find('s3cret', 1, true), tostring(err))
      assert.truthy(err.detail:find('s3cret', 1, true))
    end
  end)

  it('in a transaction is the same', function()
    check(refused('invalid_argument', nil, store.transaction, store, function(tx)
      tx:query('SELECT $1::int', { 'x' })
    end), '22P02', 400)
  end)

  it('that asks for what a column or view has not is "unsupported", or a constraint', function()
    local err = refused('unsupported', nil, store.query, store,
      "INSERT INTO counted (id, n) VALUES (1, 2)")
    check(err, '428C9', 400)
    assert.truthy(err.hint)
    check(refused('constraint', nil, store.insert, store, 'adults', { id = '1', age = 5 }),
      '44000', 409)
    assert.is_nil(store:find('docs', '1'))
  end)

  it('of too much for an index is too large; its neighbours are stored', function()
    local text, seed = {}, 7 -- nothing that can be compressed
    for i = 1, 6000 do
      seed = seed * 1103515245 % 2 ^ 31 + 12345
      text[i] = string.char(65 + math.floor(seed / 2 ^ 16) % 57)
    end
    local list = {}
    for i = 1, 10 do list[i] = i end
    local results = stores.map(list, function(i)
      local record = { id = tostring(i), mail = i == 5 and table.concat(text) or 'm' .. i }
      local ok, err = pcall(store.insert, store, 'mails', record)
      return ok or err
    end)
    for i = 1, 10 do
      if i ~= 5 then assert.is_true(results[i]) end
    end
    assert.equal('too_large', results[5].code)
    check(results[5], '54000', 413)
    assert.equal(9, store:count('mails'))
  end)

  it('of a call that was said to read only is not to be tried again', function()
    for _, call in ipairs({
      function() store:query('DELETE FROM docs', nil, { readonly = true }) end,
      function()
        store:transaction(function(tx) tx:insert('docs', { id = '3' }) end, { readonly = true })
      end,
    }) do
      local err = refused('read_only', nil, call)
      check(err, '25006', 503)
      assert.truthy(err.hint:find('readonly', 1, true))
    end
  end)

  it('about a notification says what a channel and a payload are', function()
    for _, case in ipairs({
      { 'c', ('x'):rep(8000) }, { ('c'):rep(64), 'x' }, { '', 'x' }, { 'c\0', 'x' },
      { 'c', 'a\0b' }, { 'c', '\255' }, { '\255', 'x' }, { 'c', 5 }, { 'c', {} }, { 5, 'x' }, {},
    }) do
      local err = refused('invalid_argument', nil, store.notify, store, case[1], case[2])
      assert.equal(400, err.http)
    end
    store:notify('c', ('x'):rep(7999))
    store:notify(('c'):rep(63))
    stores.run(function()
      for _, channel in ipairs({ '', ('c'):rep(64), 'c\0', '\255', 5 }) do
        refused('invalid_argument', 'a channel is', store.listen, store, channel, print)
      end
    end)
  end)
end)

describe('a document that is more than jsonb holds #slow', function()
  local store, db

  setup(function() store, db = support.store({ 'docs' }, { no_redis = true }) end)
  teardown(function() support.close(store, db) end)

  -- Refused before anything is sent, by the path of what is too large; others are stored.
  local function is_refused(path, document)
    local list = { document, { n = 2 }, { n = 3 } }
    local before = store:count('docs')
    local results = stores.map(list, function(record)
      local ok, err = pcall(store.insert, store, 'docs', record)
      return ok or err
    end)
    assert.equal('invalid_document', results[1].code)
    assert.truthy(results[1].message:find(path, 1, true), results[1].message)
    assert.is_nil(results[1].sqlstate)
    assert.same({ true, true }, { results[2], results[3] })
    assert.equal(before + 2, store:count('docs'))
  end

  it('is refused where a string is longer than 256 MB', function()
    is_refused('.a.s: string', { a = { s = ('x'):rep(2 ^ 28) } })
    collectgarbage()
  end)

  it('is refused where an array is larger than 256 MB', function()
    local piece, list = ('y'):rep(1024 * 1024), {}
    for i = 1, 257 do list[i] = piece end
    is_refused('.a.list: more than 256 MB', { a = { list = list } })
    collectgarbage()
  end)
end)
