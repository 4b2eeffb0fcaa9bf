--- One runner at a time: a PostgreSQL advisory lock, asked for again and again. A statement that
--- waits for the lock would hold a snapshot, and a concurrent index build of the winner waits for
--- every older snapshot: a deadlock. So the waiting is done here, with no transaction open.

local errors = require('stores.errors')
local pause = require('stores.migrate.pause')
local worker = require('stores.migrate.worker')

local lock = {}

local SHORTEST, LONGEST = 0.05, 0.5

-- How long the lock may take to come free whose holder was ended.
local TAKEN = 10

local TRY = [[SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS mine,
  pg_backend_pid() AS pid, extract(epoch FROM clock_timestamp())::float8 AS now]]

local THE_LOCK = [[l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid::bigint = (hashtextextended($1, 0) >> 32) & 4294967295
  AND l.objid::bigint = hashtextextended($1, 0) & 4294967295]]

local HOLDER = [[
SELECT l.pid, coalesce(a.application_name, '') AS application,
  coalesce(a.client_addr::text, '') AS address, coalesce(a.backend_start::text, '') AS since
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE ]] .. THE_LOCK .. ' LIMIT 1'

local MINE = 'SELECT pg_backend_pid() AS pid, EXISTS (SELECT FROM pg_locks l WHERE '
  .. THE_LOCK .. ' AND l.pid = pg_backend_pid()) AS mine'

-- A session that says nothing for long is not to be ended for that: it holds the lock while others
-- work; nor one whose statement takes long, for that has a limit of its own. The settings came with
-- PostgreSQL 14 and 17.
local STAY = "SELECT name, set_config(name, '0', false) FROM pg_settings"
  .. " WHERE name IN ('idle_session_timeout', 'transaction_timeout')"

-- The names of those that this server has.
local function stay(session)
  local ok, rows = pcall(session.query, session, STAY)
  local names = {}
  for _, row in ipairs(ok and rows or {}) do names[row.name] = true end
  return names
end

local function holder(session, key)
  local row = session:query(HOLDER, { key })[1]
  if not row then return nil end
  local text = 'process ' .. row.pid
  if row.application ~= '' then text = text .. " '" .. row.application .. "'" end
  if row.address ~= '' then text = text .. ' from ' .. row.address end
  if row.since ~= '' then text = text .. ', connected since ' .. row.since end
  return text
end

local function refuse_pooler()
  errors.raise('unsupported', 'the connection to PostgreSQL goes through a transaction pooler,'
    .. ' which strands the lock of the migrations: give the db a migrate_url of the server itself')
end

local END = 'SELECT l.pid, pg_terminate_backend(l.pid) AS ended FROM pg_locks l WHERE ' .. THE_LOCK
  .. ' AND l.pid <> pg_backend_pid()'

-- Ends the session that holds the lock, as the caller asked for: once, for whoever takes it then is
-- another one, who lives.
local function take_over(session, key, by, notify)
  notify({ event = 'takeover', holder = by })
  local ok, err = pcall(session.query, session, END, { key })
  if ok then return end
  errors.raise('lock_timeout', ('another runner of the migrations (%s) cannot be ended: %s'):format(
    by or 'unknown', tostring(err)), { cause = err })
end

-- Asks until the lock is granted or the time is up; gives the backend's pid, or nil where the
-- caller wants it to stop.
local function acquire(session, key, wait)
  local began, said
  local limit, takeover, notify = wait.limit, wait.takeover, wait.notify
  while true do
    local row = session:query(TRY, { key })[1]
    if row.mine then return row.pid end
    if wait.stopping and wait.stopping() then return nil end
    began = began or row.now
    local waited = row.now - began
    local by = (not said or waited >= limit) and holder(session, key) or nil
    if waited >= limit and takeover then
      take_over(session, key, by, notify)
      takeover, limit = false, waited + TAKEN
    elseif waited >= limit then
      errors.raise('lock_timeout', ('waited %.1f s for another runner of the migrations%s'):format(
        waited, by and ' (' .. by .. ')' or ''))
    end
    if not said then
      notify({ event = 'waiting', holder = by or nil })
      said = true
    end
    local longest = math.min(LONGEST, SHORTEST + waited)
    pause(SHORTEST, math.max(math.min(longest, limit - waited), SHORTEST))
  end
end

---@class stores.MigrationLock
---@field session table the connection that holds the lock, without a transaction
---@field pid integer
---@field key string
---@field limits table<string, boolean> what ends sessions on this server, and is off here
---@field is_checked boolean the server ends what a runner leaves behind that is gone
local Held = {}
Held.__index = Held

local function lost(cause)
  errors.raise('connection_lost', 'the session that holds the lock of the migrations was ended by'
    .. ' the server, or on the way to it, and another runner may have begun',
    { cause = cause, outcome = 'none', retryable = true, hint = 'run again: what is done is done' })
end

--- Raises unless the connection that took the lock still is the one that answers, and holds it.
function Held:check()
  local ok, rows = pcall(self.session.query, self.session, MINE, { self.key })
  if not ok then
    if errors.is(rows) and rows.sqlstate == nil then lost(rows) end
    errors.throw(rows)
  end
  if rows[1].pid ~= self.pid then refuse_pooler() end
  if rows[1].mine then return end
  -- a statement that ran here gave it away
  if not self.session:query(TRY, { self.key })[1].mine then lost() end
end

---@class stores.MigrationLockWait
---@field limit number seconds to wait for another runner
---@field notify fun(event: table)
---@field takeover? boolean whoever holds it after that time is ended
---@field stopping? fun(): boolean whether the caller waits no longer

--- Runs fn(held) while this process holds the lock of one ledger, on a connection of its own.
---@param store stores.MigrationTarget
---@param ledger stores.Ledger
---@param wait stores.MigrationLockWait
---@param fn fun(held: stores.MigrationLock): any
---@return any what fn returned; nil: the caller wanted it to stop before it had the lock
function lock.hold(store, ledger, wait, fn)
  local key = ledger.key
  return store:session(function(session)
    local held = setmetatable({ session = session, key = key }, Held)
    held.limits = stay(session)
    held.pid = acquire(session, key, wait)
    if not held.pid then return nil end
    local ok, result = pcall(function()
      held:check()
      held.is_checked = worker.is_checked(session)
      return fn(held)
    end)
    -- A session that broke lost the lock with its connection.
    pcall(session.query, session, 'SELECT pg_advisory_unlock(hashtextextended($1, 0))', { key })
    if not ok then errors.throw(result) end
    return result
  end, { timeout = math.huge })
end

return lock
