--- Who is waited for: transactions as the sessions that run them, by pid and application_name.

local catalog = require('stores.inspect.catalog')
local errors = require('stores.errors')
local json = require('stores.json')

local who = {}

---@class stores.Who a transaction, or a session
---@field xid string?
---@field status string? of a transaction that was asked about by its id: 'in progress',
--- 'committed', 'aborted', or 'forgotten', which is over, too
---@field pid integer?
---@field application string?
---@field user string?
---@field address string?
---@field state string? as pg_stat_activity has it
---@field seconds number? since its transaction began
---@field gid string? of a prepared one

local SESSION = [[a.pid, a.application_name AS application, a.usename::text AS "user",
  host(a.client_addr) AS address, a.state, p.gid,
  extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, p.prepared))::float8 AS seconds ]]

-- What the core names those by whom a turn waits for: virtual ids, and sessions by their signs.
local WRITERS = [[
SELECT w.who, ]] .. SESSION .. [[
FROM unnest($1::text[]) AS w(who)
LEFT JOIN LATERAL (SELECT l.pid FROM pg_locks l
  WHERE l.virtualtransaction = w.who OR w.who = 'session ' || l.pid LIMIT 1) l ON true
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
LEFT JOIN pg_prepared_xacts p ON l.pid IS NULL AND p.transaction::text = split_part(w.who, '/', 2)
ORDER BY w.who]]

-- Who is not in the snapshot yet may be at work, or be of a server before its crash, which would
-- make the question fail for all: those are asked about one by one. A standby would take one that
-- it has not heard of for such a one.
local TRANSACTIONS = [[
SELECT x.id AS xid, CASE WHEN x.id::xid8 >= pg_snapshot_xmax(pg_current_snapshot()) THEN 'unborn'
    ELSE pg_xact_status(x.id::xid8) END AS status, ]] .. SESSION .. [[
FROM unnest($1::text[]) AS x(id)
LEFT JOIN pg_stat_activity a ON a.backend_xid::text::bigint = x.id::numeric % 4294967296
LEFT JOIN pg_prepared_xacts p ON p.transaction::text::bigint = x.id::numeric % 4294967296
WHERE NOT pg_is_in_recovery()]]

local function taken(row)
  for key, value in pairs(row) do
    if value == json.null or value == '' then row[key] = nil end
  end
  return row
end

--- Who the writers are that a turn waits for.
---@param store stores.Store
---@param writers string an array as store:stats() has it in turning[..].waits_for
---@return stores.Who[]
function who.writers(store, writers)
  local list = {}
  for _, row in ipairs(catalog.ask(store, WRITERS, { writers })) do
    -- one that is over by now is not waited for any more
    if row.pid ~= json.null or row.gid ~= json.null then list[#list + 1] = taken(row) end
  end
  return list
end

local STATUS = 'SELECT pg_xact_status($1::xid8) AS status'
local NOT_BORN = '22023' -- "is in the future"

local function status_of(store, xid)
  local ok, rows = pcall(catalog.ask, store, STATUS, { xid })
  if ok then return rows[1].status ~= json.null and rows[1].status or 'forgotten' end
  if not errors.is(rows) or rows.sqlstate ~= NOT_BORN then error(rows, 0) end
  return 'forgotten'
end

--- What became of transactions, and who runs those that live.
---@param store stores.Store
---@param xids string[]
---@return table<string, stores.Who> by their ids; empty on a standby, which does not know
function who.transactions(store, xids)
  local found = {}
  if #xids == 0 then return found end
  local list = '{' .. table.concat(xids, ',') .. '}'
  for _, row in ipairs(catalog.ask(store, TRANSACTIONS, { list })) do
    local one = taken(row)
    if one.status == 'unborn' then one.status = status_of(store, one.xid) end
    one.status = one.status or 'forgotten'
    found[one.xid] = one
  end
  return found
end

local function duration(seconds)
  if seconds < 60 then return ('%.1f s'):format(seconds) end
  if seconds < 3600 then return ('%d min'):format(seconds / 60) end
  return ('%.1f h'):format(seconds / 3600)
end
who.duration = duration

--- Somebody in words.
---@param one stores.Who
---@return string
function who.words(one)
  if one.gid then
    return ("the prepared transaction '%s', since %s"):format(one.gid, duration(one.seconds or 0))
  end
  if not one.pid then return 'nobody who is connected' end
  local parts = { 'process ' .. one.pid }
  if one.application then parts[#parts + 1] = ("'%s'"):format(one.application) end
  if one.user then parts[#parts + 1] = 'of ' .. one.user end
  if one.address then parts[#parts + 1] = 'from ' .. one.address end
  local text = table.concat(parts, ' ')
  if one.state then text = text .. ', ' .. one.state end
  if one.seconds then text = text .. ', its transaction since ' .. duration(one.seconds) end
  return text
end

return who
