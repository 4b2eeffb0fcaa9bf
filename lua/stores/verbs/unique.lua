--- findBy: the document that has a value at a path which no two rows share. A hint of this process
--- says which row had it last; that row is read by its id, through the cache, and counts only where
--- it has the value still. Otherwise PostgreSQL is asked, and that nobody has the value is its word
--- alone, so that findBy is as fresh as find: spec/model/hints.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local hints = require('stores.verbs.hints')
local json = require('stores.json')
local paths = require('stores.sql.paths')
local seen = require('stores.verbs.seen')
local selects = require('stores.verbs.select')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')

local unique = {}

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

local SCALARS = { string = true, number = true, boolean = true, cdata = true }

local function check_value(value)
  if not SCALARS[type(value)] and not json.is_number(value) then
    refuse('findBy takes a string, a number or a boolean as the value, got %s',
      errors.kind(value))
  end
end

-- Whether a document has the value; false also where only PostgreSQL can tell.
local function has(document, names, value)
  for _, name in ipairs(names) do
    if type(document) ~= 'table' or json.is_array(document) then return false end
    document = document[name]
  end
  if type(value) == 'cdata' then value = json.number(value) end
  if json.is_number(document) then return document:eq(value) and type(value) ~= 'string' end
  if json.is_number(value) then return type(document) == 'number' and value:eq(document) end
  return document == value
end

-- The value of the row is none that Lua can read: then it is not the one that is asked for.
local UNREADABLE = { not_a_document = true, unreadable = true, invalid_document = true }

local function find_and_compare(self, name, id, names, value, opts)
  local raw = arguments.raw_of(self, opts)
  local document = wait.slot(self.hub, self:start_find(name, id, opts.timeout, opts.cache, raw))
  if document == nil then return nil end
  if not has(raw and json.decode(document) or document, names, value) then return nil end
  local definition = self.tables[name]
  return definition and seen.one(self, definition, document) or not definition and document or nil
end

-- The document that the hint leads to, where it has the value.
local function by_hint(self, key, name, names, value, opts)
  local id = hints.look(self.hints, key)
  if not id then return nil end
  local ok, document = pcall(find_and_compare, self, name, id, names, value, opts)
  if not ok and not (errors.is(document) and UNREADABLE[document.code]) then error(document, 0) end
  if ok and document ~= nil then return document end
  hints.keep(self.hints, key, nil)
end

-- What is left of the time of a call that began so long ago.
local function rest(self, opts, began)
  local timeout = opts.timeout or self.timeout
  if not timeout then return opts end -- of a transaction
  return { raw = opts.raw, timeout = math.max(timeout - (self.hub:now() - began), 0.001) }
end

local function by_select(self, name, names, text, opts)
  local sql = 'SELECT id, value::text FROM %T WHERE ' .. expression.of(names)
    .. ' = $1::jsonb LIMIT 2'
  local documents, id = selects.run(self, name, sql, { text }, opts)
  if documents[2] ~= nil then
    errors.raise('duplicate', ('two rows of %s have the value at %s: it is not unique'):format(name,
      paths.show(names)), { table = name })
  end
  return documents[1], id
end

function unique:findBy(name, path, value, opts)
  arguments.check(self, 'findBy')
  arguments.check_table(name)
  opts = check_options(opts, taken.findBy)
  local names = expression.names(path, 'the path')
  if #names == 1 and names[1] == 'id' then refuse('the row of an id is found by find') end
  check_value(value)
  local definition = self.tables[name]
  if not opts.unique and not (definition and definition:is_unique(names)) then
    refuse('findBy asks for what one row has at most: say {unique = true}, where a unique index is '
      .. 'over %s', paths.show(names))
  end
  local text = paths.encode(names, value)
  local key = self.hints and self.cached and opts.cache ~= false
    and name .. '\0' .. expression.name(names) .. '\0' .. text
  local began = self.hub:now()
  local document = key and by_hint(self, key, name, names, value, opts) or nil
  if document == nil then
    local id
    document, id = by_select(self, name, names, text, rest(self, opts, began))
    if key and document ~= nil then hints.keep(self.hints, key, id) end
  end
  if document == nil and opts.must then
    errors.raise('not_found', ('%s has no row with this value at %s'):format(name,
      paths.show(names)), { table = name })
  end
  return document
end

return unique
