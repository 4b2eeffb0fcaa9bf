--- Bank transfers: 64 coroutines of 4 processes move money between 1,000 accounts, in transactions
--- of several kinds, some of which raise in the middle. The sum is the same at every moment, and in
--- the end each account knows of exactly the transfers that were committed.
---
--- STORES_BANK_SECONDS: for how long, 2 where it is not set.
-- Plain pass alone: a thousand accounts take what the other passes have no time for.

local process = require('spec.support.process')
local stores = require('stores')
local support = require('spec.support')

local SECONDS = tonumber(os.getenv('STORES_BANK_SECONDS')) or 2
local PROCESSES, COROUTINES = 4, 16
local ACCOUNTS, EACH = 1000, 100

-- One of the processes. It ends by itself, and tells how many transfers it made, how many raised.
local TELLER = [==[
  local stores = require('stores')
  local store = stores.Store.new(
    { host = %q, port = %q, database = %q, user = %q, pooler = %s, poolsize = 8,
      application_name = 'teller' },
    { path = %q, opts = { timeout = 2 } })
  local seed, seconds, coroutines, accounts = %d, %g, %d, %d
  math.randomseed(seed)
  local random = math.random

  local function pay(tx, from, to, amount, raises)
    tx:patch('accounts', from, { inc = { balance = -amount, moves = 1 } })
    if raises then error('refused', 0) end
    tx:patch('accounts', to, { inc = { balance = amount, moves = 1 } })
  end

  local kinds = {}

  kinds.inc = { isolation = 'read committed', run = pay }

  -- What was read is written back: without the retries an update in between would be lost.
  kinds.whole = { isolation = 'repeatable read', run = function(tx, from, to, amount, raises)
    for id, change in pairs({ [from] = -amount, [to] = amount }) do
      local doc = tx:find('accounts', id)
      doc.balance, doc.moves = doc.balance + change, doc.moves + 1
      tx:update('accounts', doc)
      if raises then error('refused', 0) end
    end
  end }

  kinds.text = { isolation = 'serializable', run = function(tx, from, to, amount, raises)
    local rows = tx:query("SELECT (value->>'balance')::int AS balance FROM accounts WHERE id = $1",
      { from })
    pay(tx, from, to, amount + 0 * rows[1].balance, raises)
  end }

  -- A savepoint that raises takes its half back, and the transaction goes on to make all of it.
  kinds.again = { isolation = 'read committed', run = function(tx, from, to, amount, raises)
    pcall(tx.transaction, tx, function(inner) pay(inner, from, to, 2 * amount, true) end)
    pay(tx, from, to, amount, raises)
  end }

  local names = { 'inc', 'whole', 'text', 'again' }
  local made, refused = 0, 0
  local list = {}
  for i = 1, coroutines do list[i] = i end
  stores.map(list, function()
    local over = store.hub:now() + seconds
    while store.hub:now() < over do
      local from, to = random(accounts), random(accounts - 1)
      if to >= from then to = to + 1 end
      local kind, raises = kinds[names[random(#names)]], random(8) == 1
      local ok, err = pcall(store.transaction, store, function(tx)
        kind.run(tx, tostring(from), tostring(to), random(10), raises)
      end, { isolation = kind.isolation, retries = 100, timeout = 60 })
      if ok then
        made = made + 1
      elseif err == 'refused' and raises then
        refused = refused + 1
      else
        error(err, 0)
      end
      -- so that the cache has something to be wrong about
      store:find('accounts', tostring(random(accounts)))
    end
  end)
  store:close()
  print(made .. ' ' .. refused)
]==]

describe('A bank of 1,000 accounts #slow', function()
  local store, db, tellers

  setup(function()
    store, db = support.store({ 'accounts' })
    store:query([[INSERT INTO accounts
      SELECT i, jsonb_build_object('id', i::text, 'balance', ]] .. EACH .. [[, 'moves', 0)
      FROM generate_series(1, ]] .. ACCOUNTS .. [[) i]])
    tellers = {}
  end)

  teardown(function()
    for _, teller in ipairs(tellers) do teller:kill() end
    support.close(store, db)
  end)

  local function start(number, errors)
    return process.lua(TELLER:format(db.host, tostring(db.port), db.database, db.user,
      db.pooler and ('%q'):format(db.pooler) or 'nil', support.redis().path,
      os.time() * PROCESSES + number, SECONDS, COROUTINES, ACCOUNTS), errors)
  end

  -- Processes of the bank that have a connection.
  local function working()
    return store:query("SELECT count(*) AS n FROM pg_stat_activity WHERE datname = $1"
      .. " AND application_name = 'teller'", { db.database }, { readonly = true })[1].n > 0
  end

  -- Every balance, and the sum, in one snapshot but by two statements.
  local function audit()
    return store:transaction(function(tx)
      local sum = 0
      for _, doc in ipairs(tx:findAll('accounts')) do sum = sum + doc.balance end
      stores.sleep(0.01)
      local rows = tx:query("SELECT sum((value->>'balance')::numeric) AS s FROM accounts")
      return sum, rows[1].s
    end, { isolation = 'repeatable read', readonly = true })
  end

  it('has the same sum at every moment, in snapshots, and through the cache at the end', function()
    local errors = os.tmpname()
    for number = 1, PROCESSES do tellers[number] = start(number, errors) end
    support.eventually(working, 20)
    local audits = 0
    stores.run(function()
      local function auditor()
        while working() do
          local found, summed = audit()
          assert.equal(ACCOUNTS * EACH, found)
          assert.equal(ACCOUNTS * EACH, summed)
          audits = audits + 1
        end
      end
      stores.all({ auditor, auditor })
    end)
    local made, refused = 0, 0
    for number, teller in ipairs(tellers) do
      local told, raised = teller:wait():match('^(%d+) (%d+)\n$')
      assert(told, 'process ' .. number .. ' failed: ' .. io.open(errors):read('*a'))
      made, refused = made + told, refused + raised
    end
    os.remove(errors)
    assert.is_true(audits > 5, tostring(audits))
    assert.is_true(made > 100 and refused > 10, made .. ' ' .. refused)

    local ids, sum, moves = {}, 0, 0
    for i = 1, ACCOUNTS do ids[i] = tostring(i) end
    store:findAllByIds('accounts', ids)
    local hits = store:stats().hits
    support.eventually(function()
      hits = store:stats().hits
      store:findAllByIds('accounts', ids)
      return store:stats().hits - hits == ACCOUNTS
    end)
    local cached = store:findAllByIds('accounts', ids)
    assert.equal(ACCOUNTS, #cached)
    assert.same(store:findAll('accounts'), cached)
    for _, doc in ipairs(cached) do sum, moves = sum + doc.balance, moves + doc.moves end
    assert.equal(ACCOUNTS * EACH, sum)
    assert.equal(2 * made, moves)
  end)
end)
