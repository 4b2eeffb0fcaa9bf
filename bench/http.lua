--- One document over HTTP, by wrk, from one nginx with one worker; see bench/run.sh --http.
---   Stores             GET /docs/ID of examples/openresty, a hit of the cache
---   Stores, decoded    find into a table; the answer is a constant of the same length
---   lua-nginx-redis    a bare GET of the same key with a keepalive pool, decoded by cjson
---   held               find of a row that the worker holds in its memory, as text
---   static             Lua that says a constant of the same length
--- Beside the rates: what of the worker's own time a request takes, which other users of the
--- machine change least.
local report = require('bench.report')
local system = require('bench.system')

local CONNECTIONS = 64
local CONF = [[
worker_processes 1;
%s
pid nginx.pid;
error_log error.log warn;
load_module /usr/lib/nginx/modules/ndk_http_module.so;
load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;
env PGHOST; env PGPORT; env PGUSER; env PGDATABASE; env REDIS_SOCKET;
events { worker_connections 1024; }
http {
  access_log off;
  default_type application/json;
  keepalive_requests 1000000000;
  client_body_temp_path body;
  proxy_temp_path proxy;
  fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi;
  scgi_temp_path scgi;
  lua_package_path '%s/examples/openresty/?.lua;%s';
  lua_package_cpath '%s';
  lua_socket_log_errors off;
  lua_shared_dict metrics 1m;
  init_by_lua_block {
    text = [=[%s]=]
    local made
    function open_store()
      made = made or require('stores').Store.new({ host = os.getenv('PGHOST'),
        port = os.getenv('PGPORT'), user = os.getenv('PGUSER'),
        database = os.getenv('PGDATABASE') }, { path = os.getenv('REDIS_SOCKET') })
      return made
    end
  }
  server {
    listen 127.0.0.1:%d;
    location /docs { content_by_lua_block { require('api').handle() } }
    location /decoded {
      content_by_lua_block {
        if not open_store():find('docs', '1') then return ngx.exit(404) end
        ngx.say(text)
      }
    }
    location /redis {
      content_by_lua_block {
        local cjson = require('cjson')
        local link = require('nginx.redis'):new()
        assert(link:connect('unix:' .. os.getenv('REDIS_SOCKET')))
        local value = assert(link:get('%s'))
        local document = cjson.decode(value:sub(2)) -- behind the state of the entry
        if document.id ~= '1' then return ngx.exit(404) end
        assert(link:set_keepalive(60000, 1024))
        ngx.say(text)
      }
    }
    location /held {
      content_by_lua_block {
        ngx.say(open_store():find('docs_held', '1', { hold = true, raw = true }))
      }
    }
    location /static { content_by_lua_block { ngx.say(text) } }
  }
}
]]

local TARGETS = {
  { 'Stores', '/docs/1' },
  { 'Stores, decoded', '/decoded' },
  { 'lua-nginx-redis', '/redis' },
  { 'held', '/held' },
  { 'static', '/static' },
}

local REDIS, STATIC = 3, 5 -- what the others are beside
local WANTED = { ['Stores'] = '   at least 1.3, aim 1.6 x lua-nginx-redis',
  ['held'] = '   at least 0.8, aim 0.95 x static' }

local folder = assert(os.getenv('STORES_BENCH_DATA')) .. '/nginx'
local root = system.run('pwd'):gsub('%s+$', '')

-- Starts nginx at a port that nobody has; gives it.
local function start(key, text)
  system.run(("mkdir -p '%s'"):format(folder))
  local user = system.run('id -u'):match('%d+') == '0' and 'user root;' or ''
  local ok, why
  for _ = 1, 5 do
    local port = 20000 + system.run('od -An -N2 -tu2 /dev/urandom') % 12000
    system.write(folder .. '/nginx.conf', CONF:format(user, root, package.path, package.cpath,
      text, port, key))
    ok, why = pcall(system.run, ("nginx -p '%s' -c nginx.conf -e error.log 9>&-"):format(folder))
    if ok then return port end
  end
  error(why, 0)
end

local function stop()
  system.run(("nginx -p '%s' -c nginx.conf -e error.log -s quit"):format(folder))
  system.run(("while test -e '%s/nginx.pid'; do sleep 0.02; done"):format(folder))
