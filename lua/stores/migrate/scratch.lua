--- Databases to try migrations on: of a private server, which is made for it and gone afterwards,
--- or of one that the caller names.

local config = require('stores.config.tables')
local errors = require('stores.errors')
local siblings = require('stores.siblings')

local scratch = {}

---@class stores.Scratch
---@field db stores.DbConfig of the server
---@field is_private boolean
local Scratch = {}
Scratch.__index = Scratch

-- Nothing of it is to last.
local SETTINGS = { fsync = 'off', synchronous_commit = 'off', full_page_writes = 'off' }

local function store_of(db)
  return siblings.make(config.resolve(db, nil, { cache = false }), { poolsize = 3, min_idle = 0,
                                                                     pooler = 'session' })
end

-- The same server, another database.
local function with_database(db, name)
  local copy = {}
  for key, value in pairs(db) do copy[key] = value end
  if copy.url then
    copy.url = copy.url:gsub('^(%w+://[^/?]*)/?[^?]*', function(at) return at .. '/' .. name end)
  else
    copy.database = name
  end
  return copy
end

local count = 0

-- That of no other process.
local function new_name()
  count = count + 1
  local path = os.tmpname()
  os.remove(path)
  return ('stores_scratch_%s_%d_%d'):format(path:match('%w+$') or '', os.time(), count):lower()
end

--- Makes an empty database, calls fn(store) with a store over it, and drops it.
---@param fn fun(store: stores.Store): any
---@return any what fn returned
function Scratch:with_database(fn)
  local name = new_name()
  self:administer('CREATE DATABASE ' .. name .. ' TEMPLATE template0')
  local ok, result = pcall(function()
    local store = store_of(with_database(self.db, name))
    local done, value = pcall(fn, store)
    pcall(store.close, store)
    if not done then error(value, 0) end
    return value
  end)
  local dropped, why = pcall(self.administer, self,
    ('DROP DATABASE IF EXISTS %s WITH (FORCE)'):format(name))
  if not ok then error(result, 0) end
  if not dropped then
    if errors.is(why) then why.hint = ('the database %s is left on the server'):format(name) end
    error(why, 0)
  end
  return result
end

--- Runs a statement on the server, outside of the databases that are tried on.
---@param sql string
function Scratch:administer(sql)
  local admin = store_of(self.db)
  local ok, err = pcall(admin.query, admin, sql, nil, { transaction = false })
  pcall(admin.close, admin)
  if not ok then error(err, 0) end
end

local function remove(folder)
  require('stores.local.system').run({ '/bin/rm', '-rf', folder }, { 'PATH=/usr/bin:/bin' })
end

-- What private servers need of the system is declared where it is used, and not for every program
-- that migrates.
local function on_private_server(fn)
  local local_servers = require('stores.local')
  local folder = os.tmpname()
  os.remove(folder)
  local ok, handle = pcall(local_servers.up, folder, { postgres = SETTINGS })
  if not ok then
    remove(folder)
    if errors.is(handle) then
      handle.hint = handle.hint or 'scratch names a server in whose place databases may be made'
    end
    error(handle, 0)
  end
  local self = setmetatable({ db = local_servers.config(handle), is_private = true }, Scratch)
  local done, result = pcall(fn, self)
  handle.close()
  remove(folder)
  if not done then error(result, 0) end
  return result
end

--- Calls fn(scratch), and takes back what was made for it.
---@param db stores.DbConfig? nil: a private server
---@param fn fun(scratch: stores.Scratch): any
---@return any what fn returned
function scratch.with(db, fn)
  if not db then return on_private_server(fn) end
  return fn(setmetatable({ db = db, is_private = false }, Scratch))
end

return scratch
