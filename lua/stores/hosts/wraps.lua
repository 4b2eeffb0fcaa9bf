--- stores.wrap: coroutines whose waits go through to whoever resumes them. Shared by the hosts that
--- schedule coroutines themselves.

local core = require('stores.core')
local errors = require('stores.errors')

local create, resume, status = coroutine.create, coroutine.resume, coroutine.status
local running, yield = coroutine.running, coroutine.yield

local wraps = {}

-- Yielded by a coroutine that waits for a slot, and by one that waits to be unparked.
wraps.WAIT, wraps.PARK = core.WAIT, core.PARK
local WAIT, PARK = wraps.WAIT, wraps.PARK

--- The coroutine that runs; nil outside coroutines.
---@return thread?
function wraps.current()
  local co, main = running()
  if main then return nil end
  return co
end
local current = wraps.current

local can_yield = core.can_yield

--- Raises unsupported where the coroutine that runs cannot be left: a call that was sent would go
--- on without anybody to hear of it.
function wraps.refuse_c_call()
  errors.raise('unsupported', 'inside of string.gsub, table.sort, require, or another function '
    .. 'that is written in C, no call can wait: make it before or after')
end

--- Has functions that lead to a coroutine not be kept by what LuaJIT has compiled, which keeps each
--- function that it calls; but where some of one prototype were made before, it keeps the prototype
--- instead (rec_call_specialize in lj_record.c, PROTO_CLC_POLY in lj_obj.h).
---@param make function makes such a function
function wraps.unpin(make)
  for _ = 1, 4 do make() end
end

---@class stores.Wraps
---@field is_stuck fun(co: thread): boolean whether the coroutine, or one that it runs in, cannot be
--- left, for a function written in C waits for it
---@field check fun(co: thread) raises where it is, or where it is a coroutine of somebody else
---@field root fun(co: thread): thread? the coroutine that a coroutine runs in; nil: none; raises
---@field pass fun(co: thread, what: table, ...): boolean passes a wait on, where co is a wrap
---@field wrap fun(fn: function): function

-- Makes functions that resume a wrap: its waits are those of who called it.
---@param wrapped table<thread, thread|true> see wraps.new, as the rest
---@param stuck table<thread, true>
---@param wait fun(hub: userdata, slot: integer)
---@param park fun()
---@param owns fun(co: thread): any
---@return fun(co: thread): function
local function resumers(wrapped, stuck, wait, park, owns)
  local resume_wrapped

  -- What a wrap gives to who called it, after the waits that it passes on.
  local function pass_on(co, ok, ...)
    wrapped[co], stuck[co] = true, nil
    if not ok then errors.throw((...)) end
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
    if outer then
      if not wrapped[outer] then owns(outer) end
      if not can_yield() then stuck[co] = true end
    end
    return pass_on(co, resume(co, ...))
  end

  local function resumer(co)
    return function(...)
      local state = status(co)
      if state ~= 'suspended' then error(('cannot resume %s coroutine'):format(state), 2) end
      return resume_wrapped(co, ...)
    end
  end

  wraps.unpin(resumer)
  return resumer
end

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
  local stuck = setmetatable({}, { __mode = 'k' }) -- wraps whose resumer cannot be left
  local self = {}

  function self.is_stuck(co)
    if not can_yield() then return true end
    while wrapped[co] do
      if stuck[co] then return true end
      co = wrapped[co]
    end
    return false
  end

  function self.check(co)
    self.root(co)
    if self.is_stuck(co) then wraps.refuse_c_call() end
  end

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

  local resumer = resumers(wrapped, stuck, wait, park, owns)

  function self.wrap(fn)
    local co = create(fn)
    wrapped[co] = true
    return resumer(co)
  end

  return self
end

return wraps
