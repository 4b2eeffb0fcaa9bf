--- stores import and export: what is stored of a file, what is left out and where that goes, how it
--- goes on after a signal.
-- Plain pass alone: programs of their own.

local command = require('spec.support.command')
local json = require('stores.json')
local shell = require('spec.support.shell')
local support = require('spec.support')

local store, db, served, folder

setup(function()
  store, db = support.store({ 'users', 'others' })
  served, folder = { db = db }, shell.folder()
end)
teardown(function()
  support.close(store, db)
  os.execute('rm -rf ' .. shell.quoted(folder))
end)
before_each(function()
  store:query('DELETE FROM users; DELETE FROM others; DROP TABLE IF EXISTS stores_imports')
  os.execute('rm -f ' .. shell.quoted(folder) .. '/*')
end)

local function write(name, lines)
  local path = folder .. '/' .. name
  shell.write(path, table.concat(lines, '\n') .. '\n')
  return path
end

local function numbered(count, id)
  local lines = {}
  for i = 1, count do
    lines[i] = id and ('{"id": "%d", "n": %d}'):format(i, i) or ('{"n": %d}'):format(i)
  end
  return lines
end

describe('stores import', function()
  it('makes the table of its places though another session makes it at the same moment', function()
    local path, child = write('users.jsonl', { '{}' }), nil
    store:transaction(function(tx)
      tx:query('CREATE TABLE stores_imports (id bigint PRIMARY KEY, value jsonb)')
      child = command.start({ 'import', 'users', path, '--resume' }, served)
      support.eventually(function()
        return store:query([[SELECT count(*)::int AS n FROM pg_stat_activity
          WHERE wait_event_type = 'Lock' AND query LIKE '%stores_imports%']])[1].n > 0
      end, 20, 'an import that waits')
    end)
    child:wait()
    assert.equal(1, store:count('users'))
  end)

  it('stores each line exactly, with an id where it has none', function()
    local path = write('users.jsonl', {
      '{"id": "1", "text": "tab\\t, back\\\\slash, \\"quote\\", \\u20ac"}', '',
      '  {"id": 2, "big": 12345678901234567890.5, "list": [], "none": null}\r', '{}',
      '{"name":\t"no id"}' })
    local out = command.must({ 'import', 'users', path }, served)
    assert.truthy(out:find('users: 4 inserted', 1, true), out)
    assert.equal('tab\t, back\\slash, "quote", \226\130\172', store:find('users', '1').text)
    local second = store:find('users', '2')
    assert.equal('12345678901234567890.5', tostring(second.big))
    assert.equal('[]', json.encode(second.list))
    local named = store:findOne('users', { name = 'no id' })
    assert.equal(named.id, json.decode(store:find('users', named.id, { raw = true })).id)
    assert.equal(4, store:count('users'))
  end)

  it('leaves out what is no document, and says which lines those are', function()
    local lines = numbered(500, true)
    lines[7], lines[123], lines[124] = '{"id": "7", broken', '[1]', '{"id": "x"}'
    lines[300] = '{"id": "300", "text": "\\u0000"}'
    lines[301] = '{"id": "301", "n": -5}' -- which the table refuses
    store:query([[ALTER TABLE users ADD CONSTRAINT above CHECK ((value ->> 'n')::int > 0)]])
    local path = write('users.jsonl', lines)
    local result = command.run({ 'import', 'users', path, '--json' }, served)
    store:query('ALTER TABLE users DROP CONSTRAINT above')
    assert.equal(1, result.code, result.err)
    local told = json.decode(result.out)
    assert.equal(495, told.inserted)
    assert.equal(5, told.rejected)
    assert.is_true(told.finished)
    assert.equal(495, store:count('users'))
    local rejects, seen = shell.read(told.rejects), {}
    for number, why, text in rejects:gmatch('(%d+)\t([^\t\n]+)\t([^\n]+)\n') do
      assert.equal(lines[tonumber(number)], text)
      assert.is_true(#why > 5)
      seen[tonumber(number)] = true
    end
    for _, number in ipairs({ 7, 123, 124, 300, 301 }) do assert.is_true(seen[number], number) end
  end)

  it('ends at an id that is taken, ignores it, or replaces it', function()
    store:insert('users', { id = '250', old = true })
    local path = write('users.jsonl', numbered(300, true))
    local result = command.run({ 'import', 'users', path, '--batch', '100' }, served)
    assert.equal(1, result.code)
    assert.truthy(result.err:find('line 250', 1, true), result.err)
    assert.is_true(store:find('users', '250').old)
    local out = command.must({ 'import', 'users', path, '--conflict', 'ignore', '--json' }, served)
    assert.equal(300, store:count('users'))
    assert.is_true(json.decode(out).ignored > 200)
    assert.is_true(store:find('users', '250').old)
    command.must({ 'import', 'users', path, '--conflict', 'replace' }, served)
    assert.equal(250, store:find('users', '250').n)
    assert.equal(300, store:count('users'))
  end)

  it('reads what is compressed, and stdin', function()
    local path = write('users.jsonl', numbered(100, true))
    os.execute('gzip -k ' .. shell.quoted(path))
    command.must({ 'import', 'users', path .. '.gz' }, served)
    assert.equal(100, store:count('users'))
    command.must({ 'import', 'others' }, { db = db, stdin = '{"id": "5"}\n{"id": "6"}' })
    assert.equal(2, store:count('others'))
    os.execute(('head -c 200 %s.gz > %s/cut.gz'):format(shell.quoted(path), shell.quoted(folder)))
    local result = command.run({ 'import', 'others', folder .. '/cut.gz' }, served)
    assert.equal(1, result.code)
    assert.truthy(result.err:find('ends too early', 1, true), result.err)
  end)

  it('is seen by every cache', function()
    for n = 1, 20 do store:find('users', tostring(n)) end
    command.must({ 'import', 'users', write('users.jsonl', numbered(20, true)) }, served)
    for n = 1, 20 do assert.equal(n, store:find('users', tostring(n)).n) end
  end)

  it('stops behind a chunk at SIGINT, and goes on where it is told to', function()
    local path = write('users.jsonl', numbered(60000))
    local errors = folder .. '/errors'
    local one = command.start({ 'import', 'users', path, '--batch', '200' }, served, errors)
    support.eventually(function() return store:count('users') > 0 end)
    one:signal('INT')
    one:wait()
    local said = shell.read(errors)
    local after = said:match('%-%-after (%d+)')
    assert.truthy(after, said)
    assert.equal(tonumber(after), store:count('users'))
    command.must({ 'import', 'users', path, '--after', after }, served)
    assert.equal(60000, store:count('users'))
  end)

  it('goes on with --resume exactly where it was killed', function()
    local path = write('users.jsonl', numbered(30000))
    local words = { 'import', 'users', path, '--batch', '100', '--resume' }
    for _ = 1, 3 do
      local before = store:count('users')
      local one = command.start(words, served, folder .. '/errors')
      support.eventually(function() return store:count('users') > before end)
      one:kill()
    end
    assert.is_true(store:count('users') < 30000, 'it was over before it was killed')
    support.eventually(function() -- its transaction has ended
      return store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = "
        .. 'current_database() AND pid <> pg_backend_pid() '
        .. 'AND backend_xid IS NOT NULL')[1].n == 0
    end)
    command.must(words, served)
    assert.equal(30000, store:count('users'))
    assert.equal(30000, store:query("SELECT count(DISTINCT value->'n') AS n FROM users")[1].n)
    local _, said = command.must(words, served)
    assert.truthy(said:find('behind line 30000', 1, true), said)
  end)

  it('says how it is called', function()
    assert.equal(2, command.run({ 'import', 'users', '--resume' }, served).code)
    assert.equal(2, command.run({ 'import', 'users', 'x', '--conflict', 'merge' }, served).code)
    assert.equal(1, command.run({ 'import', 'users', folder .. '/none' }, served).code)
    assert.equal(1, command.run({ 'import', 'nowhere', write('a', { '{}' }) }, served).code)
  end)
end)

