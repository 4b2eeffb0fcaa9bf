--- Sides of a copy for specs: a store, or shards, over fresh databases, and what stores.copy takes
--- for them.

local stores = require('stores')
local support = require('spec.support')

local sides = {}

-- Databases that were left empty, for the next ones: to make one takes longer than a copy. What was
-- cached of them stays under the names of those before.
local free, opened = {}, 0
local EMPTY = [[
  SET client_min_messages = error;
  DROP SCHEMA IF EXISTS stores_moved_public CASCADE;
  DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT ALL ON SCHEMA public TO PUBLIC]]

---@class spec.Side
---@field place stores.copy.Place what stores.copy takes
---@field databases table[]
---@field target stores.Store|stores.Shards over it, as a program has it
local Side = {}
Side.__index = Side

--- A side of so many databases; 0 is a store that is no shard.
---@param count integer
---@param sql? string run in each database
---@param opts? table of Shards.new
---@return spec.Side
function sides.open(count, sql, opts)
  local self = setmetatable({ databases = {}, opts = opts, others = {} }, Side)
  local list = {}
  opened = opened + 1
  local prefix = ('side%d:%d:'):format(opened, math.random(1e9))
  for id = 0, math.max(count, 1) - 1 do
    local db = table.remove(free) or support.db()
    self.databases[id + 1] = db
    if sql then support.psql(db, sql) end
    list[id + 1] = { id = id, db = db, redis = support.redis(), opts = { prefix = prefix .. id } }
  end
  self.place = count == 0 and { db = list[1].db, redis = list[1].redis, opts = list[1].opts }
    or { shards = list, opts = opts }
  self.target = self:open()
  return self
end

--- One more program over it.
---@return stores.Store|stores.Shards
function Side:open()
  local place = self.place
  local target = place.db and stores.Store.new(place.db, place.redis, place.opts)
    or stores.Shards.new(place.shards, place.opts)
  self.others[#self.others + 1] = target
  return target
end

--- The texts that psql gives, of all its databases.
---@param sql string
---@return string[]
function Side:psql(sql)
  local texts = {}
  for i, db in ipairs(self.databases) do texts[i] = support.psql(db, sql) end
  return texts
end

--- What its first database refuses to do, in its words.
---@param sql string
---@return string
function Side:refusal(sql) return support.psql_refused(self.databases[1], sql) end

function Side:close()
  for _, one in ipairs(self.others) do support.close(one) end
  for _, db in ipairs(self.databases) do
    support.psql(db, EMPTY)
    free[#free + 1] = db
  end
end

--- Drops the databases of all sides, which are closed.
function sides.drop()
  for _, db in ipairs(free) do support.drop(db) end
  free = {}
end

return sides
