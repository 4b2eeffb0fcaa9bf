--- The same call to several shards side by side: so many at a time, with one deadline for all of
--- them. One that fails raises with the name of its shard, when the others have ended; or, where
--- part of an answer is wanted, is named beside it.

local call = require('stores.config.call')
local errors = require('stores.errors')
local frames = require('stores.updates.frames')
local health = require('stores.shards.health')
local holds = require('stores.updates.holds')
local tasks = require('stores.tasks')

local scatter = {}

---@class stores.SideOptions
---@field concurrency? integer how many shards at a time

---@class stores.ScatterOptions : stores.SideOptions
---@field partial? boolean the answer of those that do answer; the last value names the others
---@field on? 'all'|stores.Id of query: where it runs

---@class stores.shards.Failure : stores.Error
---@field shard integer

--- The verbs of which there is no part: they raise where a shard fails.
---@type table<string, boolean>
scatter.whole = { each = true, insertMany = true, upsertMany = true, deleteMany = true,
  updateEach = true }

local OWN = call.allow('partial', 'concurrency')
local NONE = {}
scatter.SHORTEST = 0.001 -- seconds that a call takes as its timeout

--- Takes what is for the shards out of the options of a call.
---@param opts table?
---@param verb string? its name, where it may be one of scatter.whole
---@return table? opts those of the verb
---@return stores.ScatterOptions
---Raises invalid_option.
function scatter.split(opts, verb)
  if type(opts) ~= 'table' then return opts, NONE end
  if opts.partial == nil and opts.concurrency == nil then return opts, NONE end
  local rest, own = {}, {}
  for key, value in pairs(opts) do
    if OWN[key] then own[key] = value else rest[key] = value end
  end
  if own.partial ~= nil and scatter.whole[verb] then
    errors.raise('invalid_option', ("%s raises where a shard fails: option 'partial' does not "
      .. 'belong to it'):format(verb))
  end
  return rest, call.check(own, OWN)
end

--- A plan is that of all shards.
---Raises invalid_option.
function scatter.refuse_part()
  errors.raise('invalid_option',
    'a plan is one of all shards: partial does not go with explain')
end

-- Where a function of this coroutine holds a connection, it would be waited for in another one.
local function look_around(stores)
  for _, store in ipairs(stores) do
    store:check_usable()
    if frames.count > 0 then holds.check_connection(store) end
  end
end

--- An error of a shard with its name.
---@param err any
---@return any
function scatter.name(err)
  if errors.is(err) and err.shard and not err.message:find('^shard %d') then
    err.message = ('shard %d: %s'):format(err.shard, err.message)
  end
  return err
end

-- Where one has written, or may have, nobody can say that nothing was done.
local function note_begun(err, errs, done, how)
  if not how.writes then return end
  local is_begun = done > 0
  for _, other in pairs(errs) do
    is_begun = is_begun or errors.is(other) and other.outcome ~= 'none'
      or errors.is(other) and (other.count or 0) > 0
  end
  if is_begun then errors.was_begun(err) end
end

--- Raises what is raised where some failed: the first one, which knows of the others.
---@param failures stores.shards.Failure[]
function scatter.raise(failures)
  local first = failures[1]
  if errors.is(first) and #failures > 1 then first.failed = failures end
  errors.throw(scatter.name(first))
end

-- Whether it says of one shard that it did not answer, and not of the call that it is none.
local function is_of_shard(err)
  return errors.is(err) and err.shard ~= nil
end

--- Calls fn(store, timeout, place) for shards side by side.
---@param self stores.Shards
---@param how {timeout: number?, partial: boolean?, concurrency: integer?, writes: boolean?,
---is_long: boolean?, failed: (fun(place: integer, err: any))?, verb: string?, opts: table?}
---is_long: the time is that of each shard; failed: is told of each that fails, with its own error;
---verb, opts: what is called, where that may be a read
---@param fn fun(store: stores.Store, timeout: number, place: integer): any
---@param places integer[]? of self.shards; nil: all of them
---@return any[] results by place; nil for those that failed
---@return stores.shards.Failure[]? failed nil: none
function scatter.run(self, how, fn, places)
  look_around(self.shards)
  if not places then
    places = {}
    for place = 1, self.size do places[place] = place end
  end
  local hub = self.shards[1].hub
  local deadline = hub:now() + (how.timeout or self.timeout)
  local results, errs, done = {}, {}, 0
  local function left(place)
    if how.is_long then return how.timeout or self.timeout end
    local seconds = deadline - hub:now()
    if seconds < scatter.SHORTEST then
      errors.raise('timeout', 'there was no time left', { shard = place - 1 })
    end
    return seconds
  end
  local function reach(place)
    local is_elsewhere = how.verb and health.is_elsewhere(self.shards[place], how.verb, how.opts)
    return is_elsewhere and health.read or health.call
  end
  local function one(place)
    local ok, result = pcall(function()
      return reach(place)(self, place, function(store)
        return fn(store, left(place), place)
      end, left(place))
    end)
    if ok then
      results[place], done = result, done + 1
    else
      errs[place] = result
      if how.failed then how.failed(place, result) end
    end
  end
  if #places == 1 then
    one(places[1])
  else
    tasks.map(places, one, { concurrency = math.min(how.concurrency or self.concurrency, #places) })
  end
  local failures = {}
  for _, place in ipairs(places) do
    local err = errs[place]
    if err ~= nil then
      if not is_of_shard(err) then
        note_begun(err, errs, done, how)
        errors.throw(err)
      end
      failures[#failures + 1] = err
    end
  end
  if #failures == 0 then return results, nil end
  if not how.partial or done == 0 then
    note_begun(failures[1], errs, done, how)
    scatter.raise(failures)
  end
  for _, err in ipairs(failures) do scatter.name(err) end
  return results, failures
end

--- The options of a verb without one of them.
---@param opts any
---@param name string
---@return any
function scatter.without(opts, name)
  if type(opts) ~= 'table' or opts[name] == nil then return opts end
  local copy = {}
  for key, value in pairs(opts) do
    if key ~= name then copy[key] = value end
  end
  return copy
end

--- The options of a verb, with what is left of the time.
---@param opts table?
---@param timeout number
---@return table
function scatter.within(opts, timeout)
  local copy = {}
  for key, value in pairs(opts or {}) do copy[key] = value end
  copy.timeout = timeout
  return copy
end

return scatter
