--- The bytes of a state of rows.lua, and what they mean.

local enum = require 'spec.model.enum'

local bytes = {}

-- Bytes of a state. OUT: 1: the newest version was written outside Stores and not invalidated; 2:
-- the same, but a Stores write followed. HOLE: 1: stale hits are excused until a SETTLE, for an
-- intent was lost; 2: until the key is gone, for its writer died too.
enum(bytes, 0, 'KEY KVER CUR EX ACKED OUT HOLE')
bytes.HEAD, bytes.BLOCK = 8, 8
enum(bytes, 0, 'ABSENT V N L T TPLUS')
bytes.PHANTOM = 99 -- a version that was never committed

-- A writer's bytes: where it is (the first byte of every block), the version and kind it publishes,
-- is its entry in the key, was it lost, is a late copy of its INTENT on its way, must it not
-- publish, is a late copy of its SETTLE on its way. The entry lives in the writer's block, so that
-- the key names no writer and writers can be sorted.
enum(bytes, 1, 'W_VER W_KIND W_ENTRY W_LOST W_COPY W_NOPUB W_LATE')
enum(bytes, 0, 'W_IDLE W_WROTE W_READY W_SENT W_DONE W_ACKED W_UNDONE W_DYING W_ZOMBIE W_OVER'
  .. ' W_NOROW W_SAVEPOINT W_EMPTY W_NOROW_READY W_CLEANED')
enum(bytes, 15, 'W_PREPARED W_LEFT W_WARNED') -- of several servers
bytes.W_NAMES = { [0] = 'idle', 'wrote', 'intent', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'no row', 'savepoint undone',
  'savepoint, intent', 'no row, intent', 'cleaned', 'prepared', 'dead, prepared',
  'acked, prepared' }
bytes.HOLDS = {} -- where a writer holds the row's lock
for name in ('WROTE READY SENT DYING ZOMBIE PREPARED LEFT WARNED'):gmatch('%S+') do
  bytes.HOLDS[bytes['W_' .. name]] = true
end

-- A reader's bytes: where it is, what its SELECT gave, is the key's lease its own, is a late copy
-- of its LEASE on its way.
enum(bytes, 1, 'R_RES R_KIND R_TOKEN R_COPY')
enum(bytes, 0, 'R_IDLE R_MISSED R_LEASED R_GOT R_ANSWERED R_WAITS R_MEETS R_EARLY')
bytes.R_NAMES = { [0] = 'idle', 'missed', 'leased', 'selected', 'answered', 'waits', 'meets T',
  'selected early' }

return bytes
