--- Reads a table as JSON Lines, batch by batch, each as one text that the server makes: in the
--- order of ids, as it is stored, with the id in each document. While one batch is written the next
--- one is asked for.

local errors = require('stores.errors')
local query = require('stores.sql.query')
local seen = require('stores.verbs.seen')
local wait = require('stores.wait')

local unload = {}

-- What the server makes of a document: one line, which has its id.
local LINE = [[CASE WHEN value ? 'id' THEN value::text WHEN jsonb_typeof(value) = 'object'
  THEN (jsonb_build_object('id', id::text) || value)::text ELSE value::text END]]

-- The rows come in their order, which an aggregate keeps; a text that is asked for is one that is
-- made, of each row.
local function statement(store, walk)
  local text, params = query.each_batch(walk.last, walk.size, walk.criteria, {})
  text = text:gsub('id, value::text FROM', 'id, value::jsonb AS value FROM', 1)
  if walk.definition then text, params = seen.alive(store, walk.definition, text, params) end
  return ([[SELECT max(id)::text AS last, count(*)::int AS count,
    string_agg(%s, E'\n') || E'\n' AS lines FROM (%s) AS page]]):format(LINE, text), params
end

local function ask(store, walk)
  local text, params = statement(store, walk)
  return store:start_select(walk.name, text, params, walk.timeout, true, true)
end

-- Calls write(text, count, last) for each batch of a store. False: it was to stop.
local function run(store, name, criteria, opts, after, write)
  local walk = { name = name, last = after, size = opts.batch, timeout = opts.timeout,
    criteria = criteria, definition = store.tables[name] }
  local slot = ask(store, walk)
  while true do
    local row = wait.slot(store.hub, slot)[1]
    local count = tonumber(row.count)
    if count == 0 then return true end
    walk.last = row.last
    local is_more, stops = count == walk.size, opts.stopping()
    -- what is under way has to be waited for by who began it, before anything else
    local ahead = not opts.waits and is_more and not stops
    if ahead then slot = ask(store, walk) end
    write(row.lines, count, row.last)
    if not is_more then return true end
    if stops then return false end
    if not ahead then slot = ask(store, walk) end
  end
end

-- Over shards a place names the shard, too.
local function read_place(after, count)
  if after == nil or count == 1 then return 1, after end
  local shard, id = after:match('^(%d+)/(%-?%d+)$')
  if not shard or tonumber(shard) >= count then
    errors.raise('invalid_option', "over shards 'after' is what was said before: SHARD/ID")
  end
  return tonumber(shard) + 1, id
end

--- Calls write(text, count, place) for each batch, shard by shard; place is what `after` goes on
--- behind.
---@param stores stores.Store[] of all shards, or the one
---@param name string
---@param criteria {where: stores.Where?, contains: table?}
---@param opts {batch: integer, after: string?, timeout: number?, stopping: (fun(): boolean),
---  waits: boolean?} waits: write() waits for something
---@param write fun(lines: string, count: integer, place: string)
---@return boolean finished false: it was to stop
---Raises invalid_option.
function unload.run(stores, name, criteria, opts, write)
  local first, after = read_place(opts.after, #stores)
  for shard = first, #stores do
    local finished = run(stores[shard], name, criteria, opts, shard == first and after or nil,
      function(lines, count, last)
        write(lines, count, #stores > 1 and ('%d/%s'):format(shard - 1, last) or last)
      end)
    if not finished then return false end
  end
  return true
end

return unload
