--- The row protocol of docs/cache.md as a model for checker.lua: one row, its cache key,
-- writers and readers.
--
-- Steps. Each script of Redis is one step, each statement of PostgreSQL is one (its effect), so is
-- the moment when COMMIT takes effect, and the moment when its caller hears of it. Between any two
-- of them anybody else may act, and the process may die. Processes never stop by themselves: a
-- writer runs transaction after transaction, a reader read after read.
--
-- Property ("read"): a read returns a version that is at least the newest one acknowledged, or
-- returned by a completed read, before it began, and that was committed by its end. Two steps are
-- joined where this makes the property only harder to keep: a hit is judged as if its read had
-- begun at that moment (a fresh reader can always send the same GET), and a SELECT without FILL is
-- answered at its snapshot. Invariant ("invariant"): a key that holds V or N is the latest
-- committed state. The correct protocol is held to both; a mutant counts as caught only when a
-- *read* went wrong.
--
-- Versions. With `commits = n` the row's versions are counted, n commits at most. Without it a
-- version is only known as the latest or not. As a version that is not the latest never becomes it
-- again, the invariant can be judged on that alone, and (the invariant being stronger than the
-- property) a complete search then covers any number of transactions.
--
-- The weaker promises, as the design states them, judged exactly:
--  * a write outside Stores (`outside`): its version need not be seen until INVALIDATE was
--    executed; from then on, strict. If a Stores write follows on top of it the exception is over
--    at once. Reads that saw it by chance promise nothing to others.
--  * an administrator's DEL of a key that holds intents (`admin`): stale hits are excused from the
--    COMMIT of a writer whose intent was lost until that writer's SETTLE, or until the key is
--    absent or T again (the ttl, for a writer that died).
--
--  * where the row is on another server than the one that commits (`workers`: Citus): a write that
--    was acknowledged while it was prepared there, of which a warning told, need not be seen until
--    it took effect there; from then on, strict.
--
-- Several servers (`workers`). The coordinator has committed, and says so to whoever asks, before
-- the server that has the row does: between the two the row is as it was, and its lock is held. It
-- may lose that server in between, which its caller hears as a warning, or end. It may also say
-- that a transaction was undone, whose COMMIT is under way to that server.
--
-- Not modelled: several rows (rows are independent: scripts treat each key alone), the epoch
-- (epochs.lua), clocks: whatever has a lifetime may vanish at any time, and whatever waits may wait
-- for ever.

local ffi = require 'ffi'
local sort_blocks = require('spec.model.checker').sort_blocks

local rows = {}

-- Bytes of a state.
local KEY, KVER, CUR, EX, ACKED, OUT, HOLE = 0, 1, 2, 3, 4, 5, 6
local HEAD, BLOCK = 8, 8
-- KEY
local ABSENT, V, N, L, T, TPLUS = 0, 1, 2, 3, 4, 5
-- OUT: 1: the newest version was written outside Stores and not invalidated; 2: the same, but a
-- Stores write followed. HOLE: 1: stale hits are excused until a SETTLE, for an intent was lost; 2:
-- until the key is gone, for its writer died too.

-- A writer's bytes: where it is (the first byte of every block), the version and kind it publishes,
-- is its entry in the key, was it lost, is a late copy of its INTENT on its way, must it not
-- publish, is a late copy of its SETTLE on its way. The entry lives in the writer's block, so that
-- the key names no writer and writers can be sorted.
local W_VER, W_KIND, W_ENTRY, W_LOST, W_COPY, W_NOPUB, W_LATE = 1, 2, 3, 4, 5, 6, 7
local W_IDLE, W_WROTE, W_READY, W_SENT, W_DONE, W_ACKED, W_UNDONE = 0, 1, 2, 3, 4, 5, 6
local W_DYING, W_ZOMBIE, W_OVER, W_NOROW, W_SAVEPOINT = 7, 8, 9, 10, 11
local W_EMPTY, W_NOROW_READY, W_CLEANED = 12, 13, 14
local W_PREPARED, W_LEFT, W_WARNED = 15, 16, 17 -- of several servers
local W_NAMES = { [0] = 'idle', 'wrote', 'intent', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'no row', 'savepoint undone',
  'savepoint, intent', 'no row, intent', 'cleaned', 'prepared', 'dead, prepared',
  'acked, prepared' }
