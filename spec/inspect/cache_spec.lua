--- stores cache, cache verify, invalidate and sweep: what Redis holds, beside what PostgreSQL does.
-- Plain pass alone: programs of their own, whose calls other specs take through the other passes.

local cache = require('spec.support.cache')
local command = require('spec.support.command')
local json = require('stores.json')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local server, store, db, keys, served

setup(function()
  server = redis.start()
  db = support.db()
  store = stores.Store.new(db, server:config({ timeout = 2 }))
  store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  keys = cache.of(db, server.socket)
  served = { db = db, redis = server:config({ timeout = 2 }) }
end)

teardown(function()
  support.close(store, db)
  server:remove()
end)

-- A row that is cached as it is.
local function cached(id, n)
  keys:ready(store, 'public.docs')
  store:upsert('docs', { id = id, n = n or 1 })
  support.eventually(function()
    store:find('docs', id)
    return (keys:row('public.docs', id) or ''):sub(1, 1) == 'V'
  end)
end

local function look(...)
  return json.decode((command.run({ 'cache', 'docs', ..., '--json' }, served)).out)
end

-- An announcement of a transaction, as its writer would have left it.
local function announce(id, xid)
  server:cli('SET', keys:key('public.docs', id), ('T=%s%016x'):format(('r'):rep(16), xid))
end

local function number(sql) return tonumber(support.psql(db, sql):match('%d+')) end

describe('stores cache', function()
  it('shows what both hold, and that they agree', function()
    cached('1', 7)
    local out = command.must({ 'cache', 'docs', '1' }, served)
    assert.matches('^docs 1: they agree\n', out)
    assert.matches('\nRedis +{"n": 7, "id": "1"} %(for %d+ s more%)\n', out)
    assert.matches('\nPostgreSQL +{"n": 7, "id": "1"}\n', out)
    assert.truthy(out:find(keys:key('public.docs', '1'), 1, true), out)
    local report = look('1')
    assert.equal('agree', report.verdict)
    assert.equal('{"n": 7, "id": "1"}', report.redis.text)
    assert.equal('valid', report.epoch.state)
  end)

  it('tells "no such row" from nothing at all', function()
    keys:ready(store, 'public.docs')
    server:cli('DEL', keys:key('public.docs', '50'))
    assert.equal('absent', look('50').verdict)
    support.eventually(function()
      store:find('docs', '51')
      return keys:row('public.docs', '51') == 'N'
    end)
    local report = look('51')
    assert.equal('agree', report.verdict)
    assert.equal('none', report.redis.state)
    assert.equal(json.null, report.postgres)
  end)

  it('fails where they differ, until the row is invalidated', function()
    cached('2')
    support.psql(db, [[UPDATE docs SET value = '{"id": "2", "n": 9}' WHERE id = 2]])
    local result = command.run({ 'cache', 'docs', '2' }, served)
    assert.equal(1, result.code)
    assert.matches('^docs 2: they differ', result.out)
    assert.matches('Redis +{"n": 1, "id": "2"}', result.out)
    assert.matches('PostgreSQL +{"n": 9, "id": "2"}', result.out)
    local out = command.must({ 'invalidate', 'docs', '2' }, served)
    assert.equal('docs: 1 row to be read anew\n', out)
    assert.equal('absent', look('2').verdict)
    assert.equal(9, store:find('docs', '2').n)
  end)

  it('names the transaction that announced a change, and whose it is', function()
    cached('3')
    local other = stores.Store.new(support.config(db.database,
      { application_name = 'the writer' }), nil, { cache = false })
    other:transaction(function(tx)
      local xid = tx:query('SELECT pg_current_xact_id()::text AS xid')[1].xid
      announce('3', tonumber(xid))
      local result = command.run({ 'cache', 'docs', '3' }, served)
      assert.equal(0, result.code)
      assert.matches('^docs 3: a change of it was announced', result.out)
      assert.matches('transaction ' .. xid .. ' is in progress: process %d+ \'the writer\' of '
        .. db.user .. ', idle in transaction, its transaction since [%d.]+ s', result.out)
      local intent = look('3').redis.intents[1]
      assert.equal('in progress', intent.status)
      assert.equal('the writer', intent.application)
    end)
    other:close()
    assert.equal('committed', look('3').redis.intents[1].status)
    announce('3', number('SELECT pg_current_xact_id()') + 2 ^ 40)
    assert.equal('forgotten', look('3').redis.intents[1].status)
  end)

  it('tells of a prepared transaction', function()
    cached('4')
    if support.psql(db, 'SHOW max_prepared_transactions'):match('%d+') == '0' then return end
    support.psql(db, "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION 'kept'")
    announce('4', number("SELECT transaction FROM pg_prepared_xacts WHERE gid = 'kept'"))
    assert.equal('kept', look('4').redis.intents[1].gid)
    support.psql(db, "ROLLBACK PREPARED 'kept'")
  end)

  it('tells why rows of a table are not cached, and of a table that is not there', function()
    store:query('CREATE VIEW seen AS SELECT * FROM docs')
    cached('5')
    local out = command.must({ 'cache', 'seen', '5' }, served)
    assert.matches('^seen 5: rows of this table are not cached: a view\n', out)
    local result = command.run({ 'cache', 'nowhere', '5' }, served)
    assert.equal(1, result.code)
    assert.matches('there is no table nowhere', result.err)
    result = command.run({ 'cache', 'docs', 'x' }, served)
    assert.equal(2, result.code)
    assert.matches("'x' is no id", result.err)
  end)

  it('says that nothing counts under an epoch of another run', function()
    cached('6')
    server:cli('SET', keys:epoch_key('public.docs'), 'V' .. ('x'):rep(62) .. '+')
    assert.equal('nobody', look('6').verdict)
    server:cli('DEL', keys:epoch_key('public.docs'))
    assert.equal('nobody', look('6').verdict)
    keys:ready(store, 'public.docs')
  end)
end)

