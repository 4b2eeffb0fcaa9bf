--- The verbs that a Store and a transaction share. What differs between them is four primitives
--- that each of them has: start_find, start_find_many, start_write, start_select; all start a call
--- and give its slot.

local config = require('stores.config.tables')
local errors = require('stores.errors')
local ids = require('stores.ids')
local modify = require('stores.sql.modify')
local query = require('stores.sql.query')
local wait = require('stores.wait')

---@class stores.CriteriaOptions
---@field timeout number? seconds
---@field raw boolean? the JSON texts
---@field limit integer? rows at most
---@field after string? an id: only rows behind it, in the order of the call
---@field order any 'asc' or 'desc' by id, {name}, {name, 'desc'}, {{path}, 'desc'}
---@field all boolean? criteria that match every row are meant

---@class stores.Verbs
local Verbs = {}

local READ = config.allow('timeout', 'cache', 'raw', 'must')
local READ_MANY = config.allow('timeout', 'cache', 'raw', 'as')
local WRITE = config.allow('timeout', 'cache')
local FOUND = config.allow('timeout', 'cache', 'must')
local CHANGE = config.allow('timeout', 'cache', 'raw', 'must')
local LIST = config.allow('timeout', 'raw', 'limit', 'after', 'order')
local CRITERIA = config.allow('timeout', 'raw', 'limit', 'after', 'order', 'all')
local PATH = config.allow('timeout', 'raw', 'limit', 'after', 'order', 'all', 'predicate')
local ONE = config.allow('timeout', 'raw', 'order', 'all', 'must')
local COUNT = config.allow('timeout', 'all')
local EXISTS = config.allow('timeout', 'cache')
local EACH = config.allow('timeout', 'raw', 'batch', 'after')

local GENERATED_TRIES = 5
local SYNTAX_ERROR = '42601'

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

--- The store (or transaction) itself, or an error for `store.find(...)` with a dot.
local function check(self, verb)
  if type(self) ~= 'table' or not self.is_stores_target then
    refuse('call it with a colon: store:%s(...)', verb)
  end
  self:check_usable()
end

local function check_table(name)
  if type(name) ~= 'string' then
    errors.raise('invalid_table', 'a table name is a string, got ' .. errors.kind(name))
  end
end

local function raw_of(self, opts)
  if opts.raw == nil then return self.raw end
  return opts.raw
end

local function must_find(value, opts, name, id)
  if value == nil and opts.must then
    errors.raise('not_found', ('%s has no row %s'):format(name, id), { table = name })
  end
  return value
end

--- Finds a document by its id, in the cache first.
---@param name string the table
---@param id string
---@param opts? {timeout: number, cache: boolean, raw: boolean, must: boolean}
---@return table|string|nil document nil: no row has the id (raises not_found with must)
function Verbs:find(name, id, opts)
  check(self, 'find')
  check_table(name)
  opts = config.call(opts, READ)
  id = ids.check(id)
  local document = wait.slot(self.hub,
    self:start_find(name, id, opts.timeout, opts.cache, raw_of(self, opts)))
  return must_find(document, opts, name, id)
end

--- Whether a row has the id; in the cache first.
---@param name string
---@param id string
---@param opts? {timeout: number, cache: boolean}
---@return boolean
function Verbs:exists(name, id, opts)
  check(self, 'exists')
  check_table(name)
  opts = config.call(opts, EXISTS)
  return wait.slot(self.hub,
    self:start_find(name, ids.check(id), opts.timeout, opts.cache, true)) ~= nil
end

-- The ids of an array. A gap or a name in it is refused: what it hides would read as "not asked".
local function check_ids(list)
  if type(list) ~= 'table' then refuse('the ids must be an array, got %s', errors.kind(list)) end
  local wanted, count = {}, 0
  for key in pairs(list) do
    if type(key) ~= 'number' then
      refuse("the ids must be an array, it has the key '%s'", tostring(key):sub(1, 60))
    end
    count = count + 1
  end
  for i = 1, count do
    if list[i] == nil then refuse('the array of ids has a gap at %d', i) end
    wanted[i] = ids.check(list[i])
  end
  return wanted
end

--- Finds documents by their ids: those that are there, in the order of the ids (an id asked twice
--- comes twice), then the ids that are not. With as = 'map': a table by id, then the same.
---@param name string
---@param list string[]
---@param opts? {timeout: number, cache: boolean, raw: boolean, as: 'array'|'map'}
---@return table documents
---@return string[] missing
function Verbs:findAllByIds(name, list, opts)
  check(self, 'findAllByIds')
  check_table(name)
  opts = config.call(opts, READ_MANY)
  local wanted = check_ids(list)
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

