--- One process of harness_spec.lua: stores that write and read with leave to read on replicas, and
--- hand tokens on, until there is a file `stop`. Its one argument is a table as JSON:
---   worker, workers, seed, folder, primary (a db), standbys (dbs)
--- What is read only ever grows: the number n of document i, which worker i alone writes (key
--- 'd' .. i), and how many events of worker i there are (key 'c' .. i). What a store has to see of
--- each is its floor. Each line that it prints is a violation, but for the last one, its figures.

local cjson = require('cjson')
local stores = require('stores')
local support = require('spec.support')

local config = cjson.decode(arg[1])
local me, workers, folder = config.worker, config.workers, config.folder
local random = math.random
math.randomseed(config.seed)

local TIMEOUT, SLACK = 2, 6 -- seconds; the slack is a busy machine's
local HONEST = { timeout = true, connection_lost = true, connect_failed = true,
  acquire_timeout = true }

local figures = { reads = 0, writes = 0, of_replicas = 0, with_token = 0, errors = {} }
local hub = require('stores.wait').host.hub()

local function violation(text, ...)
  print(('worker %d: '):format(me) .. text:format(...))
  io.stdout:flush()
end

local function stopped()
  local file = io.open(folder .. '/stop')
  if file then file:close() end
  return file ~= nil
end

-- ---- Floors -------------------------------------------------------------------------------------

local function copy(floor)
  local all = {}
  for key, value in pairs(floor) do all[key] = value end
  return all
end

local function raise(floor, values)
  for key, value in pairs(values) do floor[key] = math.max(floor[key] or 0, value) end
end

---@class spec.Reader
---@field name string
---@field store stores.Store
---@field floor table<string, integer>

local function reader(name, replicas, opts)
  local all = { cache = false, read = 'replica', timeout = TIMEOUT, log = function() end }
  for key, value in pairs(opts or {}) do all[key] = value end
  local db = copy(config.primary)
  db.replicas, db.poolsize = {}, 4
  for i, standby in ipairs(replicas) do
    db.replicas[i] = config.standbys[standby] or config.either
  end
  return { name = name, store = stores.Store.new(db, nil, all), floor = {} }
end

-- ---- Calls --------------------------------------------------------------------------------------

-- Calls fn, and says how it failed; nil: it did, with an error that may be.
local function attempt(one, what, fn, timeout)
  local began = hub:now()
  local ok, value = pcall(fn)
  local took = hub:now() - began
  if took > timeout + SLACK then
    violation('%s of %s took %.1f s of %.1f', what, one.name, took, timeout)
  end
  if ok then return value end
  local code = type(value) == 'table' and value.code or tostring(value)
  figures.errors[code] = (figures.errors[code] or 0) + 1
  if not HONEST[code] then violation('%s of %s failed: %s', what, one.name, tostring(value)) end
  return nil
end

-- ---- Tokens -------------------------------------------------------------------------------------

local tokens = {} -- of this process: {token, floor}

local function hand_on(one)
  local floor = copy(one.floor)
  local token = attempt(one, 'token', function() return one.store:token() end, TIMEOUT)
  if not token or token == '' then return end
  tokens[random(8)] = { token = token, floor = floor }
  if random(10) > 1 then return end
  local path = ('%s/token%d'):format(folder, me)
  local file = assert(io.open(path .. '.new', 'w'))
  file:write(cjson.encode({ token = token, floor = floor }))
  file:close()
  assert(os.rename(path .. '.new', path))
end

local function token()
  if random(3) == 1 then
    local file = io.open(('%s/token%d'):format(folder, random(workers)))
    local text = file and file:read('*a')
    if file then file:close() end
    if text then return cjson.decode(text) end
  end
  return tokens[random(8)]
end

local function of_documents(list)
  local values = {}
  for _, document in ipairs(list) do values['d' .. document.id] = document.n end
  return values
end

local function some_document() return tostring(random(workers)) end

