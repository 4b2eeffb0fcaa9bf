--- Redis, an administrator, and who writes without Stores. Of rows.lua.

local ffi = require 'ffi'
local layout = require 'spec.model.rows.layout'

local KEY, CUR, ACKED, OUT, ABSENT = layout.KEY, layout.CUR, layout.ACKED, layout.OUT, layout.ABSENT
local V, N, L, T, TPLUS = layout.V, layout.N, layout.L, layout.T, layout.TPLUS
local W_ENTRY, W_LOST, W_OVER, BLOCK = layout.W_ENTRY, layout.W_LOST, layout.W_OVER, layout.BLOCK
local HOLDS = layout.HOLDS

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, commits, m, size, W0, W_LAST = c.config, c.commits, c.m, c.size, c.W0, c.W_LAST
  local set_key, commit, over, locked = c.set_key, c.commit, c.over, c.locked

  local function others(s, t, emit)
    local key = s[KEY]
    if config.evict and (key == V or key == N or key == L) then
      ffi.copy(t, s, size)
      set_key(t, ABSENT, 0)
      emit(key == L and 'redis: a lease expires' or 'redis: evicts, or expires')
    end
    if config.admin and key >= T then
      ffi.copy(t, s, size)
      set_key(t, ABSENT, 0)
      for w = W0, W_LAST, BLOCK do
        if s[w + W_ENTRY] == 1 then
          t[w + W_ENTRY] = 0
          if HOLDS[s[w]] then t[w + W_LOST] = 1 end
          if s[w] == W_OVER then over(t, w) end
        end
      end
      emit('admin: DEL of a key with intents')
    end
    if config.outside and s[OUT] == 0 and not locked(s) and (not commits or s[CUR] <= commits) then
      ffi.copy(t, s, size)
      commit(t, 1)
      t[OUT] = 1
      emit('outsider: writes without Stores')
    end
    if config.outside and s[OUT] > 0 then
      ffi.copy(t, s, size)
      if key >= T and not m.plain_del then
        t[KEY] = TPLUS
      else
        set_key(t, ABSENT, 0)
        for w = W0, W_LAST, BLOCK do
          t[w + W_ENTRY] = 0
          if s[w] == W_OVER then over(t, w) end
        end
      end
      if s[OUT] == 1 then t[ACKED] = s[CUR] end
      t[OUT] = 0
      emit(key >= T and 'outsider: INVALIDATE of T' or 'outsider: INVALIDATE')
    end
  end

  c.others = others
end
