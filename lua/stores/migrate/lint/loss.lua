--- Rules of the lint about what a running version of the program still reads, or writes.

local function is_contract(at)
  return at.step.phase == 'contract'
end

local function say_unless_new(at, text, name)
  if not name or not at.world:is_new(name, at.here) then at.say(text, name) end
end

local function drop(at)
  if is_contract(at) then return end
  local found = at.found
  if found.kind == 'drop_table' or found.kind == 'drop' then
    for _, name in ipairs(found.tables) do
      say_unless_new(at, ('a running version may still use %s'):format(name), name)
    end
  end
  for _, action in ipairs(found.actions) do
    if action.kind == 'drop_column' then
      say_unless_new(at, ('a running version may still use %s of %s'):format(action.column,
        found.tables[1]), found.tables[1])
    end
  end
end

local RENAMES = { rename = 'the name of %s', rename_column = 'the name of a column of %s',
                  set_schema = 'the schema of %s' }

local function rename(at)
  if is_contract(at) then return end
  local found = at.found
  if (found.kind == 'alter' or found.kind == 'alter_type')
    and (found.reader:has('RENAME', 'TO') or found.reader:has('RENAME', 'VALUE')
      or found.reader:has('RENAME', 'COLUMN') or found.reader:has('RENAME', 'ATTRIBUTE')
      or found.reader:has('SET', 'SCHEMA')) then
    at.say('a running version knows it by its old name')
  end
  for _, action in ipairs(found.actions) do
    if RENAMES[action.kind] then
      say_unless_new(at, ('a running version knows ' .. RENAMES[action.kind]):format(
        found.tables[1]), found.tables[1])
    end
  end
end

local function truncate(at)
  if at.found.kind ~= 'truncate' or is_contract(at) then return end
  for _, name in ipairs(at.found.tables) do
    say_unless_new(at, ('all rows of %s are gone, and who reads them waits for the lock'):format(
      at.world:describe(name)), name)
  end
end

-- A WHERE of its own: one in parentheses is of another query.
local function chooses(reader)
  for place = reader.at, #reader.words do
    local word = reader.words[place]
    if word.kind == 'word' and word.value == 'WHERE' and word.depth == 0 then return true end
  end
  return false
end

local function mass_change(at)
  local found, name = at.found, at.found.tables[1]
  if found.kind ~= 'update' and found.kind ~= 'delete' or chooses(found.reader) then return end
  if at.world:is_large(name, at.here) then
    at.say(('all rows of %s stay locked to the end of one transaction, and what they were stays on'
      .. ' the disk'):format(at.world:describe(name)), name)
  end
end

local UNCACHED = { row_security = 'row security', unlogged = 'no log' }

local function uncached(at)
  local found, name = at.found, at.found.tables[1]
  local why = found.kind == 'create_rule' and 'a rule'
    or found.kind == 'create_unlogged' and 'no log' or nil
  for _, action in ipairs(found.actions) do why = why or UNCACHED[action.kind] end
  if why then
    at.say(('a table with %s is not cached: each find of %s asks PostgreSQL'):format(why, name),
      name)
  end
end

---@type stores.lint.Rule[]
return {
  { name = 'drop', check = drop,
    text = 'DROP of a table, a column, a view, a function, a type that a running version may use',
    safe = "phase = 'contract', which waits for migrate --finish" },
  { name = 'rename', check = rename,
    text = 'RENAME, or SET SCHEMA, of what a running version knows by its old name',
    safe = 'a view of the old name, or a new column and a backfill; the rest in a contract' },
  { name = 'truncate', check = truncate,
    text = 'TRUNCATE of a table that the migration did not make',
    safe = "DELETE in a backfill, or phase = 'contract'" },
  { name = 'mass-change', check = mass_change,
    text = 'UPDATE or DELETE of all rows of a large table',
    safe = "type = 'backfill'" },
  { name = 'uncached', check = uncached,
    text = 'what keeps a table out of the cache: row security, a rule, UNLOGGED',
    safe = 'a trigger in place of a rule; rights by role in place of row security' },
}
