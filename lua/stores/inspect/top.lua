--- Two looks at the figures of running processes, one after the other, as a page for people:
--- calls a second, hits, how long calls take, the pool, what turns.

local counted = require('stores.inspect.counted')
local sorted = require('stores.sorted')

local top = {}

local function sum_of(figures, name, label, value)
  local sum = 0
  for _, one in ipairs(figures[name] or {}) do
    if not label or one.labels[label] == value then sum = sum + one.value end
  end
  return sum
end

-- A counter that went back was begun anew, by processes that were started again.
local function rate(before, now, seconds, name, label, value)
  local was, is = sum_of(before, name, label, value), sum_of(now, name, label, value)
  if is < was then was = 0 end
  return (is - was) / seconds
end

-- The buckets of a verb: how many calls took at most so long, of those between two looks.
local function buckets_of(before, now, verb)
  local by_bound, list = {}, {}
  for sign, figures in pairs({ [1] = now, [-1] = before }) do
    for _, one in ipairs(figures.stores_call_seconds_bucket or {}) do
      if one.labels.verb == verb then
        local bound = one.labels.le == '+Inf' and math.huge or tonumber(one.labels.le)
        by_bound[bound] = (by_bound[bound] or 0) + sign * one.value
      end
    end
  end
  for bound, count in pairs(by_bound) do list[#list + 1] = { bound = bound, count = count } end
  table.sort(list, function(a, b) return a.bound < b.bound end)
  return list
end

-- The bound below which a part of the calls is; nil: there were none.
local function quantile(buckets, part)
  local all = #buckets > 0 and buckets[#buckets].count or 0
  if all <= 0 then return nil end
  for _, bucket in ipairs(buckets) do
    if bucket.count >= all * part then return bucket.bound end
  end
end

local function verbs_of(now)
  local names = {}
  for _, one in ipairs(now.stores_call_seconds_count or {}) do
    if one.labels.verb then names[one.labels.verb] = true end
  end
  return sorted(names)
end

local function add_verbs(report, before, now, seconds)
  for _, name in ipairs(verbs_of(now)) do
    local calls = rate(before, now, seconds, 'stores_call_seconds_count', 'verb', name)
    if calls > 0 then
      local buckets = buckets_of(before, now, name)
      local spent = rate(before, now, seconds, 'stores_call_seconds_sum', 'verb', name)
      report.verbs[#report.verbs + 1] = { verb = name, calls = calls, mean = spent / calls,
        half = quantile(buckets, 0.5), most = quantile(buckets, 0.99) }
    end
  end
  table.sort(report.verbs, function(a, b)
    if a.calls ~= b.calls then return a.calls > b.calls end
    return a.verb < b.verb
  end)
end

local function labelled(figures, name)
  local list = {}
  for _, one in ipairs(figures[name] or {}) do
    list[#list + 1] = { table = one.labels.table, reason = one.labels.reason, value = one.value }
  end
  table.sort(list, function(a, b) return (a.table or '') < (b.table or '') end)
  return list
end

local POOL = { 'size', 'idle', 'connecting', 'reading', 'writing', 'checked_out', 'stalled',
  'waiters' }

---@class stores.TopReport figures by the second are of the time between the two looks
---@field seconds number
---@field workers number
---@field calls number a second
---@field hits number? of reads by id, from 0 to 1; nil: there were none
---@field verbs {verb: string, calls: number, mean: number, half: number?, most: number?}[]
---@field pool table<string, number>

--- What happened between two looks.
---@param before table<string, stores.Series[]>
---@param now table<string, stores.Series[]>
---@param seconds number
---@return stores.TopReport
function top.between(before, now, seconds)
  local function per_second(name) return rate(before, now, seconds, 'stores_' .. name) end
  local hits = per_second('hits_total') + per_second('negative_hits_total')
  local reads = hits + per_second('misses_total')
  local report = { seconds = seconds, workers = sum_of(now, 'stores_workers'), verbs = {},
    pool = {}, calls = per_second('calls_total'), hits = reads > 0 and hits / reads or nil,
    timeouts = per_second('timeouts_total'), commits = per_second('commits_total'),
    postgres = per_second('pg_round_trips_total'), redis = per_second('redis_round_trips_total'),
    bypassed = per_second('bypassed_total'), lost = per_second('pg_lost_total'),
    pending = sum_of(now, 'stores_ops'), transactions = sum_of(now, 'stores_transactions'),
    redis_up = now.stores_redis_up and sum_of(now, 'stores_redis_up') > 0 or false,
    redis_trouble = sum_of(now, 'stores_redis_trouble') > 0,
    turning = labelled(now, 'stores_table_turning_seconds'),
    uncached = labelled(now, 'stores_table_uncached') }
  for _, name in ipairs(POOL) do report.pool[name] = sum_of(now, 'stores_pool_' .. name) end
  add_verbs(report, before, now, seconds)
  return report
end

local function ms(seconds)
  if not seconds then return '-' end
  if seconds == math.huge then return 'longer' end
  return ('%.3g'):format(seconds * 1000)
end

local function whole(number)
  local text = ('%d'):format(number + 0.5):reverse():gsub('(%d%d%d)', '%1,'):reverse()
  return (text:gsub('^,', ''))
end

--- A report as lines.
---@param report stores.TopReport
---@return string[]
function top.lines(report)
  local lines = {}
  local function add(text, ...) lines[#lines + 1] = text:format(...) end
  add('%s  %s calls/s  hits %s  pending %d  transactions %d',
    counted(report.workers, 'process'), whole(report.calls),
    report.hits and ('%.1f %%'):format(report.hits * 100) or '-',
    report.pending, report.transactions)
  add('timeouts %.3g/s  commits %s/s  round trips: PostgreSQL %s/s, Redis %s/s', report.timeouts,
    whole(report.commits), whole(report.postgres), whole(report.redis))
  local pool = report.pool
  add('pool  %d of %d in use (%d reading, %d writing, %d checked out), %d idle, %d wait%s',
    pool.reading + pool.writing + pool.checked_out, pool.size, pool.reading, pool.writing,
    pool.checked_out, pool.idle, pool.waiters,
    pool.stalled > 0 and (', %d stalled'):format(pool.stalled) or '')
  add('Redis %s%s%s', report.redis_up and 'answers' or 'does not answer everybody',
    report.redis_trouble and ', with trouble' or '',
    report.bypassed > 0 and (', %.3g writes/s go by it'):format(report.bypassed) or '')
  if report.lost > 0 then add('connections to PostgreSQL are lost: %.3g/s', report.lost) end
  for _, one in ipairs(report.turning) do
    add('turning     %s, since %.0f s', one.table, one.value)
  end
  for _, one in ipairs(report.uncached) do
    add('not cached  %s: %s', one.table, one.reason or '?')
  end
  add('')
  add('%-24s %10s %10s %10s %10s', 'verb', 'calls/s', 'mean ms', '50 % ms', '99 % ms')
  for _, one in ipairs(report.verbs) do
    add('%-24s %10s %10s %10s %10s', one.verb, whole(one.calls), ms(one.mean), ms(one.half),
      ms(one.most))
  end
  return lines
end

return top
