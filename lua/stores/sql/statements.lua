--- What a query may be: its options, its parameters, and no transaction control of its own.

local call = require('stores.config.call')
local errors = require('stores.errors')
local query = require('stores.sql.query')
local sql = require('stores.sql.text')

local statements = {}

---@class stores.Rows
---@field [integer] table<string, any> a row, by the names of its columns
---@field affected integer how many rows were given, or else changed; no member to JSON

--- How far the primary is, as a token (core/base/reach.h).
statements.TOKEN = [[
  SELECT (pg_control_system()).system_identifier::text
    || '.' || substr(pg_walfile_name(now.lsn), 1, 8)
    || '.' || lpad(upper(to_hex((now.lsn - '0/0')::bigint)), 16, '0') AS token
  FROM (SELECT pg_current_wal_insert_lsn() AS lsn) AS now]]

-- SAVEPOINT, RELEASE and ROLLBACK TO stay inside the transaction; what they undo the core asks the
-- server about, as after every query that may have written.
local function is_savepoint(part)
  if part.control == 'SAVEPOINT' or part.control == 'RELEASE' then return true end
  if part.control ~= 'ROLLBACK' then return false end
  local words = sql.keywords(part.text, 3)
  return words[2] == 'TO' or words[3] == 'TO'
end

-- Texts come again and again; taking one apart is not free. Bounded, forgotten as a whole; those
-- that somebody put together, a load of rows or of DDL, do not come again, and are large.
local KEPT, LONGEST, MOST_PARTS = 256, 4096, 16
local known, count = {}, 0

local function take_apart(text)
  local parts = known[text]
  if parts then return parts end
  parts = sql.split(text)
  for _, part in ipairs(parts) do
    part.control = sql.transaction_control(part.text) or false
  end
  parts.has_places = text:find('$', 1, true) ~= nil
  if #text > LONGEST or #parts > MOST_PARTS then return parts end
  if count >= KEPT then known, count = {}, 0 end
  known[text], count = parts, count + 1
  return parts
end

--- Checks the arguments of a query.
---@param text string
---@param params? any[]
---@param opts table?
---@param taken table<string, boolean> the options that it takes
---@param place 'store'|'tx'|'session'
---@return table checked the options, as a table of its own
---@return {text: string, line: integer}[] parts the statements of the text
function statements.check(text, params, opts, taken, place)
  if type(text) ~= 'string' then
    errors.raise('invalid_argument', 'the SQL must be a string, got ' .. errors.kind(text))
  end
  if text:find('%z') then
    errors.raise('invalid_argument', 'the SQL holds a zero byte')
  end
  local checked = {}
  for key, value in pairs(call.check(opts, taken)) do checked[key] = value end
  local given = query.params(params)
  local parts = take_apart(text)
  if #parts > 1 and #given > 0 then
    errors.raise('invalid_argument', 'several statements in one query take no parameters: '
      .. 'send them one by one, or in a transaction')
  elseif #given > 0 and not parts.has_places then
    errors.raise('invalid_argument', ('the text has no place for %d parameter%s: the first one is '
      .. '$1'):format(#given, #given == 1 and '' or 's'))
  end
  for _, part in ipairs(parts) do
    local allowed = place == 'session' or (place == 'tx' and is_savepoint(part))
    if part.control and not allowed then
      errors.raise('unsupported', part.control .. ' does not belong into a query: '
        .. 'store:transaction(fn) begins and ends a transaction')
    end
    -- a savepoint undoes what others wrote, so that it is never without effect
    if part.control and place == 'tx' then checked.readonly = nil end
  end
  return checked, parts
end

-- What changes no more than rows.
local ROWS = { SELECT = true, INSERT = true, UPDATE = true, DELETE = true, WITH = true,
  VALUES = true, TABLE = true }

--- Whether the statements of a text go one by one on a coordinator of Citus, which has the workers
--- prepare a text with DDL as a whole, and that of several they refuse.
---@param parts {text: string}[]
---@return boolean
function statements.go_apart(parts)
  if #parts < 2 then return false end
  for _, part in ipairs(parts) do
    if not ROWS[sql.first_word(part.text)] then return true end
  end
  return false
end

--- Whether an error says that they should have.
---@param err any
---@return boolean?
function statements.were_refused(err)
  return errors.is(err) and err.sqlstate == '42601' and err.outcome == 'none'
    and err.message:find('multiple commands', 1, true) ~= nil
end

return statements
