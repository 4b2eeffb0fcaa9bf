--- A declared table: what stores.define was told of it, checked, and what follows from that.

local errors = require('stores.errors')
local expression = require('stores.sql.expression')
local migrations = require('stores.tables.migrations')
local names = require('stores.tables.names')
local options = require('stores.config.options')
local versions = require('stores.tables.versions')

---@class stores.TableSpec
---@field indexes? any[] keys, as in `order`: 'age', {'address', 'city'}, {'state', '-created'}
---@field unique? any[] the same, of which no two documents have the same values
---@field validate? fun(document: table, old: table?): (any, any, any) true or nothing: it is good
---@field version? integer of the documents that this program writes
---@field version_member? string where it stands in a document; '_version'
---@field upgrade? table<integer, fun(document: table): table?> [3] makes a 3 of a 2
---@field expires? stores.Path where the time stands at which a document is gone
---@field strict? boolean criteria that no index serves are refused
---@field hold? boolean its rows are kept in the memory of the processes that read them

---@class stores.Definition
---@field name string
---@field key string
---@field indexes stores.tables.Index[] unique ones, too
---@field served stores.sql.Index[] what the indexes are over
---@field by_constraint table<string, stores.tables.Index>
---@field validate (fun(document: table, old: table?): any, any, any)?
---@field version integer?
---@field version_member string
---@field upgrade table<integer, fun(document: table): table?>
---@field oldest integer? the version from which documents can be brought up
---@field expires string[]?
---@field strict boolean
---@field hold boolean
---@field looks boolean what a row holds decides whether it may be written
local Definition = { is_stores_definition = true }
Definition.__index = Definition

local function array(what)
  return options.typed('any[]', function(value)
    if type(value) ~= 'table' then return nil, what .. ', got ' .. errors.kind(value) end
    local count = 0
    for key in pairs(value) do
      if type(key) ~= 'number' then return nil, what end
      count = count + 1
    end
    if count ~= #value then return nil, what .. ' without gaps' end
    return value
  end)
end

local KEYS = {
  indexes = array('an array of keys'),
  unique = array('an array of keys'),
  validate = options.callback(),
  version = options.integer(1, 2 ^ 31),
  version_member = options.text,
  upgrade = options.typed('table', function(value)
    if type(value) == 'table' then return value end
    return nil, 'a table of functions by version, got ' .. errors.kind(value)
  end),
  expires = options.any('stores.Path'),
  strict = options.boolean,
  hold = options.boolean,
}

local ALIASES = { index = "did you mean 'indexes'?", uniques = "did you mean 'unique'?",
  ttl = "a time in each document: expires = 'path'", expiry = "did you mean 'expires'?",
  upgrades = "did you mean 'upgrade'?", validator = "did you mean 'validate'?" }

local function add_indexes(self, list, is_unique)
  local what = is_unique and 'unique' or 'indexes'
  for i, spec in ipairs(list or {}) do
    local one = expression.index(spec, ('%s[%d]'):format(what, i))
    if is_unique and one.prefix then
      errors.raise('invalid_argument', ('unique[%d] is over values, not over prefixes'):format(i))
    end
    local index = migrations.index(self.name, one, is_unique)
    if not self.by_constraint[index.name] then
      self.by_constraint[index.name] = index
      table.insert(self.indexes, index)
      table.insert(self.served, one)
    end
  end
end

--- Checks what a table is to be.
---@param name string
---@param spec stores.TableSpec
---@return stores.Definition
---Raises invalid_table, invalid_option, invalid_argument.
function Definition.new(name, spec)
  local key = type(name) == 'string' and names.key(name)
  if not key then
    errors.raise('invalid_table', "stores.define takes the name of a table, such as 'users', got "
      .. (type(name) == 'string' and ("'%s'"):format(options.shown(name)) or errors.kind(name)))
  end
  local where = ("the definition of '%s'"):format(options.shown(name))
  local given = options.check(spec, { where = where, keys = KEYS, aliases = ALIASES })
  local self = setmetatable({ name = name, key = key, indexes = {}, served = {},
    by_constraint = {}, validate = given.validate, strict = given.strict or false,
    hold = given.hold or false }, Definition)
  versions.read(self, given, where)
  if given.expires ~= nil then
    self.expires = expression.names(given.expires, 'expires of ' .. where)
  end
  add_indexes(self, given.indexes, false)
  add_indexes(self, given.unique, true)
  if self.expires then add_indexes(self, { self.expires }, false) end
  self.looks = (self.version or self.expires) ~= nil
  return self
end

--- Brings a document of an older version up to this one, as reading it does.
---@param document table
---@return table document the same table, or what the last function gave
function Definition:upcast(document)
  return (versions.bring_up(self, document))
end

--- The migrations that make the table and its indexes, for a list of migrations: they may stand in
--- it as a list of their own. What is added to the definition later is a migration more.
---@param opts? {distribute?: string}
---@return stores.Migration[]
function Definition:migrations(opts)
  return migrations.of(self, opts or {})
end

--- Whether no two documents have the same value at a path.
---@param path string[]
---@return boolean
function Definition:is_unique(path)
  local name = expression.name(path)
  for _, index in ipairs(self.indexes) do
    local keys = index.over.keys
    if index.is_unique and #keys == 1 and expression.name(keys[1].names) == name then
      return true
    end
  end
  return false
end

--- What an error of a write means for the table: the path of the values that are there already.
---@param err any
function Definition:explain(err)
  if not errors.is(err, 'duplicate') or not err.constraint then return end
  local index = self.by_constraint[err.constraint]
  if index then
    err.path = index.path
    err.message = ('another document of %s has the same %s'):format(self.name, index.shown)
  end
end

return Definition
