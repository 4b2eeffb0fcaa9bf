--- What the reading verbs do for declared tables: documents that are past their time are not seen,
--- those of older versions are brought up, and criteria are refused that no index serves.

local documents = require('stores.tables.documents')
local json = require('stores.json')
local order = require('stores.sql.order')
local query = require('stores.sql.query')
local strict = require('stores.tables.strict')
local times = require('stores.tables.times')

local seen = {}

--- Seconds since 1970, by the clock of the server.
---@param self stores.Store|stores.Transaction
---@return number
function seen.now(self)
  return (self.store or self).engine:clock()
end

-- As it is stored: nobody brings text up.
local function text(definition, given, now)
  if not definition.expires then return given end
  local document = json.decode(given)
  if type(document) ~= 'table' or not documents.is_gone(definition, document, now) then
    return given
  end
  return nil
end

local function see(definition, document, now)
  if type(document) == 'string' then return text(definition, document, now) end
  return (documents.read(definition, document, now))
end

--- A document that was found by its id, or its text; nil and false are none.
---@param self stores.Store|stores.Transaction
---@param definition stores.Definition
---@param document table|string|boolean|nil
---@return table|string|boolean|nil
function seen.one(self, definition, document)
  if type(document) ~= 'table' and type(document) ~= 'string' then return document end
  return see(definition, document, seen.now(self))
end

--- The documents of a list, in place; those that are gone become false.
---@param self stores.Store|stores.Transaction
---@param definition stores.Definition
---@param list (table|string|boolean)[]
function seen.all(self, definition, list)
  local now = seen.now(self)
  for i = 1, #list do
    if list[i] then list[i] = see(definition, list[i], now) or false end
  end
end

-- The condition that a row is not past its time.
local function alive(self, definition, add)
  local number, as_text = times.params(seen.now(self))
  return times.is_alive_sql(definition.expires, add(number, 'jsonb'), add(as_text, 'text'))
end

--- A statement of a list, over the rows that are not past their time. The server's own clock may
--- have gone on since; what it is asked is what Lua asks.
---@param self stores.Store|stores.Transaction
---@param definition stores.Definition
---@param sql string
---@param params string[]
---@return string sql
---@return string[] params
function seen.alive(self, definition, sql, params)
  if not definition.expires or not sql:find('FROM %T', 1, true) then return sql, params end
  local all, add = query.new_params(unpack(params))
  local from = '(SELECT id, value FROM %T WHERE ' .. alive(self, definition, add) .. ') AS alive'
  return (sql:gsub('FROM %%T', function() return 'FROM ' .. from end)), all
end

--- The same for who writes a statement: what makes one condition more of it.
---@param self stores.Store|stores.Transaction
---@param definition stores.Definition?
---@return (fun(add: stores.sql.Add): string)? nil: there is nothing to be asked
function seen.condition(self, definition)
  if not definition or not definition.expires then return nil end
  return function(add) return alive(self, definition, add) end
end

--- The documents of such a statement.
---@param definition stores.Definition
---@param list (table|string)[]
function seen.bring_up(definition, list)
  if not definition.version then return end
  for i = 1, #list do
    if type(list[i]) == 'table' then list[i] = definition:upcast(list[i]) end
  end
end

--- What a list asks of a declared table.
---@param definition stores.Definition
---@param opts table
---@param page stores.sql.Page as the statement's builder left it
---Raises not_indexed.
function seen.check(definition, opts, page)
  if definition.strict and not opts.explain then
    strict.check(definition, page.group, page.order or order.read(nil), page.contains)
  end
end

return seen
