--- Who runs a migration, as PostgreSQL shows it: a connection that runs one says so in its
--- application_name, so that the next runner can name it, whatever became of its process.

local errors = require('stores.errors')
local failure = require('stores.migrate.failure')
local pause = require('stores.migrate.pause')

local worker = {}

-- A server that looks whether its client is there ends what a dead runner left, within a second.
local CHECK = 'client_connection_check_interval'
local CHECKED = [[SELECT set_config(name, '1s', false) FROM pg_settings WHERE name = $1]]

local NAME = [[SELECT 'stores migration ' || left(md5($1), 8) || ' ' || left(md5($2), 12) AS name]]

local OTHERS = [[
SELECT pid, coalesce(client_addr::text, '') AS address, coalesce(xact_start::text, '') AS since,
  coalesce(query, '') AS query
FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE $1 AND pid <> pg_backend_pid()
  AND pid <> $2::integer
ORDER BY xact_start LIMIT 1]]

-- How long a runner that lost its lock is waited for, or one that its server does not know to be
-- gone.
local LIVING, UNKNOWN = 10, 3

--- Whether the server of this session ends what a client leaves behind that is gone.
---@param session table
---@return boolean
function worker.is_checked(session)
  local ok, rows = pcall(session.query, session, CHECKED, { CHECK })
  return ok and #rows == 1
end

--- The settings of a connection that runs a step.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@param finishes? boolean it is to come to its end though nobody waits for it any more
---@return {[1]: string, [2]: string}[]
function worker.settings(context, step, finishes)
  local settings = { { 'application_name', worker.name(context, step) } }
  if context.held.is_checked then settings[2] = { CHECK, finishes and '0' or '1s' } end
  return settings
end

--- The application_name of whoever runs this step of this ledger.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return string
function worker.name(context, step)
  context.workers = context.workers or {}
  local name = context.workers[step.name]
  if not name then
    name = context.store:query(NAME, { context.ledger.key, step.name })[1].name
    context.workers[step.name] = name
  end
  return name
end

local function find(context, pattern)
  return context.store:query(OTHERS, { pattern, context.held.pid })[1]
end

-- The text of a statement is the migration's own; what it says first tells which one it is.
local function described(found)
  local text = 'process ' .. found.pid
  if found.address ~= '' then text = text .. ' from ' .. found.address end
  if found.since ~= '' then text = text .. ', since ' .. found.since end
  local words = found.query:match('^%s*([%a_]+%s+[%w_.]+)') or found.query:match('^%s*([%a_]+)')
  return words and ("%s (%s ..)"):format(text, words) or text
end

local function remedy(found)
  return ('wait for its end, or end it: SELECT pg_terminate_backend(%d)'):format(found.pid)
end

local END = 'SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
  .. ' WHERE pid = $1::integer AND application_name = $2'

-- Ends what was found, as the caller asked for.
local function take_over(context, step, name, found)
  context.notify({ event = 'takeover', name = step.name, holder = described(found) })
  local ok, err = pcall(context.store.query, context.store, END, { found.pid, name })
  if not ok then
    failure.raise(step, nil, ('another runner still works on it (%s), and cannot be ended: %s')
      :format(described(found), tostring(err)), remedy(found) .. ', as its own user or a superuser',
      { sqlstate = errors.is(err) and err.sqlstate or nil, process = found.pid, cause = err })
  end
end

--- Waits until nobody else runs a step: a runner that was killed, whose statement goes on, or one
--- whose lock was lost. Raises, and names its process, where that takes long.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@param patience number seconds that the caller would wait for a lock
---@param stopping? fun(): boolean whether the caller waits no longer
---@return boolean is_free false: it was told to stop
---Raises migration_failed.
function worker.wait_for_others(context, step, patience, stopping)
  local name, waited, said, ended = worker.name(context, step), 0, false, nil
  local limit = math.min(patience, context.held.is_checked and LIVING or UNKNOWN)
  while true do
    local found = find(context, name)
    if not found then return true end
    if stopping and stopping() then return false end
    if context.options.takeover and ended ~= found.pid then
      take_over(context, step, name, found)
      ended = found.pid
    end
    if waited >= limit then
      failure.raise(step, nil, ('another runner still works on it: %s'):format(described(found)),
        remedy(found), { sqlstate = '55P03', process = found.pid, retryable = true })
    end
    if not said then context.notify({ event = 'waiting', holder = described(found) }) end
    said = true
    pause(0.1, 0.2)
    waited = waited + 0.15
  end
end

--- Adds to the error of a lock that was not granted who else runs migrations of this ledger.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@param err any
function worker.explain(context, step, err)
  if not errors.is(err) or err.sqlstate ~= '55P03' then return end
  local pattern = worker.name(context, step):match('^(.* )%x+$') .. '%'
  local ok, found = pcall(find, context, pattern)
  if not ok or not found then return end
  err.message = ('%s; another runner of these migrations still works: %s'):format(err.message,
    described(found))
  err.hint, err.process = remedy(found), found.pid
end

return worker
