--- updateEach: every document that meets criteria is changed by a function of Lua, batch by batch.
--- A batch is looked up, then locked and looked at again in one transaction with what is stored.

local core = require('stores.core')
local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local ids = require('stores.ids')
local json = require('stores.json')
local put = require('stores.verbs.bulk.put')
local query = require('stores.sql.query')
local seen = require('stores.verbs.seen')
local select = require('stores.verbs.select')
local sql = require('stores.verbs.bulk.sql')
local wait = require('stores.wait')

local each = {}

local BATCH = 500

-- The rows of the batch behind an id.
local function look(self, walk)
  local page = { only_places = true }
  local text, params = query.each_batch(walk.last, walk.size, walk.criteria, page)
  select.check(self, walk.name, walk.criteria, page)
  if walk.definition then text, params = seen.alive(self, walk.definition, text, params) end
  local rows = wait.slot(self.hub, self:start_select(walk.name, text, params, walk.opts.timeout,
    false, true))
  local list = {}
  for i = 1, #rows do list[i] = rows[i].row_id end
  return list
end

-- What the function makes of a row; nil: it is left as it is.
local function change(tx, walk, row)
  local document, old, definition = row, nil, walk.definition
  if definition then
    document, old = documents.to_change(definition, row, seen.now(tx))
    if document == nil then return nil end
  end
  local id = row.id
  local result = walk.fn(document)
  if result == nil then result = document end
  if result == false then return nil end
  if type(result) ~= 'table' or json.is_array(result) then
    errors.raise('invalid_document',
      'the function of updateEach returns a document, false, or nothing; got '
      .. errors.kind(result))
  end
  if result.id == nil then result.id = id end
  if ids.parse(result.id) ~= id then
    errors.raise('id_mismatch', 'the function changed the id of the document')
  end
  result.id = id
  if definition then documents.check(definition, result, old) end
  return id, json.encode(result)
end

-- To lock what is behind a view counts as writing.
local function lock_as_write(tx, walk, text, params)
  local _, list, values = put.run(tx, 'update', walk.name, walk.list, text, params,
    walk.opts.timeout)
  local rows, at = {}, {}
  for i = 1, #list do
    local document = values[i] and json.decode(values[i])
    if type(document) ~= 'table' or json.is_array(document) then
      errors.raise('not_a_document', ('the value of the row %s is not an object'):format(list[i]),
        { row = list[i] })
    end
    document.id = list[i]
    at[list[i]] = document
  end
  for _, id in ipairs(walk.list) do rows[#rows + 1] = at[id] end
  return rows
end

local function lock(tx, walk)
  local condition, params = query.condition(query.containment(walk.doc, walk.opts), walk.opts)
  local writes = core.spread(tx.store.engine, walk.name) ~= nil
  local text, all = sql.lock(walk.list, condition ~= '' and condition or nil, params, writes)
  if writes then return lock_as_write(tx, walk, text, all) end
  if walk.plain == nil then put.ask_kind(tx, walk) end
  if not walk.plain then return lock_as_write(tx, walk, text, all) end
  tx:hold_rows(walk.name, walk.list)
  return (wait.slot(tx.hub, tx:start_select(walk.name, text, all, walk.opts.timeout, false)))
end

local function update_batch(tx, walk)
  local rows = lock(tx, walk)
  local list, texts = {}, {}
  for i = 1, #rows do
    local id, changed = change(tx, walk, rows[i])
    if id then list[#list + 1], texts[#texts + 1] = id, changed end
  end
  if #list == 0 then return 0 end
  local update, given = sql.update('[' .. table.concat(texts, ',') .. ']')
  local ok, count = pcall(put.run, tx, 'update', walk.name, list, update, given, walk.opts.timeout)
  if ok then return count end
  if walk.definition then walk.definition:explain(count) end
  errors.throw(count)
end

local function stopped(walk, err)
  if errors.is(err) then err.count, err.after = walk.count, walk.last end
  errors.throw(err)
end

local function new_walk(self, name, doc, fn, opts)
  query.containment(doc, opts) -- what is wrong with the criteria is said at once
  local empty = type(doc) == 'table' and next(doc) == nil
  local where = opts.where
  if type(where) == 'table' and next(where) == nil then where = nil end
  return { name = name, doc = doc, fn = fn, opts = opts, definition = self.tables[name],
    size = opts.batch or BATCH, last = opts.after, count = 0, list = nil,
    criteria = { where = where, contains = not empty and doc or nil } }
end

--- Changes one batch of all documents of a table, in a transaction of the caller's.
---@param tx stores.Transaction
---@param name string
---@param fn fun(document: table): (table|false|nil)
---@param opts {batch: integer, after: string?, timeout: number?}
---@return integer count of the rows that it looked at
---@return string? last the id of the last of them
function each.batch(tx, name, fn, opts)
  local walk = new_walk(tx, name, {}, fn, { batch = opts.batch, after = opts.after, all = true,
    timeout = opts.timeout })
  walk.list = look(tx, walk)
  if #walk.list > 0 then update_batch(tx, walk) end
  return #walk.list, walk.list[#walk.list]
end

--- Changes the documents. Who is interrupted goes on behind the id in the error's `after`.
---@param self stores.Store|stores.Transaction
---@param name string
---@param doc table?
---@param fn fun(document: table): (table|false|nil)
---@param opts table
---@return integer count
---@return string? last
---Raises empty_criteria and what the function raises.
function each.update(self, name, doc, fn, opts)
  local walk = new_walk(self, name, doc, fn, opts)
  while true do
    local ok, list = pcall(look, self, walk)
    if not ok then stopped(walk, list) end
    walk.list = list
    if #list > 0 then
      local done, count = pcall(self.in_lock, self, update_batch, walk)
      if not done then stopped(walk, count) end
      walk.count, walk.last = walk.count + count, list[#list]
      if opts.progress then opts.progress(walk.count, walk.last) end
    end
    if #list < walk.size then return walk.count, walk.last end
    if opts.pause then wait.slot(self.hub, self.hub:sleep(opts.pause)) end
  end
end

return each
