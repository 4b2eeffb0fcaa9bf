--- One row on both sides: what Redis holds of it, what PostgreSQL does, and whether that agrees.
---
--- The two cannot be read at one moment. So Redis is read before and after PostgreSQL: where it
--- held the same both times, nobody has announced a change in between, for who writes announces
--- before its commit. A value that came and went and came again would look the same, so a
--- difference is believed when it was seen several times.

local catalog = require('stores.inspect.catalog')
local entry = require('stores.inspect.entry')
local errors = require('stores.errors')
local ids = require('stores.ids')
local met = require('stores.verbs.met')
local redis = require('stores.inspect.redis')
local tasks = require('stores.tasks')
local wait = require('stores.wait')
local who = require('stores.inspect.who')

local core = require('stores.core')

local row = {}

local LOOKS, STEP = 20, 0.05
local SEEN = 3 -- how often a difference is seen before it is believed

---@class stores.RowReport
---@field table string
---@field id string
---@field verdict string see row.VERDICTS
---@field uncached string? why the rows of the table are not cached
---@field epoch stores.CacheEpoch?
---@field is_ours boolean? the epoch is of the present runs of both servers
---@field key string?
---@field redis stores.CacheEntry
---@field lives number? seconds for which it is kept
---@field postgres string? the document; nil: no such row
---@field intents stores.Who[]?

--- What a look says, in words.
row.VERDICTS = {
  agree = 'they agree',
  differ = 'they differ: Redis holds what PostgreSQL does not',
  absent = 'it is not cached: the next read asks PostgreSQL',
  lease = 'somebody is about to fill it: reads ask PostgreSQL meanwhile',
  intent = 'a change of it was announced: reads ask PostgreSQL until that is over',
  turning = 'the table turns: what is cached of it does not count, and reads ask PostgreSQL',
  nobody = 'the epoch is of another run of the servers, or there is none: nothing that is cached '
    .. 'of the table counts, until it is read again',
  uncached = 'rows of this table are not cached',
  unknown = 'it changes all the time: nothing can be said of it',
}

--- What PostgreSQL holds of rows.
---@param store stores.Store
---@param name string
---@param list string[] ids
---@return table<string, string> documents as text, by ids
function row.stored(store, name, list)
  local found = {}
  local rows = wait.slot(store.hub, store:start_select(name,
    'SELECT id::text AS id, value::text AS value FROM %T WHERE id = ANY($1::bigint[])',
    { '{' .. table.concat(list, ',') .. '}' }, nil, true, true))
  for _, one in ipairs(rows) do found[one.id] = one.value end
  return found
end

--- What is said of a row by what stands in Redis, where nobody changed that meanwhile.
---@param text string?
---@param stored string?
---@return string verdict
function row.judge(text, stored)
  local seen = entry.row(text)
  if seen.state == 'value' then return seen.text == stored and 'agree' or 'differ' end
  if seen.state == 'none' then return stored == nil and 'agree' or 'differ' end
  if seen.state == 'absent' or seen.state == 'lease' or seen.state == 'intent' then
    return seen.state
  end
  return 'differ'
end

--- What the epoch of a table is.
---@param store stores.Store
---@param oid integer
---@return stores.CacheEpoch
---@return boolean is_ours
---@return string? text
function row.epoch(store, oid)
  local text = redis.call(store, { oid = oid }, 'GET', redis.key(store, oid))[1]
  local epoch = entry.epoch(text)
  local is_ours = epoch.name ~= nil and core.cache_is_ours(store.engine, oid, epoch.name)
  return epoch, is_ours, text
end

-- Reads both sides once. Nil: somebody changed it in between.
local function look_once(store, report, oid)
  local epoch, is_ours, text = row.epoch(store, oid)
  report.epoch, report.is_ours = epoch, is_ours
  if not is_ours then
    report.redis, report.postgres = { state = 'absent' }, row.stored(store, report.table,
      { report.id })[report.id]
    return 'nobody'
  end
  report.key = redis.key(store, oid, epoch.name, report.id)
  local epoch_key = redis.key(store, oid)
  local before = redis.call(store, { oid = oid }, 'MGET', epoch_key, report.key)
  report.redis = entry.row(before[2])
  report.postgres = row.stored(store, report.table, { report.id })[report.id]
  local after = redis.call(store, { oid = oid }, 'MGET', epoch_key, report.key)
  if before[1] ~= text or after[1] ~= text or before[2] ~= after[2] then return nil end
  if epoch.state == 'turning' then return 'turning' end
  return row.judge(before[2], report.postgres)
