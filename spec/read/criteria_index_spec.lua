--- Criteria on a large table: each verb that looks into documents does it by the GIN index, and so
--- says the plan of its statement.
-- Plain pass alone: SQL that plain Lua writes.

local plans = require('spec.support.plans')
local query = require('stores.sql.query')
local support = require('spec.support')

describe('criteria on 200,000 rows #slow', function()
  local store, db
  local GENERIC = { params = { options = '-c plan_cache_mode=force_generic_plan' }, poolsize = 1 }

  setup(function()
    store, db = support.store({ 'big' }, { cache = false }, GENERIC)
    store:query([[
      INSERT INTO big SELECT n, jsonb_build_object('id', n::text, 'name', 'name ' || n,
          'group', n % 1000, 'tags', jsonb_build_array('t' || n % 2000, 'all'),
          'sub', jsonb_build_object('k', n % 2000, 'pad', repeat('x', 50)))
        FROM generate_series(1, 200000) n;
      CREATE INDEX big_value ON big USING gin (value jsonb_path_ops);
    ]], nil, { timeout = 300 })
    store:query('VACUUM ANALYZE big', nil, { transaction = false, timeout = 300 })
  end)
  teardown(function() support.close(store, db) end)

  -- Each verb with the statement that it sends and a call of it; opts go to both.
  local verbs = {
    findByJSON = {
      sql = function(opts) return query.find_by_json({ group = 500 }, opts) end,
      call = function(opts) return store:findByJSON('big', { group = 500 }, opts) end,
      rows = 200,
    },
    findByJsonArrayContains = {
      sql = function(opts) return query.array_contains('tags', 't7', opts) end,
      call = function(opts) return store:findByJsonArrayContains('big', 'tags', 't7', opts) end,
      rows = 100,
    },
    findByJsonSubContains = {
      sql = function(opts) return query.sub_contains('sub', { k = 7 }, opts) end,
      call = function(opts) return store:findByJsonSubContains('big', 'sub', { k = 7 }, opts) end,
      rows = 100,
    },
    findByPath = {
      sql = function(opts) return query.by_path('$.group ? (@ == $g)', { g = 500 }, opts) end,
      call = function(opts)
        return store:findByPath('big', '$.group ? (@ == $g)', { g = 500 }, opts)
      end,
      rows = 200,
    },
    ['findByPath with predicate'] = {
      sql = function(opts)
        opts.predicate = true
        return query.by_path('$.group == 500', nil, opts)
      end,
      call = function(opts)
        opts.predicate = true
        return store:findByPath('big', '$.group == 500', nil, opts)
      end,
      rows = 200,
    },
  }
  local single = {
    findOne = {
      sql = function() return query.find_one({ group = 500 }, {}) end,
      call = function() return { store:findOne('big', { group = 500 }) } end,
    },
    count = {
      sql = function() return query.count({ group = 500 }, {}) end,
      call = function() return { store:count('big', { group = 500 }) } end,
    },
  }
  local variants = {
    ['without options'] = {},
    ['with limit'] = { limit = 5 },
    ['with limit and after'] = { limit = 5, after = '1000' },
    ['with limit, downwards'] = { limit = 5, order = 'desc' },
    ['with limit, by a path'] = { limit = 5, order = { 'name' } },
  }

  local function copy(opts)
    local copied = {}
    for key, value in pairs(opts) do copied[key] = value end
    return copied
  end

  local function plan(sql, params) return plans.generic(db, 'big', sql, params) end

  local function check_plan(text)
    assert.truthy(text:find('Bitmap Index Scan on big_value', 1, true), text)
    assert.is_nil(text:find('Seq Scan on big', 1, true), text)
    assert.is_nil(text:find('big_pkey', 1, true), text)
    assert.truthy(text:find('$1', 1, true), 'the plan is not generic: ' .. text)
  end

  -- How often the table was read from one end to the other, by its key and by the GIN index.
  local function scans()
    store:query('SELECT pg_stat_force_next_flush()')
    return store:query([[SELECT seq_scan AS seq,
      pg_stat_get_numscans('big_pkey'::regclass) AS key,
      pg_stat_get_numscans('big_value'::regclass) AS gin
      FROM pg_stat_user_tables WHERE relname = 'big']])[1]
  end

  local function check_scans(call)
    local before = scans()
    call()
    local after = scans()
    assert.equal(before.seq, after.seq)
    assert.equal(before.key, after.key)
    assert.equal(before.gin + 1, after.gin)
  end

  for name, verb in pairs(verbs) do
    for how, opts in pairs(variants) do
      it('are looked up in the GIN index: ' .. name .. ' ' .. how, function()
        check_plan(plan(verb.sql(copy(opts))))
        check_scans(function()
          local rows = #verb.call(copy(opts))
          assert.equal(opts.limit or verb.rows, rows)
        end)
      end)
    end
  end

  for name, verb in pairs(single) do
    it('are looked up in the GIN index: ' .. name, function()
      check_plan(plan(verb.sql()))
      check_scans(function() assert.equal(1, #verb.call()) end)
    end)
  end

  it('give each row once to pages, and everything to each', function()
    local seen, after = 0, nil
    repeat
      local page = store:findByJSON('big', { group = 500 }, { limit = 30, after = after })
      seen = seen + #page
      after = page[#page] and page[#page].id
    until #page == 0
    assert.equal(200, seen)
    local count, last = 0, 0
    for document in store:each('big', { batch = 5000 }) do
      count = count + 1
      local id = tonumber(document.id)
      assert(id == last + 1)
      last = id
    end
    assert.equal(200000, count)
  end)
end)
