--- stores.wrap: coroutines whose waits go through to whoever resumes them. Shared by the hosts that
--- schedule coroutines themselves.

local errors = require('stores.errors')

local create, resume, status = coroutine.create, coroutine.resume, coroutine.status
local running, yield = coroutine.running, coroutine.yield

local wraps = {}

-- Yielded by a coroutine that waits for a slot, and by one that waits to be unparked.
wraps.WAIT, wraps.PARK = {}, {}
local WAIT, PARK = wraps.WAIT, wraps.PARK

--- The coroutine that runs; nil outside coroutines.
---@return thread?
function wraps.current()
  local co, main = running()
  if main then return nil end
  return co
end
local current = wraps.current

---@class stores.Wraps
---@field root fun(co: thread): thread? the coroutine that a coroutine runs in; nil: none; raises
---@field pass fun(co: thread, what: table, ...): boolean passes a wait on, where co is a wrap
---@field wrap fun(fn: function): function

--- The wraps of one host.
---@param wait fun(hub: userdata, slot: integer)
---@param park fun()
---@param owns fun(co: thread): any whether the host itself resumes this coroutine; asked before it
--- resumes a wrap, too
---@return stores.Wraps
function wraps.new(wait, park, owns)
  -- Coroutine -> the one that resumes it just now, or true. Only while it does: an entry that stays
  -- would keep two coroutines alive that nobody else knows.
  local wrapped = setmetatable({}, { __mode = 'k' })
  local self = {}

  function self.root(co)
    while wrapped[co] do
      co = wrapped[co]
      if co == true then return nil end
    end
    if owns(co) then return co end
    errors.raise('foreign_coroutine', 'a call inside a coroutine that coroutine.create or '
      .. 'coroutine.wrap made would yield to the wrong resumer: make it with stores.wrap or '
      .. 'stores.spawn')
  end

  function self.pass(co, what, ...)
    if not wrapped[co] then return false end
    yield(what, ...)
    return true
  end

  local resume_wrapped

  -- What a wrap gives to who called it, after the waits that it passes on.
  local function pass_on(co, ok, ...)
    wrapped[co] = true
    if not ok then error((...), 0) end
    if (...) == WAIT then
      local _, on, slot = ...
      wait(on, slot)
      return resume_wrapped(co)
    elseif (...) == PARK then
      park()
      return resume_wrapped(co)
    end
    return ...
  end

  function resume_wrapped(co, ...)
    local outer = current()
    wrapped[co] = outer or true
    if outer and not wrapped[outer] then owns(outer) end
    return pass_on(co, resume(co, ...))
  end

  function self.wrap(fn)
    local co = create(fn)
    wrapped[co] = true
    return function(...)
      local state = status(co)
      if state ~= 'suspended' then error(('cannot resume %s coroutine'):format(state), 2) end
      return resume_wrapped(co, ...)
    end
  end

  return self
end

return wraps
