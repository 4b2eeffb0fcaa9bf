--- Lists of all shards: each gives its first rows in the order of the call, and they are merged. A
--- cursor has a place in every shard, so that it is the same as a store's.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local health = require('stores.shards.health')
local json = require('stores.json')
local merge = require('stores.shards.merge')
local pages = require('stores.sql.pages')
local query = require('stores.sql.query')
local reads = require('stores.verbs.reads')
local scatter = require('stores.shards.scatter')
local selects = require('stores.verbs.select')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')
local walks = require('stores.verbs.walks')

local lists = {}

---@class stores.shards.Gather a call of a verb that gives lists: what the verb takes for a store
---@field shards stores.Shards
---@field verb string
---@field how stores.ScatterOptions
---@field failed stores.shards.Failure[]?
local Gather = { is_stores_target = true }
Gather.__index = Gather

function Gather:check_usable()
  self.shards.shards[1]:check_usable()
end

-- The place of each of some JSON values in the order of jsonb, as the server sorts it.
local RANKS = [[
  SELECT dense_rank() OVER (ORDER BY value) AS rank
  FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS given (value, place) ORDER BY place]]

-- How a database sorts strings; what a server has no column for, it does not have.
local COLLATION = [[
  SELECT concat_ws(' ', datcollate, to_jsonb(d)->>'datlocprovider', to_jsonb(d)->>'daticulocale',
    to_jsonb(d)->>'datlocale') AS name
  FROM pg_database d WHERE datname = current_database()]]

