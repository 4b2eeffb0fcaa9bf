--- stores migrate FILE [ACTION]

local errors = require('stores.errors')
local input = require('stores.command.input')
local json = require('stores.json')
local migrations = require('stores.migrations')
local place = require('stores.command.place')
local told = require('stores.command.migrations_told')

-- ---- What is asked for --------------------------------------------------------------------------

-- The database, or the shards: a store, whose cache is told; a config alone where nobody said
-- whether there is a cache, for a run warns then.
local function target(context)
  local at = context.place()
  if at.is_told then return context.store() end
  return context.config().db
end

-- The options of a command line that migrations take.
local function options(args, ...)
  local opts = {}
  for _, name in ipairs({ ... }) do opts[name] = args[name] end
  return opts
end

-- Of shards an array of results, of one database a result: an array either way.
local function by_shard(context, results)
  return context.store().shards and results or { results }
end

local function seconds(text)
  local number = tonumber(text)
  if number and number >= 0 then return number end
  return nil, ("'%s' is no number of seconds"):format(text)
end

-- ---- Running ------------------------------------------------------------------------------------

local STOPPED = {}

-- Between two statements everything is written down: a run that is stopped there goes on. So it is
-- between two migrations, and two batches of a backfill, where the run itself asks.
local function listener(context, state)
  local tell = told.listener(context)
  return function(event)
    if event.event == 'done' then state.ran = state.ran + 1 end
    if event.event == 'start' then state.name = event.name end
    tell(event)
    if event.event == 'statement' and context.stopping() then
      state.stopped = state.stopped or event.name
      error(STOPPED, 0)
    end
  end
end

local function run(args, context, list)
  local opts = options(args, 'ledger', 'lock_wait', 'lock_timeout', 'timeout', 'unfinished',
    'concurrency', 'finish', 'takeover')
  local state = { ran = 0 }
  context.stopping() -- from now on it is looked at
  opts.on, opts.stopping = listener(context, state), context.stopping
  local ok, result = pcall(migrations.runMigrations, list, target(context), opts)
  if state.stopped or ok and result.stopped then
    context.say(("stopped before '%s' was done, after %d that were; the same command goes on from "
      .. 'there'):format(state.stopped or result.stopped, state.ran))
    return 1
  end
  if not ok then error(result, 0) end
  context.result({ ran = json.array(result.ran), skipped = json.array(result.skipped),
    untold = json.array(result.untold or {}), later = json.array(result.later or {}),
    covered = json.array(result.covered or {}) }, { told.summary(result) })
end

local function plan(args, context, list)
  local plans = by_shard(context, migrations.plan(list, context.store(),
    options(args, 'ledger', 'concurrency', 'finish')))
  local pending, changed = 0, 0
  for _, planned in ipairs(plans) do
    for _, item in ipairs(planned) do
      if item.action == 'changed' then changed = changed + 1 end
      if item.action ~= 'skip' and item.action ~= 'later' then pending = pending + 1 end
    end
  end
  context.result({ pending = pending, plan = told.as_json(context, plans) }, function()
    told.plan(context, plans)
  end)
  return changed > 0 and 1 or 0
end

local function status(args, context, list)
  local states = by_shard(context, migrations.status(list, context.store(),
    options(args, 'ledger', 'concurrency')))
  context.result(told.as_json(context, states), function() told.status(context, states) end)
end

-- A server where databases may be made, in place of a private one.
local function with_scratch(args, opts)
  opts.scratch = args.scratch and { url = args.scratch } or nil
  return opts
end

local function verify(args, context, list)
  local opts = with_scratch(args, options(args, 'ledger', 'concurrency'))
  opts.schema = not args.no_schema
  if opts.schema then context.stopping() end -- or a signal would leave its server's folder behind
  local reports = by_shard(context, migrations.verify(list, context.store(),
    opts))
  local ok = true
  for _, report in ipairs(reports) do ok = ok and report.ok end
  context.result({ ok = ok, reports = told.as_json(context, reports) }, function()
    told.verify(context, reports)
  end)
  return ok and 0 or 1
end

local function baseline(args, context, list)
  local opts = options(args, 'ledger', 'lock_wait', 'concurrency', 'upto', 'accept')
  local results = by_shard(context, migrations.baseline(list, context.store(), opts))
  context.result(told.as_json(context, results), function()
    for at, result in ipairs(results) do
      for _, name in ipairs(result.ran) do
        context.print(('%swritten down: %s'):format(told.shard(results, at), name))
      end
    end
  end)
end

-- Where nobody has said which database it is, the list alone is looked at.
local function lint(args, context, list)
  local findings = migrations.lint(list, place.is_said(args) and context.store() or nil,
    options(args, 'ledger', 'concurrency', 'lock_timeout', 'large', 'all'))
  context.result(json.array(findings), function() told.lint(context, findings) end)
  return #findings > 0 and 1 or 0
end

-- On a server of its own: nothing of the program's database is needed.
local function try(args, context, list)
  context.stopping() -- from now on it is looked at, and the server of its own goes away
  local result = migrations.test(list, with_scratch(args, { on = told.trials(context),
    stopping = context.stopping }))
  if result.stopped then
    context.say(('stopped %s; nothing of it is kept'):format(result.stopped))
    return 1
  end
  context.result({ ways = json.array(result.ways) }, function() return told.tried(result) end)
end

