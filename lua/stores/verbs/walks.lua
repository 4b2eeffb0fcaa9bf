--- Where an `each` is in its table: batch by batch, each of which begins behind the last row of the
--- one before.

local core = require('stores.core')
local cursor = require('stores.sql.cursor')
local errors = require('stores.errors')
local query = require('stores.sql.query')
local selects = require('stores.verbs.select')

local walks = {}

---@class stores.Walk
---@field name string the table
---@field size integer of a batch
---@field opts table
---@field raw_opts table the same, for rows as they are stored
---@field places boolean? the places of all rows are wanted, for who merges
---@field position stores.sql.Position|nil
---@field order stores.sql.Order
---@field over boolean
---@field whole boolean see stores.sql.Page

-- The statement of the batch at the place of a walk; self: where it is looked at once, before it
-- begins.
local function batch_of(walk, size, self, only_places, among)
  local page = { table = walk.name, position = walk.position, has_cursors = true,
    whole = walk.whole, only_places = only_places }
  local opts = among and setmetatable({ among = among }, { __index = walk.opts }) or walk.opts
  local sql, params = query.each_batch(not walk.position and walk.opts.after or nil, size, opts,
    page)
  if self then
    selects.check(self, walk.name, walk.opts, page)
    walk.order = page.order
  end
  return sql, params
end

-- Of a table that is spread over several servers each would give a whole batch of documents, of
-- which most are not of this one: so its places come first. Gives which rows it has, as a
-- condition; how many; and where it ends.
local function look_ahead(self, walk, size)
  local sql, params = batch_of(walk, size, nil, true)
  local rows = selects.run(self, walk.name, sql, params, walk.raw_opts, true)
  local last = rows[#rows]
  if not last then return nil, 0 end
  local place = cursor.position(last.row_id, last.row_keys)
  if #walk.order.keys == 0 then
    local operator = walk.order.down and '>=' or '<='
    return function(add) return ('id %s %s'):format(operator, add(last.row_id, 'bigint')) end,
      #rows, place
  end
  local list = {}
  for i = 1, #rows do list[i] = rows[i].row_id end
  return function(add)
    return ('id = ANY(%s)'):format(add('{' .. table.concat(list, ',') .. '}', 'bigint[]'))
  end, #rows, place
end

local function is_distributed(self, name)
  local engine = (self.store or self).engine
  return engine ~= nil and core.spread(engine, name) == 'distributed'
end

-- The documents of a batch, of how many rows it was made, and where it is wanted the ids and the
-- keys of all of them.
local function read(self, walk, size, opts)
  local among, count, place
  if is_distributed(self, walk.name) then
    among, count, place = look_ahead(self, walk, size)
    if count == 0 then return {}, 0, {}, {} end
  end
  -- what came to be among them since must not drive out those behind it: no limit
  local sql, params = batch_of(walk, not among and size or nil, nil, nil, among)
  if not walk.places then
    local documents, last_id, _, last_keys = selects.run(self, walk.name, sql, params, opts)
    if not place and last_id then place = cursor.position(last_id, last_keys) end
    walk.position = place or walk.position
    return documents, count or #documents
  end
  local documents, ids, keys = selects.run(self, walk.name, sql, params, opts, nil, nil, true)
  local last = #documents
  if not place and ids[last] then place = cursor.position(ids[last], keys[last] or nil) end
  walk.position = place or walk.position
  return documents, count or last, ids, keys
end

--- Begins an `each`. What is wrong with it is said here, and not in the middle of a loop.
---@param self stores.Store|stores.Transaction
---@param name string
---@param opts table
---@param places boolean?
---@return stores.Walk
function walks.new(self, name, opts, places)
  local walk = { name = name, size = opts.batch or 500, opts = opts, places = places,
    position = nil, order = nil, over = false,
    whole = selects.takes_parts(self, self.tables[name], opts),
    raw_opts = { timeout = opts.timeout, raw = true, read = opts.read,
      after_token = opts.after_token } }
  batch_of(walk, walk.size, self)
  return walk
end

--- The batch at the place of a walk. Where the value of a row cannot be read: those before it, and
--- its error, which is raised in its turn; who goes on gets the rows behind it.
---@param self stores.Store|stores.Transaction
---@param walk stores.Walk
---@return stores.Document[] documents
---@return stores.Error? err of the row behind them, where the walk stands now
---@return (string|false)[]? ids with places
---@return (string|false)[]? keys
function walks.next(self, walk)
  local ok, documents, count, ids, keys = pcall(read, self, walk, walk.size, walk.opts)
  if ok then
    walk.over = count < walk.size
    return documents, nil, ids, keys
  end
  local err = documents
  if not errors.is(err) or not err.index or err.row == 'NULL' then errors.throw(err) end
  documents, ids, keys = {}, {}, {}
  if err.index > 1 then
    local before = { read(self, walk, err.index - 1, walk.opts) }
    documents, ids, keys = before[1], before[3], before[4]
  end
  -- as text it can be read, and says where the rows behind it begin
  read(self, walk, 1, walk.raw_opts)
  return documents, err, ids, keys
end

return walks
