--- Merging lists of several servers, each of which has put its own in order: the next one is the
--- least of those that are first in their lists. The order is jsonb's, as in a list of one server:
--- numbers, booleans and types are compared here; strings, whose order is the collation of the
--- database, and what is made of others are ranked by a server, once for all of a merge.

local core = require('stores.core')
local json = require('stores.json')
local paths = require('stores.sql.paths')

local merge = {}

---@class stores.shards.Item a row of one of the lists
---@field document stores.Document|nil
---@field id string|false
---@field keys string|false the values of the keys of the order, as JSON
---@field given any[] the same, read
---@field values any[] what is compared: the values, or their ranks
---@field err stores.Error? the document cannot be read: raised in its turn

---@class stores.shards.Merge
---@field order stores.sql.Order
---@field back boolean the lists are in the reverse
---@field ranks fun(texts: string[]): integer[] asks a server for the order of values
local Merge = {}
Merge.__index = Merge

--- What puts lists together.
---@param order stores.sql.Order
---@param back boolean
---@param ranks fun(texts: string[]): integer[]
---@return stores.shards.Merge
function merge.new(order, back, ranks)
  return setmetatable({ order = order, back = back, ranks = ranks }, Merge)
end

--- Makes an item of a row.
---@param document stores.Document|nil
---@param id string|false
---@param keys string|false
---@param err stores.Error?
---@return stores.shards.Item
function merge.item(document, id, keys, err)
  local given = keys and core.json_decode(keys) or {}
  return { document = document, id = id, keys = keys, given = given, values = given, err = err }
end

-- ---- Values -------------------------------------------------------------------------------------

local function kind_of(value)
  if value == json.null then return nil end
  if json.is_number(value) then return 'number' end
  return type(value)
end

-- Whether values of a key can be compared by a server alone: different strings, arrays, objects.
local function needs_ranks(items, place)
  local text
  for _, item in ipairs(items) do
    local value = item.given[place]
    local kind = kind_of(value)
    if kind == 'table' then return true end
    if kind == 'string' then
      if text and text ~= value then return true end
      text = value
    end
  end
  return false
end

-- Puts the ranks of the values of a key in their place.
local function rank(self, items, place)
  local texts, known = {}, {}
  local of_item = {}
  for at, item in ipairs(items) do
    local value = item.given[place]
    if value ~= json.null then
      local text = paths.json(value)
      of_item[at] = text
      if not known[text] then
        known[text] = #texts + 1
        texts[#texts + 1] = text
      end
    end
  end
  local ranks = self.ranks(texts)
  for at, item in ipairs(items) do
    if of_item[at] then item.values[place] = ranks[known[of_item[at]]] end
  end
end

--- Makes the items of all lists comparable. To be called again where others are added.
---@param items stores.shards.Item[]
function Merge:prepare(items)
  local keys = #self.order.keys
  if keys == 0 then return end
  for _, item in ipairs(items) do
    item.values = {}
    for place = 1, keys do item.values[place] = item.given[place] end
  end
  for place = 1, keys do
    if needs_ranks(items, place) then rank(self, items, place) end
  end
end

-- ---- Order --------------------------------------------------------------------------------------

-- jsonb's order of types. Strings are here only where all of them are the same.
local TYPES = { string = 1, number = 2, boolean = 3 }

local function compare_values(a, b)
  local left, right = kind_of(a), kind_of(b)
  if left ~= right then return TYPES[left] < TYPES[right] and -1 or 1 end
  if left == 'boolean' then return a == b and 0 or a and 1 or -1 end
  if a == b then return 0 end
  if type(a) == 'number' and type(b) == 'number' then return a < b and -1 or 1 end
  if left == 'string' then return a < b and -1 or 1 end
  if json.is_number(a) then return a:compare(b) end
  return -b:compare(a)
end

--- Which of two ids is the smaller one, as numbers of 64 bits.
---@param a string
---@param b string
---@return integer -1, 0 or 1
function merge.compare_ids(a, b)
  if a == b then return 0 end
  local below_a, below_b = a:byte() == 45, b:byte() == 45
  if below_a ~= below_b then return below_a and -1 or 1 end
  local less = #a < #b or #a == #b and a < b
  if below_a then less = not less end
  return less and -1 or 1
end

local function compare_keys(self, a, b)
  for place, key in ipairs(self.order.keys) do
    local left, right = a.values[place], b.values[place]
    local none_left, none_right = left == json.null, right == json.null
    if none_left ~= none_right then return none_left and 1 or -1 end -- last, up or down
    if not none_left then
      local result = compare_values(left, right)
      if result ~= 0 then return key.down and -result or result end
    end
  end
  return 0
end

--- Whether an item comes before another one in the lists.
---@param a stores.shards.Item
---@param b stores.shards.Item
---@return boolean
function Merge:is_before(a, b)
  local result = compare_keys(self, a, b)
  if result == 0 then
    if not a.id or not b.id then return a.id ~= false and b.id == false end
    result = merge.compare_ids(a.id, b.id)
    if self.order.down then result = -result end
  end
  if self.back then result = -result end
  return result < 0
end

--- Takes the first items of lists, in their order.
---@param lists stores.shards.Item[][]
---@param most integer? so many; nil: all
---@return stores.shards.Item[]
---@return boolean is_more
function Merge:take(lists, most)
  local all = {}
  for _, list in ipairs(lists) do
    for _, item in ipairs(list) do all[#all + 1] = item end
  end
  if #lists > 1 then self:prepare(all) end
  local at, taken, total = {}, {}, #all
  for place = 1, #lists do at[place] = 1 end
  while #taken < (most or total) do
    local best
    for place, list in ipairs(lists) do
      local item = list[at[place]]
      if item and (not best or self:is_before(item, lists[best][at[best]])) then best = place end
    end
    if not best then break end
    taken[#taken + 1] = lists[best][at[best]]
    at[best] = at[best] + 1
  end
  return taken, #taken < total
end

return merge
