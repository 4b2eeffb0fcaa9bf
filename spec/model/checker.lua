--- An explicit-state model checker, small enough to be read in one sitting.
--
-- A model is a table:
--   size        bytes of a state, a multiple of 4; a state is a uint8_t array
--   init(t, emit)        writes each initial state into t and calls emit() after each
--   next(s, t, emit)     for each step that is possible in s: copies s into t, changes t, calls
--                        emit(label, who, bad); `bad` is a sentence when the step itself breaks the
--                        property (a read that returned something stale)
--   normal(t)            optional: rewrites t into the same state, numbers kept small
--   canon(t)             optional: rewrites t into the representative of its class (identical
--                        processes sorted)
--   invariant(s)         optional: a sentence when the state is wrong, else nil
--   describe(s)          one line, for traces
--
-- Breadth first, so a counterexample is a shortest one. States are kept whole (no hashing away of
-- states) in one block of memory, in the order they were found: that block is the queue as well.
-- Nothing of it is seen by Lua's collector.

local ffi = require 'ffi'
local bit = require 'bit'

ffi.cdef [[
void *malloc(size_t size);
void *realloc(void *block, size_t size);
void *calloc(size_t count, size_t size);
void free(void *block);
int memcmp(const void *a, const void *b, size_t size);
]]

local C = ffi.C
local SLOTS = ffi.typeof 'struct { int32_t number, hash; } *'
local bxor, tobit, rshift, band = bit.bxor, bit.tobit, bit.rshift, bit.band

local checker = {}

-- What is done with every step has neither short loops nor branches that go this way as often as
-- that one, at which LuaJIT is slow: it is written out for the size of a state.
local function written(lines, ...)
  return assert(loadstring(table.concat(lines, '\n')))(...)
end

--- Gives a function that sorts `count` blocks of `words` 32-bit words each, which start at byte
-- `offset` of the state: identical processes are interchangeable, provided that the rest of the
-- state does not name them by number.
function checker.sorter(offset, words, count)
  local lines = { 'local cast, tobit, bxor, band, min, max = ...', 'return function(t)',
    ("local w = cast('uint32_t *', t + %d)"):format(offset),
    'local less, x' }
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

-- A growing array in C memory. Whoever makes one owns it until it is collected.
local function vector(ctype, capacity)
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

--- Makes next() of rules, { what it does, at which byte, who } each, which are gone through in a
-- loop: LuaJIT compiles each way through each rule, and not each way through all of them.
function checker.next_of(rules)
  return function(s, t, emit)
    for i = 1, #rules do
      local rule = rules[i]
      rule[1](s, t, emit, rule[2], rule[3])
    end
  end
end

