--- A Redis that fails, and two stores that have it for their cache: one that goes on without it,
--- and a strict one, which refuses to write then.

local assert = require('luassert')
local cache = require('spec.support.cache')
local redis = require('spec.support.redis')
local stores = require('stores')
local support = require('spec.support')

local ailing = {}

---@class spec.Ailing
---@field server spec.Redis
---@field db table
---@field store stores.Store
---@field strict stores.Store
---@field keys spec.Cache
---@field said string[] what stores have logged
local Ailing = {}
Ailing.__index = Ailing

--- Starts it, over the table docs.
---@return spec.Ailing
function ailing.start()
  local self = setmetatable({ server = redis.start(), db = support.db(), said = {} }, Ailing)
  self.store, self.strict = self:open(), self:open({ on_cache_failure = 'error' })
  self.store:query('CREATE TABLE docs (id bigint PRIMARY KEY, value jsonb)')
  self.keys = cache.of(self.db, self.server.socket)
  self.keys:ready(self.store, 'public.docs')
  self.keys:ready(self.strict, 'public.docs')
  return self
end

function Ailing:stop()
  support.close(self.strict)
  support.close(self.store, self.db)
  self.server:remove()
end

--- One more store.
---@param opts? table
---@param server_opts? table of its link
---@param to? spec.Redis another one
---@return stores.Store
function Ailing:open(opts, server_opts, to)
  local all = { log = function(text) self.said[#self.said + 1] = text end }
  for key, value in pairs(opts or {}) do all[key] = value end
  return stores.Store.new(self.db, (to or self.server):config(server_opts or {}), all)
end

---@param one stores.Store
---@return boolean
function ailing.is_up(one)
  return one:stats().redis_up == 1
end

--- The seconds until every link is up again and a row is served from the cache.
---@param ... stores.Store beside the two
---@return number
function Ailing:back(...)
  local began = self.store.hub:now()
  for _, one in ipairs({ self.store, self.strict, ... }) do
    support.eventually(function() return ailing.is_up(one) end, 20, 'the link to be up')
  end
  local seconds = self.store.hub:now() - began
  self.keys:ready(self.store, 'public.docs')
  return seconds
end

--- A row that stands in the cache.
---@param n integer
---@return string id
function Ailing:cached(n)
  local id = self.keys:fresh()
  self.store:insert('docs', { id = id, n = n })
  -- a write is published, or, while the process learns a new epoch, the next read fills
  support.eventually(function()
    self.store:find('docs', id)
    return (self.keys:row('public.docs', id) or ''):sub(1, 1) == 'V'
  end, 20, 'the row to be cached')
  return id
end

--- What must hold all the while, with Redis away: reads and writes by PostgreSQL, in time.
---@param one stores.Store
function Ailing:carries_on(one)
  local id, began = self.keys:fresh(), one.hub:now()
  one:insert('docs', { id = id, n = 1 })
  assert.equal(1, one:find('docs', id).n)
  one:update('docs', { id = id, n = 2 })
  assert.equal(2, one:find('docs', id).n)
  one:updateObject('docs', id, function(doc) doc.n = 3 end)
  assert.equal(3, one:find('docs', id).n)
  one:transaction(function(tx) tx:update('docs', { id = id, n = 4 }) end)
  assert.equal(4, one:find('docs', id).n)
  one:query("UPDATE docs SET value = '{\"n\": 5}' WHERE id = $1", { id })
  assert.equal(5, one:find('docs', id).n)
  assert.is_true(one:delete('docs', id))
  assert.is_nil(one:find('docs', id))
  assert.is_true(one.hub:now() - began < 15) -- of twelve calls, each of which may take thirty
end

--- The strict store refuses every write of a row at this version, and has done none of them.
---@param id string
---@param n integer
function Ailing:refuses(id, n)
  local strict = self.strict
  for _, write in ipairs({
    function() strict:update('docs', { id = id, n = 666 }) end,
    function() strict:upsert('docs', { id = id, n = 666 }) end,
    function() strict:insert('docs', { id = self.keys:fresh(), n = 666 }) end,
    function() strict:updateProperty('docs', id, 'n', 666) end,
    function() strict:updateObject('docs', id, function(doc) doc.n = 666 end) end,
    function() strict:delete('docs', id) end,
    function() strict:transaction(function(tx) tx:update('docs', { id = id, n = 666 }) end) end,
    function() strict:query('DELETE FROM docs') end,
  }) do
    local err = support.refused('cache_failure', nil, write)
    assert.equal('none', err.outcome)
    assert.is_true(err.retryable)
    assert.equal(n, strict:find('docs', id).n)
  end
  assert.equal(n, strict:find('docs', id, { cache = false }).n)
  assert.equal(0, strict:count('docs', { n = 666 }))
end

return ailing
