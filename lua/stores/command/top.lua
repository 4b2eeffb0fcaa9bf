--- stores top [SOURCE]

local scrape = require('stores.inspect.scrape')
local system = require('stores.local.system')
local top = require('stores.inspect.top')
local json = require('stores.json')

local HOME, CLEAR_LINE, CLEAR_BELOW = '\27[H', '\27[K', '\27[J'
local STEP = 0.1

local function seconds(text)
  local number = tonumber(text)
  if number and number >= 0.1 and number <= 3600 then return number end
  return nil, ("'%s' is no number of seconds from 0.1 to 3600"):format(text)
end

-- A folder of figures that the configuration names.
local function configured(context)
  local place = context.place()
  local opts = place.opts or place.shards and place.shards[1].opts or {}
  local folder = opts.metrics and opts.metrics.folder
  if not folder then
    context.usage('where are the figures? Name a folder, http://host:port/path or '
      .. 'unix:/path/of/socket, or give a configuration with opts.metrics.folder')
  end
  return folder
end

-- Waits, and ends early where it is to stop.
local function pause(context, every)
  local left = every
  while left > 0 and not context.stopping() do
    system.sleep(math.min(left, STEP))
    left = left - STEP
  end
end

-- One look after the other; gives what a page shows.
local function draw(context, source, lines, is_terminal)
  local page = { ('stores top  %s  %s'):format(source, os.date('%H:%M:%S')) }
  for _, line in ipairs(lines) do page[#page + 1] = line end
  if is_terminal then
    context.stdout:write(HOME, table.concat(page, CLEAR_LINE .. '\n'), CLEAR_LINE, '\n',
      CLEAR_BELOW)
  else
    context.stdout:write(table.concat(page, '\n'), '\n\n')
  end
  context.stdout:flush()
end

local function watch(context, source, args, is_terminal)
  local look = scrape.of(source)
  local now = require('stores.wait').host.now
  local before, looked = look(), now()
  local count = 0
  while not context.stopping() and (not args.count or count < args.count) do
    pause(context, args.every)
    if context.stopping() then return end
    local figures, at = look(), now()
    local report = top.between(before, figures, math.max(at - looked, 0.001))
    before, looked, count = figures, at, count + 1
    if context.json then
      for _, name in ipairs({ 'verbs', 'turning', 'uncached' }) do json.array(report[name]) end
      for _, one in ipairs(report.verbs) do
        for _, name in ipairs({ 'half', 'most' }) do
          if one[name] == math.huge then one[name] = nil end
        end
      end
      context.print(json.encode(report))
      context.stdout:flush()
    else
      draw(context, source, top.lines(report), is_terminal)
    end
  end
end

return {
  name = 'top',
  summary = 'shows live figures of running processes',
  text = [[
Shows how many calls a second running processes make, how many reads find their document in the
cache, how long calls take, how the pools are, which tables turn and which are not cached: anew
every second, until Ctrl-C. On a terminal the page is drawn in place; elsewhere each look is a
paragraph, and with --json a line.

The figures are those of stores.metrics(). They come from

  a folder               in which processes leave them
  http://host:port/path  a page of them, such as /metrics of nginx
  unix:/path/of/socket   the same by a unix socket; a colon and the path of the
                         page may stand behind it

A process leaves them in a folder where its store is opened with opts = { metrics = { folder =
'/run/app' } }. A configuration for --config that has it says which folder that is.]],
  example = {
    'stores top /run/app/metrics',
    'stores top http://127.0.0.1:8080/metrics --every 5',
    'stores top unix:/run/app/nginx.sock --count 1 --json',
  },
  describe = function(parser)
    parser:argument('source', 'Where the figures are.'):args('?')
    parser:option('--every', 'Seconds between two looks.'):default('1'):convert(seconds)
      :argname('SECONDS')
    parser:option('--count', 'Ends after so many looks.')
      :convert(require('stores.command.input').count(1)):argname('N')
  end,
  run = function(args, context)
    local source = args.source or configured(context)
    local is_terminal = not context.json and system.is_terminal(1)
    if is_terminal then context.stdout:write('\27[2J') end
    watch(context, source, args, is_terminal)
  end,
}
