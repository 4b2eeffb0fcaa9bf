--- stores get, find, count, set, delete and status: rows and servers, looked at from a shell.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local support = require('spec.support')

local store, db, served

setup(function()
  store, db = support.store({ 'users' })
  served = { db = db }
end)
teardown(function() support.close(store, db) end)

before_each(function()
  store:query('DELETE FROM users')
  store:insert('users', { id = '1', name = 'Ada', age = 36, tags = { 'engines' },
    big = json.number('12345678901234567890') })
  store:insert('users', { id = '2', name = 'Alan', age = 41, tags = json.array() })
  store:insert('users', { id = '3', name = 'Grace', age = 85 })
end)

describe('stores get', function()
  it('shows a document, exactly, to people and to programs', function()
    assert.equal('{\n  "age": 36,\n  "big": 12345678901234567890,\n  "id": "1",\n'
      .. '  "name": "Ada",\n  "tags": ["engines"]\n}\n', (command.must({ 'get', 'users', '1' },
      served)))
    local text = command.must({ 'get', 'users', '2', '--json', '--no-cache' }, served)
    assert.equal('Alan', json.decode(text).name)
    assert.truthy(text:find('"tags":[]', 1, true), text)
  end)

  it('fails where there is no such row', function()
    local result = command.run({ 'get', 'users', '9' }, served)
    assert.same({ code = 1, out = '', err = 'stores: users has no row 9\n' }, result)
    assert.equal('null\n', command.run({ 'get', 'users', '9', '--json' }, served).out)
  end)
end)

describe('stores find', function()
  it('lists documents, one a line', function()
    local out = command.must({ 'find', 'users', '--order=-age', '--fields', 'name' }, served)
    assert.equal('{"id": "3", "name": "Grace"}\n{"id": "2", "name": "Alan"}\n'
      .. '{"id": "1", "name": "Ada"}\n', out)
    out = command.must({ 'find', 'users', '{"name": "Ada"}', '--fields', 'name' }, served)
    assert.equal('{"id": "1", "name": "Ada"}\n', out)
  end)

  it('takes conditions', function()
    local function names(where)
      local list = json.decode((command.must({ 'find', 'users', '--where', where, '--json' },
        served))).documents
      for at, document in ipairs(list) do list[at] = document.name end
      return table.concat(list, ' ')
    end
    assert.equal('Alan Grace', names('[["age", ">=", 40]]'))
    assert.equal('Ada Grace', names('{"any": [["age", "<", 40], ["name", "prefix", "G"]]}'))
    assert.equal('Ada', names('{"all": [["name", "prefix", "A"]], "none": [["age", ">", 40]]}'))
  end)

  it('goes through pages', function()
    local out, err = command.must({ 'find', 'users', '--limit', '2', '--fields', 'name' }, served)
    assert.equal('{"id": "1", "name": "Ada"}\n{"id": "2", "name": "Alan"}\n', out)
    local cursor = err:match('^stores: there are more: %-%-after (%S+)\n$')
    local page = json.decode((command.must({ 'find', 'users', '--limit', '2', '--after', cursor,
      '--json' }, served)))
    assert.equal('Grace', page.documents[1].name)
    assert.equal(json.null, page.next)
  end)

  it('explains itself', function()
    local plan = json.decode((command.must({ 'find', 'users', '{"name": "Ada"}', '--explain',
      '--json' }, served)))
    assert.truthy(plan.sql)
    assert.is_true(json.is_array(plan.indexes))
    local lines = command.must({ 'find', 'users', '{"name": "Ada"}', '--explain' }, served)
    assert.same(plan.params, json.decode(lines).params)
    assert.truthy(lines:find('\n  "sql": "', 1, true))
  end)
end)

describe('stores count', function()
  it('counts', function()
    assert.equal('3\n', (command.must({ 'count', 'users' }, served)))
    assert.equal('1\n', (command.must({ 'count', 'users', '{"name": "Ada"}' }, served)))
    assert.equal(2, json.decode((command.must({ 'count', 'users', '--where',
      '[["age", ">", 40]]', '--json' }, served))).count)
  end)
end)

