--- The SQL of the reading verbs: functions that give a statement and its parameters, all of them
--- text. `%T` stands where the core puts the quoted name of the table. What a user gave is only
--- ever in the parameters. The rows are (id, value) unless a function says otherwise.
--- Lists take a stores.sql.Page, which is told what the caller has to know of the rows.

local call = require('stores.config.call')
local core = require('stores.core')
local criteria = require('stores.sql.criteria')
local errors = require('stores.errors')
local jsonpath = require('stores.sql.jsonpath')
local order = require('stores.sql.order')
local pages = require('stores.sql.pages')
local paths = require('stores.sql.paths')

local query = {}

---@class stores.sql.Tail what the options of a call say of the rows, as call.check gives them
---@field limit integer? rows at most
---@field after stores.Cursor? only rows behind it, in the order of the call
---@field before stores.Cursor? only rows before it; where there are more than the limit, the last
---@field order stores.Order?
---@field where stores.Where?
---@field contains table? findAll, each: rows that contain it
---@field fields stores.Path[]? what comes of the documents
---@field all boolean? criteria that match every row are meant
---@field among (fun(add: stores.sql.Add): string)? one condition more: which rows it may be
---@field predicate boolean? findByPath: the path is a predicate (@@)

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

--- A list of parameters, and what gives the placeholder of each as it is added.
---@param ... string those that there are
---@return string[] params
---@return stores.sql.Add add
function query.new_params(...)
  local params = { ... }
  return params, function(value, as)
    params[#params + 1] = value
    return ('$%d::%s'):format(#params, as)
  end
end

local new_params = query.new_params

-- The rows that contain something, where that is asked, and meet `where`.
---@return stores.sql.Source
local function source(containment, opts, add, page)
  local group = criteria.read(opts.where)
  if page then page.group, page.contains = group, containment ~= nil end
  local conditions = criteria.conditions(group, add)
  if containment then table.insert(conditions, 1, containment) end
  if opts.among then conditions[#conditions + 1] = opts.among(add) end
  return { conditions = conditions, fenced = containment ~= nil or criteria.contains(group),
    fixed = criteria.fixed(group) }
end

-- What is asked where there is no `where`.
local NOTHING = criteria.read(nil)

-- The rows that meet a condition over `value`.
local function matching(condition, opts, params, add, page)
  if opts.where == nil and opts.order == nil and opts.fields == nil and opts.after == nil
    and opts.before == nil and opts.among == nil
    and not (page and (page.position or page.only_places)) then
    if page then page.group, page.contains = NOTHING, condition ~= nil end
    return pages.plain(condition, opts, add, page), params
  end
  return pages.select(source(condition, opts, add, page), opts, add, page), params
end

local function is_empty(json)
  return json == '{}' or json == '[]'
end

local function refuse_empty(message, is_whole)
  errors.raise('empty_criteria', is_whole and message or message .. ' (a nil in a Lua table is no '
    .. 'entry at all); say {all = true} if that is meant')
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

-- The containment of a document of criteria, nil where it has nothing to say; refuses what would
-- match every row unless that is meant. nil may be given where `where` is, or every row is meant.
local function containment(doc, opts, what)
  local where = opts.where
  local says = where ~= nil and (type(where) ~= 'table' or next(where) ~= nil)
  if doc == nil and where == nil and not opts.all then
    refuse("%s must be a table with names, got nil; without one say {where = ..}, or {all = true} "
      .. 'for every row', what)
  end
  if doc ~= nil then
    local json = object(doc, what)
    if json ~= '{}' then return json end
  end
  if not says and not opts.all then
    refuse_empty(what .. ' are empty, which matches every row')
  end
  return nil
end

local CONTAINS = 'value @> $1::jsonb'

local function containing(json, opts, page)
  local params, add = new_params(json)
  return matching(json and CONTAINS or nil, opts, params, add, page)
end

--- Every row, or those that `where` and `contains` leave.
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.find_all(opts, page)
  if opts.where == nil and opts.contains == nil then return containing(nil, opts, page) end
  if opts.contains == nil and type(opts.where) == 'table' and next(opts.where) == nil then
    refuse_empty("'where' is empty, which matches every row: leave it out if that is meant", true)
  end
  return containing(containment(opts.contains, opts, 'the criteria'), opts, page)
end

--- The next batch of `each`: rows behind an id or a cursor, in the order of the call.
---@param after stores.Cursor? nil for the first
---@param size integer? rows at most; nil: all that `among` leaves
---@param opts stores.sql.Tail?
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
function query.each_batch(after, size, opts, page)
  opts = opts or {}
  return query.find_all({ after = after, limit = size, order = opts.order, where = opts.where,
    contains = opts.contains, fields = opts.fields, among = opts.among }, page)
end

--- Rows that contain a document, and meet `where`.
---@param doc table? nil where `where` says something
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.find_by_json(doc, opts, page)
  return containing(containment(doc, opts, 'the criteria'), opts, page)
end

--- The first row of those.
---@param doc table?
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
function query.find_one(doc, opts, page)
  return query.find_by_json(doc, { limit = 1, order = opts.order, after = opts.after,
    all = opts.all, where = opts.where, fields = opts.fields }, page)
end

--- How many there are of those. One row with the one column `n`.
---@param doc table? nil: all rows, or those that `where` leaves
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
function query.count(doc, opts, page)
  local json = (doc ~= nil or opts.where ~= nil) and containment(doc, opts, 'the criteria') or nil
  local sql, params = query.condition(json, opts, nil, page)
  return 'SELECT count(*) AS n FROM %T' .. sql, params
end

--- The WHERE of a statement over all rows that contain a document and meet `where`; '' for all.
---@param json string? of the document
---@param opts stores.sql.Tail
---@param params string[]? those of the statement before it
---@param page stores.sql.Page?
---@param more (fun(add: stores.sql.Add): string)? one condition more
---@return string sql
---@return string[] params
function query.condition(json, opts, params, page, more)
  local all, add = new_params(unpack(params or {}))
  local contains = json and 'value @> ' .. add(json, 'jsonb')
  if page then page.order = order.read(nil) end
  local conditions = source(contains, opts, add, page).conditions
  if more then conditions[#conditions + 1] = '(' .. more(add) .. ')' end
  return #conditions > 0 and ' WHERE ' .. table.concat(conditions, ' AND ') or '', all
end

--- The containment of a document of criteria, as query.condition takes it.
---@param doc table?
---@param opts stores.sql.Tail
---@return string? json
---Raises empty_criteria, invalid_argument, invalid_document.
function query.containment(doc, opts)
  return containment(doc, opts, 'the criteria')
end

--- Rows whose array at a path contains a value in the sense of @>: an array is contained where each
--- of its elements is; an object where an element contains it; a scalar where an element equals it.
--- One containment says all of that, and that an array is there: below the top, @> never lets an
--- array contain a bare scalar.
---@param key stores.Path
---@param value any
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.array_contains(key, value, opts, page)
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
  return matching(CONTAINS, opts, params, add, page)
end

--- Rows whose object at a path contains a document.
---@param key stores.Path
---@param doc table
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument, invalid_document.
function query.sub_contains(key, doc, opts, page)
  local names = paths.read(key, 'the key')
  if object(doc, 'the document') == '{}' and not opts.all then
    refuse_empty('the document is empty, which every object at the key contains')
  end
  local params, add = new_params(paths.nest(names, paths.encode(names, doc)))
  return matching(CONTAINS, opts, params, add, page)
end

--- Rows in which a path finds something (@?), or for which it is true ({predicate = true}, @@).
---@param path string
---@param vars table<string, any>?
---@param opts stores.sql.Tail
---@param page stores.sql.Page?
---@return string sql
---@return string[] params
---Raises empty_criteria, invalid_argument.
function query.by_path(path, vars, opts, page)
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
    add, page)
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
