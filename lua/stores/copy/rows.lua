--- The rows of a table on their way: read in batches in the order of ids, as lines that the old
--- server makes and puts apart by who is to have them, and written by COPY. How far each shard of
--- the new side is with each one of the old side stands in its table stores_copy, written in the
--- transaction of the rows: whoever is killed, at whatever point, goes on right there.

local errors = require('stores.errors')
local marks = require('stores.copy.marks')
local tables = require('stores.copy.tables')
local tasks = require('stores.tasks')
local wait = require('stores.wait')

local rows = {}

-- A batch is to be of so many bytes: its number of rows follows from that of the batch before, and
-- is four times that at most. How large rows are nobody knows at first.
local BYTES, FIRST = 4 * 1024 * 1024, 10

---@class stores.copy.Stream a table of one database of the old side
---@field work stores.copy.Work
---@field store stores.Store
---@field from integer its place
---@field one stores.copy.Table
---@field places (string|false)[] by the place in the new side: the last id that it has
---@field last string|false all up to it are everywhere
---@field size integer rows of a batch
local Stream = {}
Stream.__index = Stream

---@class stores.copy.Batch
---@field count integer rows that were read
---@field last string the last one of them
---@field parts table<integer, {text: string, count: integer, last: string}> by the place in the
---new side

-- ---- Reading ------------------------------------------------------------------------------------

local OWNED = [[
WITH page AS (
  SELECT id, ((id %% %d) + %d) %% %d AS owner, %s AS line FROM %s %s ORDER BY id LIMIT %d)
SELECT owner::int AS owner, count(*)::int AS count, max(id)::text AS last,
  string_agg(line || E'\n', '') AS lines
FROM page WHERE coalesce(id > ($1::bigint[])[owner + 1], true) GROUP BY owner
UNION ALL SELECT -1, count(*)::int, max(id)::text, NULL FROM page]]
local WHOLE = [[
WITH page AS (SELECT id, %s AS line FROM %s %s ORDER BY id LIMIT %d)
SELECT count(*)::int AS count, max(id)::text AS last, string_agg(line, E'\n') AS lines FROM page]]
local READ = { transaction = false, readonly = true }

local function array(places)
  local parts = {}
  for i, place in ipairs(places) do parts[i] = place or 'NULL' end
  return '{' .. table.concat(parts, ',') .. '}'
end

local function behind(last)
  return last and ('WHERE id > %s'):format(last) or ''
end

-- By the modulo, which the server counts.
local function read_owned(self)
  local count = self.work.to.size
  local found = self.store:query(OWNED:format(count, count, count, tables.line(self.one),
    self.one.rows, behind(self.last), self.size), { array(self.places) }, READ)
  local batch = { parts = {}, bytes = 0 }
  for _, row in ipairs(found) do
    if row.owner < 0 then
      batch.count, batch.last = row.count, row.last
    else
      batch.parts[row.owner + 1] = { text = row.lines, count = row.count, last = row.last }
      batch.bytes = batch.bytes + #row.lines
    end
  end
  return batch
end

local function is_behind(id, place)
  return not place or tables.is_less(place, id)
end

