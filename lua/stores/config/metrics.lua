--- opts.metrics: where the figures of all processes meet.

local errors = require('stores.errors')
local options = require('stores.config.options')

local ngx = rawget(_G, 'ngx')

local metrics = {}

---@type stores.OptionSpec
metrics.KEYS = {
  where = 'opts.metrics',
  aliases = {},
  keys = { dict = options.text, folder = options.text },
}

--- Checks it.
---@param given any
---@return {dict: string?, folder: string?}?
---Raises invalid_option.
function metrics.check(given)
  if given == nil then return nil end
  local checked = options.check(given, metrics.KEYS)
  if (checked.dict == nil) == (checked.folder == nil) then
    errors.raise('invalid_option', 'opts.metrics takes dict, the name of a lua_shared_dict of '
      .. 'nginx, or folder, which all processes can write to')
  end
  if checked.dict and not (ngx and ngx.shared and ngx.shared[checked.dict]) then
    errors.raise('invalid_option', ("opts.metrics.dict: there is no lua_shared_dict '%s'")
      :format(options.shown(checked.dict)))
  end
  return checked
end

return metrics
