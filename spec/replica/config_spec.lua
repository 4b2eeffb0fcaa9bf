--- db.replicas: what a replica does not say is that of db.

local config = require('stores.config.tables')
local stores = require('stores')

describe('db.replicas', function()
  local function resolve(db) return config.resolve(db, nil, {}) end
  local function pg(db) return resolve(db).replicas[1].pg end

  it('has of db what a replica does not say', function()
    local db = { host = 'a', port = 5433, database = 'shop', user = 'app', password = 'secret',
      sslmode = 'require', poolsize = 7, target_session_attrs = 'primary',
      params = { keepalives_idle = 9, hostaddr = '10.0.0.1' },
      replicas = { { host = 'b' }, { host = 'c', port = 1, user = 'reader', poolsize = 3,
        params = { keepalives_idle = 4 } } } }
    local flat = resolve(db)
    assert.same({ host = 'b', port = '5433', dbname = 'shop', user = 'app', password = 'secret',
      sslmode = 'require', keepalives_idle = '9' }, flat.replicas[1].pg)
    assert.equal(7, flat.replicas[1].poolsize)
    assert.equal('reader', flat.replicas[2].pg.user)
    assert.equal('1', flat.replicas[2].pg.port)
    assert.equal('4', flat.replicas[2].pg.keepalives_idle)
    assert.equal(3, flat.replicas[2].poolsize)
    assert.equal('a', flat.pg.host)
    assert.equal('primary', flat.pg.target_session_attrs)
  end)

  it('takes urls, on both sides', function()
    local url = 'postgresql://app:p%40ss@a:5433/shop?sslmode=disable&keepalives_idle=9'
    assert.same({ host = 'b', port = '6000', dbname = 'shop', user = 'app', password = 'p@ss',
      sslmode = 'disable', keepalives_idle = '9' },
      pg({ url = url, replicas = { 'postgres://b:6000' } }))
    assert.same({ host = 'b', port = '5433', dbname = 'other', user = 'me', password = 'p@ss',
      sslmode = 'require', keepalives_idle = '9' },
      pg({ url = url, replicas = { { url = 'postgresql://me@b/other?sslmode=require' } } }))
    assert.same({ host = '/run/pg', port = '5433', dbname = 'shop', user = 'app' },
      pg({ host = 'a', port = 5433, database = 'shop', user = 'app',
        replicas = { 'postgresql://%2Frun%2Fpg' } }))
    assert.equal('::1', pg({ host = 'a', database = 'shop',
      replicas = { 'postgresql://[::1]:5434' } }).host)
    assert.equal('5432', pg({ host = { 'a', 'b' }, port = 5432, database = 'shop',
      replicas = { { host = 'c' } } }).port)
  end)

  it('refuses what means nothing, by its place', function()
    local function refused(replicas, pattern, more)
      local db = { host = 'a', database = 'shop', replicas = replicas }
      for key, value in pairs(more or {}) do db[key] = value end
      local ok, err = pcall(resolve, db)
      assert.is_false(ok)
      assert.equal('invalid_option', err.code)
      assert.matches(pattern, err.message)
    end
    refused('b', 'db.replicas must be an array')
    refused({ b = {} }, "has the key 'b'")
    refused({ {} }, 'replicas%[1%] says neither host nor port nor url')
    refused({ { user = 'me' } }, 'it would be the primary')
    refused({ { host = 'b' }, 5 }, 'replicas%[2%] must be a table such as')
    refused({ { host = 'b', hots = 1 } }, "unknown key 'hots' in db.replicas%[1%]: did you mean")
    refused({ { host = 'b', port = 'x' } }, '^db.replicas%[1%].port must be')
    refused({ 'mysql://b' }, 'is no url of PostgreSQL')
    refused({ { host = 'b' } }, 'replicas%[1%].port is missing', { host = { 'a', 'c' },
      port = { 1, 2 } })
    local ok, err = pcall(resolve, { host = 'a', database = 'shop', password = 'hidden',
      replicas = { 'mysql://me:hidden@b' } })
    assert.is_false(ok)
    assert.is_nil(tostring(err):find('hidden', 1, true))
  end)

  it('refuses a token that is none when the store is made', function()
    local ok, err = pcall(stores.Store.new, { host = 'a', database = 'shop',
      replicas = { { host = 'b' } } }, nil, { after_token = '1.2.3' })
    assert.is_false(ok)
    assert.equal('invalid_option', err.code)
    assert.has_error(function()
      stores.Store.new({ host = 'a', database = 'shop' }, nil, { read = 'standby' })
    end)
  end)
end)