end

-- Seconds of the worker's own time.
local function worker_time()
  local master = system.run(("cat '%s/nginx.pid'"):format(folder)):match('%d+')
  local worker = system.run(('cat /proc/%s/task/%s/children'):format(master, master)):match('%d+')
  local stat = system.run(('cat /proc/%s/stat'):format(worker)):match('%) (.*)$')
  local fields = {}
  for field in stat:gmatch('%S+') do fields[#fields + 1] = field end
  return (fields[12] + fields[13]) / tonumber(system.run('getconf CLK_TCK'))
end

-- Requests a second, and microseconds of the worker for each.
local function measure(url, seconds)
  local before = worker_time()
  local text = system.run(('wrk -t1 -c%d -d%ds %s'):format(CONNECTIONS, seconds, url))
  local took = worker_time() - before
  local count = tonumber(text:match('(%d+) requests in'))
  if not count or text:find('Non-2xx', 1, true) or text:find('Socket errors', 1, true) then
    error(text .. system.run(("cat '%s/error.log'"):format(folder)), 0)
  end
  return tonumber(text:match('Requests/sec:%s*([%d.]+)')), took / count * 1e6
end

-- Puts a document into the cache; gives the key that it has there, and its text.
local function make_document()
  system.psql([[DROP TABLE IF EXISTS docs;
    CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO docs SELECT id, value FROM bench_read WHERE id = 1;
    DROP TABLE IF EXISTS docs_held;
    CREATE TABLE docs_held (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO docs_held SELECT * FROM docs]])
  local store = require('stores').Store.new({ host = os.getenv('PGHOST'),
    port = os.getenv('PGPORT'), user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE') },
    { path = system.redis })
  local cli = ("redis-cli -s '%s' "):format(system.redis)
  local oid = system.psql("SELECT 'docs'::regclass::oid"):match('%d+')
  local pattern = ("--scan --pattern '*{%s}~*/1'"):format(oid)
  local text, key
  -- the first finds may come while the table's epoch is being made
  for _ = 1, 500 do
    text = store:find('docs', '1', { raw = true })
    key = system.run(cli .. pattern):match('[^\n]+')
    if key and system.run(cli .. "get '" .. key .. "'"):sub(1, 1) == 'V' then break end
    key = nil
  end
  assert(key, 'the document did not come into the cache')
  store:close()
  return key, text
end

--- Measures all of them in turns, and prints a table.
---@param options table of bench/run.lua
---@param told string how much is measured
return function(options, told)
  local key, text = make_document()
  local port = start(key, text)
  local seconds = math.ceil(options.seconds) -- wrk takes whole ones
  local rates, times = {}, {}
  -- the first round warms up
  for round = options.repeats > 1 and 0 or 1, options.repeats do
    for i, target in ipairs(TARGETS) do
      rates[i], times[i] = rates[i] or {}, times[i] or {}
      local rate, time = measure(('http://127.0.0.1:%d%s'):format(port, target[2]), seconds)
      if round > 0 then rates[i][round], times[i][round] = rate, time end
    end
  end
  stop()
  for i in ipairs(TARGETS) do
    rates[i], times[i] = system.median(rates[i]), system.median(times[i])
  end
  print(system.run('nginx -v'):match('[^\n]+') .. ', one worker; wrk -t1 -c' .. CONNECTIONS
    .. (', median of %d measurements of %g s'):format(options.repeats, options.seconds))
  print(('\n%-18s %12s %14s %12s %12s'):format('', 'requests /s', 'lua-nginx-redis', 'static',
    'worker us'))
  report.begin('http', { '', 'requests a second', 'beside lua-nginx-redis', 'beside static',
    'us of the worker' }, told)
  for i, target in ipairs(TARGETS) do
    print(('%-18s %12.0f %13.2f x %10.2f x %12.1f%s'):format(target[1], rates[i],
      rates[i] / rates[REDIS], rates[i] / rates[STATIC], times[i], WANTED[target[1]] or ''))
    report.row(target[1], report.whole(rates[i]), ('%.2f'):format(rates[i] / rates[REDIS]),
      ('%.2f'):format(rates[i] / rates[STATIC]), ('%.1f'):format(times[i]))
  end
end
