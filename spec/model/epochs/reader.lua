--- Readers of epochs.lua: a look at the key, a lease, a SELECT and a FILL.

local ffi = require 'ffi'
local layout = require 'spec.model.epochs.layout'

local EPOCH, ENUM, CUR, NONE, EV = layout.EPOCH, layout.ENUM, layout.CUR, layout.NONE, layout.EV
local EB, ABSENT, V, L, R_E = layout.EB, layout.ABSENT, layout.V, layout.L, layout.R_E
local R_RES, R_TOKEN, R_IDLE = layout.R_RES, layout.R_TOKEN, layout.R_IDLE
local R_MISSED, R_LEASED, R_SELECTED = layout.R_MISSED, layout.R_LEASED, layout.R_SELECTED
local READER, R_NAMES = layout.READER, layout.R_NAMES

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, m, size, STATE, VER, FOREIGN = c.config, c.m, c.size, c.STATE, c.VER, c.FOREIGN
  local counts, together, set_row, saw, stale = c.counts, c.together, c.set_row, c.saw, c.stale

  local function reads_pg(s, t, emit, r, who, label)
    ffi.copy(t, s, size)
    saw(t, s[CUR])
    ffi.fill(t + r, READER)
    emit(label, who)
  end

  local function hits(s, t, emit, r, who, e, label)
    ffi.copy(t, s, size)
    saw(t, s[VER + e])
    if not m.hit_alone then ffi.fill(t + r, READER) end
    emit(label, who, stale(s, e))
  end

  -- May LEASE and FILL work under this epoch?
  local function open(s, e)
    return s[ENUM] == e and (s[EPOCH] == EV or m.lease_turning and s[EPOCH] == EB)
  end

  local function reader_looks(s, t, emit, r, who)
    local e = s[ENUM]
    if m.hit_alone then -- GET of the row only, under the epoch that was learnt once
      e = s[r + R_E]
      if e == 0 then
        if not (counts(s) and s[EPOCH] == EV) then return end
        ffi.copy(t, s, size)
        t[r + R_E] = s[ENUM]
        return emit('reader: learns the epoch', who)
      end
    elseif not counts(s) then
      return reads_pg(s, t, emit, r, who, s[EPOCH] == NONE
        and 'reader: MGET finds no epoch, SELECT without FILL'
        or 'reader: MGET finds an epoch of another server, SELECT without FILL')
    elseif not together(s, e) then
      return reads_pg(s, t, emit, r, who, 'reader: the slot moves, SELECT without FILL')
    elseif not open(s, e) then
      return reads_pg(s, t, emit, r, who, 'reader: MGET finds B, SELECT without FILL')
    end
    local row = s[STATE + e]
    if row == V and (s[EPOCH] == EV or m.hit_alone) then
      hits(s, t, emit, r, who, e, m.hit_alone and 'reader: GET hits' or 'reader: MGET hits')
    elseif row == ABSENT then
      ffi.copy(t, s, size)
      t[r], t[r + R_E] = R_MISSED, e
      emit('reader: MGET finds nothing', who)
    else
      reads_pg(s, t, emit, r, who, row == L and 'reader: MGET finds a lease, SELECT without FILL'
        or 'reader: MGET finds T, SELECT without FILL')
    end
  end

  local function reader_leases(s, t, emit, r, who)
    local e = s[r + R_E]
    local row = s[STATE + e]
    if not open(s, e) or not together(s, e) or s[FOREIGN + e] == 1 and not m.old_belief then
      reads_pg(s, t, emit, r, who, 'reader: LEASE is refused, SELECT without FILL')
    elseif row == V then
      hits(s, t, emit, r, who, e, 'reader: LEASE finds it cached')
    elseif row == ABSENT then
      ffi.copy(t, s, size)
      set_row(t, e, L, 0)
      t[r], t[r + R_TOKEN] = R_LEASED, 1
      emit('reader: LEASE', who)
    else
      reads_pg(s, t, emit, r, who, 'reader: LEASE finds it taken, SELECT without FILL')
    end
  end

  local function reader(s, t, emit, r, who)
    local pc, e = s[r], s[r + R_E]
    if pc == R_IDLE then
      reader_looks(s, t, emit, r, who)
    elseif pc == R_MISSED then
      reader_leases(s, t, emit, r, who)
    elseif pc == R_LEASED then
      ffi.copy(t, s, size)
      t[r], t[r + R_RES] = R_SELECTED, s[CUR]
      saw(t, s[CUR])
      emit('reader: SELECT, answers its caller', who)
    else
      ffi.copy(t, s, size)
      local fills = open(s, e) and together(s, e) and s[r + R_TOKEN] == 1
      if fills then set_row(t, e, V, s[r + R_RES]) end
      ffi.fill(t + r, READER)
      if m.hit_alone then t[r + R_E] = e end
      emit(fills and 'reader: FILL' or 'reader: FILL is refused', who)
    end
    if config.crash and pc ~= R_IDLE then
      ffi.copy(t, s, size)
      ffi.fill(t + r, READER)
      emit('reader: dies, ' .. R_NAMES[pc], who)
    end
  end

  c.reader = reader
end
