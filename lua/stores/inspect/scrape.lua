--- The figures of running processes, from where they leave them: a folder (opts.metrics of their
--- stores), or a page in the text format of Prometheus, by http or a unix socket.

local errors = require('stores.errors')
local http = require('stores.inspect.http')
local metrics = require('stores.metrics')
local system = require('stores.local.system')

local scrape = {}

local UNESCAPED = { ['\\\\'] = '\\', ['\\"'] = '"', ['\\n'] = '\n' }

local function labels_of(text)
  local labels, at = {}, 1
  while true do
    local name, value, stop = text:match('^([%w_]+)="(.-)"()', at)
    if not name then return labels end
    -- a quote behind a backslash is part of the value
    while value:match('\\*$'):len() % 2 == 1 do
      local more, next_stop = text:match('^(.-)"()', stop)
      if not more then return labels end
      value, stop = value .. '"' .. more, next_stop
    end
    labels[name] = value:gsub('\\[\\"n]', UNESCAPED)
    at = text:match('^,?%s*()', stop)
  end
end

---@class stores.Series
---@field labels table<string, string>
---@field value number

--- Reads a page of Prometheus' text format, version 0.0.4.
---@param text string
---@return table<string, stores.Series[]> by the names of the series
function scrape.read(text)
  local found = {}
  for line in text:gmatch('[^\r\n]+') do
    local name, labels, value = line:match('^([%a_:][%w_:]*)%s*{(.*)}%s*(%S+)')
    if not name then name, value = line:match('^([%a_:][%w_:]*)%s+(%S+)') end
    local number = value == '+Inf' and math.huge or tonumber(value)
    if name and number then
      local list = found[name] or {}
      found[name] = list
      list[#list + 1] = { labels = labels_of(labels or ''), value = number }
    end
  end
  return found
end

--- Where figures are, by what a caller says: a folder, http://.. or unix:/..
---@param source string
---@return fun(): table<string, stores.Series[]> look
---Raises invalid_option.
function scrape.of(source)
  local place = http.place(source, '/metrics')
  if place then return function() return scrape.read(http.get(place)) end end
  if source:find('^%a+://') then
    errors.raise('invalid_option', 'figures come from a folder, from http://host:port/path, or '
      .. 'from unix:/path/of/socket')
  end
  local stat = system.stat(system.real_path(source) or source)
  if not stat or stat.kind ~= 'directory' then
    errors.raise('invalid_option', ("there is no folder %s: a store has its figures there by opts "
      .. '= { metrics = { folder = %q } }'):format(source, source))
  end
  return function() return scrape.read(metrics.text({ folder = source })) end
end

return scrape
