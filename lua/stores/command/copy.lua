--- stores copy TABLE, and stores copy --from OLD --to NEW (move.lua).

local criteria_of = require('stores.command.criteria')
local load = require('stores.bulk.load')
local move = require('stores.command.move')
local place = require('stores.command.place')
local progress = require('stores.progress')
local tasks = require('stores.tasks')
local unload = require('stores.bulk.unload')

local BATCH = 5000

-- What --to says.
local function place_of(args)
  local to = args.to
  local is_url = to:find('^postgres') ~= nil
  return place.of({ config = not is_url and to or nil, url = is_url and to or nil,
    redis = args.to_redis })
end

-- The stores that it goes to, and what is to be closed afterwards.
local function target(args, context)
  if not args.to then return context.stores(), nil end
  local at = place_of(args)
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
    function(lines, _, at)
      for line in lines:gmatch('[^\n]+') do
        count = count + 1
        loader:line(count, line)
      end
      loader:finish()
      bar:at(count)
      walk.last = at
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

-- A table, and criteria behind it.
local function check_documents(args, context)
  args.table, args.criteria = args.words[1], args.words[2]
  if not args.table or args.words[3] then
    context.usage('it takes a table, and criteria behind it; or --from, and the names of tables')
  elseif args.abort or args.ledger then
    context.usage('--abort and --ledger go with --from')
  elseif not args.to and not args.as then
    context.usage('where to? Give --as TABLE, --to PLACE, or both')
  end
end

local OF_DOCUMENTS = { 'as', 'where', 'after' }

local function check_move(args, context)
  for _, name in ipairs(OF_DOCUMENTS) do
    if args[name] then context.usage(('--%s does not go with --from'):format(name)) end
  end
  if not args.to then context.usage('--from goes with --to: where the rows are to be') end
  if args.from:find('^postgres') then
    context.usage('--from is a file as for --config: it says whose cache is to be told, too')
  end
  if args.to:find('^postgres') and not args.to_redis then
    context.usage('a url in --to goes with --to-redis, which may be `none`: whose cache is told')
  end
  if args.words[1] == nil then args.words = nil end
end

return {
  name = 'copy',
  summary = 'copies the documents of a table, or moves all that servers have to other ones',
  text = [[
Reads the documents of a table batch by batch, in the order of ids, and stores each batch in one
transaction: in another table of the same database (--as), or in the servers of --to, which may be
shards, or be those of a program that has other ones: each document goes to the shard of its id.
The ids stay what they are. The table has to be there. Ctrl-C ends it behind a batch, and says how
to go on.

With --from the servers themselves change: all tables, or those that are named, go from the servers
of one file to those of another one, from n shards to m, and then belong to them (docs/scaling.md,
"Growing"). While it runs the old side is read, and refuses writes with read_only. The new side has
to be migrated, and its tables empty. At the end the number of rows and a hash of them are compared,
and the new side takes over: what still uses the old one is refused with moved. Whatever has ended
it, the same command goes on exactly there; with --abort it gives up, and the old side takes writes
again.]],
  example = {
    'stores copy --from three.lua --to four.lua',
    'stores copy --from three.lua --to four.lua --abort',
    'stores copy users --as users_before',
    'stores copy users --to new-servers.lua --conflict replace',
    [[stores copy users '{"state": "open"}' --to postgresql://app@db2/shop --to-redis none]],
  },
  describe = function(parser)
    parser:argument('words', 'The table, and a JSON object that documents contain where it is not '
      .. 'all of them; with --from the tables, and where none is named all of them.'):args('*')
      :argname('TABLE')
    criteria_of.describe_where(parser)
    parser:option('--from', 'The servers that all is moved from: a file as for --config.')
      :argname('FILE')
    parser:flag('--abort', 'Ends a copy with --from that has not switched, and lets the old side '
      .. 'be written again.')
    parser:option('--ledger', 'With --from, the table that says which migrations ran, where it is '
      .. 'not `migrations`.'):argname('TABLE')
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
    if args.from then
      check_move(args, context)
      context.stopping() -- from now on signals are caught
      return move.run(args, context, place.of({ config = args.from }), place_of(args))
    end
    check_documents(args, context)
    context.stopping()
    return tasks.run(copy, args, context)
  end,
}
