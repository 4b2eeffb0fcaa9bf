--- The states that a search has found, in C memory.

local ffi = require 'ffi'
local bit = require 'bit'
local straight = require 'spec.model.straight'

ffi.cdef [[
void *malloc(size_t size);
void *realloc(void *block, size_t size);
void *calloc(size_t count, size_t size);
void free(void *block);
int memcmp(const void *a, const void *b, size_t size);
]]

local C = ffi.C
local SLOTS = ffi.typeof 'struct { int32_t number, hash; } *'
local band = bit.band

local states = { compare = C.memcmp }

--- A growing array in C memory. Whoever makes one owns it until it is collected.
function states.vector(ctype, capacity)
  local size = ffi.sizeof(ctype)
  local self = { capacity = capacity }
  local function hold(block)
    assert(block ~= nil, 'out of memory')
    self.block = ffi.gc(block, C.free)
    self.at = ffi.cast(ctype .. ' *', block)
  end
  hold(C.malloc(size * capacity))
  function self.reserve(n)
    if n <= self.capacity then return end
    local grown = math.max(n, self.capacity * 2)
    local block = C.realloc(ffi.gc(self.block, nil), size * grown)
    self.capacity = grown
    hold(block)
  end
  function self.release()
    C.free(ffi.gc(self.block, nil))
    self.block, self.at = nil, nil
  end
  return self
end

--- The set of states found so far, numbered from 0 in the order of finding. A slot has a state's
-- hash beside its number: another state is told by that, without a look at where it is stored.
function states.set(size)
  local words = size / 4
  local block, hash = states.vector('uint32_t', 4096 * words), straight.hasher(size)
  local slots, mask = nil, 0
  local self = { count = 0 }

  local function is_at(i, w, h)
    return slots[i].hash == h and C.memcmp(block.at + (slots[i].number - 1) * words, w, size) == 0
  end

  -- Where the first slot has another state, which is seldom: a loop would be left at once.
  local function slot_after(i, w, h)
    repeat i = band(i + 1, mask) until slots[i].number == 0 or is_at(i, w, h)
    return i
  end

  local function rehash(capacity)
    local old, last = slots, mask
    local grown = C.calloc(capacity, 8)
    assert(grown ~= nil, 'out of memory')
    slots = ffi.gc(ffi.cast(SLOTS, grown), C.free)
    mask = capacity - 1
    if old == nil then return end
    for i = 0, last do
      if old[i].number ~= 0 then
        local to = band(old[i].hash, mask)
        while slots[to].number ~= 0 do to = band(to + 1, mask) end
        slots[to].number, slots[to].hash = old[i].number, old[i].hash
      end
    end
    C.free(ffi.gc(old, nil))
  end
  rehash(16384)

  --- The number of the state in w, and whether it is new.
  function self.add(w)
    local h = hash(w)
    local i = band(h, mask)
    if slots[i].number ~= 0 and not is_at(i, w, h) then i = slot_after(i, w, h) end
    if slots[i].number ~= 0 then return slots[i].number - 1, false end
    local n = self.count
    block.reserve((n + 1) * words)
    ffi.copy(block.at + n * words, w, size)
    slots[i].number, slots[i].hash = n + 1, h
    self.count = n + 1
    if self.count * 2 > mask then rehash((mask + 1) * 2) end
    return n, true
  end

  function self.copy_to(n, target) ffi.copy(target, block.at + n * words, size) end

  function self.release()
    block.release()
    C.free(ffi.gc(slots, nil))
    slots = nil
  end
  return self
end

return states
