--- stores restore FILE

local child = require('stores.command.child')
local documents = require('stores.command.documents')
local dumps = require('stores.command.dumps')
local errors = require('stores.errors')
local input = require('stores.command.input')
local programs = require('stores.command.programs')
local shell = require('stores.command.shell')
local told = require('stores.command.told')

-- What is lost has to be named.
local function check(dump, args, context)
  if not dumps.exists(dump.path) then context.usage(('there is no %s'):format(dump.path)) end
  local name = dump.store:query('SELECT current_database() AS name', nil,
    { readonly = true })[1].name
  if args.replace and args.replace ~= name then
    context.usage(('--replace %s: the database is %s'):format(args.replace, name))
  elseif dump.tables > 0 and not args.replace then
    errors.raise('unsupported', ('%sthe database %s has %d tables. To restore over them, and lose '
      .. 'what they hold, say --replace %s'):format(dumps.name(dump), name, dump.tables, name))
  end
end

local function words_of(dump, args)
  local words = { programs.find('pg_restore', dump.major), '-v', '-d', dump.database,
    '--exit-on-error' }
  if args.jobs > 1 then
    words[#words + 1], words[#words + 2] = '-j', tostring(args.jobs)
  else
    words[#words + 1] = '--single-transaction'
  end
  if args.replace then
    words[#words + 1], words[#words + 2] = '--clean', '--if-exists'
  end
  if args.no_owner then
    words[#words + 1], words[#words + 2] = '--no-owner', '--no-privileges'
  end
  words[#words + 1] = dump.path
  return words
end

-- How many tables a dump holds.
local function tables_in(dump, words)
  local text = shell.output({ words[1], '-l', dump.path }, dump.variables)
  return select(2, text:gsub(' TABLE DATA ', ''))
end

local function restore_one(dump, args, context)
  local words = words_of(dump, args)
  local bar = context.progress(dumps.name(dump) .. 'tables restored', tables_in(dump, words))
  local done = 0
  shell.set(dump.variables)
  local status, said, stopped = child.run('exec ' .. shell.line(words), {
    stopping = context.stopping,
    idle = function() bar:at(done) end,
    line = function(text)
      if text:find('processing data for table', 1, true) then
        done = done + 1
        bar:at(done)
      end
    end })
  bar:done()
  if status ~= 0 and not stopped then dumps.failed(dump, 'pg_restore', status, said) end
  return { stopped = stopped, tables = done }
end

local function stopped_message(dump, args)
  if args.jobs == 1 then
    return dumps.name(dump) .. 'stopped, and rolled back: nothing of it is restored; begin again'
  end
  return dumps.name(dump) .. 'stopped, and a part is there: begin again with --replace'
end

return {
  name = 'restore',
  any_shard = true,
  summary = 'puts the database back from the file of a backup',
  text = [[
Restores what `stores backup` wrote into the database, by pg_restore, in one transaction: all of it,
or nothing. A database that has tables is refused, unless it is named by --replace: what the file
holds takes the place of what is there.

While it runs nobody reads from the cache, and afterwards everything is read anew: the epoch of each
table is turned, also where this process is killed. Programs need not be stopped for that.]],
  example = {
    'stores restore shop.dump',
    'stores restore shop.dump --replace shop    # what is in the database `shop` is lost',
  },
  describe = function(parser)
    parser:argument('file', 'What `stores backup` wrote.'):argname('FILE')
    parser:option('--replace', 'The name of the database, whose tables are replaced.')
      :argname('DATABASE')
    parser:option('--jobs', 'So many tables at a time, of a file or a folder; not in one '
      .. 'transaction then.'):default('1'):convert(input.count(1)):argname('N')
    parser:flag('--no-owner', 'Who restores owns all of it, and no rights are restored.')
  end,
  run = function(args, context)
    context.stopping() -- from now on it is looked at
    told.warn(context, 'what is restored')
    local list, sum = dumps.list(context, args.file), 0
    for _, dump in ipairs(list) do check(dump, args, context) end
    for _, dump in ipairs(list) do
      local result = documents.turned(dump.store, function()
        return restore_one(dump, args, context)
      end)
      if result.stopped then
        context.say(stopped_message(dump, args))
        return 1
      end
      sum = sum + result.tables
    end
    context.result({ file = args.file, tables = sum }, { ('%d tables restored from %s'):format(sum,
      args.file) })
  end,
}
