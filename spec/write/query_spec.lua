--- query: SQL with bound parameters, rows with the types of Lua, several statements, transactions.

local stores = require('stores')
local support = require('spec.support')

local json = stores.json
local null = json.null
local refused = support.refused
local store, db

setup(function() store, db = support.store({ 'docs' }) end)
teardown(function() support.close(store, db) end)

local function value(sql, params) return store:query('SELECT ' .. sql .. ' AS v', params)[1].v end

describe('the rows of a query', function()
  it('are an array of tables by column', function()
    local rows = store:query('SELECT n, n * 2 AS "Twice" FROM generate_series(1, 3) n')
    assert.equal(3, #rows)
    assert.same({ n = 2, Twice = 4 }, rows[2])
    assert.same(0, #store:query('SELECT 1 WHERE false'))
  end)

  it('have numbers as documents have them', function()
    assert.equal(5, value('5::int2'))
    assert.equal(-5, value('-5::int4'))
    assert.equal(2 ^ 53, value('9007199254740992::int8'))
    assert.equal('9007199254740993', tostring(value('9007199254740993::int8')))
    assert.equal('9223372036854775807', tostring(value('9223372036854775807::int8')))
    assert.is_true(stores.json.is_number(value('9223372036854775807::int8')))
    assert.equal(0.5, value('0.5::float8'))
    assert.equal(0.1, value('0.1::numeric'))
    assert.equal('123456789012345678901234567890.5',
      tostring(value('123456789012345678901234567890.5')))
    assert.equal(1 / 0, value("'Infinity'::float8"))
    assert.equal(-1 / 0, value("'-Infinity'::float8"))
    local nan = value("'NaN'::float8")
    assert.are_not.equal(nan, nan)
  end)

  it('have booleans, documents, text and NULL', function()
    assert.is_true(value('true'))
    assert.is_false(value('1 > 2'))
    assert.same({ a = { 1, { b = null } } }, value([['{"a": [1, {"b": null}]}'::jsonb]]))
    assert.same({ 1 }, value("'[1]'::json"))
    assert.equal('text', value("'text'"))
    assert.equal('', value("''"))
    assert.equal('2024-02-29', value("date '2024-02-29'"))
    assert.equal('{1,2}', value('ARRAY[1, 2]'))
    assert.equal(null, value('NULL'))
    assert.equal(null, value('NULL::jsonb'))
    assert.equal(null, value("'null'::jsonb"))
    assert.equal('[]', stores.json.encode(value("'[]'::jsonb")))
  end)

  it('have documents as JSON text with raw', function()
    local row = store:query([[SELECT '{"a": 1.0}'::jsonb AS v, 5 AS n]], nil, { raw = true })[1]
    assert.same({ v = '{"a": 1.0}', n = 5 }, row)
  end)

  it('say how many were affected', function()
    assert.equal(3, store:query('SELECT generate_series(1, 3)').affected)
    assert.equal(0, store:query('CREATE TABLE made (id int)').affected)
    assert.equal(2, store:query('INSERT INTO made VALUES (1), (2)').affected)
    local rows = store:query('UPDATE made SET id = id + 1 RETURNING id')
    assert.equal(2, rows.affected)
    assert.equal(2, #rows)
    assert.equal(0, store:query('DELETE FROM made WHERE id > 100').affected)
    store:query('DROP TABLE made')
  end)

  it('may be many', function()
    local rows = store:query('SELECT n FROM generate_series(1, 100000) n')
    assert.equal(100000, #rows)
    assert.equal(100000, rows[100000].n)
  end)
end)

describe('the parameters of a query', function()
  it('are bound, whatever they hold', function()
    local evil = [['; DROP TABLE docs; -- "\ $1]]
    assert.equal(evil, value('$1::text', { evil }))
    assert.equal('ä€😀', value('$1::text', { 'ä€😀' }))
    assert.equal('', value('$1::text', { '' }))
    assert.equal(3, value('$1::int + $2::int', { 1, 2 }))
    assert.equal('1', value('$1', { '1' }))
  end)

  it('may be numbers, booleans, nulls, documents and ids', function()
    assert.equal(0.1 + 0.2, value('$1::float8', { 0.1 + 0.2 }))
    assert.equal(5, value('$1::int', { 5 }))
    assert.is_true(value('$1::boolean', { true }))
    assert.is_false(value('$1::boolean', { false }))
    assert.equal(null, value('$1::text', { null }))
    assert.same({ a = { 1 } }, value('$1::jsonb', { { a = { 1 } } }))
    assert.same({}, value('$1::jsonb', { stores.json.array({}) }))
    assert.equal('9223372036854775807', tostring(value('$1::bigint', { 9223372036854775807LL })))
    local big = stores.json.decode('123456789012345678901234567890.5')
    assert.equal(tostring(big), tostring(value('$1::numeric', { big })))
    assert.equal('5', value('$1::bigint::text', { '5' }))
  end)

  it('may have nulls at the end and in between', function()
    local row = store:query('SELECT $1::int AS a, $2::int AS b, $3::int AS c', { null, 2, null })[1]
    assert.same({ a = null, b = 2, c = null }, row)
  end)

  it('must be as many as the statement has', function()
    for _, params in ipairs({ {}, { 1 }, { 1, 2, 3 } }) do
      local err = refused('invalid_argument', 'requires 2', store.query, store,
        'SELECT $1::int + $2::int', params)
      assert.equal('08P01', err.sqlstate)
      assert.same({ 400, false }, { err.http, err.retryable })
      assert.truthy(err.hint:find('as many parameters', 1, true))
      assert.equal('none', err.outcome)
    end
    refused('invalid_argument', nil, store.query, store, 'SELECT 1', { 1 })
    for _, place in ipairs({ '?', '%s', '1' }) do -- as others write them
      refused('invalid_argument', 'no place for 1 parameter: the first one is $1', store.query,
        store, 'SELECT ' .. place, { 1 })
    end
    refused('invalid_argument', nil, store.query, store, 'SELECT $1')
  end)

  it('must be of the type that the statement wants; their values are not in the message', function()
    local err = refused('invalid_argument', nil, store.query, store, 'SELECT $1::int',
      { 'secret-value' })
    assert.equal('22P02', err.sqlstate)
    assert.is_nil(err.message:find('secret-value', 1, true))
    assert.is_nil(tostring(err):find('secret-value', 1, true))
    refused('invalid_argument', nil, store.query, store, 'SELECT $1::int', { 1.5 })
    refused('invalid_argument', nil, store.query, store, 'SELECT $1::smallint', { 70000 })
    refused('invalid_argument', nil, store.query, store, 'SELECT $1::boolean', { { a = 1 } })
  end)

  it('must be values that can be sent', function()
    refused('invalid_argument', 'parameter $2 cannot be sent: function', store.query, store,
      'SELECT $1, $2', { 1, print })
    refused('invalid_argument', 'zero byte', store.query, store, 'SELECT $1', { 'a\0b' })
    refused('invalid_document', '.f', store.query, store, 'SELECT $1', { { f = print } })
    assert.is_false((pcall(store.query, store, 'SELECT $1::text', { '\255' })))
  end)

  it('may be what JSON has not: NaN and the infinities, as PostgreSQL writes them', function()
    local row = store:query('SELECT $1::float8 AS nan, $2::float8 AS most, $3::float8 AS least',
      { 0 / 0, math.huge, -math.huge })[1]
    assert.is_true(row.nan ~= row.nan)
    assert.same({ math.huge, -math.huge }, { row.most, row.least })
  end)

  it('that are tables are JSON; where an array of PostgreSQL was wanted a hint says so', function()
    for _, list in ipairs({ { 1, 2 }, json.array(), { { a = 1 } } }) do
      local err = refused('invalid_argument', nil, store.query, store,
        'SELECT 1 WHERE 1 = ANY($1::int[])', { list })
      assert.truthy(err.hint:find('sent as JSON', 1, true))
      assert.equal(400, err.http)
    end
  end)

  it('are an array without gaps, and no options', function()
    refused('invalid_argument', 'json.null where NULL is meant', store.query, store,
      'SELECT $1, $2', { [2] = 'b' })
    refused('invalid_argument', 'must be an array', store.query, store, 'SELECT 1', { a = 1 })
    refused('invalid_argument', 'must be an array', store.query, store, 'SELECT 1', 'x')
    for _, option in ipairs({ 'timeout', 'readonly', 'transaction', 'raw', 'invalidates' }) do
      refused('invalid_argument', ("options such as '%s' go in the third"):format(option),
        store.query, store, 'SELECT 1', { [option] = 1 })
    end
  end)

  it('may be none', function()
    assert.equal(1, store:query('SELECT 1 AS n', {})[1].n)
    assert.equal(1, store:query('SELECT 1 AS n', nil, {})[1].n)
    assert.equal(1, store:query('SELECT 1 AS n', nil)[1].n)
  end)
end)

describe('several statements in a query', function()
  local function count() return store:query('SELECT count(*) AS n FROM docs')[1].n end

  before_each(function() store:query('DELETE FROM docs') end)

  it('run in their order, and give the rows of the last that has any', function()
    local rows = store:query([[
      INSERT INTO docs VALUES (1, '{"s": "a;b"}'); -- a comment; with a semicolon
      INSERT INTO docs VALUES (2, '{}');
      SELECT count(*) AS n FROM docs;
    ]])
    assert.equal(2, rows[1].n)
    assert.equal('a;b', store:find('docs', '1').s)
  end)

  it('say how many rows the last of them changed, where none gives rows', function()
    local result = store:query([[
      INSERT INTO docs VALUES (1, '{}'), (2, '{}'), (3, '{}');
      UPDATE docs SET value = '{"n": 1}' WHERE id > 1;
    ]])
    assert.equal(2, result.affected)
  end)

  it('are all or nothing', function()
    local err = refused('constraint', nil, store.query, store, [[
      INSERT INTO docs VALUES (1, '{}');
      INSERT INTO docs VALUES (NULL, '{}');
    ]])
    assert.equal('23502', err.sqlstate)
    assert.equal('none', err.outcome)
    assert.equal(0, count())
  end)

  it('run each by itself with transaction = false', function()
    refused('constraint', nil, store.query, store, [[
      INSERT INTO docs VALUES (1, '{}');
      INSERT INTO docs VALUES (NULL, '{}');
      INSERT INTO docs VALUES (3, '{}');
    ]], nil, { transaction = false, invalidates = { 'docs' } })
    assert.equal(1, count())
  end)

  it('take no parameters', function()
    refused('invalid_argument', 'several statements in one query take no parameters', store.query,
      store, 'SELECT $1; SELECT 2', { 1 })
    assert.equal(2, store:query('SELECT 1 AS n; SELECT 2 AS n', {})[1].n)
    -- a semicolon at the end, in a string or in a comment makes no second statement
    assert.equal('a;b', store:query("SELECT 'a;b' || $1 AS v; -- ; ", { '' })[1].v)
    assert.equal(';', store:query('SELECT $$;$$ || $1 AS v /* ; */ ; ', { '' })[1].v)
  end)

  it('do not begin or end transactions', function()
    for _, word in ipairs({ 'BEGIN', 'COMMIT', 'rollback', 'START TRANSACTION', 'END',
                            'SAVEPOINT s', 'PREPARE TRANSACTION \'x\'' }) do
      local err = refused('unsupported', 'store:transaction', store.query, store, word)
      assert.equal('none', err.outcome)
      refused('unsupported', nil, store.query, store, 'SELECT 1; /* x */ ' .. word .. '; SELECT 2')
    end
  end)

  it('may be none at all', function()
    for _, nothing in ipairs({ '', ' ', ';', '-- nothing', ' ; ; ' }) do
      assert.equal(0, #store:query(nothing))
    end
  end)
end)

describe('a query with transaction = false', function()
  it('runs what refuses transactions', function()
    store:query('VACUUM docs', nil, { transaction = false, invalidates = {} })
    store:query('CREATE INDEX CONCURRENTLY docs_value ON docs USING gin (value)', nil,
      { transaction = false, invalidates = {} })
    local err = refused('query_failed', nil, store.query, store, 'VACUUM docs')
    assert.equal('25001', err.sqlstate)
  end)

  it('has to say what it writes, on a store with a cache', function()
    local err = refused('invalid_option', 'invalidates', store.query, store,
      "UPDATE docs SET value = '{}'", nil, { transaction = false })
    assert.equal('none', err.outcome)
    local rows = store:query('SELECT 1 AS n', nil, { transaction = false, readonly = true })
    assert.equal(1, rows[1].n)
    local plain = stores.Store.new(support.config(db.database), nil, { transaction = false })
    plain:query('VACUUM docs')
    assert.equal(1, plain:query('SELECT 1 AS n')[1].n)
    support.close(plain)
  end)

  it('makes its writes visible to finds', function()
    store:upsert('docs', { id = '1', n = 1 })
    assert.equal(1, store:find('docs', '1').n)
    store:query([[UPDATE docs SET value = '{"n": 2}' WHERE id = 1]], nil,
      { transaction = false, invalidates = { 'docs' } })
    assert.equal(2, store:find('docs', '1').n)
  end)
end)

describe('a query that writes', function()
  it('is seen by the next find, also through the cache of another store', function()
    local other = stores.Store.new(support.config(db.database), support.redis())
    for i = 1, 5 do
      store:upsert('docs', { id = '1', n = 0 })
      assert.equal(0, other:find('docs', '1').n)
      store:query([[UPDATE docs SET value = value || $1 WHERE id = 1]], { { n = i } })
      assert.equal(i, other:find('docs', '1').n)
      assert.equal(i, store:find('docs', '1').n)
    end
    support.close(other)
  end)

  it('is refused by the server with readonly', function()
    local err = refused('read_only', nil, store.query, store, 'DELETE FROM docs', nil,
      { readonly = true })
    assert.equal('25006', err.sqlstate)
    assert.equal('none', err.outcome)
    -- and the connection is as it was
    store:query('DELETE FROM docs')
  end)
end)

describe('a query whose answer is none of rows in text', function()
  -- Refuses the text in every place where one may stand, and everything goes on after it.
  local function everywhere(what, text)
    local outside = { transaction = false, invalidates = { 'docs' } }
    local function refuses(fn, ...)
      local err = refused('unsupported', what, fn, ...)
      assert.is_false(err.retryable)
      assert.equal('none', err.outcome)
    end
    store:upsert('docs', { id = '1', n = 1 })
    refuses(store.query, store, text)
    refuses(store.query, store, text, nil, { readonly = true })
    if not text:find(';') then refuses(store.query, store, text, nil, outside) end
    store:transaction(function(tx)
      tx:updateProperty('docs', '1', 'n', 2)
      refuses(tx.query, tx, text)
      assert.equal(2, tx:find('docs', '1').n)
    end)
    assert.equal(2, store:find('docs', '1').n)
  end

  it('is refused: a COPY whose rows the client sends or takes', function()
    everywhere('COPY', 'COPY docs FROM STDIN')
    everywhere('COPY', 'COPY docs TO STDOUT')
    everywhere('COPY', 'SELECT 1; COPY (SELECT 1) TO STDOUT (FORMAT csv)')
    refused('unsupported', 'COPY', store.session, store, function(session)
      session:query('COPY docs FROM STDIN')
    end)
  end)

  it('is refused: a binary cursor', function()
    local declare = 'DECLARE c BINARY CURSOR FOR SELECT 5::int8 AS n, value FROM docs WHERE id = 1'
    store:upsert('docs', { id = '1', n = 1 })
    refused('unsupported', 'BINARY', store.query, store, declare .. '; FETCH ALL c')
    store:transaction(function(tx)
      refused('unsupported', 'BINARY', tx.query, tx, declare .. '; FETCH c')
      -- by itself a FETCH gives text
      assert.same({ n = 5, value = { id = '1', n = 1 } }, tx:query('FETCH FIRST FROM c')[1])
    end)
  end)
end)

describe('a query that fails', function()
  it('says what PostgreSQL said', function()
    local err = refused('query_failed', 'syntax error', store.query, store, 'SELEKT 1')
    assert.equal('42601', err.sqlstate)
    assert.equal('none', err.outcome)
    err = refused('table_not_found', 'nowhere', store.query, store, 'SELECT * FROM nowhere')
    assert.equal('42P01', err.sqlstate)
    err = refused('query_failed', nil, store.query, store, 'SELECT nonsense()')
    assert.equal('42883', err.sqlstate)
    assert.is_string(err.hint)
    err = refused('invalid_argument', 'division by zero', store.query, store, 'SELECT 1 / 0')
    assert.equal('22012', err.sqlstate)
  end)

  it('names the constraint and the table', function()
    store:query([[CREATE TABLE limits (id bigint PRIMARY KEY,
      n int CONSTRAINT limits_small CHECK (n < 10), u int UNIQUE)]])
    local err = refused('constraint', nil, store.query, store, 'INSERT INTO limits VALUES (1, 50)')
    assert.equal('limits_small', err.constraint)
    assert.equal('23514', err.sqlstate)
    assert.truthy(err.table:find('limits', 1, true))
    assert.equal(409, err.http)
    store:query('INSERT INTO limits VALUES (1, 1, 1)')
    err = refused('duplicate', nil, store.query, store, 'INSERT INTO limits VALUES (2, 1, 1)')
    assert.equal('limits_u_key', err.constraint)
    assert.truthy(err.detail)
    store:query('DROP TABLE limits')
  end)

  it('ends with its deadline, on the server too', function()
    local err = refused('timeout', nil, store.query, store, 'SELECT pg_sleep(60), 7777', nil,
      { timeout = 0.1 })
    assert.equal('none', err.outcome)
    support.eventually(function()
      return support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
        .. "AND query LIKE 'SELECT pg_sleep(60), 7777%'") == '0\n'
    end, 20, 'the statement was cancelled')
  end)

  it('must be a text', function()
    refused('invalid_argument', 'the SQL must be a string', store.query, store)
    refused('invalid_argument', 'the SQL must be a string', store.query, store, 5)
    refused('invalid_argument', 'zero byte', store.query, store, 'SELECT 1\0')
  end)

  it('harms none of its neighbours', function()
    local list = {}
    for i = 1, 100 do list[i] = i end
    local results = stores.map(list, function(i)
      local fails = i % 3 == 0
      local ok, rows = pcall(store.query, store, fails and 'SELECT 1 / 0' or 'SELECT $1::int AS n',
        not fails and { i } or nil)
      return ok and rows[1].n or rows.sqlstate
    end)
    for i = 1, 100 do assert.equal(i % 3 == 0 and '22012' or i, results[i]) end
  end)
end)
