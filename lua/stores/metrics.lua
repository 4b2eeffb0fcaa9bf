--- The figures of all stores, for Prometheus and for pages.

local arguments = require('stores.config.metrics')
local errors = require('stores.errors')
local figures = require('stores.metrics.figures')
local prometheus = require('stores.metrics.prometheus')
local shared = require('stores.metrics.shared')
local snapshot = require('stores.metrics.snapshot')
local Store = require('stores.store')

local metrics = {}

Store.watched = shared

local function all(opts)
  local sum = snapshot.sum()
  for store in pairs(Store.open_stores) do
    if not shared.has(store) then
      local list = {}
      snapshot.add_store(list, store, shared.name_of(store))
      sum:add(list)
    end
  end
  shared.add(sum, (opts.dict or opts.folder) and { dict = opts.dict, folder = opts.folder } or nil)
  return sum
end

local UNESCAPED = { ['\\\\'] = '\\', ['\\"'] = '"', ['\\n'] = '\n' }

local function labels_of(text)
  local labels = {}
  local at = 1
  while true do
    local name, start = text:match('^([%w_]+)="()', at)
    if not name then return labels end
    local stop = start
    while text:sub(stop, stop) ~= '"' do
      stop = stop + (text:sub(stop, stop) == '\\' and 2 or 1)
    end
    labels[name] = text:sub(start, stop - 1):gsub('\\[\\"n]', UNESCAPED)
    at = stop + 2
  end
end

-- As tables, in the order of the text.
local function tables_of(sum)
  local list = {}
  for figure, by_labels in pairs(sum.figures) do
    local what = figures.of(figure)
    local series = {}
    for labels, value in pairs(by_labels) do
      series[#series + 1] = { labels = labels_of(labels), value = value, order = labels }
    end
    table.sort(series, function(a, b) return a.order < b.order end)
    for _, one in ipairs(series) do one.order = nil end
    list[#list + 1] = { name = figures.full_name(figure), kind = what.kind, help = what.help,
      series = series }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local KNOWN = { dict = true, folder = true, as = true }

--- The figures of every open store of this Lua state, and of those of all processes that share
--- theirs (opts.metrics of a store), in the text format of Prometheus 0.0.4; or as tables: an array
--- of {name =, kind =, help =, series = {{labels =, value =}, ...}}.
---@param opts? {dict: string?, folder: string?, as: 'text'|'table'?} dict, folder: where others
--- share theirs, for a process that has no store of its own yet
---@return string|table
---Raises invalid_option.
function metrics.text(opts)
  if opts ~= nil and type(opts) ~= 'table' then
    errors.raise('invalid_option', 'stores.metrics takes a table, got ' .. errors.kind(opts))
  end
  opts = opts or {}
  for key in pairs(opts) do
    if not KNOWN[key] then
      errors.raise('invalid_option', ("stores.metrics has no option '%s'; it takes dict, folder "
        .. 'and as'):format(tostring(key)))
    end
  end
  if opts.dict ~= nil or opts.folder ~= nil then
    arguments.check({ dict = opts.dict, folder = opts.folder })
  end
  if opts.as ~= nil and opts.as ~= 'text' and opts.as ~= 'table' then
    errors.raise('invalid_option', "as is 'text' or 'table'")
  end
  local sum = all(opts)
  if opts.as == 'table' then return tables_of(sum) end
  return prometheus.text(sum)
end

--- The same of some stores alone.
---@param list stores.Store[]
---@param as 'text'|'table'|nil
---@return string|table
function metrics.of(list, as)
  local sum = snapshot.sum()
  for _, store in ipairs(list) do
    local figures_of_store = {}
    snapshot.add_store(figures_of_store, store, shared.name_of(store))
    sum:add(figures_of_store)
  end
  return as == 'table' and tables_of(sum) or prometheus.text(sum)
end

return metrics
