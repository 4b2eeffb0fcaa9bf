--- The verbs of shards, by those of a store (verbs/list.lua): which of the shards a call is for,
--- and what is made of several answers. What a verb's arguments say is read from the list, so that
--- one that is new has a route by itself; all others stand here.

local arguments = require('stores.verbs.arguments')
local bulk = require('stores.shards.bulk')
local call = require('stores.config.call')
local core = require('stores.core')
local errors = require('stores.errors')
local health = require('stores.shards.health')
local json = require('stores.json')
local list = require('stores.verbs.list')
local listening = require('stores.listener')
local lists = require('stores.shards.lists')
local merge = require('stores.shards.merge')
local paths = require('stores.sql.paths')
local scatter = require('stores.shards.scatter')
local tasks = require('stores.tasks')

local routes = {}

local taken = list.taken.store

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

-- ---- One shard ----------------------------------------------------------------------------------

-- Calls a verb of one of the stores. Where something is to be found out before, the call's own time
-- is of that, too.
local function call_one(self, place, name, opts, opts_at, ...)
  local timeout = type(opts) == 'table' and opts.timeout
  local reach = health.is_elsewhere(self.shards[place], name, opts) and health.read or health.call
  if type(timeout) ~= 'number' or timeout <= 0 or health.is_well(self, place) then
    return reach(self, place, self.shards[place][name], nil, ...)
  end
  local given, count, hub = { ... }, select('#', ...), self.shards[place].hub
  local ends = hub:now() + timeout
  return reach(self, place, function(store)
    local rest = scatter.within(opts, math.max(ends - hub:now(), scatter.SHORTEST))
    given[opts_at] = rest
    return store[name](store, unpack(given, 1, count))
  end, timeout)
end

-- Those with an id behind the table.
local function by_id(name, opts_at)
  return function(self, table, id, ...)
    arguments.check(self, name)
    arguments.check_table(table)
    return call_one(self, self:place_of(id), name, select(opts_at - 2, ...), opts_at, table, id,
      ...)
  end
end

-- Those with a record behind the table. One without an id is of the shard whose turn it is.
local function by_record(name, opts_at)
  return function(self, table, record, ...)
    arguments.check(self, name)
    arguments.check_table(table)
    arguments.check_record(record)
    local place = record.id ~= nil and self:place_of(record.id) or self:next_place()
    return call_one(self, place, name, select(opts_at - 2, ...), opts_at, table, record, ...)
  end
end

-- ---- All shards ---------------------------------------------------------------------------------

local function sum(results, count)
  local total = 0
  for place = 1, count do total = total + (results[place] or 0) end
  return total
end

