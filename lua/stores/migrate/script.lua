--- The statements of one migration, and what PostgreSQL and the runner must know of each.

local errors = require('stores.errors')
local sql = require('stores.sql.text')

local script = {}

---@class stores.MigrationStatement
---@field text string
---@field line integer of the migration's text where it begins, from 1
---@field words table<integer|string, string|boolean> unquoted words in upper case: list and set
---@field refuses? string why PostgreSQL refuses it in a transaction
---@field concurrent boolean it says CONCURRENTLY, and refuses for that
---@field atomic boolean runs in a transaction of its own, so that its journal row commits with it
---@field commits boolean it may commit on its way, outside a transaction
---@field again boolean running it twice does what running it once does

local function set(text)
  local members = {}
  for word in text:gmatch('%S+') do members[word] = true end
  return members
end

-- DO and CALL may commit in the middle, which only works outside a transaction.
local MAY_COMMIT = set('CALL DO')
local AGAIN = set('VACUUM ANALYZE REINDEX CLUSTER REFRESH CHECKPOINT')
local SETTINGS = set('SET RESET DISCARD')
local LOCAL_SETTINGS = set('LOCAL CONSTRAINTS TRANSACTION')

local function classify(statement)
  local words = sql.keywords(statement.text)
  for index = 1, #words do words[words[index]] = true end
  local refuses = sql.refuses_transaction(statement.text)
  return {
    text = statement.text, line = statement.line, words = words, refuses = refuses,
    concurrent = refuses ~= nil and words.CONCURRENTLY == true,
    atomic = not refuses and not MAY_COMMIT[words[1]],
    commits = MAY_COMMIT[words[1]] == true,
    again = AGAIN[words[1]] == true or (words.IF and words.EXISTS) == true,
  }
end

local function follows(words, first, second)
  for index = 1, #words - 1 do
    if words[index] == first and words[index + 1] == second then return true end
  end
  return false
end

-- Whether a COPY goes on with what the client sends or takes; its data are no SQL.
local function copies_with_client(statement)
  local words = sql.keywords(statement)
  return words[1] == 'COPY'
    and (follows(words, 'FROM', 'STDIN') or follows(words, 'TO', 'STDOUT'))
end

-- Notes in the step where its text is not SQL any more, and says whether it is so.
local function note_other(step, count)
  return function(statement, is_command)
    count = count + 1
    local reason
    if is_command then
      reason = statement.text .. ' is a command of psql, not SQL: take its line out'
    elseif copies_with_client(statement.text) then
      reason = 'COPY from or to the client cannot be in a migration: let pg_dump write --inserts'
    end
    step.refusal = reason and { statement = count, line = statement.line, reason = reason }
    return reason ~= nil
  end
end

--- Splits the text of a step into `step.statements`, and says in `step.outside` whether they run
--- outside a transaction. Does nothing to a function.
---Raises invalid_argument where the text ends inside a string, a quoted name or a comment.
---@param step stores.MigrationStep
function script.parse(step)
  if type(step.migration) ~= 'string' or step.statements then return end
  local ok, found = pcall(sql.split, step.text, note_other(step, 0))
  if not ok then
    if not errors.is(found) then errors.throw(found) end
    errors.raise(found.code, ("migration '%s': %s"):format(step.name, found.message),
      { migration = step.name, line = found.line, cause = found })
  end
  step.statements, step.outside = {}, step.transaction == false
  for index, statement in ipairs(found) do
    step.statements[index] = classify(statement)
    if step.statements[index].concurrent then step.outside = true end
  end
end

-- The transaction is the runner's; savepoints inside it are the migration's own.
local function control(statement)
  local found = sql.transaction_control(statement.text)
  if found == 'SAVEPOINT' or found == 'RELEASE' then return nil end
  if found == 'ROLLBACK' and statement.words.TO then return nil end
  return found
end

local function sets_session(words)
  return SETTINGS[words[1]] and not (words[1] == 'SET' and LOCAL_SETTINGS[words[2]])
end

-- The runner speaks UTF-8 to the server: in another encoding the rest would be misread.
local function sets_encoding(words)
  if words[1] ~= 'SET' then return false end
  local at = LOCAL_SETTINGS[words[2]] and 3 or words[2] == 'SESSION' and 3 or 2
  return (words[at] == 'NAMES' or words[at] == 'CLIENT_ENCODING')
end

local function is_utf8(text)
  return text:upper():match("['\"%s=]UTF%-?8['\"%s]*$") ~= nil
    or text:upper():match("UNICODE['\"%s]*$") ~= nil
