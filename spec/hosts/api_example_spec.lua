--- The JSON API of the examples over HTTP, its metrics and its status page.
-- Plain pass alone: nginx is a process of its own, which no pass reaches.

local http = require('spec.support.http')
local json = require('stores').json
local process = require('spec.support.process')
local prometheus = require('spec.support.prometheus')
local shell = require('spec.support.shell')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

describe('the API of the examples #slow', function()
  local folder, server, path

  local function request(method, target, body, headers)
    if type(body) == 'table' then body = json.encode(body) end
    local status, text, got = http.request(path, method, target, body, headers)
    local ok, value = pcall(json.decode, text)
    return status, ok and value or text, got
  end

  lazy_setup(function()
    folder = shell.folder()
    path = folder .. '/http.sock'
    server = process.start({ 'sh', root .. '/examples/openresty/serve.sh', folder,
      'unix:' .. path }, folder .. '/stderr')
    if not server:line() then error(shell.output(('cat %s/stderr'):format(folder)), 0) end
    support.eventually(function() return http.request(path, 'GET', '/docs/1') end, 20, 'an answer')
  end)

  lazy_teardown(function()
    server:signal('TERM')
    server:wait()
    require('stores.local').down(folder)
    os.execute(("rm -rf '%s'"):format(folder))
  end)

  it('stores, gives, changes and deletes a document', function()
    local status, document, headers = request('POST', '/docs', { name = 'Nadir', berths = 4 })
    assert.equal(201, status)
    assert.equal('/docs/' .. document.id, headers.location)
    local at = headers.location
    assert.same({ id = document.id, name = 'Nadir', berths = 4 }, select(2, request('GET', at)))

    status, document = request('PATCH', at, '{"berths": 6, "name": null, "list": []}')
    assert.equal(200, status)
    assert.equal(6, document.berths)
    assert.is_nil(document.name)
    assert.matches('"list": ?%[%]', select(2, http.request(path, 'GET', at)))

    status = request('PUT', at, { name = 'Rocinante' })
    assert.equal(200, status)
    assert.same({ id = document.id, name = 'Rocinante' }, select(2, request('GET', at)))

    assert.equal(204, (request('DELETE', at)))
    assert.equal(404, (request('GET', at)))
    assert.equal(404, (request('DELETE', at)))
    assert.equal(404, (request('PATCH', at, {})))
  end)

  it('has metrics of all workers, and a page of them for people', function()
    request('PUT', '/docs/16', { a = 1 })
    request('GET', '/docs/16')
    local status, text, headers = http.request(path, 'GET', '/metrics')
    assert.equal(200, status)
    assert.equal('text/plain; version=0.0.4', headers['content-type'])
    local families = prometheus.read(text)
    assert.is_true(families.stores_calls_total.series['store="api"'] > 0)
    status, text, headers = http.request(path, 'GET', '/status')
    assert.equal(200, status)
    assert.matches('^text/html', headers['content-type'])
    assert.matches('<tr><td>find</td>', text, 1, true)
    assert.matches('<td>Whether Redis answers every process.</td><td class="number">1</td>', text,
      1, true)
    -- what is opened is closed, and nothing of a format is left
    for _, tag in ipairs({ 'table', 'tr', 'td', 'h2', 'p', 'html' }) do
      local open = select(2, text:gsub('<' .. tag .. '[ >]', ''))
      assert.equal(open, select(2, text:gsub('</' .. tag .. '>', '')), tag)
    end
    assert.is_nil(text:find('%%[sd]'))
  end)

  it('makes a document at a path where there is none', function()
    local status, document = request('PUT', '/docs/17', { a = 1 })
    assert.equal(201, status)
    assert.equal('17', document.id)
    assert.equal(1, select(2, request('GET', '/docs/17')).a)
  end)

  it('finds documents by what they contain', function()
    for i = 1, 5 do request('POST', '/docs', { kind = 'query', n = i % 2 }) end
    local target = '/docs?contains=%7B%22kind%22%3A%22query%22%2C%22n%22%3A1%7D'
    local status, list = request('GET', target)
    assert.equal(200, status)
    assert.equal(3, #list)
    local _, first = request('GET', target .. '&limit=2')
    assert.equal(2, #first)
    local _, rest = request('GET', target .. '&limit=2&after=' .. first[2].id)
    assert.equal(1, #rest)
    assert.equal('[]\n', select(2, http.request(path, 'GET',
      '/docs?contains=%7B%22kind%22%3A%22none%22%7D')))
  end)

  it('refuses what it cannot read with 400', function()
    for _, bad in ipairs({
      { 'POST', '/docs', '{' }, { 'POST', '/docs', '' }, { 'POST', '/docs', '[1]' },
      { 'POST', '/docs', '3' }, { 'GET', '/docs/me' }, { 'GET', '/docs/99999999999999999999' },
      { 'PUT', '/docs/3', '{"id": "4"}' }, { 'GET', '/docs?contains=x' },
      { 'GET', '/docs?limit=0' }, { 'GET', '/docs?limit=1.5' },
      { 'POST', '/docs', '{"text": "\\u0000"}' },
    }) do
      local status, answer = request(bad[1], bad[2], bad[3])
      assert.equal(400, status, table.concat(bad, ' '))
      assert.is_string(answer.message)
    end
  end)

  it('says 404, 405, 409 and 413', function()
    assert.equal(404, (request('GET', '/docs/-3')))
    assert.equal(404, (request('GET', '/docs/1/2')))
    assert.equal(405, (request('POST', '/docs/1', {})))
    assert.equal(201, (request('POST', '/docs', { id = '23' })))
    local status, answer = request('POST', '/docs', { id = '23' })
    assert.equal(409, status)
    assert.equal('duplicate', answer.error)
    status, answer = request('POST', '/docs', { text = ('x'):rep(1100000) })
    assert.equal(413, status)
    assert.equal('too_large', answer.error)
    assert.equal(201, (request('POST', '/docs', { text = ('x'):rep(1000000) })))
  end)

  it('says 503 with Retry-After while PostgreSQL takes nobody in, and recovers', function()
    local admin = { host = folder, port = 5432, user = 'postgres', database = 'template1' }
    local where = shell.output(("'%s/tools/stores' up --while-used '%s'"):format(root, folder))
    admin.host = where:match("PGHOST='(.-)'")
    admin.port = where:match('PGPORT=(%d+)')
    admin.user = where:match("PGUSER='(.-)'")
    local database = where:match("PGDATABASE='(.-)'")
    support.psql(admin, ('ALTER DATABASE %s ALLOW_CONNECTIONS false; SELECT count('
      .. "pg_terminate_backend(pid, 20000)) FROM pg_stat_activity WHERE datname = '%s'")
      :format(database, database))
    local status, answer, headers = request('POST', '/docs', { a = 1 })
    support.psql(admin, ('ALTER DATABASE %s ALLOW_CONNECTIONS true'):format(database))
    assert.equal(503, status, json.encode(answer))
    assert.equal('1', headers['retry-after'])
    support.eventually(function() return request('POST', '/docs', { a = 1 }) == 201 end, 20,
      'it recovers')
  end)
end)
