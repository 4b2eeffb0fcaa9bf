--- The order of a list: its keys, the clause, and what comes behind a position in it.
---
--- Each key goes up or down; null and missing come last either way; equals come in the order of
--- their ids, which goes the way of the last key. An index over the keys as they are named
--- (expression.columns) serves the order, and its reverse for pages that go backwards. An order by
--- one key down is read from the index of the key, backwards: there NULL comes first, and so it has
--- two parts, the rows with a value and those without.
---
--- What comes behind a position is in parts, too, each a range of the index: equal in all keys and
--- a later id; equal in all but the last one, and there later; equal in those, and without a value
--- there; and so on. One condition over all of them would be no range of any index.

local core = require('stores.core')
local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local paths = require('stores.sql.paths')

local order = {}

---@alias stores.OrderKey stores.Path|{ [1]: stores.Path, [2]: 'asc'|'desc' }
---@alias stores.Order 'asc'|'desc'|'id'|'-id'|stores.OrderKey[]

---@class stores.sql.Order
---@field keys stores.sql.Key[] none: by id alone
---@field down boolean which way the ids go
---@field text string what it is, for cursors and messages
local Order = {}
Order.__index = Order

---@class stores.sql.Position
---@field id string
---@field keys string[] the values of the keys as JSON; 'null' for none

---@alias stores.sql.Add fun(value: string, as: string): string

local BY_ID = { id = false, asc = false, ['-id'] = true, desc = true }

local function refuse()
  errors.raise('invalid_argument', "order must be 'asc' or 'desc' (by id), or a list of keys such "
    .. "as {'name', '-age'}, {{'a', 'b'}, 'desc'} (at a path), {{'name', 'asc'}, {'age', 'desc'}}")
end

local function made(keys, down)
  local parts = {}
  for i, key in ipairs(keys) do
    parts[i] = (key.down and '-' or '') .. paths.show(key.names):gsub('^%.', '')
  end
  parts[#parts + 1] = down and '-id' or 'id'
  return setmetatable({ keys = keys, down = down, text = table.concat(parts, ', ') }, Order)
end

-- The keys of a list. What an order was before it could have several is still one: {'name', 'desc'}
-- and {{'a', 'b'}, 'desc'}.
local function read_keys(given)
  local count = 0
  for _ in pairs(given) do count = count + 1 end
  if count == 0 or count ~= #given then refuse() end
  local last = given[2]
  if count == 2 and (last == 'asc' or last == 'desc') then
    return { expression.key(given, 'the path of order') }
  end
  local keys = {}
  for i, item in ipairs(given) do
    if i > 1 and (item == 'asc' or item == 'desc') then refuse() end
    keys[i] = expression.key(item, count == 1 and 'the path of order' or ('key %d of order')
      :format(i))
  end
  return keys
end

local UP, DOWN = made({}, false), made({}, true)

--- Reads the option.
---@param given stores.Order?
---@return stores.sql.Order
---Raises invalid_argument.
function order.read(given)
  if given == nil then return UP end
  if type(given) == 'string' then
    if BY_ID[given] == nil then refuse() end
    return BY_ID[given] and DOWN or UP
  elseif type(given) ~= 'table' then
    refuse()
  end
  local keys, down, seen = {}, nil, {}
  for i, key in ipairs(read_keys(given)) do
    local name = expression.name(key.names)
    if seen[name] then
      errors.raise('invalid_argument', ('order names %s twice'):format(paths.show(key.names)))
    elseif down ~= nil then
      errors.raise('invalid_argument', 'nothing can come behind the id in order: no two rows have '
        .. 'the same')
    end
    seen[name] = true
    if #key.names == 1 and key.names[1] == 'id' then
      down = key.down
    else
      keys[i] = key
    end
  end
  if down == nil then down = keys[#keys].down end
  return made(keys, down)
end

--- Whether it is read from the index of a key that goes up: one key down, and no other key fixed.
---@param fixed table<string, boolean> paths that a criterion sets equal to a value
---@return boolean
function Order:is_backwards(fixed)
  return #self.keys == 1 and self.keys[1].down and self.down and next(fixed) == nil
end

--- What comes after ORDER BY.
---@param back boolean in the reverse
---@param in_parts boolean of an order that is read backwards: as its index has it, NULL first
---@return string sql
function Order:clause(back, in_parts)
  local parts = {}
  for i, key in ipairs(self.keys) do
    local down = key.down ~= back
    local nulls = ''
    if not in_parts and key.down then nulls = down and ' NULLS LAST' or ' NULLS FIRST' end
    parts[i] = expression.of(key.names) .. (down and ' DESC' or '') .. nulls
  end
  parts[#parts + 1] = self.down ~= back and 'id DESC' or 'id'
  return table.concat(parts, ', ')
end

--- The values of the keys of a row, as one text; nil where there are none.
---@return string? sql
function Order:values()
  if #self.keys == 0 then return nil end
  local list = {}
  for i, key in ipairs(self.keys) do list[i] = expression.of(key.names) end
  return ('jsonb_build_array(%s)::text'):format(table.concat(list, ', '))
end

-- A value of the position as a parameter, made once and used by several parts.
local function new_holder(position, add)
  local holders = {}
  return function(i)
    holders[i] = holders[i] or (i == 0 and add(core.check_id(position.id), 'bigint')
      or add(position.keys[i], 'jsonb'))
    return holders[i]
  end
end

--- The parts of what comes behind a position (before it, with `back`), in their order: each a
--- condition. Without a position: what the order has from its beginning, nil where it is one range.
---@param position stores.sql.Position?
---@param back boolean
---@param fixed table<string, boolean>
---@param add stores.sql.Add
---@return string[]?
function Order:parts(position, back, fixed, add)
  if not position then
    if not self:is_backwards(fixed) then return nil end
    local key = expression.of(self.keys[1].names)
    return { key .. ' IS NOT NULL', key .. ' IS NULL' }
  end
  local holder, parts = new_holder(position, add), {}
  local function with(level, condition)
    local all = {}
    for i = 1, level - 1 do
      local key = expression.of(self.keys[i].names)
      all[i] = position.keys[i] == 'null' and key .. ' IS NULL' or key .. ' = ' .. holder(i)
    end
    all[#all + 1] = condition
    parts[#parts + 1] = table.concat(all, ' AND ')
  end
  with(#self.keys + 1, ('id %s %s'):format(self.down ~= back and '<' or '>', holder(0)))
  for i = #self.keys, 1, -1 do
    local key, is_null = expression.of(self.keys[i].names), position.keys[i] == 'null'
    if not is_null then
      with(i, ('%s %s %s'):format(key, self.keys[i].down ~= back and '<' or '>', holder(i)))
      if not back then with(i, key .. ' IS NULL') end
    elseif back then
      with(i, key .. ' IS NOT NULL')
    end
  end
  return parts
end

return order
