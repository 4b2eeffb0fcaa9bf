--- The verbs that read, of a store and of a transaction. What differs between the two is primitives
--- that each of them has, start_find, start_find_many and start_select: they start a call and give
--- its slot. What each verb takes and gives: list.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local core = require('stores.core')
local errors = require('stores.errors')
local etags = require('stores.etags')
local frozen = require('stores.frozen')
local held = require('stores.verbs.held')
local ids = require('stores.ids')
local json = require('stores.json')
local pages = require('stores.sql.pages')
local query = require('stores.sql.query')
local taken = require('stores.verbs.list').taken.store
local selects = require('stores.verbs.select')
local seen = require('stores.verbs.seen')
local wait = require('stores.wait')
local walks = require('stores.verbs.walks')

local reads = {}

local check, check_table = arguments.check, arguments.check_table
local raw_of, must_find, replica_of = arguments.raw_of, arguments.must_find, arguments.replica_of

local select, plan = selects.run, selects.plan

local APART = core.APART
local SYNTAX_ERROR = '42601'
local NOTHING = {}

-- From where it may be read: false: PostgreSQL alone; 'redis': not from the memory of this process.
local function source_of(opts)
  if opts.hold == false and opts.cache ~= false then return 'redis' end
  return opts.cache
end

-- A find with options: the document with its etag, or with a lock, or of a replica.
local function find_so(self, name, id, opts)
  local unless = opts.if_none_match
  if unless ~= nil then unless = etags.check(unless, 'if_none_match') end
  local wants, definition = opts.etag or unless ~= nil, self.tables[name]
  if self.holding and not wants and not opts.lock then
    local document = held.find(self, name, id, opts)
    if document ~= false then return must_find(document, opts, name, id) end
  end
  -- whether a document is past its time only its text tells
  local known = not (definition and definition.expires) and unless or nil
  local slot, key = self:start_find(name, id, opts.timeout, source_of(opts), raw_of(self, opts),
    wants, known, opts.lock, replica_of(self, opts))
  local document, etag
  if opts.lock then
    document, etag = self:wait_for_row(name, slot, key)
  else
    document, etag = wait.slot(self.hub, slot)
  end
  if definition then
    document = seen.one(self, definition, document)
    if document == nil then etag = nil end
    if unless and etag == '"' .. unless .. '"' then document = true end
  end
  must_find(document, opts, name, id)
  if opts.shared and document ~= true then document = frozen.freeze(document) end
  if document == true then document = etags.unchanged end
  if wants then return document, etag end
  return document
end

-- A read of memory takes a third of the time that it takes to check and copy these.
local function is_shared_alone(opts)
  return type(opts) == 'table' and opts.shared == true and next(opts, next(opts)) == nil
end

-- With options, in the frame of a function that holds something, or of what is to be refused.
local function find_apart(self, name, id, opts)
  check(self, 'find')
  check_table(name)
  if opts ~= nil or self.read then
    if not (self.holding and is_shared_alone(opts)) then
      opts = check_options(opts, opts and self.takes.find)
    end
    return find_so(self, name, ids.check(id), opts)
  end
  id = ids.check(id)
  local document = wait.slot(self.hub, (self:start_find(name, id, nil, nil, self.raw)), id)
  if self.tables[name] then document = seen.one(self, self.tables[name], document) end
  return document
end

function reads:find(name, id, opts)
  if opts ~= nil or type(self) ~= 'table' or self.read then
    return find_apart(self, name, id, opts)
  end
  local holding = self.holding
  if holding and type(name) == 'string' and holding[name] then
    self:check_usable()
    local document = held.find(self, name, ids.check(id), NOTHING)
    if document ~= false then return document end
  elseif self.find_here then
    local slot, mark = self:find_here(name, id) -- starts, and waits
    if mark ~= APART then
      local document = wait.here(self.hub, id, slot, mark)
      if self.tables[name] then document = seen.one(self, self.tables[name], document) end
      return document
    end
  end
  return find_apart(self, name, id, opts)
end

function reads:exists(name, id, opts)
  check(self, 'exists')
  check_table(name)
  opts = check_options(opts, taken.exists)
  id = ids.check(id)
  local text = false
  if self.holding then text = held.text(self, name, id, opts) end
  if text == false then
    text = wait.slot(self.hub, self:start_find(name, id, opts.timeout, source_of(opts), true, nil,
      nil, nil, replica_of(self, opts)))
  end
  if self.tables[name] then text = seen.one(self, self.tables[name], text) end
  return text ~= nil
end

