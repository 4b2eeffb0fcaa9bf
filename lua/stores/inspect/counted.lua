--- Numbers of things in words.

--- `1 row`, `2 rows`, `3 processes`.
---@param number number
---@param thing string
---@return string
return function(number, thing)
  if number == 1 then return '1 ' .. thing end
  return ('%d %s%s'):format(number, thing, thing:find('s$') and 'es' or 's')
end
