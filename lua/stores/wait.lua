--- Waiting for a call: the one place where the rest of the library meets its host.

local core = require('stores.core')
local errors = require('stores.errors')
local hosts = require('stores.hosts')

local wait = {}

local result, WOKEN = core.result, core.WOKEN

---@type table the host in use; stores.use sets it before the first store is made
wait.host = hosts.default()

--- Chooses the host, before the first store is made and the first coroutine is started.
---@param name 'standalone'|'luv'|'cqueues'|'openresty'|'uv'
---@param opts? {loop: lightuserdata} for uv
function wait.use(name, opts)
  hosts.check(name)
  if wait.host.name == name and name ~= 'uv' then return end
  if wait.host.in_use() then
    errors.raise('unsupported', ("the host is '%s' already: call stores.use before the first store "
      .. 'is made'):format(wait.host.name))
  end
  wait.host = hosts.load(name, opts)
end

---@type fun(hub: userdata)? called after each result that was taken, or raised; nil: nobody asks
wait.observer = nil

--- Calls a function after each result, for good; it must not raise.
---@param fn fun(hub: userdata)
function wait.observe(fn)
  local before = wait.observer
  wait.observer = before and function(hub)
    before(hub)
    fn(hub)
  end or fn
end

---@type fun(hub: userdata)? observe.lua sets it: called with the hub of each store that is made,
--- which may be another one than before: a fork leaves the old one to the parent
wait.watch = nil

--- Tells of an error that nobody is there to catch.
---@param err any
function wait.report(err)
  if wait.host.report then return wait.host.report(err) end
  io.stderr:write('stores: ', errors.text(err), '\n')
end

local count = 0

local function observed(hub, ok, ...)
  wait.observer(hub)
  if not ok then errors.throw((...)) end
  return ...
end

--- How often anybody has waited; a function during which it stays the same has not.
---@return integer
function wait.count()
  return count
end

local function take(hub, slot, id)
  if wait.observer then return observed(hub, pcall(result, hub, slot, id)) end
  return result(hub, slot, id)
end

--- Waits until the call is done, and gives its values or raises its error.
---@param hub userdata
---@param slot integer
---@param id? string|string[] by which one document, or each of several, was asked for: it is the
--- one in the document, too
---@return any ...
function wait.slot(hub, slot, id)
  count = count + 1
  wait.host.wait(hub, slot)
  return take(hub, slot, id)
end

--- The values of a call that has waited by itself, as core.find_here does, or its error.
---@param hub userdata
---@param id string as of wait.slot
---@param slot integer what it gave, and behind it
---@param mark lightuserdata
---@return any ...
function wait.here(hub, id, slot, mark)
  count = count + 1
  while mark ~= WOKEN do slot, mark = hub:again() end
  return take(hub, slot, id)
end

--- Waits until a call is done behind which something else was waited for already.
---@param hub userdata
---@param slot integer
---@return any ...
function wait.rest(hub, slot)
  if hub:done(slot) then return take(hub, slot) end
  return wait.slot(hub, slot)
end

return wait
