--- Reads of rows that the process holds in its memory: nothing is waited for, and no coroutine
--- yields. Where a row is not there the caller goes on as with any other table, and the core keeps
--- what comes.

local decoded = require('stores.verbs.decoded')
local errors = require('stores.errors')
local names = require('stores.tables.names')
local seen = require('stores.verbs.seen')
local wait = require('stores.wait')

local held = {}

local HOLD_BYTES, HOLD_LEASE = 64 * 1024 * 1024, 1 -- as the core has them

--- Which tables a store holds, by their names however they are written; nil: it has no cache.
---@param store stores.Store
---@param flat table its options
---@return table<string, boolean>?
function held.begin(store, flat)
  store.hold_bytes, store.hold_lease = flat.hold_bytes or HOLD_BYTES, flat.hold_lease or HOLD_LEASE
  decoded.begin(store)
  if not store.cached then return nil end
  local keys = {}
  for _, name in ipairs(flat.hold or {}) do
    local key = names.key(name)
    if not key then
      errors.raise('invalid_option', "opts.hold names tables, such as {'routes'}, got '" .. name
        .. "'")
    end
    keys[key] = true
    store.engine:hold(name)
  end
  return setmetatable({}, { __index = function(holding, name)
    local definition = store.tables[name]
    local is_held = definition and definition.hold or keys[names.key(name) or ''] or false
    if is_held then store.engine:hold(name) end
    holding[name] = is_held
    return is_held
  end })
end

--- A definition was added: what was known of names, and how documents are read, may be otherwise.
---@param store stores.Store
function held.forget(store)
  for name in pairs(store.holding or {}) do store.holding[name] = nil end
  decoded.begin(store)
end

local function holds(self, name, opts)
  if opts.cache == false or opts.hold == false then return false end
  if opts.hold and not self.holding[name] then
    self.engine:hold(name)
    self.holding[name] = true
  end
  return self.holding[name]
end

-- A host whose loop turns for calls alone has it turn for those, too, who want to write.
local function was_read(self, document)
  local host = wait.host
  if host.held and document ~= false then host.held(self.hold_lease) end
  return document
end

--- A document; nil: there is no such row; false: that is not known here.
---@param self stores.Store
---@param name string
---@param id string
---@param opts table
---@return table|string|false|nil
function held.find(self, name, id, opts)
  if not holds(self, name, opts) then return false end
  local raw = opts.raw
  if raw == nil then raw = self.raw end
  if opts.shared and not raw then return was_read(self, decoded.shared(self, name, id)) end
  local document
  if raw then
    document = self.engine:held(name, id, true)
  else
    document = decoded.own(self, name, id)
  end
  document = was_read(self, document)
  if document and self.tables[name] then
    document = seen.one(self, self.tables[name], document)
  end
  return document
end

--- The text of a document; nil and false as above.
---@param self stores.Store
---@param name string
---@param id string
---@param opts table
---@return string|false|nil
function held.text(self, name, id, opts)
  if not holds(self, name, opts) then return false end
  return was_read(self, self.engine:held(name, id, true))
end

--- The documents of a list of ids, false for those that are not there; nil where one of them is not
--- known here.
---@param self stores.Store
---@param name string
---@param list string[]
---@param raw boolean?
---@param opts table
---@return (table|string|false)[]?
function held.find_many(self, name, list, raw, opts)
  if not holds(self, name, opts) then return nil end
  local documents = {}
  for i = 1, #list do
    local document
    if raw then
      document = self.engine:held(name, list[i], true)
    else
      document = decoded.own(self, name, list[i])
    end
    if document == false then return nil end
    documents[i] = document or false
  end
  if list[1] then was_read(self, documents) end
  return documents
end

return held
