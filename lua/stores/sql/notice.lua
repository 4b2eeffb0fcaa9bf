--- The statement of notify, of a store and of a transaction, and what PostgreSQL takes as the name
--- of a channel.

local errors = require('stores.errors')
local options = require('stores.config.options')

local notice = {}

-- What PostgreSQL takes (NAMEDATALEN, NOTIFY_PAYLOAD_MAX_LENGTH), in bytes.
local CHANNEL_MOST, PAYLOAD_MOST = 63, 7999

-- A text that the server takes as it is.
local function is_text(value)
  return type(value) == 'string' and options.is_utf8(value)
end

--- Checks the name of a channel.
---@param channel any
---Raises invalid_argument.
function notice.check_channel(channel)
  if not is_text(channel) or #channel == 0 or #channel > CHANNEL_MOST then
    errors.raise('invalid_argument',
      ('a channel is a string of 1 to %d bytes of UTF-8 without zero bytes'):format(CHANNEL_MOST))
  end
end

--- The statement that notifies, what it is given being checked.
---@param channel string
---@param payload string?
---@return string sql
---@return string[] params
---Raises invalid_argument.
function notice.statement(channel, payload)
  notice.check_channel(channel)
  if payload ~= nil and (not is_text(payload) or #payload > PAYLOAD_MOST) then
    errors.raise('invalid_argument', ('a payload is a string of at most %d bytes of UTF-8 without '
      .. 'zero bytes: store what is larger, and notify its id'):format(PAYLOAD_MOST))
  end
  return 'SELECT pg_notify($1, $2)', { channel, payload or '' }
end

return notice
