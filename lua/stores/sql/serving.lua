--- Which indexes serve which criteria: for `explain`, which knows the indexes of the server, and
--- for tables that are declared, whose criteria must be served. What is asked here is what an index
--- can do; whether the planner takes it, it decides by the size of the table.
---
---   local group, by = criteria.read(opts.where), order.read(opts.order)
---   local verdict = serving.judge({ expression.index('age'), .. }, group, by, has_doc)
---   if not verdict.is_served then .. expression.create(name, verdict.missing) ..

local criteria = require('stores.sql.criteria')
local expression = require('stores.sql.expression')

local serving = {}

---@class stores.sql.Verdict
---@field is_served boolean rows are found by an index: those of the criteria, or all in order
---@field sorts boolean what is found has to be put in order
---@field missing stores.sql.Index? the one that would serve; nil where it is one over the documents
---@field needs_gin boolean the missing one is the GIN index over the documents

local function name_of(key) return expression.name(key.names) end

-- Whether an index begins with paths that are fixed, and then has the path: its rows are a range.
local function reaches(index, name, fixed)
  for _, key in ipairs(index.keys) do
    if name_of(key) == name then return true end
    if not fixed[name_of(key)] then return false end
  end
  return false
end

local serves

local function leaf_served(indexes, leaf, fixed, has_gin)
  if leaf.kind == 'id' then return true end
  if leaf.kind == 'contains' then return has_gin end
  local name = expression.name(leaf.names)
  for _, index in ipairs(indexes) do
    if leaf.kind == 'prefix' then
      if index.prefix and name_of(index.keys[1]) == name then return true end
    elseif not index.prefix and reaches(index, name, fixed) then
      return true
    end
  end
  return false
end

-- Whether the rows of a node are found by indexes: of all one item will do, of any each must.
function serves(indexes, node, fixed, has_gin)
  if node.kind then return leaf_served(indexes, node, fixed, has_gin) end
  if node.none then return false end
  for _, item in ipairs(node.all or node.any) do
    local is_served = serves(indexes, item, node.all and fixed or {}, has_gin)
    if is_served and node.all then return true end
    if not is_served and node.any then return false end
  end
  return node.any ~= nil
end

-- The keys of an order that are not the same in all rows.
local function free_keys(by, fixed)
  local keys = {}
  for _, key in ipairs(by.keys) do
    if not fixed[name_of(key)] then keys[#keys + 1] = key end
  end
  return keys
end

-- Whether an index has its rows in the order, behind keys that are fixed.
local function is_in_order(index, by, fixed)
  if index.prefix then return false end
  local wanted = free_keys(by, fixed)
  local backwards = by:is_backwards(fixed)
  local at = 1
  for _, key in ipairs(index.keys) do
    local next_key = wanted[at]
    if next_key and name_of(key) == name_of(next_key) then
      if key.down ~= (next_key.down and not backwards) then return false end
      at = at + 1
    elseif at > 1 or not fixed[name_of(key)] then
      return false
    end
  end
  return at > #wanted
end

-- The first condition for which there is an index to be made, and is none.
local function first_unserved(indexes, node, fixed, has_gin)
  if node.kind then
    return not leaf_served(indexes, node, fixed, has_gin) and node or nil
  end
  for _, item in ipairs(node.all or node.any or {}) do
    local found = first_unserved(indexes, item, fixed, has_gin)
    if found then return found end
  end
  return nil
end

-- The index that would serve: what is fixed, then the order, else the first condition.
local function missing(indexes, group, by, fixed, list, has_gin)
  local keys = {}
  for i, names in ipairs(list) do keys[i] = { names = names, down = false } end
  for _, key in ipairs(free_keys(by, fixed)) do keys[#keys + 1] = key end
  if #keys == 0 then
    local leaf = first_unserved(indexes, group, fixed, has_gin)
    if not leaf or leaf.kind == 'contains' then return nil, leaf ~= nil end
    return { keys = { { names = leaf.names, down = false } }, prefix = leaf.kind == 'prefix' }
  end
  if #keys == 1 then keys = { { names = keys[1].names, down = false } } end
  return { keys = keys, prefix = false }
end

--- What a list of indexes does for criteria.
---@param indexes stores.sql.Index[]
---@param group stores.sql.Group of criteria.read
---@param by stores.sql.Order of order.read
---@param contains boolean a document is to be contained
---@param has_gin boolean there is the GIN index over the documents
---@return stores.sql.Verdict
function serving.judge(indexes, group, by, contains, has_gin)
  local fixed, list = criteria.fixed(group)
  local found = contains and has_gin or serves(indexes, group, fixed, has_gin)
  local asks = contains or #group.all > 0
  local fenced = contains or criteria.contains(group)
  local ordered = #by.keys == 0
  for _, index in ipairs(indexes) do
    ordered = ordered or not fenced and is_in_order(index, by, fixed)
  end
  local verdict = { is_served = found or not asks and ordered, sorts = not ordered,
    needs_gin = false }
  if verdict.is_served then return verdict end
  if contains then
    verdict.needs_gin = true
  else
    verdict.missing, verdict.needs_gin = missing(indexes, group, by, fixed, list, has_gin)
    verdict.needs_gin = verdict.needs_gin or false
  end
  return verdict
end

return serving
