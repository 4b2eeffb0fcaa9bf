--- Readers of the cache, and whatever befalls Redis, by itself or by others. Of held.lua.

local ffi = require 'ffi'
local layout = require 'spec.model.held.layout'

local EPOCH, KEY, KVER, CUR, ACKED = layout.EPOCH, layout.KEY, layout.KVER, layout.CUR, layout.ACKED
local SEQ, UNK, GHOST, KINDS, DOWN = layout.SEQ, layout.UNK, layout.GHOST, layout.KINDS, layout.DOWN
local LEFT, DUMP, D_SEQ, D_UNK = layout.LEFT, layout.DUMP, layout.D_SEQ, layout.D_UNK
local D_SAME, MARK, NONE, EV, EB = layout.D_SAME, layout.MARK, layout.NONE, layout.EV, layout.EB
local LONG, FACT, H_LONG = layout.LONG, layout.FACT, layout.H_LONG
local FOREIGN, ABSENT, V, L = layout.FOREIGN, layout.ABSENT, layout.V, layout.L
local HOLDER, H_NON, H_REG, H_EAR = layout.HOLDER, layout.H_NON, layout.H_REG, layout.H_EAR
local H_M, H_LEASE, H_FLY, H_DREG = layout.H_M, layout.H_LEASE, layout.H_FLY, layout.H_DREG
local H_LATE, WRITER, W_ROLE, W_ENTRY = layout.H_LATE, layout.WRITER, layout.W_ROLE, layout.W_ENTRY
local W_WAITED, W_OPEN, W_SENT = layout.W_WAITED, layout.W_OPEN, layout.W_SENT
local W_ZOMBIE, W_OVER, W_LINK, HOLDS = layout.W_ZOMBIE, layout.W_OVER, layout.W_LINK, layout.HOLDS
local BYPASS, READER, R_VER, R_TOKEN = layout.BYPASS, layout.READER, layout.R_VER, layout.R_TOKEN
local R_IDLE, R_LEASED, R_SELECTED = layout.R_IDLE, layout.R_LEASED, layout.R_SELECTED

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, readers, m, H0, W0, copy = c.config, c.readers, c.m, c.H0, c.W0, c.copy
  local H_LAST, W_LAST = c.H_LAST, c.W_LAST
  local set_key, saw, stale, finish = c.set_key, c.saw, c.stale, c.finish
  local leave_epoch, turn, name_nonce, reset = c.leave_epoch, c.turn, c.name_nonce, c.reset
  local can_tell, tell, settle, open_window = c.can_tell, c.tell, c.settle, c.open_window

  local function reader(s, t, emit, r, i)
    local pc = s[r]
    if pc == R_IDLE and s[DOWN] == 0 and s[EPOCH] == EV and s[KEY] == ABSENT then
      copy(t, s)
      set_key(t, L, 0)
      t[r], t[r + R_TOKEN] = R_LEASED, 1
      emit('reader: LEASE', i)
    elseif pc == R_LEASED then
      copy(t, s)
      t[r], t[r + R_VER] = R_SELECTED, s[CUR]
      saw(t, s[CUR])
      emit('reader: SELECT, answers its caller', i)
    elseif pc == R_SELECTED and s[DOWN] == 0 then
      copy(t, s)
      local fills = s[EPOCH] == EV and s[KEY] == L and s[r + R_TOKEN] == 1
      if fills then set_key(t, V, s[r + R_VER]) end
      ffi.fill(t + r, READER)
      emit(fills and 'reader: FILL' or 'reader: FILL is refused', i)
    end
    if pc ~= R_IDLE and config.crash then
      copy(t, s)
      ffi.fill(t + r, READER)
      emit('reader: dies', i)
    end
  end

  -- ---- everybody else ---------------------------------------------------------------------------

  local function anybody_reads(s, t, emit)
    if s[ACKED] < s[CUR] then
      copy(t, s)
      saw(t, s[CUR])
      emit('somebody: reads from PostgreSQL')
    end
    if s[DOWN] == 1 then return end
    if s[EPOCH] == EV and s[KEY] == V then
      local bad = stale(s, s[KVER])
      if bad then
        copy(t, s)
        emit('somebody: MGET hits', nil, bad)
      end
      if config.evict then
        copy(t, s)
        set_key(t, ABSENT, 0)
        emit('redis: evicts, or expires')
      end
    end
    if config.evict and s[KEY] == L then
      copy(t, s)
      set_key(t, ABSENT, 0)
      emit('redis: a lease of a reader expires')
    end
    if readers == 0 and s[EPOCH] == EV and s[KEY] == ABSENT then
      copy(t, s)
      set_key(t, V, s[CUR])
      emit('somebody: LEASE, SELECT, FILL')
    end
    for w = W0, W_LAST, WRITER do
      if s[w + W_ENTRY] == 1 and not HOLDS[s[w]] then
        copy(t, s)
        settle(t, w, false)
        if s[w] == W_OVER then finish(t, w) end
        emit('somebody: xid is over, SETTLE for its writer')
      end
    end
  end

  local function epoch_moves(s, t, emit)
    if s[DOWN] == 1 then return end
    if s[EPOCH] == NONE or s[EPOCH] == FOREIGN then
      copy(t, s)
      turn(t)
      if not m.keep_hash then reset(t) end
      emit(s[EPOCH] == NONE and 'somebody: sees no epoch, sets B<new>, no hash'
        or 'somebody: sees an epoch of another server, sets B<new>, no hash')
      return
    end
    if config.blind and can_tell(s) and s[SEQ] > 0 then
      copy(t, s)
      turn(t)
      tell(t, true)
      emit('somebody: turns the table')
    end
    if config.reset and s[SEQ] > 0 then
      copy(t, s)
      turn(t)
      reset(t)
      emit('somebody: of another timeline sets B<new>, no hash')
    end
    if config.long and s[EPOCH] == EV and s[FACT] == 0 and s[LONG] ~= 1 then
      copy(t, s)
      t[FACT] = 2
      emit('somebody: sees that no leases are longer')
    end
    local marking = s[MARK] == 2 and not m.mark_at_once or s[LONG] == 2 and not m.raise_at_once
    if s[EPOCH] == EB and not marking then
      for w = W0, W_LAST, WRITER do
        if s[w + W_WAITED] == 1 and not m.no_turn_wait then return end
      end
      copy(t, s)
      t[EPOCH] = EV
      for w = W0, W_LAST, WRITER do t[w + W_WAITED] = 0 end
      emit('somebody: all are over, B becomes V')
    end
  end

  local function unknown_goes(s, t, emit)
    if s[DOWN] == 1 or s[UNK] == 0 or config.fair then return end
    for h = H0, H_LAST, HOLDER do
      local runs = s[h + H_LEASE] == 1 or s[h + H_FLY] == 1
      local waits = s[UNK] == 2 or s[h + H_LONG] == 0
      if runs and waits and s[h + H_NON] ~= 1 and not m.unknown_at_once then return end
    end
    copy(t, s)
    t[UNK] = 0
    emit('somebody: LEASE has passed since the hash was made, "?" is taken out')
  end

  local function redis_moves(s, t, emit)
    if s[DOWN] == 1 then return end
    if config.other and s[SEQ] > 0 and can_tell(s) then
      copy(t, s)
      tell(t, false)
      emit('somebody: INTENT of another row')
    end
    if config.admin and s[EPOCH] ~= NONE then
      copy(t, s)
      leave_epoch(t, NONE)
      emit('admin: DEL of the epoch')
      if s[SEQ] > 0 then
        copy(t, s)
        reset(t)
        emit('admin: DEL of the hash')
      end
    end
    if config.lost and s[SEQ] > 0 then
      copy(t, s)
      reset(t)
      emit('redis: the hash expires')
    end
    if config.wipe and s[EPOCH] ~= NONE then
      copy(t, s)
      leave_epoch(t, NONE)
      reset(t)
      emit('redis: FLUSHALL, or an empty restart')
    end
    if config.dump and s[DUMP] == 0 and s[SEQ] > 0 and s[EPOCH] ~= NONE and s[EPOCH] ~= FOREIGN then
      copy(t, s)
      t[DUMP], t[D_SEQ], t[D_UNK], t[D_SAME] = 1, s[SEQ], s[UNK], 1
      for h = H0, H_LAST, HOLDER do t[h + H_DREG] = s[h + H_REG] end
      emit('redis: SAVE')
    end
    if config.dump and s[DUMP] == 1 then
      copy(t, s)
      leave_epoch(t, FOREIGN)
      if s[D_SAME] == 0 then
        name_nonce(t, 1, 3)
        name_nonce(t, 2, 1)
      end
      t[SEQ], t[UNK], t[GHOST], t[KINDS] = s[D_SEQ], s[D_UNK], 0, 0
      for h = H0, H_LAST, HOLDER do
        t[h + H_REG], t[h + H_DREG] = s[h + H_DREG], 0
        t[h + H_M], t[h + H_EAR], t[h + H_FLY], t[h + H_LATE] = 0, 0, 0, 0
      end
      t[DUMP], t[D_SEQ], t[D_UNK], t[D_SAME] = 0, 0, 0, 0
      emit('redis: restarts from the old dump')
    end
  end

  local function redis_fails(s, t, emit)
    if not config.down then return end
    copy(t, s)
    if s[DOWN] == 0 then
      t[DOWN] = 1
      emit('redis: nobody reaches it')
      return
    end
    t[DOWN] = 0
    local open = s[LEFT] == 1
    for w = W0, W_LAST, WRITER do
      if s[w + W_OPEN] == 2 then t[w + W_OPEN], open = 1, true end
      local sent = s[w] == W_SENT or s[w] == W_ZOMBIE
      if s[w] == W_LINK or sent and s[w + W_ROLE] == BYPASS then t[w + W_OPEN] = 3 end
    end
    t[LEFT] = 0
    if open then open_window(t) end
    emit('redis: is back')
  end

  c.reader, c.anybody_reads, c.epoch_moves = reader, anybody_reads, epoch_moves
  c.unknown_goes, c.redis_moves, c.redis_fails = unknown_goes, redis_moves, redis_fails
end
