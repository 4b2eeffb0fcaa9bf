--- Errors that nobody catches, in nginx: its log shows the text of one that is a string, and says
--- "unknown reason" of any other value. So an error that is about to leave its outermost function
--- leaves as its text. Whether anybody catches it is seen on the stack.

local wraps = require('stores.hosts.wraps')

local ngx = ngx
local getinfo = debug.getinfo

local nginx_uncaught = {}

-- Functions written in C that let errors through; any other may be one that catches them.
local LETS_THROUGH = {
  [require] = true, [dofile] = true, [string.gsub] = true, [table.sort] = true, [assert] = true,
  [error] = true, [table.foreach] = true, [table.foreachi] = true, [tostring] = true,
}

-- Whether a function of this coroutine catches what is raised. What stands above the first Lua
-- function is what raises: this library's own.
local function is_caught()
  local level, inside = 3, true
  while true do
    local info = getinfo(level, 'Sf')
    if not info then return false end
    if info.what ~= 'C' then
      inside = false
    elseif info.func == pcall or info.func == xpcall
      or not (inside or LETS_THROUGH[info.func]) then
      return true
    end
    level = level + 1
  end
end

-- Whether the coroutine was made by ngx.thread.spawn, so that ngx.thread.wait may get its error:
-- who is not the parent of a light thread may not kill it, itself included, and is told so.
local function is_spawned(co)
  local ok, _, why = pcall(ngx.thread.kill, co)
  return ok and type(why) == 'string' and why:find('parent', 1, true) ~= nil
end

--- What is raised in the place of an error: its text, where nginx is the first to get it. One of a
--- light thread stays what it is, for who waits for it, and its text is logged.
---@param err stores.Error
---@param is_anchored fun(co: thread): boolean whether nginx itself resumes the coroutine
---@return stores.Error|string
function nginx_uncaught.leaving(err, is_anchored)
  if is_caught() then return err end
  local co = wraps.current()
  if not co then return tostring(err) end -- of a phase that is no coroutine
  if is_spawned(co) then
    ngx.log(ngx.ERR, 'stores: a light thread ends with ', tostring(err))
    return err
  end
  -- of coroutine.create, whose resumer gets it
  if not is_anchored(co) then return err end
  return tostring(err)
end

return nginx_uncaught
