--- What the moves of everybody are made of: the key, versions, what is over. Of rows.lua.

local ffi = require 'ffi'
local layout = require 'spec.model.rows.layout'

local KEY, KVER, CUR, EX, ACKED = layout.KEY, layout.KVER, layout.CUR, layout.EX, layout.ACKED
local OUT, HOLE, ABSENT, V, N = layout.OUT, layout.HOLE, layout.ABSENT, layout.V, layout.N
local L, T, TPLUS, W_VER, W_KIND = layout.L, layout.T, layout.TPLUS, layout.W_VER, layout.W_KIND
local W_ENTRY, W_LOST, W_COPY = layout.W_ENTRY, layout.W_LOST, layout.W_COPY
local W_NOPUB, W_LATE, W_IDLE, W_DONE = layout.W_NOPUB, layout.W_LATE, layout.W_IDLE, layout.W_DONE
local W_ACKED, W_OVER, R_RES, R_TOKEN = layout.W_ACKED, layout.W_OVER, layout.R_RES, layout.R_TOKEN
local BLOCK, HOLDS = layout.BLOCK, layout.HOLDS

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, commits, m, size, W0, R0 = c.config, c.commits, c.m, c.size, c.W0, c.R0
  local W_LAST, R_LAST = c.W_LAST, c.R_LAST

  -- No function is made within a step: where one is, LuaJIT compiles nothing around it.
  local function copy(t, s) ffi.copy(t, s, size) end

  local function forget_token(t)
    for r = R0, R_LAST, BLOCK do t[r + R_TOKEN] = 0 end
  end

  local function set_key(t, state, version)
    if t[KEY] == L and state ~= L then forget_token(t) end
    t[KEY], t[KVER] = state, version
    if state == ABSENT or state >= T then t[HOLE] = 0 end -- nothing stale is left
  end

  -- A completed read saw this version. One that was written outside and not invalidated promises
  -- nothing.
  local function saw(t, version)
    if t[OUT] == 1 and version == t[CUR] then
      if not commits then return end
      version = version - 1
    end
    if version > t[ACKED] then t[ACKED] = version end
  end

  local function stale(t)
    if t[KVER] > t[CUR] then return 'a read returned a version that was never committed' end
    if t[KVER] < t[ACKED] and t[HOLE] == 0 then
      return 'a read returned a version older than one acknowledged, or read, before it began'
    end
  end

  -- A new version of the row becomes visible; the lock is free from here on.
  local function commit(t, kind)
    if commits then
      t[CUR] = t[CUR] + 1
    else
      t[KVER], t[ACKED] = 0, 0
      for w = W0, W_LAST, BLOCK do t[w + W_VER] = 0 end
      for r = R0, R_LAST, BLOCK do t[r + R_RES] = 0 end
    end
    t[EX] = kind
    return t[CUR]
  end

  local function place(t, w)
    if t[w + W_ENTRY] == 1 then return end
    set_key(t, t[KEY] >= T and TPLUS or T, 0)
    t[w + W_ENTRY] = 1
  end

  -- SETTLE. `publish`: the writer's own, after a COMMIT.
  local function settle(t, w, publish, own)
    if t[w + W_ENTRY] == 1 then
      t[w + W_ENTRY] = 0
      local others = 0
      for o = W0, W_LAST, BLOCK do others = others + t[o + W_ENTRY] end
      if others > 0 then
        set_key(t, TPLUS, 0)
      elseif publish and (t[KEY] == T or m.publish_dirty) then
        set_key(t, t[w + W_KIND] == 1 and V or N, t[w + W_VER])
      else
        set_key(t, ABSENT, 0)
      end
    elseif own and t[KEY] >= V and t[KEY] <= L and not m.settle_leaves then
      set_key(t, ABSENT, 0)
    end
    if own then
      t[w + W_LOST] = 0
      if t[HOLE] == 1 then
        local open = false
        for o = W0, W_LAST, BLOCK do
          if o ~= w and t[o + W_LOST] == 1 and (t[o] == W_DONE or t[o] == W_ACKED) then
            open = true
          end
        end
        if not open then t[HOLE] = 0 end
      end
    end
  end

  -- The transaction and its process are done with; what is left is an entry in the key, or a late
  -- copy of a script.
  local function over(t, w)
    t[w + W_LOST] = 0
    if t[w + W_LATE] == 0 then t[w + W_VER], t[w + W_KIND], t[w + W_NOPUB] = 0, 0, 0 end
    local rest = t[w + W_ENTRY] + t[w + W_COPY] + t[w + W_LATE]
    t[w] = rest > 0 and W_OVER or W_IDLE
  end

  local function idle(t, r)
    ffi.fill(t + r, BLOCK)
  end

  local function locked(s)
    if config.no_locks then return false end
    for w = W0, W_LAST, BLOCK do
      if HOLDS[s[w]] then return true end
    end
    return false
  end

  c.copy, c.set_key, c.saw, c.stale, c.commit, c.place = copy, set_key, saw, stale, commit, place
  c.settle, c.over, c.idle, c.locked = settle, over, idle, locked
end
