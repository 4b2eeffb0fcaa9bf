--- The to-do service of the cookbook, in a real nginx; its page, in a real browser where one is.
-- Plain pass alone: programs of their own, which no pass reaches.

local http = require('spec.support.http')
local json = require('stores').json
local nginx = require('spec.support.nginx')
local process = require('spec.support.process')
local shell = require('spec.support.shell')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

describe('the to-do service of the examples #slow', function()
  local folder, server, path
  local signed, people = nil, 0

  -- status, value, headers; as the one who is signed in.
  local function ask(method, target, body, headers)
    local all = { Cookie = signed }
    for name, value in pairs(headers or {}) do all[name] = value end
    if type(body) == 'table' then body = json.encode(body) end
    local status, text, got = http.request(path, method, target, body, all)
    local ok, value = pcall(json.decode, text)
    return status, ok and value or text, got
  end

  local function sign(how, email, password)
    local status, value, headers = ask('POST', '/api/' .. how,
      { email = email, password = password or 'a long one' })
    signed = (headers['set-cookie'] or ''):match('^(session=%d+%.%x+)') or signed
    return status, value
  end

  local function somebody()
    signed, people = nil, people + 1
    assert.equal(201, (sign('signup', ('p%d@example.org'):format(people))))
  end

  local function add(text)
    local status, made = ask('POST', '/api/todos', { text = text })
    assert.equal(201, status)
    return made
  end

  lazy_setup(function()
    folder = shell.folder()
    path = folder .. '/http.sock'
    server = process.start({ 'sh', root .. '/examples/todo/serve.sh', folder, 'unix:' .. path },
      folder .. '/stderr')
    if not server:line() then error(shell.output(('cat %s/stderr'):format(folder)), 0) end
    support.eventually(function() return http.request(path, 'GET', '/health') == 200 end, 30,
      'it is well')
  end)

  lazy_teardown(function()
    server:signal('TERM')
    server:wait()
    require('stores.local').down(folder)
    os.execute(("rm -rf '%s'"):format(folder))
  end)

  before_each(somebody)

  it('has at most 300 lines, and no SQL', function()
    local files = ('cd %s/examples/todo && cat *.lua nginx.conf'):format(root)
    assert.is_true(tonumber(shell.output(files .. ' | wc -l')) <= 300)
    local text = shell.output(files)
    for _, word in ipairs({ 'SELECT', 'INSERT', 'CREATE', ':query' }) do
      assert.is_nil(text:find(word, 1, true), word)
    end
  end)

  it('signs up an e-mail address once, and in with its password alone', function()
    assert.equal(201, (sign('signup', 'Ada@example.org')))
    local status, answer = sign('signup', 'ada@example.org')
    assert.equal(409, status)
    assert.equal('duplicate', answer.error)
    assert.equal(200, (sign('signin', 'ADA@example.org')))
    assert.equal(403, (sign('signin', 'ada@example.org', 'another one')))
    assert.equal(403, (sign('signin', 'nobody@example.org')))
    assert.equal(400, (sign('signup', 'no address')))
    assert.equal(400, (sign('signup', 'short@example.org', 'short')))
    assert.equal(204, (ask('POST', '/api/signout')))
    assert.equal(401, (ask('GET', '/api/todos')))
  end)

  it('gives pages that lose and double nothing, newest first', function()
    local made, seen, onward = {}, {}, nil
    for i = 1, 25 do made[i] = add('n' .. i).id end
    repeat
      local _, page = ask('GET', '/api/todos?limit=10' .. (onward and '&after=' .. onward or ''))
      for _, one in ipairs(page.todos) do seen[#seen + 1] = one.id end
      onward = page.next
    until not onward
    assert.equal(25, #seen)
    for i = 1, 25 do assert.equal(made[26 - i], seen[i]) end
  end)

  it('has an empty list as an array', function()
    assert.matches('"todos": ?%[%]', select(2, http.request(path, 'GET', '/api/todos', nil,
      { Cookie = signed })))
  end)

  it('changes what the client has seen, and nothing else', function()
    local at = '/api/todos/' .. add('milk').id
    local _, _, headers = ask('GET', at)
    local etag = headers.etag
    assert.equal(304, (ask('GET', at, nil, { ['If-None-Match'] = etag })))
    local status, changed, after = ask('PATCH', at, { done = true }, { ['If-Match'] = etag })
    assert.equal(200, status)
    assert.is_true(changed.done)
    assert.equal('milk', changed.text)
    assert.not_equal(etag, after.etag)
    local refused, answer = ask('PATCH', at, { text = 'late' }, { ['If-Match'] = etag })
    assert.equal(412, refused)
    assert.equal('conflict', answer.error)
    assert.equal(412, (ask('DELETE', at, nil, { ['If-Match'] = etag })))
    assert.equal(400, (ask('PATCH', at, { text = '' })))
    assert.equal(204, (ask('DELETE', at, nil, { ['If-Match'] = after.etag })))
    assert.equal(404, (ask('GET', at)))
    local _, counters = ask('GET', '/api/counters')
    assert.equal(1, counters.made)
    assert.equal(1, counters.finished)
  end)

  it('shows nobody what is of others', function()
    local at = '/api/todos/' .. add('mine').id
    somebody()
    assert.equal(404, (ask('GET', at)))
    assert.equal(404, (ask('PATCH', at, { done = true })))
    assert.equal(404, (ask('DELETE', at)))
    assert.same({}, select(2, ask('GET', '/api/todos')).todos)
  end)

  it('imports all of a list or nothing, and exports it', function()
    local lines = {}
    for i = 1, 60 do lines[i] = ('{"text": "n%d", "done": %s}'):format(i, i % 2 == 0) end
    assert.equal(201, (ask('POST', '/api/import', table.concat(lines, '\n'))))
    assert.equal(400, (ask('POST', '/api/import', '{"text": "good"}\n{"text": ""}')))
    assert.equal(400, (ask('POST', '/api/import', '{"text": "good"}\nno JSON')))
    local _, text = http.request(path, 'GET', '/api/export', nil, { Cookie = signed })
    assert.equal(60, select(2, text:gsub('"text"', '')))
    assert.equal(60, select(2, ask('GET', '/api/counters')).made)
    local _, done = ask('GET', '/api/todos?limit=100&done=true')
    assert.equal(30, #done.todos)
  end)

  it('tells of what changes, in every worker', function()
    local listeners, list = {}, {}
    for i = 1, 6 do
      listeners[i] = process.start({ 'curl', '-sN', '--unix-socket', path, '-H',
        'Cookie: ' .. signed, 'http://todo/api/events' })
      finally(function() for _, one in ipairs(list) do one:signal('KILL') one:wait() end end)
      list[i] = listeners[i]
      assert.equal('data: *', listeners[i]:line())
    end
    local made = add('news')
    for _, one in ipairs(listeners) do
      local line
      repeat line = one:line() until line ~= '' and line ~= 'data: *'
      assert.equal('data: ' .. made.id, line)
    end
  end)

  it('has metrics, and says that it is well', function()
    local text
    support.eventually(function() -- a worker's first call is its listener's, after its start
      local status
      status, text = http.request(path, 'GET', '/metrics')
      assert.equal(200, status)
      return text:find('stores_workers 2', 1, true)
    end, 20, 'both workers to tell')
    assert.matches('stores_calls_total{store="todo"}', text, 1, true)
    assert.same({ postgres = true, redis = true }, select(2, ask('GET', '/health')))
  end)

  describe('has a page', function()
    local browser = shell.output('command -v chromium || command -v chromium-browser'):match('%S+')

    it('that is served', function()
      local status, text, headers = http.request(path, 'GET', '/')
      assert.equal(200, status)
      assert.matches('text/html', headers['content-type'])
      assert.matches('<title>To do</title>', text, 1, true)
    end)

    it('in which people sign up, add, finish, see what others do, and sign out', function()
      if not browser then return pending('skipped: there is no chromium') end
      local port = require('cqueues.socket').listen({ host = '127.0.0.1', port = 0 })
      port:listen()
      local _, _, number = port:localname()
      port:close()
      -- the page, and beside it another one of the same origin that uses it
      local front = nginx.start(([[
        server {
          listen 127.0.0.1:%d;
          location = /drive { default_type text/html; alias %s/spec/hosts/todo_drive.html; }
          location = /report { content_by_lua_block {
            ngx.req.read_body()
            local file = io.open('@FOLDER@/report', 'w')
            file:write(ngx.req.get_body_data())
            file:close()
          } }
          location / { proxy_pass http://unix:%s; proxy_buffering off; proxy_http_version 1.1; }
        }]]):format(number, root, path))
      local seen = process.start({ browser, '--headless=new', '--no-sandbox', '--disable-gpu',
        '--disable-dev-shm-usage', '--user-data-dir=' .. front.folder .. '/profile',
        '--remote-debugging-port=0', ('http://127.0.0.1:%d/drive'):format(number) }, '/dev/null')
      finally(function()
        seen:signal('TERM')
        seen:wait()
        front:stop()
      end)
      local report
      support.eventually(function()
        local file = io.open(front.folder .. '/report')
        report = file and file:read('*a')
        if file then file:close() end
        return report and report ~= ''
      end, 90, 'the browser reports')
      assert.equal('well', report)
    end)
  end)
end)
