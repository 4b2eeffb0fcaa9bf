--- The least rights that Stores needs in Redis, which are those of docs/redis.md: the whole API
--- runs with them, where the default user is switched off, and none of them is too many. A command
--- that is sent, or stands in the sources, and is not on the page, fails here.
-- Plain pass alone: what is run is a process of its own.

local process = require('spec.support.process')
local redis = require('spec.support.redis')
local sentinels = require('spec.support.sentinels')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local root = os.getenv('STORES_ROOT') or '.'

local function read(path)
  local file = assert(io.open(path))
  local text = file:read('*a')
  file:close()
  return text
end

-- The words of each ACL SETUSER of the page, or of a section of it.
local function users_of_page(heading)
  local text, users = read(root .. '/docs/redis.md'), {}
  if heading then
    local from = assert(text:find('\n## ' .. heading .. '\n', 1, true), heading)
    text = text:sub(from, (text:find('\n## ', from + 1, true)))
  end
  for line in text:gmatch('\nACL SETUSER ([^\n]+)') do
    local words = {}
    for word in line:gmatch('%S+') do words[#words + 1] = word end
    users[#users + 1] = words
  end
  return users
end

-- Does those of one user on the server.
local function make(server, users, name)
  local count = 0
  for _, words in ipairs(users) do
    if words[1] == name then
      count = count + 1
      assert.equal('OK', server:cli('ACL', 'SETUSER', unpack(words)))
    end
  end
  assert.is_true(count > 0, 'the page has no ACL SETUSER ' .. name)
end

local function commands_of(users)
  local commands = {}
  for _, words in ipairs(users) do
    for _, word in ipairs(words) do
      local name = word:match('^%+([%w|-]+)$')
      if name then commands[name] = true end
    end
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
    app = users_of_page('A user with the least rights')
    make(server, app, 'app')
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
    local trouble = {}
    local store = stores.Store.new(db, { url = url, opts = { timeout = 2 } },
      { log = function(text) trouble[#trouble + 1] = text end })
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
    assert.same({}, trouble)
    support.close(store)

    assert.equal('', server:cli('ACL', 'LOG'))
    local calls, wanted = called(), commands_of(app)
    -- the commands of this spec, and AUTH, which needs no right
    for _, name in ipairs({ 'auth', 'acl|log', 'config|resetstat' }) do calls[name] = nil end
    assert.same(sorted(wanted), sorted(calls))
  end)

  it('has, with those of the other ways to run it, each command of the sources', function()
    local known = { auth = true }
    for name in pairs(commands_of(users_of_page())) do known[name:match('^%w+')] = true end
    local commands = {}
    for name in server:cli('COMMAND', 'LIST'):gmatch('[^\n]+') do commands[name:upper()] = true end
    local unknown, found = {}, 0
    local sources = shell.output(("cat '%s'/core/redis/*.[ch] '%s'/core/cache/*.[ch] "
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

  it('needs one command more behind sentinels, which have a user of their own', function()
    local group, names = sentinels.start(), users_of_page('Sentinel')
    for _, one in ipairs(group.servers) do
      make(one, app, 'app')
      make(one, names, 'app')
    end
    for _, watcher in ipairs(group.watchers) do make(watcher, names, 'finder') end
    local master, other = group:roles()
    local store = stores.Store.new(db, group:config({ username = 'app', password = 'secret',
      timeout = 2 }, { sentinel_opts = { username = 'finder', password = 'secret' } }),
      { log = function() end })
    local function reads_from(one)
      support.eventually(function()
        local hits = store:stats().hits
        store:find('shared', '1')
        return store:stats().hits > hits and one:cli('CLIENT', 'LIST'):find('user=app', 1, true)
      end, 60, 'a row in Redis')
    end
    reads_from(master)
    support.eventually(function()
      return group.watchers[1]:cli('SENTINEL', 'FAILOVER', group.name) == 'OK'
    end, 60, 'a failover')
    reads_from(other)
    assert.equal(0, store:stats().redis_refused)
    support.close(store)
    for _, list in ipairs({ group.servers, group.watchers }) do
      for _, one in ipairs(list) do assert.equal('', one:cli('ACL', 'LOG')) end
    end
    group:remove()
  end)

  it('is asked for by name where the default user is switched off', function()
    local said = {}
    local opts = { log = function(text) said[#said + 1] = text end }
    local nobody = stores.Store.new(db, server:config({ timeout = 2 }), opts)
    assert.is_true(nobody:count('shared') > 0)
    support.eventually(function()
      nobody:find('shared', '1')
      return nobody:stats().redis_trouble
    end, 20, 'a refusal')
    assert.matches('NOAUTH', nobody:stats().redis_trouble)
    -- a slow machine may say more
    assert.equal(1, select(2, table.concat(said, '\n'):gsub('NOAUTH', '')))
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

  it('that was given a password which Redis has not, says so and not the password', function()
    local open, said = redis.start(), {}
    local store = stores.Store.new(db, open:config({ password = 'swordfish' }),
      { log = function(text) said[#said + 1] = text end })
    support.eventually(function()
      store:find('shared', '1')
      return (store:stats().redis_trouble or ''):find('has no password, and was sent one', 1, true)
    end, 20, 'a refusal')
    assert.is_nil(table.concat(said):find('swordfish', 1, true))
    support.close(store)
    open:remove()
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
