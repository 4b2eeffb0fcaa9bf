-- Not in the gc pass: it is about texts of statements.
local core = require('stores.core')
local errors = require('stores.errors')
local jsonpath = require('stores.sql.jsonpath')
local modify = require('stores.sql.modify')
local paths = require('stores.sql.paths')
local query = require('stores.sql.query')

local null, patch = core.null, modify.patch
local NONE = {}

local function array(items) return setmetatable(items, core.array_metatable) end

local function refused(code, pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, 'nothing was raised')
  assert.is_true(errors.is(err), tostring(err))
  assert.equal(code, err.code, tostring(err))
  assert.truthy(err.message:find(pattern), err.message .. '\n  has no ' .. pattern)
end

-- The one parameter of a criteria verb without options.
local function pattern_of(...)
  local _, params = query.array_contains(...)
  return params[1]
end

describe('a criteria verb', function()
  it('asks the index before it orders and limits', function()
    local text, params = query.find_by_json({ a = 1 }, { limit = 5 })
    assert.equal('WITH hit AS MATERIALIZED (SELECT id, value FROM %T WHERE value @> $1::jsonb) '
      .. 'SELECT id, value::text FROM hit ORDER BY id LIMIT $2::bigint', text)
    assert.same({ '{"a":1}', '5' }, params)
  end)

  it('has nothing of its arguments in the SQL', function()
    local evil = "%T' $1 \" \\ ; --"
    for _, text in ipairs({
      (query.find_by_json({ [evil] = evil }, { order = { evil } })),
      (query.array_contains(evil, evil, NONE)),
      (query.sub_contains({ evil }, { evil = evil }, NONE)),
      (query.by_path('$.a ? (@ == $v)', { v = evil }, NONE)),
      (modify.property({ evil, evil }, evil)),
      (patch({ set = { [evil] = evil }, inc = { [evil] = 1 }, append = { [evil] = evil },
        remove = { evil, { evil, evil } }, merge = { [evil] = evil } }, '1')),
    }) do
      local rest = text:gsub('%%T', '', 1)
      assert.is_nil(rest:find('%', 1, true), rest)
      assert.is_nil(rest:find('--', 1, true), rest)
      assert.is_nil(rest:find('\\', 1, true), rest)
    end
  end)

  it('goes on after an id, in the order of the ids', function()
    local text, params = query.find_by_json({ a = 1 }, { after = '7', limit = 2 })
    assert.truthy(text:find('FROM hit WHERE id > $2::bigint ORDER BY id LIMIT $3::bigint', 1, true))
    assert.same({ '{"a":1}', '7', '2' }, params)
    text = query.find_by_json({ a = 1 }, { after = '7', order = 'desc' })
    assert.truthy(text:find('WHERE id < $2::bigint ORDER BY id DESC', 1, true))
    refused('invalid_id', '', query.find_by_json, { a = 1 }, { after = 7 })
  end)

  it('orders by id, either way, or by what is at a path', function()
    local function order(by)
      local text, params = query.find_all({ order = by })
      assert.same({}, params)
      return text:match('ORDER BY (.*)')
    end
    local function at(path) return "NULLIF(value #> '{" .. path .. "}'::text[], 'null'::jsonb)" end
    for _, by in ipairs({ 'asc', 'id' }) do assert.equal('id', order(by)) end
    for _, by in ipairs({ 'desc', '-id' }) do assert.equal('id DESC', order(by)) end
    assert.equal(at('name') .. ', id', order({ 'name' }))
    assert.equal(at('a,b.c') .. ' DESC NULLS LAST, id DESC', order({ { 'a', 'b.c' }, 'desc' }))
    assert.equal(at('a,b') .. ', ' .. at('c') .. ' DESC NULLS LAST, id DESC',
      order({ 'a.b', '-c' }))
    for _, wrong in ipairs({ 'name', 'DESC', 5, {}, { 'a', nil, 'b' }, { 'a', 'asc', 'b' } }) do
      refused('invalid_argument', 'order must be', query.find_all, { order = wrong })
    end
    refused('invalid_argument', 'the path of order', query.find_all, { order = { 5 } })
    refused('invalid_argument', "'after' is an id", query.find_all,
      { order = { 'a' }, after = '1' })
  end)

  it('refuses what would match every row, unless that is meant', function()
    refused('empty_criteria', '{all = true}', query.find_by_json, {}, NONE)
    refused('empty_criteria', '', query.find_by_json, { email = nil }, NONE)
    refused('empty_criteria', '', query.find_one, {}, NONE)
    refused('empty_criteria', '', query.count, {}, NONE)
    refused('empty_criteria', '', query.sub_contains, 'a', {}, NONE)
    refused('empty_criteria', '', query.array_contains, 'a', array({}), NONE)
    refused('empty_criteria', '', query.array_contains, 'a', {}, NONE)
    for _, path in ipairs({ '$', ' lax $ ', 'strict $' }) do
      refused('empty_criteria', '', query.by_path, path, nil, NONE)
    end
    assert.equal('SELECT id, value::text FROM %T ORDER BY id',
      (query.find_by_json({}, { all = true })))
    assert.equal('SELECT id, value::text FROM %T ORDER BY id',
      (query.find_by_json(nil, { all = true })))
    assert.equal('SELECT count(*) AS n FROM %T', (query.count({}, { all = true })))
    assert.equal('{"a":[]}', pattern_of('a', array({}), { all = true }))
  end)

  it('takes a document with names', function()
    refused('invalid_argument', 'the criteria must be a table with names, got nil',
      query.find_by_json, nil, NONE)
    refused('invalid_argument', 'got a string', query.find_one, 'x', NONE)
    refused('invalid_argument', 'got json.null', query.count, null, NONE)
    refused('invalid_argument', 'got an array', query.find_by_json, { 'x' }, NONE)
    refused('invalid_argument', 'the document must be', query.sub_contains, 'a', 5, NONE)
    refused('invalid_document', 'cannot store .a: function', query.find_by_json, { a = print },
      NONE)
  end)
end)

