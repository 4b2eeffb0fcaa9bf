--- Which rows a command is about: the argument and the options that several of them share.

local input = require('stores.command.input')
local json = require('stores.json')

local criteria = {}

--- Adds them to a parser.
---@param parser table
function criteria.describe(parser)
  parser:argument('criteria', 'A JSON object that documents contain, such as {"state": "open"}; '
    .. 'all of them where it is left out.'):args('?'):argname('JSON')
  criteria.describe_where(parser)
end

--- Adds the option alone.
---@param parser table
function criteria.describe_where(parser)
  parser:option('--where', 'Conditions that documents meet: [["age", ">=", 18]], or with groups '
    .. '{"all": [..], "any": [..], "none": [..]}, as docs/criteria.md has them.'):argname('JSON')
end

--- Adds what commands that go through a table batch by batch share.
---@param parser table
---@param what string that was stopped, with its article
---@param batch integer documents of a batch, where nothing else is said
function criteria.describe_walk(parser, what, batch)
  parser:option('--after', ('What %s that was stopped said: what comes behind it.'):format(what))
    :argname('ID')
  parser:option('--batch', 'Documents of a batch.'):default(tostring(batch))
    :convert(input.count(1)):argname('N')
  parser:option('--timeout', 'Seconds that a batch may take.'):default('300')
    :convert(input.count(1)):argname('SECONDS')
end

-- In Lua a list may have names beside it; in JSON it is an object then.
local function where(text, context)
  local given = input.value(context, text, '--where')
  if type(given) ~= 'table' or json.is_number(given) then
    context.usage('--where has to be a JSON array of conditions, such as [["age", ">=", 18]]')
  end
  if json.is_array(given) then return given end
  local conditions = {}
  for name, value in pairs(given) do
    if name == 'all' and json.is_array(value) then
      for at, condition in ipairs(value) do conditions[at] = condition end
    else
      conditions[name] = value
    end
  end
  return conditions
end

--- What a command line says of them, as a verb takes it.
---@param args table
---@param context stores.CommandContext
---@return table? criteria
---@return table opts
function criteria.read(args, context)
  local opts = { where = args.where and where(args.where, context) }
  local doc = args.criteria and input.object(context, args.criteria, 'JSON') or {}
  if next(doc) then return doc, opts end
  if opts.where then return nil, opts end
  opts.all = true -- everything is what was asked for
  return {}, opts
end

return criteria
