--- Writers of rows.lua, from BEGIN to SETTLE, and what of them arrives late.

local ffi = require 'ffi'
local layout = require 'spec.model.rows.layout'

local KEY, KVER, CUR, EX, ACKED = layout.KEY, layout.KVER, layout.CUR, layout.EX, layout.ACKED
local OUT, HOLE, ABSENT, V, L = layout.OUT, layout.HOLE, layout.ABSENT, layout.V, layout.L
local T, W_VER, W_KIND, W_ENTRY = layout.T, layout.W_VER, layout.W_KIND, layout.W_ENTRY
local W_LOST, W_COPY, W_NOPUB, W_LATE = layout.W_LOST, layout.W_COPY, layout.W_NOPUB, layout.W_LATE
local W_IDLE, W_WROTE, W_READY = layout.W_IDLE, layout.W_WROTE, layout.W_READY
local W_SENT, W_DONE, W_ACKED = layout.W_SENT, layout.W_DONE, layout.W_ACKED
local W_UNDONE, W_DYING, W_ZOMBIE = layout.W_UNDONE, layout.W_DYING, layout.W_ZOMBIE
local W_OVER, W_NOROW, W_SAVEPOINT = layout.W_OVER, layout.W_NOROW, layout.W_SAVEPOINT
local W_EMPTY, W_NOROW_READY, W_CLEANED = layout.W_EMPTY, layout.W_NOROW_READY, layout.W_CLEANED
local W_PREPARED, W_LEFT, W_WARNED = layout.W_PREPARED, layout.W_LEFT, layout.W_WARNED
local PHANTOM, W_NAMES = layout.PHANTOM, layout.W_NAMES

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, commits, m, size = c.config, c.commits, c.m, c.size
  local copy, set_key, commit, place, settle = c.copy, c.set_key, c.commit, c.place, c.settle
  local over, locked = c.over, c.locked

  local function takes_effect(t, w, dead)
    local version = commit(t, t[w + W_KIND])
    t[w + W_VER] = version
    if t[OUT] == 1 then t[OUT] = 2 end
    if t[w + W_LOST] == 1 and t[KEY] >= V and t[KEY] <= L then t[HOLE] = dead and 2 or 1 end
    if t[w] == W_WARNED then t[ACKED] = version end
    if dead then
      over(t, w)
    else
      t[w] = W_DONE
    end
  end

  local function writer_begins(s, t, emit, w, who)
    if s[w] ~= W_IDLE then return end
    if s[EX] == 0 and (config.deletes or m.intent_anyway) then -- no row: no lock to wait for
      copy(t, s)
      t[w], t[w + W_VER] = W_NOROW, s[CUR]
      emit('writer: BEGIN, DELETE finds no row', who)
    end
    if locked(s) or commits and s[CUR] > commits then return end
    copy(t, s)
    t[w], t[w + W_KIND] = W_WROTE, 1
    emit(s[EX] == 1 and 'writer: BEGIN, UPDATE' or 'writer: BEGIN, INSERT', who)
    if config.deletes and s[EX] == 1 then
      copy(t, s)
      t[w] = W_WROTE
      emit('writer: BEGIN, DELETE', who)
    end
  end

  local function writer_before_commit(s, t, emit, w, who)
    local pc = s[w]
    if pc == W_WROTE then
      copy(t, s)
      if m.no_intent then
        t[w] = W_SENT
        emit('writer: COMMIT sent', who)
      else
        place(t, w)
        t[w] = W_READY
        emit(s[KEY] == T and 'writer: INTENT, second of its key' or 'writer: INTENT', who)
      end
      if config.again then
        copy(t, s)
        place(t, w)
        t[w], t[w + W_COPY], t[w + W_NOPUB] = W_READY, 1, m.publish_repeated and 0 or 1
        emit('writer: INTENT times out, is sent again', who)
        copy(t, s)
        t[w], t[w + W_COPY] = W_UNDONE, 1
        emit('writer: INTENT times out, ROLLBACK', who)
      end
      if config.savepoint then
        copy(t, s)
        t[w], t[w + W_KIND] = W_SAVEPOINT, 0
        emit('writer: ROLLBACK TO SAVEPOINT', who)
      end
    elseif pc == W_READY then
      copy(t, s)
      t[w] = W_SENT
      emit('writer: COMMIT sent', who)
    elseif pc == W_SAVEPOINT then -- the lock is free; the row is still one that RETURNING gave
      copy(t, s)
      place(t, w)
      t[w], t[w + W_VER], t[w + W_KIND] = W_EMPTY, PHANTOM, 1
      emit('writer: INTENT for what was undone', who)
    elseif pc == W_EMPTY then
      copy(t, s)
      if m.publish_undone then
        t[w] = W_ACKED
      else
        t[w], t[w + W_VER], t[w + W_KIND] = W_UNDONE, 0, 0
      end
      emit('writer: COMMIT of what was undone', who)
    elseif pc == W_NOROW then
      copy(t, s)
      if m.intent_anyway then
        place(t, w)
        t[w] = W_NOROW_READY
        emit('writer: INTENT for no row', who)
      else
        over(t, w)
        emit('writer: COMMIT of no row', who)
      end
    elseif pc == W_NOROW_READY then
      copy(t, s)
      t[w] = W_ACKED
      emit('writer: COMMIT of no row', who)
    end
    if config.rollback and (pc == W_WROTE or pc == W_READY or pc == W_SENT) and not m.no_intent then
      copy(t, s)
      t[w], t[w + W_KIND] = W_UNDONE, 0
      emit(pc == W_SENT and 'writer: COMMIT answers ROLLBACK' or 'writer: ROLLBACK', who)
    end
  end

  local function writer_after_commit(s, t, emit, w, who)
    local pc = s[w]
    if pc == W_SENT then
      copy(t, s)
      takes_effect(t, w, false)
      emit('writer: COMMIT takes effect', who)
    elseif pc == W_DONE and m.clean then
      copy(t, s)
      if m.clean == 'DEL' then
        set_key(t, ABSENT, 0)
      elseif s[KEY] == ABSENT or s[KVER] < s[w + W_VER] then
        set_key(t, V, s[w + W_VER])
      end
      t[w] = W_CLEANED
      emit(m.clean == 'DEL' and 'writer: DEL after COMMIT' or 'writer: SET if newer', who)
    elseif pc == W_DONE or pc == W_CLEANED then
      copy(t, s)
      if s[w + W_VER] > s[ACKED] then t[ACKED] = s[w + W_VER] end
      t[w] = W_ACKED
      if pc == W_CLEANED then over(t, w) end
      emit('writer: answers its caller', who)
    elseif pc == W_ACKED then
      local publish = s[w + W_NOPUB] == 0
      copy(t, s)
      settle(t, w, publish, true)
      over(t, w)
      local label = 'writer: SETTLE, intent was gone'
      if s[w + W_ENTRY] == 1 then
        label = t[KEY] >= T and 'writer: SETTLE, others remain'
          or t[KEY] ~= ABSENT and 'writer: SETTLE publishes'
          or publish and 'writer: SETTLE deletes, dirty'
          or 'writer: SETTLE deletes, INTENT was sent twice'
      end
      emit(label, who)
      if config.again then -- after a time-out: its answer was lost, or it arrives late itself
        copy(t, s)
        settle(t, w, publish, true)
        t[w + W_LATE] = 1
        over(t, w)
        emit('writer: SETTLE is sent twice', who)
      end
    elseif pc == W_UNDONE then
      copy(t, s)
      settle(t, w, false, true)
      over(t, w)
      emit('writer: SETTLE after ROLLBACK', who)
    elseif pc == W_DYING then
      copy(t, s)
      over(t, w)
      emit('pg: aborts the dead writer', who)
    elseif pc == W_ZOMBIE then
      copy(t, s)
      takes_effect(t, w, true)
      emit('pg: late COMMIT of a dead writer', who)
      copy(t, s)
      over(t, w)
      emit('pg: COMMIT of the dead writer never arrived', who)
    end
  end

  local function writer_on_workers(s, t, emit, w, who)
    local pc = s[w]
    if pc == W_SENT then
      copy(t, s)
      t[w] = W_PREPARED
      emit('writer: COMMIT takes effect at the coordinator', who)
      copy(t, s) -- what is on its way to the other server may arrive, or be undone there
      t[w] = W_ZOMBIE
      if m.settle_failed then settle(t, w, false, true) end
      emit('writer: COMMIT fails between the servers', who)
    elseif pc == W_PREPARED then
      copy(t, s)
      takes_effect(t, w, false)
      emit('worker: COMMIT PREPARED', who)
      copy(t, s)
      t[w] = W_WARNED
      if m.settle_warned then
        t[w + W_VER] = PHANTOM
        settle(t, w, not m.no_publish, true)
      end
      emit('writer: answers its caller, who is warned', who)
    elseif pc == W_LEFT or pc == W_WARNED then
      copy(t, s)
      takes_effect(t, w, true)
      emit('worker: recovers what was prepared', who)
    end
  end

  -- "Dies" stands for an unknown outcome too: the writer lives on, but leaves its intent alone.
  local function writer_dies(s, t, emit, w, who)
    local pc = s[w]
    if pc == W_IDLE or pc == W_DYING or pc == W_ZOMBIE or pc == W_OVER then return end
    if pc == W_LEFT or pc == W_WARNED then return end
    ffi.copy(t, s, size)
    if pc == W_PREPARED then
      t[w] = W_LEFT
    elseif pc == W_WROTE or pc == W_READY then
      t[w], t[w + W_KIND] = W_DYING, 0
    elseif pc == W_SENT then
      t[w] = W_ZOMBIE
    else
      if s[w + W_LOST] == 1 and s[HOLE] == 1 then t[HOLE] = 2 end
      over(t, w)
    end
    emit('writer: dies, ' .. W_NAMES[pc], who)
  end

  local function late_intent(s, t, emit, w, who)
    if s[w + W_COPY] == 0 then return end
    for arrives = 0, 1 do
      ffi.copy(t, s, size)
      t[w + W_COPY] = 0
      if arrives == 1 then place(t, w) end
      if s[w] == W_OVER then over(t, w) end
      emit(arrives == 1 and 'redis: a late copy of INTENT arrives, of writer'
        or 'redis: a late copy of INTENT is lost', who)
    end
  end

  local function late_settle(s, t, emit, w, who)
    if s[w + W_LATE] == 0 then return end
    for arrives = 0, 1 do
      ffi.copy(t, s, size)
      t[w + W_LATE] = 0
      if arrives == 1 then settle(t, w, s[w + W_NOPUB] == 0, true) end
      over(t, w)
      emit(arrives == 1 and 'redis: a late copy of SETTLE arrives, of writer'
        or 'redis: a late copy of SETTLE is lost', who)
    end
  end

  c.writer_begins, c.writer_before_commit = writer_begins, writer_before_commit
  c.writer_after_commit, c.writer_on_workers = writer_after_commit, writer_on_workers
  c.writer_dies, c.late_intent, c.late_settle = writer_dies, late_intent, late_settle
end
