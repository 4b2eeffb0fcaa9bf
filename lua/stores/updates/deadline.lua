--- When a call ends at the latest, on the clock of its hub, and what is left until then.

local errors = require('stores.errors')

local deadline = {}

-- Seconds that stand for no limit: the core counts milliseconds in 64 bits.
local ENDLESS = 1e9

--- When a call of this store ends at the latest.
---@param store stores.Store
---@param timeout number?
---@return number
function deadline.of(store, timeout)
  local seconds = timeout or store.timeout
  return seconds < 1e8 and store.hub:now() + seconds or math.huge
end

--- The seconds that are left until a deadline.
---@param hub userdata
---@param at number the deadline
---@param what string who has it, for the message
---@return number
---Raises timeout where there are none.
function deadline.left(hub, at, what)
  local seconds = at - hub:now()
  if seconds <= 0 then errors.raise('timeout', what .. ' did not end within its deadline') end
  return seconds < ENDLESS and seconds or ENDLESS
end

return deadline
