--- stores backup FILE

local child = require('stores.command.child')
local dumps = require('stores.command.dumps')
local input = require('stores.command.input')
local programs = require('stores.command.programs')
local shell = require('stores.command.shell')
local system = require('stores.local.system')

-- The file has its name when it is whole.
local function dump_one(dump, args, context, stopping)
  local part = dump.path .. '.part'
  os.execute(shell.line({ 'rm', '-rf', part }))
  local words = { programs.find('pg_dump', dump.major), '-v', '-f', part, '-d', dump.database }
  local format = args.jobs > 1 and { '-Fd', '-j', tostring(args.jobs) } or { '-Fc' }
  for _, word in ipairs(format) do words[#words + 1] = word end
  for _, name in ipairs(args.table) do
    words[#words + 1], words[#words + 2] = '-t', name
  end
  local bar, done = context.progress(dumps.name(dump) .. 'tables saved', dump.tables), 0
  shell.set(dump.variables)
  local status, said, stopped = child.run('umask 077; exec ' .. shell.line(words), {
    stopping = stopping,
    idle = function() bar:at(done) end,
    line = function(text)
      if text:find('dumping contents of table', 1, true) then
        done = done + 1
        bar:at(done)
      end
    end })
  bar:done()
  if status == 0 and not stopped then
    assert(os.rename(part, dump.path))
    return true
  end
  os.execute(shell.line({ 'rm', '-rf', part }))
  if not stopped then dumps.failed(dump, 'pg_dump', status, said) end
  return false
end

local function bytes_of(path)
  local text = shell.output({ 'du', '-sb', path })
  return tonumber(text:match('^%d+'))
end

return {
  name = 'backup',
  any_shard = true,
  summary = 'saves the database in a file',
  text = [[
Writes the database as it was at one moment, by pg_dump, while others go on using it. Where FILE is
there already it is refused, and stays. Over shards FILE becomes a folder with a file for each; each
shard is saved as it was at a moment of its own.

The file holds tables, indexes, functions and the ledgers of migrations; roles are not in it
(pg_dumpall --roles-only). The cache is not saved, for it has nothing that the database has not.]],
  example = {
    'stores backup shop.dump',
    'stores backup shop.dump --jobs 4    # a folder, written by four at a time',
    'stores backup users.dump --table users',
  },
  describe = function(parser)
    parser:argument('file', 'The file, or over shards the folder, that is written.')
      :argname('FILE')
    parser:option('--jobs', 'So many tables at a time; with more than one FILE is a folder.')
      :default('1'):convert(input.count(1)):argname('N')
    parser:option('--table', 'This table alone; may be given several times.'):count('*')
      :argname('TABLE')
  end,
  run = function(args, context)
    if dumps.exists(args.file) then context.usage(args.file .. ' is there already') end
    context.stopping() -- from now on it is looked at
    local list = dumps.list(context, args.file)
    if list[1].shard then
      local made, problem = system.make_folder(args.file)
      if not made then error(('cannot make the folder %s: %s'):format(args.file, problem), 0) end
    end
    for _, dump in ipairs(list) do
      if not dump_one(dump, args, context, context.stopping) then
        context.say(dumps.name(dump) .. 'stopped, and nothing is left of it: begin again')
        return 1
      end
    end
    local bytes = bytes_of(args.file)
    context.result({ file = args.file, bytes = bytes }, { ('%s: %d bytes'):format(args.file,
      bytes) })
  end,
}
