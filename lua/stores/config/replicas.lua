--- Replicas: what each of db.replicas is, once what it does not say is taken from db. No message
--- ever quotes a password or a url.

local errors = require('stores.errors')
local keywords = require('stores.config.keywords')
local options = require('stores.config.options')

local replicas = {}

local refuse = options.refuse

-- Where the hosts of a url are: 'a:1,b' and such. A port that is not said stays open.
local function read_hosts(text)
  local hosts, ports, is_said = {}, {}, false
  for place in (text .. ','):gmatch('([^,]*),') do
    local host, port = place:match('^(%[.-%]):?(%d*)$')
    if not host then host, port = place:match('^([^:]*):?(%d*)$') end
    if not host then return nil end
    hosts[#hosts + 1] = options.unescape(host:match('^%[(.*)%]$') or host)
    ports[#ports + 1] = port ~= '' and port or '5432'
    is_said = is_said or port ~= ''
  end
  return hosts, is_said and ports or nil
end

-- libpq's keywords as keys of db.
local function put(db, key, value)
  if keywords.elsewhere[key] then
    db[keywords.elsewhere[key]] = value
  elseif key == 'service' then
    db.service = value
  else
    db.params = db.params or {}
    db.params[key] = value
  end
end

--- A url of PostgreSQL as the keys of db that it stands for.
---@param url string
---@return table? db nil: it is not written as one
local function read_url(url)
  local rest = url:match('^postgres://(.*)$') or url:match('^postgresql://(.*)$')
  if not rest then return nil end
  local db, whole, query = {}, rest:match('^([^?]*)%??(.*)$')
  local credentials, place = whole:match('^(.*)@([^@]*)$')
  local authority, path = (place or whole):match('^([^/]*)/?(.*)$')
  if credentials then
    local user, password = credentials:match('^([^:]*):(.*)$')
    user = user or credentials
    db.user = user ~= '' and options.unescape(user) or nil
    db.password = password and options.unescape(password) or nil
  end
  if authority ~= '' then
    db.host, db.port = read_hosts(authority)
    if not db.host then return nil end
  end
  if path ~= '' then db.database = options.unescape(path) end
  for pair in query:gmatch('[^&]+') do
    local key, value = pair:match('^([^=]+)=(.*)$')
    if not key then return nil end
    put(db, key == 'ssl' and value == 'true' and 'sslmode' or options.unescape(key),
      key == 'ssl' and value == 'true' and 'require' or options.unescape(value))
  end
  return db
end

-- What says where a server is, and which one of several.
local PLACES = { 'host', 'port', 'service', 'url' }
--- What a replica may say, beside its url.
---@type string[]
replicas.KEYS = { 'host', 'port', 'service', 'database', 'user', 'password', 'sslmode',
  'sslrootcert', 'sslcert', 'sslkey', 'application_name', 'target_session_attrs', 'poolsize',
  'params' }
local IS_KEY = { url = true }
for _, key in ipairs(replicas.KEYS) do IS_KEY[key] = true end

-- The keys of db, without a url.
local function plain(db, where)
  local from = db.url and read_url(db.url) or {}
  if db.url and not next(from) then refuse('%s.url is no url of PostgreSQL', where) end
  local keys = {}
  for key in pairs(IS_KEY) do
    keys[key] = db[key]
    if keys[key] == nil then keys[key] = from[key] end
  end
  keys.url = nil
  if db.params and from.params then
    keys.params = {}
    for key, value in pairs(from.params) do keys.params[key] = value end
    for key, value in pairs(db.params) do keys.params[key] = value end
  end
  return keys
end

local function is_list(value)
  return type(value) == 'table' and #value > 1 or type(value) == 'string' and value:find(',')
end

local function check(entry, where)
  if type(entry) == 'string' then entry = { url = entry } end
  if type(entry) ~= 'table' then
    refuse("%s must be a table such as {host = 'replica'} or a url, got %s", where,
      errors.kind(entry))
  end
  for key in pairs(entry) do
    if not IS_KEY[key] then
      refuse("unknown key '%s' in %s: %s", options.shown(key), where,
        options.suggestion(key, IS_KEY, keywords.db_aliases))
    end
  end
  local said = false
  for _, key in ipairs(PLACES) do said = said or entry[key] ~= nil end
  if not said and not (entry.params and entry.params.hostaddr) then
    refuse('%s says neither host nor port nor url: it would be the primary', where)
  end
  if entry.url ~= nil and type(entry.url) ~= 'string' then
    refuse('%s.url must be a string, got %s', where, errors.kind(entry.url))
  end
  return plain(entry, where)
end

-- A replica as a table like db.
local function merge(own, db, where)
  local all = {}
  for key, value in pairs(db) do all[key] = value end
  all.target_session_attrs = nil -- which of several servers is the primary
  if own.host or own.service then
    all.host, all.service = nil, nil
    if is_list(all.port) and not own.port then
      refuse('%s.port is missing: db has several', where)
    end
    if own.service then all.port = nil end
  end
  local params = {}
  for key, value in pairs(db.params or {}) do params[key] = value end
  params.hostaddr = nil
  for key, value in pairs(own.params or {}) do params[key] = value end
  for key, value in pairs(own) do all[key] = value end
  all.params = next(params) and params or nil
  return all
end

--- Checks the list, and gives libpq's keywords of each.
---@param list any db.replicas
---@param db table the rest of db
---@param resolve fun(db: table): table, table what is done with a table like db
---@return {pg: table, poolsize: integer?}[]? nil: there are none
---Raises invalid_option.
function replicas.resolve(list, db, resolve)
  if list == nil then return nil end
  if type(list) ~= 'table' then
    refuse('db.replicas must be an array of tables and urls, got %s', errors.kind(list))
  end
  local count = 0
  for key in pairs(list) do
    if type(key) ~= 'number' then
      refuse("db.replicas must be an array, it has the key '%s'", options.shown(key))
    end
    count = count + 1
  end
  if count ~= #list then refuse('db.replicas has gaps') end
  local all, base = {}, count > 0 and plain(db, 'db') or nil
  for i = 1, count do
    local where = ('db.replicas[%d]'):format(i)
    local ok, pg, checked = pcall(resolve, merge(check(list[i], where), base, where))
    if not ok then
      if errors.is(pg) then pg.message = pg.message:gsub('^db%f[%A]', where) end
      errors.throw(pg)
    end
    all[i] = { pg = pg, poolsize = checked.poolsize }
  end
  return count > 0 and all or nil
end

return replicas
