--- stores copy TABLE

local criteria_of = require('stores.command.criteria')
local load = require('stores.bulk.load')
local place = require('stores.command.place')
local progress = require('stores.progress')
local tasks = require('stores.tasks')
local unload = require('stores.bulk.unload')

local BATCH = 5000

-- The stores that it goes to, and what is to be closed afterwards.
local function target(args, context)
  local to = args.to
  if not to then return context.stores(), nil end
  local is_url = to:find('^postgres') ~= nil
  local at = place.of({ config = not is_url and to or nil, url = is_url and to or nil,
    redis = args.to_redis })
  local stores = require('stores')
  if at.shards then
    local shards = place.checked(at, stores.Shards.new, at.shards)
    return shards.shards, shards
  end
  local store = place.checked(at, stores.Store.new, at.db, at.redis, at.opts)
  return { store }, store
end

local function copy_all(args, context, loader, walk, bar)
  local count = 0
  local finished = unload.run(context.stores(), args.table, walk.criteria, { batch = args.batch,
    after = args.after, timeout = args.timeout, stopping = context.stopping, waits = true },
    function(lines, _, place_of)
      for line in lines:gmatch('[^\n]+') do
        count = count + 1
        loader:line(count, line)
      end
      loader:finish()
      bar:at(count)
      walk.last = place_of
    end)
  return count, finished
end

local function copy(args, context)
  local doc, opts = criteria_of.read(args, context)
  local stores, opened = target(args, context)
  local name = args.as or args.table
  local loader = load.new(stores, name, { conflict = args.conflict, rows = args.batch,
    timeout = args.timeout, reject = function(_, why)
      error(('a document cannot be copied: %s'):format(why), 0)
    end })
  local walk = { criteria = { where = opts.where, contains = doc and next(doc) and doc or nil } }
  local bar = context.progress('copy', nil)
  local ok, count, finished = pcall(copy_all, args, context, loader, walk, bar)
  local seconds = bar:done()
  if opened then opened:close() end
  if not ok then
    if walk.last then context.say(('--after %s goes on behind it'):format(walk.last)) end
    error(count, 0)
  end
  local counts = loader.counts
  context.result({ table = args.table, inserted = counts.inserted, replaced = counts.replaced,
    ignored = counts.ignored, finished = finished, seconds = seconds },
    { ('%s: %s documents, %s'):format(name, progress.thousands(count),
      progress.took(count, seconds)) })
  if finished then return nil end
  context.say(('stopped: --after %s goes on behind it'):format(walk.last))
  return 1
end

return {
  name = 'copy',
  summary = 'copies the documents of a table into another one',
  text = [[
Reads the documents of a table batch by batch, in the order of ids, and stores each batch in one
transaction: in another table of the same database (--as), or in the servers of --to, which may be
shards, or be those of a program that has other ones: each document goes to the shard of its id.
The ids stay what they are. The table has to be there.

Ctrl-C ends it behind a batch, and says how to go on.]],
  example = {
    'stores copy users --as users_before',
    'stores copy users --to new-servers.lua --conflict replace',
    [[stores copy users '{"state": "open"}' --to postgresql://app@db2/shop --to-redis none]],
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    criteria_of.describe(parser)
    parser:option('--to', 'Where it goes: a file as for --config, or a url as for --url.')
      :argname('PLACE')
    parser:option('--to-redis', 'With a url in --to, what --redis is to --url.'):argname('URL')
    parser:option('--as', 'The table there.'):argname('TABLE')
    parser:option('--conflict', 'Where a row has the id already: `fail` ends the copy, `ignore` '
      .. 'leaves the row, `replace` gives it the document.'):choices({ 'fail', 'ignore',
        'replace' }):default('fail')
    criteria_of.describe_walk(parser, 'a copy', BATCH)
  end,
  run = function(args, context)
    if not args.to and not args.as then
      context.usage('where to? Give --as TABLE, --to PLACE, or both')
    end
    context.stopping() -- from now on signals are caught
    return tasks.run(copy, args, context)
  end,
}
