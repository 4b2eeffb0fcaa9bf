--- JSON as jsonb has it, exactly: what is read is written back as it was, and what jsonb has no
--- place for is refused with its path.
---
--- Tables are objects, and tables with the array metatable are arrays; everything that Stores
--- reads has it, so that `[]` stays `[]`. A plain table whose keys are 1..n is written as an array
--- too, and an empty plain table as `{}`. Numbers that no double carries are read as
--- `stores.json.number`.
local core = require('stores.core')
local errors = require('stores.errors')

local json = {}

---@alias stores.Document table<string, any>|string a document; its JSON text with raw = true

---@class stores.json.array<T>: { [integer]: T }

--- A decimal that no double carries. Prints as its digits, compares with `==`, `<` and `<=` to
--- others of its kind, and is written back digit for digit. Arithmetic raises, for it would round.
---@class stores.json.number
---@field compare fun(self: stores.json.number, other: stores.json.number|number|string): integer
---  -1, 0 or 1, by exact decimal value; also with Lua numbers (by the digits that they print as),
---  64-bit cdata, and the text of a number
---@field eq fun(self: stores.json.number, other: any): boolean  the same as a question
---@field tonumber fun(self: stores.json.number): number  the nearest double; infinite beyond all
---@field tostring fun(self: stores.json.number): string  its digits, as they were read

--- JSON's null: the same value as `cjson.null`.
---@type lightuserdata
json.null = core.null

local array_metatable, rows_metatable = core.array_metatable, core.rows_metatable

--- Marks a table as an array, so that it is written as one when it is empty, too.
---@generic T
---@param list? T[]  a new table where it is left out; it is changed in place
---@return stores.json.array<T>
function json.array(list)
  if list == nil then
    list = {}
  elseif type(list) ~= 'table' then
    errors.raise('invalid_argument', 'json.array takes a table, not a ' .. type(list))
  end
  return setmetatable(list, array_metatable)
end

--- Whether a value is marked as an array: by `json.array`, for it was read as one, or for it is a
--- list that a verb gave.
---@param value any
---@return boolean
function json.is_array(value)
  if type(value) ~= 'table' then return false end
  local metatable = getmetatable(value)
  return metatable == array_metatable or metatable == rows_metatable
end

--- A number from its text, digit for digit; for what a double would round.
---@param text string|number|stores.json.number|ffi.cdata*  a JSON number, or a 64-bit cdata
---@return stores.json.number
function json.number(text)
  local number, message = core.number(text)
  if number == nil then errors.raise('invalid_argument', message) end
  return number
end

--- Whether a value is a `stores.json.number`.
---@param value any
---@return boolean
function json.is_number(value)
  return core.is_number(value)
end

--- A value as JSON text. Raises `invalid_document` for what jsonb cannot hold.
---@param value any
---@return string
function json.encode(value)
  local text, message = core.json_encode(value)
  if text == nil then errors.raise('invalid_document', message) end
  return text
end

--- The value of JSON text. Raises `invalid_document` for what jsonb would not take.
---@param text string
---@return any
function json.decode(text)
  if type(text) ~= 'string' then
    errors.raise('invalid_argument', 'json.decode takes a string, not a ' .. type(text))
  end
  local value, message = core.json_decode(text)
  if value == nil then errors.raise('invalid_document', message) end
  return value
end

return json
