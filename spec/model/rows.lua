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
local straight = require 'spec.model.straight'
local run_part = require('spec.model.unroll').part
local layout = require 'spec.model.rows.layout'

local HEAD, BLOCK, CUR, EX, ACKED = layout.HEAD, layout.BLOCK, layout.CUR, layout.EX, layout.ACKED

local rows = { mutants = require 'spec.model.rows.mutants' }

--- A model. config: writers, readers, commits (nil: any number), and the ingredients crash, evict,
-- rollback, deletes, outside, admin, again (INTENT may time out and be sent again), savepoint,
-- workers (the row is on another server than the one that commits),
-- no_locks (rows are not locked: not PostgreSQL, but the protocol holds without); mutant (a name of
-- rows.mutants), invariant (default true).
function rows.new(config)
  local writers, readers, commits = config.writers, config.readers, config.commits
  local W0, R0 = HEAD, HEAD + BLOCK * writers
  local size = HEAD + BLOCK * (writers + readers)
  local c = { config = config, writers = writers, readers = readers, commits = commits,
    m = config.mutant and assert(rows.mutants[config.mutant], config.mutant) or {}, size = size,
    W0 = W0, R0 = R0, W_LAST = R0 - BLOCK, R_LAST = size - BLOCK }
  local model = { size = size }
  for _, part in ipairs { 'moves', 'writer', 'reader', 'others', 'view' } do
    run_part('spec.model.rows.' .. part, c, layout, model)
  end

  function model.init(t, emit)
    for exists = 0, 1 do
      ffi.fill(t, size)
      t[CUR], t[EX], t[ACKED] = 1, exists, 1
      emit()
    end
  end

  local rules, add = straight.rules()
  for i = 1, writers do
    local w = W0 + (i - 1) * BLOCK
    add(c.writer_begins, w, i)
    add(c.writer_before_commit, w, i)
    add(c.writer_after_commit, w, i)
    if config.workers then add(c.writer_on_workers, w, i) end
    if config.crash then add(c.writer_dies, w, i) end
    add(c.late_intent, w, i)
    add(c.late_settle, w, i)
  end
  for i = 1, readers do add(c.reader, R0 + (i - 1) * BLOCK, i) end
  add(c.others)
  model.next = straight.next_of(rules)

  return model
end

return rows
