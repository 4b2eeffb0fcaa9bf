--- stores set TABLE ID JSON

local input = require('stores.command.input')
local told = require('stores.command.told')

local function merged(store, args, doc)
  local document = store:patch(args.table, args.id, { set = doc })
  return document and 'changed'
end

local function inserted(store, args, doc)
  doc.id = args.id
  store:insert(args.table, doc)
  return 'inserted'
end

local function replaced(store, args, doc)
  doc.id = args.id
  return store:update(args.table, doc) and 'replaced'
end

local function stored(store, args, doc)
  doc.id = args.id
  local _, is_new = store:upsert(args.table, doc)
  return is_new and 'inserted' or 'replaced'
end

local WAYS = { merge = merged, insert = inserted, replace = replaced }

local function way_of(args, context)
  local name
  for way in pairs(WAYS) do
    if args[way] then
      if name then context.usage(('--%s and --%s are two ways: give one'):format(name, way)) end
      name = way
    end
  end
  return WAYS[name] or stored
end

return {
  name = 'set',
  summary = 'stores the document of one row',
  text = [[
Stores a document under an id: it is inserted, or takes the place of the one that is there. The
cache hears of it before it is committed.]],
  example = {
    [[stores set users 1 '{"name": "Ada"}']],
    [[stores set users 1 '{"age": 36}' --merge     # the other members stay]],
    [[stores get users 1 --json | stores set users 2 -]],
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:argument('id', 'The id of the row; `--` before one that is negative.'):convert(input.id)
    parser:argument('document', 'A JSON object, or `-`: it comes from stdin.'):argname('JSON')
    parser:flag('--insert', 'Refuses where the row is there.')
    parser:flag('--replace', 'Refuses where it is not.')
    parser:flag('--merge', 'Sets these members of the row, and leaves the others as they are.')
  end,
  run = function(args, context)
    local way = way_of(args, context)
    local doc = input.object(context, args.document, 'JSON')
    told.warn(context, args.table)
    local what = way(context.of(args.id), args, doc)
    if not what then
      context.say(('%s has no row %s'):format(args.table, args.id))
      if context.json then context.print('null') end
      return 1
    end
    context.result({ id = args.id, done = what }, { ('%s %s %s'):format(args.table, args.id,
      what) })
  end,
}
