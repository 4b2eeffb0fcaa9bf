-- TLS: who the server is gets checked by default where it is not local, and nothing is sent in the
-- clear to one that cannot prove it.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local certificates = require('spec.support.certificates')
local postgres = require('spec.support.postgres')
local stores = require('stores')
local support = require('spec.support')

describe('TLS', function()
  local server, open, ca, wrong_ca, tls

  -- 127.0.0.1 as a number: an address of this machine that does not look like one.
  local ELSEWHERE = '2130706433'

  -- The server's own certificate, whose key it wants for itself.
  local function issue(authority, names)
    local path = authority:issue('server', names)
    local file = assert(io.open(path .. '.key'))
    server:write('server.key', file:read('*a'), true)
    file:close()
    return path
  end

  setup(function()
    server = postgres.start(nil, 'local all all trust\nhostssl all all all trust\n')
    local authority = certificates.authority(server.home, 'ca')
    ca, wrong_ca = authority.file, certificates.authority(server.home, 'other').file
    local file = issue(authority, 'DNS:localhost,IP:127.0.0.1')
    tls = { ssl = 'on', ssl_cert_file = file .. '.crt', ssl_key_file = file .. '.key' }
    server:restart('fast', tls)
  end)

  teardown(function() server:remove() end)

  before_each(function()
    server:ensure()
    open = {}
  end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
  end)

  local function store_of(fields)
    local config = server:config({ host = '127.0.0.1' })
    for key, value in pairs(fields) do config[key] = value end
    open[#open + 1] = stores.Store.new(config)
    return open[#open]
  end

  local function uses_tls(store)
    return store:query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')[1].ssl
  end

  local function refusal(fields)
    local ok, err = store_of(fields).try:query('SELECT 1')
    assert.is_false(ok)
    assert.equal('connect_failed', err.code)
    assert.equal('none', err.outcome)
    return err
  end

  it('is used by itself where the server has it', function()
    assert.is_true(uses_tls(store_of({})))
  end)

  it('is not used on a unix socket', function()
    assert.is_false(uses_tls(store_of({ host = server.socket })))
  end)

  it('checks the certificate and the name with verify-full', function()
    assert.is_true(uses_tls(store_of({ sslmode = 'verify-full', sslrootcert = ca })))
    assert.is_true(uses_tls(store_of({ host = 'localhost', sslmode = 'verify-full',
      sslrootcert = ca })))
  end)

  it('carries reads, writes and large documents', function()
    local store = store_of({ sslmode = 'verify-full', sslrootcert = ca })
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    local text = ('0123456789abcdef'):rep(65536)
    stores.map({ 1, 2, 3, 4 }, function(i)
      store:insert('docs', { id = tostring(i), text = text .. i })
    end)
    stores.map({ 1, 2, 3, 4 }, function(i)
      assert.is_true(store:find('docs', tostring(i)).text == text .. i)
    end)
    assert.equal(4, #store:findAll('docs'))
  end)

  it('cancels a statement that takes too long', function()
    local store = store_of({ sslmode = 'verify-full', sslrootcert = ca })
    local ok, err = store.try:query('SELECT pg_sleep(60)', nil, { timeout = 0.2 })
    assert.is_false(ok)
    assert.equal('timeout', err.code)
    support.eventually(function()
      return server:psql("SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        .. " AND query LIKE '%sleep(60)%' AND pid <> pg_backend_pid()") == '0'
    end)
    support.eventually(function() return store:stats().pool_checked_out == 0 end)
  end)

  it('refuses a certificate of another authority', function()
    local err = refusal({ sslmode = 'verify-full', sslrootcert = wrong_ca })
    assert.truthy(err.message:find('certificate verify failed', 1, true), err.message)
  end)

  it('refuses a certificate for another name', function()
    local err = refusal({ host = '127.0.0.2', sslmode = 'verify-full', sslrootcert = ca,
      params = { hostaddr = '127.0.0.1' } })
    assert.truthy(err.message:find('127.0.0.2', 1, true), err.message)
  end)

  it('refuses a root certificate that is not there', function()
    local err = refusal({ sslmode = 'verify-full', sslrootcert = server.home .. '/none.crt' })
    assert.truthy(err.message:find('none.crt', 1, true), err.message)
  end)

  describe('for a server that is not local', function()
    it('is checked by default, and the error says what to set', function()
      local err = refusal({ host = ELSEWHERE })
      assert.truthy(err.message:find('root certificate', 1, true), err.message)
      assert.truthy(err.hint:find('sslrootcert', 1, true), err.hint)
      assert.truthy(err.hint:find('verify-full', 1, true), err.hint)
    end)

    it('works with the certificate of its authority', function()
      assert.is_true(uses_tls(store_of({ host = ELSEWHERE, sslrootcert = ca })))
    end)

    it('is as lax as sslmode says', function()
      assert.is_true(uses_tls(store_of({ host = ELSEWHERE, sslmode = 'require' })))
    end)

    it('is checked too where a url names it', function()
      local store = stores.Store.new({ url = ('postgresql://postgres@%s:%d/postgres')
        :format(ELSEWHERE, server.port) })
      open[#open + 1] = store
      local ok, err = store.try:query('SELECT 1')
      assert.is_false(ok)
      assert.truthy(err.hint:find('sslrootcert', 1, true), tostring(err))
    end)

    it('is checked too where only one of several is elsewhere', function()
      local err = refusal({ host = { '127.0.0.1', ELSEWHERE } })
      assert.truthy(err.hint:find('sslrootcert', 1, true), err.hint)
    end)

    describe('and has no TLS', function()
      setup(function() server:restart('fast') end)

      teardown(function() server:restart('fast', tls) end)

      it('is refused, and the error says what to set', function()
        local err = refusal({ host = ELSEWHERE, sslrootcert = ca })
        assert.truthy(err.message:find('does not support SSL', 1, true), err.message)
        assert.truthy(err.hint:find('sslmode', 1, true), err.hint)
      end)
    end)
  end)
end)
