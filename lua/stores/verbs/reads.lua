--- The verbs that read, of a store and of a transaction. What differs between the two is primitives
--- that each of them has, start_find, start_find_many and start_select: they start a call and give
--- its slot. What each verb takes and gives: list.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local errors = require('stores.errors')
local ids = require('stores.ids')
local query = require('stores.sql.query')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')

local reads = {}

local check, check_table = arguments.check, arguments.check_table
local raw_of, must_find = arguments.raw_of, arguments.must_find

local SYNTAX_ERROR = '42601'

function reads:find(name, id, opts)
  check(self, 'find')
  check_table(name)
  opts = check_options(opts, taken.find)
  id = ids.check(id)
  local document = wait.slot(self.hub,
    self:start_find(name, id, opts.timeout, opts.cache, raw_of(self, opts)))
  return must_find(document, opts, name, id)
end

function reads:exists(name, id, opts)
  check(self, 'exists')
  check_table(name)
  opts = check_options(opts, taken.exists)
  return wait.slot(self.hub,
    self:start_find(name, ids.check(id), opts.timeout, opts.cache, true)) ~= nil
end

function reads:findAllByIds(name, list, opts)
  check(self, 'findAllByIds')
  check_table(name)
  opts = check_options(opts, taken.findAllByIds)
  local wanted = arguments.check_ids(list)
  local documents = wait.slot(self.hub,
    self:start_find_many(name, wanted, opts.timeout, opts.cache, raw_of(self, opts)))
  local found, missing, seen = {}, {}, {}
  for i = 1, #wanted do
    local id, document = wanted[i], documents[i]
    if document and opts.as == 'map' then
      found[id] = document
    elseif document then
      found[#found + 1] = document
    elseif not seen[id] then
      seen[id] = true
      missing[#missing + 1] = id
    end
  end
  return found, missing
end

local function select(self, name, sql, params, opts, rows)
  return wait.slot(self.hub,
    self:start_select(name, sql, params, opts.timeout, raw_of(self, opts), rows))
end

function reads:findAll(name, opts)
  check(self, 'findAll')
  check_table(name)
  opts = check_options(opts, taken.findAll)
  local sql, params = query.find_all(opts)
  return (select(self, name, sql, params, opts))
end

-- The batch behind an id. Where the value of a row cannot be read: those before it, and its error,
-- which is raised in its turn; who calls the iterator again gets the rows behind it.
local function next_batch(self, name, after, size, opts)
  local sql, params = query.each_batch(after, size)
  local ok, batch, last = pcall(select, self, name, sql, params, opts)
  if ok then return batch, last, #batch < size end
  local err = batch
  if not errors.is(err) or not err.index or err.row == 'NULL' then error(err, 0) end
  if err.index == 1 then return {}, err.row, false, err end
  sql, params = query.each_batch(after, err.index - 1)
  return select(self, name, sql, params, opts), err.row, false, err
end

function reads:each(name, opts)
  check(self, 'each')
  check_table(name)
  opts = check_options(opts, taken.each)
  local size = opts.batch or 500
  local after, batch, at, over, err = opts.after, {}, 0, false, nil
  query.each_batch(after, size) -- what is wrong is said here, and not in the middle of a loop
  return function()
    while batch[at + 1] == nil do
      local raised = err
      err = nil
      if raised then error(raised, 0) end
      if over then return nil end
      batch, after, over, err = next_batch(self, name, after, size, opts)
      at = 0
    end
    at = at + 1
    return batch[at]
  end
end

function reads:findByJSON(name, doc, opts)
  check(self, 'findByJSON')
  check_table(name)
  opts = check_options(opts, taken.findByJSON)
  local sql, params = query.find_by_json(doc, opts)
  return (select(self, name, sql, params, opts))
end

function reads:findOne(name, doc, opts)
  check(self, 'findOne')
  check_table(name)
  opts = check_options(opts, taken.findOne)
  local sql, params = query.find_one(doc, opts)
  local document = select(self, name, sql, params, opts)[1]
  if document == nil and opts.must then
    errors.raise('not_found', name .. ' has no such row', { table = name })
  end
  return document
end

function reads:count(name, doc, opts)
  check(self, 'count')
  check_table(name)
  opts = check_options(opts, taken.count)
  local sql, params = query.count(doc, opts)
  return select(self, name, sql, params, opts, true)[1].n
end

function reads:findByJsonArrayContains(name, key, value, opts)
  check(self, 'findByJsonArrayContains')
  check_table(name)
  opts = check_options(opts, taken.findByJsonArrayContains)
  local sql, params = query.array_contains(key, value, opts)
  return (select(self, name, sql, params, opts))
end

function reads:findByJsonSubContains(name, key, doc, opts)
  check(self, 'findByJsonSubContains')
  check_table(name)
  opts = check_options(opts, taken.findByJsonSubContains)
  local sql, params = query.sub_contains(key, doc, opts)
  return (select(self, name, sql, params, opts))
end

function reads:findByPath(name, path, vars, opts)
  check(self, 'findByPath')
  check_table(name)
  opts = check_options(opts, taken.findByPath)
  local sql, params = query.by_path(path, vars, opts)
  local ok, documents = pcall(select, self, name, sql, params, opts)
  if ok then return documents end
  if errors.is(documents, 'query_failed') and documents.sqlstate == SYNTAX_ERROR then
    documents = errors.of_caller(documents) -- of the path: the statement is ours
  end
  error(documents, 0)
end

return reads
