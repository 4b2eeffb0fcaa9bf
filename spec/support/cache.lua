--- What a spec sees of the cache from outside: the keys of a database in its Redis, by redis-cli.

local assert = require('luassert')
local redis = require('spec.support.redis')
local support = require('spec.support')

local cache = {}

---@class spec.Cache
---@field prefix string
---@field rows_prefix string of the keys of rows
---@field db table
---@field oids table<string, string> of tables, by their names
---@field last? integer the id that was given last
---@field cli fun(...: string|number): string
local Cache = {}
Cache.__index = Cache

--- The keys of a database.
---@param db table its config
---@param socket? string of the Redis; the one that all specs share where it is left out
---@return spec.Cache
function cache.of(db, socket)
  local function number(sql) return support.psql(db, sql):match('%d+') end
  local prefix = ('stores1:%s/%s/'):format(
    number('SELECT system_identifier FROM pg_control_system()'),
    number('SELECT oid FROM pg_database WHERE datname = current_database()'))
  return setmetatable({
    db = db,
    oids = {},
    prefix = prefix,
    rows_prefix = 'stores1:' .. support.psql(db, ("SELECT md5('%s')"):format(prefix)):sub(1, 10),
    cli = redis.cli(socket or support.redis().path),
  }, Cache)
end

local function value(text)
  if text == '' then return nil end
  return text
end

--- The key of a table's epoch.
---@param name string schema-qualified
---@return string
function Cache:epoch_key(name)
  local oid = self.oids[name]
  if not oid then
    oid = support.psql(self.db, ("SELECT '%s'::regclass::oid"):format(name)):match('%d+')
    self.oids[name] = oid
  end
  return ('%s{%s}'):format(self.prefix, oid)
end

--- The table of this name may have another oid by now.
function Cache:forget_oids()
  self.oids = {}
end

--- What the epoch of a table is, with its state; nil: there is none.
---@param name string
---@return string?
function Cache:epoch(name)
  return value(self.cli('GET', self:epoch_key(name)))
end

--- The key of a row under an epoch.
---@param name string
---@param id string
---@param epoch string with its state
---@return string
function Cache:key_under(name, id, epoch)
  if epoch:sub(-1) ~= '+' then -- an older version's
    return ('%s/%s/%s'):format(self:epoch_key(name), epoch:sub(2), id)
  end
  local oid = self:epoch_key(name):match('{(%d+)}$')
  return ('%s{%s}~%s/%s'):format(self.rows_prefix, oid, epoch:sub(2, 17), id)
end

--- The key of a row under the epoch that there is.
---@param name string
---@param id string
---@return string
function Cache:key(name, id)
  return self:key_under(name, id, assert(self:epoch(name), name .. ' has no epoch'))
end

--- What stands in the cache for a row; nil: nothing.
---@param name string
---@param id string
---@return string?
function Cache:row(name, id)
  return value(self.cli('GET', self:key(name, id)))
end

--- Waits until the rows of a table count, also to this store, and gives the epoch.
---@param store stores.Store
---@param name string
---@return string
function Cache:ready(store, name)
  return support.eventually(function()
    local epoch = self:epoch(name)
    store:find(name, '-1')
    return epoch and epoch:sub(1, 1) == 'V' and epoch
  end, 60, 'the epoch of ' .. name)
end

--- Writes row 1 of a table, a document with this n, and has it in the cache: the table is not
--- turning then.
---@param store stores.Store
---@param name string
---@param n integer
function Cache:put(store, name, n)
  self:ready(store, 'public.' .. name)
  store:upsert(name, { id = '1', n = n })
  support.eventually(function()
    assert.equal(n, store:find(name, '1').n)
    return (self:row('public.' .. name, '1') or ''):sub(1, 1) == 'V'
  end, 60, 'the row in Redis')
end

--- Waits until a row of the cache is as it should be: nil for nothing, else its text or a
--- pattern of its beginning.
---@param name string
---@param id string
---@param expected string?
function Cache:becomes(name, id, expected)
  local ok, now
  support.eventually(function()
    ok, now = pcall(self.row, self, name, id) -- its table may have no epoch for a moment
    return ok and (now == expected
      or (now and expected and now:find('^' .. expected) ~= nil))
  end, 60, function()
    return ('%s/%s should be %s, and is %s under %s'):format(name, id, tostring(expected),
      tostring(now), tostring(self:epoch(name)))
  end)
end

--- Waits until the turn that a write began has ended, and gives the new epoch.
---@param name string
---@param before string the epoch as it was, with its state
---@param meanwhile? fun() calls that go on: the next one makes up for a turn that was refused
---@return string
function Cache:turned(name, before, meanwhile)
  return support.eventually(function()
    if meanwhile then meanwhile() end
    local now = self:epoch(name)
    return now and now:sub(1, 1) == 'V' and now ~= before and now
  end, 60, name .. ' to be turned')
end

--- An id that no row has yet.
---@return string
function Cache:fresh()
  self.last = (self.last or 0) + 1
  return tostring(self.last)
end

--- Makes a document that stands in PostgreSQL and in the cache, and gives its id.
---@param store stores.Store
---@param fields? table of the document
---@param name? string of the table; docs where it is left out
---@return string id
function Cache:cached(store, fields, name)
  name = name or 'docs'
  local record = { id = self:fresh() }
  for key, field in pairs(fields or {}) do record[key] = field end
  self:ready(store, 'public.' .. name)
  store:insert(name, record)
  support.eventually(function() -- a table whose facts have changed is turned by its first write
    store:find(name, record.id)
    return (self:row('public.' .. name, record.id) or ''):find('^V') ~= nil
  end, 60)
  return record.id
end

--- How much figures of stats() grew while fn ran.
---@param store stores.Store
---@param fn fun()
---@param names string[] of the figures
---@return table<string, integer>
function cache.grown(store, fn, names)
  local before = store:stats()
  fn()
  local after, out = store:stats(), {}
  for _, name in ipairs(names) do out[name] = after[name] - before[name] end
  return out
end

--- Where a read has its row from: which of these three figures it counts in.
---@param store stores.Store
---@param id string
---@param name? string of the table; docs where it is left out
---@return table<string, integer>
function cache.sources(store, id, name)
  return cache.grown(store, function() store:find(name or 'docs', id) end,
    { 'hits', 'misses', 'negative_hits' })
end

--- Reads a row until it comes from the cache.
---@param store stores.Store
---@param name string
---@param id string
function cache.hit(store, name, id)
  support.eventually(function() return cache.sources(store, id, name).hits > 0 end, 20,
    name .. ' to be read from the cache')
end

--- Calls fn until a writer evicted no holder meanwhile, some times at most: those of a machine that
--- is busy elsewhere for a second, as long as a lease, are evicted, whatever they do.
---@param writer stores.Store
---@param fn fun()
function cache.evicts_nobody(writer, fn)
  for _ = 1, 5 do
    local before = writer:stats().held_evictions
    fn()
    if writer:stats().held_evictions == before then return end
  end
  error('holders were evicted each time', 2)
end

--- Reads a row until that is done from the memory of the store's process.
---@param store stores.Store one that holds the table
---@param name string
---@param id string
---@param seconds? number 20 where it is left out
function cache.hold(store, name, id, seconds)
  support.eventually(function()
    local before = store:stats().held_hits
    store:find(name, id)
    return store:stats().held_hits > before
  end, seconds, name .. ' to be held')
end

return cache
