--- A page for people: how the service is, over all of its workers, as plain HTML that reads itself
--- anew. It asks the figures that /metrics has.

local stores = require('stores')

local status = {}

local PAGE = [[
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="5">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Status</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
    color: #222; }
  h2 { font-size: 1.05rem; margin: 1.6rem 0 .3rem; }
  table { border-collapse: collapse; width: 100%%; }
  td, th { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid #e4e4e4;
    vertical-align: top; font-weight: 400; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
  th { color: #666; }
  th + th { text-align: right; }
  .bad { color: #a00; font-weight: 600; }
</style>
<h1>Status</h1>
<p>%s</p>
%s</html>
]]

local ESCAPES = { ['&'] = '&amp;', ['<'] = '&lt;', ['>'] = '&gt;', ['"'] = '&quot;' }

local function html(text) return (tostring(text):gsub('[&<>"]', ESCAPES)) end

local function row(cells, is_bad)
  return ('<tr%s><td>%s</td><td class="number">%s</td></tr>\n'):format(
    is_bad and ' class="bad"' or '', html(cells[1]), html(cells[2]))
end

-- What is not as it should be, where it is not 0 (of redis_up: where it is).
local BAD = { stores_timeouts_total = true, stores_pool_stalled = true, stores_pool_waiters = true,
  stores_listeners_deaf = true, stores_redis_trouble = true, stores_unknown_outcomes_total = true,
  stores_bypassed_total = true }

-- The bound below which so much of a histogram is, such as '<= 0.001 s'.
local function quantile(value, part)
  local all, below = 0, 0
  for _, bucket in ipairs(value.buckets) do all = all + bucket[2] end
  for _, bucket in ipairs(value.buckets) do
    below = below + bucket[2]
    if below >= all * part then return bucket[1] and ('<= %.3g s'):format(bucket[1]) or 'longer' end
  end
end

local function times(family)
  local lines = {}
  for _, one in ipairs(family.series) do
    local count = 0
    for _, bucket in ipairs(one.value.buckets) do count = count + bucket[2] end
    lines[#lines + 1] = ('<tr><td>%s</td><td class="number">%d</td><td class="number">%s</td>'
      .. '<td class="number">%s</td></tr>\n'):format(html(one.labels.verb), count,
      html(quantile(one.value, 0.5)), html(quantile(one.value, 0.99)))
  end
  return '<h2>Calls</h2>\n<table><tr><th>verb</th><th>calls</th><th>half of them</th>'
    .. '<th>99 of 100</th></tr>\n' .. table.concat(lines) .. '</table>\n'
end

local function uncached(family)
  local lines = {}
  for _, one in ipairs(family.series) do
    lines[#lines + 1] = row({ one.labels.table, one.labels.reason })
  end
  return '<h2>Tables that are not cached</h2>\n<table>\n' .. table.concat(lines) .. '</table>\n'
end

local function figures(title, list, kind)
  local lines = {}
  for _, family in ipairs(list) do
    for _, one in ipairs(family.kind == kind and family.series or {}) do
      local is_bad = BAD[family.name] and one.value > 0
        or family.name == 'stores_redis_up' and one.value == 0
      if family.name ~= 'stores_table_uncached' and (kind == 'gauge' or one.value > 0) then
        lines[#lines + 1] = row({ family.help, ('%.14g'):format(one.value) }, is_bad)
      end
    end
  end
  return ('<h2>%s</h2>\n<table>\n%s</table>\n'):format(title, table.concat(lines))
end

--- Answers with the page.
---@param dict string the lua_shared_dict of the metrics
function status.handle(dict)
  local list, by_name = stores.metrics({ dict = dict, as = 'table' }), {}
  for _, family in ipairs(list) do by_name[family.name] = family end
  local parts = {}
  if by_name.stores_call_seconds then parts[#parts + 1] = times(by_name.stores_call_seconds) end
  parts[#parts + 1] = figures('At this moment', list, 'gauge')
  local not_cached = by_name.stores_table_uncached
  if not_cached then parts[#parts + 1] = uncached(not_cached) end
  parts[#parts + 1] = figures('Since it was started', list, 'counter')
  local workers = by_name.stores_workers.series[1].value
  ngx.header.content_type = 'text/html; charset=utf-8'
  ngx.header.cache_control = 'no-store'
  ngx.print(PAGE:format(('%d workers have called so far; %s UTC'):format(workers,
    os.date('!%H:%M:%S')), table.concat(parts)))
end

return status