local HOLDS = {} -- where a writer holds the row's lock
for _, pc in ipairs { W_WROTE, W_READY, W_SENT, W_DYING, W_ZOMBIE, W_PREPARED, W_LEFT,
  W_WARNED } do HOLDS[pc] = true end
local PHANTOM = 99 -- a version that was never committed

-- A reader's bytes: where it is, what its SELECT gave, is the key's lease its own, is a late copy
-- of its LEASE on its way.
local R_RES, R_KIND, R_TOKEN, R_COPY = 1, 2, 3, 4
local R_IDLE, R_MISSED, R_LEASED, R_GOT, R_ANSWERED = 0, 1, 2, 3, 4
local R_WAITS, R_MEETS, R_EARLY = 5, 6, 7
local R_NAMES = { [0] = 'idle', 'missed', 'leased', 'selected', 'answered', 'waits', 'meets T',
  'selected early' }

--- What each mutant changes. `needs`: the least set of ingredients, and bounds, in which it shows.
rows.mutants = {
  ['delete after commit'] = { no_intent = true, no_lease = true, clean = 'DEL', needs = {} },
  ['leases, but delete after commit'] = { no_intent = true, clean = 'DEL', needs = {} },
  ['version compare-and-set, with eviction'] = { no_intent = true, no_lease = true, clean = 'CAS',
    needs = { evict = true } },
  ['publish though dirty'] = { publish_dirty = true, needs = {} },
  ['join a running read'] = { join = true, needs = {} },
  ['plain DEL to invalidate'] = { plain_del = true, needs = { outside = true } },
  ['intent for a row that was not written'] = { intent_anyway = true, needs = { deletes = true } },
  ['fill without a token'] = { no_token = true, needs = { evict = true } },
  ['settle leaves V when the intent was lost'] = { settle_leaves = true, needs = { admin = true } },
  ['resolve by TTL instead of xid'] = { by_ttl = true, needs = {} },
  -- Not in the design's list; found, or thought of, while modelling it.
  ['publish after INTENT was sent twice'] = { publish_repeated = true,
    needs = { again = true, commits = 2 } },
  ['publish what a savepoint undid'] = { publish_undone = true, needs = { savepoint = true } },
  ['LEASE sent twice with one token'] = { lease_again = true, needs = { evict = true } },
  ['SELECT before LEASE'] = { select_first = true, needs = { } },
  -- Of several servers.
  ['believe that the coordinator has committed'] = { by_status = true, needs = { workers = true } },
  ['believe that the coordinator has aborted'] = { by_abort = true,
    needs = { workers = true, crash = true } },
  ['publish what was acknowledged with a warning'] = { settle_warned = true,
    needs = { workers = true } },
  ['delete what was acknowledged with a warning'] = { settle_warned = true, no_publish = true,
    needs = { workers = true } },
  ['settle where COMMIT failed on the way to another server'] = { settle_failed = true,
    needs = { workers = true } },
}

