--- Lists of 20 documents out of 200,000, each form of criteria and order with its index, beside
--- pgbench with the same statement and the same parameters: bench/run.sh --lists.
local ceilings = require('bench.ceilings')
local forms = require('bench.forms')
local query = require('stores.sql.query')
local report = require('bench.report')
local stores = require('stores')
local system = require('bench.system')

local CLIENTS = { 4, 16 }
local IN_FLIGHT = 16

local function fill(rows)
  local function at(path) return "(NULLIF(value #> '{" .. path .. "}', 'null'))" end
  local sql = [[
    DROP TABLE IF EXISTS bench_lists;
    CREATE TABLE bench_lists (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO bench_lists SELECT n, jsonb_build_object('id', n::text, 'name', 'name ' || n,
        'age', CASE WHEN n % 4000 > 0 THEN n % 20000 END, 'city', 'city ' || n % 1000,
        'tags', jsonb_build_array('t' || n % 2000, 'all'))
        || CASE WHEN n % 4000 = 0 THEN jsonb_build_object('rare', n) ELSE '{}' END
      FROM generate_series(1, ROWS) n;
    CREATE INDEX ON bench_lists USING gin (value jsonb_path_ops);
    CREATE INDEX ON bench_lists (AGE, id);
    CREATE INDEX ON bench_lists (RARE, id);
    CREATE INDEX ON bench_lists (CITY, AGE DESC NULLS LAST, id DESC);
    CREATE INDEX ON bench_lists ((value #>> '{name}') text_pattern_ops);
    VACUUM ANALYZE bench_lists;]]
  for word, path in pairs({ AGE = 'age', RARE = 'rare', CITY = 'city' }) do
    sql = sql:gsub('%f[%w]' .. word .. '%f[%W]', function() return at(path) end)
  end
  system.psql((sql:gsub('ROWS', ('%d'):format(rows))))
end

-- The cursor from which the form that wants one goes on.
local function cursor_of(form)
  local store = stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
    user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE') })
  local _, cursor = store:findByJSON('bench_lists', form.doc, { all = true,
    order = form.opts.order, limit = 1000 })
  store:close()
  return cursor
end

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Commands of pgbench: the statement is planned once (prepared), or each time as Stores has it.
local function commands(form, seconds)
  local page = { table = 'bench_lists', has_cursors = true, one_more = true }
  local sql, params = query.find_by_json(form.doc, form.opts, page)
  local defined = {}
  for i, param in ipairs(params) do
    defined[i] = ('-D %s'):format(quoted(('p%d=%s'):format(i, param)))
  end
  local file = ('%s/lists.sql'):format(system.out)
  system.write(file, sql:gsub('%%T', 'bench_lists'):gsub('%$(%d+)', ':p%1') .. ';\n')
  local list = {}
  for _, clients in ipairs(CLIENTS) do
    for _, mode in ipairs({ 'prepared', 'extended' }) do
      -- pgbench takes whole seconds: a quick look counts transactions instead
      local length = seconds < 1 and '-t ' .. math.max(10, math.floor(400 / clients))
        or '-T ' .. math.floor(seconds)
      list[#list + 1] = ("%s -n -M %s -c %d -j %d %s %s -f '%s'"):format(system.pgbench(), mode,
        clients, math.min(clients, system.cores()), length, table.concat(defined, ' '), file)
    end
  end
  return list
end

local function pgbench(command)
  local text = system.run(command)
  return tonumber(text:match('tps = ([%d.]+)')) or error('pgbench said: ' .. text, 0)
end

return function(options, told)
  fill(options.rows)
  print(('%-20s %12s %12s %14s %8s'):format('list', 'Stores', 'Stores, 1', 'pgbench', 'ratio'))
  report.begin('lists', { 'list', ('Stores, %d in flight'):format(IN_FLIGHT), 'Stores, alone',
    'pgbench', 'ratio' }, told)
  for i, form in ipairs(forms) do
    if not options.only or form.name:find(options.only, 1, true) then
      local after
      if form.opts.after then
        after = cursor_of(form)
        form.opts.after = after
      end
      local function ours(in_flight)
        return tonumber(system.run((after and 'STORES_BENCH_AFTER=' .. after .. ' ' or '')
          .. ceilings.command('list_' .. i, in_flight, options)))
      end
      local list, together, alone = commands(form, options.seconds), {}, {}
      local theirs = {}
      for round = 1, options.repeats do
        together[round], alone[round] = ours(IN_FLIGHT), ours(0)
        for k, command in ipairs(list) do
          theirs[k] = theirs[k] or {}
          theirs[k][round] = pgbench(command)
        end
      end
      local best = 0
      for _, rates in ipairs(theirs) do best = math.max(best, system.median(rates)) end
      local rate = system.median(together)
      print(('%-20s %10.0f/s %10.0f/s %12.0f/s %8.2f'):format(form.name, rate,
        system.median(alone), best, rate / best))
      report.row(form.name, report.whole(rate), report.whole(system.median(alone)),
        report.whole(best), ('%.2f'):format(rate / best))
      io.stdout:flush()
    end
  end
  print(('\nStores: %d calls in flight, and one at a time; pgbench: the same statement and '
    .. 'parameters,\nprepared and not, best of %s clients'):format(IN_FLIGHT,
    table.concat(CLIENTS, ', ')))
end
