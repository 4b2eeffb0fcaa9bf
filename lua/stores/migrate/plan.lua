--- What a run would do: the file against the ledger. Reads, and never writes.

local checkpoint = require('stores.migrate.checkpoint')
local Ledger = require('stores.migrate.ledger')
local errors = require('stores.errors')
local script = require('stores.migrate.script')
local sql = require('stores.sql.text')

local plan = {}

-- changed: a run would raise. later: it waits for a run that finishes. covered: a checkpoint stands
-- for it. pass: a checkpoint whose work the database has.
---@alias stores.MigrationAction 'run'|'rerun'|'resume'|'skip'|'changed'|'later'|'covered'|'pass'

---@class stores.PlannedMigration
---@field name string
---@field type 'db'|'lua'|'backfill'|'checkpoint'
---@field action stores.MigrationAction
---@field ran_on? string when the ledger says that it ran
---@field difference? string of a changed one, for people
---@field outside? boolean it runs outside a transaction
---@field statements? integer how many it has
---@field done? integer of one to resume: how many of them are done
---@field rows? integer of a backfill to resume: how many rows it has gone through
---@field after? string likewise: the id of the last of them
---@field missing? string of a checkpoint: what it stands for and the database does not have

---@class stores.LedgerState
---@field ledger stores.Ledger
---@field rows table<string, stores.LedgerRow>
---@field ordered stores.LedgerRow[]
---@field journal table

--- Reads all that the database knows of migrations.
---@param store stores.MigrationTarget
---@param name? string of the ledger
---@return stores.LedgerState
function plan.state(store, name)
  local ledger = Ledger.find(store, name)
  local rows, ordered = ledger:read(store)
  return { ledger = ledger, rows = rows, ordered = ordered, journal = ledger:unfinished(store) }
end

local function is_same(step, row)
  if row.blank then return true end
  if type(step.migration) ~= 'string' then return step.text == row.text end
  return sql.same(step.text, row.text)
end

-- A journal is of SQL that ran in part, or says how far a backfill went; nothing else can go on.
local function may_resume(step, journal)
  if step.type == 'backfill' then return Ledger.progress_of(journal) ~= nil end
  return step.type == 'db' and not Ledger.progress_of(journal)
end

-- A repeatable one that became another one half way is to be done by that as a whole.
local function begins_anew(step, row)
  return step.type == 'backfill' and step.repeatable and row ~= nil and not is_same(step, row)
end

local function action_of(step, row, journal)
  if journal and may_resume(step, journal) and begins_anew(step, row) then return 'rerun' end
  if journal then return may_resume(step, journal) and 'resume' or 'changed' end
  if not row or not row.ran then return 'run' end
  if is_same(step, row) then return 'skip' end
  return step.repeatable and 'rerun' or 'changed'
end

local function difference(step, row)
  if not (row and row.ran) then return 'a part of it ran, as another type of migration' end
  if type(step.migration) == 'string' then return script.difference(step.text, row.text) end
  return ('its version is %s, the ledger holds %s'):format(step.version or 'not given',
    row.text:match('^%l+ (.*)$') or 'none')
end

local function note_journal(item, step, journal)
  if step.type == 'backfill' then
    item.after, item.rows = Ledger.progress_of(journal)
    return
  end
  step.outside, item.done = true, 0
  for _, mark in pairs(journal) do item.done = item.done + (mark.done and 1 or 0) end
end

local RUNS = { run = true, rerun = true, resume = true }

--- Whether a run does something about an item.
---@param item stores.PlannedMigration
---@return boolean
function plan.is_pending(item)
  return RUNS[item.action] or item.action == 'covered' or item.action == 'pass'
end

local function item_of(step, state)
  local row, journal = state.rows[step.name], state.journal[step.name]
  local item = { name = step.name, type = step.type, action = action_of(step, row, journal) }
  if row and row.ran then item.ran_on = row.ran_on end
  if item.action == 'changed' then item.difference = difference(step, row) end
  return item, journal
end

--- Says of every step what a run would do with it, and parses those that would run.
---@param steps stores.MigrationStep[]
---@param state stores.LedgerState
---@param finish? boolean what contracts may run
---@return stores.PlannedMigration[]
function plan.make(steps, state, finish)
  local planned, journals = {}, {}
  for place, step in ipairs(steps) do
    local item, journal = item_of(step, state)
    if step.phase == 'contract' and not finish and RUNS[item.action] then item.action = 'later' end
    planned[place], journals[place] = item, journal or false
  end
  checkpoint.plan(steps, planned, state)
  for place, item in ipairs(planned) do
    local step = steps[place]
    if RUNS[item.action] then
      script.parse(step)
      if item.action == 'resume' then note_journal(item, step, journals[place]) end
      item.outside, item.statements = step.outside, step.statements and #step.statements
    end
  end
  return planned
end

--- Raises for what a run would not begin with: edited migrations, statements that cannot be in one.
---@param steps stores.MigrationStep[]
---@param planned stores.PlannedMigration[]
function plan.check(steps, planned)
  for place, item in ipairs(planned) do
    if item.action == 'changed' then
      errors.raise('migration_changed', ("migration '%s' ran%s and was edited since: %s"):format(
        item.name, item.ran_on and ' on ' .. item.ran_on or '', item.difference), {
        migration = item.name, difference = item.difference,
        hint = 'put the old text back and write a new migration, or say repeatable = true',
      })
    elseif item.missing then
      checkpoint.refuse(item)
    elseif RUNS[item.action] then
      script.check(steps[place])
    end
  end
end

--- How many steps a run would run.
---@param planned stores.PlannedMigration[]
---@return string[] names
function plan.pending(planned)
  local names = {}
  for _, item in ipairs(planned) do
    if plan.is_pending(item) then names[#names + 1] = item.name end
  end
  return names
end

return plan