--- Every document of a table, ordered by id.
---@param name string
---@param opts? {timeout: number, raw: boolean, limit: integer, after: string, order: any}
---@return table[] documents
function Verbs:findAll(name, opts)
  check(self, 'findAll')
  check_table(name)
  opts = config.call(opts, LIST)
  local sql, params = query.find_all(opts)
  return (select(self, name, sql, params, opts))
end

-- The batch behind an id. Where a row of it cannot be given: those before it, and its error.
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

--- Iterates over the documents of a table in order of id, in batches:
--- for doc in store:each('users'). Where the value of a row cannot be read, its error is raised in
--- its turn; who calls the iterator again gets the rows behind it.
---@param name string
---@param opts? {timeout: number, raw: boolean, batch: integer, after: string} timeout: of a batch
---@return fun(): table?
function Verbs:each(name, opts)
  check(self, 'each')
  check_table(name)
  opts = config.call(opts, EACH)
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

--- Documents that contain doc, in the sense of PostgreSQL's @>, ordered by id.
---@param name string
---@param doc table
---@param opts? stores.CriteriaOptions
---@return table[]
function Verbs:findByJSON(name, doc, opts)
  check(self, 'findByJSON')
  check_table(name)
  opts = config.call(opts, CRITERIA)
  local sql, params = query.find_by_json(doc, opts)
  return (select(self, name, sql, params, opts))
end

--- The first document that contains doc, or nil.
---@param name string
---@param doc table
---@param opts? {timeout: number, raw: boolean, order: any, all: boolean, must: boolean}
---@return table?
function Verbs:findOne(name, doc, opts)
  check(self, 'findOne')
  check_table(name)
  opts = config.call(opts, ONE)
  local sql, params = query.find_one(doc, opts)
  local document = select(self, name, sql, params, opts)[1]
  if document == nil and opts.must then
    errors.raise('not_found', name .. ' has no such row', { table = name })
  end
  return document
end

--- How many rows there are, or how many contain doc.
---@param name string
---@param doc? table
---@param opts? {timeout: number, all: boolean}
---@return integer
function Verbs:count(name, doc, opts)
  check(self, 'count')
  check_table(name)
  opts = config.call(opts, COUNT)
  local sql, params = query.count(doc, opts)
  return select(self, name, sql, params, opts, true)[1].n
end

--- Documents whose array at key (a name, or a path of names) contains value.
---@param name string
---@param key string|string[]
---@param value any
---@param opts? stores.CriteriaOptions
---@return table[]
function Verbs:findByJsonArrayContains(name, key, value, opts)
  check(self, 'findByJsonArrayContains')
  check_table(name)
  opts = config.call(opts, CRITERIA)
  local sql, params = query.array_contains(key, value, opts)
  return (select(self, name, sql, params, opts))
end

--- Documents whose object at key (a name, or a path of names) contains doc.
---@param name string
---@param key string|string[]
---@param doc table
---@param opts? stores.CriteriaOptions
---@return table[]
function Verbs:findByJsonSubContains(name, key, doc, opts)
  check(self, 'findByJsonSubContains')
  check_table(name)
  opts = config.call(opts, CRITERIA)
  local sql, params = query.sub_contains(key, doc, opts)
  return (select(self, name, sql, params, opts))
end

--- Documents that an SQL/JSON path finds something in (@?), or with predicate = true those for
--- which it is true (@@). Variables of the path are written into it as literals.
---@param name string
---@param path string
---@param vars? table<string, any>
---@param opts? stores.CriteriaOptions and predicate: boolean
---@return table[]
function Verbs:findByPath(name, path, vars, opts)
  check(self, 'findByPath')
  check_table(name)
  opts = config.call(opts, PATH)
  local sql, params = query.by_path(path, vars, opts)
  local ok, documents = pcall(select, self, name, sql, params, opts)
  if ok then return documents end
  if errors.is(documents, 'query_failed') and documents.sqlstate == SYNTAX_ERROR then
    documents = errors.of_caller(documents) -- of the path: the statement is ours
  end
  error(documents, 0)
end

local function write(self, kind, name, id, doc, opts, expr, params)
  return wait.slot(self.hub, self:start_write(kind, name, id, doc, opts.timeout, opts.cache,
    raw_of(self, opts), expr, params))
end

local function check_record(record)
  if type(record) ~= 'table' then
    errors.raise('invalid_document', 'a record is a table, got ' .. errors.kind(record))
  end
end

local function record_id(record, verb)
  if record.id == nil then
    errors.raise('invalid_id', ('the record has no id: %s needs one'):format(verb))
  end
  return ids.check(record.id)
end

-- Takes an id that was made here out of a record that was not stored. Where nobody knows whether it
-- was, the id stays: it is the only way to find out.
local function take_back(record, err)
  if errors.is(err) and err.outcome == 'none' then record.id = nil end
