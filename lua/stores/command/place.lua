--- Where the servers are: what the flags say, or else the environment. The first of these holds:
---   --config FILE       what it returns: as Store.new takes it (`return db, redis, opts`, or
---                       `return { db = .., redis = .., opts = .. }`), or as Shards.new does
---   --url, --redis      one database, and the Redis of its cache
---   --data DIR          private servers, which have to be there
---   STORES_CONFIG       a file as for --config

local errors = require('stores.errors')
local usage = require('stores.command.usage')

local place = {}

---@class stores.CommandPlace
---@field from string what said so, for messages
---@field db? table of Store.new
---@field redis? table|false
---@field opts? table
---@field shards? table[] of Shards.new; db, redis and opts are nil then
---@field shards_opts? table
---@field folder? string of private servers
---@field is_told? boolean false: nobody said whether somebody caches what is in the database

local FLAGS = { 'config', 'url', 'data' }

-- The one flag that is given, or nil.
local function chosen(args)
  local found
  for _, name in ipairs(FLAGS) do
    if args[name] then
      if found then
        usage.raise(('--%s and --%s both say where the servers are: give one of them'):format(found,
          name))
      end
      found = name
    end
  end
  if args.redis and found ~= 'url' then
    usage.raise('--redis goes with --url' .. (found and (', and --%s says where Redis is by itself')
      :format(found) or ': it says where the cache of that database is'))
  end
  return found
end

-- What a file returned, as a place; nil: it is none.
local function read(db, redis, opts)
  if type(db) ~= 'table' then return nil end
  if db[1] ~= nil then return { shards = db, shards_opts = redis } end
  if type(db.db) == 'table' then return { db = db.db, redis = db.redis, opts = db.opts } end
  return { db = db, redis = redis, opts = opts }
end

local function of_file(path, said)
  local from = ('%s %s'):format(said, path)
  local chunk, problem = loadfile(path)
  if not chunk then usage.raise(('%s cannot be read: %s'):format(from, problem)) end
  local results = { pcall(chunk, path) }
  if not results[1] then usage.raise(('%s fails: %s'):format(from, tostring(results[2]))) end
  local found = read(unpack(results, 2, 4))
  if not found then
    usage.raise(('%s has to return what Store.new or Shards.new take, and returned %s'):format(from,
      errors.kind(results[2])))
  end
  found.from, found.is_told = from, true
  return found
end

local function of_url(args)
  local redis = args.redis
  if redis == 'none' then redis = false end
  return { from = redis and '--url and --redis' or '--url', is_told = redis ~= nil,
    db = { url = args.url, params = { fallback_application_name = 'stores' } },
    redis = redis and { url = redis, opts = { timeout = 1 } } or false }
end

-- Only `up` makes a folder: a name that is spelled wrongly is none of new servers.
local function of_folder(path)
  local system = require('stores.local.system')
  local stat = system.stat(system.real_path(path .. '/pgdata') or '')
  if not stat or stat.kind ~= 'directory' then
    usage.raise(('--data %s: there are no private servers; `stores up %s` makes them'):format(path,
      path))
  end
  return { from = '--data ' .. path, folder = path, is_told = true }
end

--- Whether the command line, or the environment, says where the servers are.
---@param args table what the parser read
---@return boolean
function place.is_said(args)
  return chosen(args) ~= nil or (os.getenv('STORES_CONFIG') or '') ~= ''
end

--- What the command line, or the environment, says; nothing is opened.
---@param args table what the parser read
---@return stores.CommandPlace
---Raises a usage error.
function place.of(args)
  local flag = chosen(args)
  if flag == 'config' then return of_file(args.config, '--config') end
  if flag == 'url' then return of_url(args) end
  if flag == 'data' then return of_folder(args.data) end
  local file = os.getenv('STORES_CONFIG')
  if file and file ~= '' then return of_file(file, 'STORES_CONFIG') end
  usage.raise('where are the servers? Give --config FILE, --url URL (and --redis URL), --data DIR, '
    .. 'or set STORES_CONFIG to a file as for --config')
end

--- Calls fn(..); what it refuses is a mistake in the place.
---@param at stores.CommandPlace
---@param fn function
function place.checked(at, fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if errors.is(result, 'invalid_option') then usage.raise(('%s: %s'):format(at.from,
    result.message)) end
  error(result, 0)
end

return place
