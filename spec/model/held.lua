--- Held reads (docs/held.md) as a model for checker.lua: one row of a table that processes hold in
-- their own memory, its key, the table's hash of holders, writers, holders, readers.
--
-- Steps. Each script of Redis is one step, each statement of PostgreSQL is one (its effect), so is
-- the moment when COMMIT takes effect, the moment when its caller hears of it, the moment when a
-- holder hears a message, when the reply to its MGET reaches it, when its lease runs out. Between
-- any two of them anybody else may act, and the process may die.
--
-- Time. No step reads a clock. A holder's lease may run out at any moment ('its lease runs out').
-- What the clocks promise is one thing alone: the step "LEASE has passed" of a writer is possible
-- only when no lease that was granted before its INTENT was executed is still running (a lease ends
-- LEASE after its request was *sent*, the wait ends LEASE after the answer of INTENT *came*); and
-- "?" is taken out LEASE after it was made only when no lease of an older hash is still running.
--
-- Property ("read"): a read returns a version that is at least the newest one acknowledged, or
-- returned by a completed read, before it began. A read from a holder's memory is judged at its
-- instant. Invariant: what a holder may serve, and what the key holds under V, is the latest
-- committed version. The correct protocol is held to both; a mutant counts as caught only when a
-- *read* went wrong.
--
-- Versions are counted with `commits = n`, or known only as the latest or not (any number), as in
-- rows.lua. Sequence numbers are kept relative to each other, so that there may be any number of
-- writes; no holder is more than `lag` messages behind (a writer waits in the model where one would
-- be; in life it does not, and the holder is only farther behind).
--
-- Joined where this makes the property only harder to keep: HOLD is sent and executed at once, and
-- its lease runs from there (`inflight`: from the answer, which may come late; `late`: a HOLD is
-- executed long after it was sent); a holder that learns the hash's nonce and seq may use them at
-- once; an id that a process leaves behind (it died, or left) is GHOST, which nobody acks for.
--
-- The mark (`unmarked`). Whether processes hold rows of a table stands in PostgreSQL. Who makes the
-- mark holds a lock that writers wait for, and turns the table in the same transaction, as DDL
-- does. A writer reads it behind its first write, when its own lock keeps that away: where it is
-- not there INTENT and TURN are the plain ones, which know of no hash. Who has no lock (INVALIDATE,
-- the turn after a bypass) looks for the hash; where there is none it needs to know under this
-- epoch that there is no mark, or asks once it has turned the table.
--
-- Not modelled: several rows, save as messages that do not concern the row (`other`); "no such row"
-- (as V); clocks that do not keep their rate. The epoch's own rules are in epochs.lua: here B ends
-- when all who held a lock when it was set are over.

local ffi = require 'ffi'
local bit = require 'bit'

local band, bor, bnot, lshift, rshift = bit.band, bit.bor, bit.bnot, bit.lshift, bit.rshift

local held = {}

-- Bytes of a state. SEQ: the hash's seq, 0: there is no hash. UNK: it has the field "?". GHOST: it
-- has a field of a process that is no more. KINDS: bit n: message n concerns the row. DOWN: nobody
-- reaches Redis. LEFT: the newest version was committed while Redis was down, by a process that
-- died.
-- DUMP: 1: there is an old dump, with D_SEQ and D_UNK; D_SAME: its nonce is the present one. MARK:
-- PostgreSQL has the mark that the table may be held; 2: its transaction is open. FACT: who has no
-- lock knows, under this epoch, that it has not. WORD (of mutants): a message that says that all
-- have acked is on its way to whoever believes it.
local EPOCH, KEY, KVER, CUR, ACKED, WIN = 0, 1, 2, 3, 4, 5
local SEQ, UNK, GHOST, KINDS, DOWN, LEFT = 6, 7, 8, 9, 10, 11
local DUMP, D_SEQ, D_UNK, D_SAME = 12, 13, 14, 15
local MARK, FACT, WORD = 16, 17, 18
local HEAD = 20
local NONE, EV, EB, FOREIGN = 0, 1, 2, 3
local ABSENT, V, L, T, TPLUS = 0, 1, 2, 3, 4

-- A holder: the nonce that it believes in (0: none, 1: the present hash's, 2: the dump's, 3: of a
-- hash that is no more), its field in the present hash (0: none), the last message that it heard,
-- is its ear connected and has missed nothing, the row in its memory (0, or 1 + version), the reply
-- to an MGET that is on its way and may be kept (the same), has it a lease, which writers' INTENTs
-- came after that (bits); a grant that is on its way, and its bits; what a mutant left undone; its
-- field in the dump; what a HOLD says that was sent on a connection that is lost (0: none).
local HOLDER = 16
local H_NON, H_REG, H_SEEN, H_EAR, H_L1, H_M, H_LEASE, H_G = 0, 1, 2, 3, 4, 5, 6, 7
local H_FLY, H_FLYG, H_PEND, H_DREG, H_LATE = 8, 9, 10, 11, 12

