--- What the moves of everybody are made of: the key, the epoch, the hash, versions. Of held.lua.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.held.layout'

local band, bor, bnot, lshift = bit.band, bit.bor, bit.bnot, bit.lshift
local EPOCH, KEY, KVER, CUR, ACKED = layout.EPOCH, layout.KEY, layout.KVER, layout.CUR, layout.ACKED
local WIN, SEQ, UNK, GHOST, KINDS = layout.WIN, layout.SEQ, layout.UNK, layout.GHOST, layout.KINDS
local DOWN, LEFT, D_SAME, MARK = layout.DOWN, layout.LEFT, layout.D_SAME, layout.MARK
local LONG, FACT, WORD, EV, EB = layout.LONG, layout.FACT, layout.WORD, layout.EV, layout.EB
local ABSENT = layout.ABSENT
local V, L, T, TPLUS, HOLDER = layout.V, layout.L, layout.T, layout.TPLUS, layout.HOLDER
local H_NON, H_REG, H_SEEN, H_L1 = layout.H_NON, layout.H_REG, layout.H_SEEN, layout.H_L1
local H_M, H_LEASE, H_G, H_FLY = layout.H_M, layout.H_LEASE, layout.H_G, layout.H_FLY
local H_FLYG, H_PEND, H_LATE, H_LONG = layout.H_FLYG, layout.H_PEND, layout.H_LATE, layout.H_LONG
local WRITER, W_ROLE, W_VER, W_ENTRY = layout.WRITER, layout.W_ROLE, layout.W_VER, layout.W_ENTRY
local W_WAITED, W_SEQ, W_NON, W_OPEN = layout.W_WAITED, layout.W_SEQ, layout.W_NON, layout.W_OPEN
local W_PLAIN, W_TOLD, W_LONG, W_OVER = layout.W_PLAIN, layout.W_TOLD, layout.W_LONG, layout.W_OVER
local W_LEFT = layout.W_LEFT
local HOLDS, BYPASS = layout.HOLDS, layout.BYPASS
local READER, R_VER, R_TOKEN = layout.READER, layout.R_VER, layout.R_TOKEN