describe('findAll, findOne, count, each, exists', function()
  it('are the plain statements', function()
    assert.equal('SELECT id, value::text FROM %T ORDER BY id', (query.find_all(NONE)))
    local text, params = query.each_batch('9', 100)
    assert.equal('SELECT id, value::text FROM %T WHERE id > $1::bigint ORDER BY id '
      .. 'LIMIT $2::bigint', text)
    assert.same({ '9', '100' }, params)
    assert.equal('SELECT id, value::text FROM %T ORDER BY id LIMIT $1::bigint',
      (query.each_batch(nil, 100)))
    -- of places that were looked up first: who came between them drives nobody out
    text = query.each_batch('9', nil, { among = function(add) return 'id <= ' .. add('20', 'bigint')
    end }, { has_cursors = true })
    assert.equal('SELECT id, value::text FROM %T WHERE id <= $1::bigint AND id > $2::bigint '
      .. 'ORDER BY id', text)
    assert.equal('SELECT count(*) AS n FROM %T', (query.count(nil, NONE)))
    text, params = query.count({ a = 1 }, NONE)
    assert.equal('SELECT count(*) AS n FROM %T WHERE value @> $1::jsonb', text)
    assert.same({ '{"a":1}' }, params)
    text, params = query.find_one({ a = 1 }, { limit = 7 })
    assert.truthy(text:find('LIMIT $2::bigint', 1, true))
    assert.same({ '{"a":1}', '1' }, params)
    text, params = query.exists('5')
    assert.equal('SELECT id FROM %T WHERE id = $1::bigint', text)
    assert.same({ '5' }, params)
  end)
end)

