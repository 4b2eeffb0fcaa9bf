--- A to-do service: users who sign up by e-mail, their lists, page by page, and a page in the
--- browser that hears of what others change. docs/cookbook.md tells of each part.
local stores = require('stores')
require('tables')

local json, ngx = stores.json, rawget(_G, 'ngx')
local todo, actions = {}, {} -- actions: 'METHOD /path' -> function; 'METHOD /path/' takes an id
local WEEK, CHANNEL, MOST, TAGGED = 7 * 86400, 'todos', 100, { etag = true }

local opened
--- The store of this worker, made at its first use.
function todo.store()
  opened = opened or stores.Store.new({ host = os.getenv('PGHOST'), port = os.getenv('PGPORT'),
    user = os.getenv('PGUSER'), database = os.getenv('PGDATABASE'), poolsize_total = 8,
    acquire_timeout = 2 }, { path = os.getenv('REDIS_SOCKET') },
    { timeout = 10, name = 'todo', metrics = ngx and { dict = 'metrics' } })
  return opened
end
local store, refuse = todo.store, stores.errors.raise

local function body()
  ngx.req.read_body()
  return ngx.req.get_body_data() or ''
end
local function object(text)
  local ok, value = pcall(json.decode, text)
  if ok and type(value) == 'table' and not json.is_array(value) then return value end
  refuse('invalid_argument', 'that is no JSON object')
end

local function send(status, value)
  ngx.status = status
  if value ~= nil then ngx.say(json.encode(value)) end
end
-- ---- Users and sessions -------------------------------------------------------------------------
local function random()
  local file = assert(io.open('/dev/urandom', 'rb'))
  local bytes = file:read(16)
  file:close()
  return ngx.md5(bytes)
end
-- Slow on purpose; argon2 is better, where there is a library for it.
local function digest(password, salt)
  local hash = salt
  for _ = 1, 10000 do hash = ngx.hmac_sha1(password, hash .. salt) end
  return ngx.encode_base64(hash)
end
local function cookie(value, seconds)
  ngx.header.Set_Cookie = ('session=%s; Path=/; HttpOnly; SameSite=Strict; Max-Age=%d'):format(
    value, seconds)
end

local function begin_session(user, status)
  local secret = random()
  local session = store():insert('sessions', { user = user.id, secret = ngx.md5(secret),
    expires_at = ngx.time() + WEEK })
  cookie(session.id .. '.' .. secret, WEEK)
  send(status, { id = user.id, email = user.email })
end

-- The session of the cookie; one that is past its time is not found.
local function find_session()
  local id, secret = (ngx.var.cookie_session or ''):match('^(%d+)%.(%x+)$')
  local session = id and #id < 20 and store():find('sessions', id)
  return session and session.secret == ngx.md5(secret) and session or nil
end

local function me()
  local session = find_session()
  if session then return session.user end
  send(401, { error = 'signed_out' })
  ngx.exit(401)
end

local function credentials()
  local given = object(body())
  if type(given.password) ~= 'string' or #given.password < 8 then
    refuse('invalid_argument', 'a password has 8 characters or more')
  end
  return tostring(given.email):lower(), given.password
end
actions['POST /signup'] = function()
  local email, password = credentials()
  local salt = random()
  local user = { email = email, salt = salt, password = digest(password, salt) }
  store():transaction(function(tx) -- of two who come at once one is refused: duplicate, 409
    tx:insert('users', user)
    tx:insert('counters', { id = user.id, made = 0, finished = 0 })
  end)
  begin_session(user, 201)
end

actions['POST /signin'] = function()
  local email, password = credentials()
  local user = store():findBy('users', 'email', email)
  if user and digest(password, user.salt) == user.password then return begin_session(user, 200) end
  send(403, { error = 'forbidden', message = 'e-mail or password is wrong' })
end

actions['POST /signout'] = function()
  local session = find_session()
  if session then store():delete('sessions', session.id) end
  cookie('', 0)
  send(204)
end
-- ---- To-dos -------------------------------------------------------------------------------------
local function tell(tx, owner, id) tx:notify(CHANNEL, owner .. ' ' .. (id or '*')) end
local function new(owner, given)
  return { owner = owner, text = given.text, done = given.done or false, created = ngx.now() }
end

actions['GET /todos'] = function()
  local where, arguments = { { 'owner', '=', me() } }, ngx.req.get_uri_args()
  if arguments.done then where[2] = { 'done', '=', arguments.done == 'true' } end
  local list, onward = store():findAll('todos', { where = where, order = { '-created' },
    limit = math.min(tonumber(arguments.limit) or 20, MOST), after = arguments.after })
  send(200, { todos = list, next = onward })
end

