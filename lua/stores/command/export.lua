--- stores export TABLE

local criteria_of = require('stores.command.criteria')
local errors = require('stores.errors')
local gzip = require('stores.bulk.gzip')
local progress = require('stores.progress')
local unload = require('stores.bulk.unload')

local BATCH = 5000

local function plain_writer(path, is_more)
  local file, why = io.stdout, nil
  if path then file, why = io.open(path, is_more and 'a' or 'w') end
  if not file then errors.raise('invalid_argument', 'cannot open ' .. why) end
  return {
    write = function(_, text)
      local ok, problem = file:write(text)
      if not ok then error('cannot write: ' .. tostring(problem), 0) end
    end,
    close = function()
      local ok, problem
      if path then ok, problem = file:close() else ok, problem = file:flush() end
      if not ok then error('cannot write: ' .. tostring(problem), 0) end
    end,
  }
end

local function writer_of(args)
  if args.output and args.output:find('%.gz$') then
    return gzip.writer(args.output, args.after ~= nil)
  end
  return plain_writer(args.output, args.after ~= nil)
end

local function export(args, context, doc, opts)
  local list, written, place = context.stores(), 0, args.after
  local total = not opts.where and not next(doc or {}) and not args.after and 0 or nil
  for _, store in ipairs(total and list or {}) do total = total + store:count(args.table) end
  local out, bar = writer_of(args), context.progress('export', total)
  local finished = unload.run(list, args.table,
    { where = opts.where, contains = doc and next(doc) and doc or nil },
    { batch = args.batch, after = args.after, timeout = args.timeout,
      stopping = context.stopping }, function(lines, count, at)
      out:write(lines)
      written, place = written + count, at
      bar:at(written)
    end)
  local seconds = bar:done()
  out:close()
  context.say(('%s: %s documents, %s'):format(args.table, progress.thousands(written),
    progress.took(written, seconds)))
  if finished then return nil end
  context.say(('stopped: --after %s goes on behind it'):format(place or ''))
  return 1
end

return {
  name = 'export',
  summary = 'writes the documents of a table as JSON Lines',
  text = [[
Writes each document as a line, as it is stored, with its id, in the order of ids. It reads batch by
batch, so that memory does not depend on the table; what is changed meanwhile may be in it as it was
or as it is, each document being one that was committed. Documents of a declared table that are past
their time are left out.

Without --output it goes to stdout. A name that ends with .gz is compressed. Ctrl-C ends it behind a
batch, and says from where on to go on; what comes then is written behind what is there.]],
  example = {
    'stores export users > users.jsonl',
    'stores export users --output users.jsonl.gz',
    [[stores export users '{"state": "open"}' | jq .name]],
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    criteria_of.describe(parser)
    parser:option('--output', 'The file that is written.'):argname('FILE')
    criteria_of.describe_walk(parser, 'an export', BATCH)
  end,
  run = function(args, context)
    local doc, opts = criteria_of.read(args, context)
    context.stopping() -- from now on signals are caught
    return export(args, context, doc, opts)
  end,
}
