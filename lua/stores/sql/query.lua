--- The SQL of the reading verbs: functions that give a statement and its parameters, all of them
--- text. `%T` stands where the core puts the quoted name of the table. What a user gave is only
--- ever in the parameters. The rows are (id, value) unless a function says otherwise.
---
--- Criteria are in a materialised CTE: with ORDER BY id LIMIT, a generic plan would otherwise walk
--- the primary key and look at every document instead of asking the GIN index.

local call = require('stores.config.call')
local core = require('stores.core')
local errors = require('stores.errors')
local ids = require('stores.ids')
local jsonpath = require('stores.sql.jsonpath')
local paths = require('stores.sql.paths')

local query = {}

---@alias stores.Order 'asc'|'desc'|'id'|'-id'|{ [1]: stores.Path, [2]: 'asc'|'desc'|nil }

---@class stores.sql.Tail what the options of a call say of the rows, as call.check gives them
---@field limit integer? rows at most
---@field after string? an id: only rows behind it, in the order of the call
---@field order stores.Order? 'asc' or 'id' (the default), 'desc' or '-id', {path}, {path, 'desc'}
---@field all boolean? criteria that match every row are meant
---@field predicate boolean? findByPath: the path is a predicate (@@)

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

-- A list of parameters, and the placeholder of each as it is added.
local function new_params(...)
  local params = { ... }
  return params, function(value, as)
    params[#params + 1] = value
    return ('$%d::%s'):format(#params, as)
  end
end

local DIRECTIONS = { asc = 'ASC', desc = 'DESC' }
local BY_ID = { id = 'ASC', asc = 'ASC', ['-id'] = 'DESC', desc = 'DESC' }

local function refuse_order()
  refuse("order must be 'asc' or 'desc' (by id), {'name'} or {'name', 'desc'} (by the value at a "
    .. "name), or {{'a', 'b'}, 'desc'} (at a path)")
end

--- What comes after ORDER BY. By a path: in the order of jsonb (strings, numbers, booleans, arrays,
--- objects as PostgreSQL sorts them), rows without a value last in both directions, equals by id.
---@return string clause
---@return string? direction of the ids; nil where the order is not theirs
local function order_by(order, add)
  if order == nil then return 'id', 'ASC' end
  if type(order) == 'string' then
    local direction = BY_ID[order]
    if not direction then refuse_order() end
    return direction == 'DESC' and 'id DESC' or 'id', direction
  elseif type(order) ~= 'table' or #order < 1 or #order > 2 then
    refuse_order()
  end
  local direction = DIRECTIONS[order[2] or 'asc']
  if not direction then refuse_order() end
  local names = paths.read(order[1], 'the path of order')
  return ('value #> %s %s NULLS LAST, id'):format(add(paths.array(names), 'text[]'), direction)
end

-- The end of a statement over (id, value): WHERE for `after`, ORDER BY, LIMIT.
local function tail(opts, add)
  local clause, direction = order_by(opts.order, add)
  local text = ''
  if opts.after ~= nil then
    if not direction then
      refuse("'after' is an id and goes on in the order of ids; it cannot be used with an order "
        .. 'by a path')
    end
    text = (' WHERE id %s %s'):format(direction == 'DESC' and '<' or '>',
      add(core.check_id(ids.check(opts.after)), 'bigint'))
  end
  text = text .. ' ORDER BY ' .. clause
  if opts.limit then text = text .. ' LIMIT ' .. add(('%d'):format(opts.limit), 'bigint') end
  return text
end

-- The rows that meet a condition over `value`, as tail orders and pages them.
local function matching(condition, opts, params, add)
  local text = 'WITH hit AS MATERIALIZED (SELECT id, value FROM %T WHERE ' .. condition
    .. ') SELECT id, value::text FROM hit' .. tail(opts, add)
  return text, params
end

local function is_empty(json)
  return json == '{}' or json == '[]'
end

local function refuse_empty(message)
  errors.raise('empty_criteria', message .. ' (a nil in a Lua table is no entry at all); '
    .. 'say {all = true} if that is meant')
end

-- The JSON text of a document of criteria.
local function object(doc, what)
  if type(doc) ~= 'table' then
    refuse('%s must be a table with names, got %s', what, errors.kind(doc))
  end
  local json = paths.json(doc)
  if json:sub(1, 1) ~= '{' then refuse('%s must be a table with names, got an array', what) end
  return json
end

--- Every row.
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
function query.find_all(opts)
  local params, add = new_params()
  return 'SELECT id, value::text FROM %T' .. tail(opts, add), params
end

--- The next batch of `each`: rows behind an id, in the order of ids.
---@param after string? nil for the first
---@param size integer rows at most
---@return string sql
---@return string[] params
function query.each_batch(after, size)
  return query.find_all({ after = after, limit = size })
end

--- Rows that contain a document.
---@param doc table
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.find_by_json(doc, opts)
  local json = object(doc, 'the criteria')
  if json == '{}' then
    if not opts.all then refuse_empty('the criteria are empty, which matches every row') end
    return query.find_all(opts)
  end
  local params, add = new_params(json)
  return matching('value @> $1::jsonb', opts, params, add)
end

--- The first row that contains a document.
---@param doc table
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
function query.find_one(doc, opts)
  return query.find_by_json(doc, { limit = 1, order = opts.order, after = opts.after,
    all = opts.all })
end

--- How many rows contain a document. One row with the one column `n`.
---@param doc table? nil: all rows
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
function query.count(doc, opts)
  local json = doc ~= nil and object(doc, 'the criteria')
  if json == '{}' and not opts.all then
    refuse_empty('the criteria are empty, which matches every row')
  end
  if not json or json == '{}' then return 'SELECT count(*) AS n FROM %T', {} end
  return 'SELECT count(*) AS n FROM %T WHERE value @> $1::jsonb', { json }
end

--- Rows whose array at a path contains a value in the sense of @>: an array is contained where each
--- of its elements is; an object where an element contains it; a scalar where an element equals it.
--- One containment says all of that, and that an array is there: below the top, @> never lets an
--- array contain a bare scalar.
---@param key stores.Path
---@param value any
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.array_contains(key, value, opts)
  local names = paths.read(key, 'the key')
  if value == nil then
    refuse('the value is nil: say json.null to look for a null in the array')
  end
  local json = paths.encode(names, value)
  if is_empty(json) and not opts.all then
    refuse_empty(json == '[]' and 'every array contains the empty array'
      or 'every object in an array contains the empty object')
  end
  if json:sub(1, 1) ~= '[' then json = '[' .. json .. ']' end
  local params, add = new_params(paths.nest(names, json))
  return matching('value @> $1::jsonb', opts, params, add)
end

--- Rows whose object at a path contains a document.
---@param key stores.Path
---@param doc table
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.sub_contains(key, doc, opts)
  local names = paths.read(key, 'the key')
  if object(doc, 'the document') == '{}' and not opts.all then
    refuse_empty('the document is empty, which every object at the key contains')
  end
  local params, add = new_params(paths.nest(names, paths.encode(names, doc)))
  return matching('value @> $1::jsonb', opts, params, add)
end

--- Rows in which a path finds something (@?), or for which it is true ({predicate = true}, @@).
---@param path string
---@param vars table<string, any>?
---@param opts stores.sql.Tail
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument.
function query.by_path(path, vars, opts)
  local text, predicate = jsonpath.bind(path, vars)
  if predicate and not opts.predicate then
    refuse('the path is a predicate, and as such finds its true or false in every row: say '
      .. '{predicate = true}, or make it a filter, as in $ ? (@.age > 5)')
  end
  local bare = text:gsub('^%s*lax%s', ''):gsub('^%s*strict%s', '')
  if bare:find('^%s*%$%s*$') and not opts.all and not opts.predicate then
    refuse_empty("the path is '$' alone, which matches every row")
  end
  local params, add = new_params(text)
  return matching(('value %s $1::jsonpath'):format(opts.predicate and '@@' or '@?'), opts, params,
    add)
end

--- Whether a row is there: one row with the one column `id`, or none.
---@param id string
---@return string sql
---@return string[] params
function query.exists(id)
  return 'SELECT id FROM %T WHERE id = $1::bigint', { core.check_id(id) }
end

--- Checks the parameters of query(sql, params): an array, in which NULL is json.null.
---@param params table?
---@return table params an empty one where nil
---Raises invalid_argument.
function query.params(params)
  if params == nil then return {} end
  if type(params) ~= 'table' then
    refuse('the parameters must be an array, got %s', errors.kind(params))
  end
  local count, most = 0, 0
  for key in pairs(params) do
    if type(key) ~= 'number' or key < 1 or key % 1 ~= 0 then
      if call.is_option(key) then
        refuse("the second argument is the array of parameters; options such as '%s' go in the "
          .. 'third: query(sql, {}, {%s = ...})', key, key)
      end
      refuse('the parameters must be an array ($1 is its first); it has the key %s',
        type(key) == 'string' and ("'%s'"):format(key:sub(1, 60)) or tostring(key))
    end
    count, most = count + 1, math.max(most, key)
  end
  if count ~= most then
    refuse('the parameters have a gap: say json.null where NULL is meant')
  end
  return params
end

return query
