--- JSON, and numbers, that a command line gives.

local ids = require('stores.ids')
local json = require('stores.json')

local input = {}

-- The text itself, or what stdin gives where it is `-`.
local function text_of(context, text)
  return text == '-' and context.stdin:read('*a') or text
end

--- A JSON object; a usage error where it is none.
---@param context stores.CommandContext
---@param text string its text, or `-`: it comes from stdin
---@param what string how the argument is called
---@return table
function input.object(context, text, what)
  local ok, value = pcall(json.decode, text_of(context, text))
  if not ok then context.usage(('%s is no JSON: %s'):format(what, value.message)) end
  if type(value) ~= 'table' or json.is_array(value) or json.is_number(value) then
    context.usage(what .. ' has to be a JSON object, such as {"name": "Ada"}')
  end
  return value
end

--- A JSON value of any kind.
---@param context stores.CommandContext
---@param text string
---@param what string
---@return any
function input.value(context, text, what)
  local ok, value = pcall(json.decode, text_of(context, text))
  if not ok then context.usage(('%s is no JSON: %s'):format(what, value.message)) end
  return value
end

--- An id, as the argument of a parser.
---@param text string
---@return string?
---@return string? problem
function input.id(text)
  local ok, id = pcall(ids.parse, text)
  if ok then return id end
  return nil, ("'%s' is no id: %s"):format(text, id.message)
end

--- A whole number from `low` on, as the argument of a parser.
---@param low integer
---@return fun(text: string): integer?, string?
function input.count(low)
  return function(text)
    local number = text:find('^%d+$') and tonumber(text)
    if number and number >= low and number < 2 ^ 53 then return number end
    return nil, ("'%s' is no whole number from %d on"):format(text, low)
  end
end

--- Names with commas between them, as the argument of a parser.
---@param text string
---@return string[]
function input.names(text)
  local list = {}
  for name in text:gmatch('[^,]+') do list[#list + 1] = name end
  return list
end

return input
