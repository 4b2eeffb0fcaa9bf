--- The old side of a copy: its rows are read and not written, and then not its own any more.

local away = require('stores.copy.away')
local errors = require('stores.errors')
local marks = require('stores.copy.marks')
local sequences = require('stores.copy.sequences')
local tables = require('stores.copy.tables')

local old = {}

local BACK = 'stores copy with --abort takes writes again here'
local ONWARD = 'use the configuration of the databases that they went to'

--- Writes are refused from now on, by all tables; those that were under way are over.
---@param work stores.copy.Work
---@param at integer
---Raises lock_timeout, conflict.
function old.read_only(work, at)
  local side = work.from
  marks.change(side.stores[at], function(tx)
    if marks.hold(tx, work).state then return end
    marks.prepare(tx)
    local now, name = marks.facts(tx)
    local message = ('the database %s takes no writes since %s: its rows are being copied to other '
      .. 'databases'):format(name, now)
    for _, one in ipairs(marks.all_of(side, tx, work.ledger)) do
      marks.guard(tx, one, { marks.READ_ONLY, message, BACK })
    end
    marks.set_state(tx, 'read_only', ('since %s its rows are being copied to other databases')
      :format(now))
  end)
end

--- Writes are taken again.
---@param work stores.copy.Work
---@param at integer
---Raises conflict.
function old.lift(work, at)
  local side = work.from
  marks.change(side.stores[at], function(tx)
    if marks.lock(tx).state == 'moved' then
      errors.raise('conflict', ('the rows of %s have moved: the same command without --abort ends '
        .. 'what is left to be done'):format(side:called(at)))
    end
    marks.unguard(tx, marks.all_of(side, tx, work.ledger))
    marks.drop_function(tx)
    -- which copy it was of it still says: to end what is left of that on the new side
    tx:query('UPDATE stores_shard SET state = NULL, why = NULL, since = NULL, runner = NULL')
  end)
end

-- Tables that could be written: made, or freed, while the copy went on.
local function check_guards(side, at, all)
  for _, one in ipairs(all) do
    if not one.is_marked then
      errors.raise('conflict', ('%s has the table %s, which takes writes: it was made while the '
        .. 'copy went on, or its trigger stores_refuse was dropped'):format(side:called(at),
        one.name), { table = one.name })
    end
  end
end

-- A column that was added, or given another type, no row was read with.
local function check_shapes(side, at, all, chosen)
  local shapes = {}
  for _, one in ipairs(chosen) do shapes[one.name] = tables.shape(one) end
  for _, one in ipairs(all) do
    if shapes[one.name] and shapes[one.name] ~= tables.shape(one) then
      errors.raise('conflict', ('%s of %s has other columns than those that were copied: %s')
        :format(one.name, side:called(at), tables.shape(one)), { table = one.name,
          hint = 'take that back, and the same call goes on' })
    end
  end
end

local function lock_all(tx, all)
  local names = {}
  for i, one in ipairs(all) do names[i] = one.full end
  tx:query(('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE'):format(table.concat(names, ', ')))
end

-- The rows of a database are nobody's from here on, until the new side has them.
local function move(work, at, cache)
  local side, chosen = work.from, marks.set_of(work.tables)
  marks.change(side.stores[at], function(tx)
    if marks.hold(tx, work).state == 'moved' then return end
    local all, counted = marks.all_of(side, tx, work.ledger), sequences.of(side, tx, work.tables)
    lock_all(tx, all)
    check_guards(side, at, all)
    check_shapes(side, at, all, work.tables)
    away.prepare(tx, all, counted)
    local now, name = marks.facts(tx)
    local words = { marks.MOVED, ('the rows of the database %s went to other databases at %s')
      :format(name, now), ONWARD }
    for _, one in ipairs(all) do
      marks.guard(tx, one, words)
      if chosen[one.name] or one.is_part then away.table(tx, one, words) end
    end
    tx:query('UPDATE stores_shard SET sequences = $1', { sequences.put_away(tx, counted) })
    marks.set_state(tx, 'moved', ('they went to other databases at %s; %s'):format(now, ONWARD))
    -- nobody reads the tables now, and what was cached of them no longer counts
    marks.tell(cache, work.tables)
  end)
end

--- Rows are neither read nor written from now on, not even from a cache.
---@param work stores.copy.Work
---@param at integer
---Raises conflict, cache_failure, lock_timeout.
function old.move(work, at)
  work.from:with_cache(at, function(cache)
    marks.tell(cache, work.tables) -- a name that it knows it need not ask about under the locks
    move(work, at, cache)
  end)
end

return old
