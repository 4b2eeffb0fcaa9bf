--- Moves the rows of databases into others: from n shards to m, from a store to shards or back. The
--- old side is read, and written by nobody, until the new one has all of it; then its rows are the
--- new side's, at once and for good.
---
--- What is done when, and who goes on with it when this process is killed after it:
---   1 claim        every database says which copy it is of; the new side writes for nobody else
---   2 read_only    every database of the old side refuses writes
---   3 rows         copied; stores_copy of the new side has how far that is. Constraints that they
---                would break one by one are put back behind the last one
---   4 compare      counts and hashes of both sides
---   5 move         database by database the old side owns no rows any more. The first one decides:
---                  one transaction, before which all can be given up, and behind which nothing can
---   6 open         database by database the new side owns them

local compare = require('stores.copy.compare')
local constraints = require('stores.copy.constraints')
local errors = require('stores.errors')
local json = require('stores.json')
local lock = require('stores.migrate.lock')
local marks = require('stores.copy.marks')
local new_side = require('stores.copy.new')
local old_side = require('stores.copy.old')
local options = require('stores.config.options')
local random = require('stores.random')
local rows = require('stores.copy.rows')
local sequences = require('stores.copy.sequences')
local sides = require('stores.copy.sides')
local tables = require('stores.copy.tables')
local tasks = require('stores.tasks')

local copy = {}

---@class stores.CopyOptions
---@field tables? string[] those that are copied; nil: all
---@field abort? boolean gives up a copy that has not switched yet
---@field batch? integer rows of a batch at most; 5000
---@field ledger? string the table that says which migrations ran; 'migrations'
---@field progress? fun(count: integer, total: integer) rows that are there, of all
---@field say? fun(text: string) what is done next
---@field stopping? fun(): boolean whether it is to stop at the next safe place

---@class stores.copy.Work
---@field from stores.copy.Side
---@field to stores.copy.Side
---@field copy string the id of the copy
---@field runner string the id of this run of it
---@field tables stores.copy.Table[]
---@field reach table<string, table<string, true>> the tables that each refers to, by name
---@field is_spread boolean[] whether a database of the new side is one of Citus
---@field batch integer
---@field ledger string?
---@field stopping fun(): boolean
---@field count fun(rows: integer) counts rows that were copied
---@field say fun(text: string)

---@class stores.CopyResult
---@field finished boolean false: it was to stop; the same call goes on
---@field aborted boolean it was given up
---@field tables {name: string, count: integer, hash: string}[]
---@field rows integer copied by this call

local BATCH = 5000

---@type stores.OptionSpec
local OPTIONS = {
  where = 'the options of a copy', aliases = {},
  keys = { tables = options.names, abort = options.boolean, batch = options.integer(1, 1e6),
    ledger = options.text, progress = options.callback('fun(count: integer, total: integer)'),
    say = options.callback('fun(text: string)'), stopping = options.callback('fun(): boolean') },
}

local function nothing() end
local function never() return false end

-- ---- Where it stands ----------------------------------------------------------------------------

local function states(side)
  local found = {}
  for at, state in ipairs(side:each(function(store) return marks.read(store) or false end)) do
    found[at] = state or {}
  end
  return found
end

local function refuse(side, at, message)
  errors.raise('conflict', ('%s %s'):format(side:called(at), message), { shard = at - 1 })
end

-- Whether all of them are in a state; nil is one, too.
local function all_are(found, state, id)
  for _, one in ipairs(found) do
    if one.state ~= state or one.copy ~= id then return false end
  end
  return true
end

-- A copy has begun, and was not ended; of one that was, a database still knows the id.
local function is_active(state)
  return state.state ~= nil or state.runner ~= nil
end

-- The copy that the old side is of, or nil. All of it has to be of that one.
local function old_copy(work, old)
  local id = is_active(old[1]) and old[1].copy or nil
  for at, one in ipairs(old) do
    if one.state == 'unfinished' then
      refuse(work.from, at, 'is itself being filled by a copy')
    elseif one.state and one.copy ~= id then
      refuse(work.from, at, ('is %s by a copy that was given up, or is another one: --abort ends '
        .. 'that'):format(one.state))
    end
  end
  return id
end

-- Whether the new side is one into which that copy may go, or goes already.
local function check_new(work, old, new, id)
  local is_marked = id and (old[1].state ~= nil)
  for at, one in ipairs(new) do
    if one.state == 'read_only' or one.state == 'moved' then
      refuse(work.to, at, ('is %s: its rows are copied to other databases themselves'):format(
        one.state))
    elseif one.state == 'unfinished' and one.copy and one.copy ~= id then
      refuse(work.to, at, 'is being filled by another copy')
    elseif is_marked and one.copy ~= id then
      refuse(work.to, at, 'is not where the old side is being copied to; a copy to another place '
        .. 'begins when that one was ended by --abort')
    end
  end
