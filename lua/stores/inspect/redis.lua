--- What Redis says, for those who look: commands that only read, and none that a user with the
--- least rights may not send (docs/redis.md).

local core = require('stores.core')
local errors = require('stores.errors')
local wait = require('stores.wait')

local redis = {}

local MOST = 200 -- keys of one script: others wait while it runs
local RANDOM, SHORT = 16, '+' -- characters that an epoch begins with, and what ends it

--- Sends a command, and gives the texts of its answer.
---@param store stores.Store
---@param place {oid: integer?, node: integer?} the table that its keys are of, or the node
---@param ... string
---@return (string|nil)[] texts
---@return integer count
function redis.call(store, place, ...)
  return wait.slot(store.hub, core.redis(store.engine, place.oid, place.node, { ... }))
end

-- Of what announces writes the whole, of everything else the first byte.
local STATES = [[
local out = {}
for i, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value and string.byte(value) ~= 84 then value = string.sub(value, 1, 1) end
  out[i] = value
end
return out]]

--- What stands under keys of a table: announcements whole, of all else the first byte alone.
---@param store stores.Store
---@param oid integer
---@param keys string[]
---@return (string|nil)[]
function redis.states(store, oid, keys)
  local all = {}
  for from = 1, #keys, MOST do
    local count = math.min(MOST, #keys - from + 1)
    local texts = redis.call(store, { oid = oid }, 'EVAL', STATES, tostring(count),
      unpack(keys, from, from + count - 1))
    for i = 1, count do all[from + i - 1] = texts[i] end
  end
  return all
end

--- The key of a row, or of a table's epoch.
---@param store stores.Store
---@param oid integer
---@param epoch? string
---@param id? string
---@return string
function redis.key(store, oid, epoch, id)
  local key = core.cache_key(store.engine, oid, epoch, id)
  if not key then errors.raise('cache_failure', 'PostgreSQL was not met yet') end
  return key
end

---@class stores.CacheKey
---@field oid integer of the table
---@field part string? of a row: what its key has of the epoch
---@field id string? of a row

--- What a key is of; nil: it is none of this store's.
---@param store stores.Store
---@param key string
---@return stores.CacheKey?
function redis.read_key(store, key)
  local oid, rest = key:match('{(%d+)}(.*)$')
  local found = oid and { oid = tonumber(oid) }
  if found and rest ~= '' then found.part, found.id = rest:match('^[~/](.+)/(%-?%d+)$') end
  if not found or rest ~= '' and not found.id then return nil end
  local epoch = found.part
  if epoch and #epoch == RANDOM then epoch = epoch .. SHORT end
  local own = core.cache_key(store.engine, found.oid, epoch, found.id)
  return own == key and found or nil
end

--- What the keys of its rows have of an epoch: all of it where an older version made it.
---@param epoch string
---@return string
function redis.part(epoch)
  return epoch:sub(-1) == SHORT and epoch:sub(1, RANDOM) or epoch
end

local function escaped(text)
  return (text:gsub('[*?%[%]\\]', '\\%0'))
end

-- What the keys of all tables and rows begin with.
local function prefix(store)
  local key, row = redis.key(store, 1), redis.key(store, 1, ('x'):rep(RANDOM) .. SHORT, '1')
  local common = #key - #'{1}' -- braces may be in the prefix, too
  while key:sub(1, common) ~= row:sub(1, common) do common = common - 1 end
  return key:sub(1, common)
end

-- The pages of one node.
local function scan(store, place, match, fn)
  local cursor = '0'
  repeat
    local texts, count = redis.call(store, place, 'SCAN', cursor, 'MATCH', match, 'COUNT', '500')
    cursor = texts[1]
    local keys = {}
    -- of an empty page there is one text more, which is none
    for i = 2, count do keys[#keys + 1] = texts[i] end
    if fn(keys) == false then return false end
  until cursor == '0'
  return true
end

--- Goes through the keys of one table's rows under an epoch, page by page, in no order, until fn
--- gives false.
---@param store stores.Store
---@param oid integer
---@param epoch string
---@param fn fun(keys: string[]): boolean?
function redis.each_row(store, oid, epoch, fn)
  local under = redis.key(store, oid, epoch, '0'):gsub('0$', '')
  scan(store, { oid = oid }, escaped(under) .. '*', fn)
end

--- Goes through the keys of all tables, of all nodes, until fn gives false.
---@param store stores.Store
---@param fn fun(keys: string[]): boolean?
function redis.each_key(store, fn)
  for node = 0, core.cache_nodes(store.engine) - 1 do
    if not scan(store, { node = node }, escaped(prefix(store)) .. '*{*}*', fn) then return end
  end
end

--- A section of what a node says of itself.
---@param store stores.Store
---@param node integer from 0 on
---@param section string
---@return table<string, string>
function redis.info(store, node, section)
  local fields = {}
  for name, value in redis.call(store, { node = node }, 'INFO', section)[1]
    :gmatch('([%w_]+):([^\r\n]*)') do
    fields[name] = value
  end
  return fields
end

return redis
