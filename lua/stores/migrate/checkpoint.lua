--- Checkpoints: one text that makes the schema which all migrations before it made. A new database
--- starts from the last one of the list; a database that has run some of what it stands for goes on
--- with those, and passes it by.

local errors = require('stores.errors')

local checkpoint = {}

-- Whether the database has none of the list, nor of what its checkpoints took the place of.
local function is_new(steps, state)
  for _, step in ipairs(steps) do
    local row = state.rows[step.name]
    if row and row.ran or state.journal[step.name] then return false end
    for _, name in ipairs(step.replaces or {}) do
      if state.rows[name] and state.rows[name].ran then return false end
    end
  end
  return true
end

local function last_of(steps)
  for place = #steps, 1, -1 do
    if steps[place].type == 'checkpoint' then return place end
  end
  return nil
end

local function start_from(steps, planned, start)
  local covers = {}
  for place = 1, start - 1 do
    covers[place], planned[place].action = steps[place], 'covered'
  end
  steps[start].covers, planned[start].action = covers, 'run'
end

-- What an old database still lacks of what stands before a checkpoint: nothing where this run does
-- it, a contract that waits, or a name that no list has any more.
local function pass(steps, planned, state, place)
  local item, waits = planned[place], false
  for before = 1, place - 1 do
    waits = waits or planned[before].action == 'later'
  end
  for _, name in ipairs(steps[place].replaces or {}) do
    local row = state.rows[name]
    if not (row and row.ran) then item.missing = item.missing or name end
  end
  item.action = (waits or item.missing) and 'later' or 'pass'
  steps[place].passes = true
end

--- Says of the checkpoints of a list, and of what they stand for, what becomes of them.
---@param steps stores.MigrationStep[]
---@param planned stores.PlannedMigration[] as it is without them
---@param state stores.LedgerState
function checkpoint.plan(steps, planned, state)
  local last = last_of(steps)
  if not last then return end
  if is_new(steps, state) then return start_from(steps, planned, last) end
  for place, step in ipairs(steps) do
    if step.type == 'checkpoint' then
      local row, item = state.rows[step.name], planned[place]
      -- what it was when the database came by is of no matter any more
      if row and row.ran then
        item.action, item.difference = 'skip', nil
      else
        pass(steps, planned, state, place)
      end
    end
  end
end

--- Raises for a checkpoint of a database that stands before it, and whose way there is gone from
--- the list.
---@param item stores.PlannedMigration
function checkpoint.refuse(item)
  errors.raise('migration_failed', ("migration '%s': it takes the place of '%s', which this"
    .. ' database has not run and the list does not have any more'):format(item.name, item.missing),
    { migration = item.name, outcome = 'none',
      hint = 'run the list that still has it first, or take the work for done: baseline' })
end

--- The names that the checkpoints of a list took the place of.
---@param steps stores.MigrationStep[]
---@return table<string, boolean>
function checkpoint.replaced(steps)
  local names = {}
  for _, step in ipairs(steps) do
    for _, name in ipairs(step.replaces or {}) do names[name] = true end
  end
  return names
end

return checkpoint
