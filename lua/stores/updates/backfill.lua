--- Work on all documents of a declared table, batch by batch, beside those who use it: what is of
--- an older version is stored anew, what is past its time is deleted.

local core = require('stores.core')
local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local put = require('stores.verbs.bulk.put')
local seen = require('stores.verbs.seen')
local sql = require('stores.verbs.bulk.sql')
local times = require('stores.tables.times')
local transaction = require('stores.updates.transaction')
local wait = require('stores.wait')

local backfill = {}

local BATCH = 500

local function declared(store, name, key, verb)
  local definition = store.tables[name]
  if definition and definition[key] then return definition end
  errors.raise('invalid_argument', ("%s: no '%s' is declared for %s"):format(verb, key, name),
    { hint = ("stores.define('%s', { %s = ... })"):format(name, key) })
end

local function pause(store, opts)
  if opts.pause then wait.slot(store.hub, store.hub:sleep(opts.pause)) end
end

-- ---- Versions -----------------------------------------------------------------------------------

local function as_it_is(document)
  return document
end

local OLDER = 'SELECT id::text AS row_id FROM %%T WHERE id > $1::bigint '
  .. "AND coalesce(%s, '1'::jsonb) < $2::jsonb ORDER BY id LIMIT $3::bigint"

-- The ids behind one, of documents of an older version, in their order.
local function older(store, definition, name, after, opts, size)
  local member = expression.of({ definition.version_member })
  return wait.slot(store.hub, store:start_select(name, OLDER:format(member),
    { after, ('%d'):format(definition.version), ('%d'):format(size) }, opts.timeout, false, true))
end

--- Stores every document of an older version as reading it gives it. Who is interrupted begins
--- again, or goes on behind the id in the error's `after`.
---@param store stores.Store
---@param name string
---@param opts {timeout: number?, batch: integer?, pause: number?, after: string?}
---@return integer count
---@return string? last the id behind which it would go on
function backfill.upgrade(store, name, opts)
  local definition = declared(store, name, 'version', 'upgrade')
  local count, last, size = 0, nil, opts.batch or BATCH
  local after = opts.after or '-9223372036854775808'
  while true do
    local rows = older(store, definition, name, last or after, opts, size)
    for _, row in ipairs(rows) do
      local ok, stored = pcall(store.updateObject, store, name, row.row_id, as_it_is,
        { timeout = opts.timeout })
      if not ok then
        if errors.is(stored) then stored.after, stored.count = last or opts.after, count end
        errors.throw(stored)
      end
      if stored then count = count + 1 end
      last = row.row_id
    end
    if #rows < size then return count, last end
    pause(store, opts)
  end
end

-- ---- Times --------------------------------------------------------------------------------------

local OVER = 'SELECT id::text AS row_id FROM %%T WHERE %s ORDER BY %s, id LIMIT %d'
local LOCKED = ' FOR UPDATE SKIP LOCKED'

-- Milliseconds for who holds a row of several servers, where none can be skipped.
local PATIENCE = 'SET LOCAL lock_timeout = 100'

-- Of these rows those that are past their time still.
local function delete_past(tx, batch, list)
  wait.slot(tx.hub, tx.tx:query(PATIENCE, {}, {}, tx:rest_of_it()))
  local text, params = sql.delete(list, function(add)
    local param = add(batch.param, batch.type)
    return (batch.condition:gsub('%$1::%a+', (param:gsub('%%', '%%%%'))))
  end)
  return (put.run(tx, 'delete', batch.name, list, text, params, batch.timeout))
end

local function try_delete(store, batch, list)
  local ok, count = pcall(transaction.run, store, function(tx)
    return delete_past(tx, batch, list)
  end, { timeout = batch.timeout })
  if ok then return count end
  if not errors.is(count, 'lock_timeout') then errors.throw(count) end
  if #list == 1 then return 0 end
  local sum = 0
  for _, id in ipairs(list) do sum = sum + try_delete(store, batch, { id }) end
  return sum
end

-- The same where a coordinator of Citus locks no rows of several servers together. Gives how many
-- were deleted, and whether there may be more.
local function delete_spread(store, batch, size)
  local found = wait.slot(store.hub, store:start_select(batch.name, batch.sql, { batch.param },
    batch.timeout, false, true))
  local list = {}
  for i, row in ipairs(found) do list[i] = row.row_id end
  local count = #list > 0 and try_delete(store, batch, list) or 0
  return count, count > 0 and #list == size
end

-- Deletes a batch, of which nobody else holds a row.
local function delete_batch(tx, batch)
  local found = wait.slot(tx.hub, tx:start_select(batch.name, batch.sql, { batch.param },
    batch.timeout, false, true))
  for _, row in ipairs(found) do
    wait.slot(tx.hub, (tx:start_write('delete', batch.name, row.row_id, nil, batch.timeout)))
  end
  return #found
end

--- Deletes the documents that are past their time. Rows that somebody holds are left to the next
--- call.
---@param store stores.Store
---@param name string
---@param opts {timeout: number?, batch: integer?, pause: number?}
---@return integer count
function backfill.expire(store, name, opts)
  local definition = declared(store, name, 'expires', 'expire')
  local size, count = opts.batch or BATCH, 0
  local by = expression.of(definition.expires)
  if not store.engine:met() then wait.slot(store.hub, store.engine:meet(opts.timeout)) end
  local spread = core.is_citus(store.engine)
  for _, form in ipairs(times.over_sql(definition.expires, seen.now(store))) do
    local batch = { name = name, param = form.param, timeout = opts.timeout,
      condition = form.condition, type = form.condition:match('%$1::(%a+)'),
      sql = OVER:format(form.condition, by, size) .. (spread and '' or LOCKED) }
    repeat
      local deleted, is_more
      if spread then
        deleted, is_more = delete_spread(store, batch, size)
      else
        deleted = transaction.run(store, function(tx) return delete_batch(tx, batch) end,
          { timeout = opts.timeout })
        is_more = deleted == size
      end
      count = count + deleted
      if is_more then pause(store, opts) end
    until not is_more
  end
  return count
end

return backfill
