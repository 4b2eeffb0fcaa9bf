--- A JSON API over one table of documents:
---   GET    /docs/ID                      the document
---   GET    /docs?contains=JSON&limit=N   those that contain the JSON object (percent-encoded)
---   POST   /docs                         stores the document under a new id, or its own
---   PUT    /docs/ID                      stores the document under this id
---   PATCH  /docs/ID                      sets the fields that are sent; null removes one
---   DELETE /docs/ID
--- What Stores raises knows its HTTP status; 503 comes with Retry-After.

local stores = require('stores')

local json = stores.json
local api = {}

local TABLE = 'docs'
local MOST = 100

-- The store of this worker, made at its first request.
local opened
local function store()
  opened = opened or stores.Store.new({
    host = os.getenv('PGHOST'), port = os.getenv('PGPORT'), user = os.getenv('PGUSER'),
    database = os.getenv('PGDATABASE'), poolsize_total = 8, acquire_timeout = 2,
  }, { path = os.getenv('REDIS_SOCKET') },
    { timeout = 10, name = 'api', metrics = { dict = 'metrics' } })
  return opened
end

local function refuse(message)
  stores.errors.raise('invalid_argument', message)
end

--- The object in the body of the request.
local function body()
  ngx.req.read_body()
  local text = ngx.req.get_body_data()
  if not text and ngx.req.get_body_file() then
    local file = assert(io.open(ngx.req.get_body_file(), 'rb'))
    text = file:read('*a')
    file:close()
  end
  local ok, document = pcall(json.decode, text or '')
  if not ok then refuse('the body is not JSON') end
  if type(document) ~= 'table' or json.is_array(document) then
    refuse('the body is not a JSON object')
  end
  return document
end

--- An answer: a status and JSON text, or a table for it.
local function send(status, value)
  ngx.status = status
  if value ~= nil then ngx.say(type(value) == 'string' and value or json.encode(value)) end
end

local function not_found(id)
  stores.errors.raise('not_found', 'there is no document ' .. id)
end

local with_id, without_id = {}, {}

function with_id.GET(id)
  -- as text: nothing is decoded only to be encoded again
  send(200, store():find(TABLE, id, { raw = true }) or not_found(id))
end

function with_id.PUT(id)
  local document = body()
  if document.id ~= nil and document.id ~= id then refuse("the document's id is not the path's") end
  document.id = id
  local _, is_new = store():upsert(TABLE, document)
  send(is_new and 201 or 200, document)
end

function with_id.PATCH(id)
  local fields = body()
  send(200, store():updateObject(TABLE, id, function(document)
    for name, value in pairs(fields) do
      if value == json.null then value = nil end
      document[name] = value
    end
  end) or not_found(id))
end

function with_id.DELETE(id)
  if not store():delete(TABLE, id) then not_found(id) end
  send(204)
end

function without_id.GET()
  local arguments = ngx.req.get_uri_args()
  local ok, criteria = pcall(json.decode, arguments.contains or '{}')
  if not ok or type(criteria) ~= 'table' then refuse('contains is not a JSON object') end
  local limit = tonumber(arguments.limit or MOST)
  if not limit or limit < 1 or limit > MOST or limit % 1 ~= 0 then
    refuse(('limit is from 1 to %d'):format(MOST))
  end
  send(200, json.array(store():findByJSON(TABLE, criteria,
    { limit = limit, after = arguments.after, all = true })))
end

function without_id.POST()
  local document = store():insert(TABLE, body())
  ngx.header.Location = '/docs/' .. document.id
  send(201, document)
end

local function answer()
  local method, id = ngx.req.get_method(), ngx.var.uri:match('^/docs/([^/]+)$')
  local verbs = id and with_id or ngx.var.uri == '/docs' and without_id
  if not verbs then stores.errors.raise('not_found', 'there is nothing at this path') end
  if not verbs[method] then return send(405, { error = 'method_not_allowed' }) end
  return verbs[method](id)
end

--- Answers one request.
function api.handle()
  local ok, err = pcall(answer)
  if ok then return end
  if not stores.errors.is(err) then
    ngx.log(ngx.ERR, tostring(err))
    return send(500, { error = 'internal' })
  end
  if err.http >= 500 then ngx.log(ngx.ERR, tostring(err)) end
  if err.http == 503 then ngx.header.Retry_After = 1 end
  local message = err.http < 500 and err.message or nil -- what servers say is not for clients
  send(err.http, { error = err.code, message = message })
end

return api
