--- States of held.lua as the checker sees them: one for all that are alike, what must never be,
--- what must stay reachable, words.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.held.layout'
local sorter = require('spec.model.straight').sorter

local band, bor, bxor, bnot, min = bit.band, bit.bor, bit.bxor, bit.bnot, math.min
local lshift, rshift, arshift = bit.lshift, bit.rshift, bit.arshift
local compare = require('spec.model.states').compare
local EPOCH, KEY, KVER, CUR, ACKED = layout.EPOCH, layout.KEY, layout.KVER, layout.CUR, layout.ACKED
local WIN, SEQ, UNK, GHOST, KINDS = layout.WIN, layout.SEQ, layout.UNK, layout.GHOST, layout.KINDS
local DOWN, EV, EB, V, HOLDER = layout.DOWN, layout.EV, layout.EB, layout.V, layout.HOLDER
local H_NON, H_REG, H_SEEN, H_EAR = layout.H_NON, layout.H_REG, layout.H_SEEN, layout.H_EAR
local H_L1, H_M, H_LEASE, H_G = layout.H_L1, layout.H_M, layout.H_LEASE, layout.H_G
local H_FLYG, H_LATE, WRITER, W_ROLE = layout.H_FLYG, layout.H_LATE, layout.WRITER, layout.W_ROLE
local W_ENTRY, W_SEQ, W_NON, W_IDLE = layout.W_ENTRY, layout.W_SEQ, layout.W_NON, layout.W_IDLE
local H_LONG, W_LONG = layout.H_LONG, layout.W_LONG
local W_NAMES, ROLE_NAMES, READER = layout.W_NAMES, layout.ROLE_NAMES, layout.READER

--- Adds them to a model.
---@param c table what the parts of a model have in common
---@param model table
return function(c, model)
  local config, writers, holders, readers = c.config, c.writers, c.holders, c.readers
  local commits, same, H0, W0, R0, size = c.commits, c.same, c.H0, c.W0, c.R0, c.size
  local H_LAST, W_LAST = c.H_LAST, c.W_LAST

  -- Sequence numbers are renamed so that the least one that anybody knows is 1, and messages that
  -- everybody has heard are forgotten. A holder's, and a writer's, counts with the present nonce.
  -- It knows no branches, and calls nothing (see straight.lua): arshift(n - 1, 31) is all bits
  -- where n is 0, and else none.
  local NO_NUMBER = 255
  local function shift(t)
    local seq = t[SEQ]
    local heard, least = seq, bor(seq, band(arshift(seq - 1, 31), NO_NUMBER))
    for h = H0, H_LAST, HOLDER do
      local reg, late = t[h + H_REG], t[h + H_LATE]
      local present = arshift(bxor(t[h + H_NON], 1) - 1, 31)
      local seen = band(t[h + H_SEEN], present)
      least = min(least, bor(reg, band(arshift(reg - 1, 31), NO_NUMBER)),
        bor(late, band(arshift(late - 1, 31), NO_NUMBER)),
        bor(seen, band(arshift(seen - 1, 31), NO_NUMBER)))
      heard = min(heard, bor(seen, band(bnot(present), NO_NUMBER)))
    end
    for w = W0, W_LAST, WRITER do
      local sent = band(t[w + W_SEQ], arshift(bxor(t[w + W_NON], 1) - 1, 31))
      least = min(least, bor(sent, band(arshift(sent - 1, 31), NO_NUMBER)))
    end
    t[KINDS] = band(t[KINDS], bnot(lshift(2, heard) - 1))
    if least == NO_NUMBER or least == 1 then return end
    local by = least - 1
    t[SEQ] = seq - band(by, bnot(arshift(seq - 1, 31)))
    for h = H0, H_LAST, HOLDER do
      local reg, late, seen = t[h + H_REG], t[h + H_LATE], t[h + H_SEEN]
      t[h + H_REG] = reg - band(by, bnot(arshift(reg - 1, 31)))
      t[h + H_LATE] = late - band(by, bnot(arshift(late - 1, 31)))
      local counts = band(arshift(bxor(t[h + H_NON], 1) - 1, 31), bnot(arshift(seen - 1, 31)))
      t[h + H_SEEN] = seen - band(by, counts)
    end
    for w = W0, W_LAST, WRITER do
      local sent = t[w + W_SEQ]
      local counts = band(arshift(bxor(t[w + W_NON], 1) - 1, 31), bnot(arshift(sent - 1, 31)))
      t[w + W_SEQ] = sent - band(by, counts)
    end
    t[KINDS] = rshift(t[KINDS], by)
  end
  if not config.dump then model.normal = shift end

  local scratch = ffi.new('uint8_t[?]', HOLDER)
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

  local sort_holders = sorter(H0 + (first - 1) * HOLDER, HOLDER / 4, holders - first + 1)
  local sort_readers = sorter(R0, READER / 4, readers)

  assert(writers <= 2, 'there are bits for two writers')
  local other = ffi.new('uint8_t[?]', size)
  function model.canon(t)
    local order = writers == 2 and not same and compare(t + W0, t + W0 + WRITER, WRITER)
    if order and order > 0 then swap_writers(t) end
    if order == 0 then
      ffi.copy(other, t, size)
      swap_writers(other)
      sort_holders(other)
    end
    sort_holders(t)
    if order == 0 and compare(other + H0, t + H0, W0 - H0) < 0 then ffi.copy(t, other, size) end
    sort_readers(t)
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
    out[2] = s[SEQ] == 0 and 'no hash' or ('seq %d%s%s'):format(s[SEQ],
      s[UNK] == 2 and ' ? longer' or s[UNK] == 1 and ' ?' or '', s[GHOST] == 1 and ' ghost' or '')
    for j = 1, holders do
      local h = H0 + (j - 1) * HOLDER
      local non = s[h + H_NON]
      if non ~= 0 or s[h + H_REG] ~= 0 then
        out[#out + 1] = ('holder %d %s heard %d acked %d%s%s%s%s'):format(j,
          ({ [0] = 'out', 'in', 'of the dump', 'of a lost hash' })[non], s[h + H_SEEN],
          s[h + H_REG], s[h + H_EAR] == 0 and ' deaf' or '',
          s[h + H_LEASE] == 1 and (s[h + H_LONG] == 1 and ' LONG LEASE' or ' LEASE') or '',
          s[h + H_L1] ~= 0 and ' has v' .. (s[h + H_L1] - 1) or '',
          s[h + H_M] ~= 0 and ' gets v' .. (s[h + H_M] - 1) or '')
      end
    end
    for i = 1, writers do
      local w = W0 + (i - 1) * WRITER
      if s[w] ~= W_IDLE then
        out[#out + 1] = ('%s writer %d %s%s%s'):format(ROLE_NAMES[s[w + W_ROLE]] or '-', i,
          W_NAMES[s[w]], s[w + W_ENTRY] == 1 and ' +' or '',
          s[w + W_SEQ] > 0 and ' #' .. s[w + W_SEQ] or '') .. (s[w + W_LONG] == 1 and ' long' or '')
      end
    end
    return table.concat(out, ' | ')
  end
end