end

-- An id that is made here has the time of the server's clock, which all processes share. The first
-- connection tells it, and the write needs one anyway. Gives the options with what is left of the
-- call's time.
local function meet(self, opts)
  local store = self.store or self
  if store.engine:met() then return opts end
  local before, most = store.hub:now(), opts.timeout
  if store ~= self then most = math.min(most or math.huge, self:rest_of_it()) end
  wait.slot(store.hub, store.engine:meet(most))
  if not opts.timeout and store ~= self then return opts end -- the transaction's own deadline
  local left = (opts.timeout or store.timeout) - (store.hub:now() - before)
  return { cache = opts.cache, timeout = math.max(left, 0.001) }
end

--- Inserts a record, which gets an id where it has none. Raises duplicate where the id is taken.
---@param name string
---@param record table
---@param opts? {timeout: number, cache: boolean}
---@return table record the same table, its id set
function Verbs:insert(name, record, opts)
  check(self, 'insert')
  check_table(name)
  check_record(record)
  opts = config.call(opts, WRITE)
  local given = record.id ~= nil
  if not given then opts = meet(self, opts) end
  for try = 1, GENERATED_TRIES do
    local id = given and ids.check(record.id) or self:generateId()
    record.id = id
    local ok, err, _, _, moved = pcall(write, self, 'insert', name, id, record, opts)
    if ok then
      if moved then record.id = moved end
      return record
    end
    -- an id that was made here and is taken is drawn again; everything else is the caller's
    if given or try == GENERATED_TRIES or not errors.is(err, 'duplicate') or err.constraint then
      if not given then take_back(record, err) end
      error(err, 0)
    end
  end
end

--- Replaces the document of a row.
---@param name string
---@param record table with its id
---@param opts? {timeout: number, cache: boolean, must: boolean}
---@return boolean found false where no row has the id
function Verbs:update(name, record, opts)
  check(self, 'update')
  check_table(name)
  check_record(record)
  opts = config.call(opts, FOUND)
  local id = record_id(record, 'update')
  record.id = id
  local found, _, _, moved = write(self, 'update', name, id, record, opts)
  if moved then record.id = moved end
  must_find(found or nil, opts, name, id)
  return found
end

--- Inserts a record, or replaces the document of the row that has its id.
---@param name string
---@param record table gets an id where it has none
---@param opts? {timeout: number, cache: boolean}
---@return table record the same table
---@return boolean inserted
function Verbs:upsert(name, record, opts)
  check(self, 'upsert')
  check_table(name)
  check_record(record)
  opts = config.call(opts, WRITE)
  -- an id that is made here is new: where somebody else made it too, his row is not replaced
  if record.id == nil then return self:insert(name, record, opts), true end
  local id = ids.check(record.id)
  record.id = id
  local _, inserted, _, moved = write(self, 'upsert', name, id, record, opts)
  if moved then record.id = moved end
  return record, inserted
end

--- Sets one value of a document, on the server, in one statement. Parents that are missing or null
--- are made; another value in their place raises path_blocked.
---@param name string
---@param id string
---@param key string|string[] a literal name, or a path of names
---@param value any json.null for null
---@param opts? {timeout: number, cache: boolean, raw: boolean, must: boolean}
---@return table? document as it is now; nil where no row has the id
function Verbs:updateProperty(name, id, key, value, opts)
  check(self, 'updateProperty')
  check_table(name)
  opts = config.call(opts, CHANGE)
  id = ids.check(id)
  local expr, params = modify.property(key, value)
  local _, _, document = write(self, 'modify', name, id, nil, opts, expr, params)
  return must_find(document, opts, name, id)
end

--- Changes a document on the server, in one statement: set, inc, append, remove, merge, in this
--- order.
---@param name string
---@param id string
---@param spec {set: table?, inc: table?, append: table?, remove: table?, merge: table?}
---@param opts? {timeout: number, cache: boolean, raw: boolean, must: boolean}
---@return table? document as it is now; nil where no row has the id
function Verbs:patch(name, id, spec, opts)
  check(self, 'patch')
  check_table(name)
  opts = config.call(opts, CHANGE)
  id = ids.check(id)
  local expr, params = modify.patch(spec, id)
  local _, _, document = write(self, 'modify', name, id, nil, opts, expr, params)
  return must_find(document, opts, name, id)
end

--- Deletes a row.
---@param name string
---@param id string
---@param opts? {timeout: number, cache: boolean, must: boolean}
---@return boolean found
function Verbs:delete(name, id, opts)
  check(self, 'delete')
  check_table(name)
  opts = config.call(opts, FOUND)
  id = ids.check(id)
  local found = write(self, 'delete', name, id, nil, opts)
  must_find(found or nil, opts, name, id)
  return found
end

return Verbs