local function hasher(words)
  local lines = { 'local tobit, bxor, rshift = ...', 'return function(w)', 'local h = 0' }
  for i = 0, words - 1 do
    -- a factor below 2^16 keeps the product exact in a double
    lines[#lines + 1] = ('h = tobit(bxor(h, w[%d]) * 52283)'):format(i)
    lines[#lines + 1] = 'h = bxor(h, rshift(h, 15))'
  end
  lines[#lines + 1] = 'return h end'
  return written(lines, tobit, bxor, rshift)
end

-- The set of states found so far, numbered from 0 in the order of finding. A slot has a state's
-- hash beside its number: another state is told by that, without a look at where it is stored.
local function state_set(size)
  local words = size / 4
  local states, hash = vector('int32_t', 4096 * words), hasher(words)
  local slots, mask = nil, 0
  local self = { count = 0 }

  local function is_at(i, w, h)
    return slots[i].hash == h and C.memcmp(states.at + (slots[i].number - 1) * words, w, size) == 0
  end

  -- Where the first slot has another state, which is seldom: a loop would be left at once.
  local function slot_after(i, w, h)
    repeat i = band(i + 1, mask) until slots[i].number == 0 or is_at(i, w, h)
    return i
  end

  local function rehash(capacity)
    local old, last = slots, mask
    local block = C.calloc(capacity, 8)
    assert(block ~= nil, 'out of memory')
    slots = ffi.gc(ffi.cast(SLOTS, block), C.free)
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
    states.reserve((n + 1) * words)
    ffi.copy(states.at + n * words, w, size)
    slots[i].number, slots[i].hash = n + 1, h
    self.count = n + 1
    if self.count * 2 > mask then rehash((mask + 1) * 2) end
    return n, true
  end

  function self.copy_to(n, target) ffi.copy(target, states.at + n * words, size) end

  function self.release()
    states.release()
    C.free(ffi.gc(slots, nil))
    slots = nil
  end
  return self
end

-- Replays the chain of canonical states that leads to `last` without sorting anything, so that
-- process 2 of one line is process 2 of the next. `final` is the wrong step's outcome, if it was a
-- step that was wrong.
local function trace_of(model, set, parents, last, final)
  local size = model.size
  local chain, n = {}, last
  while n >= 0 do
    local state = ffi.new('uint8_t[?]', size)
    set.copy_to(n, state)
    table.insert(chain, 1, ffi.string(state, size))
    n = parents.at[n]
  end
  if final then chain[#chain + 1] = final.state end

  local bytes = ffi.typeof 'uint8_t[?]'
  local s, t, c = bytes(size), bytes(size), bytes(size)
  local function canonical()
    ffi.copy(c, t, size)
    if model.canon then model.canon(c) end
    return ffi.string(c, size)
  end
  local lines, found = {}, nil
  local want
  local function look(label, who, bad)
    if found then return end
    if model.normal then model.normal(t) end
    if canonical() ~= want then return end
    local wrong_step = final and #lines + 1 == #chain
    if wrong_step and not (bad and label == final.label) then return end
    found = { label = label or 'begins', who = who, state = ffi.string(t, size) }
  end
  for i = 1, #chain do
    want, found = chain[i], nil
    if i == 1 then
      model.init(t, look)
    else
      model.next(s, t, look)
    end
    assert(found, 'the trace cannot be replayed: canon() is not a symmetry of the model')
    ffi.copy(s, found.state, size)
    lines[i] = { step = found.label, who = found.who, state = model.describe(s) }
  end
  return lines
end

-- From every state some goal state must be reachable ("an intent can always be resolved"): goes
-- backwards along all edges.
local function stranded(set, sources, targets, edges, goals)
  local n = set.count
  local first = ffi.new('int32_t[?]', n + 1)
  for e = 0, edges - 1 do first[targets.at[e] + 1] = first[targets.at[e] + 1] + 1 end
  for i = 1, n do first[i] = first[i] + first[i - 1] end
  local fill, into = ffi.new('int32_t[?]', n), ffi.new('int32_t[?]', math.max(edges, 1))
  for e = 0, edges - 1 do
    local t = targets.at[e]
    into[first[t] + fill[t]] = sources.at[e]
    fill[t] = fill[t] + 1
  end
  local seen, queue, tail = ffi.new('uint8_t[?]', n), ffi.new('int32_t[?]', n), 0
  for i = 0, n - 1 do
    if goals.at[i] == 1 then
      seen[i], queue[tail], tail = 1, i, tail + 1
    end
  end
  local head = 0
  while head < tail do
    local t = queue[head]
    head = head + 1
    for e = first[t], first[t + 1] - 1 do
      local s = into[e]
      if seen[s] == 0 then
        seen[s], queue[tail], tail = 1, s, tail + 1
      end
    end
  end
  for i = 0, n - 1 do
    if seen[i] == 0 then return i end
  end
end

--- Explores `model`. options: limit (states, default 30 million), goal(s) with goal_name (must stay
-- reachable from every state). Gives {states, transitions, depth, seconds, complete, labels =
-- {label = times taken}, violation = {message, trace}}.
function checker.run(model, options)
  options = options or {}
  local limit, size = options.limit or 30e6, model.size
  assert(size % 4 == 0, 'a state is a whole number of 32-bit words')
  local started = os.clock()
  local set = state_set(size)
  local parents = vector('int32_t', 4096)
  local goal = options.goal
  local sources, targets, goals
  if goal then
    sources, targets = vector('int32_t', 4096), vector('int32_t', 4096)
    goals = vector('uint8_t', 4096)
  end
  local s, t = ffi.new('uint8_t[?]', size), ffi.new('uint8_t[?]', size)
  local sp, tp = ffi.cast('uint8_t *', s), ffi.cast('uint8_t *', t)
  local word = ffi.cast('int32_t *', t)
  local normal, canon, invariant = model.normal, model.canon, model.invariant
  local labels, edges, here = {}, 0, -1
  local wrong -- {message, from, final}

  -- The steps from here: taken down, and looked at in a loop of its own. LuaJIT compiles what is
  -- done with a step once for that loop, and else anew for each place in a model that emits one.
  local step, step_labels, step_bads, steps = vector('uint8_t', 64 * size), {}, {}, 0
  local function emit(label, _, bad)
    step.reserve((steps + 1) * size)
    ffi.copy(step.at + steps * size, tp, size)
    steps = steps + 1
    step_labels[steps], step_bads[steps] = label or false, bad or false
  end

  local function find(label)
    local n, new = set.add(word)
    if new then
      parents.reserve(n + 1)
      parents.at[n] = here
      if goal then
        goals.reserve(n + 1)
        goals.at[n] = goal(tp) and 1 or 0
      end
      local message = invariant and invariant(tp)
      if message then wrong = { message = message, from = n } end
    end
    if not label then return end
    if goal then
      sources.reserve(edges + 1)
      targets.reserve(edges + 1)
      sources.at[edges], targets.at[edges] = here, n
    end
    edges = edges + 1
  end

  local function take_steps()
    for i = 1, steps do
      local label, bad = step_labels[i], step_bads[i]
      if label then labels[label] = (labels[label] or 0) + 1 end
      if not wrong then
        ffi.copy(tp, step.at + (i - 1) * size, size)
        if normal then normal(tp) end
        if canon then canon(tp) end
        if bad then
          local final = { label = label, state = ffi.string(t, size) }
          wrong = { message = bad, from = here, final = final }
        else
          find(label)
        end
      end
    end
    steps = 0
  end

  model.init(tp, emit)
  take_steps()
  local depth, level_end, complete = 0, set.count, true
  local head = 0
  while head < set.count and not wrong do
    if set.count > limit then
      complete = false
      break
    end
    if head == level_end then
      depth, level_end = depth + 1, set.count
    end
    here = head
    set.copy_to(head, s)
    model.next(sp, tp, emit)
    take_steps()
    head = head + 1
  end

  local result = {
    states = set.count, transitions = edges, depth = depth, complete = complete and not wrong,
      labels = labels,
  }
  if goal and result.complete then
    local lost = stranded(set, sources, targets, edges, goals)
    if lost then
      wrong = { message = 'no way leads back to: ' .. (options.goal_name or 'goal'), from = lost }
    end
  end
  if wrong then
    local trace = trace_of(model, set, parents, wrong.from, wrong.final)
    result.violation = { message = wrong.message, trace = trace }
  end
  result.seconds = os.clock() - started
  set.release()
  parents.release()
  step.release()
  if goal then
    sources.release()
    targets.release()
    goals.release()
  end
  return result
end

--- A violation as text: numbered steps with the state after each.
function checker.format(violation)
  local lines = {}
  for i, line in ipairs(violation.trace) do
    local who = line.who and (' ' .. line.who) or ''
    local step = line.step:gsub('^(%a+)', '%1' .. who, 1)
    lines[i] = string.format('%3d  %-58s %s', i - 1, step, line.state)
  end
  lines[#lines + 1] = '     ' .. violation.message
  return table.concat(lines, '\n')
end

return checker
