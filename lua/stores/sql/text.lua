--- SQL text, read lexically: where statements end, what they begin with, and whether two texts are
--- the same but for white space. Strings are read with standard_conforming_strings on, as every
--- server since 9.1 has it. Data of COPY .. FROM stdin inside the text is not understood.

local errors = require('stores.errors')

local sql = {}

---@alias stores.sql.Kind 'space'|'line_comment'|'comment'|'quoted'|'word'|'other'

---@class stores.sql.Statement
---@field text string from its first to its last token, without the semicolon
---@field line integer the line of its first token, from 1

-- The end of a quoted token that begins at `from` (the quote), a doubled quote being one character.
-- With `escapes` a backslash takes the next character with it.
local function quoted_end(text, from, quote, escapes)
  local stop = escapes and '[\\' .. quote .. ']' or quote
  local at = from + 1
  while true do
    at = text:find(stop, at)
    if not at then return nil end
    if text:byte(at) == 92 then -- a backslash
      at = at + 2
    elseif text:sub(at + 1, at + 1) == quote then
      at = at + 2
    else
      return at
    end
  end
end

-- Comments of the form /* */ nest.
local function comment_end(text, from)
  local depth, at = 1, from + 2
  while depth > 0 do
    local first = text:find('[*/][*/]', at)
    if not first then return nil end
    local pair = text:sub(first, first + 1)
    if pair == '*/' then
      depth, at = depth - 1, first + 2
    elseif pair == '/*' then
      depth, at = depth + 1, first + 2
    else
      at = first + 1
    end
  end
  return at - 1
end

