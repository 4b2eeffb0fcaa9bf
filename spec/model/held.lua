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
-- Leases of two lengths (`long`). What the clocks promise is then for each length: whoever waited
-- as long as the shorter ones knows nothing of the longer ones. The id of a holder tells which it
-- has; a writer hears of the longest of those who have not acked, with the answer of INTENT and
-- whenever it asks. "?" stands for the longest that the table's mark tells of. Who wants longer
-- leases makes a mark of them first, as the first mark is made: under a lock that writers wait for,
-- with a turn. Who has a lock reads the mark under it; who has none makes a hash only where it
-- knows the mark under this very epoch, and else asks PostgreSQL once it has turned the table.
-- Older writers (`old`) know of one length alone: there are no longer leases while there are any.
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
-- Who acks counts itself out of those that the hash has counted for each writer's message, and the
-- last one says so. An ack may come with a HOLD, or alone, with no lease for it, which arrives late
-- as a HOLD does.
--
-- Joined where this makes the property only harder to keep: HOLD is sent and executed at once, and
-- its lease runs from there (`inflight`: from the answer, which may come late; `late`: a HOLD is
-- executed long after it was sent); a holder that learns the hash's nonce and seq may use them at
-- once; an id that a process leaves behind (it died, or left) is GHOST, which nobody acks for.
--
-- The mark (`unmarked`). Whether processes hold rows of a table stands in PostgreSQL. Who makes the
-- mark holds a lock that writers wait for, and turns the table in the same transaction, as DDL
-- does. A writer reads it behind its first write, when its own lock keeps that away: where it is
-- not there INTENT and TURN are the plain ones, which know of no hash. The turn of who makes the
-- mark makes the hash, too, without "?": nobody can have had a lease. Who has no lock (INVALIDATE,
-- the turn after a bypass) looks for the hash; where there is none it needs to know under this
-- epoch that there is no mark, or asks once it has turned the table.
--
-- Not modelled: several rows, save as messages that do not concern the row (`other`); "no such row"
-- (as V); clocks that do not keep their rate. The epoch's own rules are in epochs.lua: here B ends
-- when all who held a lock when it was set are over.

local ffi = require 'ffi'
local straight = require 'spec.model.straight'
local run_part = require('spec.model.unroll').part
local layout = require 'spec.model.held.layout'

local EPOCH, CUR, ACKED, SEQ, MARK = layout.EPOCH, layout.CUR, layout.ACKED, layout.SEQ, layout.MARK
local EV, HOLDER, WRITER, READER = layout.EV, layout.HOLDER, layout.WRITER, layout.READER

local held = { mutants = require 'spec.model.held.mutants' }

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
--   long              some leases are longer than others
--   few               the hash counts the acks of the newest message alone
--   old               writers wait as long as the shorter leases, whatever there is
--   fair              nothing fails, and no clock helps: for states that acks alone do not leave
function held.new(config)
  local writers, holders, readers = config.writers, config.holders, config.readers or 0
  local H0 = layout.HEAD
  local W0 = H0 + HOLDER * holders
  local R0 = W0 + WRITER * writers
  local size = R0 + READER * readers
  local c = { config = config, writers = writers, holders = holders, readers = readers,
    commits = config.commits, lag = config.lag or 3, roles = {}, H0 = H0, W0 = W0, R0 = R0,
    m = config.mutant and assert(held.mutants[config.mutant], config.mutant) or {},
    same = config.same, inflight = config.inflight, size = size, H_LAST = W0 - HOLDER,
    W_LAST = R0 - WRITER, R_LAST = size - READER }
  for i, name in ipairs(config.roles or { 'row' }) do
    c.roles[i] = assert(layout.ROLES[name], name)
  end
  local model = { size = size }
  for _, part in ipairs { 'moves', 'writer', 'holder', 'others', 'view' } do
    run_part('spec.model.held.' .. part, c, layout, model)
  end

  function model.init(t, emit)
    ffi.fill(t, size)
    t[CUR], t[ACKED], t[EPOCH] = 1, 1, EV
    if not config.unmarked then t[MARK] = 1 end
    if config.fair then t[SEQ] = 1 end
    emit()
  end

  local rules, add = straight.rules()
  for i = 1, writers do
    local w = W0 + (i - 1) * WRITER
    add(c.writer_begins, w, i)
    add(c.writer_before_commit, w, i)
    add(c.writer_after_commit, w, i)
    if config.crash then add(c.writer_dies, w, i) end
  end
  for j = 1, holders do
    for _, rule in ipairs(c.holder) do add(rule, H0 + (j - 1) * HOLDER, j) end
  end
  for i = 1, readers do add(c.reader, R0 + (i - 1) * READER, i) end
  for _, rule in ipairs { 'anybody_reads', 'epoch_moves', 'unknown_goes', 'redis_moves',
    'redis_fails' } do
    add(c[rule])
  end
  model.next = straight.next_of(rules)

  return model
end

return held
