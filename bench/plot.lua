--- How the figures go with rows, with coroutines and with processes: one SVG each, by gnuplot.
local ceilings = require('bench.ceilings')
local report = require('bench.report')
local system = require('bench.system')

local WORKLOADS = {
  { 'find, cached', 'find_cached' },
  { 'find, cache = false', 'find' },
  { 'documents of findAllByIds of 100, cached', 'find_all_by_ids_cached' },
  { 'insert, cache = false', 'insert' },
  { 'update, cached', 'update_cached' },
  { 'update, cache = false', 'update' },
  { 'updateObject, cached', 'update_object_cached' },
}

local IN_FLIGHT = 256

-- Calls a second of so many processes at once, each with its own ids.
local function measure(name, in_flight, processes, options)
  local commands = {}
  for number = 1, processes do
    commands[number] = ceilings.command(name, in_flight, options) .. ' ' .. number
  end
  return system.rates(commands)
end

local function fill(rows, options)
  if options.rows ~= rows then ceilings.fill(rows) end
  options.rows = rows
  system.run(ceilings.command('fill_cached', 0, options))
end

--- Each curve: name, label of its axis, its points, and how a point is measured.
local function curves(options)
  local small = options.seconds < 1
  local rows = options.rows
  return {
    { 'coroutines', 'coroutines of one process', { 16, 64, 256, 1024, 4096, 10000 },
      function(name, at) return measure(name, at, 1, options) end },
    { 'processes', ('processes of %d coroutines'):format(IN_FLIGHT), { 1, 2, 3, 4 },
      function(name, at) return measure(name, IN_FLIGHT, at, options) end },
    { 'rows', ('rows, %d coroutines'):format(IN_FLIGHT),
      small and { rows, rows * 10 } or { 10000, 100000, 1000000 },
      function(name, at)
        if options.rows ~= at then fill(at, options) end
        return measure(name, IN_FLIGHT, 1, options)
      end },
  }
end

local function draw(curve, data)
  local name, label = curve[1], curve[2]
  local base = system.out .. '/' .. name
  local plots = {}
  for i, workload in ipairs(WORKLOADS) do
    plots[i] = ("'%s.dat' using 1:%d with linespoints title '%s'"):format(base, i + 1, workload[1])
  end
  system.write(base .. '.dat', data)
  system.write(base .. '.gnuplot', ([[
set terminal svg size 800,500 background 'white'
set output '%s.svg'
set xlabel '%s'
set ylabel 'calls a second'
set logscale y
%s
set key outside below
set grid
plot %s
]]):format(base, label, name == 'processes' and 'set xtics 1' or 'set logscale x',
    table.concat(plots, ', ')))
  system.run("gnuplot '" .. base .. ".gnuplot'")
  print('drawn: ' .. base .. '.svg')
end

return function(options, told)
  fill(options.rows, options)
  for _, curve in ipairs(curves(options)) do
    local heading = { curve[1] }
    for i, workload in ipairs(WORKLOADS) do heading[i + 1] = workload[1] end
    print('\n' .. table.concat(heading, ' | '))
    heading[1] = curve[2]
    report.begin(curve[1], heading, told)
    local lines = {}
    for _, at in ipairs(curve[3]) do
      local line, shown = { ('%d'):format(at) }, { report.whole(at) }
      for i, workload in ipairs(WORKLOADS) do
        local rate = curve[4](workload[2], at)
        line[i + 1], shown[i + 1] = ('%.0f'):format(rate), report.whole(rate)
      end
      lines[#lines + 1] = table.concat(line, ' ')
      print((table.concat(line, ' | ')))
      report.row(unpack(shown))
      io.stdout:flush()
    end
    draw(curve, table.concat(lines, '\n') .. '\n')
  end
end
