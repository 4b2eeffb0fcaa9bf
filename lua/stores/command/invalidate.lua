--- stores invalidate TABLE [ID ...]

local catalog = require('stores.inspect.catalog')
local counted = require('stores.inspect.counted')
local input = require('stores.command.input')
local json = require('stores.json')
local met = require('stores.verbs.met')
local settle = require('stores.inspect.settle')

local function rows(args, context)
  for _, id in ipairs(args.id) do
    local store = context.of(id)
    met.must_be_ready(store)
    -- who does not know the epoch has the whole table read anew: a look tells it
    pcall(store.exists, store, args.table, id)
    store:invalidate(args.table, id)
  end
  context.result({ table = args.table, ids = json.array(args.id) },
    { ('%s: %s to be read anew'):format(args.table, counted(#args.id, 'row')) })
end

-- Of a table that somebody writes, the turn goes on behind this command: it is safe at once.
local function whole(args, context)
  local is_over = true
  for _, store in ipairs(context.stores()) do
    met.must_be_ready(store)
    local found = catalog.table(store, args.table)
    local facts = catalog.facts(store, args.table, found.oid)
    if facts and facts.uncached ~= '' then
      context.say(('%s is not cached: %s'):format(args.table, facts.uncached))
      store:invalidate(args.table) -- what its rows are read from may be
    elseif not settle.turn(store, args.table, found.oid) then
      is_over = false
    end
  end
  context.result({ table = args.table, ids = json.null, is_over = is_over },
    { ('%s: all of its rows are read anew'):format(args.table) })
  if not is_over then
    context.say(('somebody writes %s just now: its rows are read from PostgreSQL until that is '
      .. 'over; `stores why %s` tells who'):format(args.table, args.table))
  end
end

return {
  name = 'invalidate',
  summary = 'has rows read anew, after a write that Stores did not make',
  text = [[
Has rows read from PostgreSQL again: those that are named, or all of the table. It is needed after
writes that were made without Stores (psql, pg_restore, replication), and does no harm at any
time.]],
  example = {
    'stores invalidate users 1 2',
    'stores invalidate users   # all of them',
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:argument('id', 'The ids of the rows; all of them where there is none.'):args('*')
      :convert(input.id)
  end,
  run = function(args, context)
    if #args.id > 0 then return rows(args, context) end
    return whole(args, context)
  end,
}