-- Databases that sort strings in different ways would give pages with holes: each of them is asked
-- for its collation before it is first compared with the others.
local function check_collations(shards, answers, timeout)
  local known, unknown = shards.collations, {}
  for place = 1, shards.size do
    if answers[place] and not known[place] then unknown[#unknown + 1] = place end
  end
  if not unknown[1] then return end
  local found = scatter.run(shards, { timeout = timeout }, function(store, left)
    return wait.slot(store.hub, store.engine:query(COLLATION, {}, { transaction = false,
      readonly = true }, left))[1].name
  end, unknown)
  local first
  for place = 1, shards.size do
    local name = known[place] or found[place]
    first = first or name and { place = place, name = name }
    if name and name ~= first.name then
      errors.raise('shard_mismatch', ('shard %d sorts strings by %s, and shard %d by %s: a list in '
        .. 'their order needs databases of one collation'):format(place - 1, name,
        first.place - 1, first.name), { shard = place - 1 })
    end
  end
  for place, name in pairs(found) do known[place] = name end
end

local function ranks_of(shards, answers, store, timeout)
  return function(texts)
    check_collations(shards, answers, timeout)
    local rows = wait.slot(store.hub, store.engine:query(RANKS,
      { '[' .. table.concat(texts, ',') .. ']' }, { transaction = false, readonly = true },
      timeout))
    local ranks = {}
    for i, row in ipairs(rows) do ranks[i] = row.rank end
    return ranks
  end
end

local function items_of(documents, ids, keys)
  local items = {}
  for i = 1, #ids do items[i] = merge.item(documents[i], ids[i], keys[i]) end
  return items
end

-- The plans of all shards; beside them what one store would give, of the first.
local function explain(self, name, opts, sql, params, page)
  local plans = scatter.run(self.shards, { timeout = opts.timeout }, function(store, timeout)
    return selects.plan(store, name, sql, params, { timeout = timeout }, page)
  end)
  local plan = {}
  for key, value in pairs(plans[1]) do plan[key] = value end
  plan.shards = plans
  return plan
end

local function documents_of(items)
  local documents = json.array()
  for i, item in ipairs(items) do documents[i] = item.document end
  return documents
end

--- What reads:run_list is for a store.
function Gather:run_list(name, opts, build)
  local shards = self.shards
  local is_page = opts.limit ~= nil and opts.limit > 0
  local page = { table = name, has_cursors = true, one_more = is_page, most = false,
    order = false, back = false, group = false, contains = false,
    whole = selects.takes_parts(shards.shards[1], shards.shards[1].tables[name], opts) }
  local sql, params = build(page)
  selects.check(shards.shards[1], name, opts, page)
  if opts.explain then
    if self.how.partial then scatter.refuse_part() end
    return explain(self, name, opts, sql, params, page)
  end
  local deadline = shards.shards[1].hub:now() + (opts.timeout or shards.timeout)
  local answers, failed = scatter.run(shards, { timeout = opts.timeout,
    partial = self.how.partial, concurrency = self.how.concurrency, verb = self.verb, opts = opts },
    function(store, timeout)
      local run = selects.told[self.verb] or selects.run
      return items_of(run(store, name, sql, params,
        { timeout = timeout, raw = opts.raw, fields = opts.fields, read = opts.read,
          after_token = opts.after_token }, nil, nil, true))
    end)
  self.failed = failed
  local found, asked = {}, nil
  for place = 1, shards.size do
    if answers[place] and answers[place][1] then
      found[#found + 1] = answers[place]
      if not asked or not health.is_well(shards, asked) then asked = place end
    end
  end
  asked = asked and shards.shards[asked]
  local ranks = asked and ranks_of(shards, answers, asked,
    math.max(deadline - asked.hub:now(), 0.001))
  local all = merge.new(page.order, page.back, ranks)
  local items, is_more = all:take(found, opts.limit)
  local documents = documents_of(items)
  if not is_page then return page.back and pages.reverse(documents) or documents end
  local first, last = items[1] or {}, items[#items] or {}
  return pages.finish(page, documents, last.id or nil, is_more, last.keys or nil, first.id or nil,
    first.keys or nil)
end

-- The options of a call, and the target of its verb.
local function gather(self, verb, opts)
  local rest, how = scatter.split(opts)
  return setmetatable({ shards = self, verb = verb, how = how, failed = nil }, Gather), rest
end

-- What a store gives, which is one value where there are no pages; and behind all that it may give
-- those that failed.
local function with_failed(target, documents, ...)
  if not target.failed then return documents, ... end
  local onward, back = ...
  return documents, onward, back, target.failed
end

--- A verb that gives a list in pages, by that of a store. Behind what it gives stand, where part of
--- an answer was wanted, those shards that failed.
---@param name string
---@param place integer where its options stand
---@return function
function lists.verb(name, place)
  local verb = reads[name]
  return function(self, ...)
    arguments.check(self, name)
    local given = { ... }
    local target
    target, given[place] = gather(self, name, given[place])
    return with_failed(target, verb(target, unpack(given, 1, place)))
  end
end

--- The first document of all shards.
function lists.findOne(self, name, doc, opts)
  arguments.check(self, 'findOne')
  arguments.check_table(name)
  local target
  target, opts = gather(self, 'findOne', opts)
  opts = check_options(opts, taken.findOne)
  local found = target:run_list(name, opts, function(page)
    page.one_more = false
    return query.find_one(doc, opts, page)
  end)
  if opts.explain then return found end
  if found[1] == nil and opts.must then
    if target.failed then scatter.raise(target.failed) end -- which may have it
    errors.raise('not_found', name .. ' has no such row', { table = name })
  end
  if target.failed then return found[1], target.failed end
  return found[1]
end

-- ---- each ---------------------------------------------------------------------------------------

---@class stores.shards.Stream the rows of one shard that were read and not yet given
---@field place integer
---@field walk stores.Walk
---@field items stores.shards.Item[]
---@field at integer the first one of them

local function remaining(stream)
  return #stream.items - stream.at + 1
end

-- Reads on in a shard; items that nobody has taken stay.
local function read_on(stream, store)
  local kept = {}
  for i = stream.at, #stream.items do kept[#kept + 1] = stream.items[i] end
  local documents, err, ids, keys = walks.next(store, stream.walk)
  for i = 1, #documents do kept[#kept + 1] = merge.item(documents[i], ids[i], keys[i]) end
  if err then
    local at = stream.walk.position
    kept[#kept + 1] = merge.item(nil, at.id,
      at.keys[1] and '[' .. table.concat(at.keys, ',') .. ']' or false, err)
  end
  stream.items, stream.at = kept, 1
end

-- Those that are empty are read on, and with them those that soon will be.
local function fill(self, streams, all, opts)
  local places, by_place, is_due = {}, {}, false
  for _, stream in ipairs(streams) do
    if not stream.walk.over and remaining(stream) <= stream.walk.size / 2 then
      is_due = is_due or remaining(stream) == 0
      places[#places + 1] = stream.place
      by_place[stream.place] = stream
    end
  end
  if not is_due then return end
  local deadline = self.shards[1].hub:now() + (opts.timeout or self.timeout)
  scatter.run(self, { timeout = opts.timeout, concurrency = opts.concurrency, verb = 'each',
    opts = opts }, function(store, timeout, place)
      local walk = by_place[place].walk
      walk.opts = scatter.within(walk.opts, timeout)
      walk.raw_opts = { timeout = timeout, raw = true, read = walk.opts.read,
        after_token = walk.opts.after_token }
      read_on(by_place[place], store)
    end, places)
  local left, asked, holders, answers = {}, nil, 0, {}
  for _, stream in ipairs(streams) do
    if remaining(stream) > 0 then
      holders = holders + 1
      answers[stream.place] = true
      if not asked or not health.is_well(self, asked) then asked = stream.place end
    end
    for i = stream.at, #stream.items do left[#left + 1] = stream.items[i] end
  end
  if holders < 2 then return end
  asked = self.shards[asked]
  all.ranks = ranks_of(self, answers, asked, math.max(deadline - asked.hub:now(), 0.001))
  all:prepare(left)
end

local function next_stream(streams, all)
  local best
  for _, stream in ipairs(streams) do
    local item = stream.items[stream.at]
    if item and (not best or all:is_before(item, best.items[best.at])) then best = stream end
  end
  return best
end

--- Reads a table of all shards batch by batch, in the order of the call.
function lists.each(self, name, opts)
  arguments.check(self, 'each')
  arguments.check_table(name)
  local rest, how = scatter.split(opts, 'each')
  rest = check_options(rest, taken.each)
  local streams = {}
  for place, store in ipairs(self.shards) do
    streams[place] = { place = place, walk = walks.new(store, name, rest, true), items = {},
      at = 1 }
  end
  local all = merge.new(streams[1].walk.order, false)
  local opts_of_fill = { timeout = rest.timeout, concurrency = how.concurrency, read = rest.read }
  return function()
    fill(self, streams, all, opts_of_fill)
    local stream = next_stream(streams, all)
    if not stream then return nil end
    local item = stream.items[stream.at]
    stream.at = stream.at + 1
    if item.err then errors.throw(scatter.name(item.err)) end
    return item.document
  end
end

return lists
