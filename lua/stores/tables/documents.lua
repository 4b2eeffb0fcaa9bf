--- What a declaration does to documents on their way in and out.

local errors = require('stores.errors')
local times = require('stores.tables.times')
local versions = require('stores.tables.versions')

local documents = {}

--- A copy of a document, for the function that gets to see what it was.
---@param value any
---@return any
function documents.copy(value)
  if type(value) ~= 'table' then return value end
  local made = {}
  for key, item in pairs(value) do made[key] = documents.copy(item) end
  return setmetatable(made, getmetatable(value))
end

--- Whether a document is past its time.
---@param definition stores.Definition
---@param document table
---@param now number seconds since 1970
---@return boolean
function documents.is_gone(definition, document, now)
  return definition.expires ~= nil
    and times.is_over(times.at(document, definition.expires), now)
end

--- A document as its readers see it.
---@param definition stores.Definition
---@param document table
---@param now number
---@return table? document nil: it is past its time
---@return integer? version that is stored
function documents.read(definition, document, now)
  if documents.is_gone(definition, document, now) then return nil end
  if definition.version then return versions.bring_up(definition, document) end
  return document
end

--- The document of a row that a function is to change.
---@param definition stores.Definition
---@param row table? nil: there is none
---@param now number
---@return table? document nil: there is none, or it is past its time
---@return table? old a copy of it, where somebody is to be shown what it was
---Raises newer_version.
function documents.to_change(definition, row, now)
  if row == nil then return nil end
  local document, version = documents.read(definition, row, now)
  if document == nil then return nil end
  if version then versions.check_writable(definition, version, document.id) end
  return document, definition.validate and documents.copy(document) or nil
end

local function refuse(definition, message, path)
  errors.raise('invalid_document', message, { table = definition.name, path = path })
end

-- What a validate said: nil or true; false, a message and a path; or a message and a path.
local function judge(definition, verdict, message, path)
  if verdict == nil or verdict == true then return end
  if type(verdict) == 'string' then message, path = verdict, message end
  if type(message) ~= 'string' then
    message = ('the document is not what %s takes'):format(definition.name)
  end
  refuse(definition, message, path)
end

--- Checks a document that is to be stored, before anything is sent.
---@param definition stores.Definition
---@param document table its version is written into it
---@param old table? what it replaces, where that was read
---Raises invalid_document, newer_version, and what `validate` raises.
function documents.check(definition, document, old)
  if definition.version then versions.stamp(definition, document) end
  if definition.expires then
    local why = times.objection(times.at(document, definition.expires))
    if why then refuse(definition, why, definition.expires) end
  end
  if definition.validate then judge(definition, definition.validate(document, old)) end
end

return documents
