--- Records on their way into a table: a list, or a function that gives one at each call, taken
--- chunk by chunk, so that no more than a chunk of them is held as text.

local arguments = require('stores.verbs.arguments')
local configs = require('stores.config.made')
local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local ids = require('stores.ids')
local json = require('stores.json')
local strategy = require('stores.config.strategy')

local source = {}

---@class stores.bulk.Chunk
---@field first integer the place of its first record among all
---@field count integer
---@field ids string[] of its rows; a record that names one again is none of them
---@field texts string[] their documents
---@field places table<string, integer> where in both an id is
---@field records table[]
---@field of string[] the id of each record
---@field made table<integer, boolean> the records whose ids were made here

---@class stores.bulk.Source
---@field self stores.Store|stores.Transaction
---@field next fun(): table? the next record
---@field is_list boolean
---@field index integer how many records were taken
---@field definition stores.Definition?
---@field keep_last boolean of two records with one id the later one counts
---@field rows integer of a chunk at most
---@field check_shard fun(id: string)? raises where an id is of another shard; nil: there are none
local Source = {}
Source.__index = Source

-- A chunk has no more text than this, but for a single document.
local BYTES = 4 * 1024 * 1024

--- What refuses the ids of other shards, for a store that is one.
---@param self stores.Store|stores.Transaction
---@return (fun(id: string))? nil: all ids are its own
function source.shard_check(self)
  local flat = configs[self.store or self]
  local count = flat and flat.shard_count or 0
  if count < 2 then return nil end
  return function(id)
    local owner = strategy.owner(flat.strategy, id, count)
    if owner == flat.shard_id then return end
    errors.raise('wrong_shard', ('the id %s belongs to shard %d of %d, this is shard %d'):format(id,
      owner, count, flat.shard_id), { shard = flat.shard_id })
  end
end

local function check_list(list, what)
  local count = 0
  for key in pairs(list) do
    if type(key) ~= 'number' then
      errors.raise('invalid_argument', ("the %s must be an array, it has the key '%s'"):format(what,
        tostring(key):sub(1, 60)))
    end
    count = count + 1
  end
  for i = 1, count do
    if list[i] == nil then
      errors.raise('invalid_argument', ('the array of %s has a gap at %d'):format(what, i))
    end
  end
end

local function of_list(list, at)
  return function()
    at = at + 1
    return list[at]
  end
end

--- How many are left out, for they were done before.
---@param opts {after: any}
---@return integer
---Raises invalid_option.
function source.after(opts)
  local after = opts.after or 0
  if type(after) == 'number' and after >= 0 and after % 1 == 0 then return after end
  errors.raise('invalid_option', "'after' is how many were done before, got "
    .. (type(after) == 'number' and tostring(after) or errors.kind(after)))
end

--- The records behind the first `after`.
---@param self stores.Store|stores.Transaction
---@param name string
---@param records table[]|fun(): table?
---@param opts {after: any, batch: integer?}
---@param keep_last boolean
---@return stores.bulk.Source
---Raises invalid_argument, invalid_option.
function source.new(self, name, records, opts, keep_last)
  local after, is_list = source.after(opts), type(records) == 'table'
  if is_list then
    check_list(records, 'records')
  elseif type(records) ~= 'function' then
    errors.raise('invalid_argument', 'the records are an array, or a function that gives one after '
      .. 'the other, got ' .. errors.kind(records))
  end
  local made = setmetatable({ self = self, is_list = is_list, index = after,
    next = is_list and of_list(records, after) or records, definition = self.tables[name],
    keep_last = keep_last, rows = opts.batch or source.ROWS,
    check_shard = source.shard_check(self) }, Source)
  if not is_list then
    for _ = 1, after do
      if records() == nil then break end
    end
  end
  return made
end

--- Rows of a chunk where nothing else is said: as many as can be named to the cache.
source.ROWS = 5000

-- The text of a record, which has its id by then.
local function prepare(self, record, chunk)
  arguments.check_record(record)
  local made = record.id == nil
  local id = made and self.self:generateId() or ids.parse(record.id)
  record.id = id
  if made then
    chunk.made[chunk.count] = true
  elseif self.check_shard then
    self.check_shard(id)
  end
  if self.definition then documents.check(self.definition, record, nil) end
  local text = json.encode(record)
  if text:byte() ~= 123 then
    errors.raise('invalid_document', 'a document is an object, got an array')
  end
  return id, text
end

local function add(self, chunk, id, text)
  local place = chunk.places[id]
  if place and self.keep_last then
    chunk.texts[place] = text
    return
  end
  place = #chunk.ids + 1
  if not chunk.places[id] then chunk.places[id] = place end
  chunk.ids[place], chunk.texts[place] = id, text
end

--- The next chunk; nil: there are no more records. An error has the place of the record in
--- `index`.
---@return stores.bulk.Chunk?
function Source:chunk()
  local chunk = { first = self.index + 1, count = 0, ids = {}, texts = {}, places = {},
    records = {}, of = {}, made = {} }
  local bytes = 0
  while chunk.count < self.rows and bytes < BYTES do
    local record = self.next()
    if record == nil then break end
    self.index = self.index + 1
    chunk.count = chunk.count + 1
    chunk.records[chunk.count] = record
    local ok, id, text = pcall(prepare, self, record, chunk)
    if not ok then
      source.take_back(chunk)
      if errors.is(id) then id.index = self.index end
      errors.throw(id)
    end
    chunk.of[chunk.count] = id
    add(self, chunk, id, text)
    bytes = bytes + #text
  end
  return chunk.count > 0 and chunk or nil
end

--- Takes the ids that were made here out of records that were not stored.
---@param chunk stores.bulk.Chunk
function source.take_back(chunk)
  for i in pairs(chunk.made) do chunk.records[i].id = nil end
end

--- The ids of an array of them, as verbs take it.
---@param self stores.Store|stores.Transaction|stores.Shards
---@param list any
---@return string[]
function source.ids(self, list)
  local wanted = arguments.check_ids(list)
  local check_shard = source.shard_check(self)
  for i = 1, #wanted do
    wanted[i] = ids.parse(wanted[i])
    if check_shard then check_shard(wanted[i]) end
  end
  return wanted
end

return source
