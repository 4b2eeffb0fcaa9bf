--- The new side of a copy: nobody but the copy writes there, until all rows have come; then they
--- are its own.

local constraints = require('stores.copy.constraints')
local errors = require('stores.errors')
local json = require('stores.json')
local marks = require('stores.copy.marks')
local sequences = require('stores.copy.sequences')

local new = {}

local LEDGER = 'CREATE TABLE IF NOT EXISTS stores_copy (shard integer NOT NULL, name text NOT NULL,'
  .. ' last bigint NOT NULL, rows bigint NOT NULL, PRIMARY KEY (shard, name))'

local function check_empty(tx, side, at, one)
  if tx:query(('SELECT 1 AS one FROM %s LIMIT 1'):format(one.full))[1] then
    errors.raise('conflict', ('%s of %s has rows already: a copy goes into tables that are empty')
      :format(one.name, side:called(at)), { table = one.name })
  end
end

-- ---- Constraints that wait for the last row -----------------------------------------------------

local function kept(state)
  return state.keys and json.decode(state.keys) or {}
end

local function keep(tx, list)
  tx:query('UPDATE stores_shard SET keys = $1', { list and json.encode(json.array(list))
    or json.null })
end

--- Takes off what rows on their way would break, where that was not done: by the version before.
---@param work stores.copy.Work
---@param at integer
function new.loosen(work, at)
  marks.change(work.to.stores[at], function(tx)
    local state = marks.hold(tx, work)
    if state.state ~= 'unfinished' or state.keys then return end
    keep(tx, constraints.take(tx, work.reach))
  end)
end

-- One at a time, for rows that are many take long to be looked at. False: it was to stop.
local function fasten(work, at, said)
  while not work.stopping() do
    local one
    local ok, err = pcall(marks.change, work.to.stores[at], function(tx)
      local list = kept(marks.hold(tx, work))
      one = table.remove(list, 1)
      if not one then return end
      if not said.once then work.say('puts constraints back') end
      said.once = true
      constraints.put(tx, one)
      keep(tx, list)
    end)
    if not ok then errors.throw(constraints.failed(err, work.to, at, one)) end
    if not one then return true end
  end
  return false
end

--- Puts back what was taken off, behind the last row.
---@param work stores.copy.Work
---@return boolean finished false: it was to stop
---Raises constraint, conflict.
function new.fasten(work)
  local said, finished = {}, true
  for _, ended in ipairs(work.to:each(function(_, at) return fasten(work, at, said) end)) do
    finished = finished and ended
  end
  return finished
end

-- ---- Who writes ---------------------------------------------------------------------------------

-- Those of a copy that had begun to fill them, into which nobody else could write, have no rows
-- afterwards and all of their constraints. Elsewhere marked tables are what is left of an old side,
-- with rows of somebody's.
local function make_room(tx, all, state)
  local names = {}
  if state.state ~= 'unfinished' then return end
  for _, one in ipairs(all) do
    if one.is_marked then names[#names + 1] = one.full end
  end
  if names[1] then
    local others = constraints.take_into(tx, names)
    tx:query('TRUNCATE ' .. table.concat(names, ', '))
    for _, one in ipairs(others) do constraints.put(tx, one) end
  end
  for _, one in ipairs(kept(state)) do constraints.put(tx, one) end
  keep(tx, nil)
end

local function guard_all(work, at, tx, all, words)
  local chosen = marks.set_of(work.tables)
  for _, one in ipairs(all) do
    one.is_marked = false
    -- rows that come by the whole of it meet no trigger of a part
    local is_of = one.is_part and not one.is_spread and chosen[one.root]
    if chosen[one.name] or is_of then marks.guard(tx, one, words) end
    if chosen[one.name] then check_empty(tx, work.to, at, one) end
  end
end

--- Nobody but the copy writes from now on. Rows of a copy that was given up make room.
---@param work stores.copy.Work
---@param at integer
---Raises conflict, lock_timeout.
function new.unfinished(work, at)
  local side = work.to
  marks.change(side.stores[at], function(tx)
    marks.prepare(tx)
    tx:query(LEDGER)
    local now, name = marks.facts(tx)
    local all = marks.all_of(side, tx, work.ledger)
    tx:query('DELETE FROM stores_copy')
    local state = marks.lock(tx)
    marks.unguard(tx, all)
    make_room(tx, all, state)
    guard_all(work, at, tx, all, { marks.MOVED, ('the database %s does not own its rows yet: they '
      .. 'are being copied into it since %s'):format(name, now),
      'they belong to the old servers until that is done', work.copy })
    keep(tx, constraints.take(tx, work.reach))
    tx:query('UPDATE stores_shard SET copy = $1, runner = $2', { work.copy, work.runner })
    marks.set_state(tx, 'unfinished', ('they are being copied into it since %s, and belong to the '
      .. 'old servers until that is done'):format(now))
  end)
end

--- What the copy put there is gone, and it stays unfinished: the old side goes on without it.
---@param work stores.copy.Work
---@param at integer
---@param copy string which copy is given up
function new.give_up(work, at, copy)
  local side = work.to
  marks.change(side.stores[at], function(tx)
    marks.prepare(tx)
    local state = marks.lock(tx)
    if state.state ~= 'unfinished' or state.copy ~= copy then return end
    tx:query("SELECT set_config('stores.copy', $1, true)", { copy })
    local all = marks.all_of(side, tx, work.ledger)
    make_room(tx, all, state)
    marks.unguard(tx, all) -- there is nothing to be guarded, and migrations may come
    marks.drop_function(tx)
    tx:query('UPDATE stores_shard SET copy = NULL, runner = NULL, why = $1',
      { 'a copy into it was given up; another one begins it anew' })
  end)
end

local function open(work, at, cache, given)
  local side = work.to
  marks.change(side.stores[at], function(tx)
    if not marks.hold(tx, work).state then return end
    sequences.set(tx, sequences.of(side, tx, work.tables), given)
    marks.unguard(tx, marks.all_of(side, tx, work.ledger))
    marks.drop_function(tx)
    tx:query('DROP TABLE IF EXISTS stores_copy')
    tx:query('UPDATE stores_shard SET state = NULL, why = NULL, since = now(), runner = NULL,'
      .. ' keys = NULL')
    marks.tell(cache, work.tables)
  end)
end

--- Its rows are its own from now on.
---@param work stores.copy.Work
---@param at integer
---@param given stores.copy.Given[] what the sequences of the old side have given
---Raises conflict, cache_failure, lock_timeout.
function new.open(work, at, given)
  work.to:with_cache(at, function(cache)
    marks.tell(cache, work.tables)
    open(work, at, cache, given)
  end)
end

return new
