--- The option `traceback` of a store: what its verbs raise has the stack of who called. A store
--- without it pays nothing, for its verbs are the plain ones.

local errors = require('stores.errors')
local list = require('stores.verbs.list')
local wraps = require('stores.hosts.wraps')

local traced = {}

local made_in = setmetatable({}, { __mode = 'kv' }) -- error -> the coroutine of its stack
local OWN = debug.getinfo(1, 'S').source:match('^(.*)verbs/traced%.lua$') -- begins our own sources
local MOST = 40 -- lines of a stack

local function place_of(info)
  local where = info.currentline > 0 and ('%s:%d'):format(info.short_src, info.currentline)
    or info.short_src
  if info.what == 'main' then return where .. ': in main chunk' end
  if info.name then return ("%s: in function '%s'"):format(where, info.name) end
  if info.what == 'C' then return where .. ': in ?' end
  return ('%s: in function <%s:%d>'):format(where, info.short_src, info.linedefined)
end

local function is_own(info)
  return info ~= nil and OWN ~= nil and info.source:sub(1, #OWN) == OWN
end

-- As debug.traceback tells it, but for two things: what this library calls by itself, and the
-- pcall by which it does, are left out; and so there is room for all that the program calls.
local function stack_from(level)
  local lines, at = { 'stack traceback:' }, level + 1
  local info = debug.getinfo(at, 'Sln')
  while info do
    local outer = debug.getinfo(at + 1, 'Sln')
    if not is_own(info) and not (info.what == 'C' and is_own(outer)) then
      if #lines > MOST then
        lines[#lines + 1] = '\t...'
        break
      end
      lines[#lines + 1] = '\t' .. place_of(info)
    end
    at, info = at + 1, outer
  end
  return table.concat(lines, '\n')
end

-- The innermost call that failed says where: an error that passes through others keeps it. What
-- shards do side by side they do in other coroutines than the caller's, whose stack comes behind.
-- Called as a tail call by what stands in for a verb, so that level 2 is the caller.
local function pass_on(ok, ...)
  if ok then return ... end
  local err, co = (...), coroutine.running() or debug
  if errors.is(err) and made_in[err] ~= co then
    local stack = stack_from(2)
    err.traceback = err.traceback and err.traceback .. '\n' .. stack or stack
    made_in[err] = co
  end
  return errors.throw(err)
end

-- An iterator raises long after the verb that gave it.
local function iterator(fn)
  return function() return pass_on(pcall(fn)) end
end

local function pass_iterator_on(ok, ...)
  if ok then return iterator((...)) end
  return pass_on(ok, ...)
end

-- By its name, for stores.on puts others in the place of verbs.
local function stand_in(class, name)
  if name == 'each' then
    return function(self, ...) return pass_iterator_on(pcall(class[name], self, ...)) end
  end
  return function(self, ...) return pass_on(pcall(class[name], self, ...)) end
end

wraps.unpin(iterator)

--- A class like the given one, whose verbs are traced.
---@param class table
---@param on 'store'|'tx'
---@return table
function traced.class(class, on)
  local made = setmetatable({}, { __index = class })
  for _, verb in ipairs(list.verbs) do
    if (verb.on == on or verb.on == 'both') and type(class[verb.name]) == 'function' then
      made[verb.name] = stand_in(class, verb.name)
    end
  end
  made.__index = made
  return made
end

return traced
