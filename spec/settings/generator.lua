--- Cases of surroundings that a program may find itself in: each setting that a role or a database
--- can make the default of its sessions, with values that nobody expects, and each variable of
--- libpq's environment. Each is run by spec/settings/program.lua in a process of its own.

local ffi = require('ffi')
local postgres = require('spec.support.postgres')
local process = require('spec.support.process')
local redis = require('spec.support.redis')
local stores = require('stores')

ffi.cdef([[
  typedef struct {
    const char *keyword, *envvar, *compiled, *val, *label, *dispchar;
    int dispsize;
  } spec_conninfo;
  spec_conninfo *PQconndefaults(void);
  void PQconninfoFree(spec_conninfo *options);
]])

local generator = {}

---@class spec.Setting
---@field where 'ROLE'|'DATABASE'|'ENV'
---@field name string
---@field value string
---@field refused string? what the refusal names, where the program cannot work under it

-- Values of settings that are text; of those that have none here, nothing is known that is odd.
local TEXTS = {
  DateStyle = { 'German, DMY', 'SQL, YMD', 'Postgres, MDY' },
  TimeZone = { 'Asia/Kathmandu', '-14:30' },
  application_name = { "it's odd", '' },
  client_encoding = { 'LATIN1', 'SQL_ASCII', 'EUC_JP', 'WIN1252' },
  default_text_search_config = { 'pg_catalog.german' },
  default_tablespace = { 'pg_default' }, temp_tablespaces = { 'pg_default' },
  default_table_access_method = { 'heap' },
  lc_messages = { 'C', 'POSIX' }, lc_monetary = { 'C' }, lc_numeric = { 'C' }, lc_time = { 'C' },
  search_path = { '"$user", public', 'public, pg_catalog', 'nowhere, public' },
  session_authorization = {}, timezone_abbreviations = { 'India' },
  wal_consistency_checking = { 'all' }, role = { 'other' },
  dynamic_library_path = { '/nowhere' }, backtrace_functions = { 'errstart' },
}

-- What cannot be worked under, and the words by which that is said.
local REFUSED = {
  default_transaction_read_only = { on = 'default_transaction_read_only' },
}

-- Settings whose least value ends or starves whatever runs, whoever asks: how long one may wait,
-- how much memory and disk there is.
local SANE = {
  deadlock_timeout = { '10', '100000' },
  idle_session_timeout = { '10000' }, lock_timeout = { '10000' },
  idle_in_transaction_session_timeout = { '10000' }, statement_timeout = { '1', '20000' },
  post_auth_delay = { '1' }, temp_file_limit = { '100000' }, work_mem = { '64', '2000000' },
  maintenance_work_mem = { '1024', '2000000' }, temp_buffers = { '100' },
  max_stack_depth = { '100' }, vacuum_cost_delay = { '1' },
  log_parameter_max_length = { '1' }, max_parallel_workers_per_gather = { '0', '8' },
  logical_decoding_work_mem = { '64' }, tcp_user_timeout = { '20000' },
  client_connection_check_interval = { '1' },
}

