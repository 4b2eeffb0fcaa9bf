--- stores copy --from OLD --to NEW: all that is in some databases moves into others.

local copy = require('stores.copy')
local progress = require('stores.progress')

local move = {}

-- What a place of the command is to stores.copy.
local function side(at)
  if at.shards then return { shards = at.shards, opts = at.shards_opts } end
  return { db = at.db, redis = at.redis, opts = at.opts }
end

local function tell(context, result, bar)
  local seconds = bar:done()
  if result.aborted then
    context.result({ aborted = true }, { 'given up: the old side takes writes again, and the new '
      .. 'one stays unfinished, and empty' })
    return nil
  end
  local lines = {}
  for i, one in ipairs(result.tables) do
    lines[i] = ('%s: %s documents, the same on both sides (%s)'):format(one.name,
      progress.thousands(one.count), one.hash)
  end
  if result.finished then
    lines[#lines + 1] = ('switched: %s documents copied, %s'):format(
      progress.thousands(result.rows), progress.took(result.rows, seconds))
  end
  context.result({ finished = result.finished, tables = result.tables, copied = result.rows,
    seconds = seconds }, lines)
  if result.finished then return nil end
  context.say(('stopped, and the old side takes no writes: the same command goes on; with --abort '
    .. 'it gives up'))
  return 1
end

-- A word of what is done next, on a line of its own.
local function sayer(context)
  return function(text) context.say(text) end
end

--- Runs it.
---@param args table
---@param context stores.CommandContext
---@param from stores.CommandPlace
---@param to stores.CommandPlace
---@return integer?
function move.run(args, context, from, to)
  local bar = context.progress('copy', nil)
  local ok, result = pcall(copy.run, side(from), side(to), { tables = args.words,
    abort = args.abort, ledger = args.ledger, batch = args.batch, say = sayer(context),
    stopping = context.stopping, progress = function(count, total)
      bar.total = total
      bar:at(count)
    end })
  if ok then return tell(context, result, bar) end
  bar:done()
  if not args.abort then
    context.say('the same command goes on where it stopped; with --abort it gives the copy up')
  end
  error(result, 0)
end

return move
