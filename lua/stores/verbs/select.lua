--- A statement over one table that only reads, and its plan where a call asks for that instead.

local explain = require('stores.sql.explain')
local raw_of = require('stores.verbs.arguments').raw_of
local wait = require('stores.wait')

local select = {}

--- Runs a statement, in which `%T` stands for the table.
---@param self stores.Store|stores.Transaction
---@param name string
---@param sql string
---@param params string[]
---@param opts {timeout: number?, raw: boolean?}
---@param rows boolean? tables by column instead of documents
---@param most integer? so many documents
---@return table
---@return any ... of documents: the id of the last one, and what bindings/hub/slot.h says
function select.run(self, name, sql, params, opts, rows, most)
  return wait.slot(self.hub,
    self:start_select(name, sql, params, opts.timeout, raw_of(self, opts), rows, most))
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
    { timeout = opts.timeout, raw = false })
end

return select
