--- Stores: PostgreSQL jsonb documents behind a Redis cache that never lies.
---   local stores = require 'stores'

if not rawget(_G, 'jit') then
  error('Stores needs LuaJIT 2.1 (Debian: luajit2), this is ' .. tostring(_VERSION), 0)
end

local core = require('stores.core')
local errors = require('stores.errors')
local etags = require('stores.etags')
core.set_error_metatable(errors.Error)

local Definition = require('stores.tables.definition')
local frozen = require('stores.frozen')
local ids = require('stores.ids')
local json = require('stores.json')
local observe = require('stores.observe')
local registry = require('stores.tables.registry')
local Store = require('stores.store')
local tasks = require('stores.tasks')

local stores = {
  VERSION = core.version,
  Store = Store,
  Shards = require('stores.shards'),
  json = json,
  errors = errors,
  unchanged = etags.unchanged,
  pairs = frozen.pairs,
  ipairs = frozen.ipairs,
  len = frozen.len,
  clone = frozen.clone,
  on = observe.on,
  metrics = require('stores.metrics').text,
  run = tasks.run,
  spawn = tasks.spawn,
  all = tasks.all,
  map = tasks.map,
  sleep = tasks.sleep,
  wrap = tasks.wrap,
  use = require('stores.wait').use,
}

--- Declares a table: its indexes, what is unique, what its documents are like. Every store of the
--- process knows of it from now on, but for those that were given `tables` of their own.
---@param name string
---@param spec stores.TableSpec
---@return stores.Definition
---Raises invalid_table, invalid_option, invalid_argument.
function stores.define(name, spec)
  local definition = Definition.new(name, spec)
  registry.add(definition)
  return definition
end

local function is_simple(layout)
  if layout == nil or layout == 'flake' then return false end
  if layout ~= 'simpleflake' then
    errors.raise('invalid_argument', "the layout of ids is 'flake' or 'simpleflake'")
  end
  return true
end

--- Ids made by generateId and insert.
stores.flake = {
  --- When an id was made, in seconds since 1970.
  ---@param id string
  ---@param layout? 'flake'|'simpleflake'
  ---@return number
  time = function(id, layout) return core.flake_time(ids.check(id), is_simple(layout)) end,
  --- The smallest id of a time, for ranges of ids.
  ---@param seconds number since 1970
  ---@param layout? 'flake'|'simpleflake'
  ---@return string
  at = function(seconds, layout)
    if type(seconds) ~= 'number' then
      errors.raise('invalid_argument', 'a time is in seconds since 1970, got '
        .. errors.kind(seconds))
    end
    return core.flake_at(seconds, is_simple(layout))
  end,
}

--- A store over a PostgreSQL and a Redis of its own, which live in a folder and are started when
--- they do not run; the last one who closes stops them.
---@param path string
---@param opts? stores.StoreOptions
---@return stores.Store
function stores.open(path, opts)
  local private = require('stores.local')
  local servers = private.up(path)
  local ok, store = pcall(Store.new, private.config(servers), servers.redis, opts)
  if not ok then
    servers.close()
    errors.throw(store)
  end
  store.servers = servers
  return store
end

--- Copies all rows of databases into others, and switches to them: from n shards to m, from a store
--- to shards, or back. A side is what Store.new or Shards.new take.
---@param from stores.copy.Place {db =, redis =, opts =}, or {shards =, opts =}
---@param to stores.copy.Place
---@param opts? stores.CopyOptions
---@return stores.CopyResult
function stores.copy(from, to, opts)
  return require('stores.copy').run(from, to, opts)
end

return stores
