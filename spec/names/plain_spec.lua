--- Writes that share a statement ask behind it whether their table is still what it was. What is no
--- part of the table's own row in the catalog is asked for by itself: a parent, a default, and the
--- mark of tables whose rows are held.

local stores = require('stores')
local support = require('spec.support')

local IDS = { '1', '2', '3', '4', '5', '6' }

describe('a table that was plain a moment ago', function()
  local store, db

  before_each(function()
    store, db = support.store({ 'rows' }, { cache = false })
    for _, id in ipairs(IDS) do store:insert('rows', { id = id }) end
  end)
  after_each(function() support.close(store, db) end)

  local function update(text)
    stores.map(IDS, function(id)
      assert.is_true(store:update('rows', { id = id, text = text }))
    end)
  end

  local function retries()
    return store:stats().segment_retries
  end

  local function is_noticed(sql)
    update('before')
    local before = retries()
    update('again')
    assert.equal(before, retries())
    support.psql(db, sql)
    update('behind')
    assert.is_true(retries() > before)
    for _, id in ipairs(IDS) do assert.equal('behind', store:find('rows', id).text) end
  end

  it('and has a default now, is noticed', function()
    is_noticed("ALTER TABLE rows ALTER COLUMN value SET DEFAULT '{}'")
  end)

  it('and has a parent now, is noticed', function()
    support.psql(db, 'CREATE TABLE parent (id bigint NOT NULL)')
    is_noticed('ALTER TABLE rows INHERIT parent')
  end)

  it('and has a mark now, is noticed', function()
    local oid = support.psql(db, "SELECT 'rows'::regclass::oid"):match('%d+')
    is_noticed(('CREATE TYPE stores_held_%s AS ()'):format(oid))
  end)

  it('and is so still, keeps its statement', function()
    update('before')
    local before = retries()
    for round = 1, 5 do update(tostring(round)) end
    assert.equal(before, retries())
  end)
end)
