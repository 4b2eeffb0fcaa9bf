--- How fresh is what each of the peers reads, beside how fast it is: one process reads 64 rows that
--- another one writes, and both keep the same board (bench/stale_process.lua).
local report = require('bench.report')
local system = require('bench.system')

local KINDS = {
  { 'stores', 'Stores, find' },
  { 'held', 'Stores, find, held' },
  { 'by_hand', 'by hand: the cache beside the database' },
  { 'memory', 'by hand, before it lua-resty-lrucache, which polls each second' },
}

local BOARD = 64 * 1025 * 8

local function measure(kind, seconds)
  local board = system.out .. '/stale.board'
  system.psql([[DROP TABLE IF EXISTS bench_stale;
    CREATE TABLE bench_stale (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO bench_stale SELECT i, '{"n": 0}' FROM generate_series(1, 64) i]])
  system.run(("redis-cli -s '%s' --scan --pattern 'stale:*' | xargs -r redis-cli -s '%s' del")
    :format(system.redis, system.redis))
  system.run(("truncate -s 0 '%s' && truncate -s %d '%s'"):format(board, BOARD, board))
  local command = ("luajit bench/stale_process.lua %%s %s %g '%s'"):format(kind, seconds, board)
  local said = system.run(('(%s & %s & wait)'):format(command:format('write'),
    command:format('read')))
  os.remove(board)
  -- a store may have said before that Redis was silent, as it is beside much else
  local log, rate, share, worst = said:match('^(.-)([%d.]+) ([%d.]+) ([%d.]+)\n$')
  if not rate then error('a reader said: ' .. said, 0) end
  io.stderr:write(log)
  return tonumber(rate), tonumber(share), tonumber(worst)
end

---@param options table of bench/run.lua
return function(options)
  local seconds = options.seconds * 5
  report.begin('stale', { 'one reader', 'reads a second', 'stale, of 100', 'oldest, ms' },
    ('once for %g s, one writer of about 400 writes a second to 64 rows'):format(seconds))
  print(('\n%-64s %12s %10s %10s'):format('one reader', 'reads', 'stale', 'oldest'))
  for _, kind in ipairs(KINDS) do
    local rate, share, worst = measure(kind[1], seconds)
    print(('%-64s %10.0f/s %8.3f %% %7.1f ms'):format(kind[2], rate, share * 100, worst * 1000))
    report.row(kind[2], report.whole(rate), ('%.3f'):format(share * 100),
      ('%.1f'):format(worst * 1000))
  end
end
