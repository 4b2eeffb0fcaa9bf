--- Which states of epochs.lua are the same one, which are wrong, and how one is told.

local ffi = require 'ffi'
local bit = require 'bit'
local layout = require 'spec.model.epochs.layout'
local sorter = require('spec.model.straight').sorter

local band, bor, bxor, bnot = bit.band, bit.bor, bit.bxor, bit.bnot
local lshift, rshift, arshift = bit.lshift, bit.rshift, bit.arshift
local EPOCH, ENUM, CUR, ACKED, WIN = layout.EPOCH, layout.ENUM, layout.CUR, layout.ACKED, layout.WIN
local MOVE, NONE, EV, ABSENT, V = layout.MOVE, layout.NONE, layout.EV, layout.ABSENT, layout.V
local T, U_IDLE, W_ROLE, W_E = layout.T, layout.U_IDLE, layout.W_ROLE, layout.W_E
local W_ENTRY, W_VER, W_WAITED = layout.W_ENTRY, layout.W_VER, layout.W_WAITED
local W_IDLE, W_DONE, ROW, R_E = layout.W_IDLE, layout.W_DONE, layout.ROW, layout.R_E
local R_RES, R_TOKEN, R_IDLE = layout.R_RES, layout.R_TOKEN, layout.R_IDLE
local R_LEASED, R_SELECTED = layout.R_LEASED, layout.R_SELECTED
local ROW_OVER, EPOCH_NAMES, ROW_NAMES = layout.ROW_OVER, layout.EPOCH_NAMES, layout.ROW_NAMES
local TURNER, U_E, U_NAMES, WRITER = layout.TURNER, layout.U_E, layout.U_NAMES, layout.WRITER
local W_NAMES, ROLE_NAMES, READER = layout.W_NAMES, layout.ROLE_NAMES, layout.READER
local R_NAMES = layout.R_NAMES

--- Adds what a model says of its states.
---@param c table
---@param model table
return function(c, model)
  local config, writers, readers, turners = c.config, c.writers, c.readers, c.turners
  local commits, numbers, STATE, VER = c.commits, c.numbers, c.STATE, c.VER
  local FOREIGN, U0, W0, R0, U_LAST, W_LAST = c.FOREIGN, c.U0, c.W0, c.R0, c.U_LAST, c.W_LAST
  local R_LAST = c.R_LAST
  local references, counts, epoch_at_home = c.references, c.counts, c.epoch_at_home
  local LAST_REFERENCE = c.LAST_REFERENCE

  -- What follows knows no branches, and calls nothing (see straight.lua): arshift(n - 1, 31) is all
  -- bits where n is 0, and else none.

  -- An epoch that was left never comes back as one that counts. Where `forget` says so, whoever
  -- still holds one is only known to hold a dead one (number 0), and the keys under it are dropped.
  local function forget_dead(t)
    local e = t[ENUM]
    for u = U0, U_LAST, TURNER do
      t[u + U_E] = band(t[u + U_E], arshift(bxor(t[u + U_E], e) - 1, 31))
    end
    for w = W0, W_LAST, WRITER do
      local alive = arshift(bxor(t[w + W_E], e) - 1, 31)
      local row, done = bxor(t[w + W_ROLE], ROW) - 1, bxor(t[w], W_DONE) - 1
      local drops = band(arshift(row, 31), bnot(arshift(done, 31)))
      t[w + W_E] = band(t[w + W_E], alive)
      t[w + W_VER] = band(t[w + W_VER], bor(alive, bnot(drops)))
    end
    for r = R0, R_LAST, READER do
      local lost = band(arshift(R_LEASED - 1 - t[r], 31), arshift(t[r + R_TOKEN] - 1, 31))
      local alive = band(arshift(bxor(t[r + R_E], e) - 1, 31), bnot(lost))
      t[r + R_E], t[r + R_RES] = band(t[r + R_E], alive), band(t[r + R_RES], alive)
      t[r + R_TOKEN] = band(t[r + R_TOKEN], alive)
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

  local names = ffi.new('int32_t[?]', numbers + 1)
  local function rename(t)
    ffi.fill(names, 4 * (numbers + 1))
    names[0] = 256 -- which a byte has as 0: none stays none
    local named = 0
    for k = 0, LAST_REFERENCE do
      local at = references[k]
      local e = t[at]
      local new = arshift(names[e] - 1, 31)
      named = named - new
      names[e] = bor(names[e], band(named, new))
      t[at] = names[e]
    end
  end

  local states, vers = ffi.new('uint8_t[?]', numbers + 1), ffi.new('uint8_t[?]', numbers + 1)
  local foreign = ffi.new('uint8_t[?]', numbers + 1)
  local function rename_keys(t)
    ffi.fill(states, numbers + 1)
    ffi.fill(vers, numbers + 1)
    ffi.fill(foreign, numbers + 1)
    for e = 1, numbers do
      local to = names[e] -- 0, which is not looked at, where nobody knows it
      states[to], vers[to], foreign[to] = t[STATE + e], t[VER + e], t[FOREIGN + e]
    end
    ffi.copy(t + STATE + 1, states + 1, numbers)
    ffi.copy(t + VER + 1, vers + 1, numbers)
    ffi.copy(t + FOREIGN + 1, foreign + 1, numbers)
  end

  local sort_writers = sorter(W0, WRITER / 4, writers)
  local sort_readers = sorter(R0, READER / 4, readers)
  function model.canon(t)
    if config.forget then forget_dead(t) end
    sort_turners(t)
    sort_writers(t)
    sort_readers(t)
    rename(t)
    rename_keys(t)
    sort_writers(t)
    sort_readers(t)
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
end
