--- The epoch protocol of docs/cache.md as a model for checker.lua: one table, of which one
-- row is looked at; its epoch key, the row's key under every epoch that anybody still knows,
-- writers, readers, and processes that end turns.
--
-- Steps, property, invariant and the counting of versions are those of rows.lua. Epochs are
-- numbered, but a number that nobody refers to any more is free again and numbers are renamed by
-- first mention, so that there may be any number of turns.
--
-- Writers take one of the roles in `roles` with each transaction:
--   row      INTENT under the epoch that is there, V or B, and SETTLE, on the key that INTENT wrote
--   bulk     cannot name its rows: sets B<new> before COMMIT
--   reach    names another row, and a trigger, which others may add at any time (`ddl`), changes
--            this one: whether there is one it hears behind its DML, whose lock keeps it so;
--            then as bulk
--   alone    a statement that commits by itself: its session takes a sign, the table is turned, and
--            then it is sent; those who end turns wait for the sign, which the session holds until
--            the statement is over, also when the process is dead
--   bypass   cannot reach Redis: commits without a word, turns the table when it reaches it again
--   demoted  tells a Redis that was demoted, which this one and its readers do not hear; when it
--            hears of this one, before its COMMIT or after, it turns the table here, once
--   outside  writes without Stores; store:invalidate(table, id) follows
-- Each holds the row's lock and the table's RowExclusive from its DML until its transaction is
-- over, dead or alive; a statement of its own not before it begins. What was announced under B is
-- not published: such a statement, of which only the sign tells, may be about to change the row.
--
-- The exceptions, as the design states them: the version of a bypass writer need not be seen until
-- that writer has turned the table (the model is stricter: until anybody has), so that of a demoted
-- one; that of an outside writer until INVALIDATE was executed. One such window is open at a time.
-- If a Stores write follows on top, the exception is over at once. One that turned the table before
-- its COMMIT took effect gets no exception: the wait covers it.
--
-- What the page leaves open, and how the model reads it (each other reading is a mutant, and is
-- caught):
--  * a client uses LEASE on a new connection only with an epoch that carries the run_id of that
--    connection;
--  * so does a process that was told that PostgreSQL is another one, or has gone back;
--  * INVALIDATE refuses an epoch that is not the present one, as INTENT does.
-- INTENT and FILL are let through under an epoch of another server (a caller that believed in it
-- before the restart): harmless.
--
-- While a slot moves between two nodes of a cluster its keys go over one by one (`move`). A command
-- about several keys is refused unless all of them are in one place; one about a single key is done
-- where that is. An INTENT that is refused so becomes a turn, whose key is one. Nobody but those
-- who write follows a key to the node that does not own the slot yet. When the move is over, what
-- did not go over is lost, and no epoch that came along is the new node's; when it is given up, all
-- keys are where they were. A write may be about other rows, too: any INTENT may be refused. That a
-- slot goes away, loses keys and is back within one write, and nobody saw it, is left out.
--
-- Where there is no epoch, nothing is turned: nothing counts, and who needs an epoch sets B<new>.
--
-- Where rows are on other servers than the one that commits (`workers`: Citus), the coordinator has
-- committed, and its locks are gone, before the server that has the row: until then that one has
-- the writer's locks, also where the writer is dead, or its caller was told with a warning, and
-- nobody but the server's recovery ends it. That write need not be seen before.
--
-- Simplified: there is no N (it behaves as V); an empty restart is FLUSHALL; a dump is taken while
-- the row is absent or V (under an epoch of another server nothing is read, whatever it holds); a
-- SELECT without FILL is one step with the look at the key that led to it.

local ffi = require 'ffi'
local bit = require 'bit'
local sort_blocks = require('spec.model.checker').sort_blocks

local band, bor, bnot, lshift, rshift = bit.band, bit.bor, bit.bnot, bit.lshift, bit.rshift

local epochs = {}

