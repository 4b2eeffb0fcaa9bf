--- The bytes of a state of epochs.lua, and what they mean.

local enum = require 'spec.model.enum'

local bytes = {}

-- Bytes of a state. EPOCH: absent, V or B, with its number in ENUM; WIN: 1: the newest version is
-- excused (see epochs.lua); DUMP..: a dump that Redis may come back with; TRIG: 1: there is a
-- trigger that changes this row when another one is written; MOVE: a slot that moves between nodes,
-- as bits: it moves, the epoch's key went over, the row's did.
enum(bytes, 0, 'EPOCH ENUM CUR ACKED WIN DUMP DUMP_ENUM DUMP_ROW DUMP_VER TRIG MOVE')
bytes.HEAD = 11
bytes.MOVING, bytes.EPOCH_OVER, bytes.ROW_OVER = 1, 2, 4
enum(bytes, 0, 'NONE EV EB')
enum(bytes, 0, 'ABSENT V L T TPLUS')
bytes.EPOCH_NAMES = { [0] = '-', 'V', 'B' }
bytes.ROW_NAMES = { [0] = '-', 'V', 'L', 'T=', 'T+' }

-- Who ends turns: where it is (the first byte of every block), the epoch that it saw.
bytes.TURNER = 4
bytes.U_E = 1
enum(bytes, 0, 'U_IDLE U_SAW U_LISTED U_EARLY')
bytes.U_NAMES = { [0] = 'idle', 'saw B', 'waits', 'listed early' }

-- A writer: where it is, its role, the epoch of its INTENT, is its entry in the key, its version,
-- which turners wait for it (bits), has it turned the table while in flight (a row writer: did it
-- announce itself under B), is it the one whose window is open.
bytes.WRITER = 8
enum(bytes, 1, 'W_ROLE W_E W_ENTRY W_VER W_WAITED W_TURNED W_OPEN')
enum(bytes, 0, 'W_IDLE W_WROTE W_READY W_SENT W_DONE W_ACKED W_UNDONE W_DYING W_ZOMBIE W_OVER'
  .. ' W_EARLY W_SIGN W_RUNS')
enum(bytes, 13, 'W_PREPARED W_LEFT') -- of several servers
bytes.W_NAMES = { [0] = 'idle', 'wrote', 'ready', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'turned early', 'signed',
  'dead, its statement may begin', 'prepared', 'left prepared' }
bytes.SIGNED = {} -- in the role alone
for name in ('SIGN EARLY RUNS'):gmatch('%S+') do bytes.SIGNED[bytes['W_' .. name]] = true end
bytes.HOLDS = {} -- where a writer holds the row's lock, and the table's
for name in ('WROTE READY SENT DYING ZOMBIE PREPARED LEFT'):gmatch('%S+') do
  bytes.HOLDS[bytes['W_' .. name]] = true
end
enum(bytes, 1, 'ROW BULK BYPASS OUTSIDE REACH ALONE DEMOTED STRANGER OLDER')
bytes.ROLES = { row = bytes.ROW, bulk = bytes.BULK, bypass = bytes.BYPASS,
  outside = bytes.OUTSIDE, reach = bytes.REACH, alone = bytes.ALONE, demoted = bytes.DEMOTED,
  stranger = bytes.STRANGER, older = bytes.OLDER }
bytes.ROLE_NAMES = { 'row', 'bulk', 'bypass', 'outside', 'reach', 'alone', 'demoted',
  'stranger', 'older' }

-- A reader: where it is, the epoch that it saw, what its SELECT gave, is the key's lease its own.
bytes.READER = 4
enum(bytes, 1, 'R_E R_RES R_TOKEN')
enum(bytes, 0, 'R_IDLE R_MISSED R_LEASED R_SELECTED')
bytes.R_NAMES = { [0] = 'idle', 'missed', 'leased', 'selected' }

return bytes
