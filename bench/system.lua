--- What the benchmarks ask of the machine: commands, servers, versions.
local system = {}

-- How busy others kept the machine before the first measurement: processes that ran, in a minute.
local load_before = assert(io.open('/proc/loadavg')):read('*n')

system.out = assert(os.getenv('STORES_BENCH_OUT'), 'run this by bench/run.sh')
system.redis = assert(os.getenv('REDIS_SOCKET'))

-- Whether somebody watches.
system.terminal = os.execute('test -t 2') == 0

function system.write(path, text)
  local file = assert(io.open(path, 'w'))
  assert(file:write(text))
  assert(file:close())
end

--- The output of a command; raises with it where the command fails.
---@param command string
---@return string
function system.run(command)
  local pipe = assert(io.popen(command .. ' 2>&1; echo status $?'))
  local text = pipe:read('*a')
  pipe:close()
  local output, status = text:match('^(.-)status (%d+)\n$')
  if status ~= '0' then error(('%s\nfailed: %s'):format(command, output or text), 0) end
  return output
end

--- Runs workloads at once, each of which prints what it did in a second; gives the sum.
---@param commands string[]
---@return number
function system.rates(commands)
  local total = 0
  for rate in system.run('(' .. table.concat(commands, ' & ') .. ' & wait)'):gmatch('[^\n]+') do
    total = total + (tonumber(rate) or error('a workload said: ' .. rate, 0))
  end
  return total
end

---@param list number[] is put in order
---@return number
function system.median(list)
  table.sort(list)
  local middle = math.floor(#list / 2)
  if #list % 2 == 1 then return list[middle + 1] end
  return (list[middle] + list[middle + 1]) / 2
end

--- Runs SQL on the servers; the rows as text.
---@param sql string
---@return string
function system.psql(sql)
  local file = system.out .. '/psql.sql'
  system.write(file, sql)
  return (system.run("psql -XAtq -v ON_ERROR_STOP=1 -f '" .. file .. "'"):gsub('\n$', ''))
end

--- Sets keys of Redis.
---@param count integer
---@param each fun(number: integer): string, string key and value
function system.redis_fill(count, each)
  local pipe = assert(io.popen(("redis-cli -s '%s' --pipe >/dev/null"):format(system.redis), 'w'))
  for number = 1, count do
    local key, value = each(number)
    pipe:write(('*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n'):format(#key, key, #value, value))
  end
  pipe:close()
end

function system.cores()
  return tonumber((system.run('nproc')))
end

--- pgbench of the servers' own version where it is not on the path.
function system.pgbench()
  if not system.pgbench_path then
    local found = system.run('command -v pgbench || ls /usr/lib/postgresql/*/bin/pgbench')
    system.pgbench_path = found:match('[^\n]+')
  end
  return system.pgbench_path
end

local function first_line(command)
  return system.run(command):match('[^\n]*')
end

local function processor()
  local cpu = io.open('/proc/cpuinfo')
  local model = cpu and cpu:read('*a'):match('model name%s*:%s*([^\n]*)') or 'unknown'
  if cpu then cpu:close() end
  return model
end

local function redis_version()
  return (first_line('redis-server --version'):match('^Redis server (v=%S+)'):gsub('v=', 'Redis '))
end

local function luajit_version()
  return first_line('luajit -v'):match('^LuaJIT %S+')
end

--- Day, commit, machine and versions in one line; `changed` where the tree is not the commit's.
---@return string
function system.where()
  local changed = system.run('git status --porcelain --untracked-files=no -- core bindings lua')
  return ('%s, commit %s%s; %d cores, %s, %s, load %.1f before; PostgreSQL %s, %s, %s'):format(
    os.date('!%Y-%m-%d'), first_line('git rev-parse --short HEAD'),
    changed == '' and '' or ' (changed)', system.cores(), processor(), first_line('uname -sr'),
    load_before, system.psql('SHOW server_version'):match('^%S+'), redis_version(),
    luajit_version())
end

--- What a reader needs to know of where the figures come from.
---@param no_documents boolean? the tables of the workloads are not there
---@return string[]
function system.describe(no_documents)
  local settings = system.psql([[SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name)
    FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')]])
  return {
    ('machine   %d cores, %s, %s'):format(system.cores(), processor(), first_line('uname -sr')),
    ('servers   PostgreSQL %s (%s); %s'):format(system.psql('SHOW server_version'), settings,
      redis_version()),
    ('tools     %s; %s; %s'):format(first_line(system.pgbench() .. ' --version'),
      first_line('redis-benchmark --version'), luajit_version()),
    ('document  %s bytes of JSON on average'):format(no_documents and 'about 100'
      or system.psql('SELECT round(avg(length(value::text))) FROM bench_read')),
    'both ways over unix sockets, but for TLS, which goes by TCP beside TCP; a pool of 10 '
      .. 'connections; one process of Stores',
  }
end

return system
