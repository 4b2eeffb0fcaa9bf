--- Criteria, orders and pages on many rows: each form is served by its index, also where the plan
--- is made without the values. So many rows: STORES_TEST_ROWS=200000.
-- Plain pass alone: it is about plans of the server.

local plans = require('spec.support.plans')
local query = require('stores.sql.query')
local stores = require('stores')
local support = require('spec.support')

local ROWS = tonumber(os.getenv('STORES_TEST_ROWS')) or 60000
local GENERIC = { params = { options = '-c plan_cache_mode=force_generic_plan' }, poolsize = 1 }
local AGE, NAME = "NULLIF(value #> '{age}', 'null')", "NULLIF(value #> '{name}', 'null')"
local INDEXES = {
  by_gin = 'USING gin (value jsonb_path_ops)',
  by_age = ('((%s), id)'):format(AGE),
  by_state_at = "((NULLIF(value #> '{state}', 'null')), (NULLIF(value #> '{at}', 'null')) "
    .. 'DESC NULLS LAST, id DESC)',
  by_city = "((NULLIF(value #> '{address,city}', 'null')), id)",
  by_rare = "((NULLIF(value #> '{rare}', 'null')), id)",
  by_prefix = "((value #>> '{name}') text_pattern_ops)",
  by_name = ('((%s), id)'):format(NAME),
}

