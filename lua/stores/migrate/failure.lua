--- The one error that a failing migration raises, whatever failed in it.

local errors = require('stores.errors')

local failure = {}

local HINTS = {
  ['25001'] = 'say transaction = false in the migration',
  ['2D000'] = 'a procedure that commits needs transaction = false in the migration',
  ['55P03'] = 'another transaction holds the lock; lock_timeout says how long to wait for it',
}

local UNKNOWN = 'whether it was committed is not known here, but the ledger knows: run again'

local function place(step, statement)
  if not statement then return '' end
  return (', statement %d of %d (line %d)'):format(statement, #step.statements,
    step.statements[statement].line)
end

--- Makes the error of a step; its fields are those of the cause, and where it happened.
---@param step stores.MigrationStep
---@param statement? integer
---@param cause any what was raised
---@param more? {message?: string, hint?: string, fields?: table} added to what the cause says
---@return stores.Error
function failure.new(step, statement, cause, more)
  more = more or {}
  local fields = { migration = step.name, statement = statement, cause = cause }
  local text = tostring(cause)
  if errors.is(cause) then
    text = cause.message
    for _, key in ipairs({ 'sqlstate', 'detail', 'hint', 'constraint', 'table', 'outcome',
                           'position', 'traceback' }) do
      fields[key] = cause[key]
    end
  end
  if statement then
    fields.statements, fields.line = #step.statements, step.statements[statement].line
  end
  fields.hint = more.hint or HINTS[fields.sqlstate] or fields.hint
    or (fields.outcome == 'unknown' and UNKNOWN or nil)
  for key, value in pairs(more.fields or {}) do fields[key] = value end
  local state = fields.sqlstate and ': SQLSTATE ' .. fields.sqlstate or ''
  return errors.new('migration_failed', ("migration '%s'%s%s: %s%s"):format(step.name,
    place(step, statement), state, text, more.message and '; ' .. more.message or ''), fields)
end

--- Raises for a step that cannot go on though no statement failed.
---@param step stores.MigrationStep
---@param statement? integer
---@param message string
---@param hint? string
---@param fields? table
function failure.raise(step, statement, message, hint, fields)
  errors.throw(failure.new(step, statement, message, { hint = hint, fields = fields }))
end

return failure
