--- Stores beside what people write by hand with the clients that Debian packages (bench/peer.lua).
--- A blocking client is run in 1, 4 and 16 processes, and the best of the sums counts.
local ceilings = require('bench.ceilings')
local report = require('bench.report')
local system = require('bench.system')

-- name, workload, calls in flight of Stores
local WORKLOADS = {
  { 'find, cached', 'find_cached', 1024 },
  { 'find, cache = false', 'find', 256 },
  { 'findAllByIds of 100, cached', 'find_all_by_ids_cached', 16 },
  { 'insert, cache = false', 'insert', 256 },
  { 'update, cache = false', 'update', 256 },
  { 'update, cached', 'update_cached', 256 },
  { 'updateObject, cached', 'update_object_cached', 256 },
}

local PROCESSES = { 1, 4, 16 }

local seeds = 0

local function peer(name, processes, options)
  local commands = {}
  for i = 1, processes do
    seeds = seeds + 1 -- also where the ids of inserts begin
    commands[i] = ('luajit bench/peer.lua %s %g %d %d'):format(name, options.seconds, options.rows,
      seeds)
  end
  return system.rates(commands)
end

--- The medians: Stores in flight, Stores alone, and the peer in so many processes.
local function measure(name, in_flight, options)
  local ours, alone, theirs = {}, {}, {}
  for i = 1, #PROCESSES do theirs[i] = {} end
  for round = 1, options.repeats do
    ours[round] = system.rates({ ceilings.command(name, in_flight, options) })
    alone[round] = system.rates({ ceilings.command(name, 0, options) })
    for i, count in ipairs(PROCESSES) do theirs[i][round] = peer(name, count, options) end
  end
  for i, list in ipairs(theirs) do theirs[i] = system.median(list) end
  return system.median(ours), system.median(alone), theirs
end

return function(options, told)
  print(('%-28s %6s %11s %11s %12s %13s %13s %9s %7s'):format('workload', 'flight', 'Stores',
    'Stores, 1', 'by hand, 1', 'by hand, 4', 'by hand, 16', 'x best', 'x 1'))
  report.begin('peers', { 'workload', 'in flight', 'Stores', 'Stores, alone', 'by hand, 1',
    'by hand, 4', 'by hand, 16', 'x best', 'x 1' }, told)
  for _, workload in ipairs(WORKLOADS) do
    local title, name, in_flight = unpack(workload)
    local only = options.only
    if not only or title:find(only, 1, true) or name:find(only, 1, true) then
      if name:find('find.*cached') then
        system.run(ceilings.command('fill_cached', 0, options))
        system.run(('luajit bench/peer.lua fill 1 %d'):format(options.rows))
      end
      local ours, alone, theirs = measure(name, in_flight, options)
      local best = math.max(unpack(theirs))
      print(('%-28s %6d %9.0f/s %9.0f/s %10.0f/s %11.0f/s %11.0f/s %9.2f %7.2f'):format(title,
        in_flight, ours, alone, theirs[1], theirs[2], theirs[3], ours / best, alone / theirs[1]))
      report.row(title, report.whole(in_flight), report.whole(ours), report.whole(alone),
        report.whole(theirs[1]), report.whole(theirs[2]), report.whole(theirs[3]),
        ('%.2f'):format(ours / best), ('%.2f'):format(alone / theirs[1]))
      io.stdout:flush()
    end
  end
  print([[

by hand: lua-sql-postgres, lua-redis and cjson under LuaJIT (bench/peer.lua), in 1, 4 and 16
processes; x best: Stores in flight beside the best of these; x 1: Stores, one call at a time,
beside one process of these]])
  require('bench.stale')(options)
end