describe('on many rows, with plans that know no values, #slow', function()
  local store, db

  setup(function()
    store, db = support.store({ 'big' }, { cache = false, no_redis = true }, GENERIC)
    store:query(([[
      INSERT INTO big SELECT n, jsonb_build_object('id', n::text, 'name', 'name ' || n,
          'age', n %% 20000, 'state', 's' || n %% 1000, 'at', n * 7919 %% 100003,
          'tags', jsonb_build_array('t' || n %% 2000, 'all'),
          'address', jsonb_build_object('city', 'city ' || n %% 5000))
          || CASE WHEN n %% 4000 = 0 THEN jsonb_build_object('rare', n, 'age', null) ELSE '{}' END
        FROM generate_series(1, %d) n;]]):format(ROWS))
    for name, what in pairs(INDEXES) do
      store:query(('CREATE INDEX %s ON big %s'):format(name, what))
    end
    store:query('VACUUM ANALYZE big', nil, { transaction = false })
  end)
  teardown(function() support.close(store, db) end)

  local function plan(sql, params) return plans.generic(db, 'big', sql, params) end

  -- The plan reads these indexes, no other one, and never the whole table; and the call gives what
  -- a scan of the table gives.
  local function served(indexes, opts, doc)
    local sql, params = query.find_by_json(doc or {}, opts, {})
    local text = plan(sql, params)
    local seen = {}
    for name in text:gmatch('using ([%w_]+)') do seen[name] = true end
    for name in text:gmatch('Bitmap Index Scan on ([%w_]+)') do seen[name] = true end
    local wanted = {}
    for name in indexes:gmatch('%S+') do wanted[name] = true end
    assert.same(wanted, seen, text .. '\n' .. sql)
    assert.is_nil(text:find('Seq Scan', 1, true), text)
    return text
  end

  local function sorted_by_index(indexes, opts, doc)
    local text = served(indexes, opts, doc)
    -- parts are put behind each other, and each of them comes as it is
    for sort in text:gmatch('Sort Key: ([^\n]*)') do
      assert.is_truthy(sort:find('part', 1, true), text)
    end
    assert.is_nil(text:find('Incremental Sort', 1, true), text)
  end

  local function where(...) return { where = { ... } } end

  it('each condition is served by the index of its path', function()
    served('by_age', where({ 'age', '=', 500 }))
    served('by_age', where({ 'age', '<', 500 }))
    served('by_age', where({ 'age', '<=', 500 }))
    served('by_age', where({ 'age', '>', 500 }))
    served('by_age', where({ 'age', '>=', 500 }))
    served('by_age', where({ 'age', '>=', 500 }, { 'age', '<', 510 }))
    served('by_age', where({ 'age', 'in', { 1, 2, 3 } }))
    served('by_age', where({ 'age', '=', stores.json.null }))
    served('by_age', where({ 'age', 'exists', false }))
    served('by_rare', where({ 'rare', 'exists' }))
    served('by_city', where({ 'address.city', '=', 'city 7' }))
    served('by_name', where({ 'name', '>', 'name 9' }))
    served('by_name', where({ 'name', '<=', 'name 1' }))
    served('by_state_at', where({ 'state', '=', 's7' }, { 'at', '>', 500 }))
    served('by_state_at', where({ 'state', 'in', { 's7', 's8' } }))
    served('by_prefix', where({ 'name', 'prefix', 'name 77' }))
    served('by_gin', where({ 'tags', 'has', 't7' }))
    served('big_pkey', where({ 'id', 'in', { '5', '7' } }))
  end)

  it('groups are served by the indexes of all of their conditions', function()
    served('by_age by_city', { where = { any = { { 'age', '=', 5 },
      { 'address.city', '=', 'city 7' } } } })
    served('by_age by_gin', { where = { any = { { { 'age', '>', 5 }, { 'age', '<', 7 } },
      { 'tags', 'has', 't7' } } } })
    served('by_city', { where = { { 'address.city', '=', 'city 7' },
      none = { { 'age', '=', 5 } } } })
  end)

  it('containment asks the GIN index, beside a condition too', function()
    served('by_gin', {}, { tags = { 't7' } })
    served('by_gin', { limit = 5, order = { '-age' } }, { tags = { 't7' } })
    local text = plan(query.find_by_json({ tags = { 't7' } }, where({ 'age', '=', 7 }), {}))
    assert.is_truthy(text:find('by_age', 1, true), text)
    assert.is_nil(text:find('Seq Scan', 1, true), text)
  end)

  it('an order and a limit are read from the index of the order', function()
    local limit = 20
    sorted_by_index('by_age', { all = true, limit = limit, order = { 'age' } })
    sorted_by_index('by_age', { all = true, limit = limit, order = { '-age' } })
    sorted_by_index('by_state_at', { all = true, limit = limit, order = { 'state', '-at' } })
    sorted_by_index('by_state_at', { limit = limit, order = { '-at' },
      where = { { 'state', '=', 's7' } } })
    sorted_by_index('by_state_at', { limit = limit, order = { 'state', '-at' },
      where = { { 'state', '=', 's7' }, { 'at', '<', 50000 } } })
    sorted_by_index('by_age', { limit = limit, order = { 'age' },
      where = { { 'age', '>=', 500 } } })
    sorted_by_index('by_age', { limit = limit, order = { '-age' },
      where = { { 'age', '>=', 500 } } })
    sorted_by_index('by_age', { limit = limit, where = { { 'age', '=', 500 } } })
    sorted_by_index('big_pkey', { all = true, limit = limit, order = 'desc' })
  end)

  it('a page goes on, and back, as ranges of that index', function()
    for indexes, order in pairs({ by_age = { 'age' }, by_state_at = { 'state', '-at' } }) do
      local first, cursor = store:findAll('big', { order = order, limit = 50 })
      assert.equal(50, #first)
      sorted_by_index(indexes, { all = true, order = order, limit = 50, after = cursor })
      sorted_by_index(indexes, { all = true, order = order, limit = 50, before = cursor })
    end
    local _, cursor = store:findAll('big', { order = { '-age' }, limit = 50 })
    sorted_by_index('by_age', { all = true, order = { '-age' }, limit = 50, after = cursor })
    sorted_by_index('by_age', { all = true, order = { '-age' }, limit = 50, before = cursor })
    _, cursor = store:findAll('big', { order = { '-at' }, limit = 50,
      where = { { 'state', '=', 's7' } } })
    for _, way in ipairs({ 'after', 'before' }) do
      sorted_by_index('by_state_at', { order = { '-at' }, limit = 50, [way] = cursor,
        where = { { 'state', '=', 's7' } } })
    end
  end)

  it('a page that is deep is as cheap as the first one', function()
    store:transaction(function(tx)
      local function blocks(opts)
        local sql, params = query.find_by_json({}, opts, {})
        local rows = tx:query('EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) '
          .. sql:gsub('%%T', 'big'), params)
        return rows[1]['QUERY PLAN'][1].Plan['Shared Hit Blocks']
          + rows[1]['QUERY PLAN'][1].Plan['Shared Read Blocks']
      end
      local order = { 'age' }
      local first = blocks({ all = true, order = order, limit = 20 })
      local middle = tx:findAll('big', { order = order, limit = 1,
        where = { { 'age', '>=', 10000 } } })[1]
      local cursor = select(2, tx:findAll('big', { order = order, limit = 1,
        where = { { 'age', '>=', middle.age } } }))
      assert.is_true(blocks({ all = true, order = order, limit = 20, after = cursor })
        < 4 * first + 40)
    end)
  end)

  it('is explained: the statement, its index, what it would cost', function()
    local function explained(opts, doc) -- of a store and of a transaction
      opts.explain = true
      local of_store = store:findByJSON('big', doc, opts)
      store:transaction(function(tx)
        local of_tx = tx:findByJSON('big', doc, opts)
        assert.same(of_store.indexes, of_tx.indexes)
        assert.equal(of_store.sql, of_tx.sql)
      end)
      return of_store
    end
    local of_age = explained({ where = { { 'age', '=', 5 } } })
    assert.same({ 'by_age' }, of_age.indexes)
    assert.same({ '5' }, of_age.params)
    assert.is_true(stores.json.is_array(of_age.params) and stores.json.is_array(of_age.indexes))
    assert.is_truthy(of_age.sql:find('FROM big WHERE', 1, true))
    assert.is_true(of_age.cost > 0 and of_age.rows >= 1 and of_age.rows < 1000)
    assert.is_string(of_age.plan['Node Type'])
    assert.is_nil(of_age.missing)
    assert.same({ 'by_gin' }, explained({}, { tags = { 't1' } }).indexes)
    assert.is_true(store:count('big', { tags = { 't1' } }, { explain = true }).cost > 0)
    -- the index has these rows in the order of their ids, too: no planner has a choice
    assert.same({ 'by_city' },
      store:findOne('big', nil, { where = { { 'address.city', '=', 'city 7' } }, explain = true })
        .indexes)
    assert.same({ 'by_prefix' }, explained(where({ 'name', 'prefix', 'name 77' })).indexes)
  end)

  it('is explained by the name of the index that is missing', function()
    local function missing(opts, doc)
      opts.explain = true
      local statement = store:findByJSON('big', doc or {}, opts).missing or ''
      return (statement:gsub('CREATE INDEX CONCURRENTLY ON ', ''))
    end
    local function of(path)
      return ("(NULLIF(value #> '{%s}'::text[], 'null'::jsonb))"):format(path)
    end
    assert.equal(('big (%s, id)'):format(of('nowhere')),
      (missing({ where = { { 'nowhere', '=', 5 } } })))
    assert.equal("big (((value #>> '{address,city}'::text[])) text_pattern_ops)",
      (missing({ where = { { 'address.city', 'prefix', 'c' } } })))
    assert.equal(('big (%s, %s DESC NULLS LAST, id DESC)'):format(of('address,city'), of('age')),
      (missing({ all = true, order = { 'address.city', '-age' } })))
    assert.equal(('big (%s, %s DESC NULLS LAST, id DESC)'):format(of('who'), of('at')),
      (missing({ where = { { 'who', '=', 'me' } }, order = { '-at' }, limit = 5 })))
    assert.equal('', (missing({ where = { { 'state', '=', 's1' } }, order = { '-at' } })))
    assert.equal('', (missing({ all = true, order = { '-age' } })))
    store:query('CREATE TABLE bare (id bigint PRIMARY KEY, value jsonb)')
    local gin = 'CREATE INDEX CONCURRENTLY ON bare USING gin (value jsonb_path_ops)'
    assert.equal(gin, store:findByJSON('bare', { a = 1 }, { explain = true }).missing)
    assert.equal(gin, store:findAll('bare', { where = { { 'tags', 'has', 't1' } },
      explain = true }).missing)
  end)
end)