end

-- ---- The steps ----------------------------------------------------------------------------------

local function each_place(side, fn)
  for at = 1, side.size do fn(at) end
end

local function claim(work, old, new)
  work.say('marks both sides')
  local names = {}
  for i, one in ipairs(work.tables) do names[i] = one.name end
  local text = json.encode(names)
  each_place(work.from, function(at)
    marks.claim(work.from.stores[at], work.copy, work.runner, text)
  end)
  each_place(work.to, function(at)
    if old[1].state or new[at].state == 'unfinished' and new[at].copy == work.copy then
      marks.claim(work.to.stores[at], work.copy, work.runner, text)
      if old[1].state ~= 'moved' then new_side.loosen(work, at) end
    else
      new_side.unfinished(work, at)
    end
  end)
end

local function total_of(work)
  local sum = 0
  for _, one in ipairs(work.tables) do
    for _, count in ipairs(work.from:each(function(store)
      return store:query(('SELECT count(*)::float8 AS count FROM %s'):format(one.rows), {},
        { transaction = false, readonly = true })[1].count
    end)) do sum = sum + count end
  end
  return sum
end

-- Table after table, of each the databases of the old side side by side.
local function copy_rows(work, opts)
  local known, before = {}, 0
  for at, store in ipairs(work.to.stores) do
    local count
    known[at], count = rows.places(store)
    work.is_spread[at] = tables.is_citus(store)
    before = before + count
  end
  local total = opts.progress and total_of(work)
  local done = before
  function work.count(count)
    done = done + count
    work.copied = work.copied + count
    if opts.progress then opts.progress(done, total) end
  end
  work.say(before > 0 and ('goes on behind %d rows'):format(before) or 'copies rows')
  for _, one in ipairs(work.tables) do
    local places = {}
    for at = 1, work.from.size do places[at] = at end
    for _, finished in ipairs(tasks.map(places, function(at)
      return rows.copy(work, at, one, known)
    end, {})) do
      if not finished then return false end
    end
  end
  return true
end

-- Before the switch, so that a sequence that cannot take that says so in time; and behind it,
-- when nobody can get a value of the old ones any more.
local function carry_sequences(work)
  local all = work.from:each(function(store)
    return sequences.given(store, sequences.of(work.from, store, work.tables))
  end)
  each_place(work.to, function(at)
    marks.change(work.to.stores[at], function(tx)
      marks.hold(tx, work)
      sequences.set(tx, sequences.of(work.to, tx, work.tables), all)
    end)
  end)
end

local function switch(work)
  work.say('switches')
  each_place(work.from, function(at) old_side.move(work, at) end)
  local given = {}
  for at, state in ipairs(states(work.from)) do
    given[at] = state.sequences and json.decode(state.sequences) or {}
  end
  each_place(work.to, function(at) new_side.open(work, at, given) end)
end

local function result_of(work, finished, sums)
  return { finished = finished, aborted = false, tables = sums, rows = work.copied }
end

local function compare_all(work)
  work.say('compares both sides')
  local sums = {}
  for i, one in ipairs(work.tables) do
    local sum = compare.table(work, one)
    sums[i] = { name = one.name, count = sum.count, hash = sum.hash }
  end
  return sums
end

-- Whoever goes on names the same tables, in whatever order and however they are written.
local function check_same(chosen, names)
  local known, met, all = {}, {}, {}
  for i, one in ipairs(chosen) do
    known[one.name], known[one.full], all[i] = one, one, one.name
  end
  local is_same = true
  for _, name in ipairs(names) do
    if known[name] then met[known[name]] = true else is_same = false end
  end
  for _, one in ipairs(chosen) do is_same = is_same and met[one] end
  if is_same then return end
  errors.raise('invalid_argument', 'the copy that goes on is of the tables '
    .. table.concat(all, ' '))
end

-- Those that the copy began with, where it has begun.
local function take_tables(work, old, id, opts)
  local before = id and old[1].tables and json.decode(old[1].tables)
  local has_moved = old[1].state == 'moved'
  work.tables = tables.wanted(has_moved and work.to or work.from, before or opts.tables,
    opts.ledger)
  if before and opts.tables then check_same(work.tables, opts.tables) end
  if has_moved then return end
  tables.check(work.from, work.to, work.tables, opts.ledger)
  local edges = constraints.edges(work.to)
  work.tables = constraints.in_order(work.tables, edges)
  work.reach = constraints.reach(work.tables, edges)
  sequences.check(work, opts.tables ~= nil)
  work.from:check_rights()
  if not old[1].state then compare.no_strays(work.from, work.tables) end
