--- The option `fields`: documents of which only some members come, in the shape that they have, and
--- the id. The server makes them, so that the rest is not sent.

local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local json = require('stores.json')

local fields = {}

---@class stores.sql.Fields
---@field names string[] in the order in which they came first
---@field members table<string, stores.sql.Fields|true> true: all of the member

---@return stores.sql.Fields
local function new_tree() return { names = {}, members = {} } end

local function add(tree, names)
  for depth, name in ipairs(names) do
    local member = tree.members[name]
    if member == true then return end
    if member == nil then tree.names[#tree.names + 1] = name end
    tree.members[name] = depth == #names or member or new_tree()
    tree = tree.members[name]
  end
end

-- What an object has of the members of a tree, as an expression.
local function members_of(object, tree)
  local parts = {}
  for i, name in ipairs(tree.names) do
    local key = expression.literal(name) .. '::text'
    local member, inner = ('(%s -> %s)'):format(object, key), tree.members[name]
    local condition = ('%s ? %s'):format(object, key)
    if inner ~= true then
      condition = ("jsonb_typeof(%s) = 'object'"):format(member)
    end
    parts[i] = ("CASE WHEN %s THEN jsonb_build_object(%s, %s) ELSE '{}'::jsonb END"):format(
      condition, key, inner == true and member or members_of(member, inner))
  end
  if #parts == 0 then return "'{}'::jsonb" end
  return '(' .. table.concat(parts, ' || ') .. ')'
end

local function tree_of(list)
  if type(list) ~= 'table' then
    errors.raise('invalid_argument', "fields must be a list of names and paths such as {'name', "
      .. "{'address', 'city'}}, got " .. errors.kind(list))
  end
  local count, tree = 0, new_tree()
  for _ in pairs(list) do count = count + 1 end
  if count ~= #list then
    errors.raise('invalid_argument', 'fields must be a list without gaps, and without names of its '
      .. 'own')
  end
  for i, path in ipairs(list) do
    local names = expression.names(path, ('field %d'):format(i))
    if names[1] ~= 'id' then add(tree, names) end
  end
  return tree
end

-- The same of a table.
local function part_of(object, tree)
  local part = {}
  for _, name in ipairs(tree.names) do
    local member, inner = object[name], tree.members[name]
    if inner == true then
      part[name] = member
    elseif type(member) == 'table' and not json.is_number(member) and member[1] == nil
      and not json.is_array(member) then
      part[name] = part_of(member, inner)
    end
  end
  return part
end

--- Documents of which only some members are left, of whole ones.
---@param list stores.Path[]
---@param documents table[]
---@return table[] documents the same array
function fields.of(list, documents)
  local tree = tree_of(list)
  for i, document in ipairs(documents) do
    local part = part_of(document, tree)
    part.id = document.id
    documents[i] = part
  end
  return documents
end

--- The document of a row as an expression over `id` and `value`: of all of it where nothing is
--- asked. A value that is no object stays what it is, and is refused as ever.
---@param list stores.Path[]?
---@return string sql
---Raises invalid_argument.
function fields.document(list)
  if list == nil then return 'value::text' end
  local tree = tree_of(list)
  return ("(CASE WHEN jsonb_typeof(value) = 'object' THEN %s || jsonb_build_object('id', id::text) "
    .. 'ELSE value END)::text'):format(members_of('value', tree))
end

return fields
