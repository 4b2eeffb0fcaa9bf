--- Rules of the lint about locks: which are kept long, waited for long, or taken together.

local function index(at)
  local found, name = at.found, at.found.tables[1]
  if found.kind ~= 'create_index' or found.is_concurrent then return end
  if at.world:is_large(name, at.here) then
    at.say(('nobody writes to %s while the index is built'):format(at.world:describe(name)), name)
  end
end

local function reindex(at)
  local found = at.found
  if found.kind == 'reindex' and not found.is_concurrent then
    at.say('nobody writes while an index is built anew, and what would read by it waits')
  end
end

local function refresh(at)
  local found, name = at.found, at.found.tables[1]
  if found.kind == 'refresh' and not found.is_concurrent and at.world:is_large(name, at.here) then
    at.say(('nobody reads %s while it is filled'):format(at.world:describe(name)), name)
  end
end

-- Tables that a statement locks so that others wait who write, or read.
local LOCKS = { alter_table = true, drop_table = true, truncate = true, lock = true,
                create_trigger = true, create_rule = true, create_index = true }

local function locked_by(found)
  if not LOCKS[found.kind] or found.is_concurrent then return {} end
  return found.tables
end

-- The other table of a foreign key is locked, too.
local function referenced(found)
  local names = {}
  for _, action in ipairs(found.actions) do
    local reader = action.reader
    for place = reader.at, #reader.words do
      if reader.words[place].value == 'REFERENCES' then
        local at = reader.at
        reader.at = place + 1
        names[#names + 1] = reader:name()
        reader.at = at
      end
    end
  end
  return names
end

-- The first table that a migration locks before one of its statements, other than those it names.
local function locked_before(at, names)
  local own = {}
  for _, name in ipairs(names) do own[name] = true end
  for place = 1, at.place - 1 do
    for _, name in ipairs(locked_by(at.all[place])) do
      if not own[name] and not at.world:is_new(name, at.here) then return name end
    end
  end
  return nil
end

local function several(at)
  if at.step.outside then return end
  local names = {}
  for _, name in ipairs(locked_by(at.found)) do names[#names + 1] = name end
  for _, name in ipairs(referenced(at.found)) do names[#names + 1] = name end
  local existing = {}
  for _, name in ipairs(names) do
    if not at.world:is_new(name, at.here) then existing[#existing + 1] = name end
  end
  if #existing == 0 then return end
  local first, second = locked_before(at, names), existing[1]
  if not first and existing[2] and existing[2] ~= second then
    first, second = second, existing[2]
  end
  if first then
    at.say(('%s stays locked while this waits for %s, up to %g s each time; a program that uses'
      .. ' them the other way round is a deadlock'):format(first, second, at.lock_timeout), second)
  end
end

-- What reads or writes many rows.
local WORK = { update = true, delete = true, create_index = true }

local function inserts_many(found)
  return found.kind == 'insert' and found.reader:has('SELECT')
end

local function work_under_lock(at)
  if at.step.outside then return end
  local found = at.found
  if not (WORK[found.kind] or inserts_many(found)) or found.is_concurrent then return end
  for place = 1, at.place - 1 do
    local before = at.all[place]
    for _, name in ipairs(before.kind ~= 'create_index' and locked_by(before) or {}) do
      if at.world:is_large(name, at.here) then
        at.say(('%s stays locked while this works on rows: everybody waits for its end'):format(
          at.world:describe(name)), name)
        return
      end
    end
  end
end

-- Seconds beyond which a wait for a lock is a standstill.
local LONG = 30

local function lock_timeout(at)
  local found = at.found
  local sets = found.kind == 'set' and found.reader:has('LOCK_TIMEOUT')
    or found.kind == 'select' and found.reader:rest():find("'lock_timeout'", 1, true)
  if sets then
    at.say('the wait for a lock is a key of the migration, which the runner tries again by')
    return
  end
  local limit = at.step.lock_timeout
  if not limit or (limit > 0 and limit <= LONG) then return end
  for _, name in ipairs(locked_by(found)) do
    if not at.world:is_new(name, at.here) then
      at.say(('it waits for %s %s, and whoever comes after it waits behind it'):format(name,
        limit > 0 and limit < 3600 and ('up to %g s'):format(limit) or 'for ever'), name)
      return
    end
  end
end

local function lock_table(at)
  if at.found.kind ~= 'lock' or at.world:is_new(at.found.tables[1], at.here) then return end
  local names = table.concat(at.found.tables, ', ')
  at.say(('%s stays locked to the end of the migration'):format(names), at.found.tables[1])
end

---@type stores.lint.Rule[]
return {
  { name = 'index', check = index,
    text = 'CREATE INDEX on a large table without CONCURRENTLY',
    safe = 'CREATE INDEX CONCURRENTLY IF NOT EXISTS name, in a migration of its own, with'
      .. ' rebuild = true' },
  { name = 'reindex', check = reindex,
    text = 'REINDEX without CONCURRENTLY',
    safe = 'REINDEX .. CONCURRENTLY, with transaction = false' },
  { name = 'refresh', check = refresh,
    text = 'REFRESH MATERIALIZED VIEW of a large one without CONCURRENTLY',
    safe = 'a unique index, and REFRESH MATERIALIZED VIEW CONCURRENTLY' },
  { name = 'several-locks', check = several,
    text = 'locks on several tables in one transaction',
    safe = 'a migration for each table; of a foreign key, NOT VALID' },
  { name = 'work-under-lock', check = work_under_lock,
    text = 'work on rows behind a statement that locks a large table, in one transaction',
    safe = 'a migration of its own, or a backfill' },
  { name = 'lock-timeout', check = lock_timeout,
    text = 'a wait for a lock of more than 30 s, or one that is set in the text',
    safe = 'leave it to the runner: 5 s, five times; lock_timeout = seconds in the migration says'
      .. ' otherwise' },
  { name = 'lock-table', check = lock_table,
    text = 'LOCK TABLE',
    safe = 'a backfill locks the rows of its batch alone' },
}
