--- Behind a transaction pooler that goes on with another server no row of the one before is read: a
--- process that only writes tells there at which server it was made.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local pgbouncer = require('spec.support.pgbouncer')
local postgres = require('spec.support.postgres')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local TABLE = 'CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)'

describe('rows that Redis kept, behind a pooler that goes on with another server, #slow', function()
  local pg, other, rd, bouncer, writer, reader

  setup(function() pg, other, rd = postgres.start(), postgres.start(), redis.start() end)
  teardown(function()
    rd:remove()
    pg:remove()
    other:remove()
  end)

  before_each(function()
    local rows = "INSERT INTO docs SELECT i, '{\"n\": 1}' FROM generate_series(1, 3) i"
    for _, server in ipairs({ pg, other }) do
      server:psql('DROP TABLE IF EXISTS docs; ' .. TABLE .. '; ' .. rows)
    end
    bouncer = pgbouncer.start('transaction', 'server_login_retry = 0',
      { host = pg.socket, port = pg.port })
    writer = stores.Store.new(bouncer:config({ pooler = 'transaction' }),
      rd:config({ timeout = 2 }))
    reader = stores.Store.new(other:config(), rd:config({ timeout = 2 }), { hold = { 'docs' } })
    writer:update('docs', { id = '2', n = 5 }) -- it knows the one before, and its table
    cache.hold(reader, 'docs', '1')
    bouncer:switch({ host = other.socket, port = other.port })
  end)
  after_each(function()
    support.close(writer)
    support.close(reader)
    bouncer:stop()
  end)

  for title, write in pairs({
    ['an update'] = function(store) store:update('docs', { id = '1', n = 2 }) end,
    ['writes of a tick'] = function(store)
      stores.run(function()
        for id = 1, 3 do
          stores.spawn(function() store:update('docs', { id = tostring(id), n = 2 }) end)
        end
      end)
    end,
    ['an updateObject'] = function(store)
      store:updateObject('docs', '1', function(doc) doc.n = 2 end)
    end,
    ['a transaction'] = function(store)
      store:transaction(function(tx)
        tx:find('docs', '2')
        tx:update('docs', { id = '1', n = 2 })
      end)
    end,
    ['rows by COPY'] = function(store)
      store:deleteMany('docs', { '1' })
      local many = {}
      for id = 1000, 3000 do many[#many + 1] = { id = tostring(id) } end
      many[1].id, many[1].n = '1', 2
      store:insertMany('docs', many)
    end,
    ['a query'] = function(store) store:query("UPDATE docs SET value = '{\"n\": 2}'") end,
    ['a query in a transaction'] = function(store)
      store:transaction(function(tx) tx:query("UPDATE docs SET value = '{\"n\": 2}'") end)
    end,
    ['several statements'] = function(store)
      store:query("UPDATE docs SET value = '{\"n\": 2}'; SELECT 1")
    end,
    ['a statement outside of transactions'] = function(store)
      store:query("UPDATE docs SET value = '{\"n\": 2}'", nil,
        { transaction = false, invalidates = { 'docs' } })
    end,
    ['a deleteWhere'] = function(store)
      store:deleteWhere('docs', { n = 1 })
      store:upsert('docs', { id = '1', n = 2 })
    end,
  }) do
    it('are not read after ' .. title .. ' of a process that only writes', function()
      write(writer)
      assert.equal(2, reader:find('docs', '1').n)
      assert.equal('2', other:psql("SELECT value->>'n' FROM docs WHERE id = 1"))
      assert.equal('1', pg:psql("SELECT value->>'n' FROM docs WHERE id = 1"))
    end)
  end
end)
