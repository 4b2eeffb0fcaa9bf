--- How a database stands to a list: each of its migrations, and what is not as it should be. Reads
--- only.

local checkpoint = require('stores.migrate.checkpoint')
local distribute = require('stores.migrate.distribute')
local index = require('stores.migrate.index')
local json = require('stores.json')
local runner = require('stores.migrate.runner')

local report = {}

local STATES = { run = 'pending', rerun = 'pending', resume = 'unfinished', skip = 'done',
                 changed = 'changed', covered = 'pending', pass = 'pending', later = 'later' }

---@class stores.MigrationState
---@field name string
---@field state 'done'|'pending'|'unfinished'|'changed'|'later'|'replaced'|'unknown'
---@field ran_on? string
---@field difference? string of a changed one
---@field rows? integer of an unfinished backfill: how many rows it has gone through
---@field after? string likewise: the id of the last of them

--- How each migration stands, and those of the ledger that the list does not have.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts {ledger: string?}
---@return stores.MigrationState[]
---@return stores.MigrationStep[] steps
function report.states(entries, store, opts)
  local steps, state, planned = runner.planned_for(entries, store, opts)
  local rows, known, replaced = json.array(), {}, checkpoint.replaced(steps)
  for place, item in ipairs(planned) do
    known[item.name] = true
    rows[place] = { name = item.name, state = STATES[item.action], ran_on = item.ran_on,
                    difference = item.difference, rows = item.rows, after = item.after }
  end
  for _, row in ipairs(state.ordered) do
    if not known[row.name] then
      rows[#rows + 1] = { name = row.name, ran_on = row.ran_on,
                          state = replaced[row.name] and 'replaced' or 'unknown' }
    end
  end
  return rows, steps
end

-- What is as it should be: a contract may wait as long as it likes.
local FINE = { done = true, later = true, replaced = true }

---@class stores.MigrationReport
---@field ok boolean
---@field unknown string[] of the ledger, and not of the list
---@field pending string[]
---@field changed string[]
---@field unfinished string[]
---@field later string[] contracts that wait, which is no fault
---@field invalid_indexes string[] left by concurrent builds that failed
---@field not_distributed string[] tables that Citus ought to spread, by `distribute` of the list
---@field differences? stores.SchemaDifference[] of the schema, where it was asked for

local NAMES = { 'unknown', 'pending', 'changed', 'unfinished', 'later', 'invalid_indexes' }

--- What is not as the list says.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts {ledger: string?}
---@return stores.MigrationReport
---@return table<string, boolean> done the names of those that the database has run
function report.verify(entries, store, opts)
  local found = { ok = true }
  for _, name in ipairs(NAMES) do found[name] = json.array() end
  local states, steps = report.states(entries, store, opts)
  local done = {}
  for _, row in ipairs(states) do
    local names = found[row.state]
    if names then names[#names + 1] = row.name end
    if not FINE[row.state] then found.ok = false end
    done[row.name] = row.state == 'done' or nil
  end
  for place, row in ipairs((index.invalid(store))) do
    found.invalid_indexes[place], found.ok = row.name, false
  end
  found.not_distributed = json.array(distribute.lacking(store, steps, done))
  if #found.not_distributed > 0 then found.ok = false end
  return found, done
end

return report
