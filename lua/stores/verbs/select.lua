--- A statement over one table that only reads, and its plan where a call asks for that instead.

local arguments = require('stores.verbs.arguments')
local explain = require('stores.sql.explain')
local fields = require('stores.sql.fields')
local seen = require('stores.verbs.seen')
local wait = require('stores.wait')

local raw_of, replica_of = arguments.raw_of, arguments.replica_of

local select = {}

---@type table<string, function> select.run as a call of the verb of that name, for who asks several
--- stores: observe.lua sets those that hooks are told of
select.told = {}

local function bring_up(definition, list, ...)
  seen.bring_up(definition, list)
  return list, ...
end

local function parts(definition, names, list, ...)
  seen.bring_up(definition, list)
  return fields.of(names, list), ...
end

--- Whether the parts that a call asks for are those of documents that have been brought up, which
--- are made of the whole ones.
---@param self stores.Store|stores.Transaction
---@param definition stores.Definition|false|nil
---@param opts {fields: stores.Path[]?, raw: boolean?}
---@return boolean
function select.takes_parts(self, definition, opts)
  if not definition or not definition.version or opts.fields == nil then return false end
  return not raw_of(self, opts)
end

-- The same of a declared table: over documents that are not past their time, brought up.
local function of_declared(self, definition, name, sql, params, opts, rows, most, places)
  sql, params = seen.alive(self, definition, sql, params)
  local slot = self:start_select(name, sql, params, opts.timeout, raw_of(self, opts), rows, most,
    places, replica_of(self, opts))
  if rows then return wait.slot(self.hub, slot) end
  if select.takes_parts(self, definition, opts) then
    return parts(definition, opts.fields, wait.slot(self.hub, slot))
  end
  return bring_up(definition, wait.slot(self.hub, slot))
end

--- Runs a statement, in which `%T` stands for the table.
---@param self stores.Store|stores.Transaction
---@param name string
---@param sql string
---@param params string[]
---@param opts {timeout: number?, raw: boolean?, read: string?, after_token: string?}
---@param rows boolean? tables by column instead of documents
---@param most integer? so many documents
---@param places boolean? of a store, documents: the place of each of them, for who merges
---@return table
---@return any ... of documents: the id of the last one, and what bindings/hub/slot.h says
function select.run(self, name, sql, params, opts, rows, most, places)
  if self.tables[name] then
    return of_declared(self, self.tables[name], name, sql, params, opts, rows, most, places)
  end
  return wait.slot(self.hub,
    self:start_select(name, sql, params, opts.timeout, raw_of(self, opts), rows, most, places,
      replica_of(self, opts)))
end

--- What a list may ask of its table, once its statement is built.
---@param self stores.Store|stores.Transaction
---@param name string
---@param opts table
---@param page stores.sql.Page
---Raises not_indexed.
function select.check(self, name, opts, page)
  local definition = self.tables[name]
  if definition then seen.check(definition, opts, page) end
end

--- The plan of a statement.
---@param self stores.Store|stores.Transaction
---@param name string
---@param sql string
---@param params string[]
---@param opts {timeout: number?}
---@param page stores.sql.Page
---@return stores.Plan
function select.plan(self, name, sql, params, opts, page)
  return explain.run(select.run, self, name, sql, params, page,
    { timeout = opts.timeout, raw = false, read = 'primary' })
end

return select
