--- Who makes the runs over some servers. A process begins once and rests between two runs, so that
--- a run costs its calls and its faults; its store, and the cache, have seen all faults before. One
--- that was killed, or is to be another, gives way to a new process in the next run.

local cjson = require('cjson')

local history = require('spec.consistency.history')
local process = require('spec.consistency.process')
local same = require('luassert.util').deepcompare
local stores = require('stores')

---@class consistency.Crew
---@field workers table<integer, consistency.Process>
---@field configs table<integer, table> of the processes
---@field maps table<integer, ffi.cdata*> the histories of their last runs
---@field proxy consistency.Process?
---@field places consistency.Place[]
---@field base table<integer, consistency.Final> how the last run left the rows
---@field readers table<string, {store: stores.Store, config: table}> what looks at them afterwards
local Crew = {}
Crew.__index = Crew

local crew = {}

--- Nobody yet, for tables whose rows are fresh.
---@param places consistency.Place[]
---@return consistency.Crew
function crew.new(places)
  return setmetatable({ workers = {}, configs = {}, maps = {}, places = places, base = {},
    readers = {} }, Crew)
end

--- Whether its rows are those of the places.
---@param places consistency.Place[]
---@return boolean
function Crew:is_of(places) return same(self.places, places) end

--- A worker's process: the one that it was, or another.
---@param writer integer
---@param config table what a process is started with
---@return consistency.Process
function Crew:worker(writer, config)
  local before = self.workers[writer]
  if before and not before.exited then
    if same(self.configs[writer], config) then return before end
    before:kill('sigkill')
    before:join(5)
  end
  self.configs[writer] = config
  self.workers[writer] = process.start({ 'luajit', 'spec/consistency/worker.lua',
    cjson.encode(config) }, { env = config.build and { LUA_CPATH = config.build .. '/?.so;;' } })
  return self.workers[writer]
end

--- Gives a worker its next run.
---@param writer integer
---@param path string of its history
---@param capacity integer calls
---@param orders table the rest of what a line of its stdin has
---@return ffi.cdata* map
function Crew:send(writer, path, capacity, orders)
  os.remove(path)
  local before = self.maps[writer]
  self.maps[writer] = history.open(path, capacity)
  orders.path, orders.lives, orders.homes = path, self:lives()
  self.workers[writer]:tell(cjson.encode(orders))
  if before then
    before.stop = history.AGAIN
    history.close(before)
  end
  return self.maps[writer]
end

--- What only the owners of rows know, as the last run has left it.
---@return table<string, integer> lives
---@return table<string, string> homes
function Crew:lives()
  local lives, homes = {}, {}
  for _, place in ipairs(self.places) do
    local wanders = place.kind == 'nomads'
    for row = place.first, (wanders or place.kind == 'lives') and place.last or 0 do
      local base = self.base[row]
      if base then lives[tostring(row)] = base.version end
      if base and wanders then homes[place.name .. row - place.offset] = base.id end
    end
  end
  return lives, homes
end

--- A store of the driver's own, for what is left after a run: the one of the runs before.
---@param name string
---@param config {db: table, redis: table?, opts: table?}
---@return stores.Store
function Crew:reader(name, config)
  local before = self.readers[name]
  if before and same(before.config, config) then return before.store end
  if before then before.store:close() end
  local store = stores.Store.new(config.db, config.redis, config.opts)
  self.readers[name] = { store = store, config = config }
  return store
end

--- Ends all of them.
function Crew:dismiss()
  local all = { self.proxy }
  for _, worker in pairs(self.workers) do all[#all + 1] = worker end
  for _, one in ipairs(all) do one:kill('sigkill') end
  for _, one in ipairs(all) do
    if not one.exited then pcall(one.join, one, 5) end
  end
  for _, map in pairs(self.maps) do history.close(map) end
  for _, reader in pairs(self.readers) do reader.store:close() end
end

return crew