describe('stores cache verify', function()
  local function verify(...)
    local result = command.run({ 'cache', 'verify', 'docs', ... }, served)
    return result.code, result.out
  end

  it('compares everything that is cached', function()
    for id = 100, 130 do cached(tostring(id)) end
    local code, out = verify()
    assert.equal(0, code)
    local looked, agree = out:match('^docs: (%d+) cached rows compared with PostgreSQL, of '
      .. 'which (%d+) agree')
    -- another example may have left one that is announced
    local announced = tonumber(out:match('\n(%d+) are announced') or 0)
    assert.is_true(tonumber(agree) >= 31 and agree + announced == tonumber(looked), out)
  end)

  it('takes so many as it is told', function()
    for id = 100, 130 do cached(tostring(id)) end
    local code, out = verify('--sample', '10', '--json')
    assert.equal(0, code)
    assert.equal(10, json.decode(out).looked)
  end)

  it('finds what somebody changed and told nobody, until that is invalidated', function()
    for id = 100, 110 do cached(tostring(id)) end
    support.psql(db, "UPDATE docs SET value = value || '{\"n\": 2}' WHERE id = 105; "
      .. 'DELETE FROM docs WHERE id = 106')
    local code, out = verify()
    assert.equal(1, code)
    assert.matches('\n105 differs: Redis holds {"n": 1, "id": "105"}\n +PostgreSQL holds {"n": 2',
      out)
    assert.matches('\n106 differs: .-\n +PostgreSQL holds no such row', out)
    assert.truthy(out:find('`stores invalidate docs`', 1, true), out)
    command.must({ 'invalidate', 'docs' }, served)
    code, out = verify()
    assert.equal(0, code, out)
  end)

  it('counts what is announced, and finds nothing wrong in it', function()
    cached('107')
    local before = json.decode(select(2, verify('--json'))).intent -- of other specs
    announce('107', number('SELECT pg_current_xact_id()') + 2 ^ 40)
    local code, out = verify('--json')
    assert.equal(0, code)
    assert.equal(before + 1, json.decode(out).intent)
    server:cli('DEL', keys:key('public.docs', '107'))
  end)

  it('does not take what is written meanwhile for wrong', function()
    local program = command.start({ 'cache', 'verify', 'docs', '--json' }, served)
    for n = 1, 300 do store:upsert('docs', { id = tostring(100 + n % 10), n = n }) end
    local report = json.decode(program:wait())
    assert.equal(0, #report.differ)
  end)
end)

describe('stores invalidate', function()
  it('has all rows of a table read anew', function()
    cached('7')
    local before = keys:epoch('public.docs')
    support.psql(db, "UPDATE docs SET value = '{\"n\": 5}' WHERE id = 7")
    assert.equal('docs: all of its rows are read anew\n',
      (command.must({ 'invalidate', 'docs' }, served)))
    assert.not_equal(before, keys:epoch('public.docs'))
    assert.equal('V', keys:epoch('public.docs'):sub(1, 1))
    assert.equal(5, store:find('docs', '7').n)
  end)

  it('has the rows behind a view read anew, by one of its rows and by all of them', function()
    store:query('CREATE VIEW shown AS SELECT * FROM docs')
    for n, words in ipairs({ { 'invalidate', 'shown', '10' }, { 'invalidate', 'shown' } }) do
      cached('10', 0)
      support.psql(db, ("UPDATE docs SET value = '{\"n\": %d}' WHERE id = 10"):format(n))
      assert.equal(0, store:find('docs', '10').n)
      command.must(words, served)
      assert.equal(n, store:find('docs', '10').n)
    end
    store:query('DROP VIEW shown')
  end)

  it('says so where there is no cache', function()
    local result = command.run({ 'invalidate', 'docs' }, { db = db, redis = false })
    assert.equal(1, result.code)
    assert.matches('no Redis is configured', result.err)
  end)
end)

describe('stores sweep', function()
  it('takes away rows of dead epochs, and what is left of tables that are no more', function()
    store:query('CREATE TABLE going (id bigint PRIMARY KEY, value jsonb)')
    keys:ready(store, 'public.going')
    store:insert('going', { id = '1' })
    keys:becomes('public.going', '1', 'V')
    cached('8')
    local dead = { keys:key('public.docs', '8'), keys:key('public.going', '1'),
      keys:epoch_key('public.going') }
    command.must({ 'invalidate', 'docs' }, served)
    store:query('DROP TABLE going')
    cached('9')
    local report = json.decode((command.must({ 'sweep', '--json' }, served)))
    assert.is_true(report.rows >= 2)
    assert.equal(1, report.epochs)
    assert.equal('0', server:cli('EXISTS', unpack(dead)))
    assert.equal('1', server:cli('EXISTS', keys:key('public.docs', '9')))
    assert.matches('^removed: 0 rows of dead epochs, 0 epochs', (command.must({ 'sweep' }, served)))
  end)
end)
