--- A busted helper (busted --helper=spec/support/gc_helper.lua): the collector runs all the time,
--- so that an object that nothing anchors is gone at its next use, and not once in a thousand runs.

-- Full collections in the interpreter, at places that no allocation marks. One costs milliseconds
-- here, so the count is a compromise: some ten thousand of them in a pass.
local INSTRUCTIONS = tonumber(os.getenv('STORES_GC_INSTRUCTIONS')) or 20000

-- A new cycle begins as soon as the last one ended.
collectgarbage('setpause', 0)
collectgarbage('setstepmul', 1000)

local function collect() collectgarbage() end

-- Hooks belong to a coroutine, and compiled code calls none.
jit.off()
debug.sethook(collect, '', INSTRUCTIONS)

local create, wrap = coroutine.create, coroutine.wrap

-- luacheck: push ignore 122
function coroutine.create(fn)
  local thread = create(fn)
  debug.sethook(thread, collect, '', INSTRUCTIONS)
  return thread
end

function coroutine.wrap(fn)
  return wrap(function(...)
    debug.sethook(collect, '', INSTRUCTIONS)
    return fn(...)
  end)
end
-- luacheck: pop
