--- Rules of the lint about what outlives a migration, or does not, and about what the runner needs
--- to go on after it was killed.

local OWN = { LOCAL = true, CONSTRAINTS = true, TRANSACTION = true }
local GONE = { create_temporary = 'a temporary table', listen = 'LISTEN',
               prepare = 'a prepared statement', declare = 'a cursor' }

-- set_config('name', 'value', false): until the session ends, which is when the migration does.
local function sets_config(found)
  local rest = found.whole:rest()
  return found.kind == 'select' and rest:find('set_config', 1, true)
    and rest:find(', false )', 1, true)
end

local function session(at)
  local found = at.found
  if found.kind == 'alter_settings' and (found.reader:has('SET') or found.reader:has('RESET')) then
    at.say('the setting outlives the migration, for everybody who connects from now on')
  elseif found.kind == 'set' and not OWN[(found.reader:peek() or {}).value]
    and not found.reader:has('LOCK_TIMEOUT') then
    at.say('the setting is gone with the connection of the migration')
  elseif sets_config(found) and not found.whole:rest():find("'lock_timeout'", 1, true) then
    at.say('the setting is gone with the connection of the migration')
  elseif found.kind == 'select' and found.whole:rest():find('pg_[try_]*advisory_lock') then
    at.say('the lock is gone with the connection of the migration')
  elseif GONE[found.kind] then
    at.say(GONE[found.kind] .. ' is gone with the connection of the migration')
  end
end

local function unnamed_index(at)
  local found = at.found
  if found.kind == 'create_index' and found.is_concurrent and not found.index then
    at.say('without a name nobody can tell what became of it where the runner is killed: the next'
      .. ' run builds another one', found.tables[1])
  end
end

local function words_of(found)
  local strings = {}
  for _, word in ipairs(found.whole.words) do
    if word.kind == 'string' then strings[word.text] = true end
  end
  return strings
end

local function enum_value(at)
  if at.step.outside then return end
  for place = 1, at.place - 1 do
    local before = at.all[place]
    if before.kind == 'alter_type' and before.reader:has('ADD', 'VALUE') then
      local here = words_of(at.found)
      for value in pairs(words_of(before)) do
        if here[value] and at.found.kind ~= 'alter_type' then
          at.say(('%s cannot be used in the transaction that adds it'):format(value))
        end
      end
    end
  end
end

local function backfill_order(at)
  if at.step.type ~= 'backfill' then return end
  if not at.found.whole:has('ORDER', 'BY') then
    at.say('$limit rows without ORDER BY id may be any: those below the last id of a batch are'
      .. ' never reached')
  end
end

---@type stores.lint.Rule[]
return {
  { name = 'session', check = session,
    text = 'what is set for the session, and is gone after the migration: SET, set_config(..,'
      .. ' false), locks, LISTEN, temporary tables; and ALTER DATABASE or ROLE .. SET, which stays',
    safe = 'SET LOCAL, set_config(.., true), settings = { .. } in the migration; on_connect of the'
      .. ' program for what is to hold' },
  { name = 'unnamed-index', check = unnamed_index,
    text = 'CREATE INDEX CONCURRENTLY without a name',
    safe = 'CREATE INDEX CONCURRENTLY IF NOT EXISTS name' },
  { name = 'enum-value', check = enum_value,
    text = 'a new value of an enum, used in the same transaction',
    safe = 'the next migration' },
  { name = 'backfill-order', check = backfill_order,
    text = 'the statement of a backfill without ORDER BY',
    safe = 'WHERE id > $after ORDER BY id LIMIT $limit' },
}
