--- Writers of epochs.lua, from BEGIN to SETTLE.

local ffi = require 'ffi'
local layout = require 'spec.model.epochs.layout'

local EPOCH, ENUM, CUR, WIN, TRIG = layout.EPOCH, layout.ENUM, layout.CUR, layout.WIN, layout.TRIG
local MOVE, NONE, EV, EB, ABSENT = layout.MOVE, layout.NONE, layout.EV, layout.EB, layout.ABSENT
local V, T, TPLUS, W_ROLE, W_E = layout.V, layout.T, layout.TPLUS, layout.W_ROLE, layout.W_E
local W_ENTRY, W_VER, W_WAITED = layout.W_ENTRY, layout.W_VER, layout.W_WAITED
local W_TURNED, W_OPEN, W_WROTE = layout.W_TURNED, layout.W_OPEN, layout.W_WROTE
local W_READY, W_SENT, W_DONE = layout.W_READY, layout.W_SENT, layout.W_DONE
local W_ACKED, W_UNDONE, W_DYING = layout.W_ACKED, layout.W_UNDONE, layout.W_DYING
local W_ZOMBIE, W_OVER, W_EARLY = layout.W_ZOMBIE, layout.W_OVER, layout.W_EARLY
local W_SIGN, W_RUNS, W_PREPARED = layout.W_SIGN, layout.W_RUNS, layout.W_PREPARED
local W_LEFT, ROW, BULK, BYPASS = layout.W_LEFT, layout.ROW, layout.BULK, layout.BYPASS
local OUTSIDE, REACH, ALONE, DEMOTED = layout.OUTSIDE, layout.REACH, layout.ALONE, layout.DEMOTED
local STRANGER, OLDER, W_NAMES, W_IDLE = layout.STRANGER, layout.OLDER, layout.W_NAMES,
  layout.W_IDLE

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, commits, m, roles, size, STATE = c.config, c.commits, c.m, c.roles, c.size, c.STATE
  local copy, close_window, turn, turn_present = c.copy, c.close_window, c.turn, c.turn_present
  local counts, together, set_row, saw, locked = c.counts, c.together, c.set_row, c.saw, c.locked
  local finish, over, takes_effect, settle = c.finish, c.over, c.takes_effect, c.settle

  local function begin(s, t, w, role)
    copy(t, s)
    t[w], t[w + W_ROLE] = W_WROTE, role
  end

  local function writer_begins(s, t, emit, w, who)
    if s[w] ~= W_IDLE then return end
    if m.keeps_epoch and s[w + W_E] == 0 and counts(s) and s[EPOCH] == EV then
      ffi.copy(t, s, size)
      t[w + W_E] = s[ENUM]
      emit('writer: learns the epoch', who)
    end
    local free = not locked(s) and (not commits or s[CUR] <= commits)
    for i = 1, #roles do
      local role = roles[i]
      if role == BULK and m.turn == 'before the statement' then
        ffi.copy(t, s, size)
        turn(t)
        t[w], t[w + W_ROLE] = W_EARLY, role
        emit('writer: sets B<new>, will run its statement', who)
      elseif role == ALONE then
        ffi.copy(t, s, size)
        t[w], t[w + W_ROLE] = W_SIGN, role
        emit('writer: its session takes a sign', who)
      elseif role == REACH then
        if free and s[TRIG] == 1 then
          begin(s, t, w, role)
          emit('writer: BEGIN, DML of another row, a trigger changes this one', who)
          if m.old_facts then
            begin(s, t, w, role)
            t[w + W_TURNED] = 1
            emit('writer: BEGIN, DML of another row, and does not know of the trigger', who)
          end
        end
      elseif free and (role <= BULK or role == STRANGER or role == OLDER or s[WIN] == 0) then
        begin(s, t, w, role)
        if role == OUTSIDE then
          t[w] = W_ACKED
          takes_effect(t, w)
        end
        emit(role == ROW and 'writer: BEGIN, DML'
          or role == BULK and 'writer: BEGIN, DML of unnamed rows'
          or role == BYPASS and 'writer: BEGIN, DML, Redis is not reached'
          or role == DEMOTED and 'writer: BEGIN, DML, is at a demoted Redis'
          or role == STRANGER and 'writer: BEGIN, DML, believes in another server'
          or role == OLDER and 'writer: BEGIN, DML, has its rows under other keys'
          or 'writer: writes outside Stores', who)
      end
    end
  end

  local function writer_before_commit(s, t, emit, w, who)
    local pc, role = s[w], s[w + W_ROLE]
    if pc == W_SIGN then
      copy(t, s)
      turn_present(t)
      t[w] = W_EARLY
      emit('writer: turns the table under its sign', who)
    elseif pc == W_EARLY and role == ALONE then
      copy(t, s)
      finish(t, w)
      emit('writer: its statement fails', who)
    end
    if pc == W_EARLY then
      if locked(s) or commits and s[CUR] > commits then return end
      copy(t, s)
      t[w] = W_SENT
      emit('writer: statement that commits by itself', who)
    elseif pc == W_WROTE and role == ROW then
      local e = s[ENUM]
      if s[MOVE] ~= 0 then
        copy(t, s)
        if not m.no_turn_moving then turn_present(t) end
        t[w] = W_READY
        emit('writer: INTENT is refused, for the slot moves, sets B<new>', who)
      end
      if s[EPOCH] == NONE then return end -- whoever sees that sets B<new>: others()
      if not together(s, e, true) then return end
      copy(t, s)
      if m.intent_old and s[EPOCH] == EB and s[w + W_E] ~= 0 then e = s[w + W_E] end
      set_row(t, e, s[STATE + e] >= T and TPLUS or T, 0)
      t[w], t[w + W_E], t[w + W_ENTRY] = W_READY, e, 1
      t[w + W_TURNED] = s[EPOCH] == EB and not m.publish_turning and 1 or 0
      emit(not counts(s) and 'writer: INTENT under an epoch of another server'
        or s[EPOCH] == EB and 'writer: INTENT under B' or 'writer: INTENT under V', who)
    elseif pc == W_WROTE and (role == BULK or role == REACH and s[w + W_TURNED] == 0
      or role == STRANGER and not m.old_server or role == OLDER and not m.two_layouts)
      and not m.turn and not m.no_reach then
      copy(t, s)
      turn_present(t)
      t[w] = W_READY
      emit(s[EPOCH] == NONE and 'writer: finds no epoch to turn' or 'writer: sets B<new>', who)
    elseif pc == W_WROTE and role == DEMOTED then
      copy(t, s)
      t[w] = W_READY
      emit('writer: INTENT at the demoted Redis', who)
    elseif pc == W_WROTE or pc == W_READY then
      copy(t, s)
      t[w] = W_SENT
      emit('writer: COMMIT sent', who)
    elseif pc == W_SENT then
      copy(t, s)
      takes_effect(t, w)
      t[w] = W_DONE
      emit('writer: COMMIT takes effect', who)
      if role == BYPASS and s[w + W_TURNED] == 0 then
        copy(t, s)
        turn(t)
        t[w + W_TURNED] = 1
        emit('writer: reaches Redis, turns, outcome unknown', who)
      end
    end
    if config.workers and pc == W_SENT and role <= BULK then
      copy(t, s)
      t[w] = W_PREPARED
      if m.coordinator_alone then t[w + W_WAITED] = 0 end
      emit('writer: COMMIT takes effect at the coordinator', who)
    elseif pc == W_PREPARED then
      copy(t, s)
      takes_effect(t, w)
      t[w] = W_DONE
      emit('worker: COMMIT PREPARED', who)
      copy(t, s)
      t[w] = W_LEFT
      emit('writer: answers its caller, who is warned, or dies', who)
    elseif pc == W_LEFT then
      copy(t, s)
      takes_effect(t, w)
      saw(t, t[CUR])
      over(t, w)
      emit('worker: recovers what was prepared', who)
    end
    if role == DEMOTED and (pc == W_READY or pc == W_SENT) and s[w + W_TURNED] == 0
      and not m.no_turn then
      copy(t, s)
      if not m.turn_committed then turn_present(t) end
      t[w + W_TURNED] = 1
      emit('writer: hears of this Redis before COMMIT, turns the table', who)
    end
    if config.rollback and (pc == W_WROTE or pc == W_READY) then
      copy(t, s)
      t[w], t[w + W_WAITED] = W_UNDONE, 0
      if role ~= ROW then finish(t, w) end
      emit('writer: ROLLBACK', who)
    end
  end

  local function writer_after_commit(s, t, emit, w, who)
    local pc, role = s[w], s[w + W_ROLE]
    if pc == W_DONE and role == BULK and m.turn == 'after COMMIT' and s[w + W_TURNED] == 0 then
      copy(t, s)
      turn(t)
      t[w + W_TURNED] = 1
      emit('writer: sets B<new> after COMMIT', who)
    elseif pc == W_DONE and m.no_signs and s[w + W_TURNED] == 0 then
      copy(t, s)
      turn_present(t)
      t[w + W_TURNED] = 1
      emit('writer: turns the table once more', who)
    elseif pc == W_DONE then
      copy(t, s)
      if s[w + W_OPEN] == 0 then saw(t, s[w + W_VER]) end
      t[w] = W_ACKED
      local turned = role == DEMOTED and s[w + W_TURNED] == 1
      if role == BULK or role == REACH or role >= ALONE and role ~= DEMOTED or turned then
        finish(t, w)
      end
      emit('writer: answers its caller', who)
    elseif pc == W_ACKED and role == ROW then
      copy(t, s)
      settle(t, w, s[w + W_TURNED] == 0, true)
      local state = s[w + W_E] == 0 and ABSENT or t[STATE + s[w + W_E]]
      finish(t, w)
      emit(s[w + W_ENTRY] == 0 and 'writer: SETTLE, intent was gone'
        or state >= T and 'writer: SETTLE, others remain'
        or state == V and 'writer: SETTLE publishes'
        or s[w + W_TURNED] == 1 and 'writer: SETTLE deletes, announced under B'
        or 'writer: SETTLE deletes, dirty', who)
    elseif pc == W_ACKED and (role == BYPASS or role == DEMOTED) then
      copy(t, s)
      if m.no_turn then
        close_window(t)
      else
        turn(t)
      end
      finish(t, w)
      emit('writer: reaches Redis, turns the table', who)
    elseif pc == W_ACKED and role == OUTSIDE then
      copy(t, s)
      local e = counts(s) and s[ENUM] or 0
      if m.invalidate_old and s[w + W_E] ~= 0 then e = s[w + W_E] end
      if e ~= 0 and not together(s, e, true) then
        turn_present(t)
      elseif e ~= 0 then
        if s[STATE + e] >= T then
          t[STATE + e] = TPLUS
        else
          set_row(t, e, ABSENT, 0)
        end
      end
      if s[w + W_OPEN] == 1 then close_window(t) end
      finish(t, w)
      emit('writer: INVALIDATE', who)
    elseif pc == W_UNDONE then
      copy(t, s)
      settle(t, w, false, true)
      finish(t, w)
      emit('writer: SETTLE after ROLLBACK', who)
    elseif pc == W_DYING then
      copy(t, s)
      over(t, w)
      emit('pg: aborts the dead writer', who)
    elseif pc == W_RUNS then
      if not locked(s) and not (commits and s[CUR] > commits) then
        copy(t, s)
        t[w] = W_ZOMBIE
        emit('pg: begins the statement of a dead process', who)
      end
      copy(t, s)
      over(t, w)
      emit('pg: the statement of the dead process never arrived', who)
    elseif pc == W_ZOMBIE then
      copy(t, s)
      takes_effect(t, w)
      over(t, w)
      emit('pg: late COMMIT of a dead writer', who)
      copy(t, s)
      over(t, w)
      emit('pg: COMMIT of the dead writer never arrived', who)
    elseif pc == W_OVER and (s[EPOCH] == NONE or s[ENUM] ~= s[w + W_E]) then
      copy(t, s)
      settle(t, w, false, false)
      finish(t, w)
      emit('janitor: unlinks, under a dead epoch, an intent of writer', who)
    end
  end

  local function writer_dies(s, t, emit, w, who)
    local pc = s[w]
    if pc == W_IDLE then return end
    if pc == W_DYING or pc == W_ZOMBIE or pc == W_OVER or pc == W_RUNS then return end
    if pc == W_PREPARED or pc == W_LEFT then return end -- see where it is left
    ffi.copy(t, s, size)
    if pc == W_WROTE or pc == W_READY then
      t[w] = W_DYING
    elseif pc == W_SENT then
      t[w] = W_ZOMBIE
    elseif pc == W_EARLY and s[w + W_ROLE] == ALONE then
      t[w] = W_RUNS
    else
      over(t, w)
    end
    emit('writer: dies, ' .. W_NAMES[pc], who)
  end

  c.writer_begins, c.writer_before_commit = writer_begins, writer_before_commit
  c.writer_after_commit, c.writer_dies = writer_after_commit, writer_dies
end
