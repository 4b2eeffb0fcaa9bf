--- Numbers for names, in their order: what the bytes of a model's states are called.

--- Gives each of the names a number, from one on.
---@param into table<string, integer>
---@param first integer
---@param names string apart by white space
return function(into, first, names)
  for name in names:gmatch('%S+') do
    into[name], first = first, first + 1
  end
end
