--- What Redis holds of a table, compared with PostgreSQL: all of it, or a sample. Nothing is
--- locked, and others go on writing: see row.lua for why what differs does so in truth.

local catalog = require('stores.inspect.catalog')
local counted = require('stores.inspect.counted')
local met = require('stores.verbs.met')
local redis = require('stores.inspect.redis')
local row = require('stores.inspect.row')

local verify = {}

local BATCH = 100

---@class stores.VerifyReport
---@field table string
---@field looked integer rows of which Redis held something
---@field agree integer
---@field intent integer announced as changing
---@field lease integer
---@field changed integer that changed while they were looked at
---@field differ stores.RowReport[]
---@field nothing string? why nothing that is cached of the table counts

local function count(report, verdict)
  report[verdict] = report[verdict] + 1
end

-- The ids of some rows, by what both sides hold.
local function look(store, work, list)
  local report, keys = work.report, { redis.key(store, work.oid) }
  for at, id in ipairs(list) do
    keys[at + 1] = redis.key(store, work.oid, work.epoch, id)
  end
  local before = redis.call(store, { oid = work.oid }, 'MGET', unpack(keys))
  local stored = row.stored(store, report.table, list)
  local after = redis.call(store, { oid = work.oid }, 'MGET', unpack(keys))
  if before[1] ~= work.text or after[1] ~= work.text then return false end
  for at, id in ipairs(list) do
    local text = before[at + 1]
    local verdict = text == after[at + 1] and row.judge(text, stored[id]) or 'changed'
    if verdict == 'differ' then
      local again = row.look(store, report.table, id)
      verdict = again.verdict
      if verdict == 'differ' then report.differ[#report.differ + 1] = again end
    end
    if report[verdict] == nil then verdict = 'changed' end -- it is not cached any more
    report.looked = report.looked + 1
    if verdict ~= 'differ' then count(report, verdict) end
  end
  return true
end

local function ids_of(store, work, keys)
  local list, part = {}, redis.part(work.epoch)
  for _, key in ipairs(keys) do
    local found = redis.read_key(store, key)
    if found and found.id and found.part == part then list[#list + 1] = found.id end
  end
  return list
end

local function look_at_page(store, work, keys)
  local list = ids_of(store, work, keys)
  for from = 1, #list, BATCH do
    local left = (work.sample or math.huge) - work.report.looked
    if left <= 0 or work.stopping() then return false end
    local some = {}
    for at = from, math.min(from + BATCH - 1, #list, from + left - 1) do
      some[#some + 1] = list[at]
    end
    if not look(store, work, some) then
      work.report.nothing = 'the table was turned meanwhile: what was cached does not count '
        .. 'any more'
      return false
    end
    work.progress(work.report.looked)
  end
  return true
end

-- What the rows of the table count for just now; nil where they do.
local function why_nothing(store, found, facts)
  if facts and facts.uncached ~= '' then
    return row.VERDICTS.uncached .. ': ' .. facts.uncached
  end
  local epoch, is_ours, text = row.epoch(store, found.oid)
  if not is_ours then return row.VERDICTS.nobody end
  if epoch.state == 'turning' then return row.VERDICTS.turning end
  return nil, epoch.name, text
end

--- Compares what Redis holds of a table with PostgreSQL.
---@param store stores.Store
---@param name string
---@param opts? {sample: integer?, progress: fun(looked: integer)?, stopping: (fun(): boolean)?}
---@return stores.VerifyReport
---Raises table_not_found, cache_failure.
function verify.run(store, name, opts)
  opts = opts or {}
  met.must_be_ready(store)
  local found = catalog.table(store, name)
  local facts = catalog.facts(store, name, found.oid)
  local report = { table = name, looked = 0, agree = 0, intent = 0, lease = 0, changed = 0,
    differ = {} }
  local epoch, text
  report.nothing, epoch, text = why_nothing(store, found, facts)
  if report.nothing then return report end
  local work = { oid = found.oid, epoch = epoch, text = text, report = report,
    sample = opts.sample, progress = opts.progress or function() end,
    stopping = opts.stopping or function() return false end }
  redis.each_row(store, found.oid, epoch, function(keys)
    return look_at_page(store, work, keys)
  end)
  return report
end

--- A report as lines.
---@param report stores.VerifyReport
---@return string[]
function verify.lines(report)
  if report.nothing then return { ('%s: %s'):format(report.table, report.nothing) } end
  local lines = { ('%s: %s compared with PostgreSQL, of which %d agree'):format(
    report.table, counted(report.looked, 'cached row'), report.agree) }
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  if report.intent > 0 then add('%d are announced as changing', report.intent) end
  if report.lease > 0 then add('%d are about to be filled', report.lease) end
  if report.changed > 0 then add('%d changed meanwhile', report.changed) end
  for _, one in ipairs(report.differ) do
    add('%s differs: Redis holds %s', one.id, one.redis.text or '"no such row"')
    add('%s          PostgreSQL holds %s', (' '):rep(#one.id), one.postgres or 'no such row')
  end
  if #report.differ > 0 then
    add('Somebody wrote without Stores, and told nobody: `stores invalidate %s`, with the ids or '
      .. 'without, has them read anew', report.table)
  end
  return lines
end

return verify