-- By a function of the program's own, which is asked here about each row.
local function read_whole(self)
  local to = self.work.to
  local row = self.store:query(WHOLE:format(tables.line(self.one), self.one.rows,
    behind(self.last), self.size), {}, READ)[1]
  local batch = { parts = {}, bytes = 0, count = row.count, last = row.last }
  if row.count == 0 then return batch end
  local lists = {}
  for line in (row.lines .. '\n'):gmatch('(.-)\n') do
    local id = line:match('^%-?%d+')
    local at = to.strategy.owner(id, to.size) + 1
    if is_behind(id, self.places[at]) then
      lists[at] = lists[at] or { last = id }
      lists[at][#lists[at] + 1], lists[at].last = line, id
    end
  end
  for at, list in pairs(lists) do
    batch.parts[at] = { count = #list, last = list.last, text = table.concat(list, '\n') .. '\n' }
  end
  batch.bytes = #row.lines
  return batch
end

-- A batch that no text can hold is read by halves.
local function read(self)
  local by = self.work.to.strategy.owner and read_whole or read_owned
  while true do
    local ok, batch = pcall(by, self)
    if ok then
      if batch.bytes > 0 then
        local rate = BYTES / batch.bytes
        self.size = math.max(1, math.min(math.floor(batch.count * rate), self.size * 4,
          self.work.batch))
      end
      return batch
    end
    if not errors.is(batch, 'too_large') or self.size == 1 then errors.throw(batch) end
    self.size = math.max(1, math.floor(self.size / 8))
  end
end

-- ---- Writing ------------------------------------------------------------------------------------

-- Holds the row that says whose the copy is until the end of the transaction.
local NOTE = [[
WITH mine AS (SELECT 1 AS one FROM stores_shard
  WHERE copy = $1 AND runner = $2 AND state = 'unfinished' FOR SHARE)
INSERT INTO stores_copy (shard, name, last, rows)
SELECT $3::int, $4, $5::bigint, $6::bigint FROM mine
ON CONFLICT (shard, name) DO UPDATE SET last = excluded.last,
  rows = stores_copy.rows + excluded.rows
RETURNING set_config('stores.copy', $1, true)]]

local function store_part(self, at, part)
  local work, one = self.work, self.one
  local text = ('COPY %%T (%s) FROM STDIN'):format(tables.columns(one))
  work.to.stores[at]:transaction(function(tx)
    local noted = tx:query(NOTE, { work.copy, work.runner, self.from - 1, one.name, part.last,
      part.count })
    if not noted[1] then marks.taken_over() end
    if work.is_spread[at] then
      tx:query(("SET LOCAL stores.copy = '%s'"):format(work.copy)) -- which workers are told
    end
    wait.slot(tx.hub, tx:start_bulk('insert', one.name, text, {}, nil, part.text, {}))
  end)
  self.places[at] = part.last
  work.count(part.count)
end

local function write(self, batch)
  local list = {}
  for at in pairs(batch.parts) do list[#list + 1] = at end
  if list[1] then
    tasks.map(list, function(at) store_part(self, at, batch.parts[at]) end, {})
  end
end

-- ---- All of it ----------------------------------------------------------------------------------

--- What of a database of the new side is known to be there.
---@param store stores.Store
---@return table<string, string> by `shard/name`: the last id
---@return integer rows
function rows.places(store)
  local places, count = {}, 0
  for _, row in ipairs(store:query('SELECT shard, name, last::text AS last, rows::float8 AS rows'
    .. ' FROM stores_copy', {}, READ)) do
    places[row.shard .. '/' .. row.name] = row.last
    count = count + row.rows
  end
  return places, count
end

-- The least of all places: what is behind it is to be read.
local function least(places)
  local found = places[1]
  for _, place in ipairs(places) do
    if not place then return false end
    if tables.is_less(place, found) then found = place end
  end
  return found
end

--- Copies a table of one database of the old side.
---@param work stores.copy.Work
---@param from integer its place
---@param one stores.copy.Table
---@param known table<string, string>[] what rows.places gave of each of the new side
---@return boolean finished false: it was to stop
function rows.copy(work, from, one, known)
  local self = setmetatable({ work = work, store = work.from.stores[from], from = from, one = one,
    places = {}, last = false, size = math.min(FIRST, work.batch) }, Stream)
  for at = 1, work.to.size do
    self.places[at] = known[at][(from - 1) .. '/' .. one.name] or false
  end
  self.last = least(self.places)
  local batch = read(self)
  while batch.count > 0 do
    if work.stopping() then return false end
    self.last = batch.last
    -- the server reads on while others write; it leaves out what was there before alone
    local ahead = tasks.spawn(read, self)
    local ok, err = pcall(write, self, batch)
    local read_on, following = pcall(ahead.join, ahead)
    if not ok then errors.throw(err) end
    if not read_on then errors.throw(following) end
    batch = following
  end
  return true
end

return rows
