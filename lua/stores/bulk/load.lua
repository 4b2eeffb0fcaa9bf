--- Loads JSON Lines into a table of a database, or of several: line by line, a chunk of them in one
--- transaction. A line that is no document, or that the server refuses, is told by its number and
--- left out.

local core = require('stores.core')
local documents = require('stores.tables.documents')
local errors = require('stores.errors')
local ids = require('stores.ids')
local json = require('stores.json')
local part = require('stores.bulk.part')
local tasks = require('stores.tasks')

local load = {}

---@class stores.bulk.LoadOptions
---@field conflict 'fail'|'ignore'|'replace'
---@field rows integer of a chunk
---@field timeout number?
---@field reject fun(line: integer, why: string, text: string)
---@field place fun(tx: stores.Transaction, last: integer)? notes in the transaction how far it is

---@class stores.bulk.Load
---@field parts stores.bulk.Part[] of each database
---@field counts table<string, integer>
local Load = {}
Load.__index = Load

-- A chunk has no more text than this, but for a single document; and the loop turns once for so
-- much of it, so that what the server is to read goes out meanwhile.
local BYTES = 8 * 1024 * 1024
local SLICE = 64 * 1024

--- Begins to load. It has to run in a coroutine of stores.run.
---@param stores stores.Store[] of all shards, or the one
---@param name string
---@param opts stores.bulk.LoadOptions
---@return stores.bulk.Load
function load.new(stores, name, opts)
  local self = setmetatable({ stores = stores, opts = opts, parts = {}, slice = 0, last = 0,
    definition = stores[1].tables[name],
    counts = { inserted = 0, replaced = 0, ignored = 0, rejected = 0 } }, Load)
  for place, store in ipairs(stores) do
    self.parts[place] = part.new(store, name, opts, self.counts)
  end
  return self
end

-- ---- One line -----------------------------------------------------------------------------------

-- An id as other programs write it, too: as a number.
local function id_of(document)
  local id = document.id
  if id == nil then return nil end
  if type(id) == 'number' and id % 1 == 0 and math.abs(id) < 2 ^ 53 then
    return ('%d'):format(id)
  end
  return ids.parse(id)
end

-- The text of the document, which gets an id where it has none.
local function with_id(text, id)
  return (text:gsub('^%s*{%s*(.?)', function(first)
    return '{"id": "' .. id .. '"' .. (first == '}' and '' or ', ') .. first
  end, 1))
end

-- The store that a line belongs to by its number: those without an id come to the same one again.
local function store_of(self, line)
  return self.stores[line % #self.stores + 1]
end

-- What is to be stored for a line: an id, and a text. Raises for what is none.
local function read(self, line, text)
  local document, why = core.json_decode(text)
  if document == nil then errors.raise('invalid_document', why) end
  if type(document) ~= 'table' or json.is_array(document) or json.is_number(document) then
    errors.raise('invalid_document', 'a document is an object')
  end
  local id = id_of(document)
  local made = id == nil
  if made then id = store_of(self, line):generateId() end
  if self.definition then
    document.id = id
    documents.check(self.definition, document, nil)
    return id, json.encode(document)
  end
  return id, made and with_id(text, id) or text
end

--- Adds a document.
---@param line integer its number
---@param id string
---@param text string
---@param raw string as it came
function Load:add(line, id, text, raw)
  local count = #self.stores
  local one = self.parts[count == 1 and 1 or core.shard(id, count) + 1]
  if line > one.from then one:add(line, id, text, raw) end
end

--- Adds a line; chunks that are full are stored.
---@param line integer its number
---@param text string
---Raises what the server raises that is not about a line, and `duplicate` with conflict 'fail'.
function Load:line(line, text)
  -- most lines need no look at more than their ids
  local said = not self.definition and core.json_check(text)
  if said == true then
    local id = store_of(self, line):generateId()
    self:add(line, id, with_id(text, id), text)
  elseif said then
    self:add(line, said, text, text)
  elseif text:find('%S') then
    local ok, id, document = pcall(read, self, line, text)
    if ok then
      self:add(line, id, document, text)
    else
      self.counts.rejected = self.counts.rejected + 1
      self.opts.reject(line, errors.is(id) and id.message or tostring(id), text)
    end
  end
  self:turn(line, #text)
end

local function is_full(self)
  for _, one in ipairs(self.parts) do
    if one.chunk.count >= self.opts.rows or one.chunk.bytes >= BYTES then return true end
  end
  return false
end

--- Has the loop turn now and then, and chunks stored that are full: of all databases at once, so
--- that there is one place from which to go on.
---@param line integer
---@param bytes integer
function Load:turn(line, bytes)
  self.last = line
  self.slice = self.slice + bytes
  if self.slice >= SLICE then
    self.slice = 0
    tasks.sleep(0)
  end
  if is_full(self) then self:flush() end
end

--- Begins to store what was added.
function Load:flush()
  for _, one in ipairs(self.parts) do one:flush(self.last) end
end

--- Stores what was added, and waits until that is done.
function Load:finish()
  self:flush()
  for _, one in ipairs(self.parts) do one:join() end
end

--- Waits for what is being stored, whatever becomes of it.
function Load:settle()
  for _, one in ipairs(self.parts) do pcall(one.join, one) end
end

--- The line behind which all is to be read again.
---@return integer
function Load:done()
  local least = math.huge
  for _, one in ipairs(self.parts) do least = math.min(least, math.max(one.last, one.from)) end
  return least
end

return load
