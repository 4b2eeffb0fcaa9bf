--- The bytes of a state of held.lua, and what they mean.

local enum = require 'spec.model.enum'

local bytes = {}

-- Bytes of a state. SEQ: the hash's seq, 0: there is no hash. UNK: it has the field "?" (2: which
-- stands for longer leases, too). GHOST: it has a field of a process that is no more. KINDS: bit n:
-- message n concerns the row. DOWN: nobody reaches Redis. LEFT: the newest version was committed
-- while Redis was down, by a process that died.
-- DUMP: 1: there is an old dump, with D_SEQ and D_UNK; D_SAME: its nonce is the present one. MARK:
-- PostgreSQL has the mark that the table may be held; 2: its transaction is open. LONG: the same of
-- the mark of longer leases. FACT: who has no lock knows, under this epoch, that there is no mark
-- (1), or none of longer leases (2). WORD (of mutants): a message that says that all have acked is
-- on its way to whoever believes it.
enum(bytes, 0, 'EPOCH KEY KVER CUR ACKED WIN SEQ UNK GHOST KINDS DOWN LEFT DUMP D_SEQ D_UNK D_SAME'
  .. ' MARK FACT WORD LONG')
bytes.HEAD = 20
enum(bytes, 0, 'NONE EV EB FOREIGN')
enum(bytes, 0, 'ABSENT V L T TPLUS')

-- A holder: the nonce that it believes in (0: none, 1: the present hash's, 2: the dump's, 3: of a
-- hash that is no more), its field in the present hash (0: none), the last message that it heard,
-- is its ear connected and has missed nothing, the row in its memory (0, or 1 + version), the reply
-- to an MGET that is on its way and may be kept (the same), has it a lease, which writers' INTENTs
-- came after that (bits); a grant that is on its way, and its bits; what a mutant left undone; its
-- field in the dump; what a HOLD says that was sent on a connection that is lost (0: none); is its
-- lease a longer one.
bytes.HOLDER = 16
enum(bytes, 0, 'H_NON H_REG H_SEEN H_EAR H_L1 H_M H_LEASE H_G H_FLY H_FLYG H_PEND H_DREG H_LATE'
  .. ' H_LONG')

-- A writer: where it is, its role, its version, is its entry in the present key, must a turn wait
-- for it, the number and nonce of its INTENT, may it evict, is its window open (2: will it be once
-- Redis is back; 3: others have reached Redis since this one lost it), did it read, under its lock,
-- that there is no mark (1), or none of longer leases (2; 3: it has asked, without a lock), is a
-- message on its way to it that says that all have acked, does it wait as long as a longer lease,
-- how many fields the hash says are still to ack its INTENT.
bytes.WRITER = 16
enum(bytes, 1, 'W_ROLE W_VER W_ENTRY W_WAITED W_SEQ W_NON W_TIMER W_OPEN W_PLAIN W_TOLD W_LONG'
  .. ' W_LEFT')
enum(bytes, 0, 'W_IDLE W_WROTE W_PLACED W_WAITS W_SENT W_DONE W_ACKED W_UNDONE W_DYING W_ZOMBIE'
  .. ' W_OVER W_LINK W_TELLS')
bytes.W_NAMES = { [0] = 'idle', 'wrote', 'placed', 'waits', 'COMMIT sent', 'committed', 'acked',
  'rolled back', 'dead, open', 'dead, COMMIT in flight', 'over', 'Redis is lost', 'has to tell' }
bytes.HOLDS = {} -- where a writer holds the row's lock, and the table's
for name in ('WROTE PLACED WAITS SENT DYING ZOMBIE LINK'):gmatch('%S+') do
  bytes.HOLDS[bytes['W_' .. name]] = true
end
enum(bytes, 1, 'ROW BULK BYPASS OUTSIDE')
bytes.ROLES = { row = bytes.ROW, bulk = bytes.BULK, bypass = bytes.BYPASS,
  outside = bytes.OUTSIDE }
bytes.ROLE_NAMES = { 'row', 'bulk', 'bypass', 'outside' }

bytes.READER = 4
enum(bytes, 1, 'R_VER R_TOKEN')
enum(bytes, 0, 'R_IDLE R_LEASED R_SELECTED')

return bytes
