--- Explores a model with functions that were loaded for it alone: what LuaJIT compiled for another
--- one, or could not compile, makes these three times slower.

-- There are more ways through a model than LuaJIT follows in a program, and the seldom ones are not
-- worth it.
local BOUNDS = { 'maxside=1000', 'maxtrace=8000', 'maxmcode=16384', 'hotexit=100', 'hotloop=100' }

---@param name string rows, epochs or held
---@param config table the model's
---@param options table|nil what checker.run() takes
---@param goal_name string|nil what the model's goal is called, where it has to stay reachable
---@return table result checker.run()'s
return function(name, config, options, goal_name)
  jit.flush()
  jit.opt.start(unpack(BOUNDS))
  for module in pairs(package.loaded) do
    if module:find('^spec%.model%.') then package.loaded[module] = nil end
  end
  local model = require('spec.model.' .. name).new(config)
  options = options or {}
  if goal_name then options.goal, options.goal_name = model.goal, goal_name end
  return require('spec.model.checker').run(model, options)
end