actions['POST /todos'] = function()
  local owner = me()
  local made = new(owner, object(body()))
  store():transaction(function(tx)
    tx:insert('todos', made)
    tx:patch('counters', owner, { inc = { made = 1 } })
    tell(tx, owner, made.id)
  end)
  send(201, made)
end

local function mine(id, options)
  local owner = me()
  local found, etag = store():find('todos', id, options)
  if found ~= stores.unchanged and (not found or found.owner ~= owner) then
    refuse('not_found', 'there is no such to-do')
  end
  return found, etag
end
actions['GET /todos/'] = function(id)
  local found, etag = mine(id, { etag = true, if_none_match = ngx.var.http_if_none_match })
  ngx.header.ETag = etag
  if found == stores.unchanged then send(304) else send(200, found) end
end

actions['PATCH /todos/'] = function(id)
  local given, wanted, found, seen = object(body()), ngx.var.http_if_match, mine(id, TAGGED)
  ngx.req.clear_header('If-Match') -- or nginx compares it with the etag of the answer, too
  local changed, etag = store():transaction(function(tx)
    if given.done == true and not found.done then
      tx:patch('counters', found.owner, { inc = { finished = 1 } })
    end
    tell(tx, found.owner, id)
    return tx:patch('todos', id, { set = { text = given.text, done = given.done } },
      { if_match = wanted or seen, etag = true }) -- else: conflict, 412
  end)
  ngx.header.ETag = etag
  send(200, changed)
end

actions['DELETE /todos/'] = function(id)
  local found, seen = mine(id, TAGGED)
  store():transaction(function(tx)
    tx:delete('todos', id, { if_match = ngx.var.http_if_match or seen })
    tell(tx, found.owner, id)
  end)
  send(204)
end

actions['GET /counters'] = function() send(200, store():find('counters', me())) end
-- One document a line, however many there are: each takes them batch by batch.
actions['GET /export'] = function()
  for one in store():each('todos', { where = { { 'owner', '=', me() } } }) do
    ngx.say(json.encode({ text = one.text, done = one.done }))
  end
end

actions['POST /import'] = function()
  local owner, list = me(), {}
  for line in body():gmatch('[^\r\n]+') do list[#list + 1] = new(owner, object(line)) end
  store():transaction(function(tx) -- all of them, or none
    for _, one in ipairs(list) do tx:insert('todos', one) end
    tx:patch('counters', owner, { inc = { made = #list } })
    tell(tx, owner)
  end)
  send(201, { imported = #list })
end

-- ---- What others change -------------------------------------------------------------------------
local subscribers = {} -- of this worker -> the ids that changed, for each to tell; '*': all

local function spread(payload) -- nil: a gap, and everybody reads anew
  local owner, id = (payload or '* *'):match('^(%S+) (%S+)$')
  for one in pairs(subscribers) do
    if owner == '*' or owner == one.owner then one.changed[id] = true end
  end
end

--- Listens for this worker, as soon as PostgreSQL is there.
function todo.start()
  ngx.timer.at(0, function()
    while not pcall(function() store():listen(CHANNEL, spread) end) do ngx.sleep(1) end
    spread(nil)
  end)
end

actions['GET /events'] = function() -- server-sent events
  local one = { owner = me(), changed = { ['*'] = true } }
  subscribers[one] = true
  ngx.on_abort(function() subscribers[one] = nil ngx.exit(499) end)
  ngx.header.content_type = 'text/event-stream'
  ngx.send_headers()
  while ngx.flush(true) and not ngx.worker.exiting() do
    local ids = one.changed
    one.changed = {}
    for id in pairs(ids) do ngx.print('data: ', id, '\n\n') end
    ngx.sleep(0.1)
  end
  subscribers[one] = nil
end

-- ---- Answers ------------------------------------------------------------------------------------
local function answer()
  local path, id = ngx.var.uri:match('^/api(/%a+/?)(%d*)$')
  local action = actions[ngx.req.get_method() .. ' ' .. (path or '')]
  if not action then refuse('not_found', 'there is nothing at this path') end
  return action(id)
end

--- Answers one request: what Stores raises knows its HTTP status.
function todo.handle()
  local ok, err = pcall(answer)
  if ok then return end
  local status = stores.errors.is(err) and err.http or 500
  if status < 500 then return send(status, { error = err.code, message = err.message }) end
  ngx.log(ngx.ERR, tostring(err))
  send(status, { error = 'internal' })
end

--- Whether this worker can serve: PostgreSQL answers; and whether Redis does.
function todo.health()
  local ok = store().try:exists('counters', '0', { cache = false, timeout = 2 })
  send(ok and 200 or 503, { postgres = ok, redis = store():stats().redis_up == 1 })
end

return todo
