--- The errors that Stores raises. Misuse and failure both raise one of these, so that nil is only
--- ever "no such row". The codes are the core's (core/stores_error.h); nothing here names one.

local core = require('stores.core')

---@class stores.Error
---@field code string a name of the core's list, for programs: 'not_found', 'timeout' ...
---@field message string for people; holds neither a password nor the value of a document
---@field outcome 'none'|'committed'|'unknown' what became of the work of the call
---@field retryable boolean the same call may succeed later; never true where outcome is not 'none'
---@field http integer the HTTP status that says the same
---@field sqlstate string? five characters, where PostgreSQL said something
---@field detail string? what the server added; may quote values of the call
---@field hint string?
---@field constraint string? the name of the constraint that refused
---@field table string?
---@field shard integer?
---@field statement string? the SQL that PostgreSQL refused; of migration_failed which one of its
--- statements, and its text is in cause.statement
---@field position integer? of a character in the statement, from 1
---@field traceback string? where the store has traceback = true: the stack of who called
---@field row string? the id of the row whose value cannot be read, or that is another one by now
---@field gone boolean? of a conflict: whether no row has the id any more
---@field etag string? of a conflict: the one that the row has now
---@field index integer|string|nil where it is among those that were asked for, or given; of
--- not_indexed the name of the index that is missing
---@field path stores.Path|stores.Path[]|nil of a document that is refused: of which of its values
---@field version integer? of newer_version: the document's
---@field known_version integer? of newer_version: the program's
---@field count integer? of what goes batch by batch: how many are done
---@field after string|integer|nil likewise: what to go on with
---@field document string? of a backfill: the id of the one that its function failed at
---@field failed stores.Error[]? of shards: of all that failed
---@field shards table[]? of migrations over shards: the result, or the error, of each
---@field migration string? the name of the migration
---@field statements integer? of migration_failed: how many statements it has
---@field line integer? likewise: of its text
---@field ran string[]? likewise: those that this run has done
---@field untold string[]? likewise: tables whose rows changed, and no cache was told
---@field cause any likewise: what was raised
---@field invalid_indexes string[]? likewise: left by concurrent builds that failed
---@field process integer? likewise: the session that is in the way
---@field entry string? of migrations.new: what it has not written
---@field difference string? of migration_changed: between the ledger and the list
---@field differences stores.SchemaDifference[]? of migrations.test
---@field way string? of migrations.test: the way in which the schema came out otherwise

local errors = {}

---@type metatable
local Error = { __name = 'stores.Error' }
errors.Error = Error

function Error.__tostring(self)
  local text = self.code .. ': ' .. self.message
  if type(self.index) == 'number' and not self.row then
    text = ('%s (record %d)'):format(text, self.index) -- no id says which it is
  end
  local state = self.sqlstate and 'SQLSTATE ' .. self.sqlstate
  -- that of a migration has it in its words
  if state and not text:find(state, 1, true) then text = ('%s (%s)'):format(text, state) end
  if self.hint then text = text .. '; hint: ' .. self.hint end
  return text
end

-- 'failed: ' .. err is what people write in a log line; without this it would raise a second error.
function Error.__concat(left, right)
  return tostring(left) .. tostring(right)
end

--- Makes an error without raising it.
---@param code string one of the core's codes; any other is a defect and gives an 'internal' error
---@param message string? for people; the core's text of the code where nil
---@param fields table? further fields of the error; they win over the defaults
---@return stores.Error
function errors.new(code, message, fields)
  local known = core.codes[code]
  if not known then
    message = ('unknown error code %q: %s'):format(tostring(code), tostring(message))
    code, known = 'internal', core.codes.internal
  end
  local err = {
    code = code,
    message = message or known.text,
    outcome = 'none',
    retryable = known.retryable == true or known.retryable == 1,
    http = known.http,
  }
  for key, value in pairs(fields or {}) do err[key] = value end
  if err.outcome ~= 'none' then err.retryable = false end
  return setmetatable(err, Error)
end

--- What the server refused, as a mistake in what the caller gave.
---@param err stores.Error
---@return stores.Error
function errors.of_caller(err)
  err.code, err.http = 'invalid_argument', core.codes.invalid_argument.http
  err.retryable = false
  return err
end

--- Marks an error of a call of which a part was done before.
---@param err any
function errors.was_begun(err)
  if not errors.is(err) or err.outcome ~= 'none' then return end
  err.outcome, err.retryable = 'unknown', false
end

local leaving -- of the host; nil: an error leaves as it is

--- Has a host say what is raised in the place of an error of Stores: some show what nobody catches
--- to people, and know strings alone.
---@param fn fun(err: stores.Error): any
function errors.on_leaving(fn)
  leaving = fn
  core.set_leaving(fn)
end

--- Raises what was caught before, or made, as it is. All of the library that a caller may hear of
--- is raised by this.
---@param err any
function errors.throw(err)
  if leaving and errors.is(err) then err = leaving(err) end
  error(err, 0)
end

--- Raises an error. The value is a table, so no position is put before the message.
---@param code string
---@param message string?
---@param fields table?
function errors.raise(code, message, fields)
  errors.throw(errors.new(code, message, fields))
end

--- Raises what a store raises that is closed, as its engine does where a call goes on.
function errors.closed()
  errors.raise('closed', 'the store is closed')
end

--- Whether a value is an error of Stores, made here or in the core.
---@param value any
---@param code string? also: whether it has this code
---@return boolean
function errors.is(value, code)
  -- debug.getmetatable sees through a __metatable field and needs no type check.
  if debug.getmetatable(value) ~= Error then return false end
  return code == nil or value.code == code
end

--- What a value that was raised says of itself. Raises nothing: it may be anybody's.
---@param err any
---@return string
function errors.text(err)
  local ok, text = pcall(tostring, err)
  return ok and type(text) == 'string' and text or 'an error without a text'
end

local is_shared -- of frozen.lua, which stands above this

--- Has kind tell documents that are shared, which say of themselves that they are cdata.
---@param fn fun(value: any): boolean
function errors.tell_shared(fn)
  is_shared = fn
end

--- 'a string', 'an integer', 'nil': the type of a value for a message, and never the value itself.
---@param value any
---@return string
function errors.kind(value)
  if value == nil then return 'nil' end
  if value == core.null then return 'json.null' end
  local name = type(value)
  if name == 'cdata' and is_shared and is_shared(value) then
    return 'a shared document: stores.clone gives a table'
  end
  if name == 'boolean' then return tostring(value) end
  return name == 'userdata' and 'a userdata' or 'a ' .. name
end

if core.set_error_metatable then core.set_error_metatable(Error) end

return errors
