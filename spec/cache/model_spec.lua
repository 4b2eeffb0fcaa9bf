--- The protocol of docs/cache.md, checked exhaustively: no violation in the protocol, and each
--- mutant of it is caught. What checks it: model_checker_spec. STORES_MODEL_DEEP=1: larger bounds
--- (minutes). STORES_MODEL_TRACE=1: prints the counterexample of each mutant.
-- Plain pass alone: plain Lua over no server, with which a collector would take hours.

local checker = require 'spec.model.checker'
local rows = require 'spec.model.rows'
local epochs = require 'spec.model.epochs'
local explore_model = require 'spec.model.explore'

local deep, show = os.getenv 'STORES_MODEL_DEEP' == '1', os.getenv 'STORES_MODEL_TRACE' == '1'

local function set(words, into)
  for word in words:gmatch '%S+' do into[word] = true end
  return into
end

local function report(name, result)
  local end_ = result.violation and ('caught in %d steps'):format(#result.violation.trace - 1)
    or 'no violation'
  io.write(('\n%-70s %8d states %9d steps %5.1f s  %s'):format(name, result.states,
    result.transitions, result.seconds, end_))
  if result.violation and show then io.write('\n', checker.format(result.violation)) end
  io.flush()
end

local NAMES = { [rows] = 'rows', [epochs] = 'epochs' }

local function search(kind, config, with_goal)
  return explore_model(NAMES[kind], config, nil,
    with_goal and 'a state without intents, and without a turn')
end

-- Explores the correct protocol in one configuration, once however often it is asked for.
local explored = {}
local function explore(kind, case)
  if not explored[case] then
    explored[case] = search(kind, case.config, true)
    report(case.name, explored[case])
  end
  return explored[case]
end

local function holds(kind, case)
  local result = explore(kind, case)
  assert.is_nil(result.violation, result.violation and '\n' .. checker.format(result.violation))
  assert.is_true(result.complete)
  assert.is_true(result.states >= case.least, 'only ' .. result.states .. ' states')
end

-- The steps that the correct protocol took, over all the configurations of the normal suite: label
-- -> true.
local function steps_taken(kind, cases)
  local taken = {}
  for _, case in ipairs(cases) do
    if not case.deep then
      for label in pairs(explore(kind, case).labels) do taken[label] = true end
    end
  end
  return taken
end

-- The protocol itself in the bounds of a mutant, once for all mutants that have the same.
local controls = {}
local function control_of(kind, config)
  local words = {}
  for key, value in pairs(config) do
    words[#words + 1] = key .. '=' .. (type(value) == 'table' and table.concat(value, ' ')
      or tostring(value))
  end
  table.sort(words)
  local name = table.concat(words, ', ')
  controls[kind] = controls[kind] or {}
  if not controls[kind][name] then
    controls[kind][name] = search(kind, config)
    report('without a mutant: ' .. name, controls[kind][name])
  end
  return controls[kind][name]
end

-- The mutant lets a read go wrong; the protocol itself, in the same bounds and with the same
-- ingredients, does not.
local function is_caught(kind, mutant, bounds)
  local config = { mutant = mutant, invariant = false }
  for key, value in pairs(bounds) do config[key] = value end
  for key, value in pairs(kind.mutants[mutant].needs) do config[key] = value end
  local result = search(kind, config)
  report(mutant, result)
  assert.is_table(result.violation)
  assert.matches('^a read returned', result.violation.message)
  assert.is_true(#result.violation.trace > 5)

  config.mutant, config.invariant, config.forget = nil, true, true
  local control = control_of(kind, config)
  assert.is_nil(control.violation, control.violation and '\n' .. checker.format(control.violation))
  assert.is_true(control.complete)
  assert.is_true(control.states > result.states / 20)
end

-- Every label in the model's source was taken, but for those that only a mutant has.
local function covers(taken, kind, only_mutants)
  local source = ''
  for _, part in ipairs { 'writer', 'reader', 'others' } do
    local file = assert(io.open(('spec/model/%s/%s.lua'):format(NAMES[kind], part)))
    source = source .. file:read '*a'
    file:close()
  end
  local missing, known = {}, 0
  for label in source:gmatch "'(%l+: [^'\n]*)'" do
    known = known + 1
    local found = only_mutants[label] or taken[label]
    if label:sub(-2) == ', ' then -- a family: 'writer: dies, ' .. where
      for other in pairs(taken) do found = found or other:sub(1, #label) == label end
    end
    if not found then missing[#missing + 1] = label end
  end
  assert.are.same({}, missing)
  return known
end

local row_cases = {}
-- name, writers, readers, commits (false: any number), ingredients, least states, only when deep
for i, case in ipairs {
  { 'any number of transactions, crashes, late commits, eviction', 3, 2, false, 'crash evict',
    30000 },
  { 'rollbacks, inserts and deletes', 2, 2, false, 'crash evict rollback deletes', 50000 },
  { 'the same, 3 writers', 3, 1, false, 'crash evict rollback deletes', 50000 },
  { 'the same, 3 readers that do not die', 2, 3, false, 'evict rollback deletes', 100000 },
  { 'counted versions, 2 commits', 2, 2, 2, 'crash evict rollback deletes', 40000 },
  { 'writes outside Stores, INVALIDATE', 2, 2, false, 'crash evict rollback outside', 40000 },
  { 'the same, inserts and deletes', 2, 1, false, 'crash evict rollback deletes outside', 20000 },
  { 'the same, counted versions, 2 commits', 2, 2, 2, 'crash evict deletes outside', 50000 },
  { 'an administrator deletes keys that hold intents', 2, 2, false, 'crash evict rollback admin',
    40000 },
  { 'the same, inserts and deletes', 2, 1, false, 'crash evict rollback deletes admin', 20000 },
  { 'the same, counted versions, 2 commits', 2, 2, 2, 'crash evict admin', 20000 },
  { 'INTENT and SETTLE time out and are sent again', 2, 2, false, 'crash evict rollback again',
    150000 },
  { 'the same, counted versions, 1 commit', 2, 2, 1, 'crash evict again', 20000 },
  { 'savepoints that were rolled back', 2, 2, false, 'crash evict rollback deletes savepoint',
    60000 },
  { 'rows of other servers', 2, 2, false, 'crash evict rollback deletes workers', 60000 },
  { 'the same, counted versions, 3 commits', 2, 2, 3, 'crash evict workers', 40000 },
  { 'rows that are not locked', 2, 2, false, 'crash evict rollback deletes no_locks', 60000 },
  { 'everything but deletes at once', 2, 1, false,
    'crash evict rollback outside admin again savepoint', 150000 },
  { 'crashes, late commits, eviction, 3 readers', 3, 3, false, 'crash evict', 150000, deep = true },
  { 'rollbacks, inserts and deletes, 3 readers', 2, 3, false, 'crash evict rollback deletes',
    250000, deep = true },
  { 'rollbacks, inserts and deletes, 3 writers', 3, 2, false, 'crash evict rollback deletes',
    350000, deep = true },
  { 'counted versions, 3 commits', 2, 2, 3, 'crash evict rollback deletes', 150000, deep = true },
  { 'INTENT and SETTLE are sent again, counted versions, 2 commits', 2, 2, 2, 'crash evict again',
    100000, deep = true },
  { 'writes outside Stores, inserts and deletes', 2, 2, false,
    'crash evict rollback deletes outside', 130000, deep = true },
  { 'an administrator, inserts and deletes', 2, 2, false, 'crash evict rollback deletes admin',
    130000, deep = true },
  { 'everything at once', 2, 2, false, 'crash evict rollback deletes outside admin again savepoint',
    5000000, deep = true },
  { '3 writers and 3 readers, rollbacks and deletes', 3, 3, false, 'crash evict rollback deletes',
    1500000, deep = true },
  { 'counted versions, 3 commits', 3, 3, 3, 'crash evict', 400000, deep = true },
} do
  row_cases[i] = {
    name = ('%s (%dW %dR)'):format(case[1], case[2], case[3]), least = case[6], deep = case.deep,
    config = set(case[5], { writers = case[2], readers = case[3], commits = case[4] or nil }),
  }
end

local epoch_cases = {}
-- name, writers, readers, turners, commits (false: any number), roles, ingredients, least states,
-- only when deep
for i, case in ipairs {
  { 'bulk and row writers, Redis wiped, dead epochs kept', 2, 1, 1, false, 'row bulk',
    'evict rollback wipe', 100000 },
  { 'the same, whose processes die, 2 readers', 1, 2, 1, false, 'row bulk',
    'crash evict rollback wipe', 50000 },
  { 'two processes end turns', 2, 1, 2, false, 'row bulk', 'evict wipe forget', 40000 },
  { 'a writer in bypass', 2, 1, 1, false, 'row bulk bypass', 'crash evict rollback wipe forget',
    80000 },
  { 'a writer at a demoted Redis', 2, 1, 1, false, 'row bulk demoted',
    'crash evict rollback wipe forget', 20000 },
  { 'Redis comes back with an old dump', 2, 1, 1, false, 'row', 'crash dump forget', 50000 },
  { 'the same, dead epochs kept', 1, 1, 1, false, 'row bulk', 'crash evict dump wipe', 120000 },
  { 'PostgreSQL goes on from an older copy', 2, 1, 1, false, 'row bulk',
    'crash rollback past forget', 30000 },
  { 'the same, with bypass, and dead epochs kept', 1, 1, 1, false, 'row bulk bypass',
    'crash evict past wipe', 25000 },
  { 'a writer outside Stores, INVALIDATE, dead epochs kept', 2, 1, 1, false, 'row outside',
    'evict blind', 100000 },
  { 'every role, turned at any time', 2, 1, 1, false, 'row bulk bypass outside',
    'crash evict rollback wipe blind forget',
    50000 },
  { 'the same, counted versions, 2 commits', 2, 1, 1, 2, 'row bulk bypass outside',
    'crash evict wipe blind forget', 30000 },
  { 'rows that a trigger reaches, which others add at any time', 2, 1, 1, false, 'row reach',
    'crash evict rollback wipe ddl forget', 20000 },
  { 'writers that believe in another server, behind a pooler', 2, 1, 1, false, 'row stranger',
    'crash evict rollback wipe forget', 20000 },
  { 'writers of a version that has its rows under other keys', 2, 1, 1, false, 'row older',
    'crash evict rollback wipe forget', 20000 },
  { 'statements outside of transactions, whose process may die', 2, 1, 1, false, 'row alone',
    'crash evict wipe forget', 20000 },
  { 'the same, counted versions, 2 commits, two end turns', 2, 1, 2, 2, 'row alone',
    'crash evict forget', 20000 },
  { 'a slot moves between nodes', 2, 1, 1, false, 'row bulk', 'evict move forget', 100000 },
  { 'the same, whose processes die, 2 readers', 1, 2, 1, false, 'row bulk',
    'crash evict rollback move forget', 50000 },
  { 'the same, counted versions, 1 commit', 2, 1, 1, 1, 'row bypass outside',
    'crash evict move forget', 30000 },
  { 'the same, dead epochs kept', 1, 1, 1, false, 'row bulk', 'crash evict move', 10000 },
  { 'rows of other servers', 2, 1, 1, false, 'row bulk', 'crash evict rollback wipe workers forget',
    20000 },
  { 'the same, counted versions, 2 commits, two end turns', 2, 1, 2, 2, 'row bulk',
    'crash evict workers forget', 20000 },
  { 'two writers that die, Redis wiped, dead epochs kept', 2, 1, 1, false, 'row bulk',
    'crash evict rollback wipe', 150000, deep = true },
  { 'two processes end turns, and die', 2, 1, 2, false, 'row bulk', 'crash evict wipe forget',
    100000, deep = true },
  { 'bulk and row writers, an old dump', 2, 1, 1, false, 'row bulk', 'crash dump forget', 400000,
    deep = true },
  { 'outside Stores, INVALIDATE, processes die', 2, 1, 1, false, 'row outside',
    'crash evict blind', 150000, deep = true },
  { 'a slot moves, two writers that die', 2, 1, 1, false, 'row bulk',
    'crash evict rollback move forget', 400000, deep = true },
  { 'a slot moves, counted versions, 2 commits', 2, 1, 1, 2, 'row bypass outside',
    'crash evict move forget', 300000, deep = true },
  { 'bulk and row writers, dead epochs kept', 2, 2, 1, false, 'row bulk', 'crash evict wipe',
    2000000, deep = true },
  { 'two processes end turns', 2, 2, 2, false, 'row bulk', 'crash evict wipe forget', 150000,
    deep = true },
  { 'a writer in bypass', 2, 2, 1, false, 'row bulk bypass', 'crash evict rollback wipe forget',
    100000, deep = true },
  { 'every role, two end turns, wiped', 2, 2, 2, false, 'row bulk bypass outside',
    'crash evict rollback wipe blind forget',
    500000, deep = true },
  { 'every role, two end turns, old dump', 2, 1, 2, false, 'row bulk bypass',
    'crash evict wipe dump forget', 500000,
    deep = true },
  { 'every role, three writers', 3, 2, 1, false, 'row bulk bypass', 'crash evict wipe forget',
    500000, deep = true },
} do
  local roles = {}
  for role in case[6]:gmatch '%S+' do roles[#roles + 1] = role end
  epoch_cases[i] = {
    name = ('%s (%dW %dR %dT)'):format(case[1], case[2], case[3], case[4]), least = case[8],
      deep = case.deep,
    config = set(case[7], { writers = case[2], readers = case[3], turners = case[4],
      commits = case[5] or nil, roles = roles }),
  }
end

local function every(kind, cases)
  for _, case in ipairs(cases) do
    if deep or not case.deep then
      it(case.name, function() holds(kind, case) end)
    end
  end
end

describe('the row protocol has no violation', function()
  every(rows, row_cases)

  it('and each of its steps was taken', function()
    local taken = steps_taken(rows, row_cases)
    local known = covers(taken, rows, {
      ['writer: DEL after COMMIT'] = true, ['writer: SET if newer'] = true,
        ['writer: INTENT for no row'] = true,
      ['reader: joins a read that runs'] = true,
        ['reader: T timed out, SETTLE for its writer'] = true,
      ['redis: a late copy of LEASE arrives, of reader'] = true,
    })
    assert.is_true(known > 60, known)
    for _, where in ipairs { 'wrote', 'intent', 'COMMIT sent', 'committed', 'acked', 'rolled back',
      'no row', 'savepoint undone', 'savepoint, intent', 'prepared' } do
      assert.is_true(taken['writer: dies, ' .. where], where)
    end
    for _, where in ipairs { 'missed', 'leased', 'selected', 'answered', 'waits', 'meets T' } do
      assert.is_true(taken['reader: dies, ' .. where], where)
    end
  end)
end)

describe('the epoch protocol has no violation', function()
  every(epochs, epoch_cases)

  it('and each of its steps was taken', function()
    local taken = steps_taken(epochs, epoch_cases)
    local known = covers(taken, epochs, {
      ['writer: learns the epoch'] = true, ['writer: sets B<new> after COMMIT'] = true,
      ['writer: sets B<new>, will run its statement'] = true,
        ['writer: turns the table once more'] = true,
      ['writer: BEGIN, DML of another row, and does not know of the trigger'] = true,
      ['reader: learns the epoch'] = true, ['reader: GET hits'] = true,
    })
    assert.is_true(known > 50, known)
    for _, where in ipairs { 'wrote', 'ready', 'COMMIT sent', 'committed', 'acked',
      'rolled back' } do
      assert.is_true(taken['writer: dies, ' .. where], where)
    end
    for _, where in ipairs { 'missed', 'leased', 'selected' } do
      assert.is_true(taken['reader: dies, ' .. where], where)
    end
    for _, where in ipairs { 'saw B', 'waits' } do
      assert.is_true(taken['turner: dies, ' .. where], where)
    end
  end)
end)

local function sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end

describe('the row checker catches', function()
  for _, mutant in ipairs(sorted_keys(rows.mutants)) do
    it(mutant, function() is_caught(rows, mutant, { writers = 2, readers = 2, commits = 3 }) end)
  end
end)

describe('the epoch checker catches', function()
  for _, mutant in ipairs(sorted_keys(epochs.mutants)) do
    it(mutant, function() is_caught(epochs, mutant, { writers = 2, readers = 2, turners = 1,
      commits = 2 }) end)
  end
end)