local function concat(results, count)
  local all = json.array()
  for place = 1, count do
    for _, value in ipairs(results[place] or {}) do all[#all + 1] = value end
  end
  return all
end

-- Of a shard that did not answer nothing is known: whoever comes with it has its primary asked.
local function tokens(results, count)
  local all = {}
  for place = 1, count do all[#all + 1] = results[place] end
  return table.concat(all, ',')
end

local function explained(results)
  local plan = {}
  for key, value in pairs(results[1]) do plan[key] = value end
  plan.shards = results
  return plan
end

-- Calls a verb of all stores with the same arguments, of which the last are its options.
local function all_of(self, name, opts_at, how, ...)
  arguments.check(self, name)
  local given = { ... }
  local own_opts, own = scatter.split(given[opts_at])
  given[opts_at] = own_opts
  local opts = call.check(given[opts_at], taken[name])
  if opts.explain and own.partial then scatter.refuse_part() end
  local results, failed = scatter.run(self, { timeout = opts.timeout, partial = own.partial,
    concurrency = own.concurrency, writes = how.writes and not opts.explain, failed = how.failed,
    verb = name, opts = opts }, function(store, timeout)
      local args = { unpack(given, 1, opts_at) }
      args[opts_at] = scatter.within(given[opts_at], timeout)
      if not how.pack then return (store[name](store, unpack(args, 1, opts_at))) end
      return { store[name](store, unpack(args, 1, opts_at)) }
    end)
  return results, failed, opts
end

-- A verb of all stores, whose answers are joined.
local function gathered(name, opts_at, join, how)
  how = how or {}
  return function(self, ...)
    local results, failed, opts = all_of(self, name, opts_at, how, ...)
    if opts.explain then return explained(results) end
    local joined = join(results, self.size)
    if failed then return joined, failed end
    return joined
  end
end

-- ---- Those that are alike in no other verb ------------------------------------------------------

local own = {}

own.count = { 3, sum }
own.patchWhere = { 4, concat, { writes = true } }
own.deleteWhere = { 3, concat, { writes = true } }
own.token = { 1, tokens }
own.sweep = { 1, sum, { writes = true } }
own.expire = { 2, sum, { writes = true } }

routes.findOne = lists.findOne
routes.each = lists.each

function routes:findAllByIds(name, wanted, opts)
  arguments.check(self, 'findAllByIds')
  arguments.check_table(name)
  local split
  opts, split = scatter.split(opts)
  local checked = call.check(opts, taken.findAllByIds)
  wanted = arguments.check_ids(wanted)
  local groups, places, place_of = {}, {}, {}
  for i, id in ipairs(wanted) do
    local place = self:place_of(id)
    place_of[i] = place
    if not groups[place] then
      groups[place] = {}
      places[#places + 1] = place
    end
    table.insert(groups[place], id)
  end
  table.sort(places)
  local found, missing, met = checked.as == 'map' and {} or json.array(), json.array(), {}
  if not places[1] then return found, missing end
  local results, failed = scatter.run(self, { timeout = checked.timeout, partial = split.partial,
    concurrency = split.concurrency, verb = 'findAllByIds', opts = checked },
    function(store, timeout, place)
      local documents, absent = store:findAllByIds(name, groups[place],
        scatter.within(opts, timeout))
      local is_absent = {}
      for _, id in ipairs(absent) do is_absent[id] = true end
      return { documents = documents, is_absent = is_absent, at = 0 }
    end, places)
  for i, id in ipairs(wanted) do
    local answer = results[place_of[i]] -- nil: its shard failed, and is named
    if answer and answer.is_absent[id] then
      if not met[id] then missing[#missing + 1] = id end
      met[id] = true
    elseif answer and checked.as == 'map' then
      found[id] = answer.documents[id]
    elseif answer then
      answer.at = answer.at + 1
      found[#found + 1] = answer.documents[answer.at]
    end
  end
  if failed then return found, missing, failed end
  return found, missing
end

-- A value is unique in each shard; that it is in all of them nobody sees to.
function routes:findBy(name, path, value, opts)
  arguments.check(self, 'findBy')
  local must = call.check((scatter.split(opts)), taken.findBy).must
  local results, failed = all_of(self, 'findBy', 4, {}, name, path, value,
    scatter.without(opts, 'must'))
  local document
  for place = 1, self.size do
    if results[place] ~= nil then
      if document ~= nil then
        errors.raise('duplicate', ('two shards have a row of %s with this value: it is not unique')
          :format(name), { table = name })
      end
      document = results[place]
    end
  end
  if document == nil and must then
    if failed then scatter.raise(failed) end -- which may have it
    errors.raise('not_found', ('%s has no row with this value at %s'):format(name,
      paths.show(paths.read(path, 'path'))), { table = name })
  end
  if failed then return document, failed end
  return document
end

-- Where a text runs, which knows of no ids: option `on`.
local function where_of(self, opts)
  local on = type(opts) == 'table' and opts.on
  if on == 'all' then return nil end
  if on == nil or on == false then
    errors.raise('invalid_option', "a query of shards says where it runs: on = 'all', or the id of "
      .. 'a row')
  end
  return self:place_of(on)
end

function routes:query(text, params, opts)
  arguments.check(self, 'query')
  local place = where_of(self, opts)
  opts = scatter.without(opts, 'on')
  if place then
    return call_one(self, place, 'query', opts, 3, text, params, opts)
  end
  local results, failed = all_of(self, 'query', 3, { writes = not opts.readonly }, text, params,
    opts)
  local rows, affected = setmetatable(concat(results, self.size), core.rows_metatable), 0
  for at = 1, self.size do affected = affected + (results[at] and results[at].affected or 0) end
  core.affected[rows] = affected -- no member, which JSON would see
  if failed then return rows, affected, failed end
  return rows, affected
end

function routes:transaction(id, fn, opts)
  arguments.check(self, 'transaction')
  if type(id) == 'function' then
    refuse('a transaction is of one shard: shards:transaction(id, fn)')
  end
  local place = self:place_of(id)
  return call_one(self, place, 'transaction', opts, 2, fn, opts)
end

function routes:invalidate(name, id, opts)
  arguments.check(self, 'invalidate')
  if id ~= nil then
    local place = self:place_of(id)
    return call_one(self, place, 'invalidate', opts, 3, name, id, opts)
  end
  local _, failed = all_of(self, 'invalidate', 3, { writes = true }, name, nil, opts)
  if failed then return failed end
end

-- Who goes on does so behind one id, in all shards: the least of those at which one stopped.
local function stop_upgrade(err, failed, opts)
  if not errors.is(err) then errors.throw(err) end
  local least, is_known = nil, true
  for _, after in ipairs(failed) do
    is_known = is_known and after
    if is_known and (not least or merge.compare_ids(after, least) < 0) then least = after end
  end
  if failed[1] ~= nil then err.after = is_known and least or opts and opts.after end
  errors.throw(err)
end

-- The last row of all is the one with the largest id.
function routes:upgrade(name, opts)
  local stopped = {}
  local ok, results, failed = pcall(all_of, self, 'upgrade', 2,
    { writes = true, pack = true, failed = function(_, err)
      stopped[#stopped + 1] = errors.is(err) and err.after and tostring(err.after) or false
    end }, name, opts)
  if not ok then stop_upgrade(results, stopped, opts) end
  local count, last = 0, nil
  for place = 1, self.size do
    local answer = results[place]
    if answer then
      count = count + answer[1]
      if answer[2] and (not last or merge.compare_ids(last, answer[2]) < 0) then
        last = answer[2]
      end
    end
  end
  if failed then return count, last, failed end
  return count, last
end

---@class stores.shards.Listener
---@field channel string
local Listener = {}
Listener.__index = Listener

--- Ends it; its function is not called any more. Harmless again.
function Listener:stop()
  for _, one in ipairs(self.listeners) do one:stop() end
end

function routes:listen(channel, fn)
  arguments.check(self, 'listen')
  listening.check(channel, fn)
  local listeners, failed = {}, {}
  tasks.map(self.shards, function(store, place)
    local ok, one = pcall(health.call, self, place, store.listen, nil, channel, fn)
    if ok then listeners[#listeners + 1] = one else failed[#failed + 1] = one end
  end, { concurrency = self.concurrency })
  local listener = setmetatable({ channel = channel, listeners = listeners }, Listener)
  if not failed[1] then return listener end
  listener:stop()
  errors.throw(scatter.name(failed[1]))
end

-- Who listens does so to all shards: each notification goes to one.
function routes:notify(channel, payload)
  arguments.check(self, 'notify')
  for place = 1, self.size do
    local ok, err = pcall(health.call, self, place, self.shards[place].notify, nil, channel,
      payload)
    if ok then return end
    local state = self.health[place]
    local may_go_on = (state.down or state.suspect) and errors.is(err) and err.outcome == 'none'
    if not may_go_on or place == self.size then errors.throw(scatter.name(err)) end
  end
end

function routes:migrate(migrations, opts)
  arguments.check(self, 'migrate')
  return require('stores.migrations').runMigrations(migrations, self, opts)
end

function routes:generateId()
  arguments.check_self(self, 'generateId')
  return self:new_id()
end

function routes:stats()
  arguments.check_self(self, 'stats')
  local all = { shards = {} }
  for place, store in ipairs(self.shards) do
    local stats = store:stats()
    all.shards[place] = stats
    for figure, value in pairs(stats) do
      if type(value) == 'number' then all[figure] = (all[figure] or 0) + value end
    end
  end
  return all
end

function routes:close()
  arguments.check_self(self, 'close')
  for place, store in ipairs(self.shards) do
    health.close(self.health[place])
    store:close()
  end
end

-- ---- What comes of the list ---------------------------------------------------------------------

local function takes(row, at, name)
  return row.takes[at] and row.takes[at].name == name and not row.takes[at].is_optional
end

local function made(row)
  local opts_at = #row.takes + 1
  if own[row.name] then return gathered(row.name, unpack(own[row.name])) end
  if takes(row, 2, 'id') then return by_id(row.name, opts_at) end
  if takes(row, 2, 'record') then return by_record(row.name, opts_at) end
  if row.options and taken[row.name].limit then return lists.verb(row.name, opts_at) end
  return nil -- spec/shards/verbs_spec.lua tells
end

--- The verbs by their names.
---@return table<string, function>
function routes.verbs()
  local verbs = {}
  for _, row in ipairs(list.verbs) do
    if (row.on == 'both' or row.on == 'store') and not row.is_internal then
      verbs[row.name] = routes[row.name] or bulk[row.name] or made(row)
    end
  end
  return verbs
end

return routes
