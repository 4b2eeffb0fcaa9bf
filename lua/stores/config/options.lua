--- Tables of options: every key must be known and every value of its kind. An unknown key is an
--- error that names what was probably meant, also where the name is another client's.

local core = require('stores.core')
local errors = require('stores.errors')

local options = {}

---@alias stores.Check fun(value: any): any, string? the value to use, or nil and what is expected

---@class stores.OptionSpec
---@field where string what the keys belong to, for messages: 'db', 'redis', 'options' ...
---@field keys table<string, stores.Check>
---@field aliases table<string, string>? a name of other clients -> what to say instead

--- Whether a text is UTF-8, which the server takes as it is.
---@param text string
---@return boolean
function options.is_utf8(text)
  return core.json_encode(text) ~= nil
end

--- Raises invalid_option.
---@param message string as of string.format
---@param ... any
function options.refuse(message, ...)
  errors.raise('invalid_option', message:format(...))
end

--- What a part of a url says, once its escapes are undone.
---@param text string
---@return string
function options.unescape(text)
  return (text:gsub('%%(%x%x)', function(hex) return string.char(tonumber(hex, 16)) end))
end

--- The Damerau-Levenshtein distance (optimal string alignment), in edits.
---@param a string
---@param b string
---@return integer
function options.distance(a, b)
  local before, last = {}, {}
  for j = 0, #b do last[j] = j end
  for i = 1, #a do
    local row = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, last = last, row
  end
  return last[#b]
end

--- Letters and digits only, in lower case: connectTimeout and connect-timeout are connect_timeout.
local function plain(name)
  return (name:lower():gsub('[^%w]', ''))
end

--- The known name nearest to one that is not known.
---@param name string
---@param names table<string, any> a set: the names are the keys
---@return string? nil where nothing is near
function options.nearest(name, names)
  local wanted = plain(name)
  local best, best_distance
  for candidate in pairs(names) do
    local distance = options.distance(wanted, plain(candidate))
    if not best or distance < best_distance
      or (distance == best_distance and candidate < best) then
      best, best_distance = candidate, distance
    end
  end
  if best and best_distance <= math.max(1, math.floor(#wanted / 3)) then return best end
  return nil
end

--- The names of a set in alphabetical order, as text.
---@param names table<string, any>
---@return string
function options.list(names)
  local sorted = {}
  for name in pairs(names) do sorted[#sorted + 1] = name end
  table.sort(sorted)
  return table.concat(sorted, ', ')
end

--- A key as a message shows it: short, printable, and of a url that stands in the place of one no
--- more than its scheme, for it may hold a password.
---@param key any
---@return string
function options.shown(key)
  if type(key) ~= 'string' then return '[' .. tostring(key) .. ']' end
  local scheme = key:match('^%w+://')
  return scheme and scheme .. '...' or (key:sub(1, 60):gsub('%c', '?'))
end

local shown = options.shown

--- What an unknown key should have been, as the end of a sentence.
---@param key any
---@param names table<string, any>
---@param aliases table<string, string>?
---@return string
function options.suggestion(key, names, aliases)
  if type(key) ~= 'string' then return 'keys are names: ' .. options.list(names) end
  local instead = aliases and (aliases[key] or aliases[plain(key)])
  if instead then return instead end
  local near = options.nearest(key, names)
  if near then return ("did you mean '%s'?"):format(near) end
  return 'known are ' .. options.list(names)
end

--- Checks a table of options.
---@param given table? nil counts as empty
---@param spec stores.OptionSpec
---@return table checked a new table with the values as the checks gave them
---Raises invalid_option for an unknown key, a wrong value, or something that is not a table.
function options.check(given, spec)
  local checked = {}
  if given == nil then return checked end
  if type(given) ~= 'table' then
    errors.raise('invalid_option',
      ('%s must be a table, got %s'):format(spec.where, errors.kind(given)))
  end
  for key, value in pairs(given) do
    local check = spec.keys[key]
    if not check then
      errors.raise('invalid_option', ("unknown key '%s' in %s: %s"):format(
        shown(key), spec.where, options.suggestion(key, spec.keys, spec.aliases)))
    end
    local result, expected = check(value)
    if result == nil then
      errors.raise('invalid_option', ('%s.%s must be %s'):format(spec.where, key, expected))
    end
    checked[key] = result
  end
  return checked
end

-- Checks. Each gives the value to use, or nil and what is expected instead.

local types = {}

--- Notes which values a check takes, as LuaCATS writes it, for the definitions that editors read.
---@param name string
---@param check stores.Check
---@return stores.Check check
function options.typed(name, check)
  types[check] = name
  return check
end

--- Which values a check takes.
---@param check stores.Check
---@return string
function options.type_of(check)
  return types[check] or 'any'
end

options.boolean = options.typed('boolean', function(value)
  if type(value) == 'boolean' then return value end
  return nil, 'true or false, got ' .. errors.kind(value)
end)

--- Anything: what is to be checked is checked elsewhere.
---@param name string its type
---@return stores.Check
function options.any(name)
  return options.typed(name, function(value) return value end)
end

--- A string that libpq and Redis can take: neither empty nor with a NUL byte.
---@type stores.Check
options.text = options.typed('string', function(value)
  if type(value) ~= 'string' then return nil, 'a string, got ' .. errors.kind(value) end
  if value == '' then return nil, 'a string that is not empty' end
  if value:find('%z') then return nil, 'a string without NUL bytes' end
  return value
end)

--- A password may be empty; nothing of it is ever in the message.
---@type stores.Check
options.secret = options.typed('string', function(value)
  if type(value) ~= 'string' then return nil, 'a string, got ' .. errors.kind(value) end
  if value:find('%z') then return nil, 'a string without NUL bytes' end
  return value
end)

--- A function.
---@param name? string its type
---@return stores.Check
function options.callback(name)
  return options.typed(name or 'function', function(value)
    if type(value) == 'function' then return value end
    return nil, 'a function, got ' .. errors.kind(value)
  end)
end

-- A short text itself; of all else the type.
local function text_or_kind(value)
  return type(value) == 'string' and #value <= 40 and ("'%s'"):format(shown(value))
    or errors.kind(value)
end

--- One of the given words.
---@param words string[]
---@return stores.Check
function options.one_of(words)
  local set = {}
  for _, word in ipairs(words) do set[word] = true end
  local all = "'" .. table.concat(words, "', '") .. "'"
  return options.typed((all:gsub(', ', '|')), function(value)
    if set[value] and type(value) == 'string' then return value end
    return nil, ('one of %s, got %s'):format(all, text_or_kind(value))
  end)
end

--- A whole number in a range, both ends included. With `from_text` its digits will do as well.
---@param low integer
---@param high integer
---@param from_text boolean?
---@return stores.Check
function options.integer(low, high, from_text)
  local expected = ('a whole number from %d to %d'):format(low, high)
  return options.typed(from_text and 'integer|string' or 'integer', function(value)
    local number = value
    if from_text and type(value) == 'string' and value:find('^%d+$') then
      number = tonumber(value)
    end
    if type(number) ~= 'number' then
      return nil, expected .. ', got ' .. (from_text and text_or_kind or errors.kind)(value)
    end
    if number % 1 ~= 0 or number < low or number > high then
      return nil, ('%s, got %s'):format(expected, tostring(number))
    end
    return number
  end)
end

-- What math.huge becomes: the core counts milliseconds in 64 bits, and 30 years end no call.
local FOREVER = 1e9

--- A time in seconds, from a millisecond to `most`. Longer ones are refused, for they are nearly
--- always milliseconds (30000); who means "no limit" says math.huge, where `endless` allows it.
---@param most number seconds
---@param endless boolean?
---@param least number? 0.001 where it is left out
---@return stores.Check
function options.seconds(most, endless, least)
  least = least or 0.001
  return options.typed('number', function(value)
    if type(value) ~= 'number' then
      return nil, 'a number of seconds, got ' .. errors.kind(value)
    end
    if endless and value == math.huge then return FOREVER end
    if value > most then
      return nil, ('at most %g seconds, got %g: seconds are meant, not milliseconds%s'):format(
        most, value, endless and ' (math.huge is no limit)' or '')
    end
    if value ~= value or value < least then
      return nil, ('a number of seconds, at least %g, got %g'):format(least, value)
    end
    return value
  end)
end

--- The same, and 0 is allowed: never, or not at all.
---@param most number seconds
---@return stores.Check
function options.seconds_or_zero(most)
  local check = options.seconds(most)
  return options.typed('number', function(value)
    if value == 0 then return value end
    return check(value)
  end)
end

--- An array of strings that are not empty.
---@type stores.Check
options.names = options.typed('string[]', function(value)
  if type(value) ~= 'table' then return nil, 'an array of names, got ' .. errors.kind(value) end
  local count = 0
  for key, name in pairs(value) do
    if type(key) ~= 'number' or type(name) ~= 'string' or name == '' then
      return nil, 'an array of names'
    end
    count = count + 1
  end
  if count ~= #value then return nil, 'an array of names without gaps' end
  return value
end)

--- An array of declared tables.
---@type stores.Check
options.definitions = options.typed('stores.Definition[]', function(value)
  local count = 0
  for _, definition in pairs(type(value) == 'table' and value or { false }) do
    if type(definition) ~= 'table' or not definition.is_stores_definition then
      return nil, 'an array of what stores.define gave'
    end
    count = count + 1
  end
  if count ~= #value then return nil, 'an array of what stores.define gave, without gaps' end
  return value
end)

return options
