--- stores upgrade DIR: the data of private servers, from the PostgreSQL that made it to a newer
--- one.
---
--- Both servers run beside each other, each in a folder of its own below DIR, while nobody can use
--- DIR; the old data is only read. At the end the two data folders change places at once, so that
--- whatever ends this leaves DIR with the old data, or with the new.

local child = require('stores.command.child')
local errors = require('stores.errors')
local ffi = require('ffi')
local folder = require('stores.command.folder')
local private = require('stores.local')
local programs = require('stores.command.programs')
local shell = require('stores.command.shell')
local system = require('stores.local.system')

ffi.cdef [[
int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned int flags);
]]

local AT_FDCWD, EXCHANGE = -100, 2

local function version_of(data)
  local file = io.open(data .. '/PG_VERSION')
  if not file then return nil end
  local text = file:read('*l')
  file:close()
  return tonumber(text)
end

local function must(words, what)
  if shell.run(words, nil, '2>/dev/null') ~= 0 then
    errors.raise('invalid_argument', 'cannot ' .. what)
  end
end

-- A name that is not taken, for data that is kept.
local function free_name(place, version)
  local name, count = ('%s/pgdata.old-%d'):format(place.folder, version), 0
  local path = name
  while system.stat(path) do
    count = count + 1
    path = ('%s.%d'):format(name, count)
  end
  return path
end

-- ---- The two folders ----------------------------------------------------------------------------

local function below(place, name)
  return place.folder .. '/' .. name
end

-- What an upgrade that was killed left: its servers end by themselves, and where the data folders
-- were about to change places, or had, what stands in the new one's place may be the old one.
local function clean(place)
  for _, name in ipairs({ 'upgrade.old', 'upgrade.new' }) do
    local path = below(place, name)
    if system.stat(path) then pcall(private.alone, path, function() end) end
  end
  local left = version_of(below(place, 'upgrade.new/pgdata'))
  if left and system.stat(below(place, 'upgrade.new/whole')) then
    must({ 'mv', below(place, 'upgrade.new/pgdata'), free_name(place, left) }, 'keep the old data')
  end
  must({ 'rm', '-rf', below(place, 'upgrade.old'), below(place, 'upgrade.new') },
    'remove what an upgrade before this one left in ' .. place.folder)
end

local function make(place)
  for _, name in ipairs({ 'upgrade.old', 'upgrade.new' }) do
    local path = below(place, name)
    must({ 'mkdir', '-m', '700', path }, 'make the folder ' .. path)
    -- the servers of both are whose those of the folder are
    must({ 'chown', '--reference=' .. place.folder, path }, 'give away ' .. path)
  end
  must({ 'ln', '-s', '../pgdata', below(place, 'upgrade.old/pgdata') }, 'link the old data')
end

-- ---- From one to the other ----------------------------------------------------------------------

local function client(name, major, servers)
  return shell.line({ programs.find(name, major), '-h', servers.pg.host, '-p',
    tostring(servers.pg.port), '-U', servers.pg.user })
end

local FAILED = 'the dump failed'

-- The role that initdb made is there already.
local LINE = "{ %s || echo '" .. FAILED .. "' >&2; } | sed '/^CREATE ROLE postgres;$/d' | "
  .. '%s -Xq -v ON_ERROR_STOP=1 -d postgres'

-- How many tables there are, of all databases.
local function tables_in(context, servers)
  local sum = 0
  local function ask(name, sql)
    local db = private.config(servers)
    db.database = name
    local store = context.open(db, nil, { cache = false })
    local rows = store:query(sql, nil, { readonly = true })
    store:close()
    return rows
  end
  for _, row in ipairs(ask('postgres', 'SELECT datname FROM pg_database WHERE datallowconn')) do
    sum = sum + ask(row.datname, "SELECT count(*) AS n FROM pg_class WHERE relkind IN ('r', 'p') "
      .. 'AND oid >= 16384')[1].n
  end
  return sum
end

