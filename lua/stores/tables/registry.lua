--- Which tables are declared. A store looks its table up in a view, once a call; a name that was
--- met before costs no more than that.

local names = require('stores.tables.names')

local registry = {}

local MOST = 1024 -- names that a view remembers

local function view_of(definitions)
  local known = 0
  return setmetatable({}, { __index = function(view, name)
    local key = names.key(name)
    local found = key and definitions[key] or false
    if known >= MOST then
      for other in pairs(view) do view[other] = nil end
      known = 0
    end
    known = known + 1
    view[name] = found
    return found
  end })
end

local defined = {} -- by names.key
local view = view_of(defined)

--- Makes a definition known to every store of the process that has none of its own.
---@param definition stores.Definition
function registry.add(definition)
  defined[definition.key] = definition
  for name in pairs(view) do view[name] = nil end
  registry.added(definition)
end

--- What is called with each that is added; store.lua sets it.
---@param definition stores.Definition
function registry.added(definition) -- luacheck: ignore definition
end

--- Calls a function with those definitions, or with all that are defined.
---@param list stores.Definition[]?
---@param fn fun(definition: stores.Definition)
function registry.each(list, fn)
  for _, definition in pairs(list or defined) do fn(definition) end
end

--- The definitions by the names of their tables, however these are written; false where there is
--- none.
---@param list stores.Definition[]? those alone; nil: all that are defined
---@return table<string, stores.Definition|false>
function registry.view(list)
  if not list then return view end
  local own = {}
  for _, definition in ipairs(list) do own[definition.key] = definition end
  return view_of(own)
end

return registry