-- The token at `at`: its kind, its last position, and whether the text ends inside it.
---@return stores.sql.Kind, integer, boolean?
local function token(text, at)
  local char = text:sub(at, at)
  local last = select(2, text:find('^[%s]+', at))
  if last then return 'space', last end
  if text:find('^\239\187\191', at) then return 'space', at + 2 end -- a byte order mark
  if text:find('^%-%-', at) then
    return 'line_comment', select(2, text:find('^[^\r\n]*', at))
  elseif text:find('^/%*', at) then
    last = comment_end(text, at)
    return 'comment', last or #text, not last
  elseif char == "'" or char == '"' then
    last = quoted_end(text, at, char, false)
    return 'quoted', last or #text, not last
  elseif text:find("^[eE]'", at) then
    last = quoted_end(text, at + 1, "'", true)
    return 'quoted', last or #text, not last
  elseif char == '$' then
    local tag = text:match('^%$[%a_\128-\255][%w_\128-\255]*%$', at) or text:match('^%$%$', at)
    if tag then
      last = select(2, text:find(tag, at + #tag, true))
      return 'quoted', last or #text, not last
    end
    return 'other', at
  end
  last = select(2, text:find('^[%a_\128-\255][%w_$\128-\255]*', at))
  if last then return 'word', last end
  -- A number takes the letters that touch it along: the e of 1e5 begins no string.
  last = select(2, text:find('^%d[%w_.]*', at))
  return 'other', last or at
end

-- Goes through the tokens: kind, first, last, unterminated.
local function tokens(text)
  local at = 1
  return function()
    if at > #text then return nil end
    local first = at
    local kind, last, open = token(text, first)
    at = last + 1
    return kind, first, last, open
  end
end

--- Goes through the tokens of a text: the kind, the first and the last position of each, and
--- whether the text ends inside it.
---@type fun(text: string): fun(): stores.sql.Kind?, integer?, integer?, boolean?
sql.tokens = tokens

local function blank(kind)
  return kind == 'space' or kind == 'line_comment' or kind == 'comment'
end

-- Whether the words so far begin a function or procedure, whose body may be BEGIN ATOMIC .. END.
local function makes_routine(words)
  if words[1] ~= 'CREATE' then return false end
  local what = words[2]
  if what == 'OR' and words[3] == 'REPLACE' then what = words[4] end
  return what == 'FUNCTION' or what == 'PROCEDURE'
end

-- Which statement is being read, and how deep inside it: semicolons inside parentheses (rules) and
-- inside BEGIN ATOMIC .. END do not end it.
local function new_state()
  return { words = {}, parens = 0, bodies = 0 }
end

local function read_word(state, word)
  local words = state.words
  if #words < 4 then words[#words + 1] = word end
  if state.parens == 0 and makes_routine(words) then
    if word == 'ATOMIC' and state.last == 'BEGIN' then
      state.bodies = state.bodies + 1
    elseif state.bodies > 0 and word == 'CASE' then
      state.bodies = state.bodies + 1
    elseif state.bodies > 0 and word == 'END' then
      state.bodies = state.bodies - 1
    end
  end
  state.last = word
end

local function lines_between(text, from, to)
  local _, count = text:sub(from, to):gsub('\n', '')
  return count
end

--- Splits SQL text into its statements. Statements of nothing but comments are left out, and so are
--- comments before the first and after the last token of a statement.
---@param text string
---@param stop? fun(statement: stores.sql.Statement, is_command: boolean): any asked after each one,
---       and at a backslash outside of quotes, which begins a command of psql; true: what follows
---       is not to be read
---@return stores.sql.Statement[]
---Raises invalid_argument where the text ends inside a string, a quoted name or a comment.
function sql.split(text, stop)
  local statements = {}
  local state, first, last_of = new_state(), nil, nil
  local line, counted, line_of = 1, 1, nil
  local function finish()
    local statement = first and { text = text:sub(first, last_of), line = line_of }
    if statement then statements[#statements + 1] = statement end
    state, first = new_state(), nil
    return statement and stop and stop(statement, false)
  end
  for kind, from, to, open in tokens(text) do
    if open then
      local at = 1 + lines_between(text, 1, from - 1)
      errors.raise('invalid_argument', ('the SQL ends inside a %s that begins on line %d'):format(
        kind == 'comment' and 'comment' or 'string or quoted name', at), { line = at })
    end
    local char = kind == 'other' and text:sub(from, to)
    if char == '\\' and stop then
      local command = { text = text:match('^\\[^%s;]*', from),
                        line = 1 + lines_between(text, 1, from - 1) }
      if stop(command, true) then return statements end
    end
    if char == ';' and state.parens == 0 and state.bodies == 0 then
      if finish() then return statements end
    elseif not blank(kind) then
      if not first then
        line = line + lines_between(text, counted, from - 1)
        counted, first, line_of = from, from, line
      end
      last_of = to
      if kind == 'word' then
        read_word(state, text:sub(from, to):upper())
      elseif char == '(' then
        state.parens = state.parens + 1
      elseif char == ')' then
        state.parens = math.max(0, state.parens - 1)
      end
    end
  end
  finish()
  return statements
end

--- The text of a statement in which whole numbers by name are parameters: $after is $1. What is
--- quoted stays as it is.
---@param statement string
---@param names string[] in the order of their numbers
---@return string
---@return table<string, boolean> found which of them it has
function sql.with_parameters(statement, names)
  local numbers, found, parts, dollar = {}, {}, {}, false
  for number, name in ipairs(names) do numbers[name] = number end
  for kind, from, to in tokens(statement) do
    local piece = statement:sub(from, to)
    if dollar and kind == 'word' and numbers[piece] then
      found[piece], piece = true, numbers[piece] .. '::bigint'
    end
    dollar = piece == '$'
    parts[#parts + 1] = piece
  end
  return table.concat(parts), found
end

--- The words of a statement outside quotes and comments, in upper case.
---@param statement string
---@param most integer? how many at most
---@return string[]
function sql.keywords(statement, most)
  local words = {}
  for kind, from, to in tokens(statement) do
    if kind == 'word' then
      words[#words + 1] = statement:sub(from, to):upper()
      if #words == most then break end
    end
  end
  return words
end

--- The first word of a statement in upper case, past comments and opening parentheses.
---@param statement string
---@return string? nil where there is none
function sql.first_word(statement)
  return sql.keywords(statement, 1)[1]
end

local CONTROL = {
  BEGIN = true, START = true, COMMIT = true, END = true, ROLLBACK = true, ABORT = true,
  SAVEPOINT = true, RELEASE = true,
}

--- What a statement does to the transaction that it runs in, if that is what it is for.
---@param statement string
---@return string? 'BEGIN', 'COMMIT PREPARED', 'PREPARE TRANSACTION' ..., for messages
function sql.transaction_control(statement)
  local words = sql.keywords(statement, 2)
  local first, second = words[1], words[2]
  if first == 'PREPARE' and second == 'TRANSACTION' then return 'PREPARE TRANSACTION' end
  if not CONTROL[first] then return nil end
  if first == 'START' then return second == 'TRANSACTION' and 'START TRANSACTION' or nil end
  if second == 'PREPARED' then return first .. ' PREPARED' end
  return first
end

-- First word -> second word -> true: what PostgreSQL runs outside transaction blocks only.
local OUTSIDE = {
  CREATE = { DATABASE = true, TABLESPACE = true, SUBSCRIPTION = true },
  DROP = { DATABASE = true, TABLESPACE = true, SUBSCRIPTION = true },
  ALTER = { SYSTEM = true },
  DISCARD = { ALL = true },
}
local CAN_BE_CONCURRENT = { CREATE = true, DROP = true, REINDEX = true, ALTER = true }
local REINDEX_MANY = { DATABASE = true, SYSTEM = true, SCHEMA = true }

--- Why a statement cannot run inside a transaction.
---@param statement string
---@return string? 'VACUUM', 'CREATE .. CONCURRENTLY' ..., for messages; nil where it can
function sql.refuses_transaction(statement)
  local words = sql.keywords(statement)
  local first, second = words[1], words[2]
  if first == 'VACUUM' then return 'VACUUM' end
  if OUTSIDE[first] and OUTSIDE[first][second] then return first .. ' ' .. second end
  local has = {}
  for _, word in ipairs(words) do has[word] = true end
  -- CREATE FUNCTION and the like quote their bodies; REFRESH .. CONCURRENTLY is allowed.
  if has.CONCURRENTLY and CAN_BE_CONCURRENT[first] then return first .. ' .. CONCURRENTLY' end
  if first == 'REINDEX' then
    for _, word in ipairs(words) do
      if REINDEX_MANY[word] then return 'REINDEX ' .. word end
    end
  elseif first == 'CLUSTER' and (not second or (second == 'VERBOSE' and not words[3])) then
    if not statement:find('"', 1, true) then return 'CLUSTER' end
  elseif first == 'ALTER' and second == 'DATABASE' and has.TABLESPACE then
    return 'ALTER DATABASE .. SET TABLESPACE'
  elseif first == 'ALTER' and second == 'SUBSCRIPTION' and has.PUBLICATION then
    return 'ALTER SUBSCRIPTION'
  end
  return nil
end

-- Pairs of characters that mean something else once the white space between them is gone.
local GLUED = { ["''"] = true, ['""'] = true, ['--'] = true, ['/*'] = true, ['*/'] = true }

--- A text without the white space that does not count: all of it outside quotes. What is quoted
--- (also by dollars) stays as it is, but for how its lines end. Comments count, but not the white
--- space in them; where a `--` comment ends, a newline stays, or commenting out the rest of a line
--- would look like nothing.
---@param text string
---@return string
function sql.normalise(text)
  local parts, spaced = {}, false
  for kind, from, to in tokens(text) do
    local piece = text:sub(from, to)
    if kind == 'space' then
      spaced = true
    else
      local last = parts[#parts]
      if spaced and last and GLUED[last:sub(-1) .. piece:sub(1, 1)] then
        parts[#parts + 1] = ' '
      end
      if kind == 'quoted' then piece = piece:gsub('\r\n', '\n') end
      if kind == 'line_comment' then
        piece = piece:gsub('%s+', '') .. '\n'
      elseif kind == 'comment' then
        piece = piece:gsub('%s+', '')
      end
      parts[#parts + 1], spaced = piece, false
    end
  end
  return (table.concat(parts):gsub('%s+$', ''))
end

-- What a statement says that handles secrets; then none of its strings is shown.
local SECRETS = { 'passw', 'pwd', 'secret', 'token', 'credential', 'connection', 'connstr',
                  'dblink', 'user mapping', 'api_?key', 'private' }

local function handles_secrets(statement)
  local lower = statement:lower()
  for _, word in ipairs(SECRETS) do
    if lower:find(word) then return true end
  end
  return false
end

-- A string or a comment with a star for each of its bytes but for white space and the quotes.
local function starred(piece)
  local before = piece:match("^[eE]?'") or piece:match('^%$[^$]*%$') or ''
  local after = #piece >= 2 * #before and before:match("['$].*$") or ''
  if after ~= '' and piece:sub(-#after) ~= after then after = '' end
  local inside = piece:sub(#before + 1, #piece - #after):gsub('%S', '*')
  return before .. inside .. after
end

--- A text whose bytes stand where they stood, with stars in place of what may be a password: all
--- strings and comments of statements that speak of one, however they are quoted.
---@param text string
---@return string
function sql.discreet(text)
  local parts, kinds, begun = {}, {}, 1
  local function finish()
    if not handles_secrets(table.concat(parts, '', begun)) then return end
    for i = begun, #parts do
      local shown = kinds[i] ~= 'quoted' and kinds[i] ~= 'comment' and kinds[i] ~= 'line_comment'
      if not shown and parts[i]:sub(1, 1) ~= '"' then parts[i] = starred(parts[i]) end
    end
  end
  for kind, from, to in tokens(text) do
    parts[#parts + 1] = text:sub(from, to)
    kinds[#parts] = kind
    if kind == 'other' and parts[#parts] == ';' then
      finish()
      begun = #parts + 1
    end
  end
  finish()
  return table.concat(parts)
end

--- Whether two texts of a migration are the same but for white space outside quotes. A ledger that
--- another runner wrote may hold its text without newlines, also inside quotes and after `--`
--- comments: where one of the two has none, the other is compared as it would look without its own,
--- whether they were dropped or became spaces.
---@param left string
---@param right string
---@return boolean
function sql.same(left, right)
  if left == right or sql.normalise(left) == sql.normalise(right) then return true end
  if left:find('\n', 1, true) then left, right = right, left end
  if left:find('\n', 1, true) or not right:find('\n', 1, true) then return false end
  local flat = sql.normalise(left)
  return flat == sql.normalise((right:gsub('\r?\n', '')))
    or flat == sql.normalise((right:gsub('\r?\n', ' ')))
end

return sql
