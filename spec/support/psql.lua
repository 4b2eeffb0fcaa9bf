--- What `psql -XAtq` prints for SQL, over a connection of its own that is not of Stores. Plain
--- statements need no process for that: specs ask thousands.

local ffi = require('ffi')
local shell = require('spec.support.shell')

ffi.cdef([[
  typedef struct spec_pg_conn spec_pg_conn;
  typedef struct spec_pg_result spec_pg_result;
  spec_pg_conn *PQconnectdbParams(const char *const *names, const char *const *values, int expand);
  int PQstatus(const spec_pg_conn *conn);
  char *PQerrorMessage(const spec_pg_conn *conn);
  void PQfinish(spec_pg_conn *conn);
  typedef void (*spec_pg_notice)(void *arg, const char *message);
  spec_pg_notice PQsetNoticeProcessor(spec_pg_conn *conn, spec_pg_notice notice, void *arg);
  spec_pg_result *PQexec(spec_pg_conn *conn, const char *sql);
  int PQresultStatus(const spec_pg_result *result);
  char *PQresultErrorMessage(const spec_pg_result *result);
  int PQntuples(const spec_pg_result *result);
  int PQnfields(const spec_pg_result *result);
  char *PQgetvalue(const spec_pg_result *result, int row, int column);
  void PQclear(spec_pg_result *result);
]])

local EMPTY, COMMAND_OK, TUPLES_OK = 0, 1, 2

local library, take_notice
local notices = {} -- of the statement that runs

local function strings(list)
  local array = ffi.new('const char *[?]', #list + 1)
  for i, text in ipairs(list) do array[i - 1] = text end
  return array
end

local function rows_of(pq, result)
  local lines, columns = {}, pq.PQnfields(result)
  for row = 0, pq.PQntuples(result) - 1 do
    local values = {}
    for column = 0, columns - 1 do
      values[column + 1] = ffi.string(pq.PQgetvalue(result, row, column))
    end
    lines[row + 1] = table.concat(values, '|') .. '\n'
  end
  return table.concat(lines)
end

local function load_library()
  library = ffi.load('libpq.so.5')
  take_notice = ffi.cast('spec_pg_notice', function(_, message)
    notices[#notices + 1] = 'psql: ' .. ffi.string(message)
  end)
end

local kept = {} -- connections by where they lead

local function connect(pq, db)
  local values = { db.host, tostring(db.port), db.user, db.database, 'psql' }
  return pq.PQconnectdbParams(
    strings({ 'host', 'port', 'user', 'dbname', 'application_name' }), strings(values), 0)
end

-- What a statement printed, and whether it failed.
local function text_of(pq, result)
  local status = pq.PQresultStatus(result)
  if status == TUPLES_OK then return rows_of(pq, result), false end
  if status == COMMAND_OK or status == EMPTY then return '', false end
  return 'psql: ' .. ffi.string(pq.PQresultErrorMessage(result)), true
end

---@param statements string[] the first that fails is the last
local function ask(db, statements, keep)
  if not library then load_library() end
  local pq = library
  notices = {}
  local place = keep and table.concat({ db.host, db.port, db.user, db.database }, ' ')
  local before = place and kept[place]
  local conn = before or connect(pq, db)
  local texts, failed = {}, pq.PQstatus(conn) ~= 0
  if failed then
    texts[1] = 'psql: error: ' .. ffi.string(pq.PQerrorMessage(conn))
  else
    pq.PQsetNoticeProcessor(conn, take_notice, nil)
    for i, sql in ipairs(statements) do
      local result = pq.PQexec(conn, sql)
      texts[i], failed = text_of(pq, result)
      pq.PQclear(result)
      if failed then break end
    end
  end
  if place then kept[place] = conn end
  if not place or pq.PQstatus(conn) ~= 0 then
    pq.PQfinish(conn)
    if place then kept[place] = nil end
    if before then return ask(db, statements, keep) end -- its server has ended it meanwhile
  end
  return table.concat(notices) .. table.concat(texts), failed
end
jit.off(ask) -- what it calls calls Lua

-- Words of psql are not SQL, COPY has rows of its own, and functions and rules have semicolons.
local FOR_PSQL = { '\\', '%-%-', '/%*', '%f[%w_]COPY%f[^%w_]', '%f[%w_]ATOMIC%f[^%w_]',
  '%f[%w_]RULE%f[^%w_]' }

-- The end of what begins with a quote, a tag or a semicolon.
local function last_of(sql, from)
  local mark = sql:sub(from, from)
  if mark == ';' then return from end
  local tag = mark == '$' and sql:match('^%$[%a_]*%$', from) or mark
  if tag == '$' then return from end -- of a parameter
  return select(2, sql:find(tag, from + #tag, true))
end

-- The statements of a text, which are as many transactions; nil where psql itself is needed.
---@return string[]?
local function statements_of(sql)
  local words, list, from, at = sql:upper(), {}, 1, 1
  for _, pattern in ipairs(FOR_PSQL) do
    if words:find(pattern) then return nil end
  end
  while true do
    local place = sql:find('[;\'"$]', at)
    local last = place and last_of(sql, place)
    if place and not last then return nil end
    if not place or sql:sub(place, place) == ';' then
      local statement = sql:sub(from, (place or #sql + 1) - 1)
      if statement:find('%S') then list[#list + 1] = statement end
      if not place then return list end
      from = place + 1
    end
    at = last + 1
  end
end

local function by_program(db, sql)
  local file = os.tmpname()
  shell.write(file, sql)
  -- a psql that is preloaded with AddressSanitizer does not end
  local command = "LD_PRELOAD= psql -XAtq -v ON_ERROR_STOP=1 -h '%s' -p %s -U %s -d %s -f %s"
  local status, text = shell.run(command:format(db.host, tostring(db.port), db.user, db.database,
    file))
  os.remove(file)
  return text, status ~= 0
end

-- In specs a refusal is raised: what one begins with is there when it goes on, and who waits for a
-- server to answer waits until nothing is raised. Programs that look at the text have it as it is.
local RAISES = os.getenv('STORES_TEST_PASS') ~= nil or package.loaded['busted.core'] ~= nil

--- Raises what the server refused, or why nobody could be asked, where it is a spec that asks.
---@param db {host: string, port: integer, user: string, database: string}
---@param sql string
---@param keep? boolean one statement, over a connection that stays for the next such one; raises
---@return string
return function(db, sql, keep)
  local statements = statements_of(sql)
  local text, failed
  if statements then
    text, failed = ask(db, statements, keep and #statements == 1)
  else
    text, failed = by_program(db, sql)
  end
  if failed and (RAISES or keep) then error(text, 0) end
  return text
end
