--- The figures of stores at one moment, and sums of such. A snapshot is an array of {figure,
--- labels, value}, where labels is as Prometheus writes them; the value of a histogram is {sum =,
--- buckets = {{le, count}, ...}}.

local figures = require('stores.metrics.figures')

local snapshot = {}

---@alias stores.Snapshot {[1]: string, [2]: string, [3]: number|table}[]

local ESCAPES = { ['\\'] = '\\\\', ['"'] = '\\"', ['\n'] = '\\n' }

--- Labels as Prometheus writes them.
---@param ... string name, value, ...
---@return string
function snapshot.labels(...)
  local parts = {}
  for at = 1, select('#', ...), 2 do
    local name, value = select(at, ...)
    parts[#parts + 1] = ('%s="%s"'):format(name, (value:gsub('[\\"\n]', ESCAPES)))
  end
  return table.concat(parts, ',')
end

local function histogram_of(latency)
  local buckets = {}
  for place, bucket in ipairs(latency) do buckets[place] = { bucket.le or false, bucket.count } end
  return { sum = latency.sum, buckets = buckets }
end

--- Adds the figures of one store to a snapshot.
---@param list stores.Snapshot
---@param store stores.Store
---@param name string what it is called
function snapshot.add_store(list, store, name)
  local own = { 'store', name }
  if store.shard then own = { 'store', name, 'shard', tostring(store.shard) } end
  local function labels(...) return snapshot.labels(unpack(own)) .. ',' .. snapshot.labels(...) end
  local plain, stats = snapshot.labels(unpack(own)), store:stats()
  for figure, value in pairs(stats) do
    if type(value) == 'number' then list[#list + 1] = { figure, plain, value } end
  end
  if stats.redis_up then
    list[#list + 1] = { 'redis_trouble', plain, stats.redis_trouble and 1 or 0 }
  end
  for table_name, why in pairs(stats.uncached) do
    list[#list + 1] = { 'table_uncached', labels('table', table_name, 'reason', why), 1 }
  end
  for _, turning in ipairs(stats.turning) do
    list[#list + 1] = { 'table_turning_seconds', labels('table', turning.table), turning.seconds }
  end
  for verb, latency in pairs(stats.latency) do
    if latency.count > 0 then
      list[#list + 1] = { 'call_seconds', labels('verb', verb), histogram_of(latency) }
    end
  end
end

-- Those of one library have the same bounds; of another one, while it is replaced, all that is
-- known is how many there were.
local function add_histogram(sum, value)
  sum.sum = sum.sum + value.sum
  for place, bucket in ipairs(value.buckets) do
    local own = sum.buckets[place]
    if not own or own[1] ~= bucket[1] then own = sum.buckets[#sum.buckets] end
    own[2] = own[2] + bucket[2]
  end
end

local function copy(value)
  if type(value) ~= 'table' then return value end
  local buckets = {}
  for place, bucket in ipairs(value.buckets) do buckets[place] = { bucket[1], bucket[2] } end
  return { sum = value.sum, buckets = buckets }
end

---@class stores.Sum by figure and labels
local Sum = {}
Sum.__index = Sum

--- An empty sum.
---@return stores.Sum
function snapshot.sum()
  return setmetatable({ figures = {} }, Sum)
end

--- Adds a snapshot; of a process that is no more what it counted, and nothing of how it was.
---@param list stores.Snapshot
---@param is_over? boolean
function Sum:add(list, is_over)
  for _, one in ipairs(list) do
    local name, labels, value = one[1], one[2], one[3]
    local figure = figures.of(name)
    if figure.kind ~= 'gauge' or not is_over then
      local by_labels = self.figures[name] or {}
      self.figures[name] = by_labels
      local before = by_labels[labels]
      if before == nil then
        by_labels[labels] = copy(value)
      elseif figure.kind == 'histogram' then
        add_histogram(before, value)
      elseif figure.joins == 'sum' then
        by_labels[labels] = before + value
      else
        by_labels[labels] = math[figure.joins](before, value)
      end
    end
  end
end

--- The sum as a snapshot.
---@return stores.Snapshot
function Sum:list()
  local list = {}
  for name, by_labels in pairs(self.figures) do
    for labels, value in pairs(by_labels) do list[#list + 1] = { name, labels, value } end
  end
  return list
end

return snapshot
