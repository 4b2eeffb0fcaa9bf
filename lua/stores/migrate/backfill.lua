--- Backfills: what changes many rows goes batch by batch, each in a transaction of its own that
--- writes down the id of its last row. Nobody waits long for a row, what was killed goes on behind
--- the last batch, and two runners that both believe to be alone take turns.

local Ledger = require('stores.migrate.ledger')
local each = require('stores.verbs.bulk.each')
local errors = require('stores.errors')
local failure = require('stores.migrate.failure')
local json = require('stores.json')
local names = require('stores.tables.names')
local run = require('stores.migrate.run')
local sql = require('stores.sql.text')
local tasks = require('stores.tasks')
local worker = require('stores.migrate.worker')

local backfill = {}

local BATCH, PAUSE = 1000, 0.01

-- The connection is reset behind each batch, and used for the next one.
local BATCHWISE = { timeout = math.huge }

local ROWS = 'SELECT greatest(reltuples, 0)::bigint::text AS rows FROM pg_class'
  .. ' WHERE oid = to_regclass($1)'

-- ---- A function of a document -------------------------------------------------------------------

-- What the function made of a document, or false where it left it as it was.
local function changed(step, tx, document)
  local before = json.encode(document)
  local result = step.fn(document, tx)
  if result == nil then result = document end
  if result and type(result) == 'table' then
    if result.id == nil then result.id = document.id end
    if json.encode(result) == before then return false end
  end
  return result
end

-- What the server did not refuse is of the document that was looked at last.
local function blame(err, id)
  if not errors.is(err) then error({ cause = err, document = id }, 0) end
  if not err.sqlstate then err.document = err.document or id end
  error(err, 0)
end

local function by_function(tx, step, at, size, call)
  local id
  local ok, count, last = pcall(each.batch, tx, step.table, function(document)
    id = document.id
    return changed(step, tx, document)
  end, { batch = size, after = at.rows > 0 and at.after or nil, timeout = call.timeout })
  if not ok then blame(count, id) end
  return last, count
end

-- ---- A statement --------------------------------------------------------------------------------

-- Whether it goes on is NULL where the ids are no integers.
local LAST = [[
WITH batch AS (%s)
SELECT max(id)::text AS last, count(*)::int AS rows, pg_typeof(max(id))::text AS type,
  CASE WHEN pg_typeof(max(id))::text IN ('bigint', 'integer', 'smallint')
    THEN max(id)::text::bigint > $1::bigint END AS goes_on
FROM batch]]

-- What took the row of the last batch again would do so for ever.
local function check_last(row)
  if row.goes_on == json.null then
    errors.raise('invalid_argument', ('a backfill goes by ids that are integers, and those of its'
      .. ' statement are of the type %s'):format(row.type),
      { hint = "type = 'lua', or several migrations, do the same in parts" })
  elseif not row.goes_on then
    errors.raise('invalid_argument', 'its statement took a row again that a batch had before',
      { hint = 'take the rows WHERE id > $after ORDER BY id LIMIT $limit' })
  end
end

local function by_statement(tx, step, at, size, call)
  local statement = sql.with_parameters(step.statements[1].text, { 'after', 'limit' })
  local row = tx:query(LAST:format(statement), { at.after, ('%d'):format(size) }, call)[1]
  if row.last == json.null then return nil, row.rows end
  check_last(row)
  return row.last, row.rows
end

-- ---- Batches ------------------------------------------------------------------------------------

---@class stores.BackfillState
---@field after string? the id of the last row
---@field rows integer how many it went through
---@field is_gone boolean? another runner has finished it

-- One batch. Gives how far the backfill is then, and whether there was a row.
local function batch(context, step)
  local take = step.fn and by_function or by_statement
  local call, size = run.call(context, step), step.batch or BATCH
  return context.store:in_transaction(function(tx)
    run.set_local(tx, run.settings(context, step))
    local after, rows = context.ledger:progress(tx, step)
    if not after then
      context.ledger:check(tx, step)
      return { is_gone = true }, false
    end
    local last, count = take(tx, step, { after = after, rows = rows }, size, call)
    context.ledger:check(tx, step)
    if last then
      after, rows = last, rows + count
      context.ledger:advance(tx, step, after, rows)
    end
    context.store:note_written(tx)
    return { after = after, rows = rows }, count > 0
  end, BATCHWISE)
end

local function estimate(context, step)
  if not step.table then return nil end
  local ok, rows = pcall(context.store.query, context.store, ROWS, { names.sql(step.table) })
  local count = ok and rows[1] and tonumber(rows[1].rows) or 0
  return count > 0 and count or nil
end

local function fail(context, step, state, cause)
  local id = type(cause) == 'table' and cause.document or nil
  if id and not errors.is(cause) then cause = cause.cause end
  local err = failure.new(step, nil, cause, {
    message = id and ('at the document %s of %s'):format(id, step.table) or nil,
    hint = errors.is(cause) and cause.hint or state.after
      and ('run again: it goes on behind the id %s'):format(state.after) or nil,
    fields = { after = state.after, rows = state.rows, document = id } })
  worker.explain(context, step, err)
  errors.throw(err)
end

-- Two looks find nothing where there is nothing: rows that the first one met may have been deleted
-- before it had their locks.
local ENOUGH = 2

local function go_through(context, step)
  local journal = not context.seen[step.name] and context.journal[step.name] or nil
  local after, rows = Ledger.progress_of(journal)
  local state, total, empty = { after = after, rows = rows or 0 }, estimate(context, step), 0
  while empty < ENOUGH do
    context.held:check()
    if context.stopping() then return nil end
    local some
    local ok, err = pcall(run.retrying, context, step, function()
      state, some = batch(context, step)
    end)
    if not ok then fail(context, step, state, err) end
    if state.is_gone then return false end
    context.tell(step)
    context.notify({ event = 'progress', name = step.name, rows = state.rows, total = total,
      after = state.after, from = rows })
    empty = some and 0 or empty + 1
    if some and (step.pause or PAUSE) > 0 then tasks.sleep(step.pause or PAUSE) end
  end
  return true
end

--- Runs what is left of a backfill, and writes its ledger row when all of it is done.
---@param context stores.MigrationRun
---@param step stores.MigrationStep
---@return boolean? ran false: another runner has finished it; nil: it was told to stop
function backfill.run(context, step)
  local ledger, store = context.ledger, context.store
  ledger:create_journal(store)
  local mine = store:in_transaction(function(tx)
    -- what runs again begins anew
    if context.seen[step.name] then ledger:unmark(tx, step, 0) end
    return ledger:begin(tx, step, context.seen[step.name] or '')
  end)
  if not mine then return false end
  local done = go_through(context, step)
  if done then store:in_transaction(function(tx) ledger:finish(tx, step) end) end
  return done
end

return backfill
