--- Which states of rows.lua are the same one, which are wrong, and how one is told.

local layout = require 'spec.model.rows.layout'
local sorter = require('spec.model.straight').sorter

local KEY, KVER, CUR, EX, ACKED = layout.KEY, layout.KVER, layout.CUR, layout.EX, layout.ACKED
local OUT, HOLE, V, N, T = layout.OUT, layout.HOLE, layout.V, layout.N, layout.T
local W_ENTRY, W_IDLE, R_RES, R_TOKEN = layout.W_ENTRY, layout.W_IDLE, layout.R_RES, layout.R_TOKEN
local R_IDLE, R_GOT, R_ANSWERED = layout.R_IDLE, layout.R_GOT, layout.R_ANSWERED
local BLOCK, PHANTOM, W_NAMES = layout.BLOCK, layout.PHANTOM, layout.W_NAMES
local R_NAMES = layout.R_NAMES

--- Adds what a model says of its states.
---@param c table
---@param model table
return function(c, model)
  local config, writers, readers, commits, W0 = c.config, c.writers, c.readers, c.commits, c.W0
  local R0 = c.R0

  local sort_writers = sorter(W0, BLOCK / 4, writers)
  local sort_readers = sorter(R0, BLOCK / 4, readers)
  function model.canon(t)
    sort_writers(t)
    sort_readers(t)
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
end
