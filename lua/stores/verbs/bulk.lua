--- The verbs over many rows, of a store and of a transaction. What each takes and gives: list.lua.

local arguments = require('stores.verbs.arguments')
local check_options = require('stores.config.call').check
local each = require('stores.verbs.bulk.each')
local errors = require('stores.errors')
local json = require('stores.json')
local put = require('stores.verbs.bulk.put')
local source = require('stores.verbs.bulk.source')
local seen = require('stores.verbs.seen')
local sql = require('stores.verbs.bulk.sql')
local taken = require('stores.verbs.list').taken.store
local wait = require('stores.wait')

local bulk = {}

local check, check_table = arguments.check, arguments.check_table

-- Whether all chunks are one transaction.
local function is_whole(self, opts)
  if not self.store then
    if opts.transaction == nil then return self.transactional end
    return opts.transaction
  end
  if opts.transaction == false then
    errors.raise('invalid_option', "inside of a transaction there is no 'transaction = false'")
  end
  return true
end

-- ---- Storing ------------------------------------------------------------------------------------

-- Ids have the time of the server's clock, which the first connection tells.
local function meet(self, opts)
  local store = self.store or self
  if store.engine:met() then return end
  local most = opts.timeout
  if store ~= self then most = math.min(most or math.huge, self:rest_of_it()) end
  wait.slot(store.hub, store.engine:meet(most))
end

local function reset(work)
  work.counts.inserted, work.counts.replaced, work.counts.ignored = 0, 0, 0
end

local function new_work(self, name, records, conflict, opts)
  local is_list = type(records) == 'table'
  local work = { name = name, conflict = conflict, opts = opts, definition = self.tables[name],
    results = json.array(), etags = opts.etag and json.array() or nil, counts = {},
    keeps = is_list, -- of what a function gives nothing is kept
    -- what a function gave once it does not give again
    retries = not is_list and 0 or nil, made = {} }
  reset(work)
  return work
end

local function tell(work, count, after)
  if work.opts.progress then work.opts.progress(count, after) end
end

local function take_all_back(work)
  for _, chunk in ipairs(work.made) do source.take_back(chunk) end
  work.made = {}
end

local function store_all(tx, work)
  reset(work)
  take_all_back(work) -- of an attempt before this one
  local from = work.begin()
  local first = from.index
  while true do
    local chunk = from:chunk()
    if not chunk then return end
    if work.keeps and next(chunk.made) then
      work.made[#work.made + 1] = { made = chunk.made, records = chunk.records }
    end
    put.note(work, chunk, put.chunk(tx, work, chunk))
    tell(work, from.index - first, from.index)
  end
end

local function store_one(tx, work)
  return { put.chunk(tx, work, work.chunk) }
end

-- What is committed stays: an error says how much that is.
local function stopped(err, count, after)
  if errors.is(err) then err.count, err.after = count, after end
  errors.throw(err)
end

local function store_each(self, work)
  local from = work.begin()
  local first = from.index
  work.retries = nil -- a chunk can be sent again
  while true do
    local before = from.index
    local ok, chunk = pcall(from.chunk, from)
    if not ok then stopped(chunk, before - first, before) end
    if not chunk then return end
    work.chunk = chunk
    local stored, result = pcall(self.in_lock, self, store_one, work)
    if not stored then
      if errors.is(result) and result.outcome == 'none' then source.take_back(chunk) end
      stopped(result, before - first, before)
    end
    put.note(work, chunk, result[1], result[2])
    tell(work, from.index - first, from.index)
  end
end

-- A list can be gone through again: each attempt has it from its beginning.
local function beginner(self, name, records, opts, keep_last)
  local made = source.new(self, name, records, opts, keep_last)
  return function()
    local this = made
    if this then
      made = nil
      return this
    end
    return source.new(self, name, records, opts, keep_last)
  end
end

local function store_many(self, name, records, conflict, opts)
  local work = new_work(self, name, records, conflict, opts)
  local whole = is_whole(self, opts)
  work.begin = beginner(self, name, records, opts, conflict == 'replace')
  meet(self, opts)
  if not whole then
    store_each(self, work)
  else
    local ok, err = pcall(self.in_lock, self, store_all, work)
    if not ok then
      if not errors.is(err) or err.outcome == 'none' then take_all_back(work) end
      errors.throw(err)
    end
  end
  return work.results, work.counts, work.etags
end

function bulk:insertMany(name, records, opts)
  check(self, 'insertMany')
  check_table(name)
  opts = check_options(opts, taken.insertMany)
  return store_many(self, name, records, opts.conflict or 'fail', opts)
end

function bulk:upsertMany(name, records, opts)
  check(self, 'upsertMany')
  check_table(name)
  opts = check_options(opts, taken.upsertMany)
  return store_many(self, name, records, 'replace', opts)
end

-- ---- Deleting -----------------------------------------------------------------------------------

local function delete_chunk(tx, work)
  local list = {}
  for i = work.at + 1, math.min(work.at + work.size, #work.ids) do list[#list + 1] = work.ids[i] end
  local condition = seen.condition(tx, work.definition)
  local text, params = sql.delete(list, condition)
  local run = condition and put.run or put.run_all
  local _, gone = run(tx, 'delete', work.name, list, text, params, work.opts.timeout)
  return gone
end

local function note_deleted(work, gone)
  local set = {}
  for i = 1, #gone do set[gone[i]] = true end
  local stop = math.min(work.at + work.size, #work.ids)
  for i = work.at + 1, stop do
    local id = work.ids[i]
    work.deleted[i] = set[id] or false
    set[id] = nil -- an id that is there twice has no row the second time
  end
  work.count, work.at = work.count + #gone, stop
  tell(work, work.at - work.first, work.at)
end

local function delete_all(tx, work)
  work.at, work.count = work.first, 0
  while work.at < #work.ids do note_deleted(work, delete_chunk(tx, work)) end
end

local function delete_each(self, work)
  while work.at < #work.ids do
    local ok, gone = pcall(self.in_lock, self, delete_chunk, work)
    if not ok then stopped(gone, work.at - work.first, work.at) end
    note_deleted(work, gone)
  end
end

function bulk:deleteMany(name, list, opts)
  check(self, 'deleteMany')
  check_table(name)
  opts = check_options(opts, taken.deleteMany)
  local first = source.after(opts)
  local work = { name = name, ids = source.ids(self, list), opts = opts,
    definition = self.tables[name], size = opts.batch or source.ROWS, first = first, at = first,
    count = 0, deleted = json.array() }
  for i = 1, math.min(first, #work.ids) do work.deleted[i] = false end
  if is_whole(self, opts) then
    self:in_lock(delete_all, work)
  else
    delete_each(self, work)
  end
  return work.deleted, work.count
end

-- ---- Changing -----------------------------------------------------------------------------------

function bulk:updateEach(name, doc, fn, opts)
  check(self, 'updateEach')
  check_table(name)
  arguments.check_function(fn, 'updateEach')
  return each.update(self, name, doc, fn, check_options(opts, taken.updateEach))
end

return bulk
