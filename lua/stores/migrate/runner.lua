--- A run over one database: what its ledger lacks, in the order of the list, under the lock.

local backfill = require('stores.migrate.backfill')
local errors = require('stores.errors')
local json = require('stores.json')
local list = require('stores.migrate.list')
local lock = require('stores.migrate.lock')
local outside = require('stores.migrate.outside')
local plan = require('stores.migrate.plan')
local run = require('stores.migrate.run')
local targets = require('stores.migrate.targets')
local worker = require('stores.migrate.worker')

local runner = {}

local LOCK_WAIT = 60

--- What tells the caller of the options of progress.
---@param opts {on: (fun(event: table))?}
---@param shard integer?
---@return fun(event: table)
function runner.notifier(opts, shard)
  return function(event)
    if not opts.on then return end
    event.shard = shard
    opts.on(event)
  end
end

--- The list as one database stands to it: a list of its own, for the runner marks its entries.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts {ledger: string?, finish: boolean?}
---@return stores.MigrationStep[]
---@return stores.LedgerState
---@return stores.PlannedMigration[]
function runner.planned_for(entries, store, opts)
  local steps = list.read(entries)
  local state = plan.state(store, opts.ledger)
  return steps, state, plan.make(steps, state, opts.finish)
end

local function new_result(state, planned)
  local result = { ran = json.array(), skipped = json.array(), ledger = state.ledger.name }
  for _, item in ipairs(planned) do
    if item.action == 'skip' then
      result.skipped[#result.skipped + 1] = item.name
    elseif item.action == 'later' then
      result.later = result.later or json.array()
      result.later[#result.later + 1] = item.name
    end
  end
  return result
end

local function performer(step)
  if step.type == 'backfill' then return backfill.run end
  return step.outside and outside.run or run.transactional
end

local function run_one(context, step, item)
  context.notify({ event = 'start', name = step.name, action = item.action,
    statements = item.statements })
  context.held:check()
  local ok, ran = pcall(function()
    local is_free = worker.wait_for_others(context, step,
      math.min(context.options.lock_wait or LOCK_WAIT, run.patience(context, step)),
      context.stopping)
    if not is_free then return nil end
    return performer(step)(context, step)
  end)
  if not ok then
    context.notify({ event = 'failed', name = step.name, error = ran })
    errors.throw(ran)
  end
  local ends = ran and 'done' or ran == false and 'skip' or 'stopped'
  context.notify({ event = ends, name = step.name })
  return ran
end

--- Notes tables whose rows changed, and no cache was told.
---@param result {untold: string[]?}
---@param names string[]
function runner.add_untold(result, names)
  if #names > 0 then result.untold = targets.joined(result.untold or {}, names) end
end

local function new_context(store, state, planned, opts, notify, held, result)
  local context = { store = store, ledger = state.ledger, journal = state.journal, held = held,
                    options = opts, notify = notify, seen = {} }
  function context.tell(step)
    local names = store:tell_written()
    if #names == 0 then return end
    runner.add_untold(result, names)
    notify({ event = 'untold', name = step.name, tables = names })
  end
  function context.stopping()
    if opts.stopping and not result.stopped and opts.stopping() then
      result.stopped = context.at
    end
    return result.stopped ~= nil
  end
  for _, item in ipairs(planned) do
    if item.action == 'rerun' then context.seen[item.name] = state.rows[item.name].text end
  end
  return context
end

-- A checkpoint that runs stands for those before it, and has written them down.
local function note_covered(result, step)
  for _, covered in ipairs(step.covers or {}) do
    result.covered = result.covered or {}
    result.covered[#result.covered + 1] = covered.name
  end
end

local function run_item(context, step, item, result)
  local ok, ran = pcall(run_one, context, step, item)
  if not ok then
    pcall(context.tell, step) -- what it committed before it failed is there
    if errors.is(ran) then ran.ran, ran.untold = result.ran, result.untold end
    errors.throw(ran)
  end
  context.tell(step)
  if ran == nil then return end
  local names = ran and result.ran or result.skipped
  names[#names + 1] = item.name
  if ran then note_covered(result, step) end
end

-- What another runner did while this one waited is seen here, for the ledger is read again.
local function run_locked(entries, store, opts, notify, held)
  local steps, state, planned = runner.planned_for(entries, store, opts)
  plan.check(steps, planned)
  local result = new_result(state, planned)
  local context = new_context(store, state, planned, opts, notify, held, result)
  if #plan.pending(planned) > 0 then
    store:find_caches()
    state.ledger:create(store)
  end
  for place, item in ipairs(planned) do
    if not plan.is_pending(item) then
      notify({ event = item.action == 'later' and 'later' or 'skip', name = item.name })
    elseif item.action ~= 'covered' then
      context.at = item.name
      if context.stopping() then break end
      run_item(context, steps[place], item, result)
    end
  end
  return result
end

--- Runs what one database lacks.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts table of runMigrations
---@param shard integer?
---@return stores.MigrationResult
function runner.run(entries, store, opts, shard)
  local notify = runner.notifier(opts, shard)
  local steps, state, planned = runner.planned_for(entries, store, opts)
  plan.check(steps, planned)
  local pending = plan.pending(planned)
  local result = new_result(state, planned)
  if opts.dry_run then
    result.pending, result.plan = pending, planned
    return result
  elseif #pending == 0 then
    -- Nothing can be missing that is there already, so a program that starts takes no lock.
    for _, name in ipairs(result.skipped) do notify({ event = 'skip', name = name }) end
    return result
  end
  local wait = { limit = opts.lock_wait or LOCK_WAIT, notify = notify, takeover = opts.takeover,
                 stopping = opts.stopping }
  local done = lock.hold(store, state.ledger, wait, function(held)
    return run_locked(entries, store, opts, notify, held)
  end)
  if not done then result.stopped = pending[1] end
  return done or result
end

local function baseline_locked(entries, store, opts, notify)
  local steps, state, planned = runner.planned_for(entries, store, opts)
  local result = new_result(state, planned)
  result.later = nil
  state.ledger:create(store)
  store:in_transaction(function(tx)
    for place, item in ipairs(planned) do
      local step = steps[place]
      if item.action == 'changed' and not opts.accept then plan.check({ step }, { item }) end
      if item.action ~= 'skip' then
        state.ledger:claim(tx, step)
        if state.journal[step.name] then state.ledger:finish(tx, step) end
        result.ran[#result.ran + 1] = step.name
      end
      if step.name == opts.upto then break end
    end
  end)
  for _, name in ipairs(result.ran) do notify({ event = 'baseline', name = name }) end
  return result
end

--- Writes into the ledger of one database that migrations ran.
---@param entries stores.Migration[]
---@param store stores.MigrationTarget
---@param opts table of baseline
---@param shard integer?
---@return {ran: string[], skipped: string[], ledger: string}
function runner.baseline(entries, store, opts, shard)
  local notify = runner.notifier(opts, shard)
  local ledger = plan.state(store, opts.ledger).ledger
  local wait = { limit = opts.lock_wait or LOCK_WAIT, notify = notify }
  return lock.hold(store, ledger, wait, function()
    return baseline_locked(entries, store, opts, notify)
  end)
end

return runner