-- Bytes of a state. EPOCH: absent, V or B, with its number in ENUM; DUMP..: a dump that Redis may
-- come back with. WIN: 1: the newest version is excused (see above).
local EPOCH, ENUM, CUR, ACKED, WIN, DUMP, DUMP_ENUM, DUMP_ROW, DUMP_VER = 0, 1, 2, 3, 4, 5, 6, 7, 8
local TRIG = 9 -- 1: there is a trigger that changes this row when another one is written
-- A slot that moves between nodes, as bits: it moves, the epoch's key went over, the row's did.
local MOVE, MOVING, EPOCH_OVER, ROW_OVER = 10, 1, 2, 4
local HEAD = 11
local NONE, EV, EB = 0, 1, 2
local ABSENT, V, L, T, TPLUS = 0, 1, 2, 3, 4
local EPOCH_NAMES, ROW_NAMES = { [0] = '-', 'V', 'B' }, { [0] = '-', 'V', 'L', 'T=', 'T+' }

local TURNER, WRITER, READER = 4, 8, 4 -- sizes of the blocks
local U_E = 1 -- the first byte of every block is where its process is
local U_IDLE, U_SAW, U_LISTED, U_EARLY = 0, 1, 2, 3
local U_NAMES = { [0] = 'idle', 'saw B', 'waits', 'listed early' }

-- A writer: where it is, its role, the epoch of its INTENT, is its entry in the key, its version,
-- which turners wait for it (bits), has it turned the table while in flight (a row writer: did it
-- announce itself under B), is it the one whose window is open.
local W_ROLE, W_E, W_ENTRY, W_VER, W_WAITED, W_TURNED, W_OPEN = 1, 2, 3, 4, 5, 6, 7
local W_IDLE, W_WROTE, W_READY, W_SENT, W_DONE, W_ACKED, W_UNDONE = 0, 1, 2, 3, 4, 5, 6
local W_DYING, W_ZOMBIE, W_OVER, W_EARLY, W_SIGN, W_RUNS = 7, 8, 9, 10, 11, 12
local W_PREPARED, W_LEFT = 13, 14 -- of several servers
local W_NAMES = { [0] = 'idle', 'wrote', 'ready', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'turned early', 'signed',
  'dead, its statement may begin', 'prepared', 'left prepared' }
local SIGNED = { [W_SIGN] = true, [W_EARLY] = true, [W_RUNS] = true } -- in the role alone
local HOLDS = {} -- where a writer holds the row's lock, and the table's
for _, pc in ipairs { W_WROTE, W_READY, W_SENT, W_DYING, W_ZOMBIE, W_PREPARED, W_LEFT } do
  HOLDS[pc] = true
end
local ROW, BULK, BYPASS, OUTSIDE, REACH, ALONE, DEMOTED = 1, 2, 3, 4, 5, 6, 7
local ROLES = { row = ROW, bulk = BULK, bypass = BYPASS, outside = OUTSIDE, reach = REACH,
  alone = ALONE, demoted = DEMOTED }
local ROLE_NAMES = { 'row', 'bulk', 'bypass', 'outside', 'reach', 'alone', 'demoted' }

local R_E, R_RES, R_TOKEN = 1, 2, 3
local R_IDLE, R_MISSED, R_LEASED, R_SELECTED = 0, 1, 2, 3
local R_NAMES = { [0] = 'idle', 'missed', 'leased', 'selected' }

