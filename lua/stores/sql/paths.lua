--- Paths into documents: a name, or an array of names, each the key of an object. A name may hold
--- anything that JSON allows in a key; dots have no meaning, and '0' is a key like any other.

local core = require('stores.core')
local errors = require('stores.errors')

local paths = {}

---@alias stores.Path string|string[]

-- As deep as documents may be.
local DEEPEST = 512

--- The JSON text of a value.
---@param value any
---@return string
---Raises invalid_document.
function paths.json(value)
  local text, why = core.json_encode(value)
  if not text then errors.raise('invalid_document', why) end
  return text
end

--- Whether PostgreSQL can hold a text: UTF-8 without NUL. The codec of the core decides.
---@param text string
---@return boolean
function paths.storable(text)
  return not text:find('%z') and (pcall(paths.json, text))
end

--- Reads a path.
---@param key stores.Path
---@param what string how the argument is called in messages
---@return string[] names at least one
---Raises invalid_argument.
function paths.read(key, what)
  local names = key
  if type(key) == 'string' then
    names = { key }
  elseif type(key) ~= 'table' then
    errors.raise('invalid_argument',
      ('%s must be a name or an array of names, got %s'):format(what, errors.kind(key)))
  end
  local count = 0
  for _ in pairs(names) do count = count + 1 end
  if count ~= #names then
    errors.raise('invalid_argument', what .. ' must be an array of names without gaps')
  elseif count == 0 then
    errors.raise('invalid_argument', what .. ' must have at least one name')
  elseif count > DEEPEST then
    errors.raise('invalid_argument', ('%s is deeper than %d'):format(what, DEEPEST))
  end
  for i, name in ipairs(names) do
    if type(name) ~= 'string' then
      errors.raise('invalid_argument',
        ('part %d of %s must be a string, got %s: a path names keys of objects, and nothing inside '
          .. 'arrays'):format(i, what, errors.kind(name)))
    elseif not paths.storable(name) then
      errors.raise('invalid_argument',
        ('part %d of %s is not UTF-8 text without NUL bytes'):format(i, what))
    end
  end
  return names
end

--- The text of a PostgreSQL text[] with these names.
---@param names string[]
---@return string
function paths.array(names)
  local items = {}
  for i, name in ipairs(names) do items[i] = '"' .. name:gsub('[\\"]', '\\%0') .. '"' end
  return '{' .. table.concat(items, ',') .. '}'
end

--- The JSON text of objects within objects around a value: {"a":{"b":<json>}}.
---@param names string[]
---@param json string
---@param from integer? the first name that counts
---@param to integer? the last
---@return string
function paths.nest(names, json, from, to)
  from, to = from or 1, to or #names
  local parts = {}
  for i = from, to do parts[#parts + 1] = '{' .. paths.json(names[i]) .. ':' end
  parts[#parts + 1] = json
  parts[#parts + 1] = ('}'):rep(to - from + 1)
  return table.concat(parts)
end

--- Writes a value as JSON, as it will stand at the path: a refusal names the place in the whole
--- document, and the depth that counts is the document's.
---@param names string[]
---@param value any
---@return string json of the value alone
---Raises invalid_document.
function paths.encode(names, value)
  local nested = value
  for i = #names, 1, -1 do nested = { [names[i]] = nested } end
  local text = paths.json(nested)
  local opening = paths.nest(names, ''):sub(1, -#names - 1)
  return text:sub(#opening + 1, -#names - 1)
end

-- The longest part and the longest path that a message shows, in bytes.
local PART, WHOLE = 60, 200

-- Cuts between two characters of UTF-8.
local function cut(text, most)
  if #text <= most then return text end
  while most > 0 and text:find('^[\128-\191]', most + 1) do most = most - 1 end
  return text:sub(1, most) .. '...'
end

--- A path as messages show it: .address["street name"]
---@param names string[]
---@return string
function paths.show(names)
  local parts = {}
  for i, name in ipairs(names) do
    parts[i] = name:find('^[%a_][%w_]*$') and '.' .. cut(name, PART)
      or "['" .. cut(name, PART):gsub('%c', '?') .. "']"
  end
  return cut(table.concat(parts), WHOLE)
end

return paths
