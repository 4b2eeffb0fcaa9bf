-- A pooler in transaction mode that nobody has told of hands the sessions of the server to whoever
-- comes: one process must never run what another one has prepared.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local pgbouncer = require('spec.support.pgbouncer')
local stores = require('stores')
local support = require('spec.support')

describe('Behind a transaction pooler that nobody has told of', function()
  local pooler, db, store, open

  setup(function()
    store, db = support.store({ 'docs' }, { no_redis = true })
    for i = 1, 40 do store:insert('docs', { id = tostring(i), n = i }) end
    support.close(store)
    pooler = pgbouncer.start('transaction')
  end)

  teardown(function()
    pooler:stop()
    support.drop(db)
  end)

  before_each(function() open = {} end)
  after_each(function() for _, one in ipairs(open) do one:close() end end)

  local function connect()
    local one = stores.Store.new({ host = pooler.host, port = pooler.port, user = 'postgres',
      database = db.database, poolsize = 4 }, nil, { cache = false })
    open[#open + 1] = one
    return one
  end

  it('two stores read their rows and no others, or say what to set', function()
    local readers = { connect(), connect() }
    local wrong, told = 0, 0
    stores.run(function()
      for i = 1, 200 do
        stores.spawn(function()
          local id = tostring(i % 40 + 1)
          local ok, doc
          if i % 4 == 0 then
            ok, doc = readers[i % 2 + 1].try:delete('docs', tostring(1000 + i))
            if ok and doc then wrong = wrong + 1 end
          else
            ok, doc = readers[i % 2 + 1].try:find('docs', id)
            if ok and (doc == nil or doc.id ~= id) then wrong = wrong + 1 end
          end
          if not ok then
            told = told + 1
            assert.truthy((doc.hint or doc.message):find('pooler', 1, true), tostring(doc))
          end
        end)
        if i % 5 == 0 then stores.sleep(0) end
      end
    end)
    assert.equal(0, wrong)
    -- from then on nothing is prepared, and nothing fails
    for i = 1, 40 do
      for _, one in ipairs(readers) do assert.equal(i, one:find('docs', tostring(i)).n) end
    end
    assert.is_true(told < 100, tostring(told))
  end)
end)
