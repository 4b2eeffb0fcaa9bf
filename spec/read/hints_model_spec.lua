--- Why findBy is linearizable as find is: its model, explored completely, and mutants of it, each
--- of which is caught.
-- Plain pass alone: plain Lua over no server.

local checker = require('spec.model.checker')
local hints = require('spec.model.hints')

describe('the hint which row has a value', function()
  it('never makes an answer that was not so during the call', function()
    local result = checker.run(hints.new({}))
    assert.is_nil(result.violation, result.violation and '\n' .. checker.format(result.violation))
    assert.is_true(result.complete)
    assert.is_true(result.states > 500, 'only ' .. result.states .. ' states')
    for _, step in ipairs({ 'moves the value', 'finds the row of the hint',
      'finds that the hint is old', 'finds that the hint leads nowhere', 'asks PostgreSQL',
      'sets or removes the hint', 'is lost', 'is set by who knows nothing', 'leads nowhere' }) do
      local taken = false
      for label in pairs(result.labels) do taken = taken or label:find(step, 1, true) ~= nil end
      assert.is_true(taken, step)
    end
  end)

  for mutant, text in pairs({ unchecked = 'had not the value', digest = 'had not the value',
    copied = 'had not the value', nobody = 'nobody has the value', lost = 'nobody has the value',
    gone = 'nobody has the value', moved = 'nobody has the value' }) do
    it('makes a wrong one where it is ' .. mutant, function()
      local result = checker.run(hints.new({ [mutant] = true }))
      assert.is_not_nil(result.violation)
      assert.matches(text, checker.format(result.violation))
    end)
  end
end)
