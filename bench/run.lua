--- Each workload of Stores beside its ceiling: see bench/run.sh, which starts the servers.
local ceilings = require('bench.ceilings')
local report = require('bench.report')
local system = require('bench.system')
local tls = require('bench.tls')

local options = { seconds = 1, repeats = 5, clients = { 1, 4, 16, 64 } }

-- In the order of --all; rows: as many as there are where nobody says how many, in the tables of
-- the workloads or, where `own` is, in those that the group makes.
local GROUPS = {
  { 'workloads', rows = 100000 },
  { 'peers', rows = 100000 },
  { 'http', rows = 100000 },
  { 'plot', rows = 100000 },
  { 'lists', rows = 200000, own = true },
  { 'bulk', rows = 1000000, own = true },
  { 'codec', rows = 0, own = true },
}
local asked = {}

--- bench/run.sh knows which options there are; here they get their values.
local function read_options()
  local at = 1
  local function number(option)
    at = at + 1
    local value = tonumber(arg[at])
    if value and value > 0 then return value end
    io.stderr:write('bench/run.sh: ', option, ' takes a number above 0\n')
    os.exit(2)
  end
  while arg[at] do
    local option = arg[at]
    if option == '--quick' then
      options.seconds, options.repeats, options.rows, options.clients = 0.2, 1, 2000, { 4, 16 }
      options.quick = true
    elseif option == '--write' then
      options.write = true
    elseif option == '--only' then
      at = at + 1
      options.only = arg[at] or ''
    elseif option == '--repeat' then
      options.repeats = math.ceil(number(option))
    elseif option == '--rows' then
      options.rows = math.ceil(number(option))
    elseif option == '--seconds' then
      options.seconds = number(option)
    else
      asked[option:sub(3)] = true
    end
    at = at + 1
  end
end

-- name, workload, calls in flight, ceiling. Of those alone the ratio is that of the times. where:
-- what the command begins with.
local WORKLOADS = {
  { 'find, cached', 'find_cached', 1024, ceilings.redis_benchmark, at_least = 0.65, aim = 0.8 },
  { 'find, cache = false', 'find', 256, ceilings.pgbench('find'), at_least = 4, aim = 6 },
  { 'findAllByIds of 100, cached', 'find_all_by_ids_cached', 16,
    ceilings.workload('find_cached', 1024, 'find, cached, as above'), at_least = 1.4, aim = 2 },
  { 'insert, cache = false', 'insert', 256, ceilings.pgbench('insert'), at_least = 5, aim = 8 },
  { 'update, cache = false', 'update', 256, ceilings.pgbench('update'), at_least = 5, aim = 8 },
  { 'update, cached', 'update_cached', 256, ceilings.pgbench('update'), at_least = 3, aim = 5 },
  { 'updateObject, cached', 'update_object_cached', 256, ceilings.pgbench('transaction'),
    at_least = 3.5, aim = 5 },
  { 'updateObject of one row', 'update_object_of_one_row_cached', 64,
    ceilings.pgbench('one_row'), at_least = 30, aim = 60 },
  { 'find, cached, by TLS', 'find_cached', 1024, where = tls.with, at_least = 0.8, aim = 0.95,
    ceilings.workload('find_cached', 1024, 'the same without TLS', tls.without) },
  { 'find, cached', 'find_cached', 0, ceilings.hiredis_loop, at_most = 1.15, aim = 1.05 },
  { 'find, cache = false', 'find', 0, ceilings.libpq_loop, at_most = 1.1, aim = 1.05 },
  { 'find, cached, by TLS', 'find_cached', 0, where = tls.with, at_most = 1.25, aim = 1.15,
    ceilings.workload('find_cached', 0, 'the same without TLS', tls.without) },
  { 'find, held', 'find_held', 0, ceilings.redis_benchmark, at_least = 1, aim = 2 },
  { 'find, held, shared', 'find_shared_held', 0, ceilings.redis_benchmark, at_least = 4,
    aim = 10 },
}
-- those of many processes are no matter of a quick look
for _, holders in ipairs({ 1, 8, 24 }) do
  WORKLOADS[#WORKLOADS + 1] = { ('update, held by %d'):format(holders), 'update_held', 0,
    ceilings.workload('update_cached', 0, 'the same of a table that nobody holds'), at_most = 2,
    aim = 1.3, slow = holders > 1,
    where = function() return ('STORES_BENCH_HOLDERS=%d '):format(holders) end }
