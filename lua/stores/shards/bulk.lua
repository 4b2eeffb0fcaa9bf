--- The verbs over many rows, of several databases: each row goes to the shard of its id. What of a
--- call is done in one shard is a transaction of that shard alone.

local arguments = require('stores.verbs.arguments')
local call = require('stores.config.call')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local holds = require('stores.updates.holds')
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

-- Takes what is for the shards out of the options of a verb that writes.
local function split_options(opts, name)
  local own
  opts, own = scatter.split(opts, name)
  return call.check(opts, taken[name]), own
end

-- What was done before stays. How far a shard came in its own part tells nothing of the whole.
local function throw(err, is_begun)
  if errors.is(err) then
    if is_begun then errors.was_begun(err) end
    err.after, err.count = nil, nil
  end
  errors.throw(err)
end

-- The record that is in the way, by its place among all.
local function name_record(err, part, first)
  if errors.is(err) and err.index then err.index = first + part.places[err.index] end
end

-- ---- By ids -------------------------------------------------------------------------------------

-- The items by the shard of their ids, each with its place among all. Every shard is called in a
-- coroutine of its own, so that what this one holds is looked at here.
local function split(self, name, items, id_of)
  local parts, holding = {}, type(name) == 'string' and frames.mine() ~= nil
  for place, item in ipairs(items) do
    local shard = self:place_of(id_of(item))
    if holding then holds.check(self.shards[shard], name, id_of(item)) end
    local part = parts[shard] or { items = {}, places = {} }
    parts[shard] = part
    part.items[#part.items + 1], part.places[#part.places + 1] = item, place
  end
  return parts
end

-- Calls fn(store, part, opts) for the shards that have a part, side by side; each has the time of a
-- store's call.
local function over(self, parts, opts, own, fn, failed)
  local places = {}
  for shard = 1, self.size do
    if parts[shard] then places[#places + 1] = shard end
  end
  if not places[1] then return end
  scatter.run(self, { timeout = opts.timeout, concurrency = own.concurrency, writes = true,
    is_long = true, failed = failed }, function(store, _, shard)
      fn(store, parts[shard], opts)
    end, places)
end

-- Takes ids that were made here out of the records of a part that were not stored: of chunks by
-- themselves those before the one that failed are.
local function put_back(part, err, made)
  if not errors.is(err) or err.outcome ~= 'none' then return end
  for i = (err.after or 0) + 1, #part.items do
    if made[part.items[i]] then part.items[i].id = nil end
  end
end

local function give_ids(self, items, made, into)
  for place, record in ipairs(items) do
    into.at = place
    arguments.check_record(record)
    if record.id == nil then
      record.id, made[record] = self:generateId(), true
    else
      record.id = ids.parse(record.id)
    end
  end
  into.at = nil
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

-- The items by their shards, with ids.
local function prepare(self, name, items, made, into)
  give_ids(self, items, made, into)
  return split(self, name, items, id_of_record)
end

local function store_items(self, verb, name, items, opts, own, into)
  local made = {}
  local ok, parts = pcall(prepare, self, name, items, made, into)
  if not ok then
    if errors.is(parts) and into.at then parts.index = into.before + into.at end
    for record in pairs(made) do record.id = nil end
    errors.throw(parts)
  end
  over(self, parts, opts, own, function(store, part, rest)
    local results, counts, etags = store[verb](store, name, part.items, rest)
    for word, count in pairs(counts) do into.counts[word] = into.counts[word] + count end
    for i, place in ipairs(part.places) do
      into.results[into.first + place] = results[i]
      if etags then into.etags[into.first + place] = etags[i] end
    end
  end, function(shard, err)
    put_back(parts[shard], err, made)
    name_record(err, parts[shard], into.before)
  end)
end

local function store_many(self, verb, name, records, opts)
  local own
  opts, own = split_options(opts, verb)
  local from, take = taker(self, records, opts)
  local first = from.index
  local into = { results = json.array(), etags = opts.etag and json.array() or nil, first = first,
    counts = { inserted = 0, replaced = 0, ignored = 0 } }
  local rest = but(opts, 'after', 'progress')
  local is_begun = false
  while true do
    local items = take()
    if not items then break end
    into.before = from.index - #items
    local ok, err = pcall(store_items, self, verb, name, items, rest, own, into)
    if not ok then throw(err, is_begun) end
    is_begun = true
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
  return store_many(self, 'insertMany', name, records, opts)
end

function verbs:upsertMany(name, records, opts)
  check(self, 'upsertMany')
  return store_many(self, 'upsertMany', name, records, opts)
end

local function itself(id) return id end

function verbs:deleteMany(name, list, opts)
  check(self, 'deleteMany')
  local own
  opts, own = split_options(opts, 'deleteMany')
  local all, first = source.ids(self, list), source.after(opts)
  local deleted, wanted, count = json.array(), {}, 0
  for place, id in ipairs(all) do
    deleted[place] = false
    if place > first then wanted[#wanted + 1] = id end
  end
  local parts, rest = split(self, name, wanted, itself), but(opts, 'after', 'progress')
  local ok, err = pcall(over, self, parts, rest, own, function(store, part)
    local gone, number = store:deleteMany(name, part.items, rest)
    count = count + number
    for i, place in ipairs(part.places) do deleted[first + place] = gone[i] end
  end, function(shard, err) name_record(err, parts[shard], first) end)
  if not ok then throw(err, false) end
  if opts.progress then opts.progress(#wanted, #all) end
  return deleted, count
end

-- ---- By criteria --------------------------------------------------------------------------------

-- Where a walk over all shards is: the last id in each of them, in their order, behind commas; none
-- where it has not begun.
local function read_places(after, count)
  local places = {}
  if after == nil then return places end
  local at, is_right = 0, true
  for id in (tostring(after) .. ','):gmatch('([^,]*),') do
    at = at + 1
    is_right = is_right and (id == '' or id:find('^%-?%d+$') ~= nil)
    places[at] = id ~= '' and id or nil
  end
  if at ~= count or not is_right then
    errors.raise('invalid_option', "'after' is what an updateEach of these shards gave")
  end
  return places
end

local function write_places(places, count)
  local texts, is_begun = {}, false
  for shard = 1, count do
    texts[shard] = places[shard] or ''
    is_begun = is_begun or places[shard] ~= nil
  end
  return is_begun and table.concat(texts, ',') or nil
end

local STOPPED = {} -- raised in those that go on while another one has failed

---@class stores.shards.Walk an updateEach of all shards
---@field counts integer[] by shard
---@field places table<integer, string> by shard: the last id
---@field is_stopped boolean

local function total(walk)
  local count = 0
  for _, done in pairs(walk.counts) do count = count + done end
  return count
end

local function update_shard(self, walk, shard, store, rest)
  local progress = rest.progress
  rest = but(rest, 'after', 'progress')
  rest.after = walk.places[shard]
  rest.progress = function(done, last)
    walk.counts[shard], walk.places[shard] = done, last
    if progress then progress(total(walk), write_places(walk.places, self.size)) end
    if walk.is_stopped then errors.throw(STOPPED) end
  end
  local ok, done, last = pcall(store.updateEach, store, walk.name, walk.doc, walk.change, rest)
  if ok then
    walk.counts[shard], walk.places[shard] = done, last
  elseif done ~= STOPPED then
    walk.is_stopped = true
    errors.throw(done)
  end
end

-- Changes every document that meets criteria by a function, in all shards side by side. Where one
-- fails the others end with the batch that they are at.
function verbs:updateEach(name, doc, change, opts)
  check(self, 'updateEach')
  local own
  opts, own = split_options(opts, 'updateEach')
  local walk = { name = name, doc = doc, change = change, counts = {}, is_stopped = false,
    places = read_places(opts.after, self.size) }
  local ok, err = pcall(scatter.run, self, { timeout = opts.timeout, is_long = true,
    concurrency = own.concurrency }, function(store, _, shard)
      update_shard(self, walk, shard, store, opts)
    end)
  local count, place = total(walk), write_places(walk.places, self.size)
  if not ok then
    if errors.is(err) then err.count, err.after = count, place end
    errors.throw(err)
  end
  return count, place
end

return verbs
