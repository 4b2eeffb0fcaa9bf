--- The least rights that Stores needs in Redis, which are those of docs/redis.md: the whole API
--- runs with them, where the default user is switched off, and none of them is too many. A command
--- that is sent, or stands in the sources, and is not on the page, fails here.
-- Plain pass alone: what is run is a process of its own.

local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

local function read(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read('*a')
  pipe:close()
  return text
end

-- The words of the page's ACL SETUSER, which may be several, by the name of the user.
local function users_of_page()
  local users = {}
  for line in read(root .. '/docs/redis.md'):gmatch('\nACL SETUSER ([^\n]+)') do
    local name, rules = line:match('^(%S+) (.*)$')
    local words = users[name] or { name }
    for word in rules:gmatch('%S+') do words[#words + 1] = word end
    users[name] = words
  end
  return users
end

local function commands_of(words)
  local commands = {}
  for _, word in ipairs(words) do
    local name = word:match('^%+([%w|]+)$')
    if name then commands[name] = true end
  end
  return commands
end

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

describe('the user of docs/redis.md', function()
  local server, db, app

  setup(function()
    server = redis.start()
    server:cli('ACL', 'SETUSER', 'admin', 'on', '>pw', '~*', '&*', '+@all')
    server.user, server.password = 'admin', 'pw'
    app = assert(users_of_page().app, 'the page has no ACL SETUSER app')
    assert.equal('OK', server:cli('ACL', 'SETUSER', unpack(app)))
    assert.equal('OK', server:cli('ACL', 'SETUSER', 'default', 'off'))
    db = support.db()
    support.psql(db, [[CREATE TABLE shared (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO shared VALUES (1, '{"n": 10}');
      CREATE TABLE many (id bigint PRIMARY KEY, value jsonb);
      INSERT INTO many SELECT i, jsonb_build_object('part', i % 10)
        FROM generate_series(1, 20000) AS i;
      CREATE INDEX ON many USING gin (value jsonb_path_ops)]])
  end)

  teardown(function()
    support.drop(db)
    server:remove()
  end)

  -- How often each command was called, by its name, since that was set to nothing.
  local function called()
    local commands = {}
    for name, calls in server:cli('INFO', 'commandstats'):gmatch('cmdstat_(%S+):calls=(%d+)') do
      commands[name] = tonumber(calls)
    end
    return commands
  end

  it('has all that the whole API asks for, and nothing else', function()
    server:cli('CONFIG', 'RESETSTAT')
    server:cli('ACL', 'LOG', 'RESET')
    local url = ('unix://app:secret@%s?db=3'):format(server.socket)
    local said = process.start({ 'timeout', '120', 'luajit', root .. '/spec/settings/program.lua',
      db.host, tostring(db.port), db.database, db.user, url, 'docs', '10' }):wait()
    assert.equal('fine', (said:gsub('%s+$', '')))

    -- what that does not reach for sure: a cached row that is invalidated, and a dead epoch's rows
    local store = stores.Store.new(db, { url = url, opts = { timeout = 2 } }, { log = error })
    local function cached()
      support.eventually(function()
        local before = store:stats().hits
        store:find('shared', '1')
        return store:stats().hits > before
      end, 30, 'a row in Redis')
    end
    cached()
    store:invalidate('shared', '1')
    cached()
    store:invalidate('shared')
    support.eventually(function() return store:sweep() > 0 end, 30, 'a row of a dead epoch')
    assert.equal(0, store:stats().redis_refused)
    assert.equal(0, store:stats().bypassed)
    support.close(store)

    assert.equal('', server:cli('ACL', 'LOG'))
    local calls, wanted = called(), commands_of(app)
    -- the commands of this spec, and AUTH, which needs no right
    for _, name in ipairs({ 'auth', 'acl|log', 'config|resetstat' }) do calls[name] = nil end
    assert.same(sorted(wanted), sorted(calls))
  end)

  it('has, with those of the other ways to run it, each command of the sources', function()
    local known = { auth = true }
    for _, words in pairs(users_of_page()) do
      for name in pairs(commands_of(words)) do known[name:match('^%w+')] = true end
    end
    local commands = {}
    for name in server:cli('COMMAND', 'LIST'):gmatch('[^\n]+') do commands[name:upper()] = true end
    local unknown, found = {}, 0
    local sources = output(("cat '%s'/core/redis/*.[ch] '%s'/core/cache/*.[ch] "
      .. "'%s'/core/read/*.[ch] '%s'/core/names/*.[ch] '%s'/core/write/*.[ch]"):gsub('%%s', root))
    for word in sources:gmatch('["\']([A-Z]+)["\']') do
      if commands[word] then
        found = found + 1
        if not known[word:lower()] then unknown[word] = true end
      end
    end
    assert.same({}, sorted(unknown))
    assert.is_true(found > 10)
  end)

  it('is asked for by name where the default user is switched off', function()
    local said = {}
    local opts = { log = function(text) said[#said + 1] = text end }
    local nobody = stores.Store.new(db, server:config({ timeout = 2 }), opts)
    assert.equal(1, nobody:count('shared'))
    support.eventually(function()
      nobody:find('shared', '1')
      return nobody:stats().redis_trouble
    end, 20, 'a refusal')
    assert.matches('NOAUTH', nobody:stats().redis_trouble)
    assert.equal(1, #said)
    support.refused('cache_failure', 'NOAUTH', nobody.invalidate, nobody, 'shared')
    support.close(nobody)
    local wrong = stores.Store.new(db, server:config({ username = 'app', password = 'swordfish' }),
      opts)
    support.eventually(function()
      wrong:find('shared', '1')
      return (wrong:stats().redis_trouble or ''):find('WRONGPASS', 1, true)
    end, 20, 'a refusal')
    assert.is_nil(table.concat(said):find('swordfish', 1, true))
    support.close(wrong)
  end)

  it('sees no keys but those of the cache', function()
    server:cli('SELECT', '0')
    local store = stores.Store.new(db, { path = server.socket, opts = { username = 'app',
      password = 'secret', timeout = 2 } }, { prefix = 'other:', log = function() end })
    for n = 1, 3 do
      store:upsert('shared', { id = '5', n = n })
      assert.equal(n, store:find('shared', '5').n)
    end
    assert.matches('NOPERM', store:stats().redis_trouble)
    assert.equal(3, store:stats().bypassed)
    support.close(store)
  end)
end)
