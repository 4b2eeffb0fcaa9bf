--- All keys of the database in Redis, counted: what nobody reads any more, and announcements whose
--- writers died.

local catalog = require('stores.inspect.catalog')
local core = require('stores.core')
local entry = require('stores.inspect.entry')
local met = require('stores.verbs.met')
local redis = require('stores.inspect.redis')
local who = require('stores.inspect.who')

local keys = {}

local INTENTS_MOST = 10000 -- that are remembered

---@class stores.TableKeys
---@field oid integer
---@field name string? nil: the table is no more
---@field epoch stores.CacheEpoch
---@field is_ours boolean
---@field rows integer under the epoch that there is
---@field dead integer under others
---@field intents {id: string, xid: string, key: string}[] under the epoch that there is

---@class stores.KeysReport
---@field tables stores.TableKeys[]
---@field is_whole boolean false: it was stopped

-- What a page has of each table.
local function by_table(store, page)
  local found = {}
  for _, key in ipairs(page) do
    local one = redis.read_key(store, key)
    if one then
      local list = found[one.oid] or {}
      found[one.oid] = list
      one.key = key
      list[#list + 1] = one
    end
  end
  return found
end

local function table_of(report, oid)
  local one = report.by_oid[oid]
  if not one then
    one = { oid = oid, rows = 0, dead = 0, intents = {}, epoch = { state = 'absent' },
      is_ours = false }
    report.by_oid[oid] = one
    report.tables[#report.tables + 1] = one
  end
  return one
end

local function take_intents(store, one, living)
  local list = {}
  for at, row in ipairs(living) do list[at] = row.key end
  local states = redis.states(store, one.oid, list)
  for at, row in ipairs(living) do
    local seen = entry.row(states[at])
    for _, xid in ipairs(seen.xids or {}) do
      if #one.intents < INTENTS_MOST then
        table.insert(one.intents, { id = row.id, xid = xid, key = row.key })
      end
    end
  end
end

local function take(store, report, oid, list)
  local one = table_of(report, oid)
  one.epoch = entry.epoch(redis.call(store, { oid = oid }, 'GET', redis.key(store, oid))[1])
  one.is_ours = one.epoch.name ~= nil and core.cache_is_ours(store.engine, oid, one.epoch.name)
  local living, part = {}, one.epoch.name and redis.part(one.epoch.name)
  for _, row in ipairs(list) do
    if row.part and row.part == part then
      living[#living + 1] = row
    elseif row.part then
      one.dead = one.dead + 1
    end
  end
  one.rows = one.rows + #living
  take_intents(store, one, living)
end

local NAMES = [[
SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, c.relname) AS name
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY($1::oid[])]]

local function name_all(store, report)
  local oids = {}
  for at, one in ipairs(report.tables) do oids[at] = ('%d'):format(one.oid) end
  for _, row in ipairs(catalog.ask(store, NAMES, { '{' .. table.concat(oids, ',') .. '}' })) do
    report.by_oid[tonumber(row.oid)].name = row.name
  end
end

--- Goes through all keys. A table that is turned meanwhile has more that are dead, never fewer.
---@param store stores.Store
---@param opts? {progress: fun(count: integer)?, stopping: (fun(): boolean)?}
---@return stores.KeysReport
---Raises cache_failure.
function keys.count(store, opts)
  opts = opts or {}
  met.must_be_ready(store)
  local report = { tables = {}, by_oid = {}, is_whole = true }
  local seen = 0
  redis.each_key(store, function(page)
    for oid, list in pairs(by_table(store, page)) do take(store, report, oid, list) end
    seen = seen + #page
    if opts.progress then opts.progress(seen) end
    if opts.stopping and opts.stopping() then
      report.is_whole = false
      return false
    end
  end)
  if #report.tables > 0 then name_all(store, report) end
  report.by_oid = nil
  return report
end

--- The rows whose writers are over: nobody will take their announcements away but who reads them.
---@param store stores.Store
---@param one stores.TableKeys
---@return {id: string, xid: string, status: string}[]
function keys.orphans(store, one)
  local xids, is_met = {}, {}
  for _, intent in ipairs(one.intents) do
    if not is_met[intent.xid] then
      is_met[intent.xid] = true
      xids[#xids + 1] = intent.xid
    end
  end
  local list, found = {}, who.transactions(store, xids)
  for _, intent in ipairs(one.intents) do
    local status = found[intent.xid] and found[intent.xid].status
    if status and status ~= 'in progress' then
      list[#list + 1] = { id = intent.id, xid = intent.xid, status = status }
    end
  end
  return list
end

--- Takes away what nobody reads: the epochs of tables that are no more, and with them their rows;
--- then the rows of dead epochs. What a transaction that is not over yet makes loses its epoch,
--- too, which is as safe as an empty Redis: nothing counts then.
---@param store stores.Store
---@param opts? {progress: fun(count: integer)?, stopping: (fun(): boolean)?} as keys.count's
---@return {epochs: integer, rows: integer, is_whole: boolean}
---Raises cache_failure.
function keys.sweep(store, opts)
  local epochs, found = 0, keys.count(store, opts)
  if not found.is_whole then return { epochs = 0, rows = 0, is_whole = false } end
  for _, one in ipairs(found.tables) do
    if not one.name and one.epoch.name then
      epochs = epochs + tonumber(redis.call(store, { oid = one.oid }, 'UNLINK',
        redis.key(store, one.oid))[1])
    end
  end
  return { epochs = epochs, rows = store:sweep(), is_whole = true }
end

return keys