describe('findByJsonArrayContains', function()
  it('looks for a scalar or an object as an element, for an array as a part', function()
    assert.equal('{"tags":["x"]}', pattern_of('tags', 'x', NONE))
    assert.equal('{"tags":[null]}', pattern_of('tags', null, NONE))
    assert.equal('{"tags":[false]}', pattern_of('tags', false, NONE))
    assert.equal('{"tags":[{"a":1}]}', pattern_of('tags', { a = 1 }, NONE))
    assert.equal('{"tags":[1,2]}', pattern_of('tags', array({ 1, 2 }), NONE))
    assert.equal('{"tags":[[1]]}', pattern_of('tags', array({ array({ 1 }) }), NONE))
  end)

  it('takes a path', function()
    assert.equal('{"a":{"b.c":["x"]}}', pattern_of({ 'a', 'b.c' }, 'x', NONE))
    assert.equal('{"0":["x"]}', pattern_of('0', 'x', NONE))
  end)

  it('refuses nil', function()
    refused('invalid_argument', 'json.null', query.array_contains, 'tags', nil, NONE)
    refused('invalid_argument', 'the key must be a name', query.array_contains, nil, 'x', NONE)
  end)
end)

describe('findByJsonSubContains', function()
  it('looks for a document in the object at a path', function()
    local _, params = query.sub_contains({ 'a', 'b' }, { c = 1 }, NONE)
    assert.same({ '{"a":{"b":{"c":1}}}' }, params)
  end)
end)

describe('a JSON path', function()
  local function bound(path, vars) return (jsonpath.bind(path, vars)) end
  local function predicate(path) return select(2, jsonpath.bind(path)) end

  it('gets its variables as literals', function()
    assert.equal('$ ? (@.a ==  (5) )', bound('$ ? (@.a == $x)', { x = 5 }))
    assert.equal('$ ? (@.a ==  (-0.5) )', bound('$ ? (@.a == $x)', { x = -0.5 }))
    assert.equal('$ ? (@.a ==  "q\\"\\\\" )', bound('$ ? (@.a == $x)', { x = 'q"\\' }))
    assert.equal('$ ? (@.a ==  true  || @.b ==  null )',
      bound('$ ? (@.a == $t || @.b == $n)', { t = true, n = null }))
    assert.equal('$ ? (@.a ==  (9223372036854775807) )',
      bound('$ ? (@.a == $x)', { x = 9223372036854775807LL }))
    assert.equal('$[ (1) ].b', bound('$[$i].b', { i = 1 }))
    assert.equal('$ ? (@ ==  1  - b)', (bound('$ ? (@ == $a - b)', { a = 1 }):gsub('%(1%)', '1')))
    assert.equal('$ ? (@ ==  "v" )', bound('$ ? (@ == $"a b\\"c")', { ['a b"c'] = 'v' }))
    assert.equal('$ ? (@ ==  "v" )', bound('$ ? (@ == $é_1)', { ['é_1'] = 'v' }))
  end)

  it('keeps its strings, quoted names and comments', function()
    for _, path in ipairs({ '$.a ? (@ == "$x \\" $y")', '$."$x"', '$ /* $x */ .a', '$.a[*]',
      '$' }) do
      assert.equal(path, bound(path, nil))
    end
  end)

  it('must have the variables that are given, and the other way round', function()
    refused('invalid_argument', 'has the variable $x', bound, '$ ? (@ == $x)', {})
    refused('invalid_argument', 'they are xy', bound, '$ ? (@ == $x)', { xy = 1 })
    refused('invalid_argument', 'the variable y is not used', bound, '$ ? (@ == $x)',
      { x = 1, y = 2 })
    refused('invalid_argument', 'go in the fourth', bound, '$.a', { limit = 5 })
    refused('invalid_argument', 'no literals for tables', bound, '$ ? (@ == $x)', { x = {} })
    refused('invalid_argument', 'must be a table of names', bound, '$.a', { 'x' })
    refused('invalid_argument', 'must be a table of names, got a number', bound, '$.a', 5)
    refused('invalid_document', '', bound, '$ ? (@ == $x)', { x = 0 / 0 })
  end)

  it('that is no path is refused', function()
    refused('invalid_argument', 'must be a string', bound, nil)
    refused('invalid_argument', 'is empty', bound, '  ')
    refused('invalid_argument', 'inside a string', bound, '$."a')
    refused('invalid_argument', 'inside a string', bound, '$."a\\"')
    refused('invalid_argument', 'inside a comment', bound, '$ /* a')
  end)

  it('is a predicate where it compares outside of filters', function()
    for _, path in ipairs({ '$.a == 1', '($.a > 1)', 'exists($.a)', '!($.a == 1)',
      '$.a starts with "x"', '$.a like_regex "x"', '($.a == 1) is unknown', '$ ? (@.a == 1).b < 2',
      '(1 + 2) == $.a' }) do
      assert.is_true(predicate(path), path)
      refused('invalid_argument', 'predicate = true', query.by_path, path, nil, NONE)
    end
    for _, path in ipairs({ '$.a', '$ ? (@.a == 1)', '$ ? ((@.a == 1) || exists(@.b)).c',
      '$.exists', '$.a.is', '$."a == b"', '$.a + 1', '$ ?(@.a ?(@.b > 1) == 2)' }) do
      assert.is_false(predicate(path), path)
    end
  end)

  it('is asked with @? or @@', function()
    local text, params = query.by_path('$.a', nil, NONE)
    assert.truthy(text:find('WHERE value @? $1::jsonpath)', 1, true))
    assert.same({ '$.a' }, params)
    text = query.by_path('$.a == 1', nil, { predicate = true })
    assert.truthy(text:find('WHERE value @@ $1::jsonpath)', 1, true))
  end)
end)