local function new(args, context)
  if not args.name then context.usage('new takes the NAME of the migration') end
  local ok, entry = pcall(migrations.new, args.file, args.name, options(args, 'type'))
  if not ok and errors.is(entry, 'invalid_argument') and not entry.entry then
    context.usage(entry.message)
  end
  if not ok then error(entry, 0) end
  context.result({ file = args.file, entry = entry }, { args.file .. ' has now', entry:sub(1, -2) })
end

-- ---- The command --------------------------------------------------------------------------------

---@type table<string, fun(args: table, context: stores.CommandContext, list: table): integer?>
local ACTIONS = { run = run, plan = plan, status = status, verify = verify, baseline = baseline,
                  lint = lint, test = try, new = new }

local NAMES = { 'run', 'plan', 'status', 'verify', 'baseline', 'lint', 'test', 'new' }
local IN_WORDS = table.concat(NAMES, ', ', 1, #NAMES - 1) .. ' or ' .. NAMES[#NAMES]

-- `migrate plan FILE` is what some people write.
local function in_order(args, context)
  if ACTIONS[args.file] and args.action ~= nil and not ACTIONS[args.action] then
    args.file, args.action = args.action, args.file
  end
  if args.name and args.action ~= 'new' then
    context.usage(("'%s' is too much: only new takes a NAME"):format(args.name))
  end
end

local function load(args, context)
  local ok, list = pcall(migrations.load, args.file)
  if ok then return list end
  if errors.is(list, 'invalid_argument') then context.usage(list.message) end
  error(list, 0)
end

return {
  name = 'migrate',
  summary = 'runs migrations, and tells how they stand',
  text = [[
FILE is a Lua file that returns a list of migrations. What ACTION is:

  run        runs what the database does not have yet (where no action is named)
  plan       tells what a run would do, and does nothing
  status     tells how each stands: done, pending, changed ...
  verify     compares the database with the list, and its tables with those that
             the list makes on a private server; exit code 1 where they differ
  baseline   writes down that they ran, without running them
  lint       says what in them may hurt a database in use, and the safe form of
             each; exit code 1 where there is something. Where no flag says which
             database it is, the list alone is looked at
  test       runs all of them on a private server, in every way in which a
             database may come to them: from empty, from each checkpoint, contracts
             at the end; and compares the schemas
  new        adds one that is called NAME to the file, which is made where there
             is none

One runner works at a time: others wait for it, look again, and find nothing to do, so that each of
many processes that boot may call it. The cache is told of the rows that change. A run that is
stopped, or killed, goes on where it was.]],
  example = {
    'stores migrate migrations.lua plan',
    'stores migrate migrations.lua',
    'stores migrate migrations.lua new "users have a city"',
    'stores migrate migrations.lua lint',
    'stores migrate migrations.lua test',
    'stores migrate migrations.lua --finish',
    'stores migrate migrations.lua baseline --upto "users: e-mail is unique"',
  },
  describe = function(parser)
    parser:argument('file', 'A Lua file that returns the list.'):argname('FILE')
    local action = parser:argument('action', IN_WORDS .. '.'):args('?')
      :argname('ACTION')
    action.completes = NAMES
    parser:argument('name', 'Of new: what the migration is called.'):args('?'):argname('NAME')
    parser:flag('--finish', "Runs those of phase = 'contract', too, when no program needs any more"
      .. ' what they take away.')
    parser:flag('--takeover', 'Ends what a killed runner left on the server, and the session of one'
      .. ' that holds the lock longer than --lock-wait.')
    parser:option('--ledger', "The ledger's table.", nil):argname('TABLE')
    parser:option('--lock-wait', 'Seconds to wait for another runner; 60.'):convert(seconds)
      :argname('SECONDS')
    parser:option('--lock-timeout', 'Seconds that a statement may wait for a lock; 5.')
      :convert(seconds):argname('SECONDS')
    parser:option('--timeout', 'Seconds that a statement may take; 3600.'):convert(seconds)
      :argname('SECONDS')
    parser:option('--unfinished', 'About a statement outside a transaction of which nobody knows '
      .. 'how it ended: it is done, or is to run again.'):choices({ 'done', 'again' })
    parser:option('--concurrency', 'Over shards: so many at a time, after the first; 8.')
      :convert(input.count(1)):argname('N')
    parser:option('--upto', 'Of baseline: the name of the last one; all where it is left out.')
      :argname('NAME')
    parser:flag('--accept', 'Of baseline: the new text of edited ones, too.')
    parser:option('--large', 'Of lint: the bytes from which on a table is large; 67108864.')
      :convert(input.count(0)):argname('BYTES')
    parser:flag('--all', 'Of lint: also those that the database has run.')
    parser:flag('--no-schema', 'Of verify: not its tables, which takes a moment and needs the'
      .. ' programs of PostgreSQL, or --scratch.')
    parser:option('--scratch', 'Of test and verify: a server where databases may be made, in place'
      .. ' of a private one.'):argname('URL')
    parser:option('--type', 'Of new: what it is; db where it is left out.')
      :choices({ 'db', 'lua', 'backfill' })
  end,
  run = function(args, context)
    in_order(args, context)
    local action = ACTIONS[args.action or 'run']
    if not action then
      context.usage(("'%s' is no action: %s"):format(args.action, IN_WORDS))
    end
    return action(args, context, action ~= new and load(args, context) or nil)
  end,
}