end

local function progress(text, ...)
  if system.terminal then io.stderr:write('\r\27[K', text:format(...)) end
end

--- Medians of both, measured in turns, so that a busy machine is busy for both.
local function measure(workload)
  local name, kind, in_flight, make = unpack(workload, 1, 4)
  local ceiling = make(options)
  local where = workload.where and workload.where() or ''
  local command = where .. ceilings.command(kind, in_flight, options)
  local ours, theirs = {}, {}
  for i = 1, #ceiling.list do theirs[i] = {} end
  if kind == 'find_cached' or kind == 'find_all_by_ids_cached' then
    system.run(where .. ceilings.command('fill_cached', 0, options)) -- every row is in the cache
  end
  for round = 1, options.repeats do
    progress('%s: %d of %d', name, round, options.repeats)
    for i, once in ipairs(ceiling.list) do theirs[i][round] = once() end
    ours[round] = tonumber(system.run(command)) or error(command .. ' gave no figure', 0)
  end
  progress('')
  local best = 0
  for _, list in ipairs(theirs) do best = math.max(best, system.median(list)) end
  return system.median(ours), best, ceiling, command
end

local function show(workload)
  local rate, best, ceiling, command = measure(workload)
  local ratio, wanted = rate / best, ('at least %g, aim %g'):format(workload.at_least or 0,
    workload.aim)
  local unit = 'x'
  if workload.at_most then
    ratio, unit = best / rate, 'x the time'
    wanted = ('at most %g, aim %g'):format(workload.at_most, workload.aim)
  end
  print(('%-28s %6s %11.0f /s   %11.0f /s  %6.2f %-10s  %s'):format(workload[1],
    workload[3] == 0 and 'alone' or workload[3], rate, best, ratio, unit, wanted))
  io.stdout:flush()
  report.row(workload[1], workload[3] == 0 and 'alone' or report.whole(workload[3]),
    report.whole(rate), report.whole(best), ('%.2f %s'):format(ratio, unit), wanted)
  return ('%s: %s\n  beside %s: %s'):format(workload[1], command, ceiling.what, ceiling.command)
end

--- How much was measured, for the page.
local function told()
  return ('medians of %d times %g s, %s rows'):format(options.repeats, options.seconds,
    report.whole(options.rows))
end

local runs = {}

function runs.workloads()
  print(('\n%-28s %6s %14s   %14s  %6s %-10s  %s'):format('workload', 'flight', 'Stores', 'ceiling',
    'ratio', '', 'wanted'))
  report.begin('workloads', { 'workload', 'in flight', 'Stores', 'ceiling', 'ratio', 'wanted' },
    told())
  local said = {}
  for _, workload in ipairs(WORKLOADS) do
    local asked_for = not options.only and not (workload.slow and options.quick)
      or options.only and (workload[1]:find(options.only, 1, true)
        or workload[2]:find(options.only, 1, true))
    if asked_for then
      said[#said + 1] = show(workload)
    end
  end
  tls.stop()
  print('\nwhat was run\n' .. table.concat(said, '\n'))
end

local function run(group)
  local name, rows = group[1], options.rows
  options.rows = rows or group.rows
  if not group.own then ceilings.fill(options.rows) end
  print(table.concat(system.describe(group.own), '\n'))
  print(('figures   median of %d measurements of %g s, %d rows\n'):format(options.repeats,
    options.seconds, options.rows))
  local fn = runs[name] or require('bench.' .. name)
  fn(options, told())
  options.rows = rows
end

read_options()
if not next(asked) then asked.workloads = true end
if options.write and options.only then
  io.stderr:write('bench/run.sh: --write writes whole tables, and --only measures a part of one\n')
  os.exit(2)
end
for _, group in ipairs(GROUPS) do
  if asked.all or asked[group[1]] then run(group) end
end
if options.write then report.write() end
