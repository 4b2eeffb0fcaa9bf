--- Figures in the text format of Prometheus, version 0.0.4.

local figures = require('stores.metrics.figures')
local sorted = require('stores.sorted')

local prometheus = {}

-- Digits that read back as the same double.
local function number(value)
  if value == math.huge then return '+Inf' end
  local text = ('%.15g'):format(value)
  return tonumber(text) == value and text or ('%.17g'):format(value)
end

local function add_histogram(lines, name, labels, value)
  local below = 0
  for _, bucket in ipairs(value.buckets) do
    below = below + bucket[2]
    lines[#lines + 1] = ('%s_bucket{%s,le="%s"} %s'):format(name, labels,
      number(bucket[1] or math.huge), number(below))
  end
  lines[#lines + 1] = ('%s_sum{%s} %s'):format(name, labels, number(value.sum))
  lines[#lines + 1] = ('%s_count{%s} %s'):format(name, labels, number(below))
end

--- The text of a sum.
---@param sum stores.Sum
---@return string
function prometheus.text(sum)
  local lines = {}
  for _, figure in ipairs(sorted(sum.figures)) do
    local what, name = figures.of(figure), figures.full_name(figure)
    local by_labels = sum.figures[figure]
    lines[#lines + 1] = ('# HELP %s %s'):format(name, what.help)
    lines[#lines + 1] = ('# TYPE %s %s'):format(name, what.kind)
    for _, labels in ipairs(sorted(by_labels)) do
      local value = by_labels[labels]
      if what.kind == 'histogram' then
        add_histogram(lines, name, labels, value)
      elseif labels == '' then
        lines[#lines + 1] = ('%s %s'):format(name, number(value))
      else
        lines[#lines + 1] = ('%s{%s} %s'):format(name, labels, number(value))
      end
    end
  end
  return table.concat(lines, '\n') .. '\n'
end

return prometheus
