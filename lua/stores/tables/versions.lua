--- Versions of documents: each document says its own, and functions bring one of an older version
--- up, a step at a time. What stands in the cache and in the row is what was stored, so that
--- programs of several versions live side by side.

local errors = require('stores.errors')
local json = require('stores.json')

local versions = {}

versions.MEMBER = '_version'

local function refuse(where, message, ...)
  errors.raise('invalid_option', where .. ' ' .. message:format(...))
end

--- Reads what a definition says of versions into it.
---@param definition stores.Definition
---@param given table
---@param where string
function versions.read(definition, given, where)
  local upgrade, version = given.upgrade or {}, given.version
  definition.version_member = given.version_member or versions.MEMBER
  if definition.version_member == 'id' then refuse(where, "has version_member = 'id'") end
  if not version then
    if given.upgrade then refuse(where, 'has upgrade, and no version') end
    if given.version_member then refuse(where, 'has version_member, and no version') end
    return
  end
  for step, fn in pairs(upgrade) do
    if type(step) ~= 'number' or step % 1 ~= 0 or step < 2 or step > version then
      refuse(where, 'has upgrade[%s], but its versions are 1 to %d: [n] makes an n of an n - 1',
        tostring(step), version)
    elseif type(fn) ~= 'function' then
      refuse(where, 'has upgrade[%d], which is no function', step)
    end
  end
  local oldest = version
  while upgrade[oldest] do oldest = oldest - 1 end
  for step in pairs(upgrade) do
    if step <= oldest then refuse(where, 'has upgrade[%d], but no upgrade[%d]', step, oldest) end
  end
  definition.version, definition.upgrade, definition.oldest = version, upgrade, oldest
end

local function number_of(value)
  if json.is_number(value) then value = tonumber(tostring(value)) end
  if type(value) == 'number' and value % 1 == 0 and value >= 1 then return value end
  return nil
end

--- The version of a document; one that says none is of the first.
---@param definition stores.Definition
---@param document table
---@return integer
---Raises unreadable.
function versions.of(definition, document)
  local value = document[definition.version_member]
  if value == nil or value == json.null then return 1 end
  local version = number_of(value)
  if version then return version end
  errors.raise('unreadable', ('the row %s of %s has no version in its member %s'):format(
    tostring(document.id), definition.name, definition.version_member),
    { row = document.id, table = definition.name,
      hint = 'version_member names another member for the version' })
end

--- Brings a document up to the version of the program. One of a newer version stays as it is.
---@param definition stores.Definition
---@param document table
---@return table document
---@return integer version that it had
---Raises unreadable where no function leads from its version to this one, and what they raise.
function versions.bring_up(definition, document)
  local version = versions.of(definition, document)
  if version >= definition.version then return document, version end
  local id = document.id
  if version < definition.oldest then
    errors.raise('unreadable', ('the row %s of %s is of version %d, and there is no upgrade[%d]')
      :format(tostring(id), definition.name, version, version + 1),
      { row = id, table = definition.name })
  end
  for step = version + 1, definition.version do
    local result = definition.upgrade[step](document)
    if result ~= nil and type(result) ~= 'table' then
      errors.raise('invalid_document', ('upgrade[%d] of %s gave %s in place of a document'):format(
        step, definition.name, errors.kind(result)), { table = definition.name })
    end
    document = result or document
  end
  document.id = id
  document[definition.version_member] = definition.version
  return document, version
end

--- Raises for a row that a newer program wrote: this one would take from it what it does not know.
---@param definition stores.Definition
---@param version integer of the row, or of a record that is to be stored
---@param id string?
function versions.check_writable(definition, version, id)
  if version <= definition.version then return end
  errors.raise('newer_version', ('the document %s of %s is of version %d, and this program writes '
    .. 'version %d'):format(tostring(id), definition.name, version, definition.version),
    { table = definition.name, row = id, version = version, known_version = definition.version,
      hint = 'a newer program wrote it, and it can be read here' })
end

--- Writes the version into a document that is to be stored.
---@param definition stores.Definition
---@param document table
---Raises newer_version, invalid_document.
function versions.stamp(definition, document)
  local member = definition.version_member
  local given = document[member]
  if given == nil or given == json.null then
    document[member] = definition.version
    return
  end
  local version = number_of(given)
  if version then versions.check_writable(definition, version, document.id) end
  if version == definition.version then return end
  errors.raise('invalid_document', ('%s is %s, and documents of version %d are stored: '
    .. 'definition:upcast(document) brings an older one up'):format(member,
    version and tostring(version) or errors.kind(given), definition.version),
    { table = definition.name, path = member })
end

return versions
