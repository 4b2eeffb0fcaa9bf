--- What of a load goes to one database: documents gather to a chunk, which is stored in one
--- transaction while the next one gathers. What the server refuses of it is found out by halves.

local errors = require('stores.errors')
local put = require('stores.verbs.bulk.put')
local tasks = require('stores.tasks')

local part = {}

---@class stores.bulk.Lines : stores.bulk.Chunk a chunk of a load
---@field lines integer[] the number of the line of each document
---@field raw string[] the line itself
---@field last integer the line behind which to go on
---@field bytes integer

---@class stores.bulk.Part
---@field store stores.Store
---@field counts table<string, integer>
---@field chunk stores.bulk.Lines
---@field last integer of the lines that are stored
---@field from integer lines up to it were stored before
local Part = {}
Part.__index = Part

local function new_chunk()
  return { first = 1, count = 0, ids = {}, texts = {}, places = {}, of = {}, lines = {}, raw = {},
    last = 0, bytes = 0 }
end

--- Begins.
---@param store stores.Store
---@param name string
---@param opts stores.bulk.LoadOptions
---@param counts table<string, integer>
---@return stores.bulk.Part
function part.new(store, name, opts, counts)
  return setmetatable({ store = store, name = name, opts = opts, counts = counts, last = 0,
    from = 0, definition = store.tables[name], chunk = new_chunk(), plain = nil, task = nil }, Part)
end

--- Adds a document.
---@param line integer
---@param id string
---@param text string
---@param raw string as it came
function Part:add(line, id, text, raw)
  local chunk = self.chunk
  local place = chunk.places[id]
  if not (place and self.opts.conflict == 'replace') then
    place = #chunk.ids + 1
    chunk.ids[place] = id
    if not chunk.places[id] then chunk.places[id] = place end
  end
  chunk.texts[place] = text
  chunk.count = chunk.count + 1
  chunk.of[chunk.count], chunk.lines[chunk.count] = id, line
  chunk.raw[chunk.count] = raw
  chunk.bytes = chunk.bytes + #text
end

-- What is wrong with the rows, and not with the call.
local OF_ROWS = { constraint = true, duplicate = true, invalid_document = true, too_large = true,
  invalid_argument = true, query_failed = true, newer_version = true }

local function store_chunk(tx, work)
  tx.held = math.huge -- no function of anybody runs in it, whose calls could wait for its rows
  local became = put.chunk(tx, work, work.chunk)
  if work.place then work.place(tx, work.chunk.last) end
  return { became }
end

-- Those of its documents from one place to another.
local function some_of(chunk, first, last)
  local made = new_chunk()
  for i = first, last do
    local id, place = chunk.of[i], #made.ids + 1
    made.count = made.count + 1
    made.ids[place], made.texts[place] = id, chunk.texts[chunk.places[id]]
    made.places[id] = made.places[id] or place
    made.of[made.count], made.lines[made.count] = id, chunk.lines[i]
    made.raw[made.count] = chunk.raw[i]
  end
  made.last = last == chunk.count and chunk.last or chunk.lines[last]
  return made
end

local store

local function store_halves(self, chunk, err)
  if chunk.count > 1 then
    local half = math.floor(chunk.count / 2)
    store(self, some_of(chunk, 1, half))
    return store(self, some_of(chunk, half + 1, chunk.count))
  end
  local line = chunk.lines[1]
  if err.code == 'duplicate' and self.opts.conflict == 'fail' then
    err.message = ('line %d: %s'):format(line, err.message)
    errors.throw(err)
  end
  self.counts.rejected = self.counts.rejected + 1
  self.opts.reject(line, err.message, chunk.raw[1])
end

function store(self, chunk)
  local work = { name = self.name, conflict = self.opts.conflict, definition = self.definition,
    opts = { timeout = self.opts.timeout }, plain = self.plain, counts = self.counts, chunk = chunk,
    place = self.opts.place }
  local ok, result = pcall(self.store.in_lock, self.store, store_chunk, work)
  self.plain = work.plain
  if ok then
    put.note(work, chunk, result[1])
  elseif errors.is(result) and result.outcome == 'none' and OF_ROWS[result.code] then
    store_halves(self, chunk, result)
  else
    errors.throw(result)
  end
  self.last = math.max(self.last, chunk.last)
end

--- Waits for the chunk that is being stored. Raises what went wrong with it.
function Part:join()
  local task = self.task
  self.task = nil
  if task then task:join() end
end

--- Begins to store what has gathered, when what was before it is stored.
---@param last integer the line behind it
function Part:flush(last)
  self:join()
  local chunk = self.chunk
  self.chunk = new_chunk()
  chunk.last = last
  if chunk.count == 0 then
    self.last = math.max(self.last, last)
  else
    self.task = tasks.spawn(store, self, chunk)
  end
end

return part
