--- What explores the models of spec/model/: every state, every step, a shortest trace to what is
--- wrong.
-- Plain pass alone: plain Lua over no server.

local ffi = require 'ffi'
local checker = require 'spec.model.checker'
local straight = require 'spec.model.straight'
local unroll = require 'spec.model.unroll'

describe('the checker', function()
  -- `count` tokens, each of which goes from 0 to `top` by single steps.
  local function tokens(count, top, changes)
    local model = { size = 4 * count }
    function model.init(_, emit) emit() end
    function model.next(s, t, emit)
      for i = 0, count - 1 do
        if s[4 * i] < top then
          ffi.copy(t, s, model.size)
          t[4 * i] = s[4 * i] + 1
          emit('token: moves', i + 1)
        end
      end
    end
    function model.describe(s) return ffi.string(s, model.size):gsub('.',
      function(c) return c:byte() .. ' ' end) end
    for key, value in pairs(changes or {}) do model[key] = value end
    return model
  end

  it('finds every state once', function()
    local result = checker.run(tokens(3, 9))
    assert.are.equal(1000, result.states)
    assert.are.equal(3 * 9 * 100, result.transitions)
    assert.are.equal(27, result.depth)
    assert.is_true(result.complete)
    assert.are.equal(2700, result.labels['token: moves'])
  end)

  it('counts identical processes once when they are sorted', function()
    local result = checker.run(tokens(3, 9, { canon = straight.sorter(0, 1, 3) }))
    assert.are.equal(220, result.states)
  end)

  it('sorts by the first word that differs, the greatest first', function()
    local t = ffi.new('uint32_t[7]', 9, 1, 0xffffffff, 2, 5, 2, 6)
    straight.sorter(4, 2, 3)(ffi.cast('uint8_t *', t))
    local words = {}
    for i = 0, 6 do words[i + 1] = t[i] end
    assert.are.same({ 9, 2, 6, 2, 5, 1, 0xffffffff }, words)
  end)

  it('runs the loops over a model\'s processes written out, lines and all', function()
    local source = [[
      local function find(t)
        for w = W0, W_LAST, 4 do -- not the end
          for i = 1, many do if i == w then t[#t + 1] = 'end of ' .. w end end
          if t.stop == w then return w end
        end
        for i = 1, #t do t[i] = t[i] .. ' do' end
        return debug.getinfo(1, 'l').currentline
      end
      return find]]
    local known = { W0 = 4, W_LAST = 12, many = 9 }
    local written = unroll.loops(source, known)
    local _, loops = written:gsub('for ', '')
    assert.are.equal(1, loops)
    local find, t = loadstring(written)(), {}
    assert.are.equal(7, find(t))
    assert.are.same({ 'end of 4 do', 'end of 8 do' }, t)
    assert.are.equal(8, find({ stop = 8 }))
    known.W_LAST = 0
    assert.are.equal(7, loadstring(unroll.loops(source, known))()({}))
  end)

  it('gives a shortest trace to a wrong state, its processes named the same throughout', function()
    local result = checker.run(tokens(2, 5, {
      canon = straight.sorter(0, 1, 2),
      invariant = function(s) return (s[0] == 3 or s[4] == 3) and 'a token stands on 3' or nil end,
    }))
    assert.are.equal('a token stands on 3', result.violation.message)
    assert.are.equal(4, #result.violation.trace)
    local who = result.violation.trace[2].who
    for i = 3, 4 do assert.are.equal(who, result.violation.trace[i].who) end
    assert.is_false(result.complete)
  end)

  it('gives the trace to a wrong step', function()
    local model = tokens(1, 3)
    function model.next(s, t, emit)
      ffi.copy(t, s, 4)
      t[0] = s[0] < 3 and s[0] + 1 or 0
      emit('token: moves', 1, s[0] == 3 and 'it went back' or nil)
    end
    local result = checker.run(model)
    assert.are.equal('it went back', result.violation.message)
    assert.are.equal(5, #result.violation.trace)
  end)

  it('finds a state from which the goal is out of reach', function()
    local goal = function(s) return s[0] <= 2 and s[4] == 5 end
    local result = checker.run(tokens(2, 5), { goal = goal, goal_name = 'a low first token' })
    assert.are.equal('no way leads back to: a low first token', result.violation.message)
    assert.are.equal(3, #result.violation.trace - 1)
    assert.is_nil(checker.run(tokens(2, 5), { goal = function(s) return s[0] == 5
      and s[4] == 5 end }).violation)
  end)

  it('says when it stopped at its bound', function()
    local result = checker.run(tokens(3, 9), { limit = 100 })
    assert.is_false(result.complete)
    assert.is_nil(result.violation)
  end)
end)
