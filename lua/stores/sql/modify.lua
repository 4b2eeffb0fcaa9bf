--- The SQL expressions of updateProperty and patch: the new value of a row, computed by the server.
--- In them `value` is the old one, $1 the id, $2 and on the parameters that are given back, all of
--- them text. An expression depends on the verbs and the depths of the paths alone, never on what a
--- a user wrote, so that a prepared statement serves every key.
---
--- What is in the way of a path is reported by a cast that fails: SQLSTATE 22P02, with the text
--- `stores:blocked:<what is wrong>` as the value that is not an integer. It names paths and types
--- of JSON, never a value.
---
--- Only immutable functions see the column, for Citus refuses all others in an UPDATE.

local core = require('stores.core')
local errors = require('stores.errors')
local ids = require('stores.ids')
local options = require('stores.config.options')
local paths = require('stores.sql.paths')

local modify = {}

---@alias stores.Settings table<string, any>|{ [1]: stores.Path, [2]: any }[]

---@class stores.Patch
---@field set? stores.Settings {name = value} or {{path, value}, ..}
---@field inc? stores.Settings the same with numbers: from 0 where there is nothing or null
---@field append? stores.Settings the same, of one element: from [] where there is nothing or null
---@field remove? stores.Path[] names and paths; what is not there is no error
---@field merge? table laid over the top level: its values replace, they are not merged deeper

---@class stores.modify.Step
---@field reads string? the member of the top level that `over` looks at in `value`
---@field writes string[] the members of the top level that it changes
---@field over fun(before: string): string the expression after this step; `before`, the expression
---  so far, is in it once

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