describe('stores set', function()
  it('stores a document, new or not, and the cache hears of it', function()
    assert.equal('Ada', store:find('users', '1').name) -- in the cache from now on
    assert.equal('users 1 replaced\n', (command.must({ 'set', 'users', '1', '{"name": "Byron"}' },
      served)))
    assert.same({ id = '1', name = 'Byron' }, store:find('users', '1'))
    assert.equal('users 7 inserted\n', (command.must({ 'set', 'users', '7', '{"name": "Edsger"}' },
      served)))
    assert.equal('Edsger', store:find('users', '7').name)
  end)

  it('reads what stdin gives', function()
    local out = command.must({ 'set', 'users', '8', '-', '--json' },
      { db = db, stdin = '{"name": "Barbara", "id": "1"}' })
    assert.same({ id = '8', done = 'inserted' }, json.decode(out))
    assert.equal('Ada', store:find('users', '1').name)
    assert.equal('Barbara', store:find('users', '8').name)
  end)

  it('merges, inserts or replaces where that is said', function()
    command.must({ 'set', 'users', '1', '{"age": 37}', '--merge' }, served)
    assert.equal('Ada', store:find('users', '1').name)
    assert.equal(37, store:find('users', '1').age)
    local result = command.run({ 'set', 'users', '1', '{}', '--insert' }, served)
    assert.equal(1, result.code)
    assert.truthy(result.err:find('stores: duplicate: ', 1, true), result.err)
    result = command.run({ 'set', 'users', '9', '{}', '--replace' }, served)
    assert.same({ code = 1, out = '', err = 'stores: users has no row 9\n' }, result)
    assert.equal(2, command.run({ 'set', 'users', '9', '{}', '--replace', '--merge' }, served).code)
    assert.is_nil(store:find('users', '9'))
  end)

  it('says that no cache hears of it where none is given', function()
    local url = ('postgresql://%s@/%s?host=%s&port=%s'):format(db.user, db.database, db.host,
      db.port)
    local _, err = command.must({ 'set', 'users', '5', '{}', '--url', url })
    assert.truthy(err:find('no Redis is given', 1, true), err)
    _, err = command.must({ 'set', 'users', '5', '{}', '--url', url, '--redis', 'none' })
    assert.equal('', err)
  end)
end)

describe('stores delete', function()
  it('deletes one row, and says whether it was there', function()
    assert.equal('Ada', store:find('users', '1').name)
    assert.equal('users 1 deleted\n', (command.must({ 'delete', 'users', '1' }, served)))
    assert.is_nil(store:find('users', '1'))
    assert.equal(1, command.run({ 'delete', 'users', '1' }, served).code)
    assert.equal(2, command.run({ 'delete', 'users' }, served).code)
    assert.equal(2, store:count('users'))
  end)
end)

describe('over shards', function()
  local other, other_db, folder
  setup(function()
    other, other_db = support.store({ 'users' })
    folder = shell.folder()
    local function shard(id, of)
      return command.config(of):gsub('^return (%b{}), (%b{}), nil$',
        ('{ id = %d, db = %%1, redis = %%2 }'):format(id))
    end
    shell.write(folder .. '/shards.lua', ('return { %s, %s }'):format(shard(0, db),
      shard(1, other_db)))
  end)
  teardown(function()
    shell.run('rm -rf ' .. shell.quoted(folder))
    support.close(other, other_db)
  end)

  it('goes to the shard of an id, and to all of them for lists', function()
    store:query('DELETE FROM users')
    local where = { '--config', folder .. '/shards.lua' }
    local function run(...) return (command.must({ ..., unpack(where) })) end
    for id = 1, 4 do
      command.must({ 'set', 'users', tostring(id), '{}', unpack(where) })
    end
    assert.equal(2, store:count('users'))
    assert.equal(2, other:count('users'))
    assert.equal('4\n', command.must({ 'count', 'users', unpack(where) }))
    assert.equal('{"id": "1"}\n{"id": "2"}\n{"id": "3"}\n',
      command.must({ 'find', 'users', '--limit', '3', unpack(where) }))
    assert.is_string(run('status'))
  end)
end)

describe('stores status', function()
  it('tells of both servers', function()
    local out = command.must({ 'status' }, served)
    assert.matches('^shard +PostgreSQL +version +database', out)
    assert.matches('\n +up +%d+[^\n]* ' .. db.database .. ' [^\n]* up\n$', out)
    local told = json.decode((command.must({ 'status', '--json' }, served)))
    assert.is_true(told.up)
    assert.is_true(told.servers[1].postgres.up)
    assert.is_true(told.servers[1].redis.up)
  end)

  it('fails where one of them does not answer', function()
    local result = command.run({ 'status', '--json' }, { db = db,
      redis = { path = '/tmp/no-such-redis.sock' } })
    assert.equal(1, result.code)
    assert.is_false(json.decode(result.out).servers[1].redis.up)
    local away = { host = '/none', port = 5432, database = 'x', user = 'x' }
    result = command.run({ 'status' }, { db = away })
    assert.equal(1, result.code)
    assert.matches('DOWN', result.out)
    assert.matches('connect_failed', result.err)
  end)
end)