local VARIABLES = {
  PGCLIENTENCODING = { 'LATIN1', 'SQL_ASCII', 'EUC_JP', 'auto' },
  PGOPTIONS = { '-c gin_fuzzy_search_limit=1 -c extra_float_digits=-15', '-c exit_on_error=on',
    '-c default_transaction_read_only=on', '-c client_encoding=LATIN1',
    '-c default_transaction_isolation=serializable', '--standard-conforming-strings=off',
    '-c search_path=public,pg_catalog -c datestyle=German' },
  PGAPPNAME = { "it's odd" }, PGPORT = { '1' }, PGHOST = { '/nowhere' }, PGUSER = { 'nobody' },
  PGDATABASE = { 'nothing' }, PGPASSWORD = { 'unused' }, PGPASSFILE = { '/nowhere' },
  PGSSLMODE = { 'disable', 'require', 'verify-full' }, PGREQUIRESSL = { '1' },
  PGSSLROOTCERT = { '/nowhere' }, PGSSLCERT = { '/nowhere' }, PGSSLKEY = { '/nowhere' },
  PGSSLCRL = { '/nowhere' }, PGSSLCRLDIR = { '/nowhere' }, PGSSLSNI = { '0' },
  PGSSLCOMPRESSION = { '1' }, PGSSLMINPROTOCOLVERSION = { 'TLSv1.3' },
  PGSSLMAXPROTOCOLVERSION = { 'TLSv1.3' }, PGCONNECT_TIMEOUT = { '0', '20' },
  PGTARGETSESSIONATTRS = { 'standby', 'read-only', 'prefer-standby', 'primary', 'read-write' },
  PGLOADBALANCEHOSTS = { 'random' }, PGREQUIREAUTH = { '!password' },
  PGKRBSRVNAME = { 'odd' }, PGGSSLIB = { 'gssapi' }, PGGSSENCMODE = { 'disable', 'prefer' },
  PGCHANNELBINDING = { 'disable', 'prefer' }, PGTZ = { 'Asia/Kathmandu' },
  PGDATESTYLE = { 'German' }, PGGEQO = { 'off' }, PGSYSCONFDIR = { '/nowhere' },
  PGLOCALEDIR = { '/nowhere' }, PGHOSTADDR = { '127.0.0.9' },
}

-- What libpq does not try, or does not find; the message names it, or what it is about.
local REFUSED_VARIABLES = {
  PGTZ = { Nowhere = 'TimeZone' }, PGDATESTYLE = { nonsense = 'DateStyle' },
  PGSERVICE = { nowhere = 'service' }, PGREQUIREPEER = { nobody = 'requirepeer' },
  PGCHANNELBINDING = { require = 'channel binding', nonsense = 'channel_binding' },
  PGSSLMODE = { nonsense = 'sslmode' }, PGGSSENCMODE = { nonsense = 'gssencmode' },
  PGTARGETSESSIONATTRS = { nonsense = 'target_session_attrs' },
  PGSSLMINPROTOCOLVERSION = { nonsense = 'ssl_min_protocol_version' },
  PGOPTIONS = { ['-c no_such_setting=1'] = 'no_such_setting' },
}