-- A writer: where it is, its role, its version, is its entry in the present key, must a turn wait
-- for it, the number and nonce of its INTENT, may it evict, is its window open (2: will it be once
-- Redis is back; 3: others have reached Redis since this one lost it), did it read, under its lock,
-- that there is no mark, is a message on its way to it that says that all have acked.
local WRITER = 12
local W_ROLE, W_VER, W_ENTRY, W_WAITED, W_SEQ, W_NON, W_TIMER, W_OPEN = 1, 2, 3, 4, 5, 6, 7, 8
local W_PLAIN, W_TOLD = 9, 10
local W_IDLE, W_WROTE, W_PLACED, W_WAITS, W_SENT, W_DONE, W_ACKED, W_UNDONE = 0, 1, 2, 3, 4, 5, 6, 7
local W_DYING, W_ZOMBIE, W_OVER, W_LINK, W_TELLS = 8, 9, 10, 11, 12
local W_NAMES = { [0] = 'idle', 'wrote', 'placed', 'waits', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'Redis is lost', 'has to tell' }
local HOLDS = {} -- where a writer holds the row's lock, and the table's
for _, pc in ipairs { W_WROTE, W_PLACED, W_WAITS, W_SENT, W_DYING, W_ZOMBIE, W_LINK } do
  HOLDS[pc] = true
end
local ROW, BULK, BYPASS, OUTSIDE = 1, 2, 3, 4
local ROLES = { row = ROW, bulk = BULK, bypass = BYPASS, outside = OUTSIDE }
local ROLE_NAMES = { 'row', 'bulk', 'bypass', 'outside' }

local READER = 4
local R_VER, R_TOKEN = 1, 2
local R_IDLE, R_LEASED, R_SELECTED = 0, 1, 2

--- What each mutant changes, and the ingredients in which it shows.
held.mutants = {
  -- the writer's wait
  ['COMMIT without waiting for holders'] = { no_wait = true, needs = {} },
  ['LEASE counted from before INTENT was executed'] = { wait_from_send = true, needs = {} },
  ['a turn that does not wait'] = { turn_no_wait = true, needs = { roles = { 'bulk' } } },
  ['a turn that holders do not hear of'] = { turn_silent = true, needs = { roles = { 'bulk' } } },
  ['INVALIDATE returns before its acks'] = { invalidate_early = true,
    needs = { roles = { 'outside' } } },
  ['a lost hash taken for acks'] = { lost_is_acked = true, needs = { wipe = true } },
  ['who acks says that all have'] = { word_of_one = true, needs = {} },
  ['a word of another hash is believed'] = { word_of_any = true, needs = { wipe = true } },
  ['evict a holder that has acked'] = { evict_acked = true, needs = {} },
  ['evict from another hash than one asked'] = { evict_blind = true, needs = { wipe = true } },
  ['evict before LEASE has passed'] = { evict_early = true, needs = {} },
  ['its own process is not waited for, and keeps the row'] = { own_keeps = true,
    needs = { same = true } },
  ['its own process drops the row, but keeps what is on its way'] = { own_flight = true,
    needs = { same = true } },
  ['keep the value that was written here'] = { keep_written = true, needs = { same = true } },
  -- the holder
  ['serve after the lease ran out'] = { serve_lapsed = true, needs = {} },
  ['the lease counted from the answer'] = { lease_from_answer = true, needs = { inflight = true } },
  ['ack first, drop later'] = { ack_first = true, needs = {} },
  ['keep a reply that was on its way when the message came'] = { keep_flight = true, needs = {} },
  ['keep a reply that was asked for before the hash was learnt'] = { keep_early = true,
    needs = {} },
  ['a lease for who has not heard everything'] = { grant_behind = true, needs = {} },
  ['a gap in the messages is passed over'] = { gap = true, needs = {} },
  ['learn the hash anew and keep the rows'] = { learn_keeps = true, needs = {} },
  ['an id that left is used again'] = { same_id = true, needs = { leave = true } },
  -- the hash
  ['HOLD without the nonce'] = { no_nonce = true, needs = { wipe = true } },
  ['a new hash without "?"'] = { no_unknown = true, needs = { wipe = true } },
  ['"?" taken out at once'] = { unknown_at_once = true, needs = { wipe = true } },
  ['HOLD under the epoch of an old dump'] = { trust_dump = true, needs = { dump = true } },
  ['a new epoch leaves the hash of the old dump'] = { keep_hash = true, needs = { dump = true } },
  ['a turn leaves the hash of the old dump'] = { turn_keeps = true,
    needs = { dump = true, roles = { 'bulk' } } },
  ['acks are looked for in the hash of an old dump'] = { asks_dump = true,
    needs = { dump = true } },
  ['writes are not counted while nobody is in the hash'] = { uncounted = true, needs = {} },
  -- around it
  ['end a turn without the wait'] = { no_turn_wait = true, needs = { wipe = true } },
  ['bypass as soon as Redis is lost'] = { bypass_at_once = true, needs = { down = true } },
  ['COMMIT when Redis is lost while waiting'] = { unasked_is_acked = true,
    needs = { down = true } },
  ['a turn after a bypass that does not wait'] = { bypass_no_wait = true,
    needs = { roles = { 'bypass' } } },
  ['a table taken for unmarked under a later epoch'] = { old_fact = true,
    needs = { unmarked = true, wipe = true, roles = { 'outside' } } },
  ['a mark that does not wait for those who write'] = { mark_at_once = true,
    needs = { unmarked = true } },
  ['a mark without a turn'] = { mark_no_turn = true,
    needs = { unmarked = true, lost = true, roles = { 'outside' } } },
  ['keep a row without hearing of its INTENT'] = { message_lost = true, needs = {} },
}

