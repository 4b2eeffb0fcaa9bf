--- The figures of all processes: each leaves its own in a place that they share, when its calls end
--- and at most so often; who is scraped adds them up. What a process counted that is no more is
--- kept there, so that counters never go back; what it was then is not.

local configs = require('stores.config.made')
local errors = require('stores.errors')
local json = require('stores.json')
local places = require('stores.metrics.places')
local process = require('stores.metrics.process')
local snapshot = require('stores.metrics.snapshot')
local Store = require('stores.store')
local wait = require('stores.wait')

local shared = {}

local EVERY = 0.1 -- seconds

---@class stores.MetricsShare what this process does at one place
---@field place table
---@field process string
---@field over stores.Sum of its stores that were closed

local shares = {} -- place -> stores.MetricsShare
local told_at, is_due, is_deferred = -math.huge, false, false
local reported = false

--- What a store is called in a scrape.
---@param store stores.Store
---@return string
function shared.name_of(store)
  local flat = configs[store]
  return flat and flat.name or tostring(Store.open_stores[store] or 'closed')
end

local function place_of(store)
  local where = configs[store] and configs[store].metrics
  return where and places.of(where)
end

--- A folder that cannot be made is refused before there is a store.
---@param where {dict: string?, folder: string?} opts.metrics
---Raises invalid_option.
function shared.check(where)
  places.of(where)
end

--- Whether other processes are told of a store.
---@param store stores.Store
---@return boolean
function shared.has(store)
  return place_of(store) ~= nil
end

local function own_figures(share)
  local sum = snapshot.sum()
  sum:add(share.over:list(), true)
  for store in pairs(Store.open_stores) do
    if place_of(store) == share.place then
      local list = {}
      snapshot.add_store(list, store, shared.name_of(store))
      sum:add(list)
    end
  end
  return sum:list()
end

local function tell(share)
  local mine = process.mine()
  if share.process ~= mine then
    share.process, share.over = mine, snapshot.sum() -- what was before a fork is the parent's
  end
  share.place:set(mine, json.encode(json.array(own_figures(share))))
end

local function tell_all()
  told_at, is_due = wait.host.now(), false
  for _, share in pairs(shares) do
    local ok, err = pcall(tell, share)
    if not ok and not reported then
      reported = true
      wait.report('metrics are not shared: ' .. errors.text(err))
    end
  end
end

local function tell_due()
  if is_due then tell_all() end
end

-- What came within EVERY of the last time is told later, though no call may follow.
local function tell_later(hub)
  if is_deferred or wait.host.on_look or not wait.host.task() then return end
  is_deferred = true
  wait.host.spawn(function()
    pcall(wait.slot, hub, hub:sleep(EVERY))
    is_deferred = false
    tell_due()
  end)
end

local function after_call(hub)
  -- in a worker that ends nobody may look any more
  local ends = wait.host.is_ending and wait.host.is_ending()
  if ends or hub:now() - told_at >= EVERY then return tell_all() end
  is_due = true
  tell_later(hub)
end

local is_observing = false

--- A store that was made: its figures are shared from now on.
---@param store stores.Store
function shared.begin(store)
  local place = place_of(store)
  if not place then return end
  shares[place] = shares[place]
    or { place = place, process = process.mine(), over = snapshot.sum() }
  if is_observing then return end
  is_observing = true
  wait.observe(after_call)
  if wait.host.on_look then wait.host.on_look(tell_due) end
end

--- A store that is about to be closed: what it counted stays.
---@param store stores.Store
function shared.finish(store)
  local share = shares[place_of(store) or false]
  if not share then return end
  local list = {}
  snapshot.add_store(list, store, shared.name_of(store))
  share.over:add(list, true)
end

--- A store that was closed.
shared.tell = tell_all

-- Those that are no more, whose figures are with the departed: each once, also where who added them
-- up was killed before it had taken them away.
local function add_departed(place, sum, dead)
  local before = json.decode(place:get('departed') or '{"figures": [], "last": {}}')
  local departed, last = snapshot.sum(), {}
  departed:add(before.figures, true)
  for key, list in pairs(dead) do
    if not before.last[key] then departed:add(list, true) end
    last[key] = true
  end
  if next(dead) then
    place:set('departed', json.encode({ figures = json.array(departed:list()), last = last }))
    for key in pairs(dead) do place:delete(key) end
  end
  sum:add(departed:list(), true)
end

local function gather(place, sum)
  local dead, living = {}, 0
  for _, key in ipairs(place:keys()) do
    local ok, list = pcall(json.decode, place:get(key))
    if not ok then list = {} end -- it was taken away meanwhile
    if process.lives(key) then
      living = living + 1
      sum:add(list)
    else
      dead[key] = list
    end
  end
  sum:add({ { 'workers', '', living } })
  add_departed(place, sum, dead)
end

--- Adds the figures of all processes at the places where this one tells, and at one more.
---@param sum stores.Sum
---@param where? {dict: string?, folder: string?}
function shared.add(sum, where)
  tell_all()
  local all = {}
  for place in pairs(shares) do all[place] = true end
  if where then all[places.of(where)] = true end
  if not next(all) then sum:add({ { 'workers', '', 1 } }) end
  for place in pairs(all) do
    place:lock()
    local ok, err = pcall(gather, place, sum)
    place:unlock()
    if not ok then errors.throw(err) end
  end
end

return shared