local WAYS = {
  find = function(store, opts)
    local id = some_document()
    local document = store:find('docs', id, opts)
    return { ['d' .. id] = document and document.n or -1 }
  end,
  findAll = function(store, opts) return of_documents(store:findAll('docs', opts)) end,
  findByJSON = function(store, opts)
    return of_documents(store:findByJSON('docs', { k = 1 }, opts))
  end,
  findAllByIds = function(store, opts)
    return of_documents(store:findAllByIds('docs', { some_document(), some_document() }, opts))
  end,
  query = function(store, opts)
    opts.readonly = true
    local values = {}
    for _, row in ipairs(store:query("SELECT id::text, (value->>'n')::int AS n FROM docs", nil,
      opts)) do
      values['d' .. row.id] = row.n
    end
    return values
  end,
  count = function(store, opts)
    local of = random(workers)
    return { ['c' .. of] = store:count('events', { w = of }, opts) }
  end,
  each = function(store, opts)
    local list = {}
    opts.batch = 2
    for document in store:each('docs', opts) do list[#list + 1] = document end
    return of_documents(list)
  end,
}
local WAY_NAMES = {}
for name in pairs(WAYS) do WAY_NAMES[#WAY_NAMES + 1] = name end
table.sort(WAY_NAMES)

local function check(one, name, floor, values)
  for key, value in pairs(values) do
    if value < (floor[key] or 0) then
      violation('%s of %s gave %d of %s after %d', name, one.name, value, key, floor[key])
    end
  end
end

local function read(one)
  local name, opts = WAY_NAMES[random(#WAY_NAMES)], { timeout = TIMEOUT }
  local floor, given = copy(one.floor), random(4) == 1 and token()
  if given then
    opts.after_token = given.token
    raise(floor, given.floor)
    figures.with_token = figures.with_token + 1
  end
  local way = given and name .. ' with a token' or name
  local values = attempt(one, way, function() return WAYS[name](one.store, opts) end,
    name == 'each' and TIMEOUT * (workers + 1) or TIMEOUT)
  if not values then return end
  check(one, way, floor, values)
  raise(one.floor, values)
  figures.reads = figures.reads + 1
end

-- ---- Writers ------------------------------------------------------------------------------------

local UPDATE = "UPDATE docs SET value = value || jsonb_build_object('n', $2::int)"
  .. " WHERE id = $1 AND (value->>'n')::int < $2"
local n, events = 0, 0
local document = tostring(me)

-- Of a write whose outcome nobody knows the next one takes no notice: it writes more.
local WRITES = {
  function(store) store:query(UPDATE, { document, n }) end,
  function(store)
    store:transaction(function(tx) tx:query(UPDATE, { document, n }) end, { timeout = TIMEOUT })
  end,
  function(store)
    store:updateObject('docs', document, function(object)
      if object.n < n then object.n = n end
    end, { timeout = TIMEOUT })
  end,
}

local function write(one)
  if random(4) == 1 then
    local before = events
    if attempt(one, 'insert', function()
      one.store:insert('events', { w = me }, { timeout = TIMEOUT })
      return true
    end, TIMEOUT) then
      events = before + 1
      raise(one.floor, { ['c' .. me] = events })
    end
  else
    n = n + 1
    local way = random(#WRITES)
    if attempt(one, 'write ' .. way, function()
      WRITES[way](one.store)
      return true
    end, TIMEOUT) then
      raise(one.floor, { ['d' .. me] = n })
    end
  end
  figures.writes = figures.writes + 1
end

local function write_for_long(store)
  pcall(store.transaction, store, function(tx)
    tx:query('INSERT INTO rest VALUES (1)')
    stores.sleep(random() * 1.5)
  end, { timeout = 4 })
end

-- ---- All of it ----------------------------------------------------------------------------------

local all, stop = {}, false

local function loop(body)
  return function()
    while not stop do body() end
  end
end

local function tasks()
  local list = { function()
    while not stopped() do stores.sleep(0.02) end
    stop = true
  end }
  list[#list + 1] = loop(function()
    write(all[1])
    stores.sleep(random() * 0.02)
  end)
  for i, one in ipairs(all) do
    for _ = 1, i == 1 and 3 or 2 do
      list[#list + 1] = loop(function()
        read(one)
        if random(5) == 1 then hand_on(one) end
        stores.sleep(random() * 0.01)
      end)
    end
  end
  list[#list + 1] = loop(function() -- who begins with a token, and ends
    local given = token()
    local one = reader('newcomer', { random(2) }, { after_token = given and given.token })
    if given then one.floor = copy(given.floor) end
    for _ = 1, random(6) do read(one) end
    hand_on(one)
    support.close(one.store)
    stores.sleep(random() * 0.2)
  end)
  list[#list + 1] = loop(function()
    write_for_long(all[2].store)
    stores.sleep(random())
  end)
  return list
end

-- The servers are well again: so is each store.
local function recover(one)
  support.eventually(function()
    local before = one.store:stats().replica_reads
    local ok, list = pcall(one.store.findAll, one.store, 'docs')
    if not ok then return false end
    check(one, 'findAll at the end', copy(one.floor), of_documents(list))
    return one.store:stats().replica_reads > before
  end, 60, one.name .. ' to read on a replica again')
  figures.of_replicas = figures.of_replicas + one.store:stats().replica_reads
  support.close(one.store)
end

local ok, failure = pcall(stores.run, function()
  all = { reader('writer', { 1, 2 }), reader('two', { 2, 1 }), reader('one', { 1 + me % 2 }),
    reader('either', { 'both' }) }
  stores.all(tasks())
  for _, one in ipairs(all) do recover(one) end
end)
if not ok then violation('%s', tostring(failure)) end
print('figures ' .. cjson.encode(figures))
