--- Whose an id is: by its modulo, or by a function of the program's own. Its name, and its version
--- where it has one, stand in every database: rows that were put where another function says are
--- not to be looked for elsewhere.

local core = require('stores.core')
local errors = require('stores.errors')
local ids = require('stores.ids')
local options = require('stores.config.options')

local strategy = {}

---@class stores.ShardStrategy
---@field name string
---@field version? string|integer
---@field owner fun(id: string, count: integer): integer the shard of an id, from 0 to count - 1

---@class stores.shards.Strategy
---@field name string
---@field version string?
---@field full_name string
---@field owner (fun(id: string, count: integer): integer)? nil: the modulo

local MODULO = { name = 'modulo', version = nil, full_name = 'modulo', owner = nil }
local KNOWN = { name = true, version = true, owner = true }
local LONGEST = 60

local function refuse(message, ...)
  errors.raise('invalid_option', message:format(...))
end

local function check_text(value, what)
  if type(value) == 'number' and value % 1 == 0 then value = ('%d'):format(value) end
  if type(value) ~= 'string' or not value:find('^[%w_.-]+$') or #value > LONGEST then
    refuse('the %s of a strategy is a word of letters, digits, dots, dashes and underscores', what)
  end
  return value
end

-- What it gives is looked at here, so that the core may trust it.
local function checked(name, owner)
  return function(id, count)
    local shard = owner(id, count)
    if type(shard) ~= 'number' or shard % 1 ~= 0 or shard < 0 or shard >= count then
      errors.raise('invalid_argument', ("the strategy '%s' gives a whole number from 0 to %d, and "
        .. 'not %s'):format(name, count - 1, type(shard) == 'number' and tostring(shard)
        or errors.kind(shard)))
    end
    return shard
  end
end

--- Reads the option.
---@param given 'modulo'|stores.ShardStrategy|nil
---@return stores.shards.Strategy
---Raises invalid_option.
function strategy.read(given)
  if given == nil or given == 'modulo' then return MODULO end
  if type(given) ~= 'table' then
    refuse("strategy is 'modulo', or {name =, version =, owner = function(id, count) ... end}")
  end
  for key in pairs(given) do
    if not KNOWN[key] then
      refuse("unknown key '%s' in strategy: name, version and owner are known",
        options.shown(tostring(key)))
    end
  end
  local name = check_text(given.name, 'name')
  if name == 'modulo' then refuse("a strategy of one's own has another name than modulo") end
  if type(given.owner) ~= 'function' then
    refuse('strategy.owner is a function of an id and the count of the shards')
  end
  local version = given.version ~= nil and check_text(given.version, 'version') or nil
  return { name = name, version = version, owner = checked(name, given.owner),
    full_name = version and name .. ' ' .. version or name }
end

--- The shard of an id.
---@param self stores.shards.Strategy
---@param id stores.Id
---@param count integer
---@return integer
function strategy.owner(self, id, count)
  if self.owner then return self.owner(ids.parse(id), count) end
  return core.shard(ids.check(id), count)
end

return strategy
