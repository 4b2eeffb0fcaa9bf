--- Cursors: where a page ends, as a text for those who ask for the next one. It has the table, the
--- order, the id of the row and the values of the order's keys, so that the row itself need not be
--- there any more, and another shard has a place for it too. A cursor is no secret, and no proof:
--- who reads it sees those values, and its sum is there for what was cut or mixed up.

local bit = require('bit')
local core = require('stores.core')
local errors = require('stores.errors')
local ids = require('stores.ids')
local paths = require('stores.sql.paths')

local cursor = {}

---@alias stores.Cursor stores.Id a cursor that a list gave; an id in an order by id

local VERSION = 'c1'
local DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'

local values = {}
for i = 1, #DIGITS do values[DIGITS:byte(i)] = i - 1 end

local band, rshift, lshift, bor, bxor = bit.band, bit.rshift, bit.lshift, bit.bor, bit.bxor

-- base64 of RFC 4648, section 5, without padding: it needs no escape in a URL.
local function encode(text)
  local out = {}
  for at = 1, #text, 3 do
    local a, b, c = text:byte(at, at + 2)
    local word = bor(lshift(a, 16), lshift(b or 0, 8), c or 0)
    for i = 0, c and 3 or b and 2 or 1 do
      local digit = band(rshift(word, 18 - 6 * i), 63) + 1
      out[#out + 1] = DIGITS:sub(digit, digit)
    end
  end
  return table.concat(out)
end

-- nil: it is none, or has bits that stand for nothing.
local function decode(text)
  local out = {}
  for at = 1, #text, 4 do
    local count = math.min(4, #text - at + 1)
    local word = 0
    for i = 0, count - 1 do
      local value = values[text:byte(at + i)]
      if not value then return nil end
      word = bor(word, lshift(value, 18 - 6 * i))
    end
    for i = 0, count - 2 do out[#out + 1] = string.char(band(rshift(word, 16 - 8 * i), 255)) end
  end
  local decoded = table.concat(out)
  return encode(decoded) == text and decoded or nil
end

-- FNV-1a of 32 bits, as eight digits. The product with its prime, 2^24 + 403, is taken in two
-- pieces, for a double holds no more than 53 bits.
local function sum(text)
  local hash = bit.tobit(0x811c9dc5)
  for i = 1, #text do
    hash = bxor(hash, text:byte(i))
    hash = bit.tobit(lshift(hash, 24) + (hash % 2 ^ 32) * 403)
  end
  return bit.tohex(hash)
end

local function values_of(keys)
  local list = {}
  for i, value in ipairs(keys) do list[i] = paths.json(value) end
  return list
end

--- The position of a row.
---@param id string
---@param keys string? as below
---@return stores.sql.Position
function cursor.position(id, keys)
  return { id = id, keys = values_of(keys and core.json_decode(keys) or {}) }
end

-- What a name of a table means where it is not quoted.
local function table_of(name)
  return name:find('"', 1, true) and name or name:lower()
end

--- Writes the cursor of a row.
---@param name string the table
---@param order stores.sql.Order
---@param id string
---@param keys string? the values of the order's keys, as the array that Order:values() gave
---@return string
function cursor.write(name, order, id, keys)
  local text = ('[%s,%s,"%s",%s]'):format(paths.json(table_of(name)), paths.json(order.text), id,
    keys or '[]')
  return VERSION .. encode(sum(text) .. text)
end

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

--- Whether a text may be a cursor: an id is none.
---@param given any
---@return boolean
function cursor.is(given)
  return type(given) == 'string' and given:find('^c%d') ~= nil
end

local function open(given, what)
  if given:sub(1, #VERSION) ~= VERSION then
    refuse("'%s' is a cursor of another version of Stores: begin with the first page again", what)
  end
  local text = decode(given:sub(#VERSION + 1)) or ''
  if #text < 8 or sum(text:sub(9)) ~= text:sub(1, 8) then
    refuse("'%s' is no cursor: it was cut or changed", what)
  end
  local items = core.json_decode(text:sub(9))
  if type(items) ~= 'table' or type(items[4]) ~= 'table' or #items ~= 4 then
    refuse("'%s' is no cursor of Stores", what)
  end
  return items
end

--- Reads `after` or `before`: a cursor of this table and order, or an id in an order by id.
---@param given any
---@param what 'after'|'before'
---@param name string? the table; nil: whichever
---@param order stores.sql.Order
---@return stores.sql.Position
---Raises invalid_argument, invalid_id.
function cursor.read(given, what, name, order)
  if not cursor.is(given) then
    local id = ids.check(given)
    if #order.keys == 0 then return { id = id, keys = {} } end
    refuse("'%s' is an id and goes on in the order of ids; it cannot be used with an order by a "
      .. 'path, which takes the cursor that the page before gave', what)
  end
  local items = open(given, what)
  if name and items[1] ~= table_of(name) then
    refuse("'%s' is a cursor of the table %s, and this one is %s", what, tostring(items[1]),
      table_of(name))
  elseif items[2] ~= order.text then
    refuse("'%s' is a cursor of the order (%s), and the order of this call is (%s)", what,
      tostring(items[2]), order.text)
  elseif #items[4] ~= #order.keys then
    refuse("'%s' is no cursor of Stores", what)
  end
  return { id = items[3], keys = values_of(items[4]) }
end

return cursor
