--- Calls that are made in one tick.
local stores = require('stores')

local calls = {}

--- What fn(i) gives for each i from 1 on, called in one tick; in place of it, its error.
---@param count integer
---@param fn fun(i: integer): any, any
---@return {ok: boolean, value: any, more: any}[]
function calls.together(count, fn)
  local given = {}
  stores.run(function()
    for i = 1, count do
      stores.spawn(function()
        local ok, value, more = pcall(fn, i)
        given[i] = { ok = ok, value = value, more = more }
      end)
    end
  end)
  return given
end

--- Raises the first error of them.
---@param given {ok: boolean, value: any}[] what calls.together gave
function calls.all_ok(given)
  for i, one in ipairs(given) do assert(one.ok, tostring(one.value) .. ' of ' .. i) end
  assert(#given > 0)
end

return calls
