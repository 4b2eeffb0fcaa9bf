--- One process of the harness: a store of its own, and coroutines that read and write hot rows
--- until the driver says stop or the history is full. It rests then, with its store as it is, until
--- the driver has another run for it. Its one argument is a table as JSON:
---   writer, writers, db, redis, opts, shape, tenants, bulk
--- and each line of its stdin is a run:
---   path, seed, coroutines, tables consistency.Place[], pause, calm,
---   lives table<string, integer>, homes table<string, string>: how its last run left the rows
--- The document of a row is {id, k, v, w1, w2 ...}: v counts its writes, each w those of one
--- writer, and k is a value that no other row has.

local cjson = require('cjson')
local history = require('spec.consistency.history')
local keys = require('spec.consistency.keys')
local stores = require('stores')

local config = cjson.decode(arg[1])
local now = history.now
local random = math.random

local store = stores.Store.new(config.db, config.redis, config.opts)
local mine = 'w' .. config.writer
local REST = 0.03 -- seconds from one look for another run to the next
local round, map, calm -- of the run
local noted, begin, done, failed, saw

-- ---- Calls -------------------------------------------------------------------------------------

local function pick(place) return random(place.first, place.last) end

local function id_of(place, row) return ('%d'):format(row - place.offset) end

-- What is read: the table, or the one that PostgreSQL writes with it.
local function source(place)
  return place.mirror and random() < 0.5 and place.mirror or place.name
end

local function add_one(document)
  document.v = document.v + 1
  document[mine] = (document[mine] or 0) + 1
end

-- Runs attempt() with the id of a row and writes down how it went.
local function record(kind, verb, place, attempt)
  local row = pick(place)
  local call = begin(kind, verb, row)
  if not call then return end
  local ok, result = pcall(attempt, id_of(place, row))
  if ok and result == false then
    call.ended, call.outcome = now(), history.NONE
  elseif ok then
    saw(call, result)
  else
    return failed(call, result)
  end
end

local calls = {}

function calls.find(place)
  return record(history.READ, 'find', place, function(id)
    return store:find(source(place), id)
  end)
end

function calls.findBy(place)
  return record(history.READ, 'findBy', place, function(id)
    return store:findBy(source(place), 'k', 'k' .. id, { unique = true })
  end)
end