end

-- A backfill is one statement, which is run again and again with other rows.
local function backfill_objection(step, statement)
  local _, names = sql.with_parameters(statement.text, { 'after', 'limit' })
  if #step.statements > 1 then
    return 'a backfill is one statement'
  elseif not (names.after and names.limit) then
    return 'the statement of a backfill takes $limit rows whose id is greater than $after'
  elseif not statement.words.RETURNING and statement.words[1] ~= 'SELECT' then
    return 'the statement of a backfill has to say which rows it took: end it with RETURNING id'
  elseif statement.refuses or statement.commits then
    return statement.words[1] .. ' cannot be a backfill'
  end
end

-- Why a statement cannot be in its migration, or nil.
local function objection(step, statement)
  local words, refuses = statement.words, statement.refuses
  local controls = control(statement)
  if controls then
    return controls .. ' has no place in a migration: the runner begins and commits'
      .. ' (with transaction = false each statement is on its own)'
  elseif sets_encoding(words) and not is_utf8(statement.text) then
    return words[1] .. ' of another encoding: the text of a migration is UTF-8'
  elseif step.type == 'checkpoint' and refuses then
    return refuses .. ' cannot be in a checkpoint, which is done as a whole or not at all: write it'
      .. ' without CONCURRENTLY, for its tables are new and empty'
  elseif step.type == 'backfill' then
    return backfill_objection(step, statement)
  elseif step.outside and sets_session(words) then
    return words[1] .. ' would be of no effect on the next statement, which is on its own: say'
      .. ' settings = { name = value } in the migration'
  elseif refuses and step.transaction == true then
    return refuses .. ' cannot run with transaction = true'
  elseif refuses and not step.outside then
    return refuses .. ' cannot run in a transaction: say transaction = false in the migration'
  elseif step.outside and MAY_COMMIT[words[1]] and not step.invalidates then
    return words[1] .. ' outside a transaction may change rows that a cache holds: name their'
      .. ' tables in invalidates = {...} ({} where there are none)'
  end
end

--- Raises for a step that is about to run and holds what no migration may do.
---@param step stores.MigrationStep already parsed
function script.check(step)
  local function refuse(index, line, reason)
    errors.raise('invalid_argument', ("migration '%s', statement %d (line %d): %s"):format(
      step.name, index, line, reason), { migration = step.name, statement = index, line = line })
  end
  for index, statement in ipairs(step.statements or {}) do
    local reason = objection(step, statement)
    if reason and not (step.refusal and step.refusal.statement == index) then
      refuse(index, statement.line, reason)
    end
  end
  if step.refusal then
    refuse(step.refusal.statement, step.refusal.line, step.refusal.reason)
  end
end

-- The bytes of a text without white space, with the position of each.
local function skeleton(text)
  local bytes, places = {}, {}
  for place = 1, #text do
    local byte = text:byte(place)
    if not (byte == 32 or byte >= 9 and byte <= 13) then
      bytes[#bytes + 1] = byte
      places[#places + 1] = place
    end
  end
  return bytes, places
end

local function line_at(text, place)
  local _, breaks = text:sub(1, place - 1):gsub('\n', '')
  return breaks + 1
end

-- What stands around a place, on one line.
local function excerpt(text, place)
  if place > #text then return 'nothing more' end
  local from = text:sub(1, place - 1):match('()[^\n]*$')
  if place - from > 40 then from = place - 24 end
  local piece = text:sub(from):match('^[^\n]*')
  piece = piece:gsub('%s+', ' '):gsub('^ ', ''):gsub('^[\128-\191]+', '')
  if #piece > 72 then piece = piece:sub(1, 69):gsub('[\128-\255]+$', '') .. '...' end
  return piece
end

--- Says where two texts that are not the same part: the file's line, and both sides.
---@param text string of the file
---@param held string of the ledger
---@return string
function script.difference(text, held)
  local new, new_places = skeleton(text)
  local old, old_places = skeleton(held)
  local at = 1
  while new[at] and new[at] == old[at] do at = at + 1 end
  if not new[at] and not old[at] then return 'they differ in white space inside quotes' end
  local here, there = new_places[at] or #text + 1, old_places[at] or #held + 1
  return ('line %d of the file\n  file:   %s\n  ledger: %s'):format(line_at(text, here),
    excerpt(sql.discreet(text), here), excerpt(sql.discreet(held), there))
end

return script
