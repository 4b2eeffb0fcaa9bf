--- Ids: strings of a signed 64-bit decimal, for a Lua number cannot carry 64 bits.

local core = require('stores.core')

local ids = {}

---@alias stores.Id string|ffi.cdata*|stores.json.number a signed 64-bit decimal

local check_id, is_number = core.check_id, core.is_number

--- An id as a string; int64_t and uint64_t cdata are taken too, and a json.number, as which a
--- document may have the id of another one. Raises invalid_id for what can be none; the digits of a
--- string are read by the core, which every verb hands it to.
---@param id stores.Id
---@return string
function ids.check(id)
  if type(id) == 'string' then return id end
  if type(id) == 'cdata' then
    -- only 64-bit integers print like this; every other cdata is refused by its type below
    id = tostring(id):match('^(-?%d+)U?LL$') or id
  elseif is_number(id) then
    id = tostring(id)
  end
  return check_id(id)
end

--- An id in its one form, read at once: for ids that are compared before the core has seen them.
---@param id stores.Id
---@return string
function ids.parse(id)
  return check_id(ids.check(id))
end

return ids
