--- The verbs that change all rows that meet criteria, of a store and of a transaction. They are one
--- statement, whose rows nobody knows beforehand, but before COMMIT: what it gives is told to the
--- cache. What each verb takes and gives: list.lua.

local arguments = require('stores.verbs.arguments')
local changes = require('stores.sql.changes')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local guarded = require('stores.verbs.guarded')
local json = require('stores.json')
local put = require('stores.verbs.bulk.put')
local select = require('stores.verbs.select')
local seen = require('stores.verbs.seen')
local taken = require('stores.verbs.list').taken.store

local many = {}

local check, check_table = arguments.check, arguments.check_table

local function change(tx, work)
  local _, ids = put.run(tx, work.kind, work.name, {}, work.sql, work.params, work.opts.timeout)
  tx:hold_rows(work.name, ids)
  return ids
end

-- Runs a change, and gives the ids of its rows.
local function run(self, kind, name, sql, params, opts, page)
  select.check(self, name, opts, page)
  if opts.explain then return select.plan(self, name, sql, params, opts, page) end
  local ok, ids = pcall(self.in_lock, self, change, { kind = kind, name = name, sql = sql,
    params = params, opts = opts })
  if ok then return json.array(ids) end
  if self.tables[name] then self.tables[name]:explain(ids) end
  errors.throw(ids)
end

function many:patchWhere(name, doc, spec, opts)
  check(self, 'patchWhere')
  check_table(name)
  opts = check_options(opts, taken.patchWhere)
  if self.tables[name] then guarded.check_many(self.tables[name]) end
  local page = {}
  local sql, params = changes.patch(doc, spec, opts, page)
  return run(self, 'update', name, sql, params, opts, page)
end

function many:deleteWhere(name, doc, opts)
  check(self, 'deleteWhere')
  check_table(name)
  opts = check_options(opts, taken.deleteWhere)
  local page = {}
  local sql, params = changes.delete(doc, opts, page, seen.condition(self, self.tables[name]))
  return run(self, 'delete', name, sql, params, opts, page)
end

return many
