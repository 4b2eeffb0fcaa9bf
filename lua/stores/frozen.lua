--- Documents that several share, and nobody may write to: docs/held.md, "Shared documents".
---
--- A proxy is a struct without members, not a table: what passes by metatables (rawset,
--- table.insert, table.sort) would change a table for all who share it, and what reads so
--- (table.concat, next) would find it empty. These refuse a struct. Its pairs, ipairs and # are
--- those of the document in every LuaJIT, also in one without the metamethods of Lua 5.2.

local ffi = require('ffi')
local errors = require('stores.errors')

local frozen = {}

---@type table<ffi.cdata*, table> what each proxy stands for
local content_of = setmetatable({}, { __mode = 'k' })

local function refuse(_, key)
  errors.raise('read_only', ("a shared document is read only: '%s' cannot be set; stores.clone "
    .. 'gives one that is your own'):format(tostring(key)))
end

local proxy_of = ffi.metatype('struct {}', {
  __index = function(proxy, key) return content_of[proxy][key] end,
  __newindex = refuse,
  __pairs = function(proxy) return next, content_of[proxy], nil end,
  __ipairs = function(proxy) return ipairs(content_of[proxy]) end,
  __len = function(proxy) return #content_of[proxy] end,
  __tostring = function() return 'a shared document' end,
})

errors.tell_shared(function(value) return content_of[value] ~= nil end)

--- A document that is read only, deep; anything but a table is given as it is. The table becomes
--- the proxy's own.
---@generic T
---@param document T
---@return T
function frozen.freeze(document)
  if type(document) ~= 'table' then return document end
  for key, value in pairs(document) do
    if type(value) == 'table' then document[key] = frozen.freeze(value) end
  end
  local proxy = proxy_of()
  content_of[proxy] = document
  return proxy
end

--- pairs, of shared documents and of all others.
---@param document table
function frozen.pairs(document)
  return next, content_of[document] or document, nil
end

--- ipairs, of shared documents and of all others.
---@param document table
function frozen.ipairs(document)
  return ipairs(content_of[document] or document)
end

--- #, of shared documents and of all others.
---@param document table
---@return integer
function frozen.len(document)
  return #(content_of[document] or document)
end

--- A copy of a document, deep, that is the caller's own.
---@param document any
---@return any
function frozen.clone(document)
  local from = content_of[document] or document
  if type(from) ~= 'table' then return document end
  local copy = {}
  for key, value in next, from do copy[key] = frozen.clone(value) end
  local meta = getmetatable(from)
  return type(meta) == 'table' and setmetatable(copy, meta) or copy
end

return frozen
