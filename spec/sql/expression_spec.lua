--- Expressions of paths and the indexes over them, and which indexes serve which criteria.
-- Not in the gc pass: nothing of it hangs on a value of Lua.

local criteria = require('stores.sql.criteria')
local expression = require('stores.sql.expression')
local order = require('stores.sql.order')
local serving = require('stores.sql.serving')
local support = require('spec.support')

local refused = support.refused

describe('the expression of a path', function()
  local store, db

  setup(function() store, db = support.store({}, { cache = false, no_redis = true }) end)
  teardown(function() support.close(store, db) end)

  it('names what the path names, whatever is in the names', function()
    local odd = { 'a', 'a.b', '', ' ', 'null', 'NULL', '{', '}', ',', '"', "'", '\\', '%T', '$1',
      '--', '/*', '!0041', 'ä€😀', '\n\t\r', '\1', "U&'", 'a b', '-1', '0', ';', 'é\\u0041' }
    local paths = { odd }
    for _, name in ipairs(odd) do paths[#paths + 1] = { name } end
    for _, names in ipairs(paths) do
      local nested = 1
      for i = #names, 1, -1 do nested = { [names[i]] = nested } end
      local found = store:query(('SELECT %s AS one, %s AS other FROM (SELECT $1::jsonb AS value) t')
        :format(expression.of(names), expression.text(names)), { nested })[1]
      assert.equal(1, found.one, table.concat(names, '|'))
      assert.equal('1', found.other)
    end
  end)

  it('is NULL for a null and for what is missing', function()
    local sql = ('SELECT count(*) AS n FROM (VALUES (%s), (%s), (%s)) t(value) WHERE %s IS NULL')
      :format("'{}'::jsonb", [['{"a": null}']], [['{"a": 1}']], expression.of({ 'a' }))
    assert.equal(2, store:query(sql)[1].n)
  end)

  it('is that of an index, of one key or several, for values or for prefixes', function()
    local function columns(spec, unique)
      return expression.columns(expression.index(spec), unique)
    end
    local function at(path)
      return "(NULLIF(value #> '{" .. path .. "}'::text[], 'null'::jsonb))"
    end
    assert.equal(at('age') .. ', id', columns('age'))
    assert.equal(at('age') .. ', id', columns('-age')) -- which serves both ways
    assert.equal(at('a,b') .. ', id', columns('a.b'))
    assert.equal(at('a,b') .. ', id', columns({ 'a', 'b' }))
    assert.equal(at('a') .. ', ' .. at('b') .. ' DESC NULLS LAST, id DESC', columns({ 'a', '-b' }))
    assert.equal(at('a') .. ', ' .. at('b') .. ', id', columns({ 'a', '+b' }))
    assert.equal(at('a') .. ' DESC NULLS LAST, ' .. at('b,c') .. ', id',
      columns({ '-a', { 'b', 'c' } }))
    assert.equal(at('a') .. ', ' .. at('b'), columns({ 'a', '-b' }, true))
    assert.equal("((value #>> '{a}'::text[])) text_pattern_ops", columns({ prefix = 'a' }))
    assert.equal('(a, -b.c)', expression.show(expression.index({ 'a', '-b.c' })))
    assert.not_equal(expression.signature(expression.index('a')),
      expression.signature(expression.index({ prefix = 'a' })))
    for _, spec in ipairs({ 'age', { 'state', '-at' }, { prefix = 'x y' }, { "it's", '%T' } }) do
      store:query('CREATE TABLE made (id bigint PRIMARY KEY, value jsonb)')
      store:query(expression.create('made', expression.index(spec)), nil, { transaction = false })
      store:query('DROP TABLE made')
    end
    for _, wrong in ipairs({ 5, {}, { 5 }, { prefix = 5 }, 'a..b' }) do
      refused('invalid_argument', 'an index', expression.index, wrong)
    end
  end)
end)

describe('a list of indexes', function()
  local function judge(indexes, where, by, opts)
    opts = opts or {}
    local list = {}
    for i, spec in ipairs(indexes) do list[i] = expression.index(spec) end
    local verdict = serving.judge(list, criteria.read(where), order.read(by),
      opts.contains or false, opts.has_gin or false)
    local missing = verdict.missing and expression.show(verdict.missing)
      or verdict.needs_gin and 'gin' or nil
    return verdict.is_served, verdict.sorts, missing
  end
  local function serves(sorts, ...)
    local is_served, does_sort, missing = judge(...)
    assert.is_true(is_served)
    assert.equal(sorts, does_sort)
    assert.is_nil(missing)
  end
  local function lacks(wanted, ...)
    local is_served, _, missing = judge(...)
    assert.is_false(is_served)
    assert.equal(wanted, missing)
  end

  it('serves conditions on a path with which one begins', function()
    for _, condition in ipairs({ { 'age', '=', 1 }, { 'age', '<', 1 }, { 'age', 'in', { 1 } },
      { 'age', 'exists' }, { 'age', '=', require('stores.json').null } }) do
      serves(false, { 'age' }, { condition })
      serves(false, { { 'age', '-at' } }, { condition })
      lacks('(age)', { 'name', { prefix = 'age' }, { 'name', '-age' } }, { condition })
    end
    serves(false, { { 'name', '-age' } }, { { 'name', '=', 'x' }, { 'age', '>', 1 } })
    lacks('(name)', { { 'age', '-name' } }, { { 'name', '=', 'x' } })
    serves(false, { 'a' }, { { 'b', '=', 1 }, { 'a', '=', 1 } })
    serves(false, {}, { { 'id', '=', '5' } })
    lacks('(name for prefixes)', { 'name' }, { { 'name', 'prefix', 'A' } })
    serves(false, { { prefix = 'name' } }, { { 'name', 'prefix', 'A' } })
  end)

  it('serves groups by all of their alternatives', function()
    local any = { any = { { 'a', '=', 1 }, { 'b', '=', 1 } } }
    serves(false, { 'a', 'b' }, any)
    lacks('(b)', { 'a' }, any)
    serves(false, { 'a', 'b' }, { any = { { { 'a', '=', 1 }, { 'c', '=', 1 } }, { 'b', '=', 1 } } })
    assert.is_false((judge({ 'a' }, { none = { { 'a', '=', 1 } } })))
    serves(false, { 'b' }, { { 'b', '=', 1 }, none = { { 'a', '=', 1 } } })
  end)

  it('serves containment by the GIN index', function()
    lacks('gin', { 'a' }, nil, nil, { contains = true })
    serves(false, {}, nil, nil, { contains = true, has_gin = true })
    lacks('gin', {}, { { 'tags', 'has', 'x' } })
    serves(true, { 'a' }, { { 'tags', 'has', 'x' } }, { 'a' }, { has_gin = true })
  end)

  it('serves an order by its keys, as they go', function()
    serves(false, { 'age' }, nil, { 'age' })
    serves(false, { 'age' }, nil, { '-age' })
    serves(false, {}, nil, 'desc')
    lacks('(age)', {}, nil, { '-age' })
    lacks('(age)', { { 'age', '-name' } }, nil, { 'age' }) -- equals would not be in order of ids
    serves(false, { { 'state', '-at' } }, nil, { 'state', '-at' })
    lacks('(state, at)', { { 'state', '-at' } }, nil, { 'state', 'at' })
    lacks('(-state, at)', { { 'state', '-at' } }, nil, { '-state', 'at' })
    serves(false, { { 'state', '-at' } }, { { 'state', '=', 1 } }, { '-at' })
    serves(false, { { 'state', '-at' } }, { { 'state', '=', 1 } }, { 'state', '-at' })
    serves(true, { 'state', 'at' }, { { 'state', '=', 1 } }, { '-at' })
    lacks('(who, -at)', { 'at' }, { { 'who', '=', 1 } }, { '-at' })
  end)
end)
