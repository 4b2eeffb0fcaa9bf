--- Whether what is raised here is caught, or the host gets it, which may know how to show strings
--- alone. That is seen on the stack.

local getinfo = debug.getinfo

local caught = {}

-- Functions written in C that let errors through; any other may be one that catches them.
local LETS_THROUGH = {
  [require] = true, [dofile] = true, [string.gsub] = true, [table.sort] = true, [assert] = true,
  [error] = true, [table.foreach] = true, [table.foreachi] = true, [tostring] = true,
}

--- Whether a function of this coroutine catches what is raised. What stands above the first Lua
--- function is what raises: this library's own. To be called by what errors.on_leaving was given.
---@param loop function? one in C that calls back: what comes to it is the host's
---@return boolean
function caught.here(loop)
  local level, inside = 3, true
  while true do
    local info = getinfo(level, 'Sf')
    if not info or loop and info.func == loop then return false end
    if info.what ~= 'C' then
      inside = false
    elseif info.func == pcall or info.func == xpcall
      or not (inside or LETS_THROUGH[info.func]) then
      return true
    end
    level = level + 1
  end
end

return caught