describe('a path', function()
  it('is a name or an array of names, which may hold anything', function()
    assert.same({ 'a.b' }, paths.read('a.b', 'the key'))
    assert.same({ '' }, paths.read('', 'the key'))
    assert.equal('{"a","q\\"\\\\","{,}","","é"}', paths.array({ 'a', 'q"\\', '{,}', '', 'é' }))
    for _, wrong in ipairs({ 5, true, null, {}, { 'a', 5 }, { 'a', nil, 'b' }, { a = 'b' }, 'a\0',
      '\255' }) do
      refused('invalid_argument', 'the key', paths.read, wrong, 'the key')
    end
    refused('invalid_argument', 'got nil', paths.read, nil, 'the key')
    local deep = {}
    for i = 1, 513 do deep[i] = 'a' end
    refused('invalid_argument', 'deeper than 512', paths.read, deep, 'the key')
  end)

  it('is shown short, and cut between characters', function()
    assert.equal(".a['b c']['0']", paths.show({ 'a', 'b c', '0' }))
    local shown = paths.show({ ('é'):rep(500) })
    assert.is_true(#shown < 80)
    assert.is_true(paths.storable(shown))
  end)
end)

describe('updateProperty', function()
  it('writes one expression for each depth, whatever the names', function()
    local one, params = modify.property('a', { b = 1 })
    assert.same({ '{"a"}', '{"b":1}' }, params)
    assert.equal(one, (modify.property('%T', 5)))
    local three = modify.property({ 'a', 'b', 'c' }, 1)
    assert.equal(three, (modify.property({ 'x.y', '', '0' }, 'v')))
    assert.not_equal(one, three)
  end)

  it('grows linearly with the depth', function()
    local function size(depth)
      local path = {}
      for i = 1, depth do path[i] = 'k' end
      return #modify.property(path, 1)
    end
    assert.is_true(size(400) < 45 * size(10))
  end)

  it('refuses nil, the id, and what cannot be stored', function()
    refused('invalid_argument', 'say json.null', modify.property, 'a', nil)
    refused('invalid_argument', "is 'id'", modify.property, 'id', '5')
    refused('invalid_argument', "is 'id'", modify.property, { 'id', 'x' }, '5')
    assert.truthy(modify.property({ 'a', 'id' }, '5'))
    refused('invalid_document', 'cannot store %.a%.b', modify.property, { 'a', 'b' }, print)
    assert.same({ '{"a"}', 'null' }, select(2, modify.property('a', null)))
  end)
end)

describe('patch', function()
  it('puts the names of set in order, and together', function()
    local _, params = patch({ set = { b = 1, a = array({}), ['c.d'] = null } }, '1')
    assert.same({ '{"a":[],"b":1,"c.d":null}' }, params)
  end)

  it('needs no sub-select where no step reads what another wrote', function()
    local text = patch({ set = { a = 1 }, inc = { b = 1, c = 2 }, append = { d = 1 },
      remove = { 'e', { 'f', 'g' } }, merge = { h = 1 } }, '1')
    assert.is_nil(text:find('SELECT', 1, true))
    text = patch({ set = { a = 1 }, inc = { a = 1 } }, '1')
    assert.truthy(text:find('AS value OFFSET 0) step)', 1, true))
  end)

  it('grows linearly with the steps', function()
    local function size(count)
      local list = {}
      for i = 1, count do list[i] = { { 'a', 'b' }, 1 } end
      return #patch({ inc = list }, '1')
    end
    assert.is_true(size(200) < 22 * size(10))
  end)

  it('takes numbers of any kind in inc, and nothing else', function()
    local _, params = patch({ inc = { a = 9223372036854775807LL } }, '1')
    assert.same({ '{"a"}', '9223372036854775807', '.a' }, params)
    _, params = patch({ inc = { a = core.number('0.10') } }, '1')
    assert.equal('0.10', params[2])
    for _, wrong in ipairs({ '1', true, null, {} }) do
      refused('invalid_argument', 'inc of .a needs a number', patch, { inc = { a = wrong } }, '1')
    end
  end)

  it('appends one element', function()
    local _, params = patch({ append = { a = array({ 1, 2 }) } }, '1')
    assert.equal('[[1,2]]', params[2])
    _, params = patch({ append = { a = null } }, '1')
    assert.equal('[null]', params[2])
  end)

  it('lets merge hold the id of the row, and no other', function()
    local _, params = patch({ merge = { id = '5', a = 1 } }, '5')
    assert.same({ '{"a":1}' }, params)
    refused('id_mismatch', 'not the id of the row', patch, { merge = { id = '6', a = 1 } }, '5')
    refused('invalid_argument', 'merge must be', patch, { merge = { 1, 2 } }, '5')
  end)

  it('is refused where it is empty or not understood', function()
    refused('invalid_argument', 'the patch is empty', patch, {}, '1')
    refused('invalid_argument', 'the patch is empty', patch, { set = {}, merge = {} }, '1')
    refused('invalid_argument', 'the patch is empty', patch, { merge = { id = '1' } }, '1')
    refused('invalid_argument', 'must be a table', patch, nil, '1')
    refused('invalid_argument', "unknown key 'unset'.*'remove'", patch, { unset = { 'a' } }, '1')
    refused('invalid_argument', "unknown key 'apend'.*'append'", patch, { apend = { a = 1 } }, '1')
    refused('invalid_argument', "is 'id'", patch, { set = { id = '2' } }, '1')
    refused('invalid_argument', "is 'id'", patch, { remove = { 'id' } }, '1')
    refused('invalid_argument', 'set%[1%] must be {path, value}', patch, { set = { 'a' } }, '1')
    refused('invalid_argument', 'value not nil', patch, { set = { { 'a' } } }, '1')
    refused('invalid_argument', 'mixes', patch, { set = { { 'a', 1 }, b = 2 } }, '1')
    refused('invalid_argument', 'names are strings', patch, { set = { [7] = 1 } }, '1')
    refused('invalid_argument', 'remove must be a list', patch, { remove = { a = true } }, '1')
    refused('invalid_argument', 'inc must be', patch, { inc = 5 }, '1')
  end)
end)

describe('the parameters of query', function()
  it('are an array', function()
    assert.same({}, query.params(nil))
    assert.same({ 1, null }, query.params({ 1, null }))
    refused('invalid_argument', "options such as 'timeout' go in the third", query.params,
      { timeout = 5 })
    refused('invalid_argument', "has the key 'name'", query.params, { name = 'x' })
    refused('invalid_argument', 'got a string', query.params, 'x')
    refused('invalid_argument', 'json.null', query.params, { [1] = 1, [3] = 3 })
  end)
end)
