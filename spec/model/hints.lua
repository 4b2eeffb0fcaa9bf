--- findBy as a model for checker.lua: two rows, one value of a unique key, writers that move it,
--- readers, and the hint which row has it.
--
-- A find by id is one step, for it is linearizable by itself (rows.lua, epochs.lua), and so are a
-- SELECT and a COMMIT. Between any two steps of a reader anybody else may act.
--
-- The hint is a key of Redis that all processes share, under a digest of the value, and nothing
-- guards it. It may be lost: it expires, it is evicted, Redis is wiped. It may be set by a reader
-- who is late, or removed by one. And it may be anything at any time: set for another value that
-- has the same digest, by a process that read an old row, by a dump of Redis from before, by a
-- PostgreSQL that went on from another past, by an administrator. So it may also lead to a row that
-- never was.
--
-- Property: what a reader gives, a row or nobody, was so at a moment between its beginning and its
-- end. That moment is the find's or the SELECT's: a hint alone never answers.
--
-- Mutants: `unchecked` gives the row of the hint as it finds it; `digest` takes its value for the
-- one that is asked for where the digests are the same; `nobody` remembers that nobody has the
-- value, too; `lost` takes a hint that is not there for that; `gone` takes the hint to a row that
-- is not there for it, `moved` the hint to a row that has another value; `copied` gives the
-- document that the reader who set the hint had seen.

local ffi = require 'ffi'
local bit = require 'bit'
local sorter = require('spec.model.straight').sorter

local band, bor, lshift = bit.band, bit.bor, bit.lshift

local hints = {}

-- What a row is: not there, of another value, of another one that has the same digest, the one.
local ABSENT, OTHER, TWIN, HAS = 0, 1, 2, 3
local STRAY = 3 -- a hint to a row that never was; 1 and 2 lead to the rows, 0 is none
local HINT, NOBODY, READERS, READER = 2, 3, 4, 4 -- offsets in a state; the rows are at 0 and 1
local PC, SEEN, ID = 0, 1, 2 -- offsets in a reader
local IDLE, BEGAN, HINTED, ASKS, ANSWERED = 0, 1, 2, 3, 4
local COUNT = 2

-- Which row has the value: 1, 2, or 0 for none.
local function holder(s)
  return s[0] == HAS and 1 or s[1] == HAS and 2 or 0
end

-- What the row of a hint is.
local function led_to(s, id)
  return id == STRAY and ABSENT or s[id - 1]
end

--- The model of a configuration: { unchecked, digest, nobody, lost, gone, moved, copied: boolean }.
function hints.new(config)
  local model = { size = READERS + READER * COUNT }

  function model.init(t, emit)
    ffi.fill(t, model.size)
    emit()
  end

  model.canon = sorter(READERS, READER / 4, COUNT)

  -- What is so now was so during every reader's call.
  local function committed(t)
    local now = lshift(1, holder(t))
    for r = READERS, READERS + READER * (COUNT - 1), READER do
      if t[r + PC] ~= IDLE then t[r + SEEN] = bor(t[r + SEEN], now) end
    end
  end

  local function write(s, t, emit)
    local function to(label, first, second)
      if first == HAS and second == HAS then return end -- the unique index
      if first == s[0] and second == s[1] then return end
      ffi.copy(t, s, model.size)
      t[0], t[1] = first, second
      committed(t)
      emit(label, 'writer')
    end
    for value = ABSENT, HAS do
      to('writes row 1', value, s[1])
      to('writes row 2', s[0], value)
    end
    if s[0] == HAS and s[1] ~= ABSENT then to('moves the value', OTHER, HAS) end
    if s[1] == HAS and s[0] ~= ABSENT then to('moves the value', HAS, OTHER) end
  end

  local function gives(s, t, emit, r, label, id, change)
    ffi.copy(t, s, model.size)
    if change then change() end
    local bad = band(s[r + SEEN], lshift(1, id)) == 0
      and (id == 0 and 'it says that nobody has the value, and always somebody had'
        or 'it gives a row that had not the value meanwhile')
    t[r + PC], t[r + SEEN], t[r + ID] = IDLE, 0, 0
    emit(label, 'reader', bad or nil)
  end

  local function goes(s, t, emit, r, label, pc, id)
    ffi.copy(t, s, model.size)
    t[r + PC], t[r + ID] = pc, id
    if pc == BEGAN then t[r + SEEN] = lshift(1, holder(s)) end
    emit(label, 'reader')
  end

  -- What a reader does who finds the row of the hint to be so.
  local function look(s, t, emit, r, row)
    local id = s[r + ID]
    if config.copied then
      gives(s, t, emit, r, 'gives what was seen with the hint', id)
    elseif row == HAS or row == TWIN and config.digest
      or row ~= ABSENT and config.unchecked then
      gives(s, t, emit, r, 'finds the row of the hint', id)
    elseif row == ABSENT and config.gone or row ~= ABSENT and config.moved then
      gives(s, t, emit, r, 'takes that for nobody', 0)
    elseif row == ABSENT then
      goes(s, t, emit, r, 'finds that the hint leads nowhere', ASKS, 0)
    else
      goes(s, t, emit, r, 'finds that the hint is old', ASKS, 0)
    end
  end

  local function read(s, t, emit, r)
    local pc, id = s[r + PC], s[r + ID]
    if pc == IDLE then
      goes(s, t, emit, r, 'begins', BEGAN, 0)
    elseif pc == BEGAN and config.nobody and s[NOBODY] == 1 then
      gives(s, t, emit, r, 'believes that there is nobody', 0)
    elseif pc == BEGAN and config.lost and s[HINT] == 0 then
      gives(s, t, emit, r, 'takes no hint for nobody', 0)
    elseif pc == BEGAN then
      goes(s, t, emit, r, 'reads the hint', s[HINT] > 0 and HINTED or ASKS, s[HINT])
    elseif pc == HINTED then
      look(s, t, emit, r, led_to(s, id))
    elseif pc == ASKS then
      goes(s, t, emit, r, 'asks PostgreSQL', ANSWERED, holder(s))
    else
      gives(s, t, emit, r, 'sets or removes the hint, and gives the answer', id, function()
        t[HINT] = id
        if config.nobody then t[NOBODY] = id == 0 and 1 or 0 end
      end)
    end
  end

  local function hint_becomes(s, t, emit, label, id)
    if s[HINT] == id then return end
    ffi.copy(t, s, model.size)
    t[HINT] = id
    emit(label, 'the hint')
  end

  function model.next(s, t, emit)
    write(s, t, emit)
    for r = READERS, READERS + READER * (COUNT - 1), READER do read(s, t, emit, r) end
    hint_becomes(s, t, emit, 'is lost', 0)
    -- where the hint has a document with it, that is one which a reader has seen
    if config.copied then return end
    hint_becomes(s, t, emit, 'is set by who knows nothing', 1)
    hint_becomes(s, t, emit, 'is set by who knows nothing', 2)
    hint_becomes(s, t, emit, 'leads nowhere', STRAY)
  end

  function model.describe(s)
    local words = {}
    for i = 0, model.size - 1 do words[#words + 1] = tostring(s[i]) end
    return 'rows ' .. words[1] .. ' ' .. words[2] .. ', hint ' .. words[3] .. ', readers '
      .. table.concat(words, ' ', READERS + 1)
  end

  return model
end

return hints
