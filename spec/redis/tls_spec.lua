--- TLS to Redis: who the server is gets checked, what is wrong is said with the certificate that it
--- is wrong with, and a cache behind it is one as ever.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local cache = require('spec.support.cache')
local certificates = require('spec.support.certificates')
local ports = require('spec.support.ports')
local clusters = require('spec.support.redis_cluster')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

describe('TLS to Redis', function()
  local folder, ca, other, server, db, open, servers

  setup(function()
    folder = certificates.folder()
    ca, other = certificates.authority(folder, 'ca'), certificates.authority(folder, 'other')
    server = redis.start_tls(ca:issue('server', 'DNS:localhost,IP:127.0.0.1'), ca.file)
    db = support.db()
    local store = stores.Store.new(db, nil, { cache = false })
    store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
    store:close()
  end)

  teardown(function()
    support.drop(db)
    server:remove()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  before_each(function()
    open, servers = {}, {}
  end)

  after_each(function()
    for _, store in ipairs(open) do support.close(store) end
    for _, one in ipairs(servers) do one:remove() end
  end)

  local function another(certificate, options, authority)
    servers[#servers + 1] = redis.start_tls(certificate, (authority or ca).file, options)
    return servers[#servers]
  end

  -- A store that asks the server of the spec, or another one, for TLS.
  local function store_of(tls, to, opts)
    local all = { timeout = 2, connect_timeout = 5, tls = tls }
    for key, value in pairs(opts or {}) do all[key] = value end
    local host = all.host or 'localhost'
    all.host = nil
    open[#open + 1] = stores.Store.new(db, { host = host, port = (to or server).port, opts = all },
      { log = function() end })
    return open[#open]
  end

  local function comes_up(store)
    support.eventually(function() return store:stats().redis_up == 1 end, 20,
      'the link to be up: ' .. (store:stats().redis_trouble or ''))
    return store
  end

  -- What keeps a store from Redis, which must have these words.
  local function trouble(store, ...)
    local said
    support.eventually(function()
      said = store:stats().redis_trouble
      return said ~= '' and said
    end, 20, 'some trouble')
    for _, words in ipairs({ ... }) do
      assert.truthy(said:find(words, 1, true), words .. ' is not in: ' .. said)
    end
    assert.equal(0, store:stats().redis_up)
    return said
  end

  it('carries what the cache says and is told', function()
    local store = comes_up(store_of({ ca = ca.file }))
    local keys = cache.of(db, server.socket)
    keys:ready(store, 'public.docs')
    store:insert('docs', { id = '1', n = 1 })
    support.eventually(function()
      store:find('docs', '1')
      return (keys:row('public.docs', '1') or ''):sub(1, 1) == 'V'
    end, 20, 'the row to be cached')
    local hits = store:stats().hits
    assert.equal(1, store:find('docs', '1').n)
    assert.equal(hits + 1, store:stats().hits)
    store:update('docs', { id = '1', n = 2 })
    assert.equal(2, store:find('docs', '1').n)
  end)

  it('carries more than a record, and more than a socket takes, either way', function()
    local store = comes_up(store_of({ ca = ca.file }))
    cache.of(db, server.socket):ready(store, 'public.docs')
    local text, ids = ('0123456789abcdef'):rep(12800), {}
    for i = 1, 24 do ids[i] = tostring(100 + i) end
    stores.map(ids, function(id) store:insert('docs', { id = id, text = text .. id }) end)
    -- the epoch may turn between the writes and the reads
    support.eventually(function()
      local hits = store:stats().hits
      local found = store:findAllByIds('docs', ids)
      for i, id in ipairs(ids) do
        assert.equal(id, found[i].id)
        assert.equal(#text + #id, #found[i].text)
        assert.is_true(found[i].text == text .. id)
      end
      return store:stats().hits == hits + #ids
    end, 20, 'all of them to be cached')
    assert.equal(1, store:stats().redis_up)
  end)

  it('is what rediss:// asks for', function()
    open[1] = stores.Store.new(db, { url = 'rediss://localhost:' .. server.port,
      opts = { timeout = 2, connect_timeout = 5, tls = { ca = ca.file } } })
    comes_up(open[1])
    open[2] = stores.Store.new(db, { url = 'rediss://localhost:' .. server.port },
      { log = function() end })
    trouble(open[2], 'is of no authority of the system')
  end)

  it('takes the authorities of the system where none are named', function()
    local program = ([[
      local stores = require('stores')
      local store = stores.Store.new({ host = %q, port = %q, database = %q, user = %q },
        { url = 'rediss://localhost:%d', opts = { connect_timeout = 5 } }, { log = print })
      for _ = 1, 2000 do
        if store:stats().redis_up == 1 then return print('up') end
        stores.sleep(0.01)
      end
      print(store:stats().redis_trouble)]]):format(db.host, db.port, db.database, db.user,
      server.port)
    local pipe = io.popen(('SSL_CERT_FILE=%s luajit -e %s 2>&1'):format(process.quoted(ca.file),
      process.quoted(program)))
    local said = pipe:read('*a')
    pipe:close()
    assert.equal('up\n', said)
  end)

  it('takes a folder of authorities', function()
    comes_up(store_of({ ca = ca:hashed('authorities') }))
    trouble(store_of({ ca = other:hashed('others') }), "of no authority of ca '")
  end)

  describe('checks the certificate, and', function()
    it('refuses one of another authority', function()
      trouble(store_of({ ca = other.file }), 'cannot connect to Redis at localhost:',
        "the certificate 'CN = server', issued by 'CN = the ca authority', is of no authority of "
        .. "ca '" .. other.file .. "'")
    end)

    it('refuses one that has expired', function()
      local to = another(ca:issue('expired', 'DNS:localhost', { from = -3, to = -1 }))
      trouble(store_of({ ca = ca.file }, to), "the certificate 'CN = expired', issued by",
        'has expired: it was valid until ')
    end)

    it('refuses one that is not valid yet', function()
      local to = another(ca:issue('early', 'DNS:localhost', { from = 1, to = 3 }))
      trouble(store_of({ ca = ca.file }, to), "'CN = early'", 'is not valid yet, but from ')
    end)

    it('refuses one for another name', function()
      local to = another(ca:issue('elsewhere', 'DNS:redis.example,DNS:*.cache.example'))
      trouble(store_of({ ca = ca.file }, to),
        "'CN = elsewhere'",
        "is for DNS:redis.example, DNS:*.cache.example, and not for 'localhost'")
      trouble(store_of({ ca = ca.file }, to, { host = '127.0.0.1' }), "and not for '127.0.0.1'")
    end)

    it('takes the address, or the name that is given instead', function()
      comes_up(store_of({ ca = ca.file }, server, { host = '127.0.0.1' }))
      local to = another(ca:issue('elsewhere',
        'DNS:redis.example,DNS:*.cache.example,IP:10.0.0.9'))
      comes_up(store_of({ ca = ca.file, server_name = 'redis.example' }, to))
      comes_up(store_of({ ca = ca.file, server_name = 'one.cache.example' }, to))
      comes_up(store_of({ ca = ca.file, server_name = '10.0.0.9' }, to))
      trouble(store_of({ ca = ca.file, server_name = 'a.b.cache.example' }, to),
        "and not for 'a.b.cache.example'")
    end)

    it('looks at nothing where it is told so', function()
      local to = another(other:issue('anybody', 'DNS:nobody', { from = -3, to = -1 }))
      comes_up(store_of({ verify = false }, to))
    end)

    it('wants TLS 1.2 at least', function()
      local certificate = ca:issue('old', 'DNS:localhost')
      trouble(store_of({ ca = ca.file }, another(certificate, { ['tls-protocols'] = 'TLSv1.1',
        ['tls-ciphers'] = 'DEFAULT@SECLEVEL=0' })), 'has no TLS of version 1.2 or later')
      comes_up(store_of({ ca = ca.file }, another(certificate, { ['tls-protocols'] = 'TLSv1.2' })))
    end)
  end)

  for _, version in ipairs({ 'TLSv1.2', 'TLSv1.3' }) do
    describe('of a server with ' .. version .. ' that wants to know its clients', function()
      local strict

      setup(function()
        strict = redis.start_tls(ca:issue('strict', 'DNS:localhost'), ca.file,
          { ['tls-auth-clients'] = 'yes', ['tls-protocols'] = version })
      end)

      teardown(function() strict:remove() end)

      local function own(path)
        return { ca = ca.file, cert = path .. '.crt', key = path .. '.key' }
      end

      it('shows a certificate', function()
        comes_up(store_of(own(ca:issue('client')), strict))
      end)

      it('says that none was given', function()
        trouble(store_of({ ca = ca.file }, strict),
          'wants a certificate of its client (cert and key)')
      end)

      it('says which one was not taken', function()
        trouble(store_of(own(other:issue('foreign')), strict),
          "of whose client the certificate is 'CN = foreign', issued by 'CN = the other authority'",
          'unknown')
        trouble(store_of(own(ca:issue('stale', nil, { from = -3, to = -1 })), strict),
          "'CN = stale'", 'valid until', 'expired')
      end)

      it('reads a file that was renewed at the next connect', function()
        local path = ca:issue('renewed', nil, { from = -3, to = -1 })
        local store = store_of(own(path), strict)
        trouble(store, "'CN = renewed'", 'expired')
        ca:issue('renewed')
        comes_up(store)
      end)
    end)
  end

  it('reads authorities that were renewed at the next connect', function()
    local to = another(ca:issue('moves', 'DNS:localhost'))
    local trusted = folder .. '/trusted.crt'
    os.execute(("cp '%s' '%s'"):format(ca.file, trusted))
    local store = comes_up(store_of({ ca = trusted }, to))
    os.execute(("cp '%s' '%s'"):format(other.file, trusted))
    assert.equal(1, store:stats().redis_up)
    to:cli('CLIENT', 'KILL', 'TYPE', 'normal')
    trouble(store, "'CN = moves'", 'is of no authority')
    local path = other:issue('moved', 'DNS:localhost')
    to:cli('CONFIG', 'SET', 'tls-cert-file', path .. '.crt', 'tls-key-file', path .. '.key')
    comes_up(store)
  end)

  it('says which file cannot be used', function()
    local path = ca:issue('mine')
    local yours = ca:issue('yours')
    local none = folder .. '/none.pem'
    trouble(store_of({ ca = none }), "ca '" .. none .. "' cannot be read: No such file")
    trouble(store_of({ ca = path .. '.key' }), "ca '" .. path .. ".key' has no certificate")
    trouble(store_of({ ca = ca.file, cert = none }), "cert '" .. none .. "' cannot be read")
    trouble(store_of({ ca = ca.file, cert = path .. '.crt' }),
      "key '" .. path .. ".crt' has no private key")
    trouble(store_of({ ca = ca.file, cert = path .. '.crt', key = yours .. '.key' }),
      "key '" .. yours .. ".key' is not that of cert '" .. path .. ".crt'")
    certificates.encrypt(path)
    trouble(store_of({ ca = ca.file, cert = path .. '.crt', key = path .. '.key' }),
      "key '" .. path .. ".key' is encrypted, and there is no password for it")
  end)

  describe('has connect_timeout for the handshake, too, and', function()
    it('says that a frozen server did not end it', function()
      local to = another(ca:issue('frozen', 'DNS:localhost'))
      to:pause()
      trouble(store_of({ ca = ca.file }, to, { connect_timeout = 0.3 }),
        'Redis did not end the TLS handshake within 300 ms')
      to:resume()
      comes_up(open[#open])
    end)

    it('asks whether a server that says nothing speaks TLS', function()
      local plain = redis.new({ bind = '127.0.0.1' })
      servers[1] = plain
      plain.port = ports.free()
      plain.options.port = plain.port
      plain:start()
      trouble(store_of({ ca = ca.file }, plain, { connect_timeout = 0.3 }), 'TLS', 'on this port')
    end)
  end)

  it('is thought of where a server ends what is not encrypted', function()
    trouble(store_of(false), 'said nothing: does it want TLS?')
  end)

  it('is spoken with sentinels, and with the server that they name', function()
    local path, port = ca:issue('watcher', 'DNS:localhost,IP:127.0.0.1'), ports.free()
    local lines = ([[
port 0
bind 127.0.0.1
tls-port %d
tls-cert-file %s.crt
tls-key-file %s.key
tls-ca-cert-file %s
tls-auth-clients no
tls-replication yes
dir %s
sentinel monitor cache 127.0.0.1 %d 1
]]):format(port, path, path, ca.file, folder, server.port)
    local file = assert(io.open(folder .. '/sentinel.conf', 'w'))
    file:write(lines)
    file:close()
    local watcher = process.start({ 'redis-server', folder .. '/sentinel.conf', '--sentinel' })
    finally(function() watcher:kill() end)
    local function by(sentinel_opts)
      open[#open + 1] = stores.Store.new(db, { sentinels = { 'localhost:' .. port },
        master = 'cache', sentinel_opts = sentinel_opts, opts = { timeout = 2,
        connect_timeout = 5, tls = { ca = ca.file } } }, { log = function() end })
      return open[#open]
    end
    comes_up(by({ tls = { ca = ca.file } }))
    trouble(by({ tls = { ca = other.file } }), 'localhost:' .. port,
      "the certificate 'CN = watcher'", 'is of no authority of ca')
    trouble(by({}), 'no sentinel tells', 'localhost:' .. port)
  end)

  it('is spoken with each node of a cluster', function()
    local path = ca:issue('node', 'IP:127.0.0.1')
    local cluster = clusters.start({ config = { ['tls-cluster'] = 'yes',
      ['tls-cert-file'] = path .. '.crt', ['tls-key-file'] = path .. '.key',
      ['tls-ca-cert-file'] = ca.file, ['tls-auth-clients'] = 'no' } })
    local places = {}
    for i, node in ipairs(cluster.nodes) do places[i] = node.place end
    local store = stores.Store.new(db, { cluster = places,
      opts = { timeout = 2, connect_timeout = 5, tls = { ca = ca.file } } },
      { log = function() end })
    finally(function()
      support.close(store)
      for _, node in ipairs(cluster.nodes) do node:remove() end
    end)
    for number = 1, 6 do
      local name = 'shared' .. number
      store:query(('CREATE TABLE IF NOT EXISTS %s (id bigint PRIMARY KEY, value jsonb)')
        :format(name))
      store:insert(name, { id = '1', n = number })
      support.eventually(function()
        local hits = store:stats().hits
        assert.equal(number, store:find(name, '1').n)
        return store:stats().hits > hits
      end, 30, 'a hit of ' .. name)
    end
    for _, node in ipairs(cluster.nodes) do
      assert.equal('0', node:cli('CONFIG', 'GET', 'port'):match('\n(%d+)$'))
    end
  end)

  it('is in neither the figures nor the settings of a store with what is secret', function()
    local store = store_of({ ca = ca.file }, server, { password = 'Zq7topsecret' })
    local said = trouble(store, 'Redis has no password, and was sent one')
    assert.is_nil(said:find('Zq7topsecret', 1, true))
  end)
end)
