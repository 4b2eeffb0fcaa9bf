--- TLS to Redis in nginx, whose own OpenSSL is in the same process.
-- Not in the gc pass: it is the core that does this; what hangs on values of Lua is in spec/lua/.

local certificates = require('spec.support.certificates')
local nginx = require('spec.support.nginx')
local ports = require('spec.support.ports')
local redis = require('spec.support.redis')
local support = require('spec.support')

describe('TLS to Redis', function()
  local folder, ca, other, server, db

  setup(function()
    folder = certificates.folder()
    ca, other = certificates.authority(folder, 'ca'), certificates.authority(folder, 'other')
    server = redis.start_tls(ca:issue('server', 'DNS:localhost,IP:127.0.0.1'), ca.file)
    db = support.db()
  end)

  teardown(function()
    support.drop(db)
    server:remove()
    os.execute("rm -rf '" .. folder .. "'")
  end)

  it('is spoken in nginx, which uses OpenSSL itself and finds no errors that are not its own',
    function()
      local path = ca:issue('web', 'DNS:localhost')
      local port = ports.free()
      local web = nginx.start(([[
        init_by_lua_block {
          stores = require('stores')
          local made = {}
          function S(ca)
            made[ca] = made[ca] or stores.Store.new({ host = '%s', port = %s, user = '%s',
              database = '%s' }, { host = 'localhost', port = %d, opts = { timeout = 2,
              connect_timeout = 5, tls = { ca = ca } } }, { log = function() end })
            return made[ca]
          end
          function say(ca)
            for _ = 1, 2000 do
              local stats = S(ca):stats()
              if stats.redis_up == 1 then return ngx.say('up') end
              if stats.redis_trouble then return ngx.say(stats.redis_trouble) end
              stores.sleep(0.01)
            end
          end
        }
        server {
          listen @SOCKET@;
          listen 127.0.0.1:%d ssl;
          ssl_certificate %s.crt;
          ssl_certificate_key %s.key;
          location = /good { content_by_lua_block { say('%s') } }
          location = /bad { content_by_lua_block { say('%s') } }
        }]]):format(db.host, db.port, db.user, db.database, server.port, port, path, path, ca.file,
        other.file))
      finally(function() web:stop() end)
      assert.equal('up', web:get('/good'))
      for _ = 1, 3 do
        assert.matches('is of no authority', web:get('/bad'))
        local pipe = io.popen(("printf 'GET /good HTTP/1.0\r\n\r\n' | openssl s_client -quiet "
          .. "-CAfile '%s' -connect 127.0.0.1:%d 2>&1"):format(ca.file, port))
        local text = pipe:read('*a')
        pipe:close()
        assert.matches('\nup\n', text)
      end
      assert.is_nil(web:log():find('SSL error', 1, true), web:log())
    end)
end)