--- A model. config: writers, readers, commits (nil: any number), and the ingredients crash, evict,
-- rollback, deletes, outside, admin, again (INTENT may time out and be sent again), savepoint,
-- workers (the row is on another server than the one that commits),
-- no_locks (rows are not locked: not PostgreSQL, but the protocol holds without); mutant (a name of
-- rows.mutants), invariant (default true).
function rows.new(config)
  local writers, readers, commits = config.writers, config.readers, config.commits
  local W0, R0 = HEAD, HEAD + BLOCK * writers
  local size = HEAD + BLOCK * (writers + readers)
  local W_LAST, R_LAST = R0 - BLOCK, size - BLOCK
  local m = config.mutant and assert(rows.mutants[config.mutant], config.mutant) or {}
  local model = { size = size }

  -- ---- moves on the state t ---------------------------------------------------------------------

  -- No function is made within a step: where one is, LuaJIT compiles nothing around it.
  local function copy(t, s) ffi.copy(t, s, size) end

  local function forget_token(t)
    for r = R0, R_LAST, BLOCK do t[r + R_TOKEN] = 0 end
  end

  local function set_key(t, state, version)
    if t[KEY] == L and state ~= L then forget_token(t) end
    t[KEY], t[KVER] = state, version
    if state == ABSENT or state >= T then t[HOLE] = 0 end -- nothing stale is left
  end

  -- A completed read saw this version. One that was written outside and not invalidated promises
  -- nothing.
  local function saw(t, version)
    if t[OUT] == 1 and version == t[CUR] then
      if not commits then return end
      version = version - 1
    end
    if version > t[ACKED] then t[ACKED] = version end
  end

  local function stale(t)
    if t[KVER] > t[CUR] then return 'a read returned a version that was never committed' end
    if t[KVER] < t[ACKED] and t[HOLE] == 0 then
      return 'a read returned a version older than one acknowledged, or read, before it began'
    end
  end

  -- A new version of the row becomes visible; the lock is free from here on.
  local function commit(t, kind)
    if commits then
      t[CUR] = t[CUR] + 1
    else
      t[KVER], t[ACKED] = 0, 0
      for w = W0, W_LAST, BLOCK do t[w + W_VER] = 0 end
      for r = R0, R_LAST, BLOCK do t[r + R_RES] = 0 end
    end
    t[EX] = kind
    return t[CUR]
  end

  local function place(t, w)
    if t[w + W_ENTRY] == 1 then return end
    set_key(t, t[KEY] >= T and TPLUS or T, 0)
    t[w + W_ENTRY] = 1
  end

  -- SETTLE. `publish`: the writer's own, after a COMMIT.
  local function settle(t, w, publish, own)
    if t[w + W_ENTRY] == 1 then
      t[w + W_ENTRY] = 0
      local others = 0
      for o = W0, W_LAST, BLOCK do others = others + t[o + W_ENTRY] end
      if others > 0 then
        set_key(t, TPLUS, 0)
      elseif publish and (t[KEY] == T or m.publish_dirty) then
        set_key(t, t[w + W_KIND] == 1 and V or N, t[w + W_VER])
      else
        set_key(t, ABSENT, 0)
      end
    elseif own and t[KEY] >= V and t[KEY] <= L and not m.settle_leaves then
      set_key(t, ABSENT, 0)
    end
    if own then
      t[w + W_LOST] = 0
      if t[HOLE] == 1 then
        local open = false
        for o = W0, W_LAST, BLOCK do
          if o ~= w and t[o + W_LOST] == 1 and (t[o] == W_DONE or t[o] == W_ACKED) then
            open = true
          end
        end
        if not open then t[HOLE] = 0 end
      end
    end
  end

  -- The transaction and its process are done with; what is left is an entry in the key, or a late
  -- copy of a script.
  local function over(t, w)
    t[w + W_LOST] = 0
    if t[w + W_LATE] == 0 then t[w + W_VER], t[w + W_KIND], t[w + W_NOPUB] = 0, 0, 0 end
    local rest = t[w + W_ENTRY] + t[w + W_COPY] + t[w + W_LATE]
    t[w] = rest > 0 and W_OVER or W_IDLE
  end

  local function idle(t, r)
    ffi.fill(t + r, BLOCK)
  end

  local function locked(s)
    if config.no_locks then return false end
    for w = W0, W_LAST, BLOCK do
      if HOLDS[s[w]] then return true end
    end
    return false
  end

  -- ---- writers ----------------------------------------------------------------------------------

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

  -- ---- readers ----------------------------------------------------------------------------------

  local function looks(s, t, emit, r, who, leasing)
    local key = s[KEY]
    ffi.copy(t, s, size)
    if key == V or key == N then
      saw(t, s[KVER])
      idle(t, r)
      emit(leasing and 'reader: LEASE finds it cached' or key == V and 'reader: GET hits V'
        or 'reader: GET hits N', who,
        stale(s))
    elseif key == L then
      t[r] = R_WAITS
      emit(leasing and 'reader: LEASE finds another lease' or 'reader: GET finds a lease', who)
    elseif key >= T then
      t[r] = R_MEETS
      emit(leasing and 'reader: LEASE finds T' or 'reader: GET finds T', who)
    elseif not leasing then
      t[r] = R_MISSED
      emit('reader: GET finds nothing', who)
    else
      set_key(t, L, 0)
      t[r], t[r + R_TOKEN] = s[r] == R_EARLY and R_ANSWERED or R_LEASED, 1
      if m.lease_again then t[r + R_COPY] = 1 end
      emit('reader: LEASE', who)
    end
  end

  local function selects(s, t, emit, r, who, to)
    ffi.copy(t, s, size)
    t[r], t[r + R_RES], t[r + R_KIND] = to, s[CUR], s[EX]
    if to == R_EARLY then saw(t, s[CUR]) end
    emit('reader: SELECT', who)
  end

  local function fills(s, t, emit, r, who)
    local allowed = s[r + R_TOKEN] == 1
    if m.no_token then allowed = s[KEY] == L end
    if m.no_lease then allowed = m.clean == 'DEL' or s[KEY] == ABSENT or s[KVER] < s[r + R_RES] end
    ffi.copy(t, s, size)
    if allowed then set_key(t, s[r + R_KIND] == 1 and V or N, s[r + R_RES]) end
    idle(t, r)
    emit(not allowed and 'reader: FILL is refused' or s[r + R_KIND] == 1 and 'reader: FILL V'
      or 'reader: FILL N', who)
  end

  local function without_fill(s, t, emit, r, who)
    ffi.copy(t, s, size)
    saw(t, s[CUR])
    idle(t, r)
    emit('reader: SELECT without FILL', who)
  end

  local function resolves(s, t, emit, r, who)
    for w = W0, W_LAST, BLOCK do
      local pc = s[w]
      local is_over = pc == W_DONE or pc == W_ACKED or pc == W_UNDONE or pc == W_OVER
        or m.by_status and (pc == W_PREPARED or pc == W_LEFT or pc == W_WARNED)
        or m.by_abort and pc == W_ZOMBIE
      if s[w + W_ENTRY] == 1 and (is_over or m.by_ttl) then
        ffi.copy(t, s, size)
        settle(t, w, false, false)
        if pc == W_OVER then over(t, w) end
        idle(t, r)
        emit(is_over and 'reader: xid is over, SETTLE for its writer'
          or 'reader: T timed out, SETTLE for its writer', who)
      end
    end
  end

  local function reader(s, t, emit, r, who)
    local pc = s[r]
    if pc == R_IDLE then
      looks(s, t, emit, r, who, false)
      if m.join then
        for o = R0, R_LAST, BLOCK do
          if s[o] == R_GOT then
            ffi.copy(t, s, size)
            emit('reader: joins a read that runs', who,
              s[o + R_RES] < s[ACKED]
                and 'a read returned a version older than one acknowledged before it began' or nil)
          end
        end
      end
    elseif pc == R_MISSED or pc == R_EARLY then
      if m.no_lease then
        selects(s, t, emit, r, who, R_GOT)
      elseif m.select_first and pc == R_MISSED then
        selects(s, t, emit, r, who, R_EARLY)
      else
        looks(s, t, emit, r, who, true)
      end
    elseif pc == R_LEASED then
      selects(s, t, emit, r, who, R_GOT)
    elseif pc == R_GOT then
      ffi.copy(t, s, size)
      saw(t, s[r + R_RES])
      t[r] = R_ANSWERED
      emit('reader: answers its caller', who)
    elseif pc == R_ANSWERED then
      fills(s, t, emit, r, who)
    elseif pc == R_WAITS then
      without_fill(s, t, emit, r, who)
      looks(s, t, emit, r, who, false)
    else
      without_fill(s, t, emit, r, who)
      resolves(s, t, emit, r, who)
    end
    if config.crash and pc ~= R_IDLE then
      ffi.copy(t, s, size)
      idle(t, r)
      emit('reader: dies, ' .. R_NAMES[pc], who)
    end
    if s[r + R_COPY] == 1 and s[KEY] == ABSENT then
      ffi.copy(t, s, size)
      set_key(t, L, 0)
      t[r + R_TOKEN], t[r + R_COPY] = 1, 0
      emit('redis: a late copy of LEASE arrives, of reader', who)
    end
  end

  -- ---- everybody else ---------------------------------------------------------------------------

  local function others(s, t, emit)
    local key = s[KEY]
    if config.evict and (key == V or key == N or key == L) then
      ffi.copy(t, s, size)
      set_key(t, ABSENT, 0)
      emit(key == L and 'redis: a lease expires' or 'redis: evicts, or expires')
    end
    if config.admin and key >= T then
      ffi.copy(t, s, size)
      set_key(t, ABSENT, 0)
      for w = W0, W_LAST, BLOCK do
        if s[w + W_ENTRY] == 1 then
          t[w + W_ENTRY] = 0
          if HOLDS[s[w]] then t[w + W_LOST] = 1 end
          if s[w] == W_OVER then over(t, w) end
        end
      end
      emit('admin: DEL of a key with intents')
    end
    if config.outside and s[OUT] == 0 and not locked(s) and (not commits or s[CUR] <= commits) then
      ffi.copy(t, s, size)
      commit(t, 1)
      t[OUT] = 1
      emit('outsider: writes without Stores')
    end
    if config.outside and s[OUT] > 0 then
      ffi.copy(t, s, size)
      if key >= T and not m.plain_del then
        t[KEY] = TPLUS
      else
        set_key(t, ABSENT, 0)
        for w = W0, W_LAST, BLOCK do
          t[w + W_ENTRY] = 0
          if s[w] == W_OVER then over(t, w) end
        end
      end
      if s[OUT] == 1 then t[ACKED] = s[CUR] end
      t[OUT] = 0
      emit(key >= T and 'outsider: INVALIDATE of T' or 'outsider: INVALIDATE')
    end
  end

  -- ---- the model --------------------------------------------------------------------------------

  function model.init(t, emit)
    for exists = 0, 1 do
      ffi.fill(t, size)
      t[CUR], t[EX], t[ACKED] = 1, exists, 1
      emit()
    end
  end

  function model.next(s, t, emit)
    for i = 1, writers do
      local w = W0 + (i - 1) * BLOCK
      if s[w] == W_IDLE then
        writer_begins(s, t, emit, w, i)
      else
        writer_before_commit(s, t, emit, w, i)
        writer_after_commit(s, t, emit, w, i)
        if config.workers then writer_on_workers(s, t, emit, w, i) end
        if config.crash then writer_dies(s, t, emit, w, i) end
        late_intent(s, t, emit, w, i)
        late_settle(s, t, emit, w, i)
      end
    end
    for i = 1, readers do reader(s, t, emit, R0 + (i - 1) * BLOCK, i) end
    others(s, t, emit)
  end

  function model.canon(t)
    sort_blocks(t, W0, BLOCK / 4, writers)
    sort_blocks(t, R0, BLOCK / 4, readers)
  end

  if config.invariant ~= false then
    function model.invariant(s)
      if (s[KEY] == V or s[KEY] == N) and s[KVER] ~= s[CUR] and s[HOLE] == 0
        and not (s[OUT] == 1 and (not commits or s[KVER] == s[CUR] - 1)) then
        return 'the key holds something else than the latest committed state'
      end
      if (s[KEY] == V or s[KEY] == N) and s[KVER] == s[CUR] and (s[KEY] == V) ~= (s[EX] == 1) then
        return 'the key holds the right version and the wrong kind'
      end
    end
  end

  --- The goal that must stay reachable: no intent is left.
  function model.goal(s) return s[KEY] < T end

  function model.describe(s)
    local version = function(v) return v == PHANTOM and '?' or tostring(v) end
    local v = version(s[KVER])
    local key = ({ [0] = '-', 'V' .. v, 'N' .. v, 'L', 'T=', 'T+' })[s[KEY]]
    local row = s[EX] == 1 and '' or ' (no row)'
    local out = { ('key %-3s pg %d%s heard %d'):format(key, s[CUR], row, s[ACKED]) }
    for i = 1, writers do
      local w = W0 + (i - 1) * BLOCK
      if s[w] ~= W_IDLE then
        local entry = s[w + W_ENTRY] == 1 and ' +' or ''
        out[#out + 1] = ('writer %d %s%s'):format(i, W_NAMES[s[w]], entry)
      end
    end
    for i = 1, readers do
      local r = R0 + (i - 1) * BLOCK
      if s[r] ~= R_IDLE then
        local got = (s[r] == R_GOT or s[r] == R_ANSWERED) and ' ' .. s[r + R_RES] or ''
        out[#out + 1] = ('reader %d %s%s%s'):format(i, R_NAMES[s[r]], got,
          s[r + R_TOKEN] == 1 and ' (lease)' or '')
      end
    end
    return table.concat(out, ' | ')
  end

  return model
end

return rows
