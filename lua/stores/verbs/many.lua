--- The verbs that change all rows that meet criteria, of a store and of a transaction. They are one
--- statement, whose rows nobody knows beforehand: the cache forgets the whole table, as it does
--- after a query that writes. What differs between the two is the primitive run_change. What each
--- verb takes and gives: list.lua.

local arguments = require('stores.verbs.arguments')
local changes = require('stores.sql.changes')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local guarded = require('stores.verbs.guarded')
local json = require('stores.json')
local names = require('stores.tables.names')
local select = require('stores.verbs.select')
local seen = require('stores.verbs.seen')
local taken = require('stores.verbs.list').taken.store

local many = {}

local check, check_table = arguments.check, arguments.check_table

-- Runs a change, in which %T stands outside of quotes alone, and gives the ids of its rows.
local function run(self, name, sql, params, opts, page)
  select.check(self, name, opts, page)
  if opts.explain then return select.plan(self, name, sql, params, opts, page) end
  local quoted = names.sql(name)
  sql = sql:gsub('%%T', function() return quoted end, 1)
  local ok, rows = pcall(self.run_change, self, name, sql, params, opts.timeout)
  if not ok then
    if self.tables[name] then self.tables[name]:explain(rows) end
    errors.throw(rows)
  end
  local ids = json.array()
  for i, row in ipairs(rows) do ids[i] = row.id end
  return ids
end

function many:patchWhere(name, doc, spec, opts)
  check(self, 'patchWhere')
  check_table(name)
  opts = check_options(opts, taken.patchWhere)
  if self.tables[name] then guarded.check_many(self.tables[name]) end
  local page = {}
  local sql, params = changes.patch(doc, spec, opts, page)
  return run(self, name, sql, params, opts, page)
end

function many:deleteWhere(name, doc, opts)
  check(self, 'deleteWhere')
  check_table(name)
  opts = check_options(opts, taken.deleteWhere)
  local page = {}
  local sql, params = changes.delete(doc, opts, page, seen.condition(self, self.tables[name]))
  return run(self, name, sql, params, opts, page)
end

return many