--- What each mutant changes, and the ingredients and bounds in which it shows.
epochs.mutants = {
  ['end a turn without the wait'] = { no_wait = true, needs = { roles = { 'row' }, blind = true } },
  ['list the transactions before the turn was seen'] = { list_first = true,
    needs = { roles = { 'row' }, blind = true } },
  ['leases while turning'] = { lease_turning = true, needs = { roles = { 'row' }, blind = true } },
  ['intents under the old epoch while turning'] = { intent_old = true, keeps_epoch = true,
    needs = { roles = { 'row' }, blind = true } },
  ['a hit without the epoch'] = { hit_alone = true, needs = { roles = { 'bulk' } } },
  ['turn after COMMIT'] = { turn = 'after COMMIT', needs = { roles = { 'bulk' } } },
  ['a missing epoch made V at once'] = { missing_v = true,
    needs = { roles = { 'row' }, wipe = true } },
  -- Not in the design's list; found, or thought of, while modelling it.
  ['end a turn without comparing'] = { no_compare = true, needs = { roles = { 'row', 'bulk' } } },
  ['believe the epoch of an old dump'] = { trust_dump = true,
    needs = { roles = { 'row' }, dump = true, readers = 1 } },
  ['believe the epoch of another past of PostgreSQL'] = { trust_past = true,
    needs = { roles = { 'row' }, past = true, readers = 1 } },
  ['LEASE with a belief from before the restart'] = { old_belief = true,
    needs = { roles = { 'row' }, dump = true, readers = 1 } },
  ['INVALIDATE under an epoch that is no more'] = { invalidate_old = true, keeps_epoch = true,
    needs = { roles = { 'outside' }, blind = true } },
  ['turn only before a statement that commits by itself'] = { turn = 'before the statement',
    needs = { roles = { 'bulk' } } },
  ['publish under B, were rows not locked'] = { no_locks = true, publish_turning = true,
    needs = { roles = { 'row' }, blind = true } },
  ['publish what was announced under B'] = { publish_turning = true,
    needs = { roles = { 'row', 'alone' } } },
  ['bypass, and never turn'] = { no_turn = true, needs = { roles = { 'bypass' } } },
  ['tell a demoted Redis, and turn nothing at the next one'] = { no_turn = true,
    needs = { roles = { 'demoted' } } },
  ['turn at the next Redis what was committed alone'] = { turn_committed = true,
    needs = { roles = { 'demoted' } } },
  ['name rows, and turn nothing that a trigger reached'] = { no_reach = true,
    needs = { roles = { 'reach' }, ddl = true } },
  ['trust facts from before the write'] = { old_facts = true,
    needs = { roles = { 'row', 'reach' }, ddl = true } },
  ['believe the epoch that came along with a slot'] = { trust_move = true,
    needs = { roles = { 'row' }, move = true, readers = 1 } },
  ['commit without a word where the slot of an INTENT moves'] = { no_turn_moving = true,
    needs = { roles = { 'row' }, move = true, readers = 1 } },
  ['list the writers of the coordinator alone'] = { coordinator_alone = true,
    needs = { roles = { 'row', 'bulk' }, workers = true } },
  ['turn before and after a statement outside of transactions, whose process dies'] = {
    no_signs = true, needs = { roles = { 'alone' }, crash = true } },
}

