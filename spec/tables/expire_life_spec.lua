--- expires, and the cache: no document stays in Redis for longer than it is there.

local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('the lifetime in Redis of a document that will be past', function()
  local server, db, store, keys
  local opened = {}

  local function open(opts)
    local one = stores.Store.new(db, server:config(), opts)
    opened[#opened + 1] = one
    return one
  end

  setup(function()
    server, db = redis.start(), support.db()
    store = open({ ttl = 1000, negative_ttl = 20 })
    stores.define('lives', { expires = 'until' })
    store:query('CREATE TABLE lives (id bigint PRIMARY KEY, value jsonb)')
    store:query('CREATE TABLE others (id bigint PRIMARY KEY, value jsonb)')
    keys = cache.of(db, server.socket)
    keys:ready(store, 'public.lives')
    keys:ready(store, 'public.others')
  end)

  teardown(function()
    for i = #opened, 2, -1 do opened[i]:close() end
    support.close(store, db)
    server:remove()
  end)

  local function now()
    return store:query('SELECT extract(epoch FROM clock_timestamp()) AS t')[1].t
  end

  local function text(seconds) return os.date('!%Y-%m-%dT%H:%M:%SZ', math.floor(seconds)) end

  -- For how many seconds the row will be there, once it is.
  local function left(name, id)
    return support.eventually(function()
      store:find(name, id)
      local row = keys:row('public.' .. name, id)
      local ms = tonumber(server:cli('PTTL', keys:key('public.' .. name, id)))
      return row and row:sub(1, 1) == 'V' and ms > 0 and ms / 1000
    end, 30, 'the row in Redis')
  end

  local last = 0
  local function fresh()
    last = last + 1
    return tostring(last)
  end

  local function filled(name, id)
    store:invalidate(name, id)
    return left(name, id)
  end

  local function within(seconds, least, most)
    assert.is_true(seconds > least and seconds <= most, ('%g s'):format(seconds))
  end

  it('ends with it, whether a writer put it there or a reader', function()
    for _, form in ipairs({ function(t) return t end, text }) do
      local id = fresh()
      store:insert('lives', { id = id, ['until'] = form(now() + 100) })
      within(left('lives', id), 0, 100)
      within(filled('lives', id), 0, 100)
      store:patch('lives', id, { set = { ['until'] = form(now() + 500) } })
      within(left('lives', id), 100, 500)
      store:transaction(function(tx)
        tx:patch('lives', id, { set = { ['until'] = form(now() + 60) } })
      end)
      within(left('lives', id), 0, 60)
    end
  end)

  it('is that of other rows, where its time is further off, or there is none', function()
    for _, time in ipairs({ now() + 5000, '9999-12-31T23:59:59Z', 1e18, stores.json.null }) do
      local id = fresh()
      store:insert('lives', { id = id, ['until'] = time, note = { ['until'] = 5 } })
      within(left('lives', id), 500, 1100)
    end
    local id = fresh()
    store:insert('others', { id = id, ['until'] = now() + 100 })
    within(left('others', id), 500, 1100)
  end)

  it('is that of a row that is not there, where it is past', function()
    local id = fresh()
    store:insert('lives', { id = id, ['until'] = now() - 100 })
    within(left('lives', id), 0, 22)
    assert.is_nil(store:find('lives', id))
  end)

  it('follows a declaration that comes later, by any name of the table', function()
    local id = fresh()
    stores.define('public.others', { expires = { 'a', 'b "c"' } })
    store:insert('others', { id = id, a = { ['b "c"'] = now() + 100 } })
    within(left('others', id), 0, 100)
    within(filled('others', id), 0, 100)
    stores.define('others', { strict = false })
    within(filled('others', id), 500, 1100)
  end)

  it('is that of the declarations which the store has', function()
    local own = open({ ttl = 1000, tables = { stores.define('own', { expires = 'until' }) } })
    local none = open({ ttl = 1000, tables = {} })
    local id = fresh()
    for one, most in pairs({ [own] = 100, [none] = 1100 }) do
      own:query('DROP TABLE IF EXISTS own')
      own:query('CREATE TABLE own (id bigint PRIMARY KEY, value jsonb)')
      own:insert('own', { id = id, ['until'] = now() + 100 })
      keys:forget_oids()
      keys:ready(one, 'public.own')
      one:invalidate('own', id)
      support.eventually(function()
        one:find('own', id)
        local ms = tonumber(server:cli('PTTL', keys:key('public.own', id)))
        return ms > 5000 and (ms <= 100000) == (most == 100)
      end, 30, 'the row in Redis')
    end
  end)
end)
