--- The folder of private servers that a command is about: its argument, or --data.

local folder = {}

---@param parser table
function folder.describe(parser)
  parser:argument('folder', 'The folder of the servers; --data says it, too.'):args('?')
    :argname('DIR')
end

---@param args table
---@param context stores.CommandContext
---@return string path
function folder.of(args, context)
  if args.folder and args.data then context.usage('the folder is given twice: DIR and --data') end
  if args.config or args.url then
    context.usage('it is about private servers: give a folder, and neither --config nor --url')
  end
  return args.folder or args.data or context.usage('which folder? Give DIR')
end

return folder