local function copy(context, old, new, major)
  local failed, done, complaints = false, 0, {}
  local bar = context.progress('tables brought over', tables_in(context, old))
  shell.set({ LC_ALL = 'C' }) -- what these programs say is read
  local status, said, stopped = child.run(LINE:format(client('pg_dumpall', major, old) .. ' -v',
    client('psql', major, new)), {
    stopping = context.stopping,
    idle = function() bar:at(done) end,
    line = function(text)
      if text:find('dumping contents of table', 1, true) then done = done + 1 end
      if text:find('ERROR', 1, true) or text:find('error:', 1, true) then
        complaints[#complaints + 1] = text
      end
      failed = failed or text == FAILED
      bar:at(done)
    end,
  })
  bar:done()
  if stopped then return false end
  if failed or status ~= 0 then
    errors.raise('query_failed', 'the data could not be brought over: '
      .. (complaints[1] and table.concat(complaints, '; ') or said))
  end
  return true
end

-- Plans are as good as what the server knows of its tables.
local function analyze(context, new, major)
  local _, _, stopped = child.run(client('vacuumdb', major, new) .. ' -a -Z -q',
    { stopping = context.stopping })
  return not stopped
end

local function bring_over(context, place, major, opts)
  local old = private.up(below(place, 'upgrade.old'), opts)
  local ok, result = pcall(function()
    local new = private.up(below(place, 'upgrade.new'), opts)
    local done, problem = pcall(function()
      if not copy(context, old, new, major) or not analyze(context, new, major) then
        return false
      end
      local before, after = tables_in(context, old), tables_in(context, new)
      if before == after then return true end
      errors.raise('internal', ('the old server has %d tables, the new one %d'):format(before,
        after))
    end)
    new.close()
    if not done then error(problem, 0) end
    return problem
  end)
  old.close()
  if not ok then error(result, 0) end
  return result
end

-- From now on the old data stands in the place of the new, which its server has brought to the disk
-- when it stopped.
local function exchange(place)
  local new = below(place, 'upgrade.new')
  must({ 'touch', new .. '/whole' }, 'write to ' .. new)
  if ffi.C.renameat2(AT_FDCWD, new .. '/pgdata', AT_FDCWD, below(place, 'pgdata'), EXCHANGE) ~= 0
  then
    errors.raise('unsupported', 'the file system of ' .. place.folder .. ' cannot let two folders '
      .. 'change places: copy it to another one')
  end
end

local function has_own_settings(data)
  local file = io.open(data .. '/postgresql.auto.conf')
  local text = file and file:read('*a') or ''
  if file then file:close() end
  return ('\n' .. text):find('\n%s*[%a_]') ~= nil
end

local function upgrade(context, place, version, args)
  clean(place)
  make(place)
  local major = programs.newest_server()
  local ok, result = pcall(bring_over, context, place, major, { timeout = args.timeout })
  if not ok or not result then
    clean(place)
    if not ok then error(result, 0) end
    return nil
  end
  if version_of(below(place, 'upgrade.new/pgdata')) ~= major then
    errors.raise('internal', 'the new data is of another version than ' .. major)
  end
  exchange(place)
  local kept = free_name(place, version)
  must({ 'mv', below(place, 'upgrade.new/pgdata'), kept }, 'keep the old data')
  clean(place)
  return kept, major
end

return {
  name = 'upgrade',
  is_local = true,
  summary = 'brings private servers to a newer PostgreSQL',
  text = [[
Brings the data of a folder that an older PostgreSQL made to the newest one that is installed. The
server of the old version has to be installed, too (Debian: postgresql-NN). Nobody may use the
folder, and nobody can until it is done; programs that open it wait for a minute.

All databases, roles and rights come over, by pg_dumpall; what ALTER SYSTEM set does not, nor what
was written into postgresql.conf. The old data is only read, and stays in DIR/pgdata.old-NN until
you remove it. There has to be room for both. Whatever ends this leaves the folder as it was, or
done.]],
  example = {
    'stores upgrade ./data',
    'stores upgrade ./data --rebuild    # after an upgrade of the system that changed collations',
  },
  describe = function(parser)
    folder.describe(parser)
    parser:flag('--rebuild', 'Also where the version is the same: all is loaded anew, and every '
      .. 'index is made anew.')
    parser:option('--timeout', 'Seconds that each server may take to start; 60.')
      :convert(tonumber):argname('SECONDS')
  end,
  run = function(args, context)
    local path = folder.of(args, context)
    local version = version_of(path .. '/pgdata')
    if not version then context.usage(path .. ' is no folder of private servers') end
    local newest = programs.newest_server()
    if version == newest and not args.rebuild then
      context.result({ version = version, upgraded = false }, { ('%s is of PostgreSQL %d, and no '
        .. 'newer one is installed'):format(path, version) })
      return 0
    end
    context.stopping() -- from now on it is looked at
    local was_kept = private.is_kept(path)
    local kept, major
    private.alone(path, function(place) kept, major = upgrade(context, place, version, args) end)
    if was_kept then private.up(path, { keep = true }).close() end
    if not kept then
      context.say('stopped; the folder is as it was')
      return 1
    end
    context.result({ from = version, version = major, upgraded = true, old = kept }, {
      ('%s: PostgreSQL %d in place of %d; the old data is in %s'):format(path, major, version,
        kept) })
    if has_own_settings(kept) then
      context.say(('settings of ALTER SYSTEM did not come over: see %s/postgresql.auto.conf')
        :format(kept))
    end
  end,
}