end

local function begin(work, opts)
  local old, new = states(work.from), states(work.to)
  local id = old_copy(work, old)
  if id and all_are(old, 'moved', id) and all_are(new, nil, id) then
    return result_of(work, true, {}) -- nothing is left to be done
  end
  check_new(work, old, new, id)
  work.copy = id or random.name(work.from.stores[1])
  if id then
    -- a process that was killed may still have got on, until it is fenced off
    each_place(work.from, function(at) marks.claim(work.from.stores[at], id, work.runner) end)
    old, new = states(work.from), states(work.to)
  end
  take_tables(work, old, id, opts)
  work.from:settle()
  work.to:settle()
  claim(work, old, new)
  local sums = {}
  if old[1].state ~= 'moved' then
    each_place(work.from, function(at) old_side.read_only(work, at) end)
    if work.stopping() or not copy_rows(work, opts) or not new_side.fasten(work) then
      return result_of(work, false, {})
    end
    carry_sequences(work)
    sums = compare_all(work)
  end
  switch(work)
  return result_of(work, true, sums)
end

-- The new side of copies that are given up; where it is gone, or of another copy, it is told of.
local function give_up_new(work, ids)
  each_place(work.to, function(at)
    local ok, err = pcall(function()
      local state = marks.read(work.to.stores[at])
      if not state or state.state ~= 'unfinished' or not state.copy then return end
      if not ids[state.copy] then refuse(work.to, at, 'is being filled by another copy') end
      new_side.give_up(work, at, state.copy)
    end)
    if not ok then
      work.say(('%s was not told, and stays as it is: %s'):format(work.to:called(at),
        tostring(err)))
    end
  end)
end

-- The old side last: as long as it is not free, the same call can end what is left.
local function abort(work)
  local ids = {}
  for at, one in ipairs(states(work.from)) do
    if is_active(one) and one.copy then
      marks.claim(work.from.stores[at], one.copy, work.runner) -- nobody switches from here on
    end
    if one.copy then ids[one.copy] = true end
  end
  local old = states(work.from)
  for at, one in ipairs(old) do
    if one.state == 'moved' then
      refuse(work.from, at, 'has moved: the same command without --abort ends what is left')
    end
  end
  give_up_new(work, ids)
  each_place(work.from, function(at)
    if is_active(old[at]) then old_side.lift(work, at) end
  end)
  return { finished = false, aborted = true, tables = {}, rows = 0 }
end

-- ---- The call -----------------------------------------------------------------------------------

local function refuse_second(event)
  if event.event ~= 'waiting' then return end
  errors.raise('conflict', ('another copy of the old side is at work%s'):format(
    event.holder and ' (' .. event.holder .. ')' or ''))
end

local function perform(work, opts)
  work.from:check()
  if not opts.abort then
    work.to:check()
    sides.apart(work.from, work.to)
  end
  return lock.hold(work.from.stores[1], { key = 'stores/copy' }, { limit = 1,
    notify = refuse_second }, function()
    if opts.abort then return abort(work) end
    return begin(work, opts)
  end)
end

local function with_sides(from, to, opts)
  local opened = {}
  local ok, result = pcall(function()
    -- the lock, a look, and one of each stream of the other side
    opened[1] = sides.open(from, 'the old side', 4)
    opened[2] = sides.open(to, 'the new side', opened[1].size + 3)
    local work = { from = opened[1], to = opened[2], batch = opts.batch or BATCH, copied = 0,
      ledger = opts.ledger, stopping = opts.stopping or never, say = opts.say or nothing,
      count = nothing, tables = {}, reach = {}, is_spread = {} }
    work.runner = random.name(work.from.stores[1])
    return perform(work, opts)
  end)
  for _, side in ipairs(opened) do side:close() end
  if not ok then errors.throw(result) end
  return result
end

--- Copies all rows of a side to where they belong on another one, and switches to it. Whoever was
--- killed goes on by the same call.
---@param from stores.copy.Place as Store.new or Shards.new take it: {db =, redis =, opts =}, or
---{shards =, opts =}
---@param to stores.copy.Place
---@param opts? stores.CopyOptions
---@return stores.CopyResult
---Raises conflict, not_migrated, unsupported, shard_mismatch, lock_timeout, cache_failure.
function copy.run(from, to, opts)
  local checked = options.check(opts, OPTIONS)
  if checked.tables and not checked.tables[1] then checked.tables = nil end
  return tasks.run(with_sides, from, to, checked)
end

return copy
