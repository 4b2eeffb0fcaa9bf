--- The text format of Prometheus 0.0.4, read strictly: what promtool would complain of raises.

local prometheus = {}

local NAME = '^[%a_:][%w_:]*$'
local SUFFIXES = { counter = { [''] = true }, gauge = { [''] = true },
  histogram = { _bucket = true, _sum = true, _count = true } }

local function refuse(at, line, why)
  error(('line %d: %s: %s'):format(at, why, line), 0)
end

local ESCAPED = { ['\\\\'] = '\\', ['\\"'] = '"', ['\\n'] = '\n' }

-- {name="value",...} from at on; gives the labels, and where the rest begins.
local function read_labels(line, at, number)
  local labels, order = {}, {}
  if line:sub(at, at) ~= '{' then return labels, '', at end
  at = at + 1
  while line:sub(at, at) ~= '}' do
    local name, start = line:match('^([%a_][%w_]*)="()', at)
    if not name then refuse(number, line, 'a label') end
    if labels[name] then refuse(number, line, 'a label twice') end
    local stop = start
    while line:sub(stop, stop) ~= '"' do
      local char = line:sub(stop, stop)
      if char == '' then refuse(number, line, 'an open label') end
      if char == '\\' then
        if not ESCAPED[line:sub(stop, stop + 1)] then refuse(number, line, 'an escape') end
        stop = stop + 1
      end
      stop = stop + 1
    end
    labels[name] = line:sub(start, stop - 1):gsub('\\.', ESCAPED)
    if name ~= 'le' then order[#order + 1] = line:sub(at, stop) end
    at = stop + 1
    if line:sub(at, at) == ',' then at = at + 1
    elseif line:sub(at, at) ~= '}' then refuse(number, line, 'no comma') end
  end
  table.sort(order)
  return labels, table.concat(order, ','), at + 1
end

local function read_value(text, number, line)
  if text == '+Inf' then return math.huge end
  local value = text:find('^[%-+]?[%d.]+[eE]?[%-+]?%d*$') and tonumber(text)
  if not value then refuse(number, line, 'a value') end
  return value
end

-- The buckets of a histogram go up, the last has no bound, and its count is that of all.
local function check_histogram(family, key, of)
  local last, below = -math.huge, 0
  for _, bucket in ipairs(of.buckets) do
    if bucket.le <= last then error(family .. '{' .. key .. '}: bounds go down', 0) end
    if bucket.count < below then error(family .. '{' .. key .. '}: counts go down', 0) end
    last, below = bucket.le, bucket.count
  end
  if last ~= math.huge then error(family .. '{' .. key .. '} has no +Inf', 0) end
  if of.count ~= below then error(family .. '{' .. key .. '}: +Inf is not the count', 0) end
  if not of.sum then error(family .. '{' .. key .. '} has no sum', 0) end
end

local function add_to_histogram(of, suffix, labels, value, number, line)
  if suffix == '_bucket' then
    if not labels.le then refuse(number, line, 'no le') end
    of.buckets[#of.buckets + 1] = { le = read_value(labels.le, number, line), count = value }
  else
    local field = suffix:sub(2)
    if of[field] then refuse(number, line, 'twice') end
    of[field] = value
  end
end

--- Reads a scrape; raises what is wrong with it.
---@param text string
---@return table<string, {kind: string, help: string, series: table<string, any>}> by name; a series
--- is a value by its labels as they are written, sorted; of a histogram {buckets, sum, count}
function prometheus.read(text)
  local families, current, number, helps = {}, nil, 0, {}
  if text:sub(-1) ~= '\n' then error('the last line does not end', 0) end
  for line in text:gmatch('([^\n]*)\n') do
    number = number + 1
    local what, name, rest = line:match('^# (%u+) (%S+) (.+)$')
    if what == 'HELP' then
      if helps[name] then refuse(number, line, 'HELP twice') end
      helps[name] = rest
    elseif what == 'TYPE' then
      if families[name] then refuse(number, line, 'TYPE twice') end
      if not SUFFIXES[rest] then refuse(number, line, 'a type') end
      if not helps[name] then refuse(number, line, 'no HELP before it') end
      if not name:find(NAME) then refuse(number, line, 'a name') end
      if (rest == 'counter') ~= (name:sub(-6) == '_total') then
        refuse(number, line, 'counters, and they alone, end in _total')
      end
      current = { name = name, kind = rest, help = helps[name], series = {} }
      families[name] = current
    else
      local own, at = line:match('^([%a_:][%w_:]*)()')
      if not own then refuse(number, line, 'no sample') end
      local suffix = current and own:sub(1, #current.name) == current.name
        and own:sub(#current.name + 1)
      if not suffix or not SUFFIXES[current.kind][suffix] then
        refuse(number, line, 'not below its TYPE')
      end
      local labels, key
      labels, key, at = read_labels(line, at, number)
      local value = read_value(line:match('^ (%S+)$', at) or '', number, line)
      if current.kind ~= 'histogram' then
        if current.series[key] then refuse(number, line, 'a series twice') end
        if current.kind == 'counter' and value < 0 then refuse(number, line, 'below 0') end
        current.series[key] = value
      else
        current.series[key] = current.series[key] or { buckets = {} }
        add_to_histogram(current.series[key], suffix, labels, value, number, line)
      end
    end
  end
  for name, family in pairs(families) do
    if not next(family.series) then error(name .. ' has no series', 0) end
    for key, of in pairs(family.series) do
      if family.kind == 'histogram' then check_histogram(name, key, of) end
    end
  end
  return families
end

--- The sum of the series of a family; of a histogram of its counts.
---@param families table what read gave
---@param name string
---@return number
function prometheus.sum(families, name)
  local sum = 0
  for _, value in pairs(families[name] and families[name].series or {}) do
    sum = sum + (type(value) == 'table' and value.count or value)
  end
  return sum
end

return prometheus
