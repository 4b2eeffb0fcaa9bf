--- Functions that belong to the worker and to no request: each runs in a timer of its own, so that
--- one that ends its timer (ngx.exit) ends no other. nginx may refuse the timer, or take it and
--- drop it without a word; then the service of the loop runs the function in its own.

local ngx = ngx

local nginx_lasting = {}

local BEGINS = 1 -- seconds: a timer that has not run by then was dropped

local late = {} -- functions that have not begun -> since when
local running = 0 -- in the timer of the service

local function run(fn)
  if not late[fn] then return end
  late[fn] = nil
  fn()
end

local function run_here(fn)
  running = running + 1
  run(fn)
  running = running - 1
end

--- Starts a function, which must not raise, soon.
---@param fn function
---@param now number
function nginx_lasting.start(fn, now)
  late[fn] = now
  ngx.timer.at(0, function() run(fn) end)
end

--- Whether the service is needed: for functions to be started, or those that run in its timer.
---@return boolean
function nginx_lasting.need_service()
  return running > 0 or next(late) ~= nil
end

--- Starts those whose timer did not come, as light threads of who calls it: the service.
---@param now number
function nginx_lasting.start_late(now)
  if not next(late) then return end
  local list = {}
  for fn, since in pairs(late) do
    if now - since >= BEGINS then list[#list + 1] = fn end
  end
  for _, fn in ipairs(list) do ngx.thread.spawn(run_here, fn) end
end

return nginx_lasting