function calls.findAllByIds(place)
  local records, ids, taken = {}, {}, {}
  for _ = 1, random(2, 6) do
    local row = pick(place)
    if not taken[row] then
      taken[row] = true
      ids[#ids + 1] = id_of(place, row)
      records[#records + 1] = begin(history.READ, 'findAllByIds', row)
      if not records[#ids] then return end
    end
  end
  local ok, found = pcall(store.findAllByIds, store, source(place), ids, { as = 'map' })
  local at = now()
  for i, id in ipairs(ids) do
    if ok then saw(records[i], found[id], at) else failed(records[i], found) end
  end
  return not ok and found or nil
end

function calls.patch(place)
  return record(history.WRITE, 'patch', place, function(id)
    return store:patch(place.name, id, { inc = { v = 1, [mine] = 1 } })
  end)
end

function calls.updateObject(place)
  return record(history.WRITE, 'updateObject', place, function(id)
    return store:updateObject(place.name, id, function(document) add_one(document) end)
  end)
end

-- Two rows in one transaction: both change, or neither.
function calls.transaction(place)
  local one, other = pick(place), pick(place)
  if one == other then return end
  if other < one then one, other = other, one end
  local first = begin(history.WRITE, 'transaction', one)
  local second = first and begin(history.WRITE, 'transaction', other)
  if not second then
    if first then first.outcome = history.NONE end
    return
  end
  local ok, documents = pcall(store.transaction, store, function(tx)
    local change = { inc = { v = 1, [mine] = 1 } }
    return { tx:patch(place.name, id_of(place, one), change),
      tx:patch(place.name, id_of(place, other), change) }
  end)
  local at = now()
  if ok then
    saw(first, documents[1], at)
    saw(second, documents[2], at)
  else
    failed(second, documents)
    return failed(first, documents)
  end
end

calls['locked update'] = function(place)
  return record(history.WRITE, 'locked update', place, function(id)
    return store:transaction(function(tx)
      local rows = tx:query(('SELECT value FROM %s WHERE id = $1 FOR UPDATE'):format(place.name),
        { id }, { readonly = true })
      local document = rows[1].value
      add_one(document)
      tx:update(place.name, document)
      return document
    end)
  end)
end

-- As a service of many tenants does it: the name means what the transaction's search_path says.
calls['tenant read'] = function(place)
  return record(history.READ, 'tenant read', place, function(id)
    return store:transaction(function(tx)
      tx:query(('SET LOCAL search_path TO %s'):format(place.schema), nil, { readonly = true })
      return tx:find(place.short, id)
    end)
  end)
end

calls['tenant write'] = function(place)
  return record(history.WRITE, 'tenant write', place, function(id)
    return store:transaction(function(tx)
      tx:query(('SET LOCAL search_path TO %s'):format(place.schema), nil, { readonly = true })
      return tx:patch(place.short, id, { inc = { v = 1, [mine] = 1 } })
    end)
  end)
end

-- What a savepoint undid was never there.
calls['undone'] = function(place)
  return record(history.WRITE, 'undone', place, function(id)
    return store:transaction(function(tx)
      local by_hand = random() < 0.5
      if by_hand then
        tx:query('SAVEPOINT by_hand')
        tx:patch(place.name, id, { inc = { v = 7 } })
        tx:query('ROLLBACK TO SAVEPOINT by_hand')
      else
        pcall(tx.transaction, tx, function(inner)
          inner:patch(place.name, id, { inc = { v = 7 } })
          error('undone', 0)
        end)
      end
      return tx:patch(place.name, id, { inc = { v = 1, [mine] = 1 } })
    end)
  end)
end

-- A statement that does not say which rows it writes: the table's epoch turns.
function calls.query(place)
  return record(history.WRITE, 'query', place, function(id)
    local rows = store:query(([[UPDATE %s SET value = value || jsonb_build_object(
      'v', (value->>'v')::int + 1, $2::text, coalesce((value->>$2::text)::int, 0) + 1)
      WHERE id = $1 RETURNING value]]):format(place.name), { id, mine })
    return rows[1].value
  end)
end

-- A value goes to another row, which has it from now on.
function calls.move(place)
  return record(history.WRITE, 'move', place, function(number)
    return keys.move(store, place, number, add_one)
  end)
end

calls['moving query'] = function(place)
  return record(history.WRITE, 'moving query', place, function(number)
    return keys.query(store, place, number, mine)
  end)
end

-- Several rows at once, of which all change, or none.
function calls.updateEach(place)
  local records, documents, wanted = {}, {}, {}
  for _ = 1, random(1, 4) do
    local row = pick(place)
    if not records[row] then
      records[row] = begin(history.WRITE, 'updateEach', row)
      if not records[row] then break end
      wanted[#wanted + 1] = id_of(place, row)
    end
  end
  if not wanted[1] then return end
  local ok, err = pcall(store.updateEach, store, place.name, nil, function(document)
    add_one(document)
    documents[document.id] = document -- of the last attempt
  end, { where = { { 'id', 'in', wanted } } })
  local at = now()
  for row, call in pairs(records) do
    if ok then saw(call, documents[id_of(place, row)], at) else failed(call, err) end
  end
  return not ok and err or nil
end

-- ---- Rows that come and go ----------------------------------------------------------------------

-- Each belongs to one writer, who gives it up where the outcome of a call is not known.
local states, given_up -- by row

local function owned_row(place)
  local row = pick(place)
  row = row - (row - place.first) % config.writers + config.writer - 1
  if row > place.last or given_up[row] then return nil end
  return row
end

local function change_life(place, row)
  local version = (states[row] or 0) + 1
  local id = id_of(place, row)
  local wanders = place.kind == 'nomads'
  local verb = version % 2 == 0 and 'delete' or not wanders and random() < 0.5 and 'insert'
    or 'upsert'
  local call = begin(history.WRITE, verb, row)
  if not call then return end
  call.version = version
  given_up[row] = true -- nobody else may touch it meanwhile
  local ok, result = pcall(function()
    if wanders and verb == 'delete' then return keys.go(store, place, id) end
    if wanders then return keys.settle(store, place, id, { v = version, [mine] = version }) end
    if verb == 'delete' then return store:delete(place.name, id) end
    return store[verb](store, place.name,
      { id = id, k = 'k' .. id, v = version, [mine] = version })
  end)
  if ok and result then
    done(call, version)
    states[row], given_up[row] = version, nil
    return
  elseif ok then
    call.outcome = history.TORN -- a row that is there was not found by its delete
    return
  end
  local err = failed(call, result)
  if call.outcome == history.NONE then given_up[row] = nil end
  return err
end

-- Several rows that are there, or several that are not, in one call of a verb for many.
local function change_lives(place)
  local rows, records, list = {}, {}, {}
  for _ = 1, random(2, 6) do
    local row = owned_row(place)
    if row and (not rows[1] or (states[row] or 0) % 2 == (states[rows[1]] or 0) % 2) then
      given_up[row] = true -- nobody else may touch it meanwhile, nor is it taken twice
      rows[#rows + 1] = row
    end
  end
  if not rows[1] then return end
  local verb = (states[rows[1]] or 0) % 2 == 1 and 'deleteMany'
    or random() < 0.5 and 'insertMany' or 'upsertMany'
  for i, row in ipairs(rows) do
    local id, version = id_of(place, row), (states[row] or 0) + 1
    records[i] = begin(history.WRITE, verb, row)
    if not records[i] then return end
    records[i].version = version
    list[i] = verb == 'deleteMany' and id
      or { id = id, k = 'k' .. id, v = version, [mine] = version }
  end
  local ok, results = pcall(store[verb], store, place.name, list)
  for i, row in ipairs(rows) do
    local call, version = records[i], (states[row] or 0) + 1
    if not ok then
      call.version = version
      failed(call, results)
      if call.outcome == history.NONE then given_up[row] = nil end
    elseif results[i] == true or results[i] == 'inserted' then
      done(call, version)
      states[row], given_up[row] = version, nil
    else
      call.outcome = history.TORN -- the row was not as its owner left it
    end
  end
  return not ok and results or nil
end

local READS = { 'find', 'find', 'findAllByIds', 'findAllByIds', 'findBy' }

local function live(place)
  if config.bulk and place.kind == 'lives' and random() < 0.4 / calm then
    return change_lives(place)
  end
  local row = random() < 0.5 / calm and owned_row(place)
  if row then return change_life(place, row) end
  if place.kind == 'nomads' then return calls.findBy(place) end
  return calls[READS[random(#READS)]](place)
end

-- ---- The run ------------------------------------------------------------------------------------

local MIX = require('spec.consistency.mix')(config)
if config.bulk then
  require('stores.verbs.bulk.put').COPY_FROM = 2 -- as if they were very many
end

local total

local function next_call()
  local place = round.tables[1]
  local dice = random(total)
  for _, other in ipairs(round.tables) do
    dice = dice - other.share
    if dice <= 0 then
      place = other
      break
    end
  end
  if place.kind == 'lives' or place.kind == 'nomads' then return live(place) end
  dice = random(100 * calm)
  for _, choice in ipairs(MIX[place.kind]) do
    dice = dice - choice[2]
    if dice <= 0 then return calls[choice[1]](place) end
  end
  return (place.kind == 'keys' and calls.findBy or calls.find)(place)
end

local function begin_round(line)
  if map then history.close(map) end
  round = cjson.decode(line)
  map, calm = history.open(round.path), round.calm or 1
  math.randomseed(round.seed)
  noted = require('spec.consistency.records').of(map, config.writer, config.writers)
  begin, done, failed, saw = noted.begin, noted.done, noted.failed, noted.saw
  states, given_up, total = {}, {}, 0
  for row, version in pairs(round.lives) do states[tonumber(row)] = version end
  keys.are_at(round.homes)
  for _, place in ipairs(round.tables) do total = total + place.share end
end

local function call_until_stopped()
  stores.run(function()
    for _ = 1, round.coroutines do
      stores.spawn(function()
        while map.stop == 0 do
          local err = next_call()
          if err then stores.sleep(0.01) end
          if round.pause then stores.sleep(round.pause * random() * 2) end
        end
      end)
    end
  end)
end

-- The figures of a store that have grown since, by how much.
local function grown(before)
  local stats = {}
  for name, value in pairs(store:stats()) do
    if type(value) == 'number' then stats[name] = value - (before[name] or 0) end
  end
  return stats
end

for line in io.lines() do
  local before = store:stats()
  begin_round(line)
  call_until_stopped()
  io.stdout:write(cjson.encode({ failures = next(noted.failures) and noted.failures,
    defects = noted.defects, stats = grown(before) }), '\n')
  io.stdout:flush()
  -- what it has under way ends meanwhile, and what it holds it goes on to hold
  while map.stop < history.AGAIN do stores.sleep(REST) end
end
store:close()
