--- Very many documents: `stores import` and `stores export` beside psql's \copy of the same lines,
--- into and out of tables of one shape: bench/run.sh --bulk.
local report = require('bench.report')
local system = require('bench.system')

local TABLE = [[
DROP TABLE IF EXISTS %s;
CREATE TABLE %s (id bigint PRIMARY KEY, value jsonb NOT NULL);]]
local INDEX = ' CREATE INDEX %s_value_idx ON %s USING gin (value jsonb_path_ops);'

local function write_lines(rows)
  local lines, copied = system.out .. '/bulk.jsonl', system.out .. '/bulk.copy'
  local one, other = assert(io.open(lines, 'w')), assert(io.open(copied, 'w'))
  for n = 1, rows do
    local text = ('{"id": "%d", "name": "user %d", "age": %d, "email": "user%d@example.org", '
      .. '"tags": ["a", "b%d"], "address": {"city": "city %d", "street": "street %d"}}')
      :format(n, n, n % 90, n, n % 100, n % 1000, n)
    assert(one:write(text, '\n'))
    assert(other:write(n, '\t', text, '\n'))
  end
  assert(one:close())
  assert(other:close())
  return lines, copied
end

local function make(name, indexed)
  system.psql(TABLE:format(name, name) .. (indexed and INDEX:format(name, name) or '')
    .. ' CHECKPOINT;')
end

-- Seconds of a command, by a clock of its own.
local function seconds_of(command)
  local text = system.run('date +%s.%N; ' .. command .. ' >/dev/null && date +%s.%N')
  local began, ended = text:match('^(%S+).-([%d.]+)%s*$')
  return tonumber(ended) - tonumber(began)
end

local function stores_command(words)
  return ('tools/stores %s --url "postgresql://$PGUSER@/$PGDATABASE?host=$PGHOST&port=$PGPORT" '
    .. '--redis "unix://$REDIS_SOCKET"'):format(words)
end

local function copy(words)
  return ([[psql -XAtq -c "\\copy %s"]]):format(words)
end

local function show(what, rows, ours, theirs)
  print(('%-36s %10.0f /s   %10.0f /s  %6.2f x   at least 0.5'):format(what, rows / ours,
    rows / theirs, theirs / ours))
  report.row(what, report.whole(rows / ours), report.whole(rows / theirs),
    ('%.2f'):format(theirs / ours))
  io.stdout:flush()
end

return function(options)
  local rows = options.rows
  local lines, copied = write_lines(rows)
  report.begin('bulk', { 'documents a second', 'Stores', 'psql', 'ratio' },
    ('once, %s documents'):format(report.whole(rows)))
  print(('%-36s %13s   %13s'):format(('%d documents'):format(rows), 'Stores', 'psql'))
  for _, indexed in ipairs({ true, false }) do
    local what = indexed and 'with a GIN index' or 'without one'
    make('bulk_theirs', indexed)
    local theirs = seconds_of(copy("bulk_theirs (id, value) from '" .. copied .. "'"))
    make('bulk_ours', indexed)
    local ours = seconds_of(stores_command('import bulk_ours ' .. lines))
    show('import, ' .. what, rows, ours, theirs)
  end
  system.psql('VACUUM ANALYZE bulk_ours; VACUUM ANALYZE bulk_theirs;')
  local theirs = seconds_of(copy('(select value from bulk_theirs order by id) to '
    .. "'" .. system.out .. "/bulk.theirs'"))
  local ours = seconds_of(stores_command('export bulk_ours --output ' .. system.out
    .. '/bulk.ours'))
  show('export', rows, ours, theirs)
  os.remove(lines)
  os.remove(copied)
  os.remove(system.out .. '/bulk.theirs')
  os.remove(system.out .. '/bulk.ours')
end
