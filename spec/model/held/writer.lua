--- Writers: through Stores, of unnamed rows, by bypass, outside of Stores. Of held.lua.

local layout = require 'spec.model.held.layout'

local EPOCH, KEY, CUR, WIN, SEQ = layout.EPOCH, layout.KEY, layout.CUR, layout.WIN, layout.SEQ
local DOWN, LEFT, MARK, FACT, WORD = layout.DOWN, layout.LEFT, layout.MARK, layout.FACT, layout.WORD
local LONG = layout.LONG
local EV, EB, ABSENT, V, T = layout.EV, layout.EB, layout.ABSENT, layout.V, layout.T
local TPLUS, H_NON, H_L1, H_M = layout.TPLUS, layout.H_NON, layout.H_L1, layout.H_M
local WRITER, W_ROLE, W_VER, W_ENTRY = layout.WRITER, layout.W_ROLE, layout.W_VER, layout.W_ENTRY
local W_WAITED, W_SEQ, W_NON, W_TIMER = layout.W_WAITED, layout.W_SEQ, layout.W_NON, layout.W_TIMER
local W_OPEN, W_PLAIN, W_TOLD, W_LONG = layout.W_OPEN, layout.W_PLAIN, layout.W_TOLD, layout.W_LONG
local W_LEFT, W_IDLE = layout.W_LEFT, layout.W_IDLE
local W_WROTE, W_PLACED, W_WAITS = layout.W_WROTE, layout.W_PLACED, layout.W_WAITS
local W_SENT, W_DONE, W_ACKED = layout.W_SENT, layout.W_DONE, layout.W_ACKED
local W_UNDONE, W_DYING, W_ZOMBIE = layout.W_UNDONE, layout.W_DYING, layout.W_ZOMBIE
local W_OVER, W_LINK, W_TELLS = layout.W_OVER, layout.W_LINK, layout.W_TELLS
local W_NAMES, HOLDS, ROW, BULK = layout.W_NAMES, layout.HOLDS, layout.ROW, layout.BULK
local BYPASS, OUTSIDE = layout.BYPASS, layout.OUTSIDE

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, commits, m, same, roles, H0 = c.config, c.commits, c.m, c.same, c.roles, c.H0
  local W0, W_LAST, copy = c.W0, c.W_LAST, c.copy
  local set_key, saw, finish, over, locked = c.set_key, c.saw, c.finish, c.over, c.locked
  local turn, reset, can_tell, mark, unmark = c.turn, c.reset, c.can_tell, c.mark, c.unmark
  local tell_of, lease_passed, all_acked, evict = c.tell_of, c.lease_passed, c.all_acked, c.evict
  local settle, close_window, takes_effect = c.settle, c.close_window, c.takes_effect
  local holder_dies, reads_long, long_left = c.holder_dies, c.reads_long, c.long_left

  local function writer_begins(s, t, emit, w, i)
    if s[w] ~= W_IDLE then return end
    if commits and s[CUR] > commits then return end
    local free = not locked(s)
    for k = 1, #roles do
      local role = roles[k]
      if role == OUTSIDE and free and s[WIN] == 0 and s[LEFT] == 0 then
        copy(t, s)
        t[w], t[w + W_ROLE] = W_TELLS, role
        takes_effect(t, w)
        emit('writer: writes outside Stores', i)
      elseif role ~= OUTSIDE and free and (role ~= BYPASS or s[WIN] == 0 and s[LEFT] == 0) then
        copy(t, s)
        t[w], t[w + W_ROLE] = role == BYPASS and W_SENT or W_WROTE, role
        if config.unmarked and s[MARK] ~= 1 then
          t[w + W_PLAIN] = 1
        elseif config.long and s[LONG] ~= 1 then
          t[w + W_PLAIN] = 2
        end
        if m.wait_from_send then mark(t, i) end
        emit(role == ROW and 'writer: BEGIN, DML'
          or role == BULK and 'writer: BEGIN, DML of unnamed rows'
          or 'writer: BEGIN, DML, COMMIT sent, Redis is not reached', i)
      end
    end
  end

  -- Does who has no lock know the mark under this very epoch? It makes a hash only then.
  local function knows_mark(s, t, w, turned)
    if turned or s[FACT] ~= 2 and s[EPOCH] ~= EV then return m.goes_by_old_mark end
    t[w + W_PLAIN] = (s[FACT] == 2 or s[LONG] ~= 1) and 2 or 0
    return true
  end

  -- Redis is lost: how long is waited for those who reach it no more, either?
  local function lost_link(s, t, w, i)
    t[w], t[w + W_LONG] = W_LINK, 0
    if reads_long(s, w) and not config.old and not m.absence_short then t[w + W_LONG] = 1 end
    mark(t, i)
  end

  -- INTENT, TURN or INVALIDATE, as the writer's role wants.
  local function writer_tells(s, t, emit, w, i)
    local role, ours = s[w + W_ROLE], s[EPOCH] == EV or s[EPOCH] == EB
    if s[DOWN] == 1 or not can_tell(s) then return end
    copy(t, s)
    local label
    local plain = role <= BULK and s[w + W_PLAIN] == 1
    if config.unmarked and s[EPOCH] == EV and s[MARK] ~= 1 and s[FACT] == 0 then
      t[FACT] = 1
      emit('somebody: sees that the table is not marked', i)
      copy(t, s)
    end
    if role == ROW then
      if not ours then return end -- refused: somebody sets B<new> first
      set_key(t, s[KEY] >= T and TPLUS or T, 0)
      t[w + W_ENTRY] = 1
      label = s[EPOCH] == EB and 'writer: INTENT under B' or 'writer: INTENT'
    elseif role == OUTSIDE and ours then
      if s[KEY] >= T then
        t[KEY] = TPLUS
      else
        set_key(t, ABSENT, 0)
      end
      label = 'writer: INVALIDATE'
    else
      turn(t)
      if not ours and not m.turn_keeps then reset(t) end
      label = ours and 'writer: TURN' or 'writer: TURN where the epoch was lost'
    end
    if role == BULK and m.turn_silent then
      t[w] = W_SENT
      return emit(label, i)
    end
    if plain then
      t[w] = W_SENT
      return emit(label .. ', the table is not marked', i)
    end
    local lockless = role >= BYPASS and t[SEQ] == 0
    if lockless then t[w + W_PLAIN] = 0 end
    if lockless and config.long and knows_mark(s, t, w, t[EPOCH] ~= s[EPOCH]) then
      if m.goes_by_old_mark then t[w + W_PLAIN] = 2 end
    elseif lockless and (config.long or config.unmarked) then
      if t[FACT] == 1 then
        close_window(t, w)
        finish(t, w)
        return emit(label .. ', nobody holds', i)
      end
      mark(t, i)
      t[w] = W_WAITS
      return emit(label .. ', where no hash is', i)
    end
    tell_of(t, w, i, true)
    t[w] = same and i == 1 and W_PLACED or W_WAITS
    if role == BULK and m.turn_no_wait then t[w] = W_SENT end
    if role == OUTSIDE and m.invalidate_early or role == BYPASS and m.bypass_no_wait then
      close_window(t, w)
      finish(t, w)
    end
    emit(label, i)
  end

  -- The answer of INTENT has come to a process that is a holder, too: it need not wait for itself.
  local function writer_answered(s, t, emit, w, i)
    copy(t, s)
    t[w] = W_WAITS
    if not m.own_keeps then t[H0 + H_L1] = 0 end
    if not m.own_keeps and not m.own_flight then t[H0 + H_M] = 0 end
    emit('writer: hears the answer, drops its own row', i)
  end

  local function writer_waited(t, w, i, timer)
    unmark(t, i)
    t[w + W_TIMER], t[w + W_TOLD], t[w + W_LONG], t[w + W_LEFT] = timer, 0, 0, 0
    if timer == 0 then t[w + W_SEQ], t[w + W_NON] = 0, 0 end
    local role = t[w + W_ROLE]
    if role == OUTSIDE or role == BYPASS then
      close_window(t, w)
      local seq, non = t[w + W_SEQ], t[w + W_NON]
      finish(t, w)
      if timer == 1 then -- it may still evict
        t[w], t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER] = W_OVER, seq, non, 1
      end
    else
      t[w] = W_SENT
    end
  end

  local function writer_waits(s, t, emit, w, i)
    local tells = s[w + W_ROLE] >= BYPASS
    if all_acked(s, w, i) or m.no_wait then
      copy(t, s)
      writer_waited(t, w, i, 0)
      emit(tells and 'writer: all have acked, it is told'
        or 'writer: all have acked, COMMIT sent', i)
    end
    if s[w + W_TOLD] == 1 or s[WORD] == 1 and s[DOWN] == 0 then
      copy(t, s)
      writer_waited(t, w, i, 0)
      emit(tells and 'writer: hears that all have acked, it is told'
        or 'writer: hears that all have acked, COMMIT sent', i)
    end
    local asks = config.long and tells and s[w + W_NON] == 0 and s[w + W_PLAIN] ~= 3
    if asks then
      copy(t, s)
      t[w + W_PLAIN], t[w + W_LONG] = 3, s[LONG] == 1 and 1 or 0
      emit('writer: asks PostgreSQL how long leases are', i)
    elseif s[DOWN] == 0 and s[w + W_NON] == 1 and (s[EPOCH] == EV or s[EPOCH] == EB)
      and s[w + W_LONG] ~= long_left(s, w, i) then
      copy(t, s)
      t[w + W_LONG] = long_left(s, w, i)
      emit('writer: asks, and hears who is left', i)
    end
    if config.unmarked and tells and s[w + W_NON] == 0 and s[MARK] ~= 1 then
      copy(t, s)
      writer_waited(t, w, i, 0)
      emit('writer: asks PostgreSQL, and there is no mark', i)
    end
    if lease_passed(s, w, i) and not asks then
      copy(t, s)
      writer_waited(t, w, i, s[w + W_SEQ] > 0 and 1 or 0)
      emit(tells and 'writer: LEASE has passed, it is told'
        or 'writer: LEASE has passed, COMMIT sent', i)
    end
    if m.evict_early and s[DOWN] == 0 then
      copy(t, s)
      evict(t, w)
      emit('writer: evicts too early', i)
    end
  end

  local function writer_before_commit(s, t, emit, w, i)
    local pc = s[w]
    if pc == W_WROTE then
      writer_tells(s, t, emit, w, i)
      if s[DOWN] == 1 then
        copy(t, s)
        if m.bypass_at_once then
          t[w], t[w + W_ROLE] = W_SENT, BYPASS
        else
          lost_link(s, t, w, i)
        end
        emit('writer: Redis is lost', i)
      end
    elseif pc == W_LINK then
      if s[DOWN] == 0 and s[w + W_ENTRY] == 0 then
        copy(t, s)
        unmark(t, i)
        t[w], t[w + W_OPEN], t[w + W_LONG] = W_WROTE, 0, 0
        emit('writer: reaches Redis again, before it committed', i)
      end
      local other = s[LEFT] == 1 or s[WIN] == 1
      for o = W0, W_LAST, WRITER do other = other or o ~= w and s[o + W_OPEN] ~= 0 end
      if lease_passed(s, w, i) and not other then
        copy(t, s)
        unmark(t, i)
        t[w], t[w + W_ROLE], t[w + W_LONG] = W_SENT, BYPASS, 0
        emit('writer: LEASE has passed since Redis was lost, COMMIT sent', i)
      end
    elseif pc == W_PLACED then
      writer_answered(s, t, emit, w, i)
    elseif pc == W_WAITS then
      writer_waits(s, t, emit, w, i)
      if s[DOWN] == 1 and s[w + W_ROLE] == ROW then
        copy(t, s)
        t[w + W_SEQ], t[w + W_NON], t[w + W_TOLD], t[w + W_LEFT] = 0, 0, 0, 0
        lost_link(s, t, w, i)
        emit('writer: Redis is lost, INTENT was not answered', i)
      end
    elseif pc == W_SENT then
      copy(t, s)
      takes_effect(t, w)
      t[w] = W_DONE
      emit('writer: COMMIT takes effect', i)
    end
    if config.rollback and (pc == W_WROTE or pc == W_WAITS or pc == W_SENT or pc == W_LINK)
      and s[w + W_ROLE] <= BULK then
      copy(t, s)
      unmark(t, i)
      t[w], t[w + W_WAITED], t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER] = W_UNDONE, 0, 0, 0, 0
      t[w + W_OPEN], t[w + W_TOLD], t[w + W_LONG], t[w + W_LEFT] = 0, 0, 0, 0
      if s[w + W_ENTRY] == 0 then finish(t, w) end
      emit(pc == W_SENT and 'writer: COMMIT answers ROLLBACK' or 'writer: ROLLBACK', i)
    end
  end

  local function writer_after_commit(s, t, emit, w, i)
    local pc, role, up = s[w], s[w + W_ROLE], s[DOWN] == 0
    if pc == W_DONE then
      copy(t, s)
      saw(t, s[w + W_VER])
      if role == BYPASS then
        t[w], t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER] = W_TELLS, 0, 0, 0
      elseif s[w + W_ENTRY] == 0 then
        finish(t, w)
      else
        t[w] = W_ACKED
      end
      emit('writer: answers its caller', i)
      if m.keep_written and i == 1 and s[H0 + H_NON] == 1 then
        t[H0 + H_L1] = 1 + s[w + W_VER]
        emit('writer: answers its caller, keeps the row itself', i)
      end
    elseif pc == W_TELLS then
      writer_tells(s, t, emit, w, i)
    elseif pc == W_ACKED and up then
      copy(t, s)
      settle(t, w, true)
      finish(t, w)
      emit(t[KEY] == V and 'writer: SETTLE publishes' or 'writer: SETTLE', i)
    elseif pc == W_UNDONE and up then
      copy(t, s)
      settle(t, w, false)
      finish(t, w)
      emit('writer: SETTLE after ROLLBACK', i)
    elseif pc == W_DYING then
      copy(t, s)
      over(t, w)
      emit('pg: aborts the dead writer', i)
    elseif pc == W_ZOMBIE then
      copy(t, s)
      takes_effect(t, w)
      over(t, w)
      emit('pg: late COMMIT of a dead writer', i)
      copy(t, s)
      over(t, w)
      emit('pg: COMMIT of the dead writer never arrived', i)
    elseif pc == W_OVER and s[w + W_ENTRY] == 0 then
      copy(t, s)
      finish(t, w)
      emit('writer: is idle again', i)
    end
    if s[w + W_TIMER] == 1 and up then
      copy(t, s)
      evict(t, w)
      t[w + W_TIMER], t[w + W_SEQ], t[w + W_NON] = 0, 0, 0
      emit('writer: EVICT', i)
    end
  end

  local function writer_dies(s, t, emit, w, i)
    local pc = s[w]
    if pc == W_IDLE or pc == W_DYING or pc == W_ZOMBIE or pc == W_OVER then return end
    copy(t, s)
    unmark(t, i)
    t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER], t[w + W_TOLD] = 0, 0, 0, 0
    t[w + W_LONG], t[w + W_LEFT] = 0, 0
    if HOLDS[pc] and pc ~= W_SENT then
      t[w] = W_DYING
    elseif pc == W_SENT then
      t[w] = W_ZOMBIE
    else
      over(t, w)
    end
    if same and i == 1 then holder_dies(t, H0) end
    emit('writer: dies, ' .. W_NAMES[pc], i)
  end

  c.writer_begins, c.writer_before_commit = writer_begins, writer_before_commit
  c.writer_after_commit, c.writer_dies = writer_after_commit, writer_dies
end
