--- findBy: the document that has a value at a path which no two rows share. A hint in Redis says
--- which row had it last; that row is read by its id, through the cache, and counts only where it
--- has the value still. Otherwise PostgreSQL is asked, and that nobody has the value is its word
--- alone, so that findBy is as fresh as find: spec/model/hints.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local expression = require('stores.sql.expression')
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

local function find_and_compare(self, key, name, names, value, opts)
  local raw = arguments.raw_of(self, opts)
  local document, is_hinted = wait.slot(self.hub,
    self:start_find_hinted(name, key, opts.timeout, raw))
  if document == nil or not has(raw and json.decode(document) or document, names, value) then
    return nil, is_hinted
  end
  local definition = self.tables[name]
  if definition then document = seen.one(self, definition, document) end
  return document, is_hinted
end

-- The document that the hint leads to, where it has the value; and whether there was a hint.
local function by_hint(self, key, name, names, value, opts)
  local ok, document, is_hinted = pcall(find_and_compare, self, key, name, names, value, opts)
  if ok then return document, is_hinted end
  if not (errors.is(document) and UNREADABLE[document.code]) then errors.throw(document) end
  return nil, true
end

-- What is left of the time of a call that began so long ago. What makes a hint is the primary's.
local function rest(self, opts, began, is_hint)
  local timeout = opts.timeout or self.timeout
  if not timeout then return opts end -- of a transaction
  return { raw = opts.raw, timeout = math.max(timeout - (self.hub:now() - began), 0.001),
    read = is_hint and 'primary' or opts.read, after_token = opts.after_token }
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
  local key = self.start_find_hinted and self.cached and opts.cache ~= false
    and expression.name(names) .. text
  local began, document, is_hinted = self.hub:now(), nil, false
  if key then document, is_hinted = by_hint(self, key, name, names, value, opts) end
  if document == nil then
    local id
    document, id = by_select(self, name, names, text, rest(self, opts, began, key))
    -- somebody may have closed the store meanwhile
    if key and self.closed == false and (document ~= nil or is_hinted) then
      self.engine:hint(name, key, document ~= nil and id or nil)
    end
  end
  if document == nil and opts.must then
    errors.raise('not_found', ('%s has no row with this value at %s'):format(name,
      paths.show(names)), { table = name })
  end
  return document
end

return unique
