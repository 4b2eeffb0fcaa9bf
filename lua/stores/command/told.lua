--- Who changes rows past a cache is told so.

local told = {}

--- Says that no cache hears of what a command is about to write, where nobody said that there is
--- none.
---@param context stores.CommandContext
---@param name string the table
function told.warn(context, name)
  if context.place().is_told then return end
  context.say(('no Redis is given: where programs cache %s, they read what was there before. '
    .. 'Give --redis URL; --redis none says that nobody does'):format(name))
end

return told
