--- What the moves of everybody are made of: the epoch, the row's keys, versions. Of epochs.lua.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.epochs.layout'

local band = bit.band
local EPOCH, ENUM, CUR, ACKED, WIN = layout.EPOCH, layout.ENUM, layout.CUR, layout.ACKED, layout.WIN
local DUMP_VER, MOVE = layout.DUMP_VER, layout.MOVE
local NONE, EB, ABSENT, V, L = layout.NONE, layout.EB, layout.ABSENT, layout.V, layout.L
local T, TPLUS, W_ROLE, W_E = layout.T, layout.TPLUS, layout.W_ROLE, layout.W_E
local W_ENTRY, W_VER, W_WAITED = layout.W_ENTRY, layout.W_VER, layout.W_WAITED
local W_TURNED, W_OPEN, W_OVER = layout.W_TURNED, layout.W_OPEN, layout.W_OVER
local BYPASS, OUTSIDE, DEMOTED, R_E = layout.BYPASS, layout.OUTSIDE, layout.DEMOTED, layout.R_E
local R_RES, R_TOKEN, MOVING = layout.R_RES, layout.R_TOKEN, layout.MOVING
local EPOCH_OVER, ROW_OVER, WRITER = layout.EPOCH_OVER, layout.ROW_OVER, layout.WRITER
local HOLDS, READER = layout.HOLDS, layout.READER

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local commits, m, numbers, size, STATE, VER = c.commits, c.m, c.numbers, c.size, c.STATE, c.VER
  local FOREIGN, W0, R0, W_LAST = c.FOREIGN, c.W0, c.R0, c.W_LAST
  local R_LAST, references, LAST_REFERENCE = c.R_LAST, c.references, c.LAST_REFERENCE

  -- No function is made within a step: where one is, LuaJIT compiles nothing around it.
  local function copy(t, s) ffi.copy(t, s, size) end

  local used = ffi.new('uint8_t[?]', numbers + 1)

  local function close_window(t)
    if t[WIN] == 0 then return end
    t[WIN], t[ACKED] = 0, t[CUR]
    for w = W0, W_LAST, WRITER do t[w + W_OPEN] = 0 end
  end

  --- Sets the epoch to B<new>, whatever was there.
  local function turn(t, state)
    ffi.fill(used, numbers + 1)
    for k = 0, LAST_REFERENCE do used[t[references[k]]] = 1 end
    local e = 1
    while used[e] == 1 do e = e + 1 end
    assert(e <= numbers)
    t[EPOCH], t[ENUM] = state or EB, e
    t[STATE + e], t[VER + e], t[FOREIGN + e] = ABSENT, 0, 0
    t[MOVE] = band(t[MOVE], MOVING + EPOCH_OVER)
    close_window(t)
  end

  --- A writer turns the table: where there is no epoch, there is nothing to turn.
  local function turn_present(t)
    if t[EPOCH] == NONE then
      close_window(t)
    else
      turn(t)
    end
  end

  local function counts(s) -- is the epoch there one of this server?
    return s[EPOCH] ~= NONE and s[FOREIGN + s[ENUM]] == 0
  end

  --- Is a command about the epoch and the row done, and where the slot moves, if it is sent on?
  local function together(s, e, sent_on)
    if s[MOVE] == 0 then return true end
    if s[STATE + e] == ABSENT then return false end
    return s[MOVE] == MOVING or sent_on and s[MOVE] == MOVING + EPOCH_OVER + ROW_OVER
  end

  local function epoch_at_home(s) return band(s[MOVE], EPOCH_OVER) == 0 end

  local function set_row(t, e, state, version)
    if t[STATE + e] == L and state ~= L then
      for r = R0, R_LAST, READER do if t[r + R_E] == e then t[r + R_TOKEN] = 0 end end
    end
    t[STATE + e], t[VER + e] = state, version
  end

  local function saw(t, version)
    if t[WIN] == 1 and version == t[CUR] then
      if not commits then return end
      version = version - 1
    end
    if version > t[ACKED] then t[ACKED] = version end
  end

  local function stale(s, e)
    return s[VER + e] < s[ACKED]
      and 'a read returned a version older than one acknowledged, or read, before it began' or nil
  end

  local function locked(s)
    if m.no_locks then return false end
    for w = W0, W_LAST, WRITER do
      if HOLDS[s[w]] then return true end
    end
    return false
  end

  local function finish(t, w) ffi.fill(t + w, WRITER) end

  local function over(t, w)
    if t[w + W_ENTRY] == 0 then return finish(t, w) end
    t[w], t[w + W_VER], t[w + W_WAITED], t[w + W_TURNED], t[w + W_OPEN] = W_OVER, 0, 0, 0, 0
  end

  local function takes_effect(t, w)
    if commits then
      t[CUR] = t[CUR] + 1
    else
      for e = 1, numbers do t[VER + e] = 0 end
      for o = W0, W_LAST, WRITER do t[o + W_VER] = 0 end
      for r = R0, R_LAST, READER do t[r + R_RES] = 0 end
      t[ACKED], t[DUMP_VER] = 0, 0
    end
    t[w + W_VER], t[w + W_WAITED], t[WIN] = t[CUR], 0, 0
    for o = W0, W_LAST, WRITER do t[o + W_OPEN] = 0 end
    local role = t[w + W_ROLE]
    if role == OUTSIDE or (role == BYPASS or role == DEMOTED) and t[w + W_TURNED] == 0 then
      t[WIN], t[w + W_OPEN] = 1, 1
    end
  end

  local function settle(t, w, publish, own)
    local e = t[w + W_E]
    if e == 0 then
      t[w + W_ENTRY] = 0
    elseif t[w + W_ENTRY] == 1 then
      t[w + W_ENTRY] = 0
      local others = 0
      for o = W0, W_LAST, WRITER do if t[o + W_E] == e then others = others + t[o + W_ENTRY] end end
      if others > 0 then
        set_row(t, e, TPLUS, 0)
      elseif publish and t[STATE + e] == T then
        set_row(t, e, V, t[w + W_VER])
      else
        set_row(t, e, ABSENT, 0)
      end
    elseif own and (t[STATE + e] == V or t[STATE + e] == L) then
      set_row(t, e, ABSENT, 0)
    end
  end

  c.copy, c.close_window, c.turn = copy, close_window, turn
  c.turn_present, c.counts, c.together = turn_present, counts, together
  c.epoch_at_home, c.set_row, c.saw, c.stale, c.locked = epoch_at_home, set_row, saw, stale, locked
  c.finish, c.over, c.takes_effect, c.settle = finish, over, takes_effect, settle
end
