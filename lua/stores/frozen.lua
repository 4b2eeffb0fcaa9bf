--- Documents that several share, and nobody may write to: docs/held.md, "Shared documents".
---
--- A proxy has nothing of the document itself, so that every assignment meets its metatable. A
--- LuaJIT without the metamethods of Lua 5.2 (Debian's) asks it for members alone, and not for
--- pairs, ipairs and #: there these are functions of `stores`, and who goes through a proxy without
--- them meets one key that says so, whose value no encoder takes.

local errors = require('stores.errors')

local frozen = {}

local HOW = '(a shared document: go through it by stores.pairs or stores.ipairs, or take '
  .. 'stores.clone of it)'
local function how() end

---@type table<table, table> what each proxy stands for
local content_of = setmetatable({}, { __mode = 'k' })

local function refuse(_, key)
  errors.raise('read_only', ("a shared document is read only: '%s' cannot be set; stores.clone "
    .. 'gives one that is your own'):format(tostring(key)))
end

--- A document that is read only, deep; anything but a table is given as it is. The table becomes
--- the proxy's own.
---@generic T
---@param document T
---@return T
function frozen.freeze(document)
  if type(document) ~= 'table' or content_of[document] then return document end
  for key, value in pairs(document) do
    if type(value) == 'table' then document[key] = frozen.freeze(value) end
  end
  local proxy = { [HOW] = how }
  content_of[proxy] = document
  return setmetatable(proxy, {
    __index = document,
    __newindex = refuse,
    __pairs = function() return next, document, nil end,
    __ipairs = function() return ipairs(document) end,
    __len = function() return #document end,
    __metatable = 'stores.shared',
  })
end

--- The document that a proxy stands for; what is none is given as it is.
---@param value any
---@return any
function frozen.content(value)
  return content_of[value] or value
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
  if type(document) ~= 'table' then return document end
  local from = content_of[document] or document
  local copy = {}
  for key, value in next, from do copy[key] = frozen.clone(value) end
  local meta = getmetatable(from)
  return type(meta) == 'table' and setmetatable(copy, meta) or copy
end

return frozen