end

local function look_often(store, report, oid)
  local differed = 0
  for _ = 1, LOOKS do
    local verdict = look_once(store, report, oid)
    if verdict == 'differ' then differed = differed + 1 end
    if verdict and (verdict ~= 'differ' or differed == SEEN) then return verdict end
    tasks.sleep(STEP)
  end
  return 'unknown'
end

-- A user with the least rights may not ask for it.
local function lives(store, report, oid)
  if report.redis.state ~= 'value' and report.redis.state ~= 'none' then return nil end
  local ok, texts = pcall(redis.call, store, { oid = oid }, 'PTTL', report.key)
  local ms = ok and tonumber(texts[1])
  return ms and ms > 0 and ms / 1000 or nil
end

local function intents(store, xids)
  local list, found = {}, who.transactions(store, xids)
  for _, xid in ipairs(xids) do
    list[#list + 1] = found[xid] or { xid = xid }
  end
  return list
end

--- Looks at one row.
---@param store stores.Store
---@param name string the table
---@param id stores.Id
---@return stores.RowReport
---Raises table_not_found, cache_failure.
function row.look(store, name, id)
  local found = catalog.table(store, name)
  local report = { table = name, id = ids.check(id), redis = { state = 'absent' } }
  local is_ready, why = met.ready(store)
  local facts = catalog.facts(store, name, found.oid)
  report.uncached = not store.cached and why or facts and facts.uncached ~= '' and facts.uncached
    or nil
  if report.uncached then
    report.postgres = row.stored(store, name, { report.id })[report.id]
    report.verdict = 'uncached'
    return report
  end
  if not is_ready then errors.raise('cache_failure', why) end
  report.verdict = look_often(store, report, found.oid)
  report.lives = lives(store, report, found.oid)
  if report.redis.state == 'intent' then report.intents = intents(store, report.redis.xids) end
  return report
end

-- ---- In words -----------------------------------------------------------------------------------

local STATES = {
  absent = 'nothing', none = '"no such row"', lease = 'a lease of somebody who fills it',
  intent = 'announced as changing', unknown = 'what Stores does not write',
}

local STATUS = {
  ['in progress'] = 'is in progress',
  committed = 'was committed, and its writer has not told Redis so far: where it died, the next '
    .. 'reads of the row do',
  aborted = 'was rolled back, and its writer has not told Redis so far: where it died, the next '
    .. 'reads of the row do',
  forgotten = 'was over long ago: its writer died, and the next reads of the row end it',
}

--- Whose an announcement is, in words.
---@param one stores.Who
---@return string
function row.intent_words(one)
  local status = STATUS[one.status] or 'is not known to a standby'
  local text = ('transaction %s %s'):format(one.xid, status)
  if one.status ~= 'in progress' then return text end
  return text .. ': ' .. who.words(one)
end

--- A report as lines.
---@param report stores.RowReport
---@return string[]
function row.lines(report)
  local lines = { ('%s %s: %s'):format(report.table, report.id, row.VERDICTS[report.verdict]) }
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  if report.uncached then
    lines[1] = ('%s: %s'):format(lines[1], report.uncached)
  else
    add('Redis       %s%s', STATES[report.redis.state] or report.redis.text,
      report.lives and (' (for %.0f s more)'):format(report.lives) or '')
    for _, one in ipairs(report.intents or {}) do add('            %s', row.intent_words(one)) end
  end
  add('PostgreSQL  %s', report.postgres or 'no such row')
  if report.key then add('key         %s', report.key) end
  if report.epoch then add('epoch       %s', report.epoch.state) end
  return lines
end

return row
