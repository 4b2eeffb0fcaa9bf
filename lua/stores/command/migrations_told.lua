--- What stores migrate writes for people.

local json = require('stores.json')
local migrations = require('stores.migrations')

local told = {}

--- The name of a shard in front of a line; nothing where there is one.
---@param results table[]
---@param at integer
---@return string
function told.shard(results, at)
  return results[2] and ('shard %d: '):format(at - 1) or ''
end

--- Results of shards as JSON: an array where there are shards.
---@param context stores.CommandContext
---@param results table[]
---@return table
function told.as_json(context, results)
  if not context.store().shards then return results[1] end
  local list = json.array()
  for at, result in ipairs(results) do list[at] = { shard = at - 1, result = result } end
  return list
end

-- ---- A run --------------------------------------------------------------------------------------

local function seconds(number)
  return number < 10 and ('%.1f s'):format(number) or ('%d s'):format(number)
end

local SAID = {
  start = function(event)
    return event.action ~= 'run' and ('%s (%s)'):format(event.name, event.action) or nil
  end,
  waiting = function(event)
    return 'waiting for ' .. (event.holder and tostring(event.holder) or 'another runner')
  end,
  retry = function(event)
    return ('%s: a lock is in the way (%s), try %d'):format(event.name, event.sqlstate, event.try)
  end,
  failed = function(event) return event.name .. ': failed' end,
  later = function(event) return event.name .. ': waits for --finish' end,
  takeover = function(event) return 'ended ' .. tostring(event.holder or 'another runner') end,
}

--- A function that is told of the events of a run, and writes on stderr how it goes.
---@param context stores.CommandContext
---@return fun(event: table)
function told.listener(context)
  local now = require('stores.wait').host.now
  local began, bars = {}, {}
  return function(event)
    local key = ('%s %s'):format(event.shard or '', event.name or '')
    local text
    if event.event == 'start' then began[key] = now() end
    if event.event == 'progress' then
      bars[key] = bars[key] or context.progress(event.name, event.total, event.from)
      bars[key]:at(event.rows)
    elseif bars[key] then
      bars[key]:done()
      bars[key] = nil
    end
    if event.event == 'done' then
      text = ('%s: done (%s)'):format(event.name, seconds(now() - (began[key] or now())))
    elseif SAID[event.event] then
      text = SAID[event.event](event)
    end
    if text then
      context.say((event.shard and ('shard %d: '):format(event.shard) or '') .. text)
    end
  end
end

--- What a run came to.
---@param result stores.MigrationResult
---@return string
function told.summary(result)
  local text = ('%d ran, %d had run before'):format(#result.ran, #result.skipped)
  if result.covered then
    text = ('%s, a checkpoint stands for %d'):format(text, #result.covered)
  end
  return result.later and ('%s, %d for --finish'):format(text, #result.later) or text
end

-- ---- Looks --------------------------------------------------------------------------------------

local function how(item)
  if item.difference then return item.difference end
  if item.done then return ('%d of %d statements are done'):format(item.done, item.statements) end
  if item.rows then return ('%d rows are done, to id %s'):format(item.rows, item.after) end
  if item.missing then return ("the database lacks '%s'"):format(item.missing) end
  return item.outside and 'outside of a transaction' or nil
end

---@param context stores.CommandContext
---@param plans table[] of each shard
function told.plan(context, plans)
  local rows = {}
  for at, planned in ipairs(plans) do
    for _, item in ipairs(planned) do
      rows[#rows + 1] = { told.shard(plans, at) .. item.action, item.name, how(item) }
    end
  end
  context.table({ 'action', 'migration', '' }, rows)
end

---@param context stores.CommandContext
---@param states table[] of each shard
function told.status(context, states)
  local rows = {}
  for at, list in ipairs(states) do
    for _, item in ipairs(list) do
      rows[#rows + 1] = { told.shard(states, at) .. item.state, item.ran_on, item.name,
        how(item) }
    end
  end
  context.table({ 'state', 'ran on', 'migration', '' }, rows)
end

-- What is told on the way of a test: the ways, and the migrations of each.
---@param context stores.CommandContext
---@return fun(event: table)
function told.trials(context)
  return function(event)
    if event.event == 'way' then context.say(event.way) end
  end
end

--- What a test came to.
---@param result {ways: string[]}
---@return string[] lines
function told.tried(result)
  local lines = {}
  for at, way in ipairs(result.ways) do lines[at] = 'good ' .. way end
  return lines
end

local KINDS = { 'pending', 'changed', 'unfinished', 'unknown', 'invalid_indexes',
  'not_distributed' }

---@param context stores.CommandContext
---@param reports table[] of each shard
function told.verify(context, reports)
  for at, report in ipairs(reports) do
    local before = told.shard(reports, at)
    if report.ok then context.print(before .. 'as the list says') end
    for _, kind in ipairs(KINDS) do
      for _, name in ipairs(report[kind]) do
        context.print(('%s%s: %s'):format(before, kind:gsub('_', ' '), name))
      end
    end
    for _, one in ipairs(report.differences or {}) do
      context.print(before .. migrations.describe(one))
    end
  end
end

--- What the lint found.
---@param context stores.CommandContext
---@param findings stores.LintFinding[]
function told.lint(context, findings)
  for _, finding in ipairs(findings) do
    context.print(('%s%s: %s: %s'):format(finding.migration,
      finding.line and (', line %d'):format(finding.line) or '', finding.rule, finding.message))
    context.print('  ' .. finding.safe)
  end
  if #findings == 0 then context.print('nothing is found') end
end

return told
