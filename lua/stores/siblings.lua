--- Stores made like another one, with connections of their own.

local configs = require('stores.config.made')
local Store = require('stores.store')

local siblings = {}

--- A store of the same configuration but for some changes.
---@param store stores.Store
---@param changes table keys of what config.resolve made
---@return stores.Store
function siblings.of(store, changes)
  return siblings.make(configs[store], changes)
end

-- Seconds of silence that Redis is allowed: no request waits for what a sibling does.
local PATIENCE = 2

local function patient(redis)
  if not redis then return redis end
  local copy = {}
  for key, value in pairs(redis) do copy[key] = value end
  copy.timeout = math.max(copy.timeout or 0, PATIENCE)
  return copy
end

--- A store of a configuration with some changes, which is none of the program's own.
---@param config table what config.resolve made
---@param changes table
---@return stores.Store
function siblings.make(config, changes)
  local flat = {}
  for key, value in pairs(config) do flat[key] = value end
  for key, value in pairs(changes) do flat[key] = value end
  flat.redis = patient(flat.redis)
  flat.replicas, flat.read, flat.after_token = nil, nil, nil -- what it reads it is to change
  flat.breaker = nil -- what takes long waits for a server that comes back
  local made = Store.from_config(flat)
  made.is_sibling = true
  return made
end

--- Whether two stores say the same of where their databases are.
---@param one stores.Store
---@param other stores.Store
---@return boolean
function siblings.same_place(one, other)
  local a, b = configs[one].pg, configs[other].pg
  for _, key in ipairs({ 'url', 'host', 'port', 'dbname' }) do
    if a[key] ~= b[key] then return false end
  end
  return true
end

--- Tells apart the caches of stores over one database.
---@param store stores.Store
---@return string
function siblings.cache_of(store)
  local flat = configs[store]
  local redis, parts = flat.redis or {}, {}
  for index, key in ipairs({ 'host', 'port', 'path', 'db', 'master' }) do
    parts[index] = tostring(redis[key] or '')
  end
  parts[#parts + 1] = table.concat(redis.sentinels or redis.cluster or {}, ' ')
  parts[#parts + 1] = flat.prefix or ''
  return table.concat(parts, '\n')
end

return siblings