--- A model. config: writers (two at most), holders, readers (0: a miss is filled in one step),
-- roles, commits (nil: any number), lag, mutant, invariant, and the ingredients
--   crash, evict, rollback
--   wipe, dump        Redis loses its memory, or comes back with an old one
--   admin             deletes the epoch, or the hash
--   blind             anybody turns the table at any time
--   reset             somebody of another timeline sets the epoch
--   unmarked          nobody knows the table: holders mark it in PostgreSQL
--   lost              the hash expires, or is deleted, and the epoch is not
--   other             writes to other rows
--   deaf, late, leave ears are lost; HOLDs arrive late; holders leave, and LEAVE may arrive late
--   down              nobody reaches Redis for a while
--   inflight          the answer to HOLD takes its time
--   same              writer 1 and holder 1 are one process
--   fair              nothing fails, and no clock helps: for states that acks alone do not leave
function held.new(config)
  local writers, holders, readers = config.writers, config.holders, config.readers or 0
  local commits, lag = config.commits, config.lag or 3
  local m = config.mutant and assert(held.mutants[config.mutant], config.mutant) or {}
  local same, inflight = config.same, config.inflight
  local roles = {}
  for i, name in ipairs(config.roles or { 'row' }) do roles[i] = assert(ROLES[name], name) end

  local H0 = HEAD
  local W0 = H0 + HOLDER * holders
  local R0 = W0 + WRITER * writers
  local size = R0 + READER * readers
  local H_LAST, W_LAST, R_LAST = W0 - HOLDER, R0 - WRITER, size - READER
  local model = { size = size }

  -- ---- moves on the state t ---------------------------------------------------------------------

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
    for w = W0, W_LAST, WRITER do
      if HOLDS[s[w]] then return true end
    end
    return false
  end

  -- The keys of the epoch that was are dead, and so are the entries in them.
  local function leave_epoch(t, state)
    t[EPOCH] = state
    if not m.old_fact then t[FACT] = 0 end
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

  local function create(t)
    t[SEQ], t[UNK] = 1, m.no_unknown and 0 or 1
    if m.no_nonce then name_nonce(t, 3, 1) end -- nobody can tell it from the one before
  end

  -- Can one more message be sent, so that nobody is too far behind?
  local function can_tell(s) return s[SEQ] <= lag end

  local function nobody_held(t)
    if t[UNK] == 1 or t[GHOST] == 1 then return false end
    for h = H0, H_LAST, HOLDER do if t[h + H_REG] ~= 0 then return false end end
    return true
  end

  local function tell(t, concerns)
    if t[SEQ] == 0 then return create(t) end
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

  local function tell_of(t, w, i, concerns)
    tell(t, concerns)
    t[w + W_SEQ], t[w + W_NON], t[w + W_TOLD] = t[SEQ], 1, 0
    if not m.wait_from_send then mark(t, i) end
  end

  local function lease_passed(s, i)
    if config.fair then return false end
    local b = lshift(1, i - 1)
    for h = H0, H_LAST, HOLDER do
      if s[h + H_LEASE] == 1 and band(s[h + H_G], b) ~= 0 then return false end
      if s[h + H_FLY] == 1 and band(s[h + H_FLYG], b) ~= 0 and not m.lease_from_answer then
        return false
      end
    end
    return true
  end

  -- What the writer's question gives: has everybody who was there acked its message, or left?
  local function all_acked(s, w, i)
    if s[DOWN] == 1 then return m.unasked_is_acked end
    if s[EPOCH] ~= EV and s[EPOCH] ~= EB and not m.asks_dump then return false end
    if s[w + W_NON] ~= 1 then return m.lost_is_acked end
    if s[UNK] == 1 or s[GHOST] == 1 then return false end
    for j = 1, holders do
      local reg = s[H0 + (j - 1) * HOLDER + H_REG]
      if reg ~= 0 and reg < s[w + W_SEQ] and not (same and i == 1 and j == 1) then return false end
    end
    return true
  end

  -- Whoever acks looks for itself, and says so where it was the last one. Who waits hears that
  -- later, or never.
  local function tell_acked(t, before)
    if before == 0 then return end
    local least = t[SEQ]
    for h = H0, H_LAST, HOLDER do
      if t[h + H_REG] ~= 0 and t[h + H_REG] < least then least = t[h + H_REG] end
    end
    local all = least > before and t[UNK] == 0 and t[GHOST] == 0
    for w = W0, W_LAST, WRITER do
      if t[w + W_NON] == 1 and (all and least >= t[w + W_SEQ] or m.word_of_one) then
        t[w + W_TOLD] = 1
        if m.word_of_any then t[WORD] = 1 end
      end
    end
  end

  local function evict(t, w)
    if t[w + W_NON] == 1 or m.evict_blind then
      for h = H0, H_LAST, HOLDER do
        local foreign = t[w + W_NON] ~= 1 -- its number says nothing here
        if t[h + H_REG] < t[w + W_SEQ] or m.evict_acked or foreign then t[h + H_REG] = 0 end
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

  -- ---- writers ----------------------------------------------------------------------------------

  local function writer_begins(s, t, emit, w, i)
    if commits and s[CUR] > commits then return end
    local free = not locked(s)
    for k = 1, #roles do
      local role = roles[k]
      if role == OUTSIDE and free and s[WIN] == 0 and s[LEFT] == 0 then
        ffi.copy(t, s, size)
        t[w], t[w + W_ROLE] = W_TELLS, role
        takes_effect(t, w)
        emit('writer: writes outside Stores', i)
      elseif role ~= OUTSIDE and free and (role ~= BYPASS or s[WIN] == 0 and s[LEFT] == 0) then
        ffi.copy(t, s, size)
        t[w], t[w + W_ROLE] = role == BYPASS and W_SENT or W_WROTE, role
        if config.unmarked and s[MARK] ~= 1 then t[w + W_PLAIN] = 1 end
        if m.wait_from_send then mark(t, i) end
        emit(role == ROW and 'writer: BEGIN, DML'
          or role == BULK and 'writer: BEGIN, DML of unnamed rows'
          or 'writer: BEGIN, DML, COMMIT sent, Redis is not reached', i)
      end
    end
  end

  -- INTENT, TURN or INVALIDATE, as the writer's role wants.
  local function writer_tells(s, t, emit, w, i)
    local role, ours = s[w + W_ROLE], s[EPOCH] == EV or s[EPOCH] == EB
    if s[DOWN] == 1 or not can_tell(s) then return end
    ffi.copy(t, s, size)
    local label
    local plain = role <= BULK and s[w + W_PLAIN] == 1
    if config.unmarked and s[EPOCH] == EV and s[MARK] ~= 1 and s[FACT] == 0 then
      t[FACT] = 1
      emit('somebody: sees that the table is not marked', i)
      ffi.copy(t, s, size)
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
    if config.unmarked and role >= BYPASS and t[SEQ] == 0 then
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
    ffi.copy(t, s, size)
    t[w] = W_WAITS
    if not m.own_keeps then t[H0 + H_L1] = 0 end
    if not m.own_keeps and not m.own_flight then t[H0 + H_M] = 0 end
    emit('writer: hears the answer, drops its own row', i)
  end

  local function writer_waited(t, w, i, timer)
    unmark(t, i)
    t[w + W_TIMER], t[w + W_TOLD] = timer, 0
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
      ffi.copy(t, s, size)
      writer_waited(t, w, i, 0)
      emit(tells and 'writer: all have acked, it is told'
        or 'writer: all have acked, COMMIT sent', i)
    end
    if s[w + W_TOLD] == 1 or s[WORD] == 1 and s[DOWN] == 0 then
      ffi.copy(t, s, size)
      writer_waited(t, w, i, 0)
      emit(tells and 'writer: hears that all have acked, it is told'
        or 'writer: hears that all have acked, COMMIT sent', i)
    end
    if config.unmarked and tells and s[w + W_NON] == 0 and s[MARK] ~= 1 then
      ffi.copy(t, s, size)
      writer_waited(t, w, i, 0)
      emit('writer: asks PostgreSQL, and there is no mark', i)
    end
    if lease_passed(s, i) then
      ffi.copy(t, s, size)
      writer_waited(t, w, i, s[w + W_SEQ] > 0 and 1 or 0)
      emit(tells and 'writer: LEASE has passed, it is told'
        or 'writer: LEASE has passed, COMMIT sent', i)
    end
    if m.evict_early and s[DOWN] == 0 then
      ffi.copy(t, s, size)
      evict(t, w)
      emit('writer: evicts too early', i)
    end
  end

  local function writer_before_commit(s, t, emit, w, i)
    local pc = s[w]
    local function copy() ffi.copy(t, s, size) end
    if pc == W_WROTE then
      writer_tells(s, t, emit, w, i)
      if s[DOWN] == 1 then
        copy()
        if m.bypass_at_once then
          t[w], t[w + W_ROLE] = W_SENT, BYPASS
        else
          t[w] = W_LINK
          mark(t, i)
        end
        emit('writer: Redis is lost', i)
      end
    elseif pc == W_LINK then
      if s[DOWN] == 0 and s[w + W_ENTRY] == 0 then
        copy()
        unmark(t, i)
        t[w], t[w + W_OPEN] = W_WROTE, 0
        emit('writer: reaches Redis again, before it committed', i)
      end
      local other = s[LEFT] == 1 or s[WIN] == 1
      for o = W0, W_LAST, WRITER do other = other or o ~= w and s[o + W_OPEN] ~= 0 end
      if lease_passed(s, i) and not other then
        copy()
        unmark(t, i)
        t[w], t[w + W_ROLE] = W_SENT, BYPASS
        emit('writer: LEASE has passed since Redis was lost, COMMIT sent', i)
      end
    elseif pc == W_PLACED then
      writer_answered(s, t, emit, w, i)
    elseif pc == W_WAITS then
      writer_waits(s, t, emit, w, i)
      if s[DOWN] == 1 and s[w + W_ROLE] == ROW then
        copy()
        t[w], t[w + W_SEQ], t[w + W_NON], t[w + W_TOLD] = W_LINK, 0, 0, 0
        mark(t, i)
        emit('writer: Redis is lost, INTENT was not answered', i)
      end
    elseif pc == W_SENT then
      copy()
      takes_effect(t, w)
      t[w] = W_DONE
      emit('writer: COMMIT takes effect', i)
    end
    if config.rollback and (pc == W_WROTE or pc == W_WAITS or pc == W_SENT or pc == W_LINK)
      and s[w + W_ROLE] <= BULK then
      copy()
      unmark(t, i)
      t[w], t[w + W_WAITED], t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER] = W_UNDONE, 0, 0, 0, 0
      t[w + W_OPEN], t[w + W_TOLD] = 0, 0
      if s[w + W_ENTRY] == 0 then finish(t, w) end
      emit(pc == W_SENT and 'writer: COMMIT answers ROLLBACK' or 'writer: ROLLBACK', i)
    end
  end

  local function writer_after_commit(s, t, emit, w, i)
    local pc, role, up = s[w], s[w + W_ROLE], s[DOWN] == 0
    local function copy() ffi.copy(t, s, size) end
    if pc == W_DONE then
      copy()
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
      copy()
      settle(t, w, true)
      finish(t, w)
      emit(t[KEY] == V and 'writer: SETTLE publishes' or 'writer: SETTLE', i)
    elseif pc == W_UNDONE and up then
      copy()
      settle(t, w, false)
      finish(t, w)
      emit('writer: SETTLE after ROLLBACK', i)
    elseif pc == W_DYING then
      copy()
      over(t, w)
      emit('pg: aborts the dead writer', i)
    elseif pc == W_ZOMBIE then
      copy()
      takes_effect(t, w)
      over(t, w)
      emit('pg: late COMMIT of a dead writer', i)
      copy()
      over(t, w)
      emit('pg: COMMIT of the dead writer never arrived', i)
    elseif pc == W_OVER and s[w + W_ENTRY] == 0 then
      copy()
      finish(t, w)
      emit('writer: is idle again', i)
    end
    if s[w + W_TIMER] == 1 and up then
      copy()
      evict(t, w)
      t[w + W_TIMER], t[w + W_SEQ], t[w + W_NON] = 0, 0, 0
      emit('writer: EVICT', i)
    end
  end

  -- The process in this slot is gone, another begins in it.
  local function holder_dies(t, h)
    local registered = t[h + H_REG] ~= 0
    ffi.fill(t + h, HOLDER)
    if registered then t[GHOST] = 1 end
  end

  local function writer_dies(s, t, emit, w, i)
    local pc = s[w]
    if pc == W_DYING or pc == W_ZOMBIE or pc == W_OVER then return end
    ffi.copy(t, s, size)
    unmark(t, i)
    t[w + W_SEQ], t[w + W_NON], t[w + W_TIMER], t[w + W_TOLD] = 0, 0, 0, 0
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

  -- ---- holders ----------------------------------------------------------------------------------

  local function holder_leased(t, h)
    t[h + H_REG] = t[SEQ]
    if inflight then
      t[h + H_FLY], t[h + H_FLYG] = 1, 0
    else
      t[h + H_LEASE], t[h + H_G] = 1, 0
    end
  end

  -- Everything that HOLD does: it learns, it acks, it leases.
  local function holder_holds(s, t, emit, h, j)
    local ours = s[EPOCH] == EV or s[EPOCH] == EB or m.trust_dump and s[EPOCH] == FOREIGN
    if s[DOWN] == 1 or not ours then return end
    local function copy() ffi.copy(t, s, size) end
    if config.unmarked and s[MARK] ~= 1 then
      if s[MARK] == 2 then
        copy()
        t[MARK] = 1
        emit('holder: commits the mark', j)
        copy()
        t[MARK] = 0
        emit('pg: the mark is rolled back')
      elseif m.mark_at_once or not locked(s) then
        copy()
        t[MARK] = 2
        if not m.mark_no_turn then turn(t) end
        emit('holder: locks the table, marks and turns it', j)
      end
      return
    end
    local present, seen, reg = s[h + H_NON] == 1, s[h + H_SEEN], s[h + H_REG]
    if present and s[SEQ] > 0 and (seen == s[SEQ] or m.grant_behind) then
      copy()
      holder_leased(t, h)
      if m.grant_behind then t[h + H_REG] = seen end
      tell_acked(t, reg)
      emit('holder: HOLD is granted', j)
    elseif present and reg ~= 0 and reg < seen then
      copy()
      t[h + H_REG] = seen
      tell_acked(t, reg)
      emit('holder: HOLD acks, and is behind', j)
    end
    if not present or seen < s[SEQ] then
      copy()
      if s[SEQ] == 0 then create(t) end
      if not m.learn_keeps then
        local flight = t[h + H_M]
        forget_rows(t, h)
        if m.keep_early then t[h + H_M] = flight end
      end
      if not present then t[h + H_LEASE], t[h + H_G], t[h + H_FLY] = 0, 0, 0 end
      t[h + H_NON], t[h + H_SEEN] = 1, t[SEQ]
      emit(s[SEQ] == 0 and 'holder: drops all, HOLD makes the hash'
        or present and 'holder: drops all, passes over what it missed'
        or 'holder: drops all, HOLD tells nonce and seq', j)
    end
  end

  local function holder_hears(s, t, emit, h, j)
    local function copy() ffi.copy(t, s, size) end
    local n = s[h + H_SEEN] + 1
    if s[h + H_NON] == 1 and s[h + H_EAR] == 1 and n <= s[SEQ] then
      copy()
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
      copy()
      forget_rows(t, h)
      emit('holder: drops the row at last', j)
    end
    if config.deaf and s[h + H_EAR] == 1 then
      copy()
      t[h + H_EAR] = 0
      emit('holder: loses its ear', j)
    end
    if s[h + H_EAR] == 0 and (s[h + H_NON] ~= 1 or s[h + H_SEEN] == s[SEQ] or m.gap) then
      copy()
      t[h + H_EAR] = 1
      if s[h + H_NON] == 1 then t[h + H_SEEN] = s[SEQ] end
      emit('holder: hears again', j)
    end
  end

  local function holder_reads(s, t, emit, h, j)
    local function copy() ffi.copy(t, s, size) end
    local may = s[h + H_NON] ~= 0 or m.keep_early
    if may and s[EPOCH] == EV and s[DOWN] == 0 and s[KEY] == V and s[h + H_M] == 0 then
      copy()
      t[h + H_M] = 1 + s[KVER]
      emit('holder: MGET hits, its reply is on its way', j)
    end
    if s[h + H_M] ~= 0 and s[h + H_NON] ~= 0 then
      copy()
      t[h + H_L1], t[h + H_M] = s[h + H_M], 0
      emit('holder: the reply comes, and is kept', j)
    end
    if s[h + H_L1] ~= 0 and (s[h + H_LEASE] == 1 or m.serve_lapsed) then
      local version = s[h + H_L1] - 1
      local bad = stale(s, version)
      if bad or version > s[ACKED] then
        copy()
        saw(t, version)
        emit('holder: serves the row from its memory', j, bad)
      end
    end
  end

  local function holder(s, t, emit, h, j)
    local function copy() ffi.copy(t, s, size) end
    holder_holds(s, t, emit, h, j)
    holder_hears(s, t, emit, h, j)
    holder_reads(s, t, emit, h, j)
    if s[h + H_FLY] == 1 then
      copy()
      t[h + H_LEASE], t[h + H_G], t[h + H_FLY], t[h + H_FLYG] = 1, s[h + H_FLYG], 0, 0
      if m.lease_from_answer then t[h + H_G] = 0 end
      emit('holder: the lease comes', j)
      copy()
      t[h + H_FLY], t[h + H_FLYG] = 0, 0
      emit('holder: the lease comes too late', j)
    end
    if s[h + H_LEASE] == 1 and not config.fair then
      copy()
      t[h + H_LEASE], t[h + H_G] = 0, 0
      emit('holder: its lease runs out', j)
    end
    if config.late and s[h + H_NON] == 1 and s[h + H_LATE] == 0 then
      copy()
      t[h + H_LATE] = s[h + H_SEEN]
      emit('holder: HOLD is sent, its connection is lost', j)
    end
    if s[h + H_LATE] ~= 0 and s[DOWN] == 0 and (s[EPOCH] == EV or s[EPOCH] == EB) then
      copy()
      local late, reg = s[h + H_LATE], s[h + H_REG]
      if late == s[SEQ] or reg ~= 0 and reg < late then
        t[h + H_REG] = late
        if late > reg then tell_acked(t, reg) end
      end
      t[h + H_LATE] = 0
      emit('redis: a late HOLD arrives', j)
    end
    if config.leave and s[h + H_NON] ~= 0 and s[DOWN] == 0 then
      copy()
      local ear = s[h + H_EAR]
      ffi.fill(t + h, HOLDER)
      t[h + H_EAR] = ear
      emit('holder: drops all, LEAVE', j)
      copy()
      forget_rows(t, h)
      t[h + H_LEASE], t[h + H_G], t[h + H_NON], t[h + H_SEEN] = 0, 0, 0, 0
      t[h + H_FLY], t[h + H_FLYG], t[h + H_LATE] = 0, 0, 0
      if m.same_id then
        t[h + H_PEND] = 2
      elseif s[h + H_REG] ~= 0 then
        t[h + H_REG], t[GHOST] = 0, 1
      end
      emit('holder: drops all, LEAVE is late', j)
    end
    if s[h + H_PEND] == 2 then
      copy()
      t[h + H_PEND], t[h + H_REG] = 0, 0
      emit('redis: a late LEAVE arrives', j)
    end
    if config.crash and not (same and j == 1)
      and (s[h + H_NON] ~= 0 or s[h + H_REG] ~= 0 or s[h + H_EAR] ~= 0) then
      copy()
      holder_dies(t, h)
      emit('holder: dies', j)
    end
  end

  -- ---- readers ----------------------------------------------------------------------------------

  local function reader(s, t, emit, r, i)
    local pc = s[r]
    local function copy() ffi.copy(t, s, size) end
    if pc == R_IDLE and s[DOWN] == 0 and s[EPOCH] == EV and s[KEY] == ABSENT then
      copy()
      set_key(t, L, 0)
      t[r], t[r + R_TOKEN] = R_LEASED, 1
      emit('reader: LEASE', i)
    elseif pc == R_LEASED then
      copy()
      t[r], t[r + R_VER] = R_SELECTED, s[CUR]
      saw(t, s[CUR])
      emit('reader: SELECT, answers its caller', i)
    elseif pc == R_SELECTED and s[DOWN] == 0 then
      copy()
      local fills = s[EPOCH] == EV and s[KEY] == L and s[r + R_TOKEN] == 1
      if fills then set_key(t, V, s[r + R_VER]) end
      ffi.fill(t + r, READER)
      emit(fills and 'reader: FILL' or 'reader: FILL is refused', i)
    end
    if pc ~= R_IDLE and config.crash then
      copy()
      ffi.fill(t + r, READER)
      emit('reader: dies', i)
    end
  end

  -- ---- everybody else ---------------------------------------------------------------------------

  local function anybody_reads(s, t, emit)
    local function copy() ffi.copy(t, s, size) end
    if s[ACKED] < s[CUR] then
      copy()
      saw(t, s[CUR])
      emit('somebody: reads from PostgreSQL')
    end
    if s[DOWN] == 1 then return end
    if s[EPOCH] == EV and s[KEY] == V then
      local bad = stale(s, s[KVER])
      if bad then
        copy()
        emit('somebody: MGET hits', nil, bad)
      end
      if config.evict then
        copy()
        set_key(t, ABSENT, 0)
        emit('redis: evicts, or expires')
      end
    end
    if config.evict and s[KEY] == L then
      copy()
      set_key(t, ABSENT, 0)
      emit('redis: a lease of a reader expires')
    end
    if readers == 0 and s[EPOCH] == EV and s[KEY] == ABSENT then
      copy()
      set_key(t, V, s[CUR])
      emit('somebody: LEASE, SELECT, FILL')
    end
    for w = W0, W_LAST, WRITER do
      if s[w + W_ENTRY] == 1 and not HOLDS[s[w]] then
        copy()
        settle(t, w, false)
        if s[w] == W_OVER then finish(t, w) end
        emit('somebody: xid is over, SETTLE for its writer')
      end
    end
  end

  local function epoch_moves(s, t, emit)
    local function copy() ffi.copy(t, s, size) end
    if s[EPOCH] == NONE or s[EPOCH] == FOREIGN then
      copy()
      turn(t)
      if not m.keep_hash then reset(t) end
      emit(s[EPOCH] == NONE and 'somebody: sees no epoch, sets B<new>, no hash'
        or 'somebody: sees an epoch of another server, sets B<new>, no hash')
      return
    end
    if config.blind and can_tell(s) and s[SEQ] > 0 then
      copy()
      turn(t)
      tell(t, true)
      emit('somebody: turns the table')
    end
    if config.reset and s[SEQ] > 0 then
      copy()
      turn(t)
      reset(t)
      emit('somebody: of another timeline sets B<new>, no hash')
    end
    if s[EPOCH] == EB and (s[MARK] ~= 2 or m.mark_at_once) then
      for w = W0, W_LAST, WRITER do
        if s[w + W_WAITED] == 1 and not m.no_turn_wait then return end
      end
      copy()
      t[EPOCH] = EV
      for w = W0, W_LAST, WRITER do t[w + W_WAITED] = 0 end
      emit('somebody: all are over, B becomes V')
    end
  end

  local function unknown_goes(s, t, emit)
    if s[UNK] == 0 or config.fair then return end
    for h = H0, H_LAST, HOLDER do
      local runs = s[h + H_LEASE] == 1 or s[h + H_FLY] == 1
      if runs and s[h + H_NON] ~= 1 and not m.unknown_at_once then return end
    end
    ffi.copy(t, s, size)
    t[UNK] = 0
    emit('somebody: LEASE has passed since the hash was made, "?" is taken out')
  end

  local function redis_moves(s, t, emit)
    local function copy() ffi.copy(t, s, size) end
    if config.other and s[SEQ] > 0 and can_tell(s) then
      copy()
      tell(t, false)
      emit('somebody: INTENT of another row')
    end
    if config.admin and s[EPOCH] ~= NONE then
      copy()
      leave_epoch(t, NONE)
      emit('admin: DEL of the epoch')
      if s[SEQ] > 0 then
        copy()
        reset(t)
        emit('admin: DEL of the hash')
      end
    end
    if config.lost and s[SEQ] > 0 then
      copy()
      reset(t)
      emit('redis: the hash expires')
    end
    if config.wipe and s[EPOCH] ~= NONE then
      copy()
      leave_epoch(t, NONE)
      reset(t)
      emit('redis: FLUSHALL, or an empty restart')
    end
    if config.dump and s[DUMP] == 0 and s[SEQ] > 0 and s[EPOCH] ~= NONE and s[EPOCH] ~= FOREIGN then
      copy()
      t[DUMP], t[D_SEQ], t[D_UNK], t[D_SAME] = 1, s[SEQ], s[UNK], 1
      for h = H0, H_LAST, HOLDER do t[h + H_DREG] = s[h + H_REG] end
      emit('redis: SAVE')
    end
    if config.dump and s[DUMP] == 1 then
      copy()
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
    ffi.copy(t, s, size)
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

  -- ---- the model --------------------------------------------------------------------------------

  function model.init(t, emit)
    ffi.fill(t, size)
    t[CUR], t[ACKED], t[EPOCH] = 1, 1, EV
    if not config.unmarked then t[MARK] = 1 end
    if config.fair then t[SEQ] = 1 end
    emit()
  end

  local shift, real_emit, at
  local function emit(label, who, bad) -- in place of the checker's: numbers are kept small
    if not config.dump then shift(at) end
    real_emit(label, who, bad)
  end

  function model.next(s, t, emit_)
    real_emit, at = emit_, t
    for i = 1, writers do
      local w = W0 + (i - 1) * WRITER
      if s[w] == W_IDLE then
        writer_begins(s, t, emit, w, i)
      else
        writer_before_commit(s, t, emit, w, i)
        writer_after_commit(s, t, emit, w, i)
        if config.crash then writer_dies(s, t, emit, w, i) end
      end
    end
    for j = 1, holders do holder(s, t, emit, H0 + (j - 1) * HOLDER, j) end
    for i = 1, readers do reader(s, t, emit, R0 + (i - 1) * READER, i) end
    anybody_reads(s, t, emit)
    if s[DOWN] == 0 then
      epoch_moves(s, t, emit)
      unknown_goes(s, t, emit)
      redis_moves(s, t, emit)
    end
    redis_fails(s, t, emit)
  end

  -- Sequence numbers are renamed so that the least one that anybody knows is 1.
  local cells = {}
  function shift(t)
    local count, least = 0, 255
    local function cell(place)
      if t[place] == 0 then return end
      count = count + 1
      cells[count] = place
      if t[place] < least then least = t[place] end
    end
    cell(SEQ)
    local heard = t[SEQ]
    for h = H0, H_LAST, HOLDER do
      cell(h + H_REG)
      cell(h + H_LATE)
      if t[h + H_NON] == 1 then
        cell(h + H_SEEN)
        if t[h + H_SEEN] < heard then heard = t[h + H_SEEN] end
      end
    end
    for w = W0, W_LAST, WRITER do if t[w + W_NON] == 1 then cell(w + W_SEQ) end end
    -- messages that everybody has heard are forgotten
    t[KINDS] = band(t[KINDS], bnot(lshift(2, heard) - 1))
    if count == 0 or least == 1 then return end
    for i = 1, count do t[cells[i]] = t[cells[i]] - (least - 1) end
    t[KINDS] = rshift(t[KINDS], least - 1)
  end

  local scratch = ffi.new('uint8_t[?]', HOLDER)
  local function less(t, a, b, n)
    for k = 0, n - 1 do
      if t[a + k] ~= t[b + k] then return t[a + k] < t[b + k] end
    end
    return false
  end

  local function swap(t, a, b, n)
    ffi.copy(scratch, t + a, n)
    ffi.copy(t + a, t + b, n)
    ffi.copy(t + b, scratch, n)
  end

  local function swap_bits(x) return bor(lshift(band(x, 1), 1), rshift(band(x, 2), 1)) end

  local first = same and 2 or 1

  local function swap_writers(t)
    swap(t, W0, W0 + WRITER, WRITER)
    for h = H0, H_LAST, HOLDER do
      t[h + H_G], t[h + H_FLYG] = swap_bits(t[h + H_G]), swap_bits(t[h + H_FLYG])
    end
  end

  local function sort(t, from, block, count)
    for j = first, count - 1 do
      for k = j, first, -1 do
        local a, b = from + (k - 1) * block, from + k * block
        if less(t, b, a, block) then swap(t, a, b, block) end
      end
    end
  end

  assert(writers <= 2, 'there are bits for two writers')
  local other = ffi.new('uint8_t[?]', size)
  function model.canon(t)
    local two = writers == 2 and not same
    if two and less(t, W0 + WRITER, W0, WRITER) then swap_writers(t) end
    local equal = two and not less(t, W0, W0 + WRITER, WRITER)
    if equal then
      ffi.copy(other, t, size)
      swap_writers(other)
      sort(other, H0, HOLDER, holders)
    end
    sort(t, H0, HOLDER, holders)
    if equal then
      for k = H0, W0 - 1 do
        if other[k] ~= t[k] then
          if other[k] < t[k] then ffi.copy(t, other, size) end
          break
        end
      end
    end
    for i = 1, readers - 1 do
      for k = i, 1, -1 do
        local a, b = R0 + (k - 1) * READER, R0 + k * READER
        if less(t, b, a, READER) then swap(t, a, b, READER) end
      end
    end
  end

  local function right(s, version)
    return version == s[CUR] or s[WIN] == 1 and (not commits or version == s[CUR] - 1)
  end

  if config.invariant ~= false then
    function model.invariant(s)
      local ours = s[EPOCH] == EV or s[EPOCH] == EB
      for h = H0, H_LAST, HOLDER do
        if s[h + H_LEASE] == 1 and s[h + H_L1] ~= 0 and not right(s, s[h + H_L1] - 1) then
          return 'a holder may serve something else than the latest committed state'
        end
        if s[h + H_LEASE] == 1 and s[h + H_NON] == 1 and s[h + H_REG] == 0 and ours then
          return 'a holder has a lease, and is not in the hash'
        end
        if s[h + H_REG] > s[h + H_SEEN] and s[h + H_NON] == 1 and ours then
          return 'the hash says that a holder heard what it did not hear'
        end
      end
      if s[DOWN] == 0 and s[EPOCH] == EV and s[KEY] == V and not right(s, s[KVER]) then
        return 'the key holds something else than the latest committed state'
      end
    end
  end

  --- The goal that must stay reachable: nobody writes, and every holder serves the row.
  function model.goal(s)
    if s[EPOCH] ~= EV or s[KEY] ~= V then return false end
    for w = W0, W_LAST, WRITER do if s[w] ~= W_IDLE then return false end end
    for h = H0, H_LAST, HOLDER do
      if s[h + H_LEASE] == 0 or s[h + H_L1] == 0 or s[h + H_NON] ~= 1 then return false end
    end
    return true
  end

  function model.describe(s)
    local epoch = ({ [0] = '-', 'V', 'B', 'foreign' })[s[EPOCH]]
    local key = ({ [0] = '-', 'V' .. s[KVER], 'L', 'T=', 'T+' })[s[KEY]]
    local out = { ('%s %s pg %d heard %d%s%s'):format(epoch, key, s[CUR], s[ACKED],
      s[WIN] == 1 and ' (excused)' or '', s[DOWN] == 1 and ' DOWN' or '') }
    out[2] = s[SEQ] == 0 and 'no hash' or ('seq %d%s%s'):format(s[SEQ], s[UNK] == 1 and ' ?' or '',
      s[GHOST] == 1 and ' ghost' or '')
    for j = 1, holders do
      local h = H0 + (j - 1) * HOLDER
      local non = s[h + H_NON]
      if non ~= 0 or s[h + H_REG] ~= 0 then
        out[#out + 1] = ('holder %d %s heard %d acked %d%s%s%s%s'):format(j,
          ({ [0] = 'out', 'in', 'of the dump', 'of a lost hash' })[non], s[h + H_SEEN],
          s[h + H_REG], s[h + H_EAR] == 0 and ' deaf' or '',
          s[h + H_LEASE] == 1 and ' LEASE' or '',
          s[h + H_L1] ~= 0 and ' has v' .. (s[h + H_L1] - 1) or '',
          s[h + H_M] ~= 0 and ' gets v' .. (s[h + H_M] - 1) or '')
      end
    end
    for i = 1, writers do
      local w = W0 + (i - 1) * WRITER
      if s[w] ~= W_IDLE then
        out[#out + 1] = ('%s writer %d %s%s%s'):format(ROLE_NAMES[s[w + W_ROLE]] or '-', i,
          W_NAMES[s[w]], s[w + W_ENTRY] == 1 and ' +' or '',
          s[w + W_SEQ] > 0 and ' #' .. s[w + W_SEQ] or '')
      end
    end
    return table.concat(out, ' | ')
  end

  return model
end

return held
