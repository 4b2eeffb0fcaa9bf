--- Holders: what HOLD does, messages, what is kept and served, how they go. Of held.lua.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.held.layout'

local band, lshift = bit.band, bit.lshift
local EPOCH, KEY, KVER, ACKED, SEQ = layout.EPOCH, layout.KEY, layout.KVER, layout.ACKED, layout.SEQ
local GHOST, KINDS, DOWN, MARK, EV = layout.GHOST, layout.KINDS, layout.DOWN, layout.MARK, layout.EV
local LONG, UNK, FACT, H_LONG = layout.LONG, layout.UNK, layout.FACT, layout.H_LONG
local EB, FOREIGN, V, HOLDER = layout.EB, layout.FOREIGN, layout.V, layout.HOLDER
local H_NON, H_REG, H_SEEN, H_EAR = layout.H_NON, layout.H_REG, layout.H_SEEN, layout.H_EAR
local H_L1, H_M, H_LEASE, H_G = layout.H_L1, layout.H_M, layout.H_LEASE, layout.H_G
local H_FLY, H_FLYG, H_PEND, H_LATE = layout.H_FLY, layout.H_FLYG, layout.H_PEND, layout.H_LATE

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, m, same, inflight, copy = c.config, c.m, c.same, c.inflight, c.copy
  local saw, stale, locked, turn, create = c.saw, c.stale, c.locked, c.turn, c.create
  local tell_acked, forget_rows, holder_dies = c.tell_acked, c.forget_rows, c.holder_dies

  local function holder_leased(t, h)
    t[h + H_REG] = t[SEQ]
    if inflight then
      t[h + H_FLY], t[h + H_FLYG] = 1, 0
    else
      t[h + H_LEASE], t[h + H_G] = 1, 0
    end
  end

  -- Who wants a longer lease than the mark tells of makes a mark of it, as the first one does.
  local function holder_raises(s, t, emit, j)
    if s[LONG] == 2 then
      copy(t, s)
      t[LONG] = 1
      emit('holder: commits the mark of longer leases', j)
      copy(t, s)
      t[LONG] = 0
      emit('pg: the mark of longer leases is rolled back')
    elseif s[LONG] == 0 and (m.raise_at_once or not locked(s)) then
      copy(t, s)
      t[LONG] = 2
      if not m.raise_no_turn then turn(t) end
      if m.raise_known and t[SEQ] == 0 then t[SEQ], t[UNK] = 1, 0 end
      emit('holder: locks the table, marks longer leases and turns it', j)
    end
  end

  -- Who makes the hash has to know how long leases of a lost one may be, under this very epoch.
  local function holder_makes(s, t)
    if not config.long then
      create(t)
    elseif s[FACT] == 2 or s[EPOCH] == EV then
      create(t, s[FACT] ~= 2 and s[LONG] == 1)
    else
      return false
    end
    return true
  end

  local function holder_learns(s, t, emit, h, j, long)
    local present = s[h + H_NON] == 1
    copy(t, s)
    if s[SEQ] == 0 and not holder_makes(s, t) then return end
    if not m.learn_keeps then
      local flight = t[h + H_M]
      forget_rows(t, h)
      if m.keep_early then t[h + H_M] = flight end
    end
    if not present then t[h + H_LEASE], t[h + H_G], t[h + H_FLY] = 0, 0, 0 end
    t[h + H_NON], t[h + H_SEEN], t[h + H_LONG] = 1, t[SEQ], long
    emit(s[SEQ] == 0 and 'holder: drops all, HOLD makes the hash'
      or present and 'holder: drops all, passes over what it missed'
      or 'holder: drops all, HOLD tells nonce and seq', j)
  end

  -- Everything that HOLD does: it learns, it acks, it leases.
  local function holder_holds(s, t, emit, h, j)
    local ours = s[EPOCH] == EV or s[EPOCH] == EB or m.trust_dump and s[EPOCH] == FOREIGN
    if s[DOWN] == 1 or not ours then return end
    if config.unmarked and s[MARK] ~= 1 then
      if s[MARK] == 2 then
        copy(t, s)
        t[MARK] = 1
        emit('holder: commits the mark', j)
        copy(t, s)
        t[MARK] = 0
        emit('pg: the mark is rolled back')
      elseif m.mark_at_once or not locked(s) then
        copy(t, s)
        t[MARK] = 2
        if not m.mark_no_turn then turn(t) end
        if t[SEQ] == 0 then t[SEQ], t[UNK] = 1, 0 end -- nobody can have had a lease
        emit('holder: locks the table, marks and turns it', j)
      end
      return
    end
    if config.long and (not config.old or m.long_beside_old) then holder_raises(s, t, emit, j) end
    local present, seen, reg = s[h + H_NON] == 1, s[h + H_SEEN], s[h + H_REG]
    if present and s[SEQ] > 0 and (seen == s[SEQ] or m.grant_behind) then
      copy(t, s)
      holder_leased(t, h)
      if m.grant_behind then t[h + H_REG] = seen end
      tell_acked(t, reg, t[h + H_REG])
      emit('holder: HOLD is granted', j)
    end
    if present and reg ~= 0 and reg < seen then
      copy(t, s)
      t[h + H_REG] = seen
      tell_acked(t, reg, seen)
      emit(seen < s[SEQ] and 'holder: acks, and is behind'
        or 'holder: acks, with no lease for it', j)
    end
    -- its name tells how long its leases are
    local named = present or reg ~= 0
    if not present or seen < s[SEQ] then
      holder_learns(s, t, emit, h, j, named and s[h + H_LONG] or 0)
      local long = s[LONG] == 1 or m.long_early and s[LONG] == 2 or m.long_unmarked
      if config.long and long and not named then holder_learns(s, t, emit, h, j, 1) end
    end
  end

  local function holder_hears(s, t, emit, h, j)
    local n = s[h + H_SEEN] + 1
    if s[h + H_NON] == 1 and s[h + H_EAR] == 1 and n <= s[SEQ] then
      copy(t, s)
      t[h + H_SEEN] = n
      if not m.keep_flight then t[h + H_M] = 0 end
      local concerns = band(s[KINDS], lshift(1, n)) ~= 0
      if concerns and m.ack_first then
        t[h + H_PEND] = 1
      elseif concerns then
        t[h + H_L1] = 0
      end
      emit(concerns and 'holder: hears of the row, drops it' or 'holder: hears of another row', j)
    end
    if s[h + H_PEND] == 1 then
      copy(t, s)
      forget_rows(t, h)
      emit('holder: drops the row at last', j)
    end
    if config.deaf and s[h + H_EAR] == 1 then
      copy(t, s)
      t[h + H_EAR] = 0
      emit('holder: loses its ear', j)
    end
    if s[h + H_EAR] == 0 and (s[h + H_NON] ~= 1 or s[h + H_SEEN] == s[SEQ] or m.gap) then
      copy(t, s)
      t[h + H_EAR] = 1
      if s[h + H_NON] == 1 then t[h + H_SEEN] = s[SEQ] end
      emit('holder: hears again', j)
    end
  end

  local function holder_reads(s, t, emit, h, j)
    local may = s[h + H_NON] ~= 0 or m.keep_early
    if may and s[EPOCH] == EV and s[DOWN] == 0 and s[KEY] == V and s[h + H_M] == 0 then
      copy(t, s)
      t[h + H_M] = 1 + s[KVER]
      emit('holder: MGET hits, its reply is on its way', j)
    end
    if s[h + H_M] ~= 0 and s[h + H_NON] ~= 0 then
      copy(t, s)
      t[h + H_L1], t[h + H_M] = s[h + H_M], 0
      emit('holder: the reply comes, and is kept', j)
    end
    if s[h + H_L1] ~= 0 and (s[h + H_LEASE] == 1 or m.serve_lapsed) then
      local version = s[h + H_L1] - 1
      local bad = stale(s, version)
      if bad or version > s[ACKED] then
        copy(t, s)
        saw(t, version)
        emit('holder: serves the row from its memory', j, bad)
      end
    end
  end

  local function holder_is_leased(s, t, emit, h, j)
    if s[h + H_FLY] == 1 then
      copy(t, s)
      t[h + H_LEASE], t[h + H_G], t[h + H_FLY], t[h + H_FLYG] = 1, s[h + H_FLYG], 0, 0
      if m.lease_from_answer then t[h + H_G] = 0 end
      emit('holder: the lease comes', j)
      copy(t, s)
      t[h + H_FLY], t[h + H_FLYG] = 0, 0
      emit('holder: the lease comes too late', j)
    end
    if s[h + H_LEASE] == 1 and not config.fair then
      copy(t, s)
      t[h + H_LEASE], t[h + H_G] = 0, 0
      emit('holder: its lease runs out', j)
    end
  end

  local function holder_is_late(s, t, emit, h, j)
    if config.late and s[h + H_NON] == 1 and s[h + H_LATE] == 0 then
      copy(t, s)
      t[h + H_LATE] = s[h + H_SEEN]
      emit('holder: HOLD is sent, its connection is lost', j)
    end
    if s[h + H_LATE] ~= 0 and s[DOWN] == 0 and (s[EPOCH] == EV or s[EPOCH] == EB) then
      copy(t, s)
      local late, reg = s[h + H_LATE], s[h + H_REG]
      if late == s[SEQ] or reg ~= 0 and reg < late then
        t[h + H_REG] = late
        if late > reg then tell_acked(t, reg, late) end
      end
      t[h + H_LATE] = 0
      emit('redis: a late HOLD, or ack, arrives', j)
    end
  end

  local function holder_leaves(s, t, emit, h, j)
    if config.leave and s[h + H_NON] ~= 0 and s[DOWN] == 0 then
      copy(t, s)
      local ear = s[h + H_EAR]
      ffi.fill(t + h, HOLDER)
      t[h + H_EAR] = ear
      emit('holder: drops all, LEAVE', j)
      copy(t, s)
      forget_rows(t, h)
      t[h + H_LEASE], t[h + H_G], t[h + H_NON], t[h + H_SEEN] = 0, 0, 0, 0
      t[h + H_FLY], t[h + H_FLYG], t[h + H_LATE] = 0, 0, 0
      if not m.same_id then t[h + H_LONG] = 0 end
      if m.same_id then
        t[h + H_PEND] = 2
      elseif s[h + H_REG] ~= 0 then
        t[h + H_REG], t[GHOST] = 0, 1
      end
      emit('holder: drops all, LEAVE is late', j)
    end
    if s[h + H_PEND] == 2 then
      copy(t, s)
      t[h + H_PEND], t[h + H_REG] = 0, 0
      emit('redis: a late LEAVE arrives', j)
    end
  end

  local function holder_crashes(s, t, emit, h, j)
    if config.crash and not (same and j == 1)
      and (s[h + H_NON] ~= 0 or s[h + H_REG] ~= 0 or s[h + H_EAR] ~= 0) then
      copy(t, s)
      holder_dies(t, h)
      emit('holder: dies', j)
    end
  end

  c.holder = { holder_holds, holder_hears, holder_reads, holder_is_leased, holder_is_late,
    holder_leaves, holder_crashes }
end