local function sorted(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end

-- The values of one setting that differ from what it is.
local function values_of(row)
  if SANE[row.name] then return SANE[row.name] end
  if TEXTS[row.name] then return TEXTS[row.name] end
  if row.vartype == 'bool' then return { row.setting == 'on' and 'off' or 'on' } end
  if row.vartype == 'enum' then
    local values = {}
    for _, value in ipairs(row.enumvals) do
      if value ~= row.setting then values[#values + 1] = value end
    end
    return values
  end
  if row.vartype == 'string' then return {} end
  if row.min_val == row.max_val then return {} end
  return { row.min_val, row.max_val }
end

--- The settings of a server, each for a role or for a database.
---@param db table the config of a superuser
---@return spec.Setting[]
function generator.settings(db)
  local store = stores.Store.new(db, nil)
  local rows = store:query([[SELECT name, vartype, setting, min_val, max_val,
      to_jsonb(enumvals) AS enumvals FROM pg_settings
    WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend') ORDER BY name]])
  store:close()
  rows[#rows + 1] = { name = 'role', vartype = 'string' }
  local cases = {}
  for _, row in ipairs(rows) do
    for _, value in ipairs(values_of(row)) do
      local refused = (REFUSED[row.name] or {})[value]
      for _, where in ipairs({ 'ROLE', 'DATABASE' }) do
        cases[#cases + 1] = { where = where, name = row.name, value = value, refused = refused }
      end
    end
  end
  return cases
end

--- The variables that this libpq reads.
---@return spec.Setting[]
function generator.variables()
  local libpq = ffi.load('libpq.so.5')
  local names = { PGTZ = true, PGDATESTYLE = true, PGGEQO = true, PGREQUIRESSL = true,
                  PGSYSCONFDIR = true, PGLOCALEDIR = true }
  local options = libpq.PQconndefaults()
  local i = 0
  while options[i].keyword ~= nil do
    if options[i].envvar ~= nil then names[ffi.string(options[i].envvar)] = true end
    i = i + 1
  end
  libpq.PQconninfoFree(options)
  local cases = {}
  for _, name in ipairs(sorted(names)) do
    for _, value in ipairs(VARIABLES[name] or {}) do
      cases[#cases + 1] = { where = 'ENV', name = name, value = value }
    end
    for _, value in ipairs(sorted(REFUSED_VARIABLES[name] or {})) do
      cases[#cases + 1] = { where = 'ENV', name = name, value = value,
                            refused = REFUSED_VARIABLES[name][value] }
    end
  end
  return cases
end

local turn = 0

-- As SQL writes a value. Lists of names are several of them.
local function literal(case)
  if case.name == 'search_path' then return case.value end
  return "'" .. case.value:gsub("'", "''") .. "'"
end

---@class spec.Surroundings
---@field server spec.Postgres
---@field redis spec.Redis

--- Servers with a database "odd", in which a role "odd" runs the program: a table that a role
--- "plain" shares with it, and one with so many rows that an index keeps those of a key in a tree.
---@return spec.Surroundings
function generator.start()
  local at = { server = postgres.start(), redis = redis.start() }
  at.server:psql([[CREATE ROLE odd LOGIN; CREATE ROLE plain LOGIN; CREATE ROLE other;
    GRANT other TO odd; CREATE DATABASE odd OWNER odd]])
  at.server:psql([[GRANT ALL ON SCHEMA public TO other, odd;
    CREATE TABLE shared (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO shared VALUES (1, '{"n": 0}');
    CREATE TABLE many (id bigint PRIMARY KEY, value jsonb);
    INSERT INTO many SELECT i, jsonb_build_object('part', i % 10, 'pad', repeat('x', 200))
      FROM generate_series(1, 20000) AS i;
    CREATE INDEX ON many USING gin (value jsonb_path_ops);
    GRANT ALL ON shared, many TO plain, odd, other]], 'odd')
  at.server:psql('VACUUM ANALYZE many', 'odd')
  return at
end

---@param at spec.Surroundings
function generator.stop(at)
  at.server:remove()
  at.redis:remove()
end

--- What a case gives: "fine", what went wrong, or nil where the server does not take the setting.
---@param at spec.Surroundings
---@param case spec.Setting
---@return string?
function generator.run(at, case)
  turn = turn + 1
  local plain = stores.Store.new(at.server:config({ database = 'odd', user = 'plain' }),
    at.redis:config({ timeout = 2 }))
  plain:update('shared', { id = '1', n = turn * 10 })
  for _ = 1, 3 do plain:find('shared', '1') end
  local words = { 'env' }
  if case.where == 'ENV' then
    words[2] = case.name .. '=' .. case.value
  else
    local ok, said = pcall(at.server.psql, at.server, ('ALTER %s odd SET %s = %s'):format(
      case.where, '"' .. case.name .. '"', literal(case)))
    if not ok or said ~= '' then
      plain:close()
      at.server:psql(('ALTER %s odd RESET ALL'):format(case.where)) -- what it warned of it did
      return nil
    end
  end
  for _, word in ipairs({ 'timeout', '60', 'luajit', 'spec/settings/program.lua', at.server.socket,
    tostring(at.server.port), 'odd', 'odd', at.redis.socket, 'rows_' .. turn,
    tostring(turn * 10) }) do
    words[#words + 1] = word
  end
  local said = process.start(words):wait():gsub('%s+$', '')
  if case.where ~= 'ENV' then at.server:psql(('ALTER %s odd RESET ALL'):format(case.where)) end
  local seen = plain:find('shared', '1').n
  plain:close()
  if said == 'fine' and seen ~= turn * 10 + 1 then
    return ('another process finds %s, not %d'):format(tostring(seen), turn * 10 + 1)
  end
  return said
end

--- Whether that is as it should be: it works, or it is refused by name.
---@param case spec.Setting
---@param said string
---@return boolean
function generator.is_right(case, said)
  if case.refused then return said:find(case.refused, 1, true) ~= nil end
  return said == 'fine'
end

---@param case spec.Setting
---@return string
function generator.title(case)
  if case.where == 'ENV' then return case.name .. '=' .. case.value end
  return ('ALTER %s .. SET %s = %s'):format(case.where, case.name, literal(case))
end

return generator
