--- Held tables where Redis does not let a user do all that they need: such a process reads as ever,
--- and says so once; nobody reads what is old.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('a user of Redis who may not', function()
  local server, db, said, store, other, id

  local function open(user, opts)
    local all = { log = function(text) said[#said + 1] = text end }
    for name, value in pairs(opts or {}) do all[name] = value end
    return stores.Store.new(db, { url = ('unix://%s:pw@%s'):format(user, server.socket),
      opts = { timeout = 2 } }, all)
  end

  setup(function()
    server = redis.start()
    for name, words in pairs({ free = {}, deaf = { '-subscribe' }, dumb = { '-publish' },
      aside = { 'resetchannels', '&other:*' } }) do
      assert.equal('OK', server:cli('ACL', 'SETUSER', name, 'on', '>pw', '~*', '&*', '+@all',
        unpack(words)))
    end
  end)

  teardown(function() server:remove() end)

  before_each(function()
    said = {}
    db = support.db()
    support.psql(db, [[CREATE TABLE routes (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO routes VALUES (1, '{"n": 0}')]])
    id = '1'
  end)

  after_each(function()
    support.close(store)
    support.close(other)
    support.drop(db)
  end)

  local function hold(of) cache.hold(of, 'routes', id) end

  local function lines(pattern)
    local count = 0
    for _, text in ipairs(said) do if text:find(pattern) then count = count + 1 end end
    return count
  end

  for user, what in pairs({ deaf = 'subscribe', aside = 'listen to the channels' }) do
    it(what .. ' reads as ever, and says once that nothing is held', function()
      store, other = open(user, { hold = { 'routes' } }), open('free', { hold = { 'routes' } })
      hold(other)
      support.eventually(function()
        store:find('routes', id)
        return lines('not held in memory') > 0
      end, 20)
      for n = 1, 20 do
        other:update('routes', { id = id, n = n })
        assert.equal(n, store:find('routes', id).n)
        store:update('routes', { id = id, n = -n })
        assert.equal(-n, other:find('routes', id).n)
        assert.equal(-n, store:find('routes', id).n)
      end
      local stats = store:stats()
      assert.equal(0, stats.held_hits)
      assert.equal(0, stats.held_rows)
      assert.matches('NOPERM', stats.held_refused)
      assert.is_true(stats.hits > 0)
      assert.equal(1, lines('not held in memory'))
    end)
  end

  it('publish is waited for by its own writes, and nobody reads what was', function()
    store, other = open('dumb'), open('free', { hold = { 'routes' } })
    hold(other)
    for n = 1, 2 do
      store:update('routes', { id = id, n = n })
      assert.equal(n, other:find('routes', id).n)
      hold(other)
    end
  end)
end)
