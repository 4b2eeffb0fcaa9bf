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
local states = require 'spec.model.states'

local vector = states.vector

local checker = {}

-- How the states were come by; with a goal, all steps between them, too, and which ones are goals.
local function graph(goal)
  local self = { edges = 0, parents = vector('int32_t', 4096) }
  local parents, goals, sources, targets = self.parents, nil, nil, nil
  if goal then
    goals, sources = vector('uint8_t', 4096), vector('int32_t', 4096)
    targets = vector('int32_t', 4096)
    self.goals, self.sources, self.targets = goals, sources, targets
  end

  function self.add_state(n, from, t)
    parents.reserve(n + 1)
    parents.at[n] = from
    if goal then
      goals.reserve(n + 1)
      goals.at[n] = goal(t) and 1 or 0
    end
  end

  function self.add_edge(from, to)
    local n = self.edges
    self.edges = n + 1
    if goal then
      sources.reserve(n + 1)
      targets.reserve(n + 1)
      sources.at[n], targets.at[n] = from, to
    end
  end

  function self.release()
    for _, name in ipairs { 'parents', 'goals', 'sources', 'targets' } do
      if self[name] then self[name].release() end
    end
  end
  return self
end

-- The steps out of one state, taken down by emit(), and given back in t by take(). LuaJIT compiles
-- what is done with a step once, for the loop over these, and else for each place that emits one.
local function step_list(size, t)
  local after, labels, bads = vector('uint8_t', 64 * size), {}, {}
  local self, count = { release = after.release }, 0

  function self.emit(label, _, bad)
    after.reserve((count + 1) * size)
    ffi.copy(after.at + count * size, t, size)
    count = count + 1
    labels[count], bads[count] = label or false, bad or false
  end

  function self.take(i)
    ffi.copy(t, after.at + (i - 1) * size, size)
    return labels[i], bads[i]
  end

  --- How many there are; the next ones are those of another state.
  function self.finish()
    local n = count
    count = 0
    return n
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
local function stranded(set, paths)
  local n, edges = set.count, paths.edges
  local goals, sources, targets = paths.goals, paths.sources, paths.targets
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
  local set = states.set(size)
  local s, t = ffi.new('uint8_t[?]', size), ffi.new('uint8_t[?]', size)
  local sp, tp = ffi.cast('uint8_t *', s), ffi.cast('uint8_t *', t)
  local word = ffi.cast('uint32_t *', t)
  local paths, steps = graph(options.goal), step_list(size, tp)
  local normal, canon, invariant = model.normal, model.canon, model.invariant
  local labels, here = {}, -1
  local wrong -- {message, from, final}

  local function find(label)
    local n, new = set.add(word)
    if new then
      paths.add_state(n, here, tp)
      local message = invariant and invariant(tp)
      if message then wrong = { message = message, from = n } end
    end
    if label then paths.add_edge(here, n) end
  end

  local function take_steps()
    for i = 1, steps.finish() do
      local label, bad = steps.take(i)
      if label then labels[label] = (labels[label] or 0) + 1 end
      if not wrong then
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
  end

  model.init(tp, steps.emit)
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
    model.next(sp, tp, steps.emit)
    take_steps()
    head = head + 1
  end

  local result = {
    states = set.count, transitions = paths.edges, depth = depth, complete = complete and not wrong,
      labels = labels,
  }
  if options.goal and result.complete then
    local lost = stranded(set, paths)
    if lost then
      wrong = { message = 'no way leads back to: ' .. (options.goal_name or 'goal'), from = lost }
    end
  end
  if wrong then
    local trace = trace_of(model, set, paths.parents, wrong.from, wrong.final)
    result.violation = { message = wrong.message, trace = trace }
  end
  result.seconds = os.clock() - started
  set.release()
  paths.release()
  steps.release()
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
