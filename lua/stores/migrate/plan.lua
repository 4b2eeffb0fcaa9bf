--- What a run would do: the file against the ledger. Reads, and never writes.

local Ledger = require('stores.migrate.ledger')
local errors = require('stores.errors')
local script = require('stores.migrate.script')
local sql = require('stores.sql.text')

local plan = {}

---@class stores.PlannedMigration
---@field name string
---@field type 'db'|'lua'
---@field action 'run'|'rerun'|'resume'|'skip'|'changed' changed: a run would raise
---@field ran_on? string when the ledger says that it ran
---@field difference? string of a changed one, for people
---@field outside? boolean it runs outside a transaction
---@field statements? integer how many it has
---@field done? integer of one to resume: how many of them are done

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
  if step.type == 'lua' then return step.text == row.text end
  return sql.same(step.text, row.text)
end

local function action_of(step, row, journal)
  -- A journal is of SQL that ran in part; a function cannot go on from there.
  if journal then return step.type == 'db' and 'resume' or 'changed' end
  if not row or not row.ran then return 'run' end
  if is_same(step, row) then return 'skip' end
  return step.repeatable and 'rerun' or 'changed'
end

local function difference(step, row)
  if not (row and row.ran) then return 'it was SQL, of which a part ran' end
  if step.type == 'db' then return script.difference(step.text, row.text) end
  return ('its version is %s, the ledger holds %s'):format(step.version or 'not given',
    row.text:match('^lua (.*)$') or 'none')
end

--- Says of every step what a run would do with it, and parses those that would run.
---@param steps stores.MigrationStep[]
---@param state stores.LedgerState
---@return stores.PlannedMigration[]
function plan.make(steps, state)
  local planned = {}
  for place, step in ipairs(steps) do
    local row, journal = state.rows[step.name], state.journal[step.name]
    local item = { name = step.name, type = step.type, action = action_of(step, row, journal) }
    if row and row.ran then item.ran_on = row.ran_on end
    if item.action == 'changed' then
      item.difference = difference(step, row)
    elseif item.action ~= 'skip' then
      script.parse(step)
      if journal then step.outside = true end
      item.outside, item.statements = step.outside, step.statements and #step.statements
    end
    if journal then
      item.done = 0
      for _, mark in pairs(journal) do item.done = item.done + (mark.done and 1 or 0) end
    end
    planned[place] = item
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
    elseif item.action ~= 'skip' then
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
    if item.action ~= 'skip' then names[#names + 1] = item.name end
  end
  return names
end

return plan
