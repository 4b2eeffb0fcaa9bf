--- stores backup and restore: a database in a file, and back, under the eyes of the cache.
-- Plain pass alone: programs of their own.

local command = require('spec.support.command')
local json = require('stores.json')
local pgbouncer = require('spec.support.pgbouncer')
local shell = require('spec.support.shell')
local stores = require('stores')
local support = require('spec.support')

local store, db, folder, served, file

before_each(function()
  store, db = support.store({ 'users', 'zebra' })
  folder = shell.folder()
  file = folder .. '/shop.dump'
  served = { db = db }
  store:insert('users', { id = '1', name = 'Ada' })
end)

after_each(function()
  support.close(store, db)
  shell.run('rm -rf ' .. shell.quoted(folder))
end)

describe('a backup', function()
  it('is restored into another database, as it was', function()
    store:query('CREATE INDEX users_value ON users USING gin (value jsonb_path_ops)')
    local out = command.must({ 'backup', file }, served)
    assert.matches('shop%.dump: %d+ bytes\n$', out)
    store:update('users', { id = '1', name = 'Byron' })

    local other, other_db = support.store({})
    local told = json.decode((command.must({ 'restore', file, '--json' }, { db = other_db })))
    assert.equal(2, told.tables)
    assert.equal('Ada', other:find('users', '1').name)
    assert.equal(1, other:query("SELECT count(*) AS n FROM pg_indexes WHERE indexname = "
      .. "'users_value'")[1].n)
    support.close(other, other_db)
  end)

  it('takes the place of what is there where that is named, and nobody reads old rows', function()
    command.must({ 'backup', file }, served)
    store:update('users', { id = '1', name = 'Byron' })
    assert.equal('Byron', store:find('users', '1').name)
    assert.is_nil(store:find('zebra', '7'))
    local result = command.run({ 'restore', file }, served)
    assert.equal(1, result.code)
    assert.matches('has 2 tables%. To restore over them, and lose what they hold, say %-%-replace '
      .. db.database, result.err)
    assert.equal(2, command.run({ 'restore', file, '--replace', 'other' }, served).code)
    assert.equal('Byron', store:find('users', '1', { cache = false }).name)

    command.must({ 'restore', file, '--replace', db.database }, served)
    assert.equal('Ada', store:find('users', '1').name)
    -- and it is cached again, in time
    support.eventually(function()
      local before = store:stats().hits
      store:find('users', '1')
      return store:stats().hits > before
    end, 30, 'a hit')
    assert.equal('Ada', store:find('users', '1').name)
  end)

  it('is read by nobody else, and not restored while the cache cannot be told', function()
    command.must({ 'backup', file }, served)
    assert.equal('600\n', shell.output('stat -c %a ' .. shell.quoted(file)))
    store:update('users', { id = '1', name = 'Byron' })
    local result = command.run({ 'restore', file, '--replace', db.database },
      { db = db, redis = { path = '/tmp/no-such-redis.sock' } })
    assert.equal(1, result.code)
    assert.matches('cache_failure: Redis cannot be reached: nothing was done', result.err)
    assert.equal('Byron', store:find('users', '1', { cache = false }).name)
  end)

  it('is refused where there is a file already, and leaves no half', function()
    shell.write(file, 'mine')
    assert.equal(2, command.run({ 'backup', file }, served).code)
    assert.equal('mine', shell.read(file))
    local result = command.run({ 'backup', folder .. '/no/such/folder.dump' }, served)
    assert.equal(1, result.code)
    assert.matches('pg_dump ended with exit code 1: pg_dump: error', result.err)
    assert.equal(2, command.run({ 'restore', folder .. '/none' }, served).code)
    shell.write(folder .. '/none', 'this is no dump')
    assert.equal(1, command.run({ 'restore', folder .. '/none', '--replace', db.database },
      served).code)
    assert.equal('Ada', store:find('users', '1').name)
  end)

  it('may be written by several at a time, or of one table', function()
    command.must({ 'backup', file, '--jobs', '2' }, served)
    assert.equal(0, (shell.run('test -d ' .. shell.quoted(file))))
    store:delete('users', '1')
    command.must({ 'restore', file, '--replace', db.database, '--jobs', '2' }, served)
    assert.equal('Ada', store:find('users', '1').name)
    command.must({ 'backup', file .. '2', '--table', 'users' }, served)
    local other, other_db = support.store({})
    command.must({ 'restore', file .. '2', '--no-owner' }, { db = other_db })
    assert.equal(1, other:count('users'))
    support.refused('table_not_found', nil, other.find, other, 'zebra', '1')
    support.close(other, other_db)
  end)

  it('of shards is a folder, and each of them is looked after by itself, too', function()
    local opts = { any_shard = true }
    local one, one_db = support.store({ 'users' }, opts)
    local two, two_db = support.store({ 'users' }, opts)
    one:insert('users', { id = '2', name = 'Grace' })
    two:insert('users', { id = '1', name = 'Ada' })
    local shards = stores.Shards.new({ { id = 0, db = one_db }, { id = 1, db = two_db } })
    shards:init()
    shards:close()
    local function shard(id, of)
      return command.config(of):gsub('^return (%b{}), (%b{}), nil$',
        ('{ id = %d, db = %%1, redis = %%2 }'):format(id))
    end
    shell.write(folder .. '/shards.lua', ('return { %s, %s }'):format(shard(0, one_db),
      shard(1, two_db)))
    local where = { env = { STORES_CONFIG = folder .. '/shards.lua' } }
    command.must({ 'backup', file }, where)
    assert.equal('shard-0.dump\nshard-1.dump\n', shell.output('ls ' .. shell.quoted(file)))
    one:query('DROP TABLE users, stores_shard')
    two:query('DROP TABLE users, stores_shard')
    command.must({ 'restore', file }, where)
    assert.equal('Grace', one:find('users', '2').name)
    assert.equal('Ada', two:find('users', '1').name)

    command.must({ 'status' }, { db = one_db })
    command.must({ 'backup', file .. '0' }, { db = one_db })
    command.must({ 'restore', file .. '0', '--replace', one_db.database }, { db = one_db })
    local result = command.run({ 'get', 'users', '2' }, { db = one_db })
    assert.matches('shard_mismatch', result.err)
    support.close(one, one_db)
    support.close(two, two_db)
  end)
end)