--- Adds them to what the parts of a model have in common.
---@param c table
return function(c)
  local config, holders, commits, lag, m, same = c.config, c.holders, c.commits, c.lag, c.m, c.same
  local H0, W0, R0, H_LAST, W_LAST, R_LAST = c.H0, c.W0, c.R0, c.H_LAST, c.W_LAST, c.R_LAST
  local size = c.size

  -- No function is made within a step: where one is, LuaJIT compiles nothing around it.
  local function copy(t, s) ffi.copy(t, s, size) end

  local function drop_tokens(t)
    for r = R0, R_LAST, READER do t[r + R_TOKEN] = 0 end
  end

  local function set_key(t, state, version)
    if t[KEY] == L and state ~= L then drop_tokens(t) end
    t[KEY], t[KVER] = state, version
  end

  local function saw(t, version)
    if t[WIN] == 1 and version == t[CUR] then
      if not commits then return end
      version = version - 1
    end
    if version > t[ACKED] then t[ACKED] = version end
  end

  local function stale(s, version)
    return version < s[ACKED]
      and 'a read returned a version older than one acknowledged, or read, before it began' or nil
  end

  local function finish(t, w) ffi.fill(t + w, WRITER) end

  local function over(t, w)
    if t[w + W_OPEN] == 2 then t[LEFT] = 1 end
    local entry = t[w + W_ENTRY]
    finish(t, w)
    if entry == 1 then t[w], t[w + W_ENTRY] = W_OVER, 1 end
  end

  local function locked(s)
    if s[MARK] == 2 and not m.mark_at_once then return true end
    if s[LONG] == 2 and not m.raise_at_once then return true end
    for w = W0, W_LAST, WRITER do
      if HOLDS[s[w]] then return true end
    end
    return false
  end

  -- The keys of the epoch that was are dead, and so are the entries in them.
  local function leave_epoch(t, state)
    t[EPOCH] = state
    if not m.old_fact and not (m.old_short and t[FACT] == 2) then t[FACT] = 0 end
    set_key(t, ABSENT, 0)
    drop_tokens(t)
    for w = W0, W_LAST, WRITER do
      t[w + W_ENTRY] = 0
      if t[w] == W_OVER then finish(t, w) end
    end
  end

  -- B<new>. Who has to be over is looked up at once, which waits for the fewest: all that can
  -- happen after a later look can happen after this one.
  local function turn(t)
    leave_epoch(t, EB)
    for w = W0, W_LAST, WRITER do t[w + W_WAITED] = HOLDS[t[w]] and 1 or 0 end
  end

  local function name_nonce(t, from, to)
    for h = H0, H_LAST, HOLDER do
      if t[h + H_NON] == from then
        t[h + H_NON] = to
        if to == 3 then t[h + H_SEEN] = 0 end
      end
    end
    for w = W0, W_LAST, WRITER do
      if t[w + W_NON] == from then
        t[w + W_NON] = to
        if to == 3 then t[w + W_SEQ] = 0 end
      end
    end
  end

  -- The hash is gone.
  local function reset(t)
    if t[SEQ] == 0 then return end
    name_nonce(t, 1, t[D_SAME] == 1 and 2 or 3)
    for h = H0, H_LAST, HOLDER do t[h + H_REG], t[h + H_LATE] = 0, 0 end
    t[SEQ], t[UNK], t[GHOST], t[KINDS], t[D_SAME] = 0, 0, 0, 0, 0
  end

  -- long: holders that nobody knows of may have longer leases.
  local function create(t, long)
    t[SEQ], t[UNK] = 1, m.no_unknown and 0 or long and not m.unknown_short and 2 or 1
    if m.no_nonce then name_nonce(t, 3, 1) end -- nobody can tell it from the one before
  end

  -- Can one more message be sent, so that nobody is too far behind?
  local function can_tell(s) return s[SEQ] <= lag end

  local function nobody_held(t)
    if t[UNK] ~= 0 or t[GHOST] == 1 then return false end
    for h = H0, H_LAST, HOLDER do if t[h + H_REG] ~= 0 then return false end end
    return true
  end

  local function tell(t, concerns, long)
    if t[SEQ] == 0 then return create(t, long) end
    if m.uncounted and nobody_held(t) then return end
    t[SEQ] = t[SEQ] + 1
    if concerns and not m.message_lost then t[KINDS] = bor(t[KINDS], lshift(1, t[SEQ])) end
  end

  -- From here on LEASE is waited for: which leases end before that?
  local function mark(t, i)
    local b = lshift(1, i - 1)
    for h = H0, H_LAST, HOLDER do
      t[h + H_G] = t[h + H_LEASE] == 1 and bor(t[h + H_G], b) or band(t[h + H_G], bnot(b))
      t[h + H_FLYG] = t[h + H_FLY] == 1 and bor(t[h + H_FLYG], b) or band(t[h + H_FLYG], bnot(b))
    end
  end

  local function unmark(t, i)
    local b = bnot(lshift(1, i - 1))
    for h = H0, H_LAST, HOLDER do
      t[h + H_G], t[h + H_FLYG] = band(t[h + H_G], b), band(t[h + H_FLYG], b)
    end
  end

  -- Does the mark tell of longer leases, as a writer has read it under its lock?
  local function reads_long(t, w) return config.long and t[w + W_PLAIN] ~= 2 end

  -- Has one of those who have not acked the writer's message a longer lease?
  local function long_left(s, w, i)
    if config.old or m.wait_own then return 0 end
    local long, short = s[UNK] == 2, s[UNK] == 1 or s[GHOST] == 1
    for j = 1, holders do
      local h = H0 + (j - 1) * HOLDER
      if s[h + H_REG] ~= 0 and s[h + H_REG] < s[w + W_SEQ] and not (same and i == 1 and j == 1) then
        if s[h + H_LONG] == 1 then long = true else short = true end
      end
    end
    return long and not (m.wait_least and short) and 1 or 0
  end

  -- How many have not acked a writer's message: the hash counts that, and anew with each message.
  -- It counts a few messages; in the model, the newest alone.
  local function count_left(t, w)
    local left = (t[UNK] ~= 0 and not m.count_known and 1 or 0) + t[GHOST]
    for h = H0, H_LAST, HOLDER do
      if t[h + H_REG] ~= 0 and t[h + H_REG] < t[w + W_SEQ] then left = left + 1 end
    end
    return left
  end

  local function tell_of(t, w, i, concerns)
    tell(t, concerns, reads_long(t, w) and not config.old)
    t[w + W_SEQ], t[w + W_NON], t[w + W_TOLD] = t[SEQ], 1, 0
    t[w + W_LONG] = long_left(t, w, i)
    for o = W0, W_LAST, WRITER do
      local counted = t[o + W_NON] == 1 and (o == w or not config.few)
      t[o + W_LEFT] = counted and count_left(t, o) or 0
    end
    if not m.wait_from_send then mark(t, i) end
  end

  -- Whoever waits as long as a shorter lease knows nothing of the longer ones.
  local function lease_passed(s, w, i)
    if config.fair then return false end
    local b, long = lshift(1, i - 1), s[w + W_LONG] == 1
    for h = H0, H_LAST, HOLDER do
      if long or s[h + H_LONG] == 0 then
        if s[h + H_LEASE] == 1 and band(s[h + H_G], b) ~= 0 then return false end
        if s[h + H_FLY] == 1 and band(s[h + H_FLYG], b) ~= 0 and not m.lease_from_answer then
          return false
        end
      end
    end
    return true
  end

  -- What the writer's question gives: has everybody who was there acked its message, or left?
  local function all_acked(s, w, i)
    if s[DOWN] == 1 then return m.unasked_is_acked end
    if s[EPOCH] ~= EV and s[EPOCH] ~= EB and not m.asks_dump then return false end
    if s[w + W_NON] ~= 1 then return m.lost_is_acked end
    if s[UNK] ~= 0 or s[GHOST] == 1 then return false end
    for j = 1, holders do
      local reg = s[H0 + (j - 1) * HOLDER + H_REG]
      if reg ~= 0 and reg < s[w + W_SEQ] and not (same and i == 1 and j == 1) then return false end
    end
    return true
  end

  -- Whoever acks counts itself out, and says so where it was the last one: who waits for that
  -- message, or an older one, hears it later, or never.
  local function tell_acked(t, before, acked)
    if before == 0 then return end
    local said
    for w = W0, W_LAST, WRITER do
      local seq, left = t[w + W_SEQ], t[w + W_LEFT]
      local counts = before < seq and seq <= acked or m.count_again
      if t[w + W_NON] == 1 and left > 0 and counts then
        t[w + W_LEFT] = left - 1
        if left == 1 or m.word_of_one then said = math.max(said or seq, seq) end
      end
    end
    if not said then return end
    if m.word_of_any then t[WORD] = 1 end
    for w = W0, W_LAST, WRITER do
      local waits = t[w + W_NON] == 1 and (t[w + W_SEQ] <= said or m.word_of_older)
      if waits then t[w + W_TOLD] = 1 end
    end
  end

  local function evict(t, w)
    if t[w + W_NON] == 1 or m.evict_blind then
      local own = same and w == W0 and not m.evict_own and H0 -- its lease may be a longer one
      for h = H0, H_LAST, HOLDER do
        local foreign = t[w + W_NON] ~= 1 -- its number says nothing here
        local goes = t[h + H_REG] < t[w + W_SEQ] or m.evict_acked or foreign
        if goes and h ~= own then t[h + H_REG] = 0 end
      end
      t[UNK], t[GHOST] = 0, 0
    end
  end

  local function settle(t, w, publish)
    if t[w + W_ENTRY] == 0 then return end
    t[w + W_ENTRY] = 0
    local others = 0
    for o = W0, W_LAST, WRITER do others = others + t[o + W_ENTRY] end
    if others > 0 then
      set_key(t, TPLUS, 0)
    elseif publish and t[KEY] == T then
      set_key(t, V, t[w + W_VER])
    else
      set_key(t, ABSENT, 0)
    end
  end

  local function close_window(t, w)
    if t[w + W_OPEN] ~= 1 then return end
    t[WIN], t[ACKED], t[w + W_OPEN] = 0, t[CUR], 0
  end

  local function open_window(t)
    t[WIN] = 1
    if t[ACKED] == t[CUR] then t[ACKED] = commits and t[CUR] - 1 or 0 end
  end

  local function takes_effect(t, w)
    if commits then
      t[CUR] = t[CUR] + 1
    else
      t[KVER], t[ACKED] = 0, 0
      for o = W0, W_LAST, WRITER do t[o + W_VER] = 0 end
      for r = R0, R_LAST, READER do t[r + R_VER] = 0 end
      for h = H0, H_LAST, HOLDER do
        if t[h + H_L1] == 2 then t[h + H_L1] = 1 end
        if t[h + H_M] == 2 then t[h + H_M] = 1 end
      end
    end
    t[WIN], t[LEFT] = 0, 0
    t[w + W_VER], t[w + W_WAITED] = t[CUR], 0
    local role, back = t[w + W_ROLE], t[w + W_OPEN] == 3
    for o = W0, W_LAST, WRITER do t[o + W_OPEN] = 0 end
    if role == BYPASS and t[DOWN] == 1 and not back then
      t[w + W_OPEN] = 2
    elseif role >= BYPASS then
      t[w + W_OPEN] = 1
      open_window(t)
    end
  end

  local function forget_rows(t, h)
    t[h + H_L1], t[h + H_M] = 0, 0
    if t[h + H_PEND] == 1 then t[h + H_PEND] = 0 end
  end

  -- The process in this slot is gone, another begins in it.
  local function holder_dies(t, h)
    local registered = t[h + H_REG] ~= 0
    ffi.fill(t + h, HOLDER)
    if registered then t[GHOST] = 1 end
  end

  c.set_key, c.saw, c.stale, c.finish, c.over, c.locked = set_key, saw, stale, finish, over, locked
  c.leave_epoch, c.turn, c.name_nonce, c.reset = leave_epoch, turn, name_nonce, reset
  c.create, c.can_tell, c.tell, c.mark, c.unmark = create, can_tell, tell, mark, unmark
  c.tell_of, c.lease_passed, c.all_acked = tell_of, lease_passed, all_acked
  c.reads_long, c.long_left = reads_long, long_left
  c.tell_acked, c.evict, c.settle, c.close_window = tell_acked, evict, settle, close_window
  c.open_window, c.takes_effect, c.forget_rows = open_window, takes_effect, forget_rows
  c.copy, c.holder_dies = copy, holder_dies
end
