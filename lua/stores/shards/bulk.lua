--- The verbs over many rows, of several databases: each row goes to the shard of its id. What of a
--- call is done in one shard is a transaction of that shard alone.

local arguments = require('stores.verbs.arguments')
local call = require('stores.config.call')
local errors = require('stores.errors')
local health = require('stores.shards.health')
local ids = require('stores.ids')
local json = require('stores.json')
local scatter = require('stores.shards.scatter')
local source = require('stores.verbs.bulk.source')
local taken = require('stores.verbs.list').taken.store

local verbs = {}

local check = arguments.check

local function but(opts, ...)
  local rest = {}
  for key, value in pairs(opts) do rest[key] = value end
  for i = 1, select('#', ...) do rest[select(i, ...)] = nil end
  return rest
end

-- What some shards have done stays.
local function of_part(is_first, ok, ...)
  if ok then return ... end
  local err = ...
  if not is_first then errors.was_begun(err) end
  errors.throw(scatter.name(err))
end

-- ---- By ids -------------------------------------------------------------------------------------

-- The items by the shard of their ids, each with its place among all.
local function split(self, items, id_of)
  local parts = {}
  for place, item in ipairs(items) do
    local shard = self:place_of(id_of(item))
    local part = parts[shard] or { items = {}, places = {} }
    parts[shard] = part
    part.items[#part.items + 1], part.places[#part.places + 1] = item, place
  end
  return parts
end

local function put_back(parts, from, made)
  for shard = from, table.maxn(parts) do
    for _, record in ipairs(parts[shard] and parts[shard].items or {}) do
      if made[record] then record.id = nil end
    end
  end
end

local function store_part(self, verb, name, parts, opts, made, into)
  local is_first = true
  for shard = 1, self.size do
    local part = parts[shard]
    if part then
      local ok, results, counts, etags = pcall(health.call, self, shard, self.shards[shard][verb],
        nil, name, part.items, opts)
      if not ok then
        put_back(parts, shard + (errors.is(results) and results.outcome == 'none' and 0 or 1), made)
      end
      of_part(is_first, ok, results)
      is_first = false
      for word, count in pairs(counts) do into.counts[word] = into.counts[word] + count end
      for i, place in ipairs(part.places) do
        into.results[into.first + place] = results[i]
        if etags then into.etags[into.first + place] = etags[i] end
      end
    end
  end
end

local function give_ids(self, items)
  local made = {}
  for _, record in ipairs(items) do
    arguments.check_record(record)
    if record.id == nil then
      record.id, made[record] = self:generateId(), true
    else
      record.id = ids.parse(record.id)
    end
  end
  return made
end

local function id_of_record(record) return record.id end

-- The next records: the rest of a list, or as many of a function as make a chunk for each shard.
local function taker(self, records, opts)
  local from = source.new({ tables = {} }, '', records, opts, false)
  local most = from.is_list and math.huge or from.rows * self.size
  return from, function()
    local items = {}
    while #items < most do
      local record = from.next()
      if record == nil then break end
      items[#items + 1] = record
    end
    from.index = from.index + #items
    return items[1] and items
  end
end

local function store_many(self, verb, name, records, opts)
  local from, take = taker(self, records, opts)
  local first = from.index
  local into = { results = json.array(), etags = opts.etag and json.array() or nil, first = first,
    counts = { inserted = 0, replaced = 0, ignored = 0 } }
  local rest = but(opts, 'after', 'progress')
  while true do
    local items = take()
    if not items then break end
    local made = give_ids(self, items)
    local ok, err = pcall(store_part, self, verb, name, split(self, items, id_of_record), rest,
      made, into)
    if not ok then
      if errors.is(err) then err.index, err.after = nil, nil end -- of the shard's own part
      errors.throw(err)
    end
    if not from.is_list then
      into.results, into.etags = json.array(), opts.etag and json.array() or nil
    end
    if opts.progress then opts.progress(from.index - first, from.index) end
  end
  return into.results, into.counts, into.etags
end

-- Inserts many records, each into the shard of its id.
function verbs:insertMany(name, records, opts)
  check(self, 'insertMany')
  return store_many(self, 'insertMany', name, records, call.check(opts, taken.insertMany))
end

function verbs:upsertMany(name, records, opts)
  check(self, 'upsertMany')
  return store_many(self, 'upsertMany', name, records, call.check(opts, taken.upsertMany))
end

local function itself(id) return id end

function verbs:deleteMany(name, list, opts)
  check(self, 'deleteMany')
  opts = call.check(opts, taken.deleteMany)
  local all, first = source.ids(list), source.after(opts)
  local rest, deleted, count, is_first = but(opts, 'after', 'progress'), json.array(), 0, true
  local wanted = {}
  for place, id in ipairs(all) do
    deleted[place] = false
    if place > first then wanted[#wanted + 1] = id end
  end
  local parts = split(self, wanted, itself)
  for shard = 1, self.size do
    local part = parts[shard]
    if part then
      local gone, number = of_part(is_first, pcall(health.call, self, shard,
        self.shards[shard].deleteMany, nil, name, part.items, rest))
      is_first, count = false, count + number
      for i, place in ipairs(part.places) do deleted[first + place] = gone[i] end
    end
  end
  if opts.progress then opts.progress(#wanted, #all) end
  return deleted, count
end

-- ---- By criteria --------------------------------------------------------------------------------

-- Where a walk over all shards is: 'shard/id', or 'shard' at the beginning of one.
local function read_place(after, count)
  if after == nil then return 1, nil end
  local shard, id = tostring(after):match('^(%d+)/?(.*)$')
  shard = tonumber(shard)
  if not shard or shard >= count then
    errors.raise('invalid_option', "'after' is what an updateEach of these shards gave")
  end
  return shard + 1, id ~= '' and id or nil
end

-- Changes every document that meets criteria by a function, shard by shard.
function verbs:updateEach(name, doc, change, opts)
  check(self, 'updateEach')
  opts = call.check(opts, taken.updateEach)
  local first, after = read_place(opts.after, self.size)
  local count, place = 0, opts.after
  for shard = first, self.size do
    local rest = but(opts, 'after', 'progress')
    rest.after = shard == first and after or nil
    rest.progress = function(done, last)
      place = ('%d/%s'):format(shard - 1, last)
      if opts.progress then opts.progress(count + done, place) end
    end
    local ok, done = pcall(health.call, self, shard, self.shards[shard].updateEach, nil, name,
      doc, change, rest)
    if not ok then
      if errors.is(done) then done.count, done.after = count + (done.count or 0), place end
      errors.throw(done)
    end
    count = count + done
  end
  return count, place
end

return verbs
