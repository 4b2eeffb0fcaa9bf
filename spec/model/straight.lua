--- What is done with every step of a model, as LuaJIT compiles it well: without short loops, and
--- without branches that go this way as often as that one. It is written out for a state's size.

local ffi = require 'ffi'
local bit = require 'bit'

local bxor, tobit, rshift, band = bit.bxor, bit.tobit, bit.rshift, bit.band

local straight = {}

local function written(lines, ...)
  return assert(loadstring(table.concat(lines, '\n')))(...)
end

--- Gives a function that sorts `count` blocks of `words` 32-bit words each, which start at byte
-- `offset` of the state: identical processes are interchangeable, provided that the rest of the
-- state does not name them by number.
function straight.sorter(offset, words, count)
  local lines = { 'local cast, tobit, bxor, band, min, max = ...', 'return function(t)',
    ("local w = cast('uint32_t *', t + %d)"):format(offset), 'local less, x' }
  local function add(...) lines[#lines + 1] = string.format(...) end
  for last = count - 1, 1, -1 do
    for i = 0, last - 1 do
      local a, b = i * words, (i + 1) * words
      add('less = 0')
      for k = 0, words - 1 do -- the first word that differs weighs more than all that follow
        add('less = less * 2 + max(-1, min(1, w[%d] - w[%d]))', a + k, b + k)
      end
      add('less = tobit(max(-1, min(0, less)))') -- all bits, or none
      for k = 0, words - 1 do
        add('x = band(bxor(w[%d], w[%d]), less)', a + k, b + k)
        add('w[%d], w[%d] = bxor(w[%d], x), bxor(w[%d], x)', a + k, b + k, a + k, b + k)
      end
    end
  end
  add('end')
  return written(lines, ffi.cast, tobit, bxor, band, math.min, math.max)
end

--- Gives a function that hashes a state of `size` bytes, eight at a time, and the last four where
-- there are some.
function straight.hasher(size)
  local lines = { 'local cast, tobit, bxor, rshift = ...', 'return function(w)',
    "local v, h = cast('uint64_t *', w), 0ULL" }
  local function add(place)
    lines[#lines + 1] = ('h = bxor(h, %s) * 0x9E3779B97F4A7C15ULL'):format(place)
    lines[#lines + 1] = 'h = bxor(h, rshift(h, 32))'
  end
  for i = 0, math.floor(size / 8) - 1 do add(('v[%d]'):format(i)) end
  if size % 8 > 0 then add(("cast('uint64_t', w[%d])"):format(size / 4 - 1)) end
  lines[#lines + 1] = 'return tobit(h) end'
  return written(lines, ffi.cast, tobit, bxor, rshift)
end

--- Gives the rules of a model, none yet, in the order in which they are tried, and what adds one:
-- what it does, at which byte, who.
function straight.rules()
  local rules = {}
  return rules, function(rule, at, who) rules[#rules + 1] = { rule, at, who } end
end

--- Makes next() of rules, which are gone through in a
-- loop: LuaJIT compiles each way through each rule, and not each way through all of them.
function straight.next_of(rules)
  return function(s, t, emit)
    for i = 1, #rules do
      local rule = rules[i]
      rule[1](s, t, emit, rule[2], rule[3])
    end
  end
end

return straight
