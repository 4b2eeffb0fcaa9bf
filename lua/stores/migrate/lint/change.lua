--- Rules of the lint about changes of a table: what reads, or writes, all rows of a large one while
--- it keeps everybody away.

-- Calls fn(action, table) for the actions of an ALTER TABLE of a large table.
local function each_action(at, fn)
  local name = at.found.tables[1]
  if at.found.kind ~= 'alter_table' or not at.world:is_large(name, at.here) then return end
  for _, action in ipairs(at.found.actions) do fn(action, name) end
end

local function set(text)
  local members = {}
  for word in text:gmatch('%S+') do members[word] = true end
  return members
end

-- Functions whose value is the same for all rows of a statement: no row has to be touched.
local STABLE = set('NOW CURRENT_TIMESTAMP CURRENT_DATE TRANSACTION_TIMESTAMP STATEMENT_TIMESTAMP'
  .. ' JSONB_BUILD_OBJECT JSONB_BUILD_ARRAY JSON_BUILD_OBJECT TO_JSONB TO_TIMESTAMP COALESCE LOWER'
  .. ' UPPER MD5 CONCAT MAKE_DATE MAKE_INTERVAL DATE_TRUNC ARRAY')
local SERIAL = set('SERIAL BIGSERIAL SMALLSERIAL SERIAL4 SERIAL8')
local CLAUSES = set('NOT CHECK REFERENCES UNIQUE PRIMARY CONSTRAINT COLLATE GENERATED')

-- A function in a DEFAULT that has another value for each row.
local function volatile_default(reader)
  local inside = false
  for place = reader.at, #reader.words do
    local word, after = reader.words[place], reader.words[place + 1]
    local is_type = place > 1 and reader.words[place - 1].value == ':'
    if word.kind == 'word' and word.value == 'DEFAULT' then inside = true end
    if inside and word.kind == 'word' then
      if CLAUSES[word.value] then return nil end
      if after and after.value == '(' and word.value ~= 'DEFAULT' and not is_type
        and not STABLE[word.value] then
        return word.text .. '()'
      end
    end
  end
  return nil
end

local function why_rewritten(action)
  if action.kind == 'rewrite' or action.kind == 'unlogged' then return 'is written anew' end
  if action.kind ~= 'add_column' then return nil end
  local word = action.reader:peek()
  if word and SERIAL[word.value] then return 'is written anew for its serial' end
  if action.reader:has('GENERATED') then return 'is written anew for a generated column' end
  local called = volatile_default(action.reader)
  return called and ('is written anew, for each row has another %s'):format(called) or nil
end

local function rewrite(at)
  local found, name = at.found, at.found.tables[1]
  if found.kind == 'vacuum' and found.is_full or found.kind == 'cluster' then
    if at.world:is_large(name, at.here) then
      at.say(('%s is written anew, and nobody reads it meanwhile'):format(at.world:describe(name)),
        name)
    end
  end
  each_action(at, function(action)
    local why = why_rewritten(action)
    if why then
      at.say(('%s %s, and nobody reads it meanwhile'):format(at.world:describe(name), why), name)
    end
  end)
end

-- What needs no look at the rows: more room for text, or for digits.
local function widens(before, after)
  if not before then return false end
  before, after = before:gsub('%s', ''), after:gsub('%s', ''):gsub('^varchar', 'charactervarying')
  if before == after then return true end
  local old = before:match('^charactervarying%((%d+)%)$')
  if before == 'text' or old then
    local new = after:match('^charactervarying%((%d+)%)$')
    if after == 'text' or after == 'charactervarying' then return true end
    return old ~= nil and new ~= nil and tonumber(new) >= tonumber(old)
  end
  local digits, scale = before:match('^numeric%((%d+),(%d+)%)$')
  local more, same = after:match('^numeric%((%d+),(%d+)%)$')
  return digits ~= nil and scale == same and tonumber(more) >= tonumber(digits)
end

local function type_change(at)
  each_action(at, function(action, name)
    if action.kind ~= 'type' then return end
    if widens(at.world:type(name, action.column), action.reader:rest()) then return end
    at.say(('another type of %s: %s is written anew, with its indexes, and a running version reads'
      .. ' another type'):format(action.column, at.world:describe(name)), name)
  end)
end

local function not_null(at)
  each_action(at, function(action, name)
    if action.kind ~= 'set_not_null' or at.world:is_checked(name, action.column) then return end
    at.say(('all of %s is read for a NULL in %s, and nobody writes or reads it meanwhile'):format(
      at.world:describe(name), action.column), name)
  end)
end

