--- Migrations that are tried: on empty databases, in each way in which a database may come to its
--- schema; and the schema of a live one, compared with what its migrations make.

local errors = require('stores.errors')
local list = require('stores.migrate.list')
local plan = require('stores.migrate.plan')
local runner = require('stores.migrate.runner')
local schema = require('stores.migrate.schema')
local scratch = require('stores.migrate.scratch')
local targets = require('stores.migrate.targets')

local trial = {}

-- ---- One run ------------------------------------------------------------------------------------

local function run_once(entries, store, opts)
  local result = targets.each(store, {}, 1, function(target)
    return runner.run(entries, target, opts)
  end)
  return result
end

local UNKNOWN_ROLE, MOST_ROLES = '42704', 100

-- A private server has no roles but its own: those that a migration names are made.
local function missing_role(place, err)
  if not place.is_private or not errors.is(err) or err.sqlstate ~= UNKNOWN_ROLE then return nil end
  return err.message:match('role "(.-)" does not exist')
end

-- It is to stop, and nothing of it is to be kept.
local STOPPED = {}

local function run(place, entries, store, opts)
  for _ = 1, MOST_ROLES do
    local ok, result = pcall(run_once, entries, store, opts)
    if ok and result.stopped then error(STOPPED, 0) end
    if ok then return result end
    local role = missing_role(place, result)
    if not role then error(result, 0) end
    place:administer(('CREATE ROLE "%s"'):format(role:gsub('"', '""')))
  end
  errors.raise('migration_failed', 'the migrations name more roles than a private server gets')
end

local function read_schema(store, ledger_name)
  return targets.each(store, {}, 1, function(target)
    local ledger = plan.state(target, ledger_name).ledger
    return schema.read(target, ledger.name, ledger.journal)
  end)
end

-- ---- The ways -----------------------------------------------------------------------------------

local function names_of(entries, upto)
  local names = {}
  for place = 1, upto do names[place] = entries[place].name end
  return names
end

-- The list of a database that starts from one of the checkpoints; 0: from none of them.
local function starting_at(entries, start)
  local picked = {}
  if start > 0 then
    local copy, replaces = {}, names_of(entries, start - 1)
    for key, value in pairs(entries[start]) do copy[key] = value end
    for _, name in ipairs(copy.replaces or {}) do replaces[#replaces + 1] = name end
    copy.replaces, picked[1] = replaces, copy
  end
  for place = start + 1, #entries do
    if entries[place].type ~= 'checkpoint' then picked[#picked + 1] = entries[place] end
  end
  return picked
end

local function has_contract(entries)
  for _, entry in ipairs(entries) do
    if entry.phase == 'contract' then return true end
  end
  return false
end

-- In which ways a database may come to the schema; the first one is what the others are like.
local function ways_of(entries)
  local ways = {}
  local from_none = not (entries[1] and entries[1].type == 'checkpoint')
  if from_none then ways[1] = { name = 'from empty', entries = starting_at(entries, 0) } end
  for place, entry in ipairs(entries) do
    if entry.type == 'checkpoint' then
      ways[#ways + 1] = { name = ("from the checkpoint '%s'"):format(entry.name),
                          entries = starting_at(entries, place) }
    end
  end
  if has_contract(entries) and ways[1] then
    ways[#ways + 1] = { name = 'in two phases', entries = ways[1].entries, is_two = true }
  end
  return ways
end

local function go(place, way, given)
  return place:with_database(function(store)
    local opts = { on = given.on, stopping = given.stopping }
    if way.is_two then run(place, way.entries, store, opts) end
    opts.finish = true
    run(place, way.entries, store, opts)
    local again = run(place, way.entries, store, opts)
    if #again.ran > 0 then
      errors.raise('migration_failed', ("migration '%s' runs again, %s"):format(again.ran[1],
        way.name), { migration = again.ran[1] })
    end
    return read_schema(store)
  end)
end

local SHOWN = 20

local function refuse(way, reference, differences)
  local lines = {}
  for place = 1, math.min(#differences, SHOWN) do
    lines[place] = '  ' .. schema.describe(differences[place])
  end
  if #differences > SHOWN then
    lines[#lines + 1] = ('  and %d more'):format(#differences - SHOWN)
  end
  errors.raise('migration_failed', ('the schema is another one %s than it is %s:\n%s'):format(
    way.name, reference.name, table.concat(lines, '\n')), { differences = differences,
    way = way.name })
end

--- Runs a list on databases of its own in every way in which one may come to its schema, and
--- compares the schemas.
---@param entries stores.Migration[]
---@param opts {scratch: stores.DbConfig?, on: (fun(event: table))?, stopping: (fun(): boolean)?}
---@return {ways: string[], stopped: string?}
---Raises migration_failed.
function trial.run(entries, opts)
  local notify = opts.on or function() end
  local ways, result = ways_of(list.flat(entries)), { ways = {} }
  return scratch.with(opts.scratch, function(place)
    local wanted
    for at, way in ipairs(ways) do
      notify({ event = 'way', way = way.name })
      local ok, found = pcall(go, place, way, opts)
      if not ok and found == STOPPED then
        result.stopped = way.name
        return result
      elseif not ok then
        if errors.is(found) then
          found.way, found.message = way.name, ('%s: %s'):format(way.name, found.message)
        end
        error(found, 0)
      end
      local differences = wanted and schema.compare(wanted, found) or {}
      if #differences > 0 then refuse(way, ways[1], differences) end
      wanted, result.ways[at] = wanted or found, way.name
    end
    return result
  end)
end

-- ---- A live database ----------------------------------------------------------------------------

local function schema_of(entries, opts)
  return scratch.with(opts.scratch, function(place)
    return place:with_database(function(store)
      run(place, entries, store, { finish = true })
      return read_schema(store)
    end)
  end)
end

--- Where the schema of a database differs from what the migrations make that it has run.
---@param entries stores.Migration[]
---@param done table<string, boolean> names of those that it has run
---@param target stores.MigrationTarget
---@param opts {ledger: string?, scratch: stores.DbConfig?}
---@param known table<string, stores.SchemaObject[]> what others of the same state came to
---@return stores.SchemaDifference[]
function trial.differences(entries, done, target, opts, known)
  local ledger = plan.state(target, opts.ledger).ledger
  local found = schema.read(target, ledger.name, ledger.journal)
  local ran = {}
  for _, entry in ipairs(list.flat(entries)) do
    if done[entry.name] then ran[#ran + 1] = entry end
  end
  local key = table.concat(names_of(ran, #ran), '\0')
  known[key] = known[key] or schema_of(ran, opts)
  return schema.compare(known[key], found)
end

--- A difference for people.
trial.describe = schema.describe

return trial
