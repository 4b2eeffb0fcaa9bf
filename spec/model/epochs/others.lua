--- Those who end turns, and all that happens to Redis and PostgreSQL. Of epochs.lua.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.epochs.layout'

local band, bor, bnot, lshift = bit.band, bit.bor, bit.bnot, bit.lshift
local EPOCH, ENUM, CUR, ACKED = layout.EPOCH, layout.ENUM, layout.CUR, layout.ACKED
local DUMP, DUMP_ENUM, DUMP_ROW = layout.DUMP, layout.DUMP_ENUM, layout.DUMP_ROW
local DUMP_VER, TRIG, MOVE, NONE = layout.DUMP_VER, layout.TRIG, layout.MOVE, layout.NONE
local EV, EB, ABSENT, V, L = layout.EV, layout.EB, layout.ABSENT, layout.V, layout.L
local U_IDLE, U_SAW, U_LISTED = layout.U_IDLE, layout.U_SAW, layout.U_LISTED
local U_EARLY, W_ROLE, W_E, W_ENTRY = layout.U_EARLY, layout.W_ROLE, layout.W_E, layout.W_ENTRY
local W_VER, W_WAITED, W_UNDONE = layout.W_VER, layout.W_WAITED, layout.W_UNDONE
local W_DYING, W_ZOMBIE, W_OVER = layout.W_DYING, layout.W_ZOMBIE, layout.W_OVER
local W_PREPARED, W_LEFT, ROW, ALONE = layout.W_PREPARED, layout.W_LEFT, layout.ROW, layout.ALONE
local R_RES, R_TOKEN, MOVING = layout.R_RES, layout.R_TOKEN, layout.MOVING
local EPOCH_OVER, ROW_OVER, TURNER = layout.EPOCH_OVER, layout.ROW_OVER, layout.TURNER
local U_E, U_NAMES, WRITER, SIGNED = layout.U_E, layout.U_NAMES, layout.WRITER, layout.SIGNED
local HOLDS, READER = layout.HOLDS, layout.READER

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, m, numbers, STATE, VER = c.config, c.m, c.numbers, c.STATE, c.VER
  local FOREIGN, W0, R0, W_LAST, R_LAST = c.FOREIGN, c.W0, c.R0, c.W_LAST, c.R_LAST
  local copy, close_window, turn, counts = c.copy, c.close_window, c.turn, c.counts
  local epoch_at_home, set_row, locked, finish = c.epoch_at_home, c.set_row, c.locked, c.finish
  local over, settle = c.over, c.settle

  local function waited(s, bits)
    for w = W0, W_LAST, WRITER do
      if band(s[w + W_WAITED], bits) ~= 0 then return true end
    end
    return false
  end

  local function forget(t, u, bits)
    ffi.fill(t + u, TURNER)
    for w = W0, W_LAST, WRITER do
      t[w + W_WAITED] = band(t[w + W_WAITED], bnot(bits))
    end
  end

  local function lists(s, t, emit, u, who, to)
    local bits = lshift(1, who - 1)
    copy(t, s)
    t[u] = to
    for w = W0, W_LAST, WRITER do
      local signed = s[w + W_ROLE] == ALONE and SIGNED[s[w]] and not m.no_signs
      local unseen = m.coordinator_alone and (s[w] == W_PREPARED or s[w] == W_LEFT)
      if HOLDS[s[w]] and not unseen or signed then t[w + W_WAITED] = bor(t[w + W_WAITED], bits) end
    end
    emit('turner: lists the transactions on the table', who)
  end

  local function turner(s, t, emit, u, who)
    local pc, e, bits = s[u], s[u + U_E], lshift(1, who - 1)
    local seen = s[EPOCH] == EB and counts(s) and epoch_at_home(s)
    if pc == U_IDLE and m.list_first then
      lists(s, t, emit, u, who, U_EARLY)
    elseif (pc == U_IDLE or pc == U_EARLY) and seen then
      copy(t, s)
      t[u], t[u + U_E] = pc == U_EARLY and U_LISTED or U_SAW, s[ENUM]
      emit('turner: sees B', who)
    elseif pc == U_SAW and not m.no_wait then
      lists(s, t, emit, u, who, U_LISTED)
    elseif pc == U_SAW or pc == U_LISTED and not waited(s, bits) then
      copy(t, s)
      local same = s[EPOCH] == EB and s[ENUM] == e and epoch_at_home(s)
      if same or m.no_compare then t[EPOCH], t[ENUM] = EV, e end
      forget(t, u, bits)
      emit(same and 'turner: all are over, B becomes V'
        or 'turner: all are over, but it is another epoch', who)
    end
    if config.crash and pc ~= U_IDLE then
      copy(t, s)
      forget(t, u, bits)
      emit('turner: dies, ' .. U_NAMES[pc], who)
    end
  end

  local function lose_everything(t)
    for e = 1, numbers do t[STATE + e], t[VER + e] = ABSENT, 0 end
    for r = R0, R_LAST, READER do t[r + R_TOKEN] = 0 end
    for w = W0, W_LAST, WRITER do
      t[w + W_ENTRY] = 0
      if t[w] == W_OVER then finish(t, w) end
    end
    t[EPOCH], t[ENUM] = NONE, 0
  end

  --- PostgreSQL is stopped, and goes on from an older copy of itself: no transaction of before is
  --- under way, and every version that anybody holds is of a future that was lost. Its run is
  --- another one, and so no epoch of before counts.
  local function goes_back(t)
    close_window(t)
    for e = 1, numbers do t[VER + e] = 0 end
    for r = R0, R_LAST, READER do t[r + R_RES] = 0 end
    for w = W0, W_LAST, WRITER do
      t[w + W_VER], t[w + W_WAITED] = 0, 0
      if t[w] == W_DYING or t[w] == W_ZOMBIE then
        over(t, w)
      elseif SIGNED[t[w]] then
        finish(t, w)
      elseif HOLDS[t[w]] then
        t[w] = W_UNDONE
        if t[w + W_ROLE] ~= ROW then finish(t, w) end
      end
    end
    t[ACKED], t[DUMP_VER] = t[CUR], 0
    if not m.trust_past then ffi.fill(t + FOREIGN + 1, numbers, 1) end
  end

  local function slot_moves(s, t, emit)
    local e, at = s[ENUM], s[MOVE]
    if at == 0 then
      copy(t, s)
      t[MOVE] = MOVING
      return emit('redis: a slot begins to move')
    end
    if s[EPOCH] ~= NONE and epoch_at_home(s) then
      copy(t, s)
      t[MOVE] = at + EPOCH_OVER
      emit('redis: the epoch goes over')
    end
    if s[EPOCH] ~= NONE and s[STATE + e] ~= ABSENT and band(at, ROW_OVER) == 0 then
      copy(t, s)
      t[MOVE] = at + ROW_OVER
      emit('redis: the row goes over')
    end
    copy(t, s)
    t[MOVE] = 0
    emit('redis: the move of the slot is given up')
    copy(t, s)
    t[MOVE] = 0
    if s[EPOCH] ~= NONE and band(at, ROW_OVER) == 0 then
      set_row(t, e, ABSENT, 0)
      for w = W0, W_LAST, WRITER do
        if s[w + W_E] == e then
          t[w + W_ENTRY] = 0
          if s[w] == W_OVER then finish(t, w) end
        end
      end
    end
    if epoch_at_home(s) then t[EPOCH], t[ENUM] = NONE, 0 end
    if not m.trust_move then ffi.fill(t + FOREIGN + 1, numbers, 1) end
    emit('redis: the slot belongs to another node')
  end

  local function others(s, t, emit)
    if config.move then slot_moves(s, t, emit) end
    if not counts(s) and s[MOVE] == 0 then
      copy(t, s)
      turn(t, m.missing_v and EV)
      emit(s[EPOCH] == NONE and 'somebody: sees no epoch, sets B<new>'
        or 'somebody: sees an epoch of another server, sets B<new>')
    elseif config.blind and counts(s) then
      copy(t, s)
      turn(t)
      emit('somebody: turns the table')
    end
    local e = s[ENUM]
    if s[EPOCH] ~= NONE then
      if config.evict and (s[STATE + e] == V or s[STATE + e] == L) then
        copy(t, s)
        set_row(t, e, ABSENT, 0)
        emit(s[STATE + e] == V and 'redis: evicts, or expires' or 'redis: a lease expires')
      end
      for w = W0, W_LAST, WRITER do -- readers resolve what they meet under the present epoch
        local pc = s[w]
        if s[w + W_ENTRY] == 1 and s[w + W_E] == e and s[EPOCH] == EV and not HOLDS[pc] then
          copy(t, s)
          settle(t, w, false, false)
          if pc == W_OVER then finish(t, w) end
          emit('reader: xid is over, SETTLE for its writer')
        end
      end
    end
    if config.ddl and s[TRIG] == 0 and not locked(s) then
      copy(t, s)
      t[TRIG] = 1
      emit('somebody: adds a trigger')
    end
    if config.past then
      copy(t, s)
      goes_back(t)
      emit('pg: goes on from an older copy of itself')
    end
    if config.wipe and s[EPOCH] ~= NONE then
      copy(t, s)
      lose_everything(t)
      emit('redis: FLUSHALL, or an empty restart')
    end
    if config.dump and counts(s) and s[STATE + e] <= V and s[DUMP] == NONE then
      copy(t, s)
      t[DUMP], t[DUMP_ENUM], t[DUMP_ROW], t[DUMP_VER] = s[EPOCH], e, s[STATE + e], s[VER + e]
      emit('redis: SAVE')
    end
    if config.dump and s[DUMP] ~= NONE then
      copy(t, s)
      lose_everything(t)
      local d = s[DUMP_ENUM]
      t[EPOCH], t[ENUM], t[STATE + d], t[VER + d] = s[DUMP], d, s[DUMP_ROW], s[DUMP_VER]
      t[DUMP], t[DUMP_ENUM], t[DUMP_ROW], t[DUMP_VER] = NONE, 0, 0, 0
      if not m.trust_dump then ffi.fill(t + FOREIGN + 1, numbers, 1) end
      emit('redis: restarts from the old dump')
    end
  end

  c.turner, c.others = turner, others
end