describe('stores export', function()
  it('says that its file cannot be opened', function()
    local result = command.run({ 'export', 'users', '--output', '/no/such/folder/x' }, served)
    assert.equal(1, result.code)
    assert.equal('stores: invalid_argument: cannot open /no/such/folder/x: No such file or '
      .. 'directory\n', result.err)
  end)

  before_each(function()
    local list = {}
    for n = 1, 1200 do list[n] = { id = tostring(n), n = n, text = 'line\n' .. n } end
    store:insertMany('users', list)
    store:query([[INSERT INTO users VALUES (-5, '{"n": -5}')]])
  end)

  it('writes each document as a line, with its id, in their order', function()
    local out = command.must({ 'export', 'users', '--batch', '500' }, served)
    local last, count = -math.huge, 0
    for line in out:gmatch('[^\n]+') do
      local document = json.decode(line)
      assert.equal(document.id, tostring(document.n))
      assert.is_true(document.n > last)
      last, count = document.n, count + 1
    end
    assert.equal(1201, count)
  end)

  it('writes those that are asked for, compressed, and what an import takes', function()
    local path = folder .. '/some.jsonl.gz'
    command.must({ 'export', 'users', '--where', '[["n", ">", 1000]]', '--output', path }, served)
    command.must({ 'import', 'others', path }, served)
    assert.equal(200, store:count('others'))
    assert.same(store:find('users', '1100'), store:find('others', '1100'))
    local out = command.must({ 'export', 'users', '--after', '1198' }, served)
    assert.equal(2, select(2, out:gsub('\n', '')))
  end)
end)

describe('stores copy', function()
  before_each(function()
    local list = {}
    for n = 1, 700 do list[n] = { id = tostring(n), n = n } end
    store:insertMany('users', list)
  end)

  it('copies into another table, and to other servers, which may be shards', function()
    local out = command.must({ 'copy', 'users', '--as', 'others', '--batch', '300' }, served)
    assert.truthy(out:find('others: 700 documents', 1, true), out)
    assert.same(store:find('users', '321'), store:find('others', '321'))
    assert.equal(1, command.run({ 'copy', 'users', '--as', 'others' }, served).code)

    local list, databases = {}, {}
    for id = 0, 1 do
      local shard, at = support.store({ 'users' })
      support.close(shard)
      databases[id + 1], list[id + 1] = at, { db = at, redis = support.redis(), id = id }
    end
    local shards = require('stores').Shards.new(list)
    local path = folder .. '/shards.lua'
    shell.write(path, ('return { { id = 0, db = %s }, { id = 1, db = %s } }'):format(
      command.config(databases[1], false):match('^return (%b{})'),
      command.config(databases[2], false):match('^return (%b{})')))
    command.must({ 'copy', 'users', '--to', path, '--where', '[["n", "<=", 500]]' }, served)
    assert.equal(500, shards:count('users'))
    assert.equal(77, shards:find('users', '77').n)
    for i, one in ipairs(shards.shards) do support.close(one, databases[i]) end
  end)

  it('says how it is called', function()
    assert.equal(2, command.run({ 'copy', 'users' }, served).code)
    assert.equal(1, command.run({ 'copy', 'users', '--as', 'nowhere' }, served).code)
  end)
end)