--- A model. config: writers, readers, turners, roles, commits (nil: any number), and the
-- ingredients crash, evict, rollback, wipe, dump, past, ddl, move, workers, blind (anybody turns
-- the table at any time, as store:invalidate(table) does); forget (see forget_dead, for larger
-- bounds); mutant, invariant as in rows.lua.
function epochs.new(config)
  local writers, readers, turners, commits = config.writers, config.readers, config.turners,
    config.commits
  local m = config.mutant and assert(epochs.mutants[config.mutant], config.mutant) or {}
  local roles = {}
  for i, name in ipairs(config.roles) do roles[i] = assert(ROLES[name], name) end

  -- One number for each that can hold one, and one to spare: a new epoch always finds a number.
  local numbers = 2 + (config.dump and 1 or 0) + writers + readers + turners
  -- Three bytes for each epoch, by its number from 1: the row's state, its version, is it foreign.
  local STATE, VER, FOREIGN = HEAD - 1, HEAD - 1 + numbers, HEAD - 1 + 2 * numbers
  local U0 = math.ceil((HEAD + 3 * numbers) / 4) * 4
  local W0 = U0 + TURNER * turners
  local R0 = W0 + WRITER * writers
  local size = R0 + READER * readers
  local U_LAST, W_LAST, R_LAST = W0 - TURNER, R0 - WRITER, size - READER
  local model = { size = size }

  -- ---- moves on the state t ---------------------------------------------------------------------

  -- No function is made within a step: where one is, LuaJIT compiles nothing around it.
  local function copy(t, s) ffi.copy(t, s, size) end

  local function each_reference(t, visit)
    if t[EPOCH] ~= NONE then visit(t, ENUM) end
    if t[DUMP] ~= NONE then visit(t, DUMP_ENUM) end
    for u = U0, U_LAST, TURNER do if t[u + U_E] ~= 0 then visit(t, u + U_E) end end
    for w = W0, W_LAST, WRITER do if t[w + W_E] ~= 0 then visit(t, w + W_E) end end
    for r = R0, R_LAST, READER do if t[r + R_E] ~= 0 then visit(t, r + R_E) end end
  end

  local used = ffi.new('uint8_t[?]', numbers + 1)
  local function mark(t, at) used[t[at]] = 1 end

  local function close_window(t)
    if t[WIN] == 0 then return end
    t[WIN], t[ACKED] = 0, t[CUR]
    for w = W0, W_LAST, WRITER do t[w + W_OPEN] = 0 end
  end

  --- Sets the epoch to B<new>, whatever was there.
  local function turn(t, state)
    ffi.fill(used, numbers + 1)
    each_reference(t, mark)
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

  -- ---- writers ----------------------------------------------------------------------------------

  local function begin(s, t, w, role)
    copy(t, s)
    t[w], t[w + W_ROLE] = W_WROTE, role
  end

  local function writer_begins(s, t, emit, w, who)
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
      elseif free and (role <= BULK or s[WIN] == 0) then
        begin(s, t, w, role)
        if role == OUTSIDE then
          t[w] = W_ACKED
          takes_effect(t, w)
        end
        emit(role == ROW and 'writer: BEGIN, DML'
          or role == BULK and 'writer: BEGIN, DML of unnamed rows'
          or role == BYPASS and 'writer: BEGIN, DML, Redis is not reached'
          or role == DEMOTED and 'writer: BEGIN, DML, is at a demoted Redis'
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
    elseif pc == W_WROTE and (role == BULK or role == REACH and s[w + W_TURNED] == 0)
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
      if role == BULK or role == REACH or role == ALONE or turned then finish(t, w) end
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

  -- ---- readers ----------------------------------------------------------------------------------

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

  -- ---- those who end turns ----------------------------------------------------------------------

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

  -- ---- everybody else ---------------------------------------------------------------------------

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

  -- ---- the model --------------------------------------------------------------------------------

  function model.init(t, emit)
    ffi.fill(t, size)
    t[CUR], t[ACKED] = 1, 1
    emit()
    t[EPOCH], t[ENUM] = EV, 1
    emit()
  end

  function model.next(s, t, emit)
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
    for i = 1, readers do reader(s, t, emit, R0 + (i - 1) * READER, i) end
    for i = 1, turners do turner(s, t, emit, U0 + (i - 1) * TURNER, i) end
    others(s, t, emit)
  end

  local names, named = ffi.new('uint8_t[?]', numbers + 1), 0
  local function rename(t, at)
    local e = t[at]
    if names[e] == 0 then
      named = named + 1
      names[e] = named
    end
    t[at] = names[e]
  end

  -- An epoch that was left never comes back as one that counts. Where `forget` says so, whoever
  -- still holds one is only known to hold a dead one (number 0), and the keys under it are dropped.
  local function forget_dead(t)
    local e = t[ENUM]
    for u = U0, U_LAST, TURNER do if t[u + U_E] ~= e then t[u + U_E] = 0 end end
    for w = W0, W_LAST, WRITER do
      if t[w + W_E] ~= e then
        t[w + W_E] = 0
        if t[w + W_ROLE] == ROW and t[w] ~= W_DONE then t[w + W_VER] = 0 end
      end
    end
    for r = R0, R_LAST, READER do
      if t[r + R_E] ~= e or t[r] >= R_LEASED and t[r + R_TOKEN] == 0 then
        t[r + R_E], t[r + R_RES], t[r + R_TOKEN] = 0, 0, 0
      end
    end
  end

  local function sort_turners(t)
    local a, b = U0, U0 + TURNER
    if turners ~= 2 or t[a] < t[b] or t[a] == t[b] and t[a + U_E] <= t[b + U_E] then return end
    t[a], t[b], t[a + U_E], t[b + U_E] = t[b], t[a], t[b + U_E], t[a + U_E]
    for w = W0, W_LAST, WRITER do
      local bits = t[w + W_WAITED]
      t[w + W_WAITED] = bor(lshift(band(bits, 1), 1), rshift(bits, 1))
    end
  end

  local old = ffi.new('uint8_t[?]', size)
  function model.canon(t)
    if config.forget then forget_dead(t) end
    sort_turners(t)
    sort_blocks(t, W0, WRITER / 4, writers)
    sort_blocks(t, R0, READER / 4, readers)
    ffi.fill(names, numbers + 1)
    named = 0
    each_reference(t, rename)
    ffi.copy(old, t, size)
    ffi.fill(t + HEAD, 3 * numbers)
    for e = 1, numbers do
      local to = names[e]
      if to ~= 0 then
        t[STATE + to], t[VER + to], t[FOREIGN + to] = old[STATE + e], old[VER + e], old[FOREIGN + e]
      end
    end
    sort_blocks(t, W0, WRITER / 4, writers)
    sort_blocks(t, R0, READER / 4, readers)
  end

  if config.invariant ~= false then
    function model.invariant(s)
      local e = s[ENUM]
      if s[EPOCH] == EV and counts(s) and s[STATE + e] == V and s[VER + e] ~= s[CUR]
        and not (s[WIN] == 1 and (not commits or s[VER + e] == s[CUR] - 1)) then
        return 'the epoch is V and the row holds something else than the latest committed state'
      end
    end
  end

  --- The goal that must stay reachable: no turn, and no intent, is left.
  function model.goal(s)
    return s[MOVE] == 0 and s[EPOCH] == EV and counts(s) and s[STATE + s[ENUM]] < T
  end

  function model.describe(s)
    local e = s[ENUM]
    local epoch = EPOCH_NAMES[s[EPOCH]] .. (s[EPOCH] == NONE and '' or e)
    local out = { ('epoch %s%s'):format(epoch, counts(s) and '' or '!') }
    if s[MOVE] ~= 0 then
      out[1] = out[1] .. (' (moves%s%s)'):format(epoch_at_home(s) and '' or ', epoch over',
        band(s[MOVE], ROW_OVER) ~= 0 and ', row over' or '')
    end
    local keys = {}
    for i = 1, numbers do
      if s[STATE + i] ~= ABSENT then
        keys[#keys + 1] = ('%d:%s%s'):format(i, ROW_NAMES[s[STATE + i]],
          s[STATE + i] == V and s[VER + i] or '')
      end
    end
    out[2] = ('rows %s pg %d heard %d%s'):format(#keys == 0 and '-'
      or table.concat(keys, ' '), s[CUR], s[ACKED],
      s[WIN] == 1 and ' (excused)' or '')
    for i = 1, turners do
      local u = U0 + (i - 1) * TURNER
      if s[u] ~= U_IDLE then
        out[#out + 1] = ('turner %d %s%s'):format(i, U_NAMES[s[u]],
          s[u + U_E] > 0 and ' ' .. s[u + U_E] or '')
      end
    end
    for i = 1, writers do
      local w = W0 + (i - 1) * WRITER
      if s[w] ~= W_IDLE then
        out[#out + 1] = ('%s writer %d %s%s'):format(ROLE_NAMES[s[w + W_ROLE]], i, W_NAMES[s[w]],
          s[w + W_ENTRY] == 1 and ' +' .. s[w + W_E] or '')
      end
    end
    for i = 1, readers do
      local r = R0 + (i - 1) * READER
      if s[r] ~= R_IDLE then
        out[#out + 1] = ('reader %d %s%s%s'):format(i, R_NAMES[s[r]],
          s[r] == R_SELECTED and ' ' .. s[r + R_RES] or '',
          s[r + R_TOKEN] == 1 and ' (lease)' or '')
      end
    end
    return table.concat(out, ' | ')
  end

  return model
end

return epochs