function reads:findAllByIds(name, list, opts)
  check(self, 'findAllByIds')
  check_table(name)
  opts = check_options(opts, taken.findAllByIds)
  local wanted = arguments.check_ids(list)
  local documents = self.holding
    and held.find_many(self, name, wanted, raw_of(self, opts), opts)
  documents = documents or wait.slot(self.hub, (self:start_find_many(name, wanted, opts.timeout,
    source_of(opts), raw_of(self, opts), replica_of(self, opts))), wanted)
  if self.tables[name] then seen.all(self, self.tables[name], documents) end
  local found, missing, met = opts.as == 'map' and {} or json.array(), json.array(), {}
  for i = 1, #wanted do
    local id, document = wanted[i], documents[i]
    if document and opts.as == 'map' then
      found[id] = document
    elseif document then
      found[#found + 1] = document
    elseif not met[id] then
      met[id] = true
      missing[#missing + 1] = id
    end
  end
  return found, missing
end

--- The documents of a list, and its cursors. One row more than the page has tells whether there is
--- another one behind it; without a limit everything comes, and there is none. A primitive of the
--- verbs that give lists, which who has several stores does otherwise.
---@param name string
---@param opts table
---@param build fun(page: stores.sql.Page?): string, string[] its statement and the parameters
---@return stores.Document[]|stores.Plan documents
---@return string? next
---@return string? previous
function reads:run_list(name, opts, build)
  if not opts.limit and not opts.after and not opts.before and not opts.explain
    and not self.tables[name] then
    local sql, params = build(nil)
    return (select(self, name, sql, params, opts))
  end
  local is_page = opts.limit ~= nil and opts.limit > 0
  -- with all its members from the beginning, for a table that grows is made several times
  local page = { table = name, has_cursors = is_page, one_more = is_page, most = false,
    order = false, back = false, group = false, contains = false }
  if selects.takes_parts(self, self.tables[name], opts) then page.whole = true end
  local sql, params = build(page)
  selects.check(self, name, opts, page)
  if opts.explain then return plan(self, name, sql, params, opts, page) end
  if not page.most then
    local documents = select(self, name, sql, params, opts)
    return page.back and pages.reverse(documents) or documents
  end
  return pages.finish(page, select(self, name, sql, params, opts, false, page.most))
end

function reads:findAll(name, opts)
  check(self, 'findAll')
  check_table(name)
  opts = check_options(opts, taken.findAll)
  return self:run_list(name, opts, function(page) return query.find_all(opts, page) end)
end

function reads:each(name, opts)
  check(self, 'each')
  check_table(name)
  opts = check_options(opts, taken.each)
  local walk = walks.new(self, name, opts)
  local batch, at, err = {}, 0, nil
  return function()
    while batch[at + 1] == nil do
      local raised = err
      err = nil
      if raised then errors.throw(raised) end
      if walk.over then return nil end
      batch, err = walks.next(self, walk)
      at = 0
    end
    at = at + 1
    return batch[at]
  end
end

-- ---- By what is in documents --------------------------------------------------------------------

function reads:findByJSON(name, doc, opts)
  check(self, 'findByJSON')
  check_table(name)
  opts = check_options(opts, taken.findByJSON)
  return self:run_list(name, opts, function(page) return query.find_by_json(doc, opts, page) end)
end

function reads:findOne(name, doc, opts)
  check(self, 'findOne')
  check_table(name)
  opts = check_options(opts, taken.findOne)
  local page = {}
  if selects.takes_parts(self, self.tables[name], opts) then page.whole = true end
  local sql, params = query.find_one(doc, opts, page)
  selects.check(self, name, opts, page)
  if opts.explain then return plan(self, name, sql, params, opts, page) end
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
  local page = {}
  local sql, params = query.count(doc, opts, page)
  selects.check(self, name, opts, page)
  if opts.explain then return plan(self, name, sql, params, opts, page) end
  return select(self, name, sql, params, opts, true)[1].n
end

function reads:findByJsonArrayContains(name, key, value, opts)
  check(self, 'findByJsonArrayContains')
  check_table(name)
  opts = check_options(opts, taken.findByJsonArrayContains)
  return self:run_list(name, opts, function(page)
    return query.array_contains(key, value, opts, page)
  end)
end

function reads:findByJsonSubContains(name, key, doc, opts)
  check(self, 'findByJsonSubContains')
  check_table(name)
  opts = check_options(opts, taken.findByJsonSubContains)
  return self:run_list(name, opts, function(page)
    return query.sub_contains(key, doc, opts, page)
  end)
end

function reads:findByPath(name, path, vars, opts)
  check(self, 'findByPath')
  check_table(name)
  opts = check_options(opts, taken.findByPath)
  local function build(page) return query.by_path(path, vars, opts, page) end
  local results = { pcall(self.run_list, self, name, opts, build) }
  if results[1] then return unpack(results, 2, 4) end
  local err = results[2]
  if errors.is(err, 'query_failed') and err.sqlstate == SYNTAX_ERROR then
    err = errors.of_caller(err) -- of the path: the statement is ours
  end
  errors.throw(err)
end

return reads
