--- The names of a set, or of the members of a table, in the order of the alphabet.

---@param set table<string, any>
---@return string[]
return function(set)
  local names = {}
  for name in pairs(set) do names[#names + 1] = name end
  table.sort(names)
  return names
end
