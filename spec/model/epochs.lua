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
--   stranger believes that the database is another one, whose keys nobody reads here: behind a
--            pooler of transactions this one stands there since its last transaction, as it hears
--            behind its DML; then as bulk
--   older    is of a version whose keys of rows are others: an epoch that says so is nobody's to
--            it, so that it turns the table; then as bulk
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
local straight = require 'spec.model.straight'
local run_part = require('spec.model.unroll').part
local layout = require 'spec.model.epochs.layout'

local HEAD, TURNER, WRITER, READER = layout.HEAD, layout.TURNER, layout.WRITER, layout.READER
local CUR, ACKED, EPOCH, ENUM, EV = layout.CUR, layout.ACKED, layout.EPOCH, layout.ENUM, layout.EV

local epochs = { mutants = require 'spec.model.epochs.mutants' }

--- A model. config: writers, readers, turners, roles, commits (nil: any number), and the
-- ingredients crash, evict, rollback, wipe, dump, past, ddl, move, workers, blind (anybody turns
-- the table at any time, as store:invalidate(table) does); forget (see forget_dead, for larger
-- bounds); mutant, invariant as in rows.lua.
function epochs.new(config)
  local writers, readers, turners, commits = config.writers, config.readers, config.turners,
    config.commits
  local m = config.mutant and assert(epochs.mutants[config.mutant], config.mutant) or {}
  local roles = {}
  for i, name in ipairs(config.roles) do roles[i] = assert(layout.ROLES[name], name) end

  -- One number for each that can hold one, and one to spare: a new epoch always finds a number.
  local numbers = 2 + (config.dump and 1 or 0) + writers + readers + turners
  -- Three bytes for each epoch, by its number from 1: the row's state, its version, is it foreign.
  local STATE, VER, FOREIGN = HEAD - 1, HEAD - 1 + numbers, HEAD - 1 + 2 * numbers
  local U0 = math.ceil((HEAD + 3 * numbers) / 4) * 4
  local W0 = U0 + TURNER * turners
  local R0 = W0 + WRITER * writers
  local size = R0 + READER * readers
  local c = { config = config, writers = writers, readers = readers, turners = turners,
    commits = commits, m = m, roles = roles, numbers = numbers, size = size, STATE = STATE,
    VER = VER, FOREIGN = FOREIGN, U0 = U0, W0 = W0, R0 = R0, U_LAST = W0 - TURNER,
    W_LAST = R0 - WRITER, R_LAST = size - READER }
  local references = { layout.ENUM, layout.DUMP_ENUM } -- the bytes that name an epoch, or have 0
  for u = U0, c.U_LAST, TURNER do table.insert(references, u + layout.U_E) end
  for w = W0, c.W_LAST, WRITER do table.insert(references, w + layout.W_E) end
  for r = R0, c.R_LAST, READER do table.insert(references, r + layout.R_E) end
  c.references, c.LAST_REFERENCE = ffi.new('int32_t[?]', #references, references), #references - 1
  local model = { size = size }
  for _, part in ipairs { 'moves', 'writer', 'reader', 'others', 'view' } do
    run_part('spec.model.epochs.' .. part, c, layout, model)
  end

  function model.init(t, emit)
    ffi.fill(t, size)
    t[CUR], t[ACKED] = 1, 1
    emit()
    t[EPOCH], t[ENUM] = EV, 1
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
  for i = 1, readers do add(c.reader, R0 + (i - 1) * READER, i) end
  for i = 1, turners do add(c.turner, U0 + (i - 1) * TURNER, i) end
  add(c.others)
  model.next = straight.next_of(rules)

  return model
end

return epochs