describe('a restore', function()
  -- It begins by dropping what it made last, and waits for the lock of that table.
  local function blocked(fn)
    command.must({ 'backup', file }, served)
    store:update('users', { id = '1', name = 'Byron' })
    store:transaction(function(tx)
      tx:query('LOCK TABLE zebra IN ACCESS SHARE MODE')
      local errors = folder .. '/errors'
      local child = command.start({ 'restore', file, '--replace', db.database }, served, errors)
      support.eventually(function()
        return support.psql(db, "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = "
          .. "'AccessExclusiveLock'"):find('1')
      end, 30, 'it waits')
      fn(child, tx)
      return errors
    end, { timeout = 300 })
  end

  it('tells on a terminal how far it is, and how long the rest will take', function()
    local screen = folder .. '/screen'
    shell.write(screen, '')
    local terminal = { db = db, terminal = screen }
    local function shows(text)
      return function() return shell.read(screen):find(text, 1, true) end
    end
    command.must({ 'backup', file }, served)
    local child
    store:transaction(function(tx)
      tx:query('LOCK TABLE zebra IN ACCESS SHARE MODE')
      child = command.start({ 'restore', file, '--replace', db.database }, terminal)
      support.eventually(shows('tables restored [' .. ('.'):rep(30) .. '] 0 of 2'), 60, 'it waits')
    end, { timeout = 100 })
    child:wait()
    assert.truthy(shows('2 tables restored from')(), shell.read(screen))
    -- the bar is gone from its line
    assert.matches('\r\27%[K2 tables restored', shell.read(screen))
  end)

  it('stops at a signal, and nothing of it is there', function()
    blocked(function(child, tx)
      child:signal('INT')
      support.eventually(function()
        return shell.read(folder .. '/errors'):find('stopped, and rolled back: nothing of it is '
          .. 'restored', 1, true)
      end, 60, 'it says that it stopped')
      child:wait()
      assert.equal('Byron', tx:find('users', '1').name)
    end)
    assert.equal('Byron', store:find('users', '1').name)
  end)

  it('behind a pooler of transactions goes to the server itself, or is refused', function()
    local pooler = pgbouncer.start('transaction')
    local pooled = pooler:config({ database = db.database, pooler = 'transaction' })
    command.must({ 'backup', file }, served)
    local result = command.run({ 'restore', file, '--replace', db.database }, { db = pooled })
    assert.equal(1, result.code)
    assert.matches('give db.migrate_url', result.err)
    assert.is_nil(store:find('zebra', '7'))
    os.remove(file)

    pooled.migrate_url = ('postgresql://%s@/%s?host=%s&port=%d'):format(db.user, db.database,
      db.host, db.port)
    served = { db = pooled }
    blocked(function(child)
      store:find('users', '1')
      local before = store:stats().hits
      for _ = 1, 5 do assert.equal('Byron', store:find('users', '1').name) end
      assert.equal(before, store:stats().hits)
      child:signal('TERM')
      child:wait()
    end)
    assert.equal('Byron', store:find('users', '1').name)
    pooler:stop()
  end)

  it('is a time in which nobody reads from the cache, also when it is killed', function()
    blocked(function(child)
      assert.equal('Byron', store:find('users', '1').name)
      local before = store:stats().hits
      assert.equal('Byron', store:find('users', '1').name)
      assert.equal(before, store:stats().hits)
      child:kill()
    end)
    support.eventually(function()
      return support.psql(db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
        .. "'pg_restore'"):find('0')
    end, 30, 'pg_restore is gone with it')
    assert.equal('Byron', store:find('users', '1').name)
    support.eventually(function()
      local before = store:stats().hits
      store:find('users', '1')
      return store:stats().hits > before
    end, 30, 'the cache is used again')
  end)
end)
