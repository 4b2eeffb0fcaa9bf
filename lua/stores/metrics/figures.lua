--- What the figures of store:stats() are called by Prometheus, and what they say.

local figures = {}

---@class stores.Figure
---@field kind 'counter'|'gauge'|'histogram'
---@field help string
---@field joins 'sum'|'min'|'max' how those of several processes become one

local known = {}

local function counters(list)
  for name, help in pairs(list) do
    known[name] = { kind = 'counter', help = help, joins = 'sum' }
  end
end

local function gauges(list, joins)
  for name, help in pairs(list) do
    known[name] = { kind = 'gauge', help = help, joins = joins or 'sum' }
  end
end

counters({
  calls = 'Calls that were started.',
  timeouts = 'Calls that met their deadline.',
  hits = 'Reads by id that found a document in the cache.',
  negative_hits = 'Reads by id that found "no such row" in the cache.',
  misses = 'Reads by id that found nothing in the cache.',
  hints_found = 'Calls of findBy that Redis had a hint for.',
  hints_missed = 'Calls of findBy that it had none for.',
  held_hits = 'Reads of held tables from the memory of the process.',
  held_misses = 'Reads of held tables that went on to Redis.',
  held_leases = 'Leases of held tables that the process had.',
  held_waits = 'Writers that waited until others had let go of held rows.',
  held_wait_seconds = 'How long they waited.',
  held_evictions = 'Such waits that only the end of a lease ended.',
  replica_reads = 'Reads that replicas answered.',
  replica_fallbacks = 'Reads that the primary answered in place of a replica.',
  replica_untold = 'Such reads of a caller of whom nobody knew how far it was.',
  replica_away = 'Such reads while every replica was left alone.',
  replica_behind = 'Such reads for which no replica had replayed enough.',
  replica_busy = 'Such reads for which a replica had no connection free.',
  replica_down = 'Such reads whose replica could not be reached, or was lost.',
  replica_silent = 'Such reads whose replica did not answer.',
  replica_lagging = 'Such reads whose replica was later than it may be.',
  replica_promoted = 'Such reads whose replica was no standby.',
  replica_foreign = 'Such reads whose replica, or token, was of another server.',
  replica_failed = 'Such reads that failed on their replica.',
  leases_granted = 'Leases of missing rows that were granted, to fill them.',
  leases_refused = 'Leases of missing rows that another one had.',
  lease_waits = 'Waits for the lease of another one.',
  fills = 'Documents put into the cache by readers.',
  fills_refused = 'Documents of readers that came too late for the cache.',
  intents = 'Rows announced as changing.',
  settles_published = 'Announcements that ended with the new document in the cache.',
  settles_deleted = 'Announcements that ended without a document in the cache.',
  settles_resolved = 'Announcements of dead writers that were ended.',
  turns_started = 'Turns of the epoch of a table that were started.',
  turns_ended = 'Turns of the epoch of a table that were ended.',
  bypassed = 'Writes committed while Redis could not be told.',
  segments = 'Write transactions that calls shared.',
  segment_writes = 'Writes in shared transactions.',
  segment_retries = 'Shared transactions that were rolled back to run singly, or again together.',
  selects = 'SELECTs for reads by id.',
  read_retries = 'SELECTs that were run again after a lost connection.',
  commits = 'Transactions that were committed.',
  rollbacks = 'Transactions that were rolled back.',
  unknown_outcomes = 'Transactions whose outcome could not be found out.',
  pg_round_trips = 'Round trips to PostgreSQL.',
  pg_statements = 'Statements that PostgreSQL was sent.',
  pg_prepares = 'Statements that were prepared.',
  pg_connects = 'Connections to PostgreSQL that were opened.',
  pg_connect_failures = 'Connections to PostgreSQL that could not be opened.',
  pg_lost = 'Connections to PostgreSQL that were lost.',
  pg_resets = 'Sessions that were reset after a text of a caller.',
  pg_cancels = 'Cancels that PostgreSQL was sent.',
  notices = 'Notifications that listeners were sent.',
  notices_dropped = 'Notifications for which a slow listener had no room.',
  notice_gaps = 'Gaps that listeners were told of.',
  redis_round_trips = 'Round trips to Redis.',
  redis_commands = 'Commands that Redis was sent.',
  redis_connects = 'Links to Redis that were opened.',
  redis_failures = 'Links to Redis that failed.',
  redis_timeouts = 'Requests to Redis that were not answered in time.',
  redis_refused = 'Requests that Redis answered by an error.',
})

gauges({
  ops = 'Calls that have not ended.',
  transactions = 'Open transactions.',
  held_rows = 'Rows that are held in memory.',
  held_bytes = 'Bytes of those rows.',
  replicas_alone = 'Replicas that are left alone just now.',
  replica_connections = 'Connections to replicas.',
  pool_size = 'Connections that the pool may have.',
  pool_connecting = 'Connections that are being opened.',
  pool_idle = 'Connections that nobody uses.',
  pool_reading = 'Connections that read.',
  pool_stalled = 'Connections that owe an answer and are silent.',
  pool_writing = 'Connections that write.',
  pool_checked_out = 'Connections of one transaction or one call.',
  pool_waiters = 'Calls that wait for a connection.',
  listeners = 'Listeners.',
  listeners_deaf = 'Listeners that do not listen just now.',
  notices_waiting = 'Notifications that functions of listeners have not been given yet.',
  redis_pending = 'Requests to Redis that have no answer yet.',
  workers = 'Processes whose figures these are.',
})
gauges({ redis_up = 'Whether Redis answers every process.' }, 'min')
gauges({
  redis_nodes = 'Nodes of Redis that are linked, at most by one process.',
  redis_trouble = 'Whether a process has trouble with Redis.',
  table_uncached = 'A table that is not cached, and why.',
  table_turning_seconds = 'Since when the cached rows of a table do not count.',
}, 'max')
known.call_seconds = { kind = 'histogram', help = 'How long calls took.', joins = 'sum' }

--- What is known of a figure; one that is not listed here counts.
---@param name string
---@return stores.Figure
function figures.of(name)
  return known[name] or { kind = 'counter', help = name:gsub('_', ' ') .. '.', joins = 'sum' }
end

--- Its name in a scrape.
---@param name string
---@return string
function figures.full_name(name)
  return 'stores_' .. name .. (figures.of(name).kind == 'counter' and '_total' or '')
end

return figures
