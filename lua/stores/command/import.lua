--- stores import TABLE [FILE]

local gzip = require('stores.bulk.gzip')
local input = require('stores.command.input')
local load = require('stores.bulk.load')
local places = require('stores.bulk.places')
local progress = require('stores.progress')
local tasks = require('stores.tasks')

local ROWS = 10000

-- The lines that are left out, behind each other; the file is there once there is one.
local function rejects(path)
  local file, made
  local self = { path = path }
  function self.add(line, why, text)
    if not file then file, made = assert(io.open(path, 'a')), true end
    assert(file:write(line, '\t', (why:gsub('%s+', ' ')), '\t', text, '\n'))
    assert(file:flush())
  end
  function self.close()
    if file then assert(file:close()) end
    file = nil
    return made
  end
  return self
end

local function size_of(path)
  local file = path and io.open(path)
  local size = file and file:seek('end')
  if file then file:close() end
  return size
end

-- How many lines there will be, by how much of the file was read.
local function estimate(bar, reader, size)
  local offset = reader:offset()
  if size and offset > 0 then bar.total = math.max(reader.line, reader.line * size / offset) end
end

local function real_path(context, path)
  if not path then context.usage('--resume takes a FILE: nobody goes on in the middle of stdin') end
  if path:sub(1, 1) == '/' then return path end
  local pipe = assert(io.popen('pwd -P'))
  local folder = pipe:read('*l')
  pipe:close()
  return folder .. '/' .. path
end

-- Reads and stores until the end, or until it is to stop. True: it came to the end.
local function read_all(context, loader, reader, from, bar, size)
  while true do
    local text = reader:read()
    if not text then return true end
    if reader.line > from then loader:line(reader.line, text) end
    if reader.line % 1000 == 0 then
      estimate(bar, reader, size)
      bar:at(reader.line)
      if context.stopping() then return false end
    end
  end
end

local function words(counts)
  local list = {}
  for _, word in ipairs({ 'inserted', 'replaced', 'ignored', 'rejected' }) do
    if counts[word] > 0 or word == 'inserted' then
      list[#list + 1] = progress.thousands(counts[word]) .. ' ' .. word
    end
  end
  return table.concat(list, ', ')
end

local function go_on(args, line)
  if args.resume then return 'the same command goes on behind it' end
  return ('--after %d goes on behind it'):format(line)
end

local function tell(args, context, loader, out, seconds, finished)
  local counts, line = loader.counts, loader:done()
  local stored = counts.inserted + counts.replaced
  context.result({ table = args.table, lines = line, inserted = counts.inserted,
    replaced = counts.replaced, ignored = counts.ignored, rejected = counts.rejected,
    finished = finished, seconds = seconds, rejects = counts.rejected > 0 and out.path or nil },
    { ('%s: %s, %s'):format(args.table, words(counts), progress.took(stored, seconds)) })
  if counts.rejected > 0 then context.say('what was left out is in ' .. out.path) end
  if not finished then
    context.say(('stopped behind line %d: %s'):format(line, go_on(args, line)))
  end
  return (not finished or counts.rejected > 0) and 1 or nil
end

local function import(args, context)
  local file = args.file ~= '-' and args.file or nil
  local list, out = context.stores(), rejects(args.rejects
    or (file and file:gsub('%.gz$', '') or args.table) .. '.rejects')
  local reader = gzip.reader(file)
  local loader = load.new(list, args.table, { conflict = args.conflict, rows = args.batch,
    timeout = args.timeout, reject = out.add })
  local from = args.after
  if args.resume then
    local path = real_path(context, file)
    from = math.huge
    for place, one in ipairs(loader.parts) do
      local line, note = places.open(list[place], args.table, path, #list)
      one.from, one.opts = line, setmetatable({ place = note }, { __index = one.opts })
      from = math.min(from, one.from)
    end
    if from > 0 then context.say(('goes on behind line %d'):format(from)) end
  end
  for _, one in ipairs(loader.parts) do one.from = math.max(one.from, from) end
  local bar = context.progress('import', nil)
  local ok, finished = pcall(read_all, context, loader, reader, from, bar, size_of(file))
  local stored, problem = true, nil
  if ok then
    stored, problem = pcall(loader.finish, loader)
  else
    loader:settle()
  end
  local seconds = bar:done()
  reader:close()
  out.close()
  if ok and stored then return tell(args, context, loader, out, seconds, finished) end
  context.say(('%s; stored up to line %d: %s'):format(words(loader.counts), loader:done(),
    go_on(args, loader:done())))
  error(ok and problem or finished, 0)
end

return {
  name = 'import',
  summary = 'loads a file of JSON Lines into a table',
  text = [[
Stores each line as a document, chunk by chunk: a chunk is one transaction, of which all is stored
or nothing. A document without an id gets one. FILE may be compressed by gzip; `-`, or no FILE, is
stdin. The cache is told of every row; while more than 5000 of them are in one chunk, it forgets the
whole table with each.

A line that is no document, or that the table refuses, is left out: it goes to the file of rejects,
with its number and the reason before it, and tabs between them. The exit code is 1 then. Of a line
whose id is there already --conflict decides.

Ctrl-C ends it behind a chunk, and says how to go on. With --resume the place is kept in the
database, in the table stores_imports and in the transaction of each chunk: the same command goes on
exactly there, whatever has ended it.]],
  example = {
    'stores import users users.jsonl',
    'stores import users users.jsonl.gz --conflict replace --resume',
    'zcat parts/*.gz | stores import users --json',
  },
  describe = function(parser)
    parser:argument('table', 'The table.')
    parser:argument('file', 'The file; `-`: stdin.'):args('?'):argname('FILE')
    parser:option('--conflict', 'Where a row has the id already: `fail` ends the import, `ignore` '
      .. 'leaves the row, `replace` gives it the new document.'):choices({ 'fail', 'ignore',
        'replace' }):default('fail')
    parser:option('--rejects', 'Where lines go that are left out; FILE.rejects.'):argname('FILE')
    parser:flag('--resume', 'Keeps the place in the database, and goes on from there.')
    parser:option('--after', 'Leaves out so many lines.'):default('0'):convert(input.count(0))
      :argname('N')
    parser:option('--batch', 'Documents of a chunk at most.'):default(tostring(ROWS))
      :convert(input.count(1)):argname('N')
    parser:option('--timeout', 'Seconds that a chunk may take.'):default('300')
      :convert(input.count(1)):argname('SECONDS')
  end,
  run = function(args, context)
    args.file = args.file or '-'
    if args.resume and args.after > 0 then
      context.usage('--resume knows where to go on: leave out --after')
    end
    context.stopping() -- from now on signals are caught
    return tasks.run(import, args, context)
  end,
}
