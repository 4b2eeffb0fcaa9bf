--- What specs of stores.json share: values and texts that it refuses, and with which words.

local assert = require('luassert')
local errors = require('stores.errors')
local json = require('stores.json')

local codec = {}

--- The message of the refusal; fails where the value is not refused.
---@param fn function
---@param ... any its arguments
---@return string message
---@return string code
function codec.refusal(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, ok and 'nothing was refused: ' .. tostring(err) or nil)
  assert.is_true(errors.is(err), tostring(err))
  return err.message, err.code
end

--- A value that cannot be stored.
---@param value any
---@param message string
function codec.refuses(value, message)
  local text, code = codec.refusal(json.encode, value)
  assert.equals(message, text)
  assert.equals('invalid_document', code)
end

--- A text that cannot be read.
---@param text string
---@param reason? string a plain part of the message
---@return string message
function codec.rejects(text, reason)
  local message, code = codec.refusal(json.decode, text)
  assert.equals('invalid_document', code)
  if reason then assert.truthy(message:find(reason, 1, true), message) end
  return message
end

--- Tables inside each other, `levels` of them.
---@param levels integer
---@param member fun(value: table): table the one around a value
---@return table
function codec.nested(levels, member)
  local value = {}
  for _ = 2, levels do value = member(value) end
  return value
end

return codec