-- The parameters; $1 is the id. add(value, type) gives the placeholder of one more.
local function new_params()
  local params = {}
  return params, function(value, as)
    params[#params + 1] = value
    return ('$%d::%s'):format(#params + 1, as)
  end
end

-- An expression that raises when it is evaluated. `where` and `kind` are SQL texts.
local function blocked(where, needed, kind)
  return ("('stores:blocked:' || %s || ' must be %s, found ' || %s)::int::text::jsonb"):format(
    where, needed, kind)
end

-- A path as the expressions see it: its placeholder, those of its beginnings, its label.
local function bind_path(names, add)
  local array = add(paths.array(names), 'text[]')
  local label
  return {
    names = names,
    whole = array,
    first = function(n) return ('(%s)[1:%d]'):format(array, n) end,
    label = function()
      label = label or add(paths.show(names), 'text')
      return label
    end,
  }
end

-- The document with every parent of the path there, as an object.
local function with_parents(path, add)
  if #path.names == 1 then return 'value' end
  local branches = {}
  for k = 1, #path.names - 1 do
    local kind = ('jsonb_typeof(value #> %s)'):format(path.first(k))
    local missing = add(paths.nest(path.names, '{}', k + 1, #path.names - 1), 'jsonb')
    branches[#branches + 1] = ("WHEN coalesce(%s, 'null') = 'null' THEN jsonb_set(value, %s, %s) "
      .. "WHEN %s <> 'object' THEN %s"):format(kind, path.first(k), missing, kind,
      blocked(("'part %d of ' || %s"):format(k, path.label()), 'an object', kind))
  end
  return 'CASE ' .. table.concat(branches, ' ') .. ' ELSE value END'
end

-- The step that puts the expression `item` over `value` at a path. Behind other steps only the
-- member of the top level that the path begins with is carried over from `value`.
---@return stores.modify.Step
local function put_step(path, item, add)
  local parents = with_parents(path, add)
  return { reads = path.names[1], writes = { path.names[1] }, over = function(before)
    if before == 'value' then before = parents
    elseif #path.names > 1 then
      local top = path.first(1)
      return ('jsonb_set(%s, %s, jsonb_set(%s, %s, %s) #> %s)'):format(before, top, parents,
        path.whole, item, top)
    end
    return ('jsonb_set(%s, %s, %s)'):format(before, path.whole, item)
  end }
end

---@return stores.modify.Step
local function set_step(names, json, add)
  local path = bind_path(names, add)
  return put_step(path, add(json, 'jsonb'), add)
end

---@return stores.modify.Step
local function inc_step(names, amount, add)
  local path = bind_path(names, add)
  local kind = ('jsonb_typeof(value #> %s)'):format(path.whole)
  local sum = ('trim_scale(coalesce((value #>> %s)::numeric, 0) + %s)::text::jsonb'):format(
    path.whole, add(amount, 'numeric'))
  return put_step(path, ("CASE WHEN coalesce(%s, 'null') IN ('null', 'number') THEN %s ELSE %s END")
    :format(kind, sum, blocked(path.label(), 'a number', kind)), add)
end

---@return stores.modify.Step
local function append_step(names, json, add)
  local path = bind_path(names, add)
  local kind = ('jsonb_typeof(value #> %s)'):format(path.whole)
  local item = add(json, 'jsonb')
  return put_step(path, ("CASE WHEN coalesce(%s, 'null') = 'null' THEN %s WHEN %s = 'array' "
    .. 'THEN (value #> %s) || %s ELSE %s END'):format(kind, item, kind, path.whole, item,
      blocked(path.label(), 'an array', kind)), add)
end

-- Takes out what is at a path of several names. A parent that is not there is no error.
---@return stores.modify.Step
local function remove_step(names, add)
  local path = bind_path(names, add)
  local branches = {}
  for k = 1, #names - 1 do
    local kind = ('jsonb_typeof(value #> %s)'):format(path.first(k))
    branches[k] = ("WHEN %s NOT IN ('object', 'null') THEN %s"):format(kind,
      blocked(("'part %d of ' || %s"):format(k, path.label()), 'an object', kind))
  end
  return { reads = names[1], writes = { names[1] }, over = function(before)
    return ('CASE %s ELSE %s #- %s END'):format(table.concat(branches, ' '), before, path.whole)
  end }
end

-- A step that needs nothing but the document as the steps before left it.
---@return stores.modify.Step
local function plain_step(operator, operand, writes)
  return { writes = writes, over = function(before)
    return ('(%s %s %s)'):format(before, operator, operand)
  end }
end

-- One expression of all steps, each on the result of the one before. As long as no step reads what
-- an earlier one wrote, all of them read the row's own value. One that does gets the result so far
-- from a sub-select, with OFFSET 0 as the fence that keeps the planner from writing the inner
-- expression out at every use: the expression grows linearly.
local function compose(steps)
  local inner
  local text, written = 'value', {}
  local function whole()
    if not inner then return text end
    return ('(SELECT %s FROM (SELECT %s AS value OFFSET 0) step)'):format(text, inner)
  end
  for _, step in ipairs(steps) do
    if step.reads and written[step.reads] then
      inner = whole()
      text, written = 'value', {}
    end
    text = step.over(text)
    for _, name in ipairs(step.writes) do written[name] = true end
  end
  return ("CASE WHEN jsonb_typeof(value) IS DISTINCT FROM 'object' THEN %s ELSE %s END"):format(
    blocked("'the value of the row'", 'an object', "coalesce(jsonb_typeof(value), 'NULL')"),
    whole())
end

-- The names of a target, which is never the id.
local function target(key, what)
  local names = paths.read(key, what)
  if names[1] == 'id' then
    refuse("%s is 'id': the id of a row cannot be changed", what)
  end
  return names
end

--- updateProperty: puts a value at a path. Parents that are missing or null become objects.
---@param key stores.Path
---@param value any json.null for a null
---@return string expr
---@return string[] params $2 and on
---Raises invalid_argument, invalid_document; the statement raises path_blocked.
function modify.property(key, value)
  local names = target(key, 'the key')
  if value == nil then
    refuse('the value is nil: say json.null to store a null, or patch with remove to take the '
      .. 'property out')
  end
  local params, add = new_params()
  return compose({ set_step(names, paths.encode(names, value), add) }), params
end

local function is_list(given)
  return given[1] ~= nil or getmetatable(given) == core.array_metatable
end

-- The {names, value} of set, inc or append, which are {name = value, ..} (taken in the order of the
-- names) or {{path, value}, ..} (in the order of the list).
local function pairs_of(given, what)
  if given == nil then return {} end
  if type(given) ~= 'table' then
    refuse('%s must be {name = value, ...} or {{path, value}, ...}, got %s', what,
      errors.kind(given))
  end
  local list, count = {}, 0
  for key in pairs(given) do
    count = count + 1
    list[count] = key
  end
  if not is_list(given) then
    for _, key in ipairs(list) do
      if type(key) ~= 'string' then
        refuse('%s has the key [%s]: names are strings', what, tostring(key))
      end
    end
    table.sort(list)
    for i, key in ipairs(list) do
      list[i] = { target(key, 'a name of ' .. what), given[key] }
    end
    return list
  end
  if count ~= #given then refuse('%s mixes a list of {path, value} with names', what) end
  for i, item in ipairs(given) do
    if type(item) ~= 'table' then
      refuse('%s[%d] must be {path, value}, got %s', what, i, errors.kind(item))
    elseif item[2] == nil or #item ~= 2 then
      refuse('%s[%d] must be {path, value}, and the value not nil: say json.null for a null, or '
        .. 'remove', what, i)
    end
    list[i] = { target(item[1], ('the path of %s[%d]'):format(what, i)), item[2] }
  end
  return list
end

-- set: names of the top level that follow each other go in as one object.
local function add_sets(steps, given, add)
  local together, top = {}, {}
  local function flush()
    if #together == 0 then return end
    local json = '{' .. table.concat(together, ',') .. '}'
    steps[#steps + 1] = plain_step('||', add(json, 'jsonb'), top)
    together, top = {}, {}
  end
  for _, pair in ipairs(pairs_of(given, 'set')) do
    local names, json = pair[1], paths.encode(pair[1], pair[2])
    if #names == 1 then
      together[#together + 1] = paths.json(names[1]) .. ':' .. json
      top[#top + 1] = names[1]
    else
      flush()
      steps[#steps + 1] = set_step(names, json, add)
    end
  end
  flush()
end

local function add_incs(steps, given, add)
  for _, pair in ipairs(pairs_of(given, 'inc')) do
    local names, json = pair[1], paths.encode(pair[1], pair[2])
    if not json:find('^[-%d]') then
      refuse('inc of %s needs a number, got %s', paths.show(names), errors.kind(pair[2]))
    end
    steps[#steps + 1] = inc_step(names, json, add)
  end
end

local function add_appends(steps, given, add)
  for _, pair in ipairs(pairs_of(given, 'append')) do
    local item = setmetatable({ pair[2] }, core.array_metatable)
    steps[#steps + 1] = append_step(pair[1], paths.encode(pair[1], item), add)
  end
end

-- remove: names of the top level that follow each other go at once.
local function add_removes(steps, given, add)
  if given == nil then return end
  if type(given) == 'string' then given = { given } end
  if type(given) ~= 'table' or (next(given) ~= nil and not is_list(given)) then
    refuse("remove must be a list of names and paths, such as {'a', {'b', 'c'}}")
  end
  local count, top = 0, {}
  for _ in pairs(given) do count = count + 1 end
  if count ~= #given then refuse('remove must be a list without gaps') end
  local function flush()
    if #top == 0 then return end
    steps[#steps + 1] = plain_step('-', add(paths.array(top), 'text[]'), top)
    top = {}
  end
  for i, key in ipairs(given) do
    local names = target(key, ('remove[%d]'):format(i))
    if #names == 1 then
      top[#top + 1] = names[1]
    else
      flush()
      steps[#steps + 1] = remove_step(names, add)
    end
  end
  flush()
end

local function add_merge(steps, given, id, add)
  if given == nil then return end
  if type(given) ~= 'table' or is_list(given) then
    refuse('merge must be a table with names, got %s',
      type(given) == 'table' and 'an array' or errors.kind(given))
  end
  local rest = {}
  for key, value in pairs(given) do rest[key] = value end
  if rest.id ~= nil then
    if ids.parse(rest.id) ~= id then
      errors.raise('id_mismatch', "the 'id' in merge is not the id of the row")
    end
    rest.id = nil
  end
  if next(rest) == nil then return end
  steps[#steps + 1] = plain_step('||', add(paths.json(rest), 'jsonb'), {})
end

---@type stores.OptionSpec
local PATCH = {
  where = 'the patch',
  keys = { set = true, inc = true, append = true, remove = true, merge = true },
  aliases = {},
}
for alias, key in pairs({ unset = 'remove', delete = 'remove', del = 'remove', push = 'append',
                          add = 'inc', increment = 'inc', incr = 'inc', update = 'set',
                          assign = 'merge', extend = 'merge' }) do
  PATCH.aliases[alias] = ("did you mean '%s'?"):format(key)
end

--- patch: set, inc, append, remove, merge, in that order, as one expression.
---@param spec stores.Patch
---@param id string canonical id of the row; an `id` in merge must be the same
---@return string expr
---@return string[] params $2 and on
---Raises invalid_argument, invalid_document, invalid_id, id_mismatch; the statement raises
---path_blocked.
function modify.patch(spec, id)
  if type(spec) ~= 'table' then
    refuse('the patch must be a table such as {set = {name = value}}, got %s', errors.kind(spec))
  end
  for key in pairs(spec) do
    if not PATCH.keys[key] then
      refuse("unknown key '%s' in the patch: %s", tostring(key):sub(1, 60),
        options.suggestion(key, PATCH.keys, PATCH.aliases))
    end
  end
  local steps = {}
  local params, add = new_params()
  add_sets(steps, spec.set, add)
  add_incs(steps, spec.inc, add)
  add_appends(steps, spec.append, add)
  add_removes(steps, spec.remove, add)
  add_merge(steps, spec.merge, id, add)
  if #steps == 0 then
    refuse('the patch is empty: it needs set, inc, append, remove or merge')
  end
  return compose(steps), params
end

return modify
