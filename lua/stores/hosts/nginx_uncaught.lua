--- Errors that nobody catches, in nginx: its log shows the text of one that is a string, and says
--- "unknown reason" of any other value. So an error that is about to leave its outermost function
--- leaves as its text.

local caught = require('stores.hosts.caught')
local wraps = require('stores.hosts.wraps')

local ngx = ngx

local nginx_uncaught = {}

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
  if caught.here() then return err end
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
