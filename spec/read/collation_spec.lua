--- Lists in a database whose strings sort as a language has it: conditions and orders follow it,
--- and a prefix is served by its index all the same.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local stores = require('stores')
local support = require('spec.support')

describe('in a database with a collation', function()
  local db, store

  setup(function()
    db = support.db()
    support.drop(db)
    support.psql(support.config(), ('CREATE DATABASE %s TEMPLATE template0 LOCALE_PROVIDER icu '
      .. "ICU_LOCALE 'de-u-kn'"):format(db.database))
    store = stores.Store.new(db, nil, { cache = false })
    store:query([[
      CREATE TABLE people (id bigint PRIMARY KEY, value jsonb);
      CREATE INDEX by_name ON people ((NULLIF(value #> '{name}', 'null')), id);
      CREATE INDEX by_prefix ON people ((value #>> '{name}') text_pattern_ops);
    ]])
    for i, name in ipairs({ 'Zoe', 'anna', 'Äpfel', 'Anna', 'Bo', 'item 10', 'item 9', 'Apfel' }) do
      store:insert('people', { id = tostring(i), name = name })
    end
    store:query([[INSERT INTO people SELECT n, jsonb_build_object('name', 'zz ' || n)
      FROM generate_series(1000, 20000) n]])
    store:query('VACUUM ANALYZE people', nil, { transaction = false })
  end)
  teardown(function() support.close(store, db) end)

  local function names(list)
    local found = {}
    for i, document in ipairs(list) do found[i] = document.name end
    return table.concat(found, ', ')
  end

  it('conditions and orders follow it', function()
    local where = { where = { { 'name', '<', 'Zoea' } }, order = { 'name' } }
    assert.equal('anna, Anna, Apfel, Äpfel, Bo, item 9, item 10, Zoe',
      names(store:findAll('people', where)))
    assert.equal('item 10', names(store:findAll('people', { where = { { 'name', '>', 'item 9' },
      { 'name', '<', 'j' } } })))
  end)

  it('pages follow it, in both directions', function()
    for _, way in ipairs({ 'name', '-name' }) do
      local opts = { order = { way }, where = { { 'name', '<', 'Zoea' } } }
      local whole, pages, cursor = names(store:findAll('people', opts)), {}, nil
      repeat
        local page
        page, cursor = store:findAll('people', { order = opts.order, where = opts.where, limit = 3,
          after = cursor })
        pages[#pages + 1] = names(page)
      until not cursor
      assert.equal(whole, table.concat(pages, ', '))
    end
  end)

  it('a prefix goes by characters, and by its index', function()
    local where = { { 'name', 'prefix', 'A' } }
    assert.equal('Anna, Apfel', names(store:findAll('people', { where = where })))
    local plan = store:findAll('people', { where = where, explain = true })
    assert.same({ 'by_prefix' }, plan.indexes)
    assert.is_nil(plan.missing)
    store:query('DROP INDEX by_prefix')
    plan = store:findAll('people', { where = where, explain = true })
    assert.equal('CREATE INDEX CONCURRENTLY ON people '
      .. "(((value #>> '{name}'::text[])) text_pattern_ops)", plan.missing)
  end)
end)