local function no_default(at)
  local found, name = at.found, at.found.tables[1]
  local size = name and at.world:size(name)
  if found.kind ~= 'alter_table' or at.world:is_new(name, at.here) or size and size.bytes == 0 then
    return
  end
  for _, action in ipairs(found.actions) do
    local reader = action.reader
    if action.kind == 'add_column' and reader:has('NOT', 'NULL') and not reader:has('DEFAULT')
      and not reader:has('GENERATED') and not SERIAL[(reader:peek() or {}).value] then
      at.say(('%s is NOT NULL and has no DEFAULT: it fails where %s has a row, and an INSERT of a'
        .. ' running version fails as well'):format(action.column, name), name)
    end
  end
end

local function constraint(words, text)
  return function(at)
    each_action(at, function(action, name)
      local reader = action.reader
      local adds = action.kind == 'add_constraint' and reader:next_is(unpack(words))
      if adds and not reader:has('NOT', 'VALID') then
        at.say(text:format(at.world:describe(name)), name)
      end
    end)
  end
end

local LOOKED_AT = 'all rows of %s are looked at, and nobody writes or reads it meanwhile'

local named_check = constraint({ 'CHECK' }, LOOKED_AT)

local function check(at)
  named_check(at)
  each_action(at, function(action, name)
    if action.kind == 'add_column' and action.reader:has('CHECK') then
      at.say(LOOKED_AT:format(at.world:describe(name)), name)
    end
  end)
end

local named_key = constraint({ 'FOREIGN', 'KEY' }, 'each row of %s is looked up in the other table,'
  .. ' and nobody writes to the two meanwhile')

local function foreign_key(at)
  named_key(at)
  each_action(at, function(action, name)
    if action.kind == 'add_column' and action.reader:has('REFERENCES') then
      at.say(('%s is read for the new key, and nobody writes to it or to the other table meanwhile')
        :format(at.world:describe(name)), name)
    end
  end)
end

local function unique(at)
  each_action(at, function(action, name)
    local reader = action.reader
    local is_key = reader:next_is('UNIQUE') or reader:next_is('PRIMARY')
      or reader:next_is('EXCLUDE')
    local adds = action.kind == 'add_constraint' and is_key and not reader:has('USING', 'INDEX')
    if adds or action.kind == 'add_column' and (reader:has('UNIQUE') or reader:has('PRIMARY')) then
      at.say(('an index of %s is built, and nobody writes or reads it meanwhile'):format(
        at.world:describe(name)), name)
    end
  end)
end

-- Both in one transaction: the lock of the first is kept while the second reads.
local function validate(at)
  if at.step.outside then return end
  each_action(at, function(action, name)
    if action.kind ~= 'validate' then return end
    for place = 1, at.place do
      for _, before in ipairs(at.all[place].actions) do
        if before.kind == 'add_constraint' and before.constraint == action.constraint then
          at.say(('%s is validated in the transaction that adds it: all rows of %s are looked at,'
            .. ' and nobody writes or reads it meanwhile'):format(action.constraint,
            at.world:describe(name)), name)
          return
        end
      end
    end
  end)
end

---@type stores.lint.Rule[]
return {
  { name = 'rewrite', check = rewrite,
    text = 'a large table is written anew: VACUUM FULL, CLUSTER, SET TABLESPACE, SET LOGGED, a new'
      .. ' column with a serial, a generated value or a DEFAULT that differs from row to row',
    safe = 'add the column without it, then SET DEFAULT for new rows, then a backfill for the'
      .. ' others' },
  { name = 'type-change', check = type_change,
    text = 'a column of a large table gets another type, but for more room of text or digits',
    safe = 'a new column, a backfill, and the old one dropped in a contract' },
  { name = 'not-null', check = not_null,
    text = 'SET NOT NULL on a large table without a validated CHECK that says so',
    safe = 'ADD CONSTRAINT c CHECK (column IS NOT NULL) NOT VALID; in the next migration VALIDATE'
      .. ' CONSTRAINT c; then SET NOT NULL, and DROP CONSTRAINT c' },
  { name = 'no-default', check = no_default,
    text = 'a new column that is NOT NULL and has no DEFAULT',
    safe = 'give it a DEFAULT, or add it without NOT NULL, and a backfill' },
  { name = 'check', check = check,
    text = 'ADD CONSTRAINT .. CHECK on a large table without NOT VALID, or a new column with a'
      .. ' CHECK',
    safe = 'ADD CONSTRAINT .. CHECK .. NOT VALID, and VALIDATE CONSTRAINT in the next migration' },
  { name = 'foreign-key', check = foreign_key,
    text = 'ADD FOREIGN KEY, or a column with REFERENCES, on a large table without NOT VALID',
    safe = 'ADD CONSTRAINT .. FOREIGN KEY .. NOT VALID, and VALIDATE CONSTRAINT in the next'
      .. ' migration' },
  { name = 'validate', check = validate,
    text = 'VALIDATE CONSTRAINT in the transaction that adds the constraint',
    safe = 'a migration of its own' },
  { name = 'unique', check = unique,
    text = 'UNIQUE, PRIMARY KEY or EXCLUDE on a large table, which builds an index under its lock',
    safe = 'CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT .. USING INDEX' },
}
