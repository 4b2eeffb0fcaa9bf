--- What the verbs are given, checked before anything is sent: themselves, tables, records, ids.

local errors = require('stores.errors')
local ids = require('stores.ids')

local arguments = {}

local function refuse(message, ...)
  errors.raise('invalid_argument', message:format(...))
end

--- Raises for `store.find(...)` with a dot.
---@param self any
---@param verb string
function arguments.check_self(self, verb)
  if type(self) ~= 'table' or not self.is_stores_target then
    refuse('call it with a colon: store:%s(...)', verb)
  end
end

--- The same, and where the store is closed, the transaction over, or the coroutine cannot wait.
---@param self any
---@param verb string
function arguments.check(self, verb)
  if type(self) ~= 'table' or not self.is_stores_target then arguments.check_self(self, verb) end
  self:check_usable()
end

---@param name any
---Raises invalid_table.
function arguments.check_table(name)
  if type(name) ~= 'string' then
    errors.raise('invalid_table', 'a table name is a string, got ' .. errors.kind(name))
  end
end

---@param record any
---Raises invalid_document.
function arguments.check_record(record)
  if type(record) ~= 'table' then
    errors.raise('invalid_document', 'a record is a table, got ' .. errors.kind(record))
  end
end

---@param fn any
---@param verb string
function arguments.check_function(fn, verb)
  if type(fn) ~= 'function' then
    refuse('%s takes a function, got %s', verb, errors.kind(fn))
  end
end

--- The id of a record that must have one.
---@param record table
---@param verb string
---@return string
function arguments.record_id(record, verb)
  if record.id == nil then
    errors.raise('invalid_id', ('the record has no id: %s needs one'):format(verb))
  end
  return ids.check(record.id)
end

--- The ids of an array. A gap or a name in it is refused: what it hides would read as "not asked".
---@param list any
---@return string[]
function arguments.check_ids(list)
  if type(list) ~= 'table' then refuse('the ids must be an array, got %s', errors.kind(list)) end
  local wanted, count = {}, 0
  for key in pairs(list) do
    if type(key) ~= 'number' then
      refuse("the ids must be an array, it has the key '%s'", tostring(key):sub(1, 60))
    end
    count = count + 1
  end
  for i = 1, count do
    if list[i] == nil then refuse('the array of ids has a gap at %d', i) end
    wanted[i] = ids.check(list[i])
  end
  return wanted
end

--- Whether a call gives JSON text: what it says, else what its store does.
---@param self stores.Store|stores.Transaction
---@param opts {raw: boolean?}
---@return boolean
function arguments.raw_of(self, opts)
  if opts.raw == nil then return self.raw end
  return opts.raw
end

--- Whether a replica may answer a call: what it says, else what its store does; and the token that
--- it comes with.
---@param self stores.Store|stores.Transaction
---@param opts {read: string?, after_token: string?}
---@return boolean
---@return string?
function arguments.replica_of(self, opts)
  return (opts.read or self.read) == 'replica', opts.after_token
end

--- What a call found; nothing is an error where it must be there.
---@generic T
---@param value T?
---@param opts {must: boolean?}
---@param name string
---@param id string
---@return T? value
---Raises not_found.
function arguments.must_find(value, opts, name, id)
  if value == nil and opts.must then
    errors.raise('not_found', ('%s has no row %s'):format(name, id), { table = name })
  end
  return value
end

return arguments
